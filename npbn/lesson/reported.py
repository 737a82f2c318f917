"""The figures that the lesson reports, one random draw each."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class Reported:
    """One `train_and_test` call of the lesson and its four accuracies, from 0 to 1."""

    run: int
    initial_weights: str
    learning_rate: float
    activation: str
    training_batches: int
    batches_per_sample: int
    validation_without: float
    test_without: float
    validation_with: float
    test_with: float


@cache
def _file() -> dict[str, Any]:
    text = files("npbn.lesson").joinpath("reported_runs.json").read_text(encoding="utf-8")
    return json.loads(text)


def reported_runs() -> tuple[Reported, ...]:
    """The lesson's 18 runs, in its order. Some calls were made twice, with other random numbers."""
    return tuple(Reported(**run) for run in _file()["runs"])


def reported_demonstration(statistics: str) -> tuple[float, float]:
    """The lesson's `batch_norm_test`: accuracy on the test set, and on 200 single predictions.

    Parameters
    ----------
    statistics : "batch" or "population"
        What inference used.
    """
    figures = _file()["demonstration"][statistics]
    return figures["test_accuracy"], figures["single_accuracy"]
