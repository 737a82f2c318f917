"""Instance normalization as a layer: it holds gamma and beta."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn.functional.instance_norm import InstanceNormOperation
from npbn.layers.norm_layer import NormLayer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode


class InstanceNorm(NormLayer):
    """Normalize each channel of each example over all places, then scale and shift it.

    ::

        y      = gamma * x_hat + beta, x_hat = (x - mean) / std, std = sqrt(variance + epsilon)
        dx     = (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat)) / std, dx_hat = gamma * dy
        dgamma = sum(dy * x_hat)
        dbeta  = sum(dy)

    An example is normalized by itself: there are no statistics of a batch, and every mode is the
    same. Of one place alone, as in x (N, D), nothing is left: y is beta.

    Parameters
    ----------
    features : int
        The size of the last axis of x, which may be (N, T, D) or (N, H, W, C).
    epsilon : float
        Added to the variance, under the root. PyTorch has this one, Keras 1e-3.
    center, scale : bool
        False leaves beta or gamma out. PyTorch has neither unless affine=True.
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
    Ulyanov, Vedaldi & Lempitsky 2016.
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
        return self._pass(InstanceNormOperation(shape, dtype, self.epsilon), dtype)

    def __repr__(self) -> str:
        return self._typed(self.features, epsilon=1e-5, center=True, scale=True)
