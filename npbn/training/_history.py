"""What happened in a training run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from npbn import _html, plotting
from npbn._checks import Array, integer, number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SAMPLES = ("validation_accuracies", "validation_losses", "training_accuracies", "training_losses")
_CURVES = ("losses", "sample_steps", *SAMPLES)


@dataclass(repr=False)
class History:
    """What happened in a training run; ``plot()`` draws it.

    Samples were taken with population statistics. What is sampled has one value a sample, NaN where
    it was not taken then, or none at all: accuracies are of labels, so a regression has losses
    alone.

    Attributes
    ----------
    losses : list of float
        The loss of each step's batch, before its update.
    sample_steps : list of int
        The steps, counted from 0, after which samples were taken.
    validation_accuracies, validation_losses : list of float
        Sampled.
    training_accuracies, training_losses : list of float
        Sampled of so many training rows, with sample_training.
    final_validation_accuracy, final_validation_loss, final_training_accuracy : float or None
        After the last step; None where there is none.
    seconds : float
        Of the training loop, sampling included.
    diverged_at : int or None
        The step whose loss was not finite.
    stopped_at : int or None
        The step after which the callback ended the run.
    interrupted : bool
        Whether Ctrl-C ended the run before its last step.
    """

    losses: list[float] = field(default_factory=list)
    sample_steps: list[int] = field(default_factory=list)
    validation_accuracies: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    training_accuracies: list[float] = field(default_factory=list)
    training_losses: list[float] = field(default_factory=list)
    final_validation_accuracy: float | None = None
    final_validation_loss: float | None = None
    final_training_accuracy: float | None = None
    seconds: float = 0.0
    diverged_at: int | None = None
    stopped_at: int | None = None
    interrupted: bool = False

    def plot(self) -> Figure:
        """Draw losses and accuracies over the steps: ``plotting.history(self)``."""
        return plotting.history(self)

    def __repr__(self) -> str:
        parts = [f"{len(self.losses):,} steps"]
        if self.losses:
            parts.append(f"last loss {self.losses[-1]:.4g}")
        if self.final_validation_accuracy is not None:
            parts.append(f"final validation accuracy {self.final_validation_accuracy:.4f}")
        elif self.final_validation_loss is not None:
            parts.append(f"final validation loss {self.final_validation_loss:.4g}")
        if self.diverged_at is not None:
            parts.append(f"diverged at step {self.diverged_at}")
        if self.stopped_at is not None:
            parts.append(f"stopped at step {self.stopped_at}")
        if self.interrupted:
            parts.append("interrupted")
        return f"History({', '.join(parts)}, {self.seconds:.1f} s)"

    def _repr_html_(self) -> str:
        final = {
            "validation_accuracies": self.final_validation_accuracy,
            "validation_losses": self.final_validation_loss,
            "training_accuracies": self.final_training_accuracy,
        }
        curves: dict[str, tuple[Sequence[int], Sequence[float]]]
        curves = {"losses": (range(len(self.losses)), self.losses)}
        curves |= {name: (self.sample_steps, getattr(self, name)) for name in SAMPLES}
        rows = [
            (name, *_of_curve(*curve, is_loss="losses" in name), final.get(name))
            for name, curve in curves.items()
            if np.isfinite(curve[1]).any()
        ]
        header = ("", "first", "last", "best", "best at step", "at the end")
        summary = _html.paragraph(_html.code(repr(self)))
        return _html.block(summary, *([_html.table(header, rows)] if rows else []))


def _of_curve(
    steps: Sequence[int], values: Sequence[float], *, is_loss: bool
) -> tuple[float, float, float, int]:
    """Its first and last value, its best one, and the step of that."""
    best = int((np.nanargmin if is_loss else np.nanargmax)(values))
    return values[0], values[-1], values[best], steps[best]


def add_sample(history: History, steps: list[int], found: Mapping[str, float | None]) -> None:
    """The same sample for each of these steps."""
    history.sample_steps += steps
    for name in SAMPLES:
        values, value = getattr(history, name), found.get(name)
        if value is not None or values:
            missing = len(history.sample_steps) - len(steps) - len(values)
            values += [math.nan] * missing
            values += [math.nan if value is None else value] * len(steps)


def packed(history: History) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and plain values for a checkpoint, from which `unpacked` makes an equal History."""
    arrays = {f"history.{name}": np.array(getattr(history, name), np.float64) for name in _CURVES}
    names = ("seconds", "diverged_at", "stopped_at")
    return arrays, {name: getattr(history, name) for name in names}


def unpacked(arrays: dict[str, Array], header: Mapping[str, Any], step: int) -> History:
    """The History of a run of so many steps; takes its arrays out of arrays.

    KeyError, TypeError or ValueError for what `packed` cannot have made.
    """
    losses, steps, *samples = (arrays.pop(f"history.{name}").tolist() for name in _CURVES)
    if len(losses) != step or any(len(each) not in (0, len(steps)) for each in samples):
        raise ValueError(f"a history of {len(losses)} losses for {step} steps")
    ended = {name: header[name] for name in ("diverged_at", "stopped_at")}
    for name, at in ended.items():
        if at is not None and integer(name, at, minimum=0) != step - 1:
            raise ValueError(f"a run of {step} steps that ended at step {at}")
    history = History(
        [float(loss) for loss in losses],
        [int(number("sample_steps", each, minimum=0)) for each in steps],
        seconds=number("seconds", header["seconds"], minimum=0),
        **ended,
    )
    for name, values in zip(SAMPLES, samples, strict=True):
        setattr(history, name, [float(value) for value in values])
    return history
