"""How passes over many rows are laid out: in blocks of rows that stay in cache."""

import threading
from collections.abc import Iterator
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
    """The blocks of arrays (..., D) of one shape and type, several rows folded into one.

    They have room to work in, which they share with all other blocks of the thread.
    """

    def __init__(self, rows: int, features: int, kind: str) -> None:
        self.features, self.kind = features, kind
        self._fold, self._bounds = layout(rows, features, np.dtype(kind).itemsize)
        self.sizes = [stop - start for start, stop, _ in self._bounds]
        # What was made of the room: by name and type.
        self.made: dict[tuple[str, str], Any] = {}

    @staticmethod
    def of(shape: tuple[int, ...], dtype: np.dtype[Any]) -> "Blocks":
        """Those of this thread, with views that were made once: 10 % less time at (256, 512)."""
        make = _kept.blocks if 4 * shape[-1] <= MOST_KEPT else Blocks
        return make(prod(shape[:-1]), shape[-1], dtype.char)

    def each(
        self, xp: Any, *arrays: Array | list[Array], out: Array | None = None
    ) -> Iterator[Any]:
        """The arrays block by block, out as the last; lists are what the other methods return."""
        views = [each if isinstance(each, list) else self.split(each) for each in arrays]
        written = out
        if out is not None:
            written = out if out.flags.c_contiguous else np.empty(out.shape, out.dtype)
            views.append(self.split(written))
        yield from repeated(xp, zip(*views, strict=True))
        if written is not out:
            xp.copyto(out, written)

    def split(self, array: Array) -> list[Array]:
        """Its blocks; of an array that is not contiguous, a copy's."""
        flat = array.reshape(-1)
        return [flat[start:stop].reshape(-1, width) for start, stop, width in self._bounds]

    def beside(self, xp: Any, vectors: Array, kind: str | None = None) -> list[list[Array]]:
        """Each vector of (k, D) as it goes with each block's rows, in their or another type."""
        count, kind = len(vectors), kind or self.kind
        if self._fold == 1 and vectors.dtype.char == kind:
            return [[vector] * len(self._bounds) for vector in vectors]
        if (f"{count} vectors", kind) not in self.made:
            width = self._fold * self.features
            wide = scratch("vectors", count * width, kind).reshape(count, width)
            views = [[each[:stop] for _, _, stop in self._bounds] for each in wide]
            repeats = wide.reshape(count, self._fold, self.features)
            self.made[f"{count} vectors", kind] = repeats, views
        repeats, views = self.made[f"{count} vectors", kind]
        xp.copyto(repeats, vectors.reshape(count, 1, self.features))
        return views

    def room(self, name: str, kind: str) -> list[Array]:
        """Room to work in for each block, all in one place, which stays in cache."""
        if (name, kind) not in self.made:
            flat = scratch(name, max(self.sizes), kind)
            self.made[name, kind] = [
                flat[: stop - start].reshape(-1, width) for start, stop, width in self._bounds
            ]
        views: list[Array] = self.made[name, kind]
        return views


class _Kept(threading.local):
    def __init__(self) -> None:
        self.arrays: dict[tuple[str, str], Array] = {}
        self.blocks = lru_cache(maxsize=16)(Blocks)


_kept = _Kept()


def scratch(name: str, size: int, dtype: str) -> Array:
    """A 1-D array to write over, until the same thread asks for the name and type again.

    A new one of 256 KB is 64 page faults, of up to 3.4 us each.
    """
    array = _kept.arrays.get((name, dtype))
    if array is None or array.size < size:
        if size > MOST_KEPT:
            return np.empty(size, dtype)
        # Views of a shorter one may be kept beside it: twice as long, they are few.
        array = _kept.arrays[name, dtype] = np.empty(1 << (size - 1).bit_length(), dtype)
    return array[:size]
