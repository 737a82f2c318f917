"""Activation functions, each element by itself."""

from typing import Any

import numpy as np

from npbn.layers import LeakyReLU, ReLU, Sigmoid, Tanh
from npbn.testing.case import Case, Inputs, Shape, normal


def _x(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return {"x": normal(rng, shape, dtype)}


def _x_and_slope(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return {"x": normal(rng, shape, dtype), "slope": 0.3}


CASES = (
    Case("relu", _x, ("dx",), {"ReLU": lambda *_: ReLU()}, has_kinks=True),
    Case(
        "leaky_relu",
        _x_and_slope,
        ("dx",),
        {"LeakyReLU": lambda *_: LeakyReLU(0.3)},
        has_kinks=True,
        shares=("slope",),
    ),
    Case("sigmoid", _x, ("dx",), {"Sigmoid": lambda *_: Sigmoid()}),
    Case("tanh", _x, ("dx",), {"Tanh": lambda *_: Tanh()}),
)
