"""The activation functions as layers: no parameters, nothing to keep but what backward needs."""

from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional import activations as core
from npbn.layers.layer import Layer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode


class ReLU(Layer):
    """y = max(x, 0); dx = dy where x > 0, else 0."""

    def at_work(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode, *, x_is_free: bool
    ) -> Pass:
        return ReLUPass()


class ReLUPass(Pass):
    y_over_x = reads_y = dx_over_dy = True

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        self._y = core._relu_forward(x, y)

    def backward(self, xp: Any, dy: Array, dx: Array | None) -> None:
        if dx is not None:
            core._relu_backward(dy, self._y, dx)


class LeakyReLU(Layer):
    """y = x where x > 0, else slope * x; dx = dy where x > 0, else slope * dy. 0 <= slope < 1."""

    def __init__(self, slope: float = 0.2) -> None:
        super().__init__()
        self.slope = slope

    @checks.Setting
    def slope(self, value: float) -> float:
        """The slope where x < 0."""
        return checks.number("slope", value, minimum=0.0, below=1.0)

    def at_work(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode, *, x_is_free: bool
    ) -> Pass:
        return LeakyReLUPass(self.slope)

    def __repr__(self) -> str:
        return f"LeakyReLU({self.slope!r})"


class LeakyReLUPass(Pass):
    reads_y = True

    def __init__(self, slope: float) -> None:
        self._slope = slope

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        self._cache = core._leaky_relu_forward(x, self._slope, y)

    def backward(self, xp: Any, dy: Array, dx: Array | None) -> None:
        if dx is not None:
            core._leaky_relu_backward(dy, self._cache, dx)


class Sigmoid(Layer):
    """y = 1 / (1 + exp(-x)); dx = dy * y * (1 - y)."""

    def at_work(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode, *, x_is_free: bool
    ) -> Pass:
        return SigmoidPass(shape, dtype)


class SigmoidPass(Pass):
    reads_y = True

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._exponential = np.empty(shape, dtype)

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        self._cache = core._sigmoid_forward(x, y, self._exponential)

    def backward(self, xp: Any, dy: Array, dx: Array | None) -> None:
        if dx is not None:
            core._sigmoid_backward(dy, self._cache, dx)


class Tanh(Layer):
    """y = tanh(x); dx = dy * (1 - y^2)."""

    def at_work(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode, *, x_is_free: bool
    ) -> Pass:
        return TanhPass()


class TanhPass(Pass):
    reads_y = True

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        self._y = core._tanh_forward(x, y)

    def backward(self, xp: Any, dy: Array, dx: Array | None) -> None:
        if dx is not None:
            core._tanh_backward(dy, self._y, dx)
