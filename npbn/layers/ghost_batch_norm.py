"""Ghost batch normalization as a layer: the batch's statistics, of a few rows at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional.ghost_batch_norm import GhostBatchNormOperation
from npbn.layers.batch_norm_layers import VarianceLayer
from npbn.layers.plan import Mode


class GhostBatchNorm(VarianceLayer):
    """Normalize each feature over ghost batches of a few rows, then scale and shift it.

    ::

        y = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    With the statistics of the batch (in training), the first axis of x is cut into ghost batches of
    ghost_size rows, images or sequences, in order, and each has the mean and the variance of its
    own: what a large batch normalizes with is as noisy as of a small one. dx is batch norm's in
    each ghost batch; dgamma and dbeta are sums over all. Inference is batch norm's. In training the
    population follows the ghost batches, one step for each, in their order::

        population = momentum * population + (1 - momentum) * ghost

    so after G of them the old population has the weight momentum^G.

    Parameters
    ----------
    features : int
        The size of the last axis of x, which may be (N, D), (N, H, W, C) or (N, T, D).
    ghost_size : int
        How many rows a ghost batch has; 128 in the paper, for batches of 4,096.
    momentum : float or None
        From 0 to 1, the weight of the old population statistics. None: the mean of all ghost
        batches, which `population_batches` in the state counts.
    unbiased_population : bool
        True averages sum((x - mean)^2) / (m - 1) into the population variance, m the number of
        values in a ghost batch; False the ghost batch's own variance, over m.
    epsilon, center, scale, frozen, dtype
        As of `BatchNorm`.

    Attributes
    ----------
    gamma, beta : ndarray, shape (D,)
        The parameters, which start at 1 and at 0.
    population_mean, population_variance : ndarray, shape (D,)
        The state, which starts at 0 and at 1.
    batch_mean, batch_variance : ndarray, shape (D,), or None
        After a forward pass with the batch's statistics the weighted means of the ghost batches'
        statistics that the population's follow, or would follow: the last ones weigh most.

    Raises
    ------
    ValueError
        In training, for a ghost batch with one value a feature, and for values or variances that
        are not finite; the layer is left as it was.

    Notes
    -----
    Where ghost_size does not divide the batch, its last ghost batch is smaller, and its step is one
    like the others'. As it may not have one value a feature alone, in training, take a batch size
    that ghost_size divides, or one that leaves more rows. A batch of ghost_size rows or less is one
    ghost batch, and the layer batch normalization, to the bit. A mask leaves rows out of their
    ghost batches, and moves none into another.

    References
    ----------
    Hoffer, Hubara & Soudry 2017, Algorithm 1, but for the population: there it is of
    standard deviations, and here, as in the authors' program, it follows the variances, one ghost
    batch after another.
    """

    _training_only = (*VarianceLayer._training_only, "ghost_size")

    def __init__(
        self,
        features: int,
        *,
        ghost_size: int,
        momentum: float | None = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        unbiased_population: bool = False,
        frozen: bool = False,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(
            features,
            momentum=momentum,
            epsilon=epsilon,
            center=center,
            scale=scale,
            unbiased_population=unbiased_population,
            frozen=frozen,
            dtype=dtype,
        )
        self.ghost_size = ghost_size

    @checks.Setting
    def ghost_size(self, value: int) -> int:
        """How many rows a ghost batch has."""
        return checks.integer("ghost_size", value, minimum=1)

    def _with_batch(
        self, batch: tuple[int, ...], dtype: np.dtype[Any], shape: tuple[int, ...], mode: Mode
    ) -> tuple[GhostBatchNormOperation, tuple[Array, ...], dict[str, Any]]:
        sizes = GhostBatchNormOperation.sizes(shape[0], self.ghost_size)
        if mode.mask is not None:
            parts = np.split(mode.mask, np.cumsum(sizes)[:-1])
            sizes = [size for each in parts if (size := int(np.count_nonzero(each)))]
        values = [size * math.prod(batch[1:-1]) for size in sizes]
        if mode.training and 1 in values:
            raise ValueError(
                f"{self!r}: expected two values or more a feature in each ghost batch in training, "
                f"got {shape}, which leaves one alone: the variance of one value is 0; pass a "
                'multiple of ghost_size rows, or set another ghost_size, or statistics="population"'
            )
        # One step for each ghost batch is one step with these shares, and the momentum to the power
        # of their number.
        momentum = 1.0 if self.momentum is None else self.momentum
        shares = momentum ** np.arange(len(sizes))[::-1]
        shares /= shares.sum()
        # The pass corrects for a full ghost batch; what is left for a smaller one is in its weight.
        full = self._correction(max(values))
        corrections = np.array([self._correction(each) for each in values]) / full
        operation = GhostBatchNormOperation(
            batch, dtype, self.epsilon, sizes, np.stack([shares, shares * corrections])
        )
        options: dict[str, Any] = {
            "values": max(values),
            "correction": np.repeat([1.0, full], self.features),
            "batches": len(sizes),
        }
        if self.momentum is not None:
            options["momentum"] = momentum ** len(sizes)
        return operation, (), options
