"""The fully connected layer."""

from typing import Any

import numpy as np

from npbn.layers import Dense
from npbn.testing.case import Case, Inputs, Shape, normal


def _dense(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    outputs = shape[-1] // 2 + 1
    return {
        "x": normal(rng, shape, dtype),
        "weight": normal(rng, (shape[-1], outputs), dtype),
        "bias": normal(rng, (outputs,), dtype),
    }


CASES = (
    Case(
        "dense",
        _dense,
        ("dx", "dweight", "dbias"),
        {
            "Dense": lambda rng, shape, dtype: Dense(shape[-1], 5, rng=rng, dtype=dtype),
            "Dense without bias": lambda rng, shape, dtype: Dense(
                shape[-1], 5, use_bias=False, rng=rng, dtype=dtype
            ),
        },
    ),
)
