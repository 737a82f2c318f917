"""Ghost batch normalization: Hoffer, Hubara & Soudry 2017, Algorithm 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional.batch_norm import BatchNormOperation
from npbn.numerics.constants import constant
from npbn.numerics.denormals import quiet
from npbn.numerics.operation import Operation, check_backward
from npbn.numerics.tape import named, repeated


@quiet()
def ghost_batch_norm_forward(
    x: Array,
    gamma: Array,
    beta: Array,
    *,
    ghost_size: int,
    epsilon: float = 1e-3,
    out: Array | None = None,
) -> tuple[Array, GhostBatchNormOperation]:
    """Cut x along its first axis into ghost batches, and normalize each by its own statistics.

    ::

        x_g = x[g * ghost_size : (g + 1) * ghost_size]
        y_g = gamma * (x_g - mean(x_g)) / sqrt(variance(x_g) + epsilon) + beta

    Each is exactly what `batch_norm_forward` makes of it. Hoffer, Hubara & Soudry 2017.

    Parameters
    ----------
    x : (N, ..., D) array, float32 or float64
    gamma, beta : (D,) array, of x's type
    ghost_size : int
        Where it does not divide N, the last ghost batch is smaller; of one value a feature it
        becomes beta.
    epsilon : float
    out : array like x, optional

    Returns
    -------
    y : array like x
    cache : GhostBatchNormOperation
        For `ghost_batch_norm_backward`. cache.mean and cache.variance, the biased one, are
        (ghosts, D).

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape.
    """
    x = checks.batch("x", x)
    gamma = checks.vector("gamma", gamma, x.shape[-1], x)
    beta = checks.vector("beta", beta, x.shape[-1], x)
    sizes = GhostBatchNormOperation.sizes(
        len(x), checks.integer("ghost_size", ghost_size, minimum=1)
    )
    operation = GhostBatchNormOperation(x.shape, x.dtype, checks.epsilon(epsilon, x.dtype), sizes)
    y = checks.output(out, x.shape, x.dtype, (x, gamma, beta))
    operation.forward(np, x, gamma, beta, y)
    return y, operation


@quiet()
def ghost_batch_norm_backward(
    dy: Array, cache: GhostBatchNormOperation, *, out: Array | None = None
) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta: batch norm's of each ghost batch, the latter two's sums.

    ::

        dx_g, dgamma_g, dbeta_g = batch_norm_backward(dy_g, cache_g)
        dgamma = sum over g of dgamma_g
        dbeta  = sum over g of dbeta_g

    Parameters
    ----------
    dy : (N, ..., D) array like x
    cache : what `ghost_batch_norm_forward` returned
    out : array for dx, optional

    Returns
    -------
    dx : (N, ..., D) array
    dgamma, dbeta : (D,) array

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape.
    """
    dy, dx = check_backward("ghost_batch_norm_forward", GhostBatchNormOperation, dy, cache, out)
    dgamma, dbeta = np.empty((2, dy.shape[-1]), dy.dtype)
    cache.with_own_scratch().backward(np, dy, dx, dgamma, dbeta)
    return dx, dgamma, dbeta


class GhostBatchNormOperation(Operation):
    """Batch normalization of one part of the rows after another.

    Parameters
    ----------
    sizes : sequence of int
        How many rows each ghost batch has.
    weights : (2, ghosts) array, optional
        Of their means and variances, where `keep_statistics_in` is called.
    """

    y_over_x = shows_infinity = True

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        epsilon: float,
        sizes: Sequence[int],
        weights: Array | None = None,
    ) -> None:
        super().__init__(shape, dtype)
        features, stops = shape[-1], np.cumsum(sizes).tolist()
        self._rows = [slice(stop - size, stop) for stop, size in zip(stops, sizes, strict=True)]
        self._ghosts = [BatchNormOperation.of((size, *shape[1:]), dtype, epsilon) for size in sizes]
        self._statistics = np.empty((len(sizes), 2 * features))
        for ghost, row in zip(self._ghosts, self._statistics, strict=True):
            ghost.keep_statistics_in(row)
        self._means = self._statistics[:, :features]
        self._variances = self._statistics[:, features:]
        self._batch_mean, self._batch_variance = np.empty((2, features))
        if weights is None:
            weights = np.full((2, len(sizes)), 1 / len(sizes))
        self._mean_weights, self._variance_weights = weights

    @staticmethod
    def sizes(rows: int, ghost_size: int) -> list[int]:
        """How many rows each ghost batch of a batch has: ghost_size, the last one maybe less."""
        return [min(ghost_size, rows - start) for start in range(0, rows, ghost_size)]

    def keep_statistics_in(self, vector: Array) -> None:
        """Write the weighted sums of means and variances into this vector (2 * D) of float64."""
        features = self.shape[-1]
        self._batch_mean, self._batch_variance = vector[:features], vector[features:]

    def forward(self, xp: Any, x: Array, gamma: Array, beta: Array, y: Array) -> None:
        for rows, ghost in repeated(xp, zip(self._rows, self._ghosts, strict=True)):
            ghost.forward(xp, x[rows], gamma, beta, y[rows])
        xp.dot(self._mean_weights, self._means, out=self._batch_mean)
        xp.dot(self._variance_weights, self._variances, out=self._batch_variance)

    def prepare_backward(self) -> None:
        self._ghosts = [ghost.with_own_scratch() for ghost in self._ghosts]
        ghosts, features = self._statistics.shape[0], self.shape[-1]
        self._ones, self._sum = constant(1.0, "d", ghosts), np.empty(features)
        self._dgammas, self._dbetas = np.empty((2, ghosts, features))

    def backward(self, xp: Any, dy: Array, dx: Array | None, dgamma: Array, dbeta: Array) -> None:
        parts = zip(self._rows, self._ghosts, self._dgammas, self._dbetas, strict=True)
        for rows, ghost, own_dgamma, own_dbeta in repeated(xp, parts):
            own_dx = None if dx is None else dx[rows]
            named(xp, ghost_dgamma=own_dgamma, ghost_dbeta=own_dbeta)
            ghost.backward(xp, dy[rows], own_dx, own_dgamma, own_dbeta)
        for parts_of, gradient in ((self._dgammas, dgamma), (self._dbetas, dbeta)):
            xp.dot(self._ones, parts_of, out=self._sum)
            xp.copyto(gradient, self._sum)

    def holds(self) -> dict[str, Any]:
        """With the names of the first ghost batch's arrays, which a tape shows."""
        return self._ghosts[0].holds() | super().holds()

    def arrays(self) -> list[Array]:
        return super().arrays() + [each for ghost in self._ghosts for each in ghost.arrays()]

    @property
    def mean(self) -> Array:
        """The mean of each ghost batch, (ghosts, D), a new array."""
        return self._means.astype(self.dtype)

    @property
    def variance(self) -> Array:
        """The biased variance of each ghost batch, (ghosts, D), a new array."""
        with quiet():
            return self._variances.astype(self.dtype)

    @property
    def x_hat(self) -> Array:
        """The normalized x, (N, ..., D), a new array."""
        return np.concatenate([ghost.x_hat for ghost in self._ghosts])
