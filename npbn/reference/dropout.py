"""Dropout: a random share of the values is set to 0 in training (Srivastava et al. 2014)."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def dropout_forward(
    x: Array,
    *,
    rate: float,
    rng: np.random.Generator | int | None = None,
    mask: Array | None = None,
) -> tuple[Array, Array]:
    """y = x / (1 - rate) where kept, else 0; each value is kept with probability 1 - rate.

    A value is kept where a float32 from rng.random is at least rate. The division keeps the mean,
    so that inference needs no dropout at all. mask: which values are kept, instead of a draw.
    Returns y and the cache, which is the factor of each value.
    """
    if mask is None:
        kept = np.random.default_rng(rng).random(x.shape, dtype=np.float32) >= rate
    else:
        kept = mask
    factor = kept.astype(x.dtype) / (1 - rate)
    return x * factor, factor


def dropout_backward(dy: Array, cache: Array) -> Array:
    """dx = dy times the factor of each value."""
    factor = cache
    return dy * factor
