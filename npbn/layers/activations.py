"""The activation functions as layers: no parameters, nothing to keep but what backward needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn.functional.activations import (
    LeakyReLUOperation,
    ReLUOperation,
    SigmoidOperation,
    TanhOperation,
)
from npbn.layers.layer import Layer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode


class _Activation(Layer):
    """One without settings."""

    def __init__(self) -> None:
        super().__init__()


class ReLU(_Activation):
    """y = max(x, 0); dx = dy where x > 0, else 0."""

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        return Pass(ReLUOperation(shape, dtype))


class LeakyReLU(Layer):
    """y = x where x > 0, else slope * x; dx = dy where x > 0, else slope * dy.

    Parameters
    ----------
    slope : float
        From 0 to below 1.
    """

    def __init__(self, slope: float = 0.2) -> None:
        super().__init__()
        self.slope = slope

    @checks.Setting
    def slope(self, value: float) -> float:
        """The slope where x < 0."""
        return checks.number("slope", value, minimum=0.0, below=1.0)

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        return Pass(LeakyReLUOperation(shape, dtype, self.slope))

    def __repr__(self) -> str:
        return f"LeakyReLU({self.slope!r})"


class Sigmoid(_Activation):
    """y = 1 / (1 + exp(-x)); dx = dy * y * (1 - y)."""

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        return Pass(SigmoidOperation(shape, dtype))


class Tanh(_Activation):
    """y = tanh(x); dx = dy * (1 - y^2)."""

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        return Pass(TanhOperation(shape, dtype))
