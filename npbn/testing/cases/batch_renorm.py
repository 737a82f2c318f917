"""Batch renormalization, its r and d, and the layer in each part of its schedule."""

from typing import Any

import numpy as np

from npbn.layers import BatchRenorm
from npbn.testing.case import Case, Inputs, MakeLayer, Shape, normalized


def _corrections(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    features = shape[-1]
    return {
        "x": normalized(rng, shape, dtype, epsilon=0.1)["x"],
        "mean": rng.normal(0, 5, features).astype(dtype),
        "std": rng.uniform(1, 9, features).astype(dtype),
        "r_max": 1.5,
        "d_max": 1.0,
        "epsilon": 0.1,
    }


def _batch_renorm(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    features = shape[-1]
    return normalized(rng, shape, dtype, epsilon=0.1) | {
        "r": rng.uniform(0.4, 2.5, features).astype(dtype),
        "d": rng.standard_normal(features).astype(dtype),
    }


def _layer(**settings: Any) -> MakeLayer:
    return lambda rng, shape, dtype: BatchRenorm(shape[-1], dtype=dtype, **settings)


CASES = (
    Case("batch_renorm_corrections", _corrections),
    Case(
        "batch_renorm",
        _batch_renorm,
        ("dx", "dgamma", "dbeta"),
        {
            "BatchRenorm": _layer(),
            "BatchRenorm at once": _layer(r_steps=0, d_steps=0, momentum=0.5),
            "BatchRenorm without beta": _layer(center=False, plain_steps=0, r_steps=5, d_steps=2),
            "BatchRenorm without gamma": _layer(scale=False, r_steps=0, d_steps=0, epsilon=1),
        },
    ),
)
