"""Does a peer compute what npbn computes? Asked before anything is timed."""

from collections.abc import Mapping
from typing import Any

import numpy as np

# Largest difference over the largest value: sums over 65,536 float32 rows, as textbook code takes
# them, are off by some 1e-5; a forgotten term or a wrong axis is off by far more than these.
TOLERANCES = {"float32": 5e-4, "float64": 1e-9}

# Of the changes that training steps made: the last digit of a gamma near 1 is some 1e-3 of its.
CHANGES = 5e-3

# The same of a large batch. Among so many units there is one whose input is 0 to rounding: one
# library counts it, another does not (PyTorch in float32, 1,024 images: 0.0065 of the largest beta;
# in float64 it agrees with npbn's float32 to 2e-7).
CHANGES_WITH_KINKS = 0.05

# Of predicted classes: so many may differ, as rounding decides between two almost equal outputs.
CLASSES_THAT_MAY_DIFFER = 1e-3


class Disagreement(Exception):
    """A peer does not compute what npbn computes."""


def check(
    who: str,
    what: str,
    got: Mapping[str, Any],
    expected: Mapping[str, Any],
    dtype: str = "float32",
    changes: float | None = None,
) -> None:
    """Disagreement, naming the peer and the largest difference, unless the arrays agree.

    got, expected: arrays by name, the peer's and npbn's; the same names, but for what the peer does
    not have. Whole numbers are classes. dtype: the coarser of the two types. changes: the
    tolerance of all but the losses, where it is another.
    """
    if not got or not set(got) <= set(expected):
        raise Disagreement(f"{who}, {what}: has {sorted(got)}, npbn {sorted(expected)}")
    for name, value in got.items():
        tolerance = TOLERANCES[dtype] if changes is None or name == "losses" else changes
        error, allowed = _error(np.asarray(value), np.asarray(expected[name]), tolerance)
        if not error <= allowed:
            differs = f"{name} differs by {error:.2g} of the largest, allowed {allowed:.2g}"
            raise Disagreement(f"{who}, {what}: does not agree with npbn: {differs}")


def _error(value: Any, true: Any, tolerance: float) -> tuple[float, float]:
    if value.shape != true.shape:
        return np.inf, 0.0
    if true.dtype.kind in "iu":
        return float(np.mean(value != true)), CLASSES_THAT_MAY_DIFFER
    largest = max(float(np.abs(true).max()), float(np.finfo(true.dtype).tiny))
    error = np.abs(value.astype(np.float64) - true.astype(np.float64)).max() / largest
    return float(error), tolerance
