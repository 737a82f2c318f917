"""A fully connected layer, as three matrix products."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.denormals import quiet
from npbn.numerics.operation import Operation, check_backward
from npbn.numerics.sums import BiasGradient


class DenseOperation(Operation):
    """y = x @ weight + bias."""

    reads_x = shows_infinity = True

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        weight_shape: tuple[int, int],
        has_bias: bool,
    ) -> None:
        super().__init__(shape, dtype)
        self.shape, self.has_bias = (*shape[:-1], weight_shape[1]), has_bias
        self._rows = prod(shape[:-1])

    def forward(self, xp: Any, x: Array, weight: Array, bias: Array | None, y: Array) -> None:
        self.x, self.weight = x, weight
        xp.matmul(x, weight, out=y)
        if bias is not None:
            xp.add(y, bias, out=y)

    def prepare_backward(self) -> None:
        if self.has_bias:
            self._bias_gradient = BiasGradient(self.shape, self.dtype)

    def backward(
        self, xp: Any, dy: Array, dx: Array | None, dweight: Array, dbias: Array | None
    ) -> None:
        x_rows, dy_rows = (each.reshape(self._rows, each.shape[-1]) for each in (self.x, dy))
        xp.matmul(x_rows.T, dy_rows, out=dweight)
        if dbias is not None:
            self._bias_gradient.write(xp, dy, dbias)
        if dx is not None:
            xp.matmul(dy, self.weight.T, out=dx)


@quiet()
def dense_forward(
    x: Array, weight: Array, bias: Array | None = None, *, out: Array | None = None
) -> tuple[Array, DenseOperation]:
    """y = x @ weight + bias, over the last axis.

    Parameters
    ----------
    x : (..., in) array, float32 or float64
    weight : (in, out) array, of x's type
    bias : (out,) array, of x's type, optional
    out : array like y, optional

    Returns
    -------
    y : (..., out) array
    cache : DenseOperation
        It refers to x and weight: change neither before the backward pass.

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape.
    """
    weight = checks.float_array("weight", weight)
    if weight.ndim != 2:
        raise ValueError(f"weight: expected two axes (in, out), got {weight.shape}")
    x = checks.batch("x", x, features=len(weight))
    checks.same_dtype(x, weight=weight)
    if bias is not None:
        bias = checks.vector("bias", bias, weight.shape[1], x)
    y = checks.output(out, (*x.shape[:-1], weight.shape[1]), x.dtype, (x, weight, bias))
    operation = DenseOperation(x.shape, x.dtype, weight.shape, bias is not None)
    operation.forward(np, x, weight, bias, y)
    return y, operation


@quiet()
def dense_backward(
    dy: Array, cache: DenseOperation, *, out: Array | None = None
) -> tuple[Array, Array, Array | None]:
    """The gradients of x, weight and bias.

    ::

        dx      = dy @ weight'
        dweight = x' @ dy           summed over every axis but the last
        dbias   = sum(dy)           likewise

    Parameters
    ----------
    dy : (..., out) array
    cache : what `dense_forward` returned
    out : array for dx, optional

    Returns
    -------
    dx : (..., in) array
    dweight : (in, out) array
    dbias : (out,) array, or None where there is no bias

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape.
    """
    dy, dx = check_backward("dense_forward", DenseOperation, dy, cache, out)
    dweight = np.empty(cache.weight.shape, cache.dtype)
    dbias = np.empty(cache.weight.shape[1], cache.dtype) if cache.has_bias else None
    cache.with_own_scratch().backward(np, dy, dx, dweight, dbias)
    return dx, dweight, dbias
