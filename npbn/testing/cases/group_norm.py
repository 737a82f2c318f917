"""Group normalization."""

from typing import Any

import numpy as np

from npbn.layers import GroupNorm
from npbn.testing.case import BATCHES, Case, Inputs, Shape, normal

# Also examples that are larger than what is taken to float64 at once, in parts of equal length and
# not.
SHAPES = ((2, 3, 4), *BATCHES, (40, 33, 24), (2, 64, 33, 24), (2, 5, 4001, 2))


def _groups(features: int) -> int:
    return 2 if features % 2 == 0 and features > 2 else 1


def _group_norm(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    features = shape[-1]
    return {
        "x": 3 * normal(rng, shape, dtype)
        + rng.normal(0, 5, (len(shape) - 1) * (1,) + (features,)).astype(dtype),
        "gamma": rng.uniform(0.5, 1.5, features).astype(dtype),
        "beta": normal(rng, (features,), dtype),
        "groups": _groups(shape[-1]),
        "epsilon": 0.5,
    }


CASES = (
    Case(
        "group_norm",
        _group_norm,
        ("dx", "dgamma", "dbeta"),
        {
            "GroupNorm": lambda rng, shape, dtype: GroupNorm(
                _groups(shape[-1]), shape[-1], dtype=dtype
            ),
            "GroupNorm without beta": lambda rng, shape, dtype: GroupNorm(
                _groups(shape[-1]), shape[-1], center=False, epsilon=1, dtype=dtype
            ),
            "GroupNorm without gamma": lambda rng, shape, dtype: GroupNorm(
                _groups(shape[-1]), shape[-1], scale=False, dtype=dtype
            ),
            "GroupNorm without either": lambda rng, shape, dtype: GroupNorm(
                _groups(shape[-1]), shape[-1], center=False, scale=False, dtype=dtype
            ),
        },
        shapes=SHAPES,
    ),
)
