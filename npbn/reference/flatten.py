"""Flattening: each image as one row of features."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

Array = NDArray[Any]


def flatten_forward(x: Array) -> tuple[Array, tuple[int, ...]]:
    """y[n] = the numbers of x[n] one after another, the last axis fastest.

    x (N, ...). Returns y (N, D) and the cache, x's shape.
    """
    return x.reshape(len(x), -1), x.shape


def flatten_backward(dy: Array, cache: tuple[int, ...]) -> Array:
    """dx = dy in the shape of x."""
    return dy.reshape(cache)
