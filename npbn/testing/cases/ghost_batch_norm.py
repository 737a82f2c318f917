"""Ghost batch normalization: two ghost batches, of which the second may be smaller."""

from typing import Any

import numpy as np

from npbn.layers import GhostBatchNorm
from npbn.testing.case import Case, Inputs, MakeLayer, Shape, normalized


def _ghost_size(shape: Shape) -> int:
    return -(-shape[0] // 2)


def _ghost_batch_norm(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    given = normalized(rng, shape, dtype, epsilon=1e-3)
    return given | {"ghost_size": _ghost_size(shape)}


def _layer(**settings: Any) -> MakeLayer:
    return lambda rng, shape, dtype: GhostBatchNorm(
        shape[-1], ghost_size=_ghost_size(shape), dtype=dtype, **settings
    )


CASES = (
    Case(
        "ghost_batch_norm",
        _ghost_batch_norm,
        ("dx", "dgamma", "dbeta"),
        {
            "GhostBatchNorm": _layer(),
            "GhostBatchNorm without beta": _layer(center=False, epsilon=1, momentum=0.5),
            "GhostBatchNorm without gamma": _layer(scale=False, unbiased_population=True),
        },
    ),
)
