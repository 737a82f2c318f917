"""The activation functions as layers: no parameters, nothing to keep but what backward needs."""

from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array, Statistics
from npbn.functional import activations as core
from npbn.layers.base import BuiltInLayer


class ReLU(BuiltInLayer):
    """y = max(x, 0); dx = dy where x > 0, else 0."""

    def _forward(
        self, x: Array, training: bool, statistics: Statistics, out: Array | None, spare: Any
    ) -> tuple[Array, Any]:
        y = _new(x, out)
        return y, core._relu_forward(x, y)

    def _backward(
        self, dy: Array, cache: Any, input_gradient: bool, out: Array | None
    ) -> Array | None:
        return core._relu_backward(dy, cache, _new(dy, out)) if input_gradient else None


class LeakyReLU(BuiltInLayer):
    """y = x where x > 0, else slope * x; dx = dy where x > 0, else slope * dy. 0 <= slope < 1."""

    def __init__(self, slope: float = 0.2) -> None:
        super().__init__()
        self.slope = checks.number("slope", slope, minimum=0.0, below=1.0)

    def _forward(
        self, x: Array, training: bool, statistics: Statistics, out: Array | None, spare: Any
    ) -> tuple[Array, Any]:
        y = _new(x, out)
        return y, core._leaky_relu_forward(x, self.slope, y)

    def _backward(
        self, dy: Array, cache: Any, input_gradient: bool, out: Array | None
    ) -> Array | None:
        return core._leaky_relu_backward(dy, cache, _new(dy, out)) if input_gradient else None

    def __repr__(self) -> str:
        return f"LeakyReLU({self.slope!r})"


class Sigmoid(BuiltInLayer):
    """y = 1 / (1 + exp(-x)); dx = dy * y * (1 - y)."""

    def _forward(
        self, x: Array, training: bool, statistics: Statistics, out: Array | None, spare: Any
    ) -> tuple[Array, Any]:
        y = _new(x, out)
        reusable = isinstance(spare, core.SigmoidCache) and spare.y.shape == x.shape
        return y, core._sigmoid_forward(x, y, _new(x, spare.exponential if reusable else None))

    def _backward(
        self, dy: Array, cache: Any, input_gradient: bool, out: Array | None
    ) -> Array | None:
        return core._sigmoid_backward(dy, cache, _new(dy, out)) if input_gradient else None


class Tanh(BuiltInLayer):
    """y = tanh(x); dx = dy * (1 - y^2)."""

    def _forward(
        self, x: Array, training: bool, statistics: Statistics, out: Array | None, spare: Any
    ) -> tuple[Array, Any]:
        y = _new(x, out)
        return y, core._tanh_forward(x, y)

    def _backward(
        self, dy: Array, cache: Any, input_gradient: bool, out: Array | None
    ) -> Array | None:
        return core._tanh_backward(dy, cache, _new(dy, out)) if input_gradient else None


def _new(like: Array, out: Array | None) -> Array:
    return np.empty(like.shape, like.dtype) if out is None else out
