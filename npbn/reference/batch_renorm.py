"""Batch renormalization as the paper states it: Ioffe 2017, Algorithm 1."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from npbn.reference.batch_norm import BatchNormCache, batch_norm_backward, batch_norm_forward

Array = NDArray[Any]


class BatchRenormCache(NamedTuple):
    """What the backward pass needs: r and d, (D,), and batch norm's cache, whose gamma is 1."""

    r: Array
    d: Array
    gamma: Array
    normalized: BatchNormCache

    @property
    def mean(self) -> Array:
        """The mean of the batch, (D,)."""
        return self.normalized.mean

    @property
    def std(self) -> Array:
        """sqrt(variance + epsilon) of the batch, (D,)."""
        return np.sqrt(self.normalized.variance + self.normalized.epsilon)


def batch_renorm_corrections(
    x: Array,
    mean: Array,
    std: Array,
    *,
    r_max: float = 3.0,
    d_max: float = 5.0,
    epsilon: float = 1e-3,
) -> Array:
    """r and d, which lead from the batch's statistics to the population's.

    ::

        mean_B = sum(x) / m
        std_B  = sqrt(epsilon + sum((x - mean_B)^2) / m)
        r      = clip(std_B / std, 1 / r_max, r_max)
        d      = clip((mean_B - mean) / std, -d_max, d_max)

    x (..., D); mean and std (D,), the population's; m is the number of values per feature. Returns
    an array (2, D): r, d = batch_renorm_corrections(...).
    """
    axes = tuple(range(x.ndim - 1))
    mean_of_batch = x.mean(axes)
    std_of_batch = np.sqrt(epsilon + ((x - mean_of_batch) ** 2).mean(axes))
    r = np.clip(std_of_batch / std, 1 / r_max, r_max)
    d = np.clip((mean_of_batch - mean) / std, -d_max, d_max)
    return np.stack([r, d])


def batch_renorm_forward(
    x: Array, gamma: Array, beta: Array, r: Array, d: Array, *, epsilon: float = 1e-3
) -> tuple[Array, BatchRenormCache]:
    """Normalize x by the batch's statistics, correct that by r and d, then scale and shift.

    ::

        x_hat = (x - mean_B) / std_B * r + d
        y     = gamma * x_hat + beta

    x (..., D), the others (D,); r and d, which batch_renorm_corrections gives, are constants: no
    gradient goes through them. Where they are not clipped, x_hat = (x - mean) / std, with the
    population's statistics, as in inference. Returns y, shaped like x, and the cache for
    batch_renorm_backward.
    """
    normalized, cache = batch_norm_forward(x, np.ones_like(gamma), 0 * beta, epsilon=epsilon)
    x_hat = normalized * r + d
    return gamma * x_hat + beta, BatchRenormCache(r, d, gamma, cache)


def batch_renorm_backward(dy: Array, cache: BatchRenormCache) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta; r and d are constants.

    ::

        dx     = batch norm's of dy * gamma * r
        dgamma = sum(dy * x_hat)
        dbeta  = sum(dy)

    dy (..., D) like x. Returns dx (..., D), dgamma (D,), dbeta (D,).
    """
    r, d, gamma, normalized = cache
    axes = tuple(range(dy.ndim - 1))
    dx, *_ = batch_norm_backward(dy * gamma * r, normalized)
    x_hat = normalized.x_hat * r + d
    dgamma = (dy * x_hat).sum(axes)
    dbeta = dy.sum(axes)
    return dx, dgamma, dbeta
