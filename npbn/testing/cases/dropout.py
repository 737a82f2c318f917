"""Dropout."""

from typing import Any

import numpy as np

from npbn.layers import Dropout
from npbn.testing.case import Case, Inputs, Shape, normal


def _dropout(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return {"x": normal(rng, shape, dtype), "rate": 0.4, "rng": int(rng.integers(2**32))}


CASES = (
    Case(
        "dropout",
        _dropout,
        ("dx",),
        {"Dropout": lambda rng, shape, dtype: Dropout(0.3, rng=int(rng.integers(2**32)))},
        shares=("rate",),
    ),
)
