"""Instance normalization: Ulyanov, Vedaldi & Lempitsky 2016."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class InstanceNormCache(NamedTuple):
    """What the backward pass needs of the forward pass; x_hat is (N, ..., D), std (N, ..., D)."""

    x_hat: Array
    std: Array
    gamma: Array


def instance_norm_forward(
    x: Array, gamma: Array, beta: Array, *, epsilon: float = 1e-5
) -> tuple[Array, InstanceNormCache]:
    """Normalize each channel of each example over all places, then scale and shift each channel.

    ::

        mean     = sum(x) / m                   over every axis but the first and the last
        variance = sum((x - mean)^2) / m
        x_hat    = (x - mean) / sqrt(variance + epsilon)
        y        = gamma * x_hat + beta

    x (N, ..., D), gamma and beta (D,); m is the number of places. Returns y, shaped like x, and the
    cache.
    """
    axes = tuple(range(1, x.ndim - 1))
    mean = x.mean(axes, keepdims=True)
    variance = ((x - mean) ** 2).mean(axes, keepdims=True)
    std = np.sqrt(variance + epsilon)
    x_hat = (x - mean) / std
    return gamma * x_hat + beta, InstanceNormCache(x_hat, std, gamma)


def instance_norm_backward(dy: Array, cache: InstanceNormCache) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta.

    ::

        dx_hat = dy * gamma
        dx     = (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat)) / std
        dgamma = sum(dy * x_hat)
        dbeta  = sum(dy)

    The means are over the places, the sums over examples and places. dy (N, ..., D) like x. Returns
    dx (N, ..., D), dgamma (D,), dbeta (D,).
    """
    x_hat, std, gamma = cache
    axes = tuple(range(1, dy.ndim - 1))
    dx_hat = dy * gamma
    mean_dx_hat = dx_hat.mean(axes, keepdims=True)
    mean_product = (dx_hat * x_hat).mean(axes, keepdims=True)
    dx = (dx_hat - mean_dx_hat - x_hat * mean_product) / std
    axes = tuple(range(dy.ndim - 1))
    return dx, (dy * x_hat).sum(axes), dy.sum(axes)
