"""Activation functions, each element by itself."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class LeakyReLUCache(NamedTuple):
    """What the backward pass needs of the forward pass."""

    x: Array
    slope: float


class SigmoidCache(NamedTuple):
    """What the backward pass needs of the forward pass; rest is 1 - y."""

    y: Array
    rest: Array


def relu_forward(x: Array) -> tuple[Array, Array]:
    """y = max(x, 0). Returns y and the cache, which is x. NaN stays NaN."""
    return np.maximum(x, 0), x


def relu_backward(dy: Array, cache: Array) -> Array:
    """dx = dy where x > 0, else 0. At x = 0, where there is no derivative, dx = 0."""
    x = cache
    return np.where(x > 0, dy, 0).astype(dy.dtype)


def leaky_relu_forward(x: Array, *, slope: float = 0.2) -> tuple[Array, LeakyReLUCache]:
    """y = x where x > 0, else slope * x. Returns y and the cache."""
    return np.where(x > 0, x, slope * x), LeakyReLUCache(x, slope)


def leaky_relu_backward(dy: Array, cache: LeakyReLUCache) -> Array:
    """dx = dy where x > 0, else slope * dy (also at x = 0)."""
    x, slope = cache
    return np.where(x > 0, dy, slope * dy)


def sigmoid_forward(x: Array) -> tuple[Array, SigmoidCache]:
    """y = 1 / (1 + exp(-x)). Returns y and the cache.

    Written as exp(-max(-x, 0)) / (1 + exp(-abs(x))), so that no exponential can overflow. 1 - y is
    that of -x, which has digits left where y has been rounded to 1.
    """
    y = np.exp(-np.maximum(-x, 0)) / (1 + np.exp(-np.abs(x)))
    rest = np.exp(-np.maximum(x, 0)) / (1 + np.exp(-np.abs(x)))
    return y, SigmoidCache(y, rest)


def sigmoid_backward(dy: Array, cache: SigmoidCache) -> Array:
    """dx = dy * y * (1 - y)."""
    y, rest = cache
    return dy * y * rest


def tanh_forward(x: Array) -> tuple[Array, Array]:
    """y = tanh(x). Returns y and the cache, which is y."""
    y = np.tanh(x)
    return y, y


def tanh_backward(dy: Array, cache: Array) -> Array:
    """dx = dy * (1 - y^2)."""
    y = cache
    return dy * (1 - y**2)
