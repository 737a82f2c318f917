"""What layers have in common that scale and shift what they have normalized."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array
from npbn.layers.layer import ArrayAttribute, Layer
from npbn.layers.passes import Pass


class NormLayer(Layer):
    """A layer with gamma and beta, either of which may be left out, and an epsilon."""

    gamma = ArrayAttribute("parameters", "The scale, (features,); None without.")
    beta = ArrayAttribute("parameters", "The shift, (features,); None without.")

    def __init__(self, features: int, center: bool, scale: bool, dtype: DTypeLike) -> None:
        # Whoever inherits sets epsilon, once its own type is known.
        self.features = checks.integer("features", features, minimum=1)
        kind = checks.float_dtype("dtype", dtype)
        self.center = checks.flag("center", center)
        self.scale = checks.flag("scale", scale)
        parameters = {}
        if self.scale:
            parameters["gamma"] = np.ones(self.features, kind)
        if self.center:
            parameters["beta"] = np.zeros(self.features, kind)
        super().__init__(parameters)

    @checks.Setting
    def epsilon(self, value: float) -> float:
        """What is added to the variance."""
        return checks.epsilon(value, self.dtype or np.dtype(np.float32))

    @property
    def _takes_features(self) -> int:
        return self.features

    def _convert(self, dtype: np.dtype[Any]) -> None:
        checks.epsilon(self.epsilon, dtype)
        super()._convert(dtype)

    def _pass(self, operation: Any, dtype: np.dtype[Any]) -> Pass:
        """The operation with gamma and beta."""
        return Pass(operation, self._scale_and_shift(dtype), self._gradients_of_them(dtype))

    def _scale_and_shift(self, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """gamma and beta, or the 1 and 0 that stand for one that is left out."""
        gamma, beta = self._parameters.get("gamma"), self._parameters.get("beta")
        if gamma is None:
            gamma = np.ones(self.features, dtype)
        if beta is None:
            beta = np.zeros(self.features, dtype)
        return gamma, beta

    def _gradients_of_them(self, dtype: np.dtype[Any]) -> tuple[Array, Array]:
        """Where to write theirs."""
        nobodys = np.empty((2, self.features), dtype)
        return self._gradients.get("gamma", nobodys[0]), self._gradients.get("beta", nobodys[1])
