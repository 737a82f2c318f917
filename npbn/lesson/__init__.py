"""The lesson's own calls, less the session, and the figures that it reports.

The lesson is Udacity's "Batch Normalization" notebook of 2017, written for TensorFlow 1: the file
batch-norm/Batch_Normalization_Lesson.ipynb of github.com/udacity/deep-learning.
"""

from npbn.lesson.calls import (
    batch_norm_test,
    initial_weights,
    plot_training_accuracies,
    train_and_test,
)
from npbn.lesson.neural_net import NeuralNet, single_predictions
from npbn.lesson.reported import Reported, reported_demonstration, reported_runs

__all__ = [
    "NeuralNet",
    "Reported",
    "batch_norm_test",
    "initial_weights",
    "plot_training_accuracies",
    "reported_demonstration",
    "reported_runs",
    "single_predictions",
    "train_and_test",
]
