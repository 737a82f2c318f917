"""Group normalization."""

from typing import Any

import numpy as np

from npbn.layers import GroupNorm
from npbn.testing.case import BATCHES, Case, Inputs, Shape, normalized, with_and_without

# Also examples that are larger than what is taken to float64 at once, in parts of equal length and
# not.
SHAPES = ((2, 3, 4), *BATCHES, (40, 33, 24), (2, 64, 33, 24), (2, 5, 4001, 2))


def _groups(features: int) -> int:
    return 2 if features % 2 == 0 and features > 2 else 1


def _group_norm(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return normalized(rng, shape, dtype, epsilon=0.5) | {"groups": _groups(shape[-1])}


CASES = (
    Case(
        "group_norm",
        _group_norm,
        ("dx", "dgamma", "dbeta"),
        with_and_without(
            "GroupNorm",
            lambda shape, **settings: GroupNorm(_groups(shape[-1]), shape[-1], **settings),
        ),
        shapes=SHAPES,
    ),
)
