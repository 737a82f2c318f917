"""Activation functions, each element by itself. x (..., D) is float32 or float64 throughout."""

from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional import _denormals
from npbn.numerics.constants import constant, zeros
from npbn.numerics.denormals import flush, multiply, quiet
from npbn.numerics.operation import Operation, check_cache


class Activation(Operation):
    """What activations have in common: dx = dy * derivative, which y tells."""

    y_over_x = reads_y = dx_over_dy = True

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._shape, self._dtype, self._one = shape, dtype, constant(1.0, dtype.char)
        self._zeros = zeros(shape, dtype.char)

    def prepare_backward(self) -> None:
        self._derivative = np.empty(self._shape, self._dtype)

    def differentiate(self, xp: Any) -> None:
        """Writes the derivative, from y."""
        raise NotImplementedError

    def backward(self, xp: Any, dy: Array, dx: Array) -> None:
        self.differentiate(xp)
        multiply(xp, dy, self._derivative, out=dx)


class ReLUOperation(Activation):
    """y = max(x, 0)."""

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        self._y = y
        xp.maximum(x, self._zeros, out=y)

    def differentiate(self, xp: Any) -> None:
        xp.greater(self._y, self._zeros, out=self._derivative)


class LeakyReLUOperation(Activation):
    """y = x where x > 0, else slope * x."""

    y_over_x = False

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], slope: float) -> None:
        super().__init__(shape, dtype)
        self._slope = constant(slope, dtype.char)

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        self._y = y
        # Not slope * x for a slope of 0, which would make NaN of infinity.
        if self._slope:
            xp.multiply(x, self._slope, out=y)
        xp.maximum(x, y if self._slope else self._zeros, out=y)

    def differentiate(self, xp: Any) -> None:
        xp.greater(self._y, self._zeros, out=self._derivative)
        xp.maximum(self._derivative, self._slope, out=self._derivative)


class SigmoidOperation(Activation):
    """y = 1 / (1 + exp(-x)).

    The derivative is y * (1 - y), and exp(-x) * y is 1 - y to the last digit, where 1 - y itself
    has lost them (x > 17 in float32).
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        super().__init__(shape, dtype)
        self._exponential = np.empty(shape, dtype)
        self._tiny, self._most = np.finfo(dtype).tiny, np.finfo(dtype).max

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        self._y = y
        xp.negative(x, out=self._exponential)
        xp.exp(self._exponential, out=self._exponential)
        smallest, largest = xp.min(self._exponential), xp.max(self._exponential)
        usual = smallest >= self._tiny and largest <= 1 / self._tiny
        if not usual:
            flush(xp, self._exponential)
            xp.minimum(self._exponential, self._most, out=self._exponential)
        xp.add(self._exponential, self._one, out=y)
        xp.divide(self._one, y, out=y)
        if not usual:
            flush(xp, y)

    def differentiate(self, xp: Any) -> None:
        xp.multiply(self._exponential, self._y, out=self._derivative)
        multiply(xp, self._derivative, self._y, out=self._derivative)


class TanhOperation(Activation):
    """y = tanh(x); the derivative is 1 - y^2."""

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        self._y = y
        xp.tanh(x, out=y)

    def differentiate(self, xp: Any) -> None:
        xp.multiply(self._y, self._y, out=self._derivative)
        xp.subtract(self._one, self._derivative, out=self._derivative)


@quiet()
def relu_forward(x: Array, *, out: Array | None = None) -> tuple[Array, ReLUOperation]:
    """y = max(x, 0). Returns y and the cache. NaN stays NaN.

    TypeError or ValueError for an x or out of another type or shape.
    """
    y = _output(x, out)
    return y, _run(ReLUOperation(x.shape, x.dtype), x, y)


@quiet()
def relu_backward(dy: Array, cache: ReLUOperation, *, out: Array | None = None) -> Array:
    """dx = dy where x > 0, else 0 (of an infinite dy, NaN). At x = 0, which has no derivative, 0.

    TypeError or ValueError for a dy of another type or shape than the forward pass.
    """
    return _run_back("relu", dy, cache, ReLUOperation, out)


@quiet()
def leaky_relu_forward(
    x: Array, *, slope: float = 0.2, out: Array | None = None
) -> tuple[Array, LeakyReLUOperation]:
    """y = x where x > 0, else slope * x, with 0 <= slope < 1. Returns y and the cache.

    TypeError or ValueError for an x, slope or out of another type, range or shape.
    """
    slope = checks.number("slope", slope, minimum=0.0, below=1.0)
    y = _output(x, out, kept=(x,))
    return y, _run(LeakyReLUOperation(x.shape, x.dtype, slope), x, y)


@quiet()
def leaky_relu_backward(dy: Array, cache: LeakyReLUOperation, *, out: Array | None = None) -> Array:
    """dx = dy where x > 0, else slope * dy (also at x = 0).

    TypeError or ValueError for a dy of another type or shape than the forward pass.
    """
    return _run_back("leaky_relu", dy, cache, LeakyReLUOperation, out)


@quiet()
def sigmoid_forward(x: Array, *, out: Array | None = None) -> tuple[Array, SigmoidOperation]:
    """y = 1 / (1 + exp(-x)). Returns y and the cache.

    Where y would be below the smallest normal number it is 0: denormal numbers cost a CPU many
    times the time. TypeError or ValueError for an x or out of another type or shape.
    """
    y = _output(x, out)
    return y, _run(SigmoidOperation(x.shape, x.dtype), x, y)


@quiet()
def sigmoid_backward(dy: Array, cache: SigmoidOperation, *, out: Array | None = None) -> Array:
    """dx = dy * y * (1 - y), or 0 where that, or y * (1 - y), is below the smallest normal number.

    TypeError or ValueError for a dy of another type or shape than the forward pass.
    """
    return _run_back("sigmoid", dy, cache, SigmoidOperation, out)


@quiet()
def tanh_forward(x: Array, *, out: Array | None = None) -> tuple[Array, TanhOperation]:
    """y = tanh(x). Returns y and the cache.

    TypeError or ValueError for an x or out of another type or shape.
    """
    y = _output(x, out)
    return y, _run(TanhOperation(x.shape, x.dtype), x, y)


@quiet()
def tanh_backward(dy: Array, cache: TanhOperation, *, out: Array | None = None) -> Array:
    """dx = dy * (1 - y^2), or 0 where that is below the smallest normal number.

    TypeError or ValueError for a dy of another type or shape than the forward pass.
    """
    return _run_back("tanh", dy, cache, TanhOperation, out)


def _output(x: Array, out: Array | None, kept: tuple[Array, ...] = ()) -> Array:
    checks.batch("x", x)
    return checks.output(out, x.shape, x.dtype, kept)


Kind = TypeVar("Kind", bound=Activation)


def _run(operation: Kind, x: Array, y: Array) -> Kind:
    """The operation, which keeps the derivative: the caller may write into y."""
    operation.forward(np, x, y)
    operation.prepare_backward()
    operation.differentiate(np)
    return operation


def _run_back(
    name: str, dy: Array, cache: Activation, kind: type[Activation], out: Array | None
) -> Array:
    check_cache(cache, kind, f"{name}_forward")
    derivative = cache._derivative
    dy = checks.upstream(dy, derivative)
    dx = checks.output(out, dy.shape, dy.dtype, (dy, derivative))
    multiply(np, dy, derivative, out=dx)
    return dx


# The old cores, until no layer calls them.


class LeakyReLUCache(NamedTuple):
    """The old cache."""

    y: Array
    slope: float


class SigmoidCache(NamedTuple):
    """The old cache."""

    y: Array
    exponential: Array


@lru_cache(maxsize=64)
def _zeros(shape: tuple[int, ...], dtype: str) -> Array:
    # np.maximum takes an array of zeros in a third of the time that the scalar 0 takes (1.4 against
    # 4.8 us at (60, 100)); where that would not stay in cache, one row of it.
    if np.prod(shape) > 16384:
        shape = (shape[-1] if shape[-1] <= 16384 else 1,)
    zeros = np.zeros(shape, dtype)
    zeros.flags.writeable = False
    return zeros


def _relu_forward(x: Array, y: Array) -> Array:
    return np.maximum(x, _zeros(x.shape, x.dtype.char), out=y)


def _relu_backward(dy: Array, y: Array, dx: Array) -> Array:
    return np.multiply(dy, np.greater(y, 0), out=dx)


def _leaky_relu_forward(x: Array, slope: float, y: Array) -> LeakyReLUCache:
    # Not slope * x for a slope of 0, which would make NaN of infinity.
    np.maximum(x, np.multiply(x, slope, out=y) if slope else 0, out=y)
    return LeakyReLUCache(y, slope)


def _leaky_relu_backward(dy: Array, cache: LeakyReLUCache, dx: Array) -> Array:
    np.multiply(dy, cache.slope, out=dx)
    np.copyto(dx, dy, where=cache.y > 0)
    return dx


def _sigmoid_forward(x: Array, y: Array, exponential: Array) -> SigmoidCache:
    limits = np.finfo(x.dtype)
    np.negative(x, out=exponential)
    np.exp(exponential, out=exponential)
    smallest, largest = exponential.min(), exponential.max()
    usual = smallest >= limits.tiny and largest <= 1 / limits.tiny
    if not usual:
        _denormals.flush(exponential)
        np.minimum(exponential, limits.max, out=exponential)
    np.add(exponential, 1, out=y)
    np.divide(1, y, out=y)
    if not usual:
        _denormals.flush(y)
    return SigmoidCache(y, exponential)


def _sigmoid_backward(dy: Array, cache: SigmoidCache, dx: Array) -> Array:
    np.multiply(cache.exponential, cache.y, out=dx)
    np.multiply(dx, cache.y, out=dx)
    return _denormals.multiply(dx, dy, out=dx)


def _tanh_forward(x: Array, y: Array) -> Array:
    return np.tanh(x, out=y)


def _tanh_backward(dy: Array, y: Array, dx: Array) -> Array:
    np.multiply(y, y, out=dx)
    np.subtract(1, dx, out=dx)
    return _denormals.multiply(dx, dy, out=dx)
