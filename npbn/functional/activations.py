"""Activation functions, each element by itself. x (..., D) is float32 or float64 throughout."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.constants import constant, zeros
from npbn.numerics.denormals import flush, multiply, quiet
from npbn.numerics.operation import Operation, check_backward


class Activation(Operation):
    """What activations have in common: dx = dy * derivative, which y tells."""

    y_over_x = reads_y = True
    derivative: Array  # kept in a cache of the functions below

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        super().__init__(shape, dtype)
        self._one, self._zeros = constant(1.0, dtype.char), zeros(shape, dtype.char)

    def differentiate(self, xp: Any, derivative: Array) -> None:
        """Writes the derivative, from y."""
        raise NotImplementedError

    def backward(self, xp: Any, dy: Array, dx: Array) -> None:
        self.differentiate(xp, dx)
        multiply(xp, dy, dx, out=dx)


Kind = TypeVar("Kind", bound=Activation)


class ReLUOperation(Activation):
    """y = max(x, 0)."""

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        self._y = y
        xp.maximum(x, self._zeros, out=y)

    def differentiate(self, xp: Any, derivative: Array) -> None:
        xp.greater(self._y, self._zeros, out=derivative)


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

    def differentiate(self, xp: Any, derivative: Array) -> None:
        xp.greater(self._y, self._zeros, out=derivative)
        xp.maximum(derivative, self._slope, out=derivative)


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

    def differentiate(self, xp: Any, derivative: Array) -> None:
        xp.multiply(self._exponential, self._y, out=derivative)
        multiply(xp, derivative, self._y, out=derivative)


class TanhOperation(Activation):
    """y = tanh(x); the derivative is 1 - y^2."""

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        self._y = y
        xp.tanh(x, out=y)

    def differentiate(self, xp: Any, derivative: Array) -> None:
        xp.multiply(self._y, self._y, out=derivative)
        xp.subtract(self._one, derivative, out=derivative)


@quiet()
def relu_forward(x: Array, *, out: Array | None = None) -> tuple[Array, ReLUOperation]:
    """y = max(x, 0). NaN stays NaN.

    Parameters
    ----------
    x : (..., D) array, float32 or float64
    out : array like x, optional
        It may be x itself.

    Returns
    -------
    y : array like x
    cache : ReLUOperation

    Raises
    ------
    TypeError, ValueError
        For an x or out of another type or shape.
    """
    return _forward(ReLUOperation, x, out)


@quiet()
def relu_backward(dy: Array, cache: ReLUOperation, *, out: Array | None = None) -> Array:
    """dx = dy where x > 0, else 0 (of an infinite dy, NaN). At x = 0, which has no derivative, 0.

    Parameters
    ----------
    dy : array like x
    cache : what `relu_forward` returned
    out : array like x, optional

    Returns
    -------
    dx : array like x

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape than the forward pass.
    """
    return _backward("relu_forward", ReLUOperation, dy, cache, out)


@quiet()
def leaky_relu_forward(
    x: Array, *, slope: float = 0.2, out: Array | None = None
) -> tuple[Array, LeakyReLUOperation]:
    """y = x where x > 0, else slope * x.

    Parameters
    ----------
    x : (..., D) array, float32 or float64
    slope : float
        From 0 to below 1.
    out : array like x, optional

    Returns
    -------
    y : array like x
    cache : LeakyReLUOperation

    Raises
    ------
    TypeError, ValueError
        For an x, slope or out of another type, range or shape.
    """
    slope = checks.number("slope", slope, minimum=0.0, below=1.0)
    return _forward(LeakyReLUOperation, x, out, slope)


@quiet()
def leaky_relu_backward(dy: Array, cache: LeakyReLUOperation, *, out: Array | None = None) -> Array:
    """dx = dy where x > 0, else slope * dy (also at x = 0).

    Parameters
    ----------
    dy : array like x
    cache : what `leaky_relu_forward` returned
    out : array like x, optional

    Returns
    -------
    dx : array like x

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape than the forward pass.
    """
    return _backward("leaky_relu_forward", LeakyReLUOperation, dy, cache, out)


@quiet()
def sigmoid_forward(x: Array, *, out: Array | None = None) -> tuple[Array, SigmoidOperation]:
    """y = 1 / (1 + exp(-x)).

    Where y would be below the smallest normal number it is 0: denormal numbers cost a CPU many
    times the time.

    Parameters
    ----------
    x : (..., D) array, float32 or float64
    out : array like x, optional
        It may be x itself.

    Returns
    -------
    y : array like x
    cache : SigmoidOperation

    Raises
    ------
    TypeError, ValueError
        For an x or out of another type or shape.
    """
    return _forward(SigmoidOperation, x, out)


@quiet()
def sigmoid_backward(dy: Array, cache: SigmoidOperation, *, out: Array | None = None) -> Array:
    """dx = dy * y * (1 - y), or 0 where that, or y * (1 - y), is below the smallest normal number.

    Parameters
    ----------
    dy : array like x
    cache : what `sigmoid_forward` returned
    out : array like x, optional

    Returns
    -------
    dx : array like x

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape than the forward pass.
    """
    return _backward("sigmoid_forward", SigmoidOperation, dy, cache, out)


@quiet()
def tanh_forward(x: Array, *, out: Array | None = None) -> tuple[Array, TanhOperation]:
    """y = tanh(x).

    Parameters
    ----------
    x : (..., D) array, float32 or float64
    out : array like x, optional
        It may be x itself.

    Returns
    -------
    y : array like x
    cache : TanhOperation

    Raises
    ------
    TypeError, ValueError
        For an x or out of another type or shape.
    """
    return _forward(TanhOperation, x, out)


@quiet()
def tanh_backward(dy: Array, cache: TanhOperation, *, out: Array | None = None) -> Array:
    """dx = dy * (1 - y^2), or 0 where that is below the smallest normal number.

    Parameters
    ----------
    dy : array like x
    cache : what `tanh_forward` returned
    out : array like x, optional

    Returns
    -------
    dx : array like x

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape than the forward pass.
    """
    return _backward("tanh_forward", TanhOperation, dy, cache, out)


def _forward(kind: type[Kind], x: Array, out: Array | None, *settings: float) -> tuple[Array, Kind]:
    """y, and the operation, which keeps the derivative: the caller may write into y."""
    x = checks.batch("x", x)
    y = checks.output(out, x.shape, x.dtype, () if kind.y_over_x else (x,))
    operation = kind(x.shape, x.dtype, *settings)
    operation.forward(np, x, y)
    operation.derivative = np.empty(x.shape, x.dtype)
    operation.differentiate(np, operation.derivative)
    return y, operation


def _backward(
    source: str, kind: type[Activation], dy: Array, cache: Any, out: Array | None
) -> Array:
    dy, dx = check_backward(source, kind, dy, cache, out)
    multiply(np, dy, cache.derivative, out=dx)
    return dx
