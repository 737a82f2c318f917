"""RMS normalization."""

from typing import Any

import numpy as np

from npbn.layers import RMSNorm
from npbn.testing.case import Case, Inputs, Shape, normal


def _rms_norm(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return {
        "x": 3 * normal(rng, shape, dtype),
        "gamma": rng.uniform(0.5, 1.5, shape[-1]).astype(dtype),
        "epsilon": 0.1,
    }


CASES = (
    Case(
        "rms_norm",
        _rms_norm,
        ("dx", "dgamma"),
        {
            "RMSNorm": lambda rng, shape, dtype: RMSNorm(shape[-1], dtype=dtype),
            "RMSNorm, epsilon 1": lambda rng, shape, dtype: RMSNorm(
                shape[-1], epsilon=1, dtype=dtype
            ),
        },
    ),
)
