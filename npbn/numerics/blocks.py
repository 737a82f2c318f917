"""How passes over many rows are laid out: in blocks of rows that stay in cache."""

import threading
from collections.abc import Iterable
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from npbn._checks import Array
from npbn.numerics.tape import repeated

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
# More values are not kept.
MOST_KEPT = 1 << 18


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
        self.features, self._kind = shape[-1], dtype.char
        self._fold, self._bounds = layout(prod(shape[:-1]), self.features, dtype.itemsize)
        self.count = len(self._bounds)
        self.largest = max(stop - start for start, stop, _ in self._bounds)

    def each(self, xp: Any, *arrays: Array | list[Array], kind: str | None = None) -> Iterable[Any]:
        """The arrays block by block, and vectors (D,) as they go with their rows.

        kind: the type of the vectors; None: that of the arrays.
        """
        columns = [
            each
            if isinstance(each, list)
            else self._beside(xp, f"vector {place}", each, kind or self._kind)
            if each.ndim == 1
            else self._of(each.reshape(-1))
            for place, each in enumerate(arrays)
        ]
        return repeated(xp, zip(*columns, strict=True))

    def room(self, name: str, kind: str) -> list[Array]:
        """Room to work in for each block, all in one place, which stays in cache."""
        flat = scratch(name, self.largest, kind)
        return [flat[: stop - start].reshape(-1, width) for start, stop, width in self._bounds]

    def _of(self, flat: Array) -> list[Array]:
        return [flat[start:stop].reshape(-1, width) for start, stop, width in self._bounds]

    def _beside(self, xp: Any, name: str, vector: Array, kind: str) -> list[Array]:
        if self._fold == 1 and vector.dtype.char == kind:
            return [vector] * self.count
        wide = scratch(name, self._fold * self.features, kind)
        xp.copyto(wide.reshape(self._fold, self.features), vector)
        return [wide[:width] for _, _, width in self._bounds]


class _Room(threading.local):
    def __init__(self) -> None:
        self.arrays: dict[tuple[str, str], Array] = {}


_room = _Room()


def scratch(name: str, size: int, dtype: str) -> Array:
    """A 1-D array to write over, until the same thread asks for the name and type again.

    A new one of 256 KB is 64 page faults, of up to 3.4 us each.
    """
    array = _room.arrays.get((name, dtype))
    if array is None or array.size < size:
        array = np.empty(size, dtype)
        if size <= MOST_KEPT:
            _room.arrays[name, dtype] = array
    return array[:size]
