"""Flattening: each image as one row of features. In a network it is a view, and costs nothing."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.operation import Operation, check_backward


class FlattenOperation(Operation):
    """y = x as rows."""

    y_is_view = dx_is_view = True
    shows_infinity = True

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        super().__init__(shape, dtype)
        self.shape = shape[0], prod(shape[1:])

    def forward(self, xp: Any, x: Array, y: Array | None = None) -> Array:
        return xp.reshape(x, self.shape)

    def backward(self, xp: Any, dy: Array, dx: Array | None = None) -> Array:
        return xp.reshape(dy, self.x_shape)


def flatten_forward(x: Array, *, out: Array | None = None) -> tuple[Array, FlattenOperation]:
    """y[n] = the numbers of x[n] one after another, the last axis fastest.

    Parameters
    ----------
    x : (N, ...) array, float32 or float64
    out : array like y, optional

    Returns
    -------
    y : (N, D) array
        A new one.
    cache : FlattenOperation

    Raises
    ------
    TypeError, ValueError
        For an x or out of another type or shape.
    """
    x = checks.batch("x", x)
    operation = FlattenOperation(x.shape, x.dtype)
    y = checks.output(out, operation.shape, x.dtype, (x,))
    np.copyto(y, operation.forward(np, x))
    return y, operation


def flatten_backward(dy: Array, cache: FlattenOperation, *, out: Array | None = None) -> Array:
    """dx = dy in the shape of x, a new array.

    Parameters
    ----------
    dy : (N, D) array
    cache : what `flatten_forward` returned
    out : array like x, optional

    Returns
    -------
    dx : array like x

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape.
    """
    dy, dx = check_backward("flatten_forward", FlattenOperation, dy, cache, out)
    np.copyto(dx, cache.backward(np, dy))
    return dx
