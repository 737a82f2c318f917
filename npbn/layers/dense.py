"""The fully connected layer."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array, Statistics
from npbn.functional import dense as core
from npbn.layers.base import ArrayAttribute, BuiltInLayer


class Dense(BuiltInLayer):
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

    weight = ArrayAttribute("_parameters", "The weights, (in_features, out_features).")
    bias = ArrayAttribute("_parameters", "The bias, (out_features,); None without.")

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

    def _forward(
        self, x: Array, training: bool, statistics: Statistics, out: Array | None, spare: Any
    ) -> tuple[Array, Any]:
        if out is None:
            out = np.empty((*x.shape[:-1], self.out_features), x.dtype)
        return core._dense_forward(x, self.weight, self.bias, out)

    def _backward(
        self, dy: Array, cache: Any, input_gradient: bool, out: Array | None
    ) -> Array | None:
        dx = None
        if input_gradient:
            dx = np.empty(cache.x.shape, dy.dtype) if out is None else out
        gradients = self._gradients
        core._dense_backward(dy, cache, dx, gradients["weight"], gradients.get("bias"))
        return dx

    def _output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        self._expect_features(shape, self.in_features)
        return (*shape[:-1], self.out_features)

    def _input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:-1], self.in_features)

    def __repr__(self) -> str:
        bias = "" if self.use_bias else ", use_bias=False"
        return f"Dense({self.in_features}, {self.out_features}{bias})"
