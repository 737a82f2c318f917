"""How passes over many rows are laid out: in blocks of rows that stay in cache."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import numpy as np

from npbn._checks import Array

# Of arrays in the last-level cache, blocks this large: smaller ones have the vectors repeated, and
# their sums merged, too often (256 KB: 20 to 30 % longer).
BLOCK_BYTES = 1 << 21
# So few bytes are one block with nothing folded or repeated (500 rows of 100: 17 % less time).
SMALL_BYTES = 1 << 18
# Where a vector goes with each row, NumPy copies rows shorter than its buffer (8,192) before it
# multiplies: 0.18 instead of 0.12 ns a value. Twice as wide takes 5 to 10 % longer again.
WIDE = 8192
# Sums over more float32 numbers than this lose digits.
FEW_ROWS = 64


def is_small(x: Array) -> bool:
    """Whether x (rows, D) is taken as it is: it stays in cache, and its rows are few or wide."""
    return x.nbytes <= SMALL_BYTES and (len(x) <= FEW_ROWS or x.shape[1] >= 64)


@lru_cache(maxsize=256)
def _layout(rows: int, features: int, itemsize: int) -> tuple[int, tuple[slice, ...]]:
    """How many rows are folded into one, and the blocks of folded rows."""
    least = max(1, min(rows // 8, -(-WIDE // features)))
    fold = next((fold for fold in range(least, 2 * least) if rows % fold == 0), least)
    step = max(1, BLOCK_BYTES // (fold * features * itemsize))
    return fold, tuple(slice(start, start + step) for start in range(0, rows // fold, step))


def pieces(vectors: tuple[Array, ...], *arrays: Array) -> Iterable[Any]:
    """The arrays (rows, D), block by block, and the vectors (D,) as they go with their rows.

    Of a small array one piece, as it is. Of others, several rows folded into one of (fold * D), and
    the vectors repeated as often.
    """
    first = arrays[0]
    return ((*arrays, *vectors),) if is_small(first) else _folded(vectors, arrays)


def _folded(vectors: tuple[Array, ...], arrays: tuple[Array, ...]) -> Iterable[Any]:
    rows, features = arrays[0].shape
    fold, blocks = _layout(rows, features, arrays[0].itemsize)
    repeated = np.empty((len(vectors), fold, features), arrays[0].dtype)
    for rows_of, vector in zip(repeated, vectors, strict=True):
        rows_of[...] = vector
    wide = repeated.reshape(-1, fold * features)
    whole = rows - rows % fold
    folded = [each[:whole].reshape(-1, fold * features) for each in arrays]
    for block in blocks:
        yield (*(each[block] for each in folded), *wide)
    if whole < rows:
        rest = (each[whole:].reshape(1, -1) for each in arrays)
        yield (*rest, *wide[:, : (rows - whole) * features])


def as_rows(x: Array) -> Array:
    """x (..., D) as (rows, D), C-contiguous: a view, or a copy where x is not contiguous."""
    if not x.flags.c_contiguous:
        x = np.ascontiguousarray(x)
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def put_back(rows: Array, out: Array) -> None:
    """Copy rows, which were written, into out where `as_rows(out)` was no view of it."""
    if not out.flags.c_contiguous:
        out[...] = rows.reshape(out.shape)


@lru_cache(maxsize=256)
def constant(value: float, dtype: str, length: int | None = None) -> Array:
    """A read-only vector of one value, or without length an array of no axis.

    NumPy adds the latter to a vector in half the time that a Python number takes (0.3 us less).
    """
    array = np.full(() if length is None else length, value, dtype)
    array.flags.writeable = False
    return array
