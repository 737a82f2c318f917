"""A fully connected layer, as three matrix products."""

from typing import NamedTuple

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional._sums import column_sums


class DenseCache(NamedTuple):
    """What the backward pass needs of the forward pass."""

    x: Array
    weight: Array
    has_bias: bool


@np.errstate(all="ignore")
def dense_forward(
    x: Array, weight: Array, bias: Array | None = None, *, out: Array | None = None
) -> tuple[Array, DenseCache]:
    """y = x @ weight + bias, over the last axis.

    x (..., in), float32 or float64; weight (in, out) and bias (out,), or None for no bias, of x's
    type. Returns y (..., out) and the cache, which refers to x and weight: change neither before
    the backward pass. TypeError or ValueError for arrays of another type or shape.
    """
    weight = checks.float_array("weight", weight)
    if weight.ndim != 2:
        raise ValueError(f"weight: expected two axes (in, out), got {weight.shape}")
    x = checks.batch("x", x, features=len(weight))
    checks.same_dtype(x, weight=weight)
    if bias is not None:
        bias = checks.vector("bias", bias, weight.shape[1], x)
    y = checks.output(out, (*x.shape[:-1], weight.shape[1]), x.dtype, (x, weight, bias))
    return _dense_forward(x, weight, bias, y)


@np.errstate(all="ignore")
def dense_backward(
    dy: Array, cache: DenseCache, *, out: Array | None = None
) -> tuple[Array, Array, Array | None]:
    """The gradients of x, weight and bias.

        dx      = dy @ weight'
        dweight = x' @ dy           summed over every axis but the last
        dbias   = sum(dy)           None where there is no bias

    dy (..., out); the cache may be used again. Returns dx (..., in), dweight (in, out), dbias
    (out,) or None. TypeError or ValueError for a dy of another type or shape.
    """
    if not isinstance(cache, DenseCache):
        raise TypeError(f"cache: expected what dense_forward returned, got {type(cache).__name__}")
    x, weight, has_bias = cache
    dy = checks.float_array("dy", dy)
    checks.has_shape("dy", dy, (*x.shape[:-1], weight.shape[1]))
    checks.same_dtype(x, dy=dy)
    dx = checks.output(out, x.shape, x.dtype, (dy, x, weight))
    dweight = np.empty(weight.shape, weight.dtype)
    dbias = np.empty(weight.shape[1], weight.dtype) if has_bias else None
    _dense_backward(dy, cache, dx, dweight, dbias)
    return dx, dweight, dbias


def _dense_forward(
    x: Array, weight: Array, bias: Array | None, y: Array
) -> tuple[Array, DenseCache]:
    """Writes y, C-contiguous."""
    np.matmul(x, weight, out=y)
    if bias is not None:
        np.add(y, bias, out=y)
    return y, DenseCache(x, weight, bias is not None)


def _dense_backward(
    dy: Array, cache: DenseCache, dx: Array | None, dweight: Array, dbias: Array | None
) -> None:
    """Writes dx (unless None), dweight and dbias (unless None)."""
    x, weight, _ = cache
    rows, dy_rows = x, dy
    if dy.ndim > 2:
        rows, dy_rows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    np.matmul(rows.T, dy_rows, out=dweight)
    if dbias is not None:
        np.copyto(dbias, column_sums(dy_rows))
    if dx is not None:
        np.matmul(dy, weight.T, out=dx)
