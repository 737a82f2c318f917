"""The settings of an optimizer: checked wherever they are set, and the only names to be set."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from npbn._checks import Array, float_array, number

LearningRate = float | Callable[[int], float] | Array


class Settings:
    """What has settings: arguments of its class that are attributes, too."""

    def __repr__(self) -> str:
        shown = [
            f"{name}={_shown(getattr(self, name))}"
            for name, each in self._settings().items()
            if each.default is each.empty or getattr(self, name) != each.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def __setattr__(self, name: str, value: Any) -> None:
        kind = type(self)
        # A reader's subclass may have attributes of its own.
        is_own = kind.__module__.startswith("npbn.") and not name.startswith("_")
        if is_own and not hasattr(kind, name):
            raise AttributeError(
                f"{kind.__name__}: no setting {name!r}: set one of {', '.join(self._settings())}"
            )
        super().__setattr__(name, value)

    @classmethod
    def _settings(cls) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(cls).parameters


def _shown(value: Any) -> str:
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
