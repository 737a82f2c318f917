"""Layer normalization."""

from typing import Any

import numpy as np

from npbn.layers import LayerNorm
from npbn.testing.case import Case, Inputs, Shape, normal


def _layer_norm(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    features = shape[-1]
    return {
        "x": 3 * normal(rng, shape, dtype)
        + rng.normal(0, 5, (len(shape) - 1) * (1,) + (features,)).astype(dtype),
        "gamma": rng.uniform(0.5, 1.5, features).astype(dtype),
        "beta": normal(rng, (features,), dtype),
        "epsilon": 0.5,
    }


CASES = (
    Case(
        "layer_norm",
        _layer_norm,
        ("dx", "dgamma", "dbeta"),
        {
            "LayerNorm": lambda rng, shape, dtype: LayerNorm(shape[-1], dtype=dtype),
            "LayerNorm without beta": lambda rng, shape, dtype: LayerNorm(
                shape[-1], center=False, epsilon=1, dtype=dtype
            ),
            "LayerNorm without gamma": lambda rng, shape, dtype: LayerNorm(
                shape[-1], scale=False, dtype=dtype
            ),
            "LayerNorm without either": lambda rng, shape, dtype: LayerNorm(
                shape[-1], center=False, scale=False, dtype=dtype
            ),
        },
    ),
)
