"""Activation functions, each element by itself. x (..., D) is float32 or float64 throughout."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional._denormals import flush, multiply


class LeakyReLUCache(NamedTuple):
    """What the backward pass needs of the forward pass."""

    y: Array
    slope: float


class SigmoidCache(NamedTuple):
    """What the backward pass needs of the forward pass: y, and exp(-x), at most the largest number.

    exp(-x) * y is 1 - y to the last digit, where 1 - y itself has lost them (x > 17 in float32).
    """

    y: Array
    exponential: Array


@np.errstate(all="ignore")
def relu_forward(x: Array, *, out: Array | None = None) -> tuple[Array, Array]:
    """y = max(x, 0). Returns y and the cache, which is y. NaN stays NaN.

    TypeError or ValueError for an x or out of another type or shape.
    """
    y = _output(x, out)
    return y, _relu_forward(x, y)


@np.errstate(all="ignore")
def relu_backward(dy: Array, cache: Array, *, out: Array | None = None) -> Array:
    """dx = dy where x > 0, else 0 (of an infinite dy, NaN). At x = 0, which has no derivative, 0.

    TypeError or ValueError for a dy of another type or shape than the forward pass.
    """
    return _relu_backward(dy, cache, _input_gradient(dy, cache, out))


@np.errstate(all="ignore")
def leaky_relu_forward(
    x: Array, *, slope: float = 0.2, out: Array | None = None
) -> tuple[Array, LeakyReLUCache]:
    """y = x where x > 0, else slope * x, with 0 <= slope < 1. Returns y and the cache.

    TypeError or ValueError for an x, slope or out of another type, range or shape.
    """
    slope = checks.number("slope", slope, minimum=0.0, below=1.0)
    y = _output(x, out, kept=(x,))
    return y, _leaky_relu_forward(x, slope, y)


@np.errstate(all="ignore")
def leaky_relu_backward(dy: Array, cache: LeakyReLUCache, *, out: Array | None = None) -> Array:
    """dx = dy where x > 0, else slope * dy (also at x = 0).

    TypeError or ValueError for a dy of another type or shape than the forward pass.
    """
    if not isinstance(cache, LeakyReLUCache):
        raise TypeError(
            f"cache: expected what leaky_relu_forward returned, got {type(cache).__name__}"
        )
    return _leaky_relu_backward(dy, cache, _input_gradient(dy, cache.y, out))


@np.errstate(all="ignore")
def sigmoid_forward(x: Array, *, out: Array | None = None) -> tuple[Array, SigmoidCache]:
    """y = 1 / (1 + exp(-x)). Returns y and the cache.

    Where y would be below the smallest normal number it is 0: denormal numbers cost a CPU many
    times the time. TypeError or ValueError for an x or out of another type or shape.
    """
    y = _output(x, out)
    return y, _sigmoid_forward(x, y, np.empty(x.shape, x.dtype))


@np.errstate(all="ignore")
def sigmoid_backward(dy: Array, cache: SigmoidCache, *, out: Array | None = None) -> Array:
    """dx = dy * y * (1 - y), or 0 where that, or y * (1 - y), is below the smallest normal number.

    TypeError or ValueError for a dy of another type or shape than the forward pass.
    """
    if not isinstance(cache, SigmoidCache):
        raise TypeError(
            f"cache: expected what sigmoid_forward returned, got {type(cache).__name__}"
        )
    return _sigmoid_backward(dy, cache, _input_gradient(dy, cache.y, out, cache.exponential))


@np.errstate(all="ignore")
def tanh_forward(x: Array, *, out: Array | None = None) -> tuple[Array, Array]:
    """y = tanh(x). Returns y and the cache, which is y.

    TypeError or ValueError for an x or out of another type or shape.
    """
    y = _output(x, out)
    return y, _tanh_forward(x, y)


@np.errstate(all="ignore")
def tanh_backward(dy: Array, cache: Array, *, out: Array | None = None) -> Array:
    """dx = dy * (1 - y^2), or 0 where that is below the smallest normal number.

    TypeError or ValueError for a dy of another type or shape than the forward pass.
    """
    return _tanh_backward(dy, cache, _input_gradient(dy, cache, out))


def _output(x: Array, out: Array | None, kept: tuple[Array, ...] = ()) -> Array:
    checks.batch("x", x)
    return checks.output(out, x.shape, x.dtype, kept)


def _input_gradient(dy: Array, y: Array, out: Array | None, *kept: Array) -> Array:
    checks.float_array("cache", y)
    checks.upstream(dy, y)
    return checks.output(out, dy.shape, dy.dtype, (dy, y, *kept))


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
        flush(exponential)
        np.minimum(exponential, limits.max, out=exponential)
    np.add(exponential, 1, out=y)
    np.divide(1, y, out=y)
    if not usual:
        flush(y)
    return SigmoidCache(y, exponential)


def _sigmoid_backward(dy: Array, cache: SigmoidCache, dx: Array) -> Array:
    np.multiply(cache.exponential, cache.y, out=dx)
    np.multiply(dx, cache.y, out=dx)
    return multiply(dx, dy, out=dx)


def _tanh_forward(x: Array, y: Array) -> Array:
    return np.tanh(x, out=y)


def _tanh_backward(dy: Array, y: Array, dx: Array) -> Array:
    np.multiply(y, y, out=dx)
    np.subtract(1, dx, out=dx)
    return multiply(dx, dy, out=dx)
