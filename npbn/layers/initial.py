"""Initial weights."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array


def normal_weights(
    sizes: Sequence[int], std: float | None, rng: np.random.Generator | int | None
) -> list[Array]:
    """Weights (in, out) between layers of the given sizes, float32, normal around 0.

    std: their standard deviation; None: sqrt(2 / in) for each layer (He et al. 2015).
    """
    rng = checks.generator(rng)
    return [
        rng.normal(scale=np.sqrt(2 / n) if std is None else std, size=(n, m)).astype(np.float32)
        for n, m in pairwise(sizes)
    ]
