"""RMS normalization, fast: Zhang & Sennrich 2019."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.blocks import SMALL
from npbn.numerics.constants import constant
from npbn.numerics.denormals import quiet
from npbn.numerics.operation import Operation, check_backward, put_back, writable
from npbn.numerics.tape import repeated


@quiet()
def rms_norm_forward(
    x: Array, gamma: Array, *, epsilon: float = 1e-5, out: Array | None = None
) -> tuple[Array, RMSNormOperation]:
    """Divide each row by its root mean square, then scale each feature.

    ::

        rms = sqrt(mean(x^2) + epsilon)       over the last axis
        y   = gamma * x / rms

    Zhang & Sennrich 2019, equation 4, and the epsilon that all since have added.

    Parameters
    ----------
    x : (..., D) array, float32 or float64
    gamma : (D,) array, of x's type
    epsilon : float
    out : array like x, optional

    Returns
    -------
    y : array like x
    cache : RMSNormOperation
        It refers to x and gamma: change neither before the backward pass.

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape.

    Notes
    -----
    A row with an infinity or NaN makes y NaN throughout the row; one of zeros is 0, also without
    epsilon. Any other is exact to rounding: of float32 however large or small it is, of float64
    where its mean square is from 1e-290 to 1e300.
    """
    x = checks.batch("x", x)
    gamma = checks.vector("gamma", gamma, x.shape[-1], x)
    operation = RMSNormOperation(x.shape, x.dtype, checks.epsilon(epsilon, x.dtype))
    y = checks.output(out, x.shape, x.dtype, (x, gamma))
    operation.forward(np, x, gamma, y)
    return y, operation


@quiet()
def rms_norm_backward(
    dy: Array, cache: RMSNormOperation, *, out: Array | None = None
) -> tuple[Array, Array]:
    """The gradients of x and gamma.

    ::

        dx_hat = dy * gamma
        dx     = (dx_hat - x_hat * mean(dx_hat * x_hat)) / rms      the mean over the last axis
        dgamma = sum(dy * x_hat)                                    over every axis but the last

    with x_hat = x / rms.

    Parameters
    ----------
    dy : (..., D) array like x
    cache : what `rms_norm_forward` returned
    out : array for dx, optional

    Returns
    -------
    dx : (..., D) array
    dgamma : (D,) array
        In float32 it is off by at most 5e-7 of its value or of the root of the sum of its terms'
        squares.

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape.
    """
    dy, dx = check_backward("rms_norm_forward", RMSNormOperation, dy, cache, out)
    dgamma = np.empty(dy.shape[-1:], dy.dtype)
    cache.with_own_scratch().backward(np, dy, dx, dgamma)
    return dx, dgamma


class RMSNormOperation(Operation):
    """In float64, some rows at a time: so of a float32 array no digit is lost, no square overflows.

    Of an array of 32,768 values or less, all at once.
    """

    y_over_x = reads_x = dx_over_dy = shows_infinity = True

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], epsilon: float) -> None:
        super().__init__(shape, dtype)
        self._rows, self._features = prod(shape[:-1]), shape[-1]
        self._most = min(self._rows, max(1, SMALL // self._features))
        self._size = constant(float(self._features), "d")
        self._epsilon = constant(epsilon, "d")
        self._values, self._rms = np.empty((self._most, self._features)), np.empty((self._rows, 1))

    def forward(self, xp: Any, x: Array, gamma: Array, y: Array) -> None:
        self._x, self._gamma = x, gamma
        written = writable(y)
        for given, values, rms, out in self._some_rows(xp, x, self._values, self._rms, written):
            xp.copyto(values, given)
            xp.vecdot(values, values, keepdims=True, out=rms)
            xp.divide(rms, self._size, out=rms)
            xp.add(rms, self._epsilon, out=rms)
            xp.sqrt(rms, out=rms)
            if not xp.max(rms) < np.inf:
                # Dividing by infinity would make the rest of the row 0, and hide it.
                xp.copyto(rms, np.nan, where=xp.isinf(rms))
            if not self._epsilon:
                xp.copyto(rms, np.inf, where=xp.equal(rms, 0))
            xp.divide(values, rms, out=values)
            xp.multiply(values, gamma, out=out)
        put_back(xp, written, y)

    def prepare_backward(self) -> None:
        self._x_hat, self._dx_hat, self._products = np.empty((3, self._most, self._features))
        self._mean, self._sum = np.empty((self._most, 1)), np.empty(self._features)
        self._ones = constant(1.0, "d", self._most)

    def backward(self, xp: Any, dy: Array, dx: Array | None, dgamma: Array) -> None:
        written = dy if dx is None else writable(dx)  # only read where nobody wants dx
        arrays = (dy, self._x, self._rms, written)
        room = (self._x_hat, self._dx_hat, self._products, self._mean)
        xp.copyto(self._sum, 0.0)
        for given, x, rms, out, x_hat, dx_hat, products, mean in self._some_rows(
            xp, *arrays, *room
        ):
            xp.divide(x, rms, out=x_hat)
            xp.multiply(given, x_hat, out=products)
            sums = xp.dot(self._ones[: len(products)], products)
            xp.add(self._sum, sums, out=self._sum)
            if dx is not None:
                xp.multiply(given, self._gamma, out=dx_hat, dtype=np.float64)
                xp.vecdot(dx_hat, x_hat, keepdims=True, out=mean)
                xp.divide(mean, self._size, out=mean)
                xp.multiply(x_hat, mean, out=x_hat)
                xp.subtract(dx_hat, x_hat, out=dx_hat)
                xp.divide(dx_hat, rms, out=out)
        xp.copyto(dgamma, self._sum)
        if dx is not None:
            put_back(xp, written, dx)

    def _some_rows(self, xp: Any, *arrays: Array) -> Iterator[list[Array]]:
        """The arrays, as many rows at a time as there is room for, and as much of the room."""
        in_rows = [each.reshape(-1, each.shape[-1]) for each in arrays]
        for start in repeated(xp, range(0, self._rows, self._most)):
            stop = min(start + self._most, self._rows)
            rows, room = slice(start, stop), slice(stop - start)
            yield [each[rows if len(each) == self._rows else room] for each in in_rows]
