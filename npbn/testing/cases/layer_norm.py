"""Layer normalization."""

from typing import Any

import numpy as np

from npbn.layers import LayerNorm
from npbn.testing.case import Case, Inputs, Shape, normalized, with_and_without


def _layer_norm(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return normalized(rng, shape, dtype, epsilon=0.5)


CASES = (
    Case(
        "layer_norm",
        _layer_norm,
        ("dx", "dgamma", "dbeta"),
        with_and_without("LayerNorm", lambda shape, **settings: LayerNorm(shape[-1], **settings)),
    ),
)
