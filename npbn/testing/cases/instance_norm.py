"""Instance normalization."""

from typing import Any

import numpy as np

from npbn.layers import InstanceNorm
from npbn.testing.case import BATCHES, Case, Inputs, Shape, normal

# Where there is more than one place: of one alone y is beta, and dx is 0.
SHAPES = (
    (2, 5, 3),
    *(shape for shape in BATCHES if len(shape) > 2),
    (40, 33, 24),
    (2, 64, 33, 24),
    (2, 5, 4001, 2),
)


def _instance_norm(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
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
        "instance_norm",
        _instance_norm,
        ("dx", "dgamma", "dbeta"),
        {
            "InstanceNorm": lambda rng, shape, dtype: InstanceNorm(shape[-1], dtype=dtype),
            "InstanceNorm without beta": lambda rng, shape, dtype: InstanceNorm(
                shape[-1], center=False, epsilon=1, dtype=dtype
            ),
            "InstanceNorm without gamma": lambda rng, shape, dtype: InstanceNorm(
                shape[-1], scale=False, dtype=dtype
            ),
            "InstanceNorm without either": lambda rng, shape, dtype: InstanceNorm(
                shape[-1], center=False, scale=False, dtype=dtype
            ),
        },
        shapes=SHAPES,
    ),
)
