"""Group normalization: Wu & He 2018."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class GroupNormCache(NamedTuple):
    """What the backward pass needs of the forward pass.

    x_hat is (N, places, groups, D / groups), std (N, 1, groups, 1), gamma (D,).
    """

    x_hat: Array
    std: Array
    gamma: Array


def group_norm_forward(
    x: Array, gamma: Array, beta: Array, *, groups: int, epsilon: float = 1e-5
) -> tuple[Array, GroupNormCache]:
    """Normalize each example over all places and the channels of a group, then scale and shift.

    ::

        mean     = sum(x) / m                   over the places and the channels of the group
        variance = sum((x - mean)^2) / m
        x_hat    = (x - mean) / sqrt(variance + epsilon)
        y        = gamma * x_hat + beta         gamma and beta a channel

    x (N, ..., D), gamma and beta (D,); m is the number of places times D / groups. Returns y,
    shaped like x, and the cache.
    """
    grouped = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    mean = grouped.mean((1, 3), keepdims=True)
    variance = ((grouped - mean) ** 2).mean((1, 3), keepdims=True)
    std = np.sqrt(variance + epsilon)
    x_hat = (grouped - mean) / std
    return gamma * x_hat.reshape(x.shape) + beta, GroupNormCache(x_hat, std, gamma)


def group_norm_backward(dy: Array, cache: GroupNormCache) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta.

    ::

        dx_hat = dy * gamma
        dx     = (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat)) / std
        dgamma = sum(dy * x_hat)
        dbeta  = sum(dy)

    The means are over the places and the channels of a group, the sums over examples and places. dy
    (N, ..., D) like x. Returns dx (N, ..., D), dgamma (D,), dbeta (D,).
    """
    x_hat, std, gamma = cache
    dx_hat = (dy * gamma).reshape(x_hat.shape)
    mean_dx_hat = dx_hat.mean((1, 3), keepdims=True)
    mean_product = (dx_hat * x_hat).mean((1, 3), keepdims=True)
    dx = (dx_hat - mean_dx_hat - x_hat * mean_product) / std
    axes = tuple(range(dy.ndim - 1))
    return dx.reshape(dy.shape), (dy * x_hat.reshape(dy.shape)).sum(axes), dy.sum(axes)
