"""The fully connected layer."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional import dense as core
from npbn.layers.layer import ArrayAttribute, Layer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode


class Dense(Layer):
    """Every output is a weighted sum of all inputs, plus a bias.

        y       = x @ weight + bias
        dx      = dy @ weight'
        dweight = x' @ dy,  dbias = sum(dy)

    in_features, out_features: the sizes of the last axis of x and of y.
    use_bias: False leaves the bias out, as before a BatchNorm, whose beta takes its place.
    weight: the initial weights (in_features, out_features), copied; None draws them from a normal
        distribution of standard deviation sqrt(2 / in_features) (He et al. 2015). The bias starts
        at 0.
    rng: a numpy.random.Generator or a seed for that draw; None: fresh, not reproducible.
    dtype: np.float32 or np.float64; None: the type of the weights given, else np.float32.

    parameters: weight (in_features, out_features), bias (out_features,).
    TypeError or ValueError for arguments of another type, shape or range.
    """

    weight = ArrayAttribute("parameters", "The weights, (in_features, out_features).")
    bias = ArrayAttribute("parameters", "The bias, (out_features,); None without.")

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        use_bias: bool = True,
        weight: Array | None = None,
        rng: np.random.Generator | int | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.in_features = checks.integer("in_features", in_features, minimum=1)
        self.out_features = checks.integer("out_features", out_features, minimum=1)
        self.use_bias = checks.flag("use_bias", use_bias)
        shape = (self.in_features, self.out_features)
        if weight is None:
            kind = np.dtype(np.float32) if dtype is None else checks.float_dtype("dtype", dtype)
            std = np.sqrt(2 / self.in_features)
            weight = (checks.generator(rng).standard_normal(shape) * std).astype(kind)
        else:
            weight = checks.float_array("weight", weight)
            checks.has_shape("weight", weight, shape)
            if dtype is not None:
                weight = weight.astype(checks.float_dtype("dtype", dtype))
        parameters = {"weight": weight}
        if self.use_bias:
            parameters["bias"] = np.zeros(self.out_features, weight.dtype)
        super().__init__(parameters)

    def at_work(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode, *, x_is_free: bool
    ) -> Pass:
        return DensePass(self._parameters, self._gradients)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*super().output_shape(shape)[:-1], self.out_features)

    @property
    def _takes_features(self) -> int:
        return self.in_features

    def scaled(self, scale: Array, shift: Array) -> "Dense":
        weight = (self.weight * scale).astype(self.weight.dtype)
        result = Dense(self.in_features, self.out_features, weight=weight)
        result.bias[...] = shift + (0 if self.bias is None else self.bias * scale)
        return result

    def __repr__(self) -> str:
        bias = "" if self.use_bias else ", use_bias=False"
        return f"Dense({self.in_features}, {self.out_features}{bias})"


class DensePass(Pass):
    shows_infinity = True

    def __init__(self, parameters: Mapping[str, Array], gradients: Mapping[str, Array]) -> None:
        self._weight, self._bias = parameters["weight"], parameters.get("bias")
        self._dweight, self._dbias = gradients["weight"], gradients.get("bias")

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        _, self._cache = core._dense_forward(x, self._weight, self._bias, y)

    def backward(self, xp: Any, dy: Array, dx: Array | None) -> None:
        core._dense_backward(dy, self._cache, dx, self._dweight, self._dbias)
