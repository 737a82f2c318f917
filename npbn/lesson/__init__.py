"""The lesson's own calls, less the session, the figures that it reports, and its runs measured.

The lesson is Udacity's "Batch Normalization" notebook of 2017, written for TensorFlow 1: the file
batch-norm/Batch_Normalization_Lesson.ipynb of github.com/udacity/deep-learning.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from npbn.lesson.calls import (
    batch_norm_test,
    initial_weights,
    plot_training_accuracies,
    train_and_test,
)
from npbn.lesson.neural_net import NeuralNet, single_predictions
from npbn.lesson.reported import Reported, reported_demonstration, reported_runs

if TYPE_CHECKING:
    from npbn.lesson.claims import CLAIMS
    from npbn.lesson.report import report_runs, write_report
    from npbn.lesson.runs import LessonRun, lesson_runs

# What only the experiments need is loaded when it is asked for: it takes as long as all the rest.
_LATER = {
    "CLAIMS": "claims",
    "LessonRun": "runs",
    "lesson_runs": "runs",
    "report_runs": "report",
    "write_report": "report",
}

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


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"npbn.lesson.{_LATER[name]}"), name)
