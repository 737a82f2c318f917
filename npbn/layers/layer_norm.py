"""Layer normalization as a layer: it holds gamma and beta."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn.functional.layer_norm import LayerNormOperation
from npbn.layers.norm_layer import NormLayer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode


class LayerNorm(NormLayer):
    """Normalize each row over the last axis, then scale and shift each feature.

    ::

        y      = gamma * x_hat + beta, x_hat = (x - mean) / std, std = sqrt(variance + epsilon)
        dx     = (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat)) / std, dx_hat = gamma * dy
        dgamma = sum(dy * x_hat)
        dbeta  = sum(dy)

    Images (N, H, W, C) are normalized place by place, sequences (N, T, D) step by step: over all
    places, too, is `GroupNorm` of one group. A row is normalized by itself: there are no statistics
    of a batch, and every mode is the same.

    Parameters
    ----------
    features : int
        The size of the last axis of x.
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
    Ba, Kiros & Hinton 2016.
    """

    def __init__(
        self,
        features: int,
        *,
        epsilon: float = 1e-5,
        center: bool = True,
        scale: bool = True,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(features, center, scale, dtype)
        self.epsilon = epsilon

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        return self._pass(LayerNormOperation(shape, dtype, self.epsilon), dtype)

    def __repr__(self) -> str:
        return self._typed(self.features, epsilon=1e-5, center=True, scale=True)
