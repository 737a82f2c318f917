"""The lesson's own calls, less the session, the figures that it reports, and its runs measured.

The lesson is Udacity's "Batch Normalization" notebook of 2017, written for TensorFlow 1: the file
batch-norm/Batch_Normalization_Lesson.ipynb of github.com/udacity/deep-learning.
"""

from npbn.lesson.calls import (
    batch_norm_test,
    initial_weights,
    plot_training_accuracies,
    train_and_test,
)
from npbn.lesson.claims import CLAIMS
from npbn.lesson.neural_net import NeuralNet, single_predictions
from npbn.lesson.report import report_runs, write_report
from npbn.lesson.reported import Reported, reported_demonstration, reported_runs
from npbn.lesson.runs import LessonRun, lesson_runs

__all__ = [
    "CLAIMS",
    "LessonRun",
    "NeuralNet",
    "Reported",
    "batch_norm_test",
    "initial_weights",
    "lesson_runs",
    "plot_training_accuracies",
    "report_runs",
    "reported_demonstration",
    "reported_runs",
    "single_predictions",
    "train_and_test",
    "write_report",
]
