"""Sums over the rows of a matrix, as products with a vector: a quarter of x.sum(0)'s time."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from npbn._checks import Array
from npbn.functional._blocks import FEW_ROWS, constant, pieces

# Beside a large number a float32 sum loses the digits of small ones: at most so many are added in
# float32, and their sums in float64. y of one outlier in (64, 33) is off by 1.8e-6 if all rows are
# added in float32, by 2e-7 by fours; by eights some columns of 640 rows are off by 3.2e-7. That is
# 5 % of batch norm's time on large arrays.
FEW_SUMS = 4
# Arrays so small are added wholly in float64: slower (2.6 us for (60, 100), not 0.8), but exact.
SMALL = 8192


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
    """The sums of all blocks, added in float64, as dtype."""
    if len(sums) == 1:
        return [each.astype(dtype, copy=False) for each in sums[0]]
    return np.add.reduce(sums).astype(dtype, copy=False)


def block_sums(x: Array, features: int, weight: float = 1.0) -> Array:
    """The sum of each column of weight * x in float64.

    x may have several rows folded into one (_blocks.py). Sums of x / n cannot overflow: that is why
    the weight goes in first.
    """
    kind = x.dtype.char
    if x.size <= SMALL and x.shape[1] == features:
        return constant(weight, "d", len(x)).dot(x)
    sums = _fewer(x, weight)
    if len(sums) > 2 * SMALL:
        sums = _fewer(sums.reshape(-1, features))
    rows = sums.reshape(-1, features)
    # float32 may have rounded the weight; this puts the difference back.
    return constant(_lost(weight, kind), "d", len(rows)).dot(rows)


@lru_cache(maxsize=256)
def _lost(weight: float, kind: str) -> float:
    return weight / float(np.dtype(kind).type(weight))


def _fewer(rows: Array, weight: float = 1.0) -> Array:
    """weight times rows i, i + k, i + 2k, ..., FEW_SUMS of them added, for each i of k.

    k is len(rows) // FEW_SUMS; rows left over go to the first sum. All sums in one flat array.
    """
    kind, features, count = rows.dtype.char, rows.shape[1], min(FEW_SUMS, len(rows))
    whole = len(rows) - len(rows) % count
    sums = constant(weight, kind, count).dot(rows[:whole].reshape(count, -1))
    if whole < len(rows):
        rest = rows[whole:]
        sums[:features] += constant(weight, kind, len(rest)).dot(rest)
    return sums
