"""Layer normalization: Ba, Kiros & Hinton 2016."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class LayerNormCache(NamedTuple):
    """What the backward pass needs of the forward pass; x_hat is (..., D), std (..., 1)."""

    x_hat: Array
    std: Array
    gamma: Array


def layer_norm_forward(
    x: Array, gamma: Array, beta: Array, *, epsilon: float = 1e-5
) -> tuple[Array, LayerNormCache]:
    """Normalize each row over the last axis, then scale and shift each feature.

    ::

        mean     = sum(x) / D                   over the last axis
        variance = sum((x - mean)^2) / D
        x_hat    = (x - mean) / sqrt(variance + epsilon)
        y        = gamma * x_hat + beta

    x (..., D), gamma and beta (D,). Returns y, shaped like x, and the cache.
    """
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    std = np.sqrt(variance + epsilon)
    x_hat = (x - mean) / std
    return gamma * x_hat + beta, LayerNormCache(x_hat, std, gamma)


def layer_norm_backward(dy: Array, cache: LayerNormCache) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta.

    ::

        dx_hat = dy * gamma
        dx     = (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat)) / std
        dgamma = sum(dy * x_hat)
        dbeta  = sum(dy)

    The means are over the last axis, the sums over every axis but the last. dy (..., D) like x.
    Returns dx (..., D), dgamma (D,), dbeta (D,).
    """
    x_hat, std, gamma = cache
    dx_hat = dy * gamma
    mean_dx_hat = dx_hat.mean(-1, keepdims=True)
    mean_product = (dx_hat * x_hat).mean(-1, keepdims=True)
    dx = (dx_hat - mean_dx_hat - x_hat * mean_product) / std
    axes = tuple(range(dy.ndim - 1))
    return dx, (dy * x_hat).sum(axes), dy.sum(axes)
