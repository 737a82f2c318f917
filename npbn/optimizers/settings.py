"""How an optimizer's settings are shown, and its learning rate, which may be a function."""

from collections.abc import Callable
from typing import Any

import numpy as np

from npbn._checks import Array, float_array, number

LearningRate = float | Callable[[int], float] | Array


def shown(value: Any) -> str:
    """A setting as print shows it."""
    if isinstance(value, np.ndarray):
        return f"<{value.size} rates>"
    return getattr(value, "__name__", type(value).__name__) if callable(value) else f"{value}"


def checked_rate(value: Any) -> LearningRate:
    """value, if it is a learning rate: a number, a function, or a vector, of which a copy."""
    if callable(value):
        schedule: Callable[[int], float] = value
        return schedule
    if not isinstance(value, np.ndarray):
        return number("learning_rate", value, minimum=0)
    if value.ndim == 0:
        raise TypeError(f"learning_rate: expected a number, got an array of one: pass {value}")
    rates = float_array("learning_rate", value).copy()
    if rates.ndim != 1:
        raise ValueError(f"learning_rate: expected one rate for each parameter, got {rates.shape}")
    if not (np.isfinite(rates).all() and (rates >= 0).all()):
        raise ValueError("learning_rate: expected finite rates of at least 0")
    rates.flags.writeable = False
    return rates
