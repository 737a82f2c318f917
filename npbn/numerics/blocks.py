"""How passes over many rows are laid out: in blocks of rows that stay in cache."""

from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from npbn._checks import Array
from npbn.numerics.scratch import scratch

# Of larger blocks less stays in cache (4 MB: 5 to 15 % longer); in smaller ones the calls cost more
# than the values (256 KB: 15 to 30 %).
BLOCK_BYTES = 1 << 20
# So few values are taken to float64 as a whole.
SMALL = 1 << 15
# Where a vector goes with each row, NumPy copies rows shorter than its buffer (8,192) before it
# multiplies: 0.18 instead of 0.12 ns a value. Twice as wide takes 5 to 10 % longer again.
WIDE = 8192
# Narrow rows are folded also where they are few.
NARROW, FEW_ROWS = 64, 64


@lru_cache(maxsize=256)
def layout(rows: int, features: int, itemsize: int) -> tuple[int, tuple[tuple[int, int, int], ...]]:
    """How many rows are folded into one, and each block: its first value, last, and width."""
    size = rows * features
    if size <= SMALL and (rows <= FEW_ROWS or features >= NARROW):
        return 1, ((0, size, features),)
    least = max(1, min(rows // 8, -(-WIDE // features)))
    fold = next((fold for fold in range(least, 2 * least) if rows % fold == 0), least)
    width = fold * features
    whole, step = size - size % width, max(4, BLOCK_BYTES // (itemsize * width) // 4 * 4) * width
    blocks = [(start, min(start + step, whole), width) for start in range(0, whole, step)]
    if whole < size:
        blocks.append((whole, size, size - whole))
    return fold, tuple(blocks)


class Blocks:
    """The blocks of arrays (..., D) of one shape, several rows folded into one."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.features = shape[-1]
        self._fold, self._bounds = layout(prod(shape[:-1]), self.features, dtype.itemsize)
        self.count = len(self._bounds)
        self.largest = max(stop - start for start, stop, _ in self._bounds)

    def of(self, x: Array) -> list[Array]:
        """x block by block: views (folded rows, wide), or copies where x is not contiguous."""
        flat = x.reshape(-1)
        return [flat[start:stop].reshape(-1, width) for start, stop, width in self._bounds]

    def room(self, name: str, dtype: str) -> list[Array]:
        """Room to work in for each block, all in one place, which stays in cache."""
        flat = scratch(name, self.largest, dtype)
        return [flat[: stop - start].reshape(-1, width) for start, stop, width in self._bounds]

    def vector(self, dtype: str) -> "tuple[Array, list[Array]]":
        """An array (folded rows, D) to copy a vector (D,) into, and it beside each block's rows."""
        repeated = np.empty((self._fold, self.features), dtype)
        flat = repeated.reshape(-1)
        return repeated, [flat[:width] for _, _, width in self._bounds]
