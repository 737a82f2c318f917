"""Sums over the rows of blocks, as products with a vector: a quarter of x.sum(0)'s time."""

import math
from typing import Any

from npbn._checks import Array
from npbn.numerics.blocks import SMALL, Blocks, scratch
from npbn.numerics.constants import constant

# Beside a large number a float32 sum loses the digits of small ones, so few are added in float32:
# four rows by a product, and the sums in pairs, twice; the rest in float64.
FOURS, HALVINGS = 4, 2
# The sums are of sixteenths, which no rounding changes: so none overflows.
SHARE = 1 / 16


class ColumnSums:
    """The sum of each column of an array that is taken block by block, for one call."""

    def __init__(self, blocks: Blocks, kind: str, name: str) -> None:
        """kind: the blocks' type. name: another one for each sum that is taken at a time."""
        features = self._features = blocks.features
        self._kind, self._count = kind, 0
        self._parts = scratch(f"sums of {name}", blocks.count * features, "d").reshape(-1, features)
        self._fours = scratch("fours", blocks.largest // FOURS, kind)
        self._few = scratch("few", max(blocks.largest // FOURS, 3 * features), "d")

    def take(self, xp: Any, block: Array) -> None:
        """The next block: (rows, D), or several rows folded into one."""
        part, features, flat = self._parts[self._count], self._features, block.reshape(-1)
        self._count += 1
        count = flat.size // (FOURS * features) * features
        if self._kind == "d" and flat.size <= SMALL:
            count = 0
        if count:
            fours = self._fours[:count]
            weights = constant(SHARE, self._kind, FOURS)
            xp.dot(weights, flat[: FOURS * count].reshape(FOURS, count), out=fours)
            for _ in range(HALVINGS):
                half, odd = divmod(len(fours), 2)
                if odd or half % features:
                    break
                fours = xp.add(fours[:half], fours[half:], out=fours[:half])
            xp.dot(*self._weighted(xp, fours, 1.0), out=part)
        rest = flat[FOURS * count :]
        if not count:
            xp.dot(*self._weighted(xp, rest, SHARE), out=part)
        elif rest.size:
            xp.add(part, xp.dot(*self._weighted(xp, rest, SHARE)), out=part)

    def _weighted(self, xp: Any, rows: Array, weight: float) -> tuple[Array, Array]:
        """A weight for each row, and the rows in float64."""
        few = rows
        if self._kind != "d":
            few = self._few[: rows.size]
            xp.copyto(few, rows)
        few = few.reshape(-1, self._features)
        return constant(weight, "d", len(few)), few

    def total(self, xp: Any, out: Array) -> None:
        """Writes the sums of all blocks that were taken, in float64."""
        xp.dot(constant(1 / SHARE, "d", self._count), self._parts, out=out)


def all_finite(xp: Any, vector: Array) -> bool:
    """Whether no value is infinite or NaN. One product tells nearly always: 0.5 us, not 2."""
    return math.isfinite(xp.dot(vector, vector)) or bool(xp.all(xp.isfinite(vector)))
