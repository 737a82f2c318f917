"""Group normalization as a layer: it holds gamma and beta."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn.functional.group_norm import GroupNormOperation
from npbn.layers.norm_layer import NormLayer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode


class GroupNorm(NormLayer):
    """Normalize each example over all places and the channels of a group, then scale and shift.

    ::

        y      = gamma * x_hat + beta, x_hat = (x - mean) / std, std = sqrt(variance + epsilon)
        dx     = (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat)) / std, dx_hat = gamma * dy
        dgamma = sum(dy * x_hat)
        dbeta  = sum(dy)

    The channels of a group lie beside one another. With one group it is the layer norm of images,
    with as many as channels `InstanceNorm`. An example is normalized by itself: there are no
    statistics of a batch, and every mode is the same.

    Parameters
    ----------
    groups : int
        How many, a divisor of the features. The paper has 32.
    features : int
        The size of the last axis of x, which may be (N, D), (N, T, D) or (N, H, W, C).
    epsilon : float
        Added to the variance, under the root. PyTorch has this one, Keras 1e-3.
    center, scale : bool
        False leaves beta or gamma out.
    dtype : np.float32 or np.float64

    Attributes
    ----------
    gamma, beta : ndarray, shape (features,)
        The parameters, which start at 1 and at 0.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    Wu & He 2018.
    """

    def __init__(
        self,
        groups: int,
        features: int,
        *,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(features, center, scale, dtype)
        self.epsilon = epsilon
        self.groups = checks.groups(groups, self.features)

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        return self._pass(GroupNormOperation(shape, dtype, self.epsilon, groups=self.groups), dtype)

    def __repr__(self) -> str:
        return self._typed(self.groups, self.features, epsilon=1e-5, center=True, scale=True)
