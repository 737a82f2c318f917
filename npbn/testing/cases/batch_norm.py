"""Batch normalization, with the batch's statistics and with those of the population."""

from typing import Any

import numpy as np

from npbn.layers import BatchNorm
from npbn.testing.case import Case, Inputs, Shape, normalized


def _batch_norm(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return normalized(rng, shape, dtype, epsilon=1e-3)


def _batch_norm_inference(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return _batch_norm(rng, shape, dtype) | {
        "mean": rng.normal(0, 5, shape[-1]).astype(dtype),
        "variance": rng.uniform(0.5, 20, shape[-1]).astype(dtype),
    }


GRADIENTS = ("dx", "dgamma", "dbeta")
CASES = (
    Case(
        "batch_norm",
        _batch_norm,
        GRADIENTS,
        {
            "BatchNorm": lambda rng, shape, dtype: BatchNorm(shape[-1], dtype=dtype),
            "BatchNorm without beta": lambda rng, shape, dtype: BatchNorm(
                shape[-1], center=False, epsilon=1, dtype=dtype
            ),
            "BatchNorm without gamma": lambda rng, shape, dtype: BatchNorm(
                shape[-1], scale=False, unbiased_population=True, dtype=dtype
            ),
            "BatchNorm without either": lambda rng, shape, dtype: BatchNorm(
                shape[-1], center=False, scale=False, dtype=dtype
            ),
        },
    ),
    Case("batch_norm_inference", _batch_norm_inference, GRADIENTS),
)
