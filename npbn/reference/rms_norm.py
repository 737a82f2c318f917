"""RMS normalization: each row is divided by its root mean square (Zhang & Sennrich 2019)."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class RMSNormCache(NamedTuple):
    """What the backward pass needs of the forward pass; x_hat is (..., D), rms (..., 1)."""

    x_hat: Array
    rms: Array
    gamma: Array


def rms_norm_forward(
    x: Array, gamma: Array, *, epsilon: float = 1e-5
) -> tuple[Array, RMSNormCache]:
    """Divide each row by its root mean square, then scale each feature.

    ::

        rms   = sqrt(mean(x^2) + epsilon)       over the last axis
        x_hat = x / rms
        y     = gamma * x_hat

    x (..., D), gamma (D,). Returns y, shaped like x, and the cache.
    """
    rms = np.sqrt((x**2).mean(-1, keepdims=True) + epsilon)
    x_hat = x / rms
    return gamma * x_hat, RMSNormCache(x_hat, rms, gamma)


def rms_norm_backward(dy: Array, cache: RMSNormCache) -> tuple[Array, Array]:
    """The gradients of x and gamma.

    ::

        dx_hat = dy * gamma
        dx     = (dx_hat - x_hat * mean(dx_hat * x_hat)) / rms      the mean over the last axis
        dgamma = sum(dy * x_hat)                                    over every axis but the last

    dy (..., D) like x. Returns dx (..., D), dgamma (D,).
    """
    x_hat, rms, gamma = cache
    dx_hat = dy * gamma
    dx = (dx_hat - x_hat * (dx_hat * x_hat).mean(-1, keepdims=True)) / rms
    dgamma = (dy * x_hat).sum(tuple(range(dy.ndim - 1)))
    return dx, dgamma
