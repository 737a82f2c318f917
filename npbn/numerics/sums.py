"""Sums over the rows of blocks, as products with a vector: a quarter of x.sum(0)'s time."""

from typing import Any

from npbn._checks import Array
from npbn.numerics.constants import constant
from npbn.numerics.scratch import scratch

# Beside a large number a float32 sum loses the digits of small ones, so few are added in float32:
# four rows by a product, and the sums in pairs, twice; the rest in float64.
FOURS, HALVINGS = 4, 2
# The sums are of sixteenths, which no rounding changes: so none overflows.
SHARE = 1 / 16


class ColumnSums:
    """SHARE times the sum of each column, in float64, added up block by block, for one call."""

    def __init__(self, features: int, largest: int, dtype: str) -> None:
        """largest: the values of the largest block."""
        self._features, self._kind = features, dtype
        self._fours = scratch("fours", largest // FOURS, dtype)
        self._few = scratch("few", max(largest // FOURS, 3 * features), "d")
        self._sum = scratch("sum", features, "d")

    def add(self, xp: Any, block: Array, total: Array) -> None:
        """Add the sums of a block (rows, D), or of one with rows folded, to total."""
        features, flat = self._features, block.reshape(-1)
        count = flat.size // (FOURS * features) * features
        if count:
            fours = self._fours[:count]
            weights = constant(SHARE, self._kind, FOURS)
            xp.dot(weights, flat[: FOURS * count].reshape(FOURS, count), out=fours)
            for _ in range(HALVINGS):
                if len(fours) % (2 * features):
                    break
                half = len(fours) // 2
                xp.add(fours[:half], fours[half:], out=fours[:half])
                fours = fours[:half]
            self._add(xp, fours, 1.0, total)
        if FOURS * count < flat.size:
            self._add(xp, flat[FOURS * count :], SHARE, total)

    def _add(self, xp: Any, rows: Array, weight: float, total: Array) -> None:
        few = self._few[: rows.size]
        xp.copyto(few, rows)
        weights = constant(weight, "d", rows.size // self._features)
        xp.dot(weights, few.reshape(-1, self._features), out=self._sum)
        xp.add(total, self._sum, out=total)
