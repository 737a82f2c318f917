"""A fully connected layer: every output is a weighted sum of all inputs."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]


class DenseCache(NamedTuple):
    """What the backward pass needs of the forward pass."""

    x: Array
    weight: Array
    bias: Array | None


def dense_forward(x: Array, weight: Array, bias: Array | None = None) -> tuple[Array, DenseCache]:
    """y = x @ weight + bias, over the last axis.

    x (..., in), weight (in, out), bias (out,) or None for no bias. Returns y (..., out) and the
    cache.
    """
    y = x @ weight
    if bias is not None:
        y = y + bias
    return y, DenseCache(x, weight, bias)


def dense_backward(dy: Array, cache: DenseCache) -> tuple[Array, Array, Array | None]:
    """The gradients of x, weight and bias.

    ::

        dx      = dy @ weight'
        dweight = x' @ dy           summed over every axis but the last
        dbias   = sum(dy)           None where the layer has no bias

    dy (..., out). Returns dx (..., in), dweight (in, out), dbias (out,) or None.
    """
    x, weight, bias = cache
    dx = dy @ weight.T
    rows = x.reshape(-1, x.shape[-1])
    dy_rows = dy.reshape(-1, dy.shape[-1])
    dweight = rows.T @ dy_rows
    dbias = None if bias is None else dy_rows.sum(0)
    return dx, dweight, dbias
