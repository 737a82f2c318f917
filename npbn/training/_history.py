"""What happened in a training run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npbn._checks import Array, integer, number

_CURVES = ("losses", "sample_steps", "validation_accuracies")


@dataclass(repr=False)
class History:
    """What happened in a training run.

    losses: the loss of each step's batch, before its update. sample_steps: the steps, counted from
    0, after which validation was sampled; validation_accuracies: what was found.
    final_validation_accuracy: after the last step; None without validation data. seconds: of the
    training loop, sampling included. diverged_at: the step whose loss was not finite, or None.
    interrupted: whether Ctrl-C ended the run early.
    """

    losses: list[float] = field(default_factory=list)
    sample_steps: list[int] = field(default_factory=list)
    validation_accuracies: list[float] = field(default_factory=list)
    final_validation_accuracy: float | None = None
    seconds: float = 0.0
    diverged_at: int | None = None
    interrupted: bool = False

    def __repr__(self) -> str:
        parts = [f"{len(self.losses):,} steps"]
        if self.losses:
            parts.append(f"last loss {self.losses[-1]:.4g}")
        if self.final_validation_accuracy is not None:
            parts.append(f"final validation accuracy {self.final_validation_accuracy:.4f}")
        if self.diverged_at is not None:
            parts.append(f"diverged at step {self.diverged_at}")
        if self.interrupted:
            parts.append("interrupted")
        return f"History({', '.join(parts)}, {self.seconds:.1f} s)"


def packed(history: History) -> tuple[dict[str, Array], dict[str, Any]]:
    """Arrays and plain values for a checkpoint, from which `unpacked` makes an equal History."""
    arrays = {f"history.{name}": np.array(getattr(history, name), np.float64) for name in _CURVES}
    return arrays, {"seconds": history.seconds, "diverged_at": history.diverged_at}


def unpacked(arrays: dict[str, Array], header: Mapping[str, Any], step: int) -> History:
    """The History of a run of so many steps; takes its arrays out of arrays.

    KeyError, TypeError or ValueError for what `packed` cannot have made.
    """
    losses, steps, accuracies = (arrays.pop(f"history.{name}").tolist() for name in _CURVES)
    if len(losses) != step or len(steps) != len(accuracies):
        raise ValueError(f"a history of {len(losses)} losses for {step} steps")
    diverged_at = header["diverged_at"]
    if diverged_at is not None and integer("diverged_at", diverged_at, minimum=0) != step - 1:
        raise ValueError(f"a run of {step} steps that ended at step {diverged_at}")
    return History(
        [float(loss) for loss in losses],
        [int(number("sample_steps", each, minimum=0)) for each in steps],
        [number("validation_accuracies", each, minimum=0) for each in accuracies],
        seconds=number("seconds", header["seconds"], minimum=0),
        diverged_at=diverged_at,
    )
