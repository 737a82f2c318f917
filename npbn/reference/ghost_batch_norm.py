"""Ghost batch normalization as its authors state it: Hoffer, Hubara & Soudry 2017."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from npbn.reference.batch_norm import BatchNormCache, batch_norm_backward, batch_norm_forward

Array = NDArray[Any]


class GhostBatchNormCache(NamedTuple):
    """What the backward pass needs: for each ghost batch its rows, and batch norm's cache."""

    rows: list[slice]
    caches: list[BatchNormCache]

    @property
    def mean(self) -> Array:
        """The mean of each ghost batch, (ghosts, D)."""
        return np.stack([cache.mean for cache in self.caches])

    @property
    def variance(self) -> Array:
        """The biased variance of each ghost batch, (ghosts, D)."""
        return np.stack([cache.variance for cache in self.caches])


def ghost_batch_norm_forward(
    x: Array, gamma: Array, beta: Array, *, ghost_size: int, epsilon: float = 1e-3
) -> tuple[Array, GhostBatchNormCache]:
    """Cut x along its first axis into ghost batches, and normalize each by its own statistics.

    ::

        x_g = x[g * ghost_size : (g + 1) * ghost_size]
        y_g = gamma * (x_g - mean(x_g)) / sqrt(variance(x_g) + epsilon) + beta

    x (N, ..., D), gamma and beta (D,). Where ghost_size does not divide N, the last ghost batch is
    smaller. Returns y, shaped like x, and the cache for ghost_batch_norm_backward. Algorithm 1 of
    the paper.
    """
    starts = range(0, len(x), ghost_size)
    rows = [slice(start, min(start + ghost_size, len(x))) for start in starts]
    ys, caches = zip(
        *(batch_norm_forward(x[each], gamma, beta, epsilon=epsilon) for each in rows), strict=True
    )
    return np.concatenate(ys), GhostBatchNormCache(rows, list(caches))


def ghost_batch_norm_backward(dy: Array, cache: GhostBatchNormCache) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta: batch norm's of each ghost batch, the latter two's sums.

    ::

        dx_g, dgamma_g, dbeta_g = batch_norm_backward(dy_g, cache_g)
        dgamma = sum over g of dgamma_g
        dbeta  = sum over g of dbeta_g

    dy (N, ..., D) like x. Returns dx (N, ..., D), dgamma (D,), dbeta (D,).
    """
    parts = zip(cache.rows, cache.caches, strict=True)
    dxs, dgammas, dbetas = zip(
        *(batch_norm_backward(dy[rows], each) for rows, each in parts), strict=True
    )
    return np.concatenate(dxs), np.sum(dgammas, axis=0), np.sum(dbetas, axis=0)
