"""Softmax and the losses, which are one function each."""

from typing import Any

import numpy as np

from npbn.testing.case import BATCHES, Case, Inputs, Shape, normal


def _softmax(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return {"logits": 3 * normal(rng, shape, dtype)}


def _softmax_cross_entropy(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    rows, classes = int(np.prod(shape[:-1])), shape[-1]
    logits = 3 * normal(rng, (rows, classes), dtype)
    return {"logits": logits, "labels": rng.integers(classes, size=rows)}


def _squared_error(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return {"y": normal(rng, shape, dtype), "target": normal(rng, shape, dtype)}


CASES = (
    Case("softmax", _softmax),
    Case(
        "softmax_cross_entropy",
        _softmax_cross_entropy,
        ("dlogits",),
        shapes=tuple(shape for shape in BATCHES if len(shape) == 2),
        is_loss=True,
    ),
    Case("squared_error", _squared_error, ("dy",), is_loss=True),
)
