"""Instance normalization."""

from typing import Any

import numpy as np

from npbn.layers import InstanceNorm
from npbn.testing.case import BATCHES, Case, Inputs, Shape, normalized, with_and_without

# Where there is more than one place: of one alone y is beta, and dx is 0.
SHAPES = (
    (2, 5, 3),
    *(shape for shape in BATCHES if len(shape) > 2),
    (40, 33, 24),
    (2, 64, 33, 24),
    (2, 5, 4001, 2),
)


def _instance_norm(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return normalized(rng, shape, dtype, epsilon=0.5)


CASES = (
    Case(
        "instance_norm",
        _instance_norm,
        ("dx", "dgamma", "dbeta"),
        with_and_without(
            "InstanceNorm", lambda shape, **settings: InstanceNorm(shape[-1], **settings)
        ),
        shapes=SHAPES,
    ),
)
