"""RMS normalization as a layer: it holds gamma."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn.functional.rms_norm import RMSNormOperation
from npbn.layers.layer import ArrayAttribute, Layer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode


class RMSNorm(Layer):
    """Divide each row by its root mean square over the last axis, then scale each feature.

    ::

        y      = gamma * x_hat, with x_hat = x / rms, rms = sqrt(mean(x^2) + epsilon)
        dx     = (dx_hat - x_hat * mean(dx_hat * x_hat)) / rms, with dx_hat = dy * gamma
        dgamma = sum(dy * x_hat)

    A row is normalized by itself: there are no statistics of a batch, and every mode is the same.

    Parameters
    ----------
    features : int
        The size of the last axis of x.
    epsilon : float
        Added to the mean square, under the root.
    dtype : np.float32 or np.float64

    Attributes
    ----------
    gamma : ndarray, shape (features,)
        The parameter, which starts at 1.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    References
    ----------
    Zhang & Sennrich 2019.
    """

    gamma = ArrayAttribute("parameters", "The scale, (features,).")

    def __init__(
        self, features: int, *, epsilon: float = 1e-5, dtype: DTypeLike = np.float32
    ) -> None:
        self.features = checks.integer("features", features, minimum=1)
        super().__init__({"gamma": np.ones(self.features, checks.float_dtype("dtype", dtype))})
        self.epsilon = epsilon

    @checks.Setting
    def epsilon(self, value: float) -> float:
        """What is added to the mean square."""
        return checks.epsilon(value, self.gamma.dtype)

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        operation = RMSNormOperation(shape, dtype, self.epsilon)
        return Pass(operation, [self._parameters["gamma"]], [self._gradients["gamma"]])

    @property
    def _takes_features(self) -> int:
        return self.features

    def _convert(self, dtype: np.dtype[Any]) -> None:
        checks.epsilon(self.epsilon, dtype)
        super()._convert(dtype)

    def __repr__(self) -> str:
        epsilon = "" if self.epsilon == 1e-5 else f", epsilon={self.epsilon!r}"
        return f"RMSNorm({self.features}{epsilon})"
