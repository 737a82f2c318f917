"""The fully connected layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional.dense import DenseOperation
from npbn.layers.initial import initial_weight
from npbn.layers.layer import ArrayAttribute, Layer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode


class Dense(Layer):
    """Every output is a weighted sum of all inputs, plus a bias.

    ::

        y       = x @ weight + bias
        dx      = dy @ weight'
        dweight = x' @ dy,  dbias = sum(dy)

    Parameters
    ----------
    in_features, out_features : int
        The sizes of the last axis of x and of y.
    use_bias : bool
        False leaves the bias out, as before a `BatchNorm`, whose beta takes its place.
    weight : ndarray, shape (in_features, out_features), or None
        The initial weights, copied; None draws them from a normal distribution of standard
        deviation sqrt(2 / in_features) (He et al. 2015).
    rng : numpy.random.Generator, int or None
        For that draw; an int is a seed, None fresh, not reproducible.
    dtype : np.float32, np.float64 or None
        None: the type of the weights given, else np.float32.

    Attributes
    ----------
    weight : ndarray, shape (in_features, out_features)
        A parameter.
    bias : ndarray, shape (out_features,)
        A parameter, which starts at 0.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
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
        parameters = {"weight": initial_weight(shape, weight, rng, dtype)}
        if self.use_bias:
            parameters["bias"] = np.zeros(self.out_features, parameters["weight"].dtype)
        super().__init__(parameters)

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        own, gradients = self._parameters, self._gradients
        return Pass(
            DenseOperation(shape, dtype, own["weight"].shape, self.use_bias),
            (own["weight"], own.get("bias")),
            (gradients["weight"], gradients.get("bias")),
        )

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*super().output_shape(shape)[:-1], self.out_features)

    @property
    def _takes_features(self) -> int:
        return self.in_features

    def scaled(self, scale: Array, shift: Array) -> Dense:
        weight = (self.weight * scale).astype(self.weight.dtype)
        result = Dense(self.in_features, self.out_features, weight=weight)
        result.bias[...] = shift + (0 if self.bias is None else self.bias * scale)
        return result

    def __repr__(self) -> str:
        bias = "" if self.use_bias else ", use_bias=False"
        return f"Dense({self.in_features}, {self.out_features}{bias})"
