"""What layers have in common that scale and shift what they have normalized."""

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

    def __init__(
        self, features: int, epsilon: float, center: bool, scale: bool, dtype: DTypeLike
    ) -> None:
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
        self.epsilon = epsilon

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
        """The operation with gamma and beta; a 1 and 0 stand for those that are left out."""
        gamma, beta = self._parameters.get("gamma"), self._parameters.get("beta")
        if gamma is None:
            gamma = np.ones(self.features, dtype)
        if beta is None:
            beta = np.zeros(self.features, dtype)
        nobodys: Array = np.empty((2, self.features), dtype)
        dgamma = self._gradients.get("gamma", nobodys[0])
        dbeta = self._gradients.get("beta", nobodys[1])
        return Pass(operation, (gamma, beta), (dgamma, dbeta))

    def _shown(self, *sizes: int) -> str:
        """What one types to make it."""
        defaults = {"epsilon": 1e-5, "center": True, "scale": True}
        given = [
            f"{name}={getattr(self, name)!r}"
            for name, default in defaults.items()
            if getattr(self, name) != default
        ]
        return f"{type(self).__name__}({', '.join([*map(str, sizes), *given])})"
