"""Sums over the rows of a matrix, as products with a vector: a quarter of x.sum(0)'s time."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from npbn._checks import Array
from npbn.functional._blocks import FEW_ROWS, constant, pieces

# Next to a large number small ones lose their digits: add no more than this many folded rows, or
# sums, in float32 (y of one outlier in 65,536 rows: 3.8e-7 with 16, 1.9e-7 with 8).
FEW_SUMS = 8


def column_sums(x: Array) -> Array:
    """The sum of each column of x (rows, D)."""
    features = x.shape[1]
    if len(x) > FEW_ROWS:
        x = np.ascontiguousarray(x)
    return merged([(block_sums(each, features),) for (each,) in pieces((), x)], x.dtype)[0]


def all_finite(vector: Array) -> bool:
    """Whether no value is infinite or NaN. One product tells nearly always: 0.5 us, not 2."""
    return math.isfinite(vector.dot(vector)) or bool(np.isfinite(vector).all())


def merged(sums: Sequence[tuple[Array, ...]], dtype: np.dtype[Any]) -> Any:
    """The sums of all blocks, added in float64, as dtype or, of one small block, as they are."""
    if len(sums) == 1 and sums[0][0].dtype <= dtype:
        return sums[0]
    return np.add.reduce(sums, dtype=np.float64).astype(dtype)


def block_sums(x: Array, features: int, weight: float = 1.0) -> Array:
    """The sum of each column of weight * x; rows may be folded; sums of x / n cannot overflow.

    Where rows are folded, or more than FEW_ROWS, the result may be float64.
    """
    few = FEW_ROWS if x.shape[1] == features else FEW_SUMS
    if len(x) <= few:
        sums = constant(weight, x.dtype.char, len(x)).dot(x)
    else:
        sums = _fewer(x, few, weight)
    while len(sums) > features:
        rows = sums.reshape(-1, features)
        if len(sums) <= 1024:
            return np.add.reduce(rows, axis=0, dtype=np.float64)
        sums = _fewer(rows, min(len(rows), FEW_SUMS))
    return sums


def _fewer(rows: Array, count: int, weight: float = 1.0) -> Array:
    """Weighted sums of `count` rows each, every so many rows apart, one after another."""
    kind, features = rows.dtype.char, rows.shape[1]
    whole = len(rows) - len(rows) % count
    sums = constant(weight, kind, count).dot(rows[:whole].reshape(count, -1))
    if whole < len(rows):
        rest = rows[whole:]
        sums[:features] += constant(weight, kind, len(rest)).dot(rest)
    return sums
