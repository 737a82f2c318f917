"""Sums over the rows of blocks, as products with a vector: a quarter of x.sum(0)'s time."""

import math
from math import prod
from typing import Any

import numpy as np

from npbn._checks import Array
from npbn.numerics.blocks import SMALL, Blocks, scratch
from npbn.numerics.constants import constant
from npbn.numerics.operation import Workspace

# Beside a large number a float32 sum loses the digits of small ones, so few are added in float32:
# four rows by a product, and the sums in pairs, twice; the rest in float64.
FOURS, HALVINGS = 4, 2
# The sums are of sixteenths, which no rounding changes: so none overflows.
SHARE = 1 / 16
# So many rows are added in float32 by one product, four at a time.
MOST_ROWS = 256


class ColumnSums:
    """The sum of each column of some arrays, which are taken in turn, block by block.

    Parameters
    ----------
    blocks : Blocks
    kind : str
        The arrays' type.
    arrays : int
        How many.
    """

    def __init__(self, blocks: Blocks, kind: str, arrays: int) -> None:
        self._taken, self._arrays, features = 0, arrays, blocks.features
        if ("sums", kind) not in blocks.made:
            blocks.made["sums", kind] = [_BlockSum(size, features, kind) for size in blocks.sizes]
        self._blocks = blocks.made["sums", kind]
        parts = scratch("parts", len(self._blocks) * arrays * features, "d")
        self._parts = parts.reshape(len(self._blocks) * arrays, features)

    def take(self, xp: Any, block: Array) -> None:
        """The next block: (rows, D), or several rows folded into one."""
        self._blocks[self._taken // self._arrays].write(xp, block, self._parts[self._taken])
        self._taken += 1

    def total(self, xp: Any, out: Array) -> None:
        """Writes the sums of all blocks in float64, for each array a row."""
        weights = constant(1 / SHARE, "d", len(self._blocks))
        xp.dot(weights, self._parts.reshape(len(weights), -1), out=out.reshape(-1))


class BiasGradient(Workspace):
    """dbias = sum(dy) over all axes but the last, of a dy of one shape and type, in float64."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self._rows, self._sum_dy = prod(shape[:-1]), np.empty(shape[-1])
        self._is_small = prod(shape) <= SMALL
        if self._is_small:
            self._ones = constant(1.0, "d", self._rows)
            self._dy = np.empty((self._rows, shape[-1]))

    def write(self, xp: Any, dy: Array, dbias: Array) -> None:
        """Writes dbias."""
        if self._is_small:
            xp.copyto(self._dy, dy.reshape(self._dy.shape))
            xp.dot(self._ones, self._dy, out=self._sum_dy)
        else:
            blocks = Blocks.of(dy.shape, dy.dtype)
            sums = ColumnSums(blocks, dy.dtype.char, 1)
            for (block,) in blocks.each(xp, dy):
                sums.take(xp, block)
            sums.total(xp, self._sum_dy)
        xp.copyto(dbias, self._sum_dy)


class RowSums(Workspace):
    """weights @ values, a sum over the rows of values (..., rows, D), of one number of rows.

    Of many rows, products of some at a time, which are added in float64.
    """

    def __init__(self, rows: int, most_values: int, dtype: np.dtype[Any]) -> None:
        """most_values: how many numbers a sum has at most."""
        self._groups = rows // MOST_ROWS if rows > MOST_ROWS else 0
        self._whole = MOST_ROWS * self._groups
        self._parts = np.empty((self._groups + 1) * most_values, dtype)

    def write(self, xp: Any, weights: Array, values: Array, out: Array) -> None:
        """weights (rows,); out (..., D)."""
        if not self._groups:
            xp.matmul(weights, values, out=out)
            return
        around, groups, whole = values.shape[:-2], self._groups, self._whole
        parts = self._parts[: (groups + 1) * out.size].reshape(*around, groups + 1, -1)
        xp.matmul(
            weights[:whole].reshape(groups, 1, -1),
            values[..., :whole, :].reshape(*around, groups, MOST_ROWS, -1),
            out=parts[..., :groups, np.newaxis, :],
        )
        xp.matmul(weights[whole:], values[..., whole:, :], out=parts[..., groups, :])
        xp.sum(parts, axis=-2, dtype=np.float64, out=out)


class _BlockSum:
    """The sum of each column of one block."""

    def __init__(self, size: int, features: int, kind: str) -> None:
        count = size // (FOURS * features) * features
        if kind == "d" and size <= SMALL:
            count = 0
        self._whole, self._weights = FOURS * count, constant(SHARE, kind, FOURS)
        self._fours = few = scratch("fours", count, kind)
        self._halves = []
        for _ in range(HALVINGS):
            half, odd = divmod(few.size, 2)
            if odd or half % features:
                break
            self._halves.append((few[:half], few[half:]))
            few = few[:half]
        rows, rest = few.size // features, (size - self._whole) // features
        exact = scratch("few", few.size + rest * features, "d")
        self._few, self._exact_few, self._exact_rest = few, exact[: few.size], exact[few.size :]
        self._rows = exact.reshape(-1, features)
        self._row_weights = np.repeat([1, SHARE], [rows, rest])

    def write(self, xp: Any, block: Array, out: Array) -> None:
        flat = block.reshape(-1)
        if self._whole:
            fours = flat[: self._whole].reshape(FOURS, -1)
            xp.dot(self._weights, fours, out=self._fours)
            for half, other in self._halves:
                xp.add(half, other, out=half)
            xp.copyto(self._exact_few, self._few)
        if self._exact_rest.size:
            xp.copyto(self._exact_rest, flat[self._whole :])
        xp.dot(self._row_weights, self._rows, out=out)


def all_finite(xp: Any, vector: Array) -> bool:
    """Whether no value is infinite or NaN. One product tells nearly always: 0.5 us, not 2."""
    return math.isfinite(xp.dot(vector, vector)) or bool(xp.all(xp.isfinite(vector)))
