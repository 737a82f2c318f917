"""Numbers and tables as texts."""

from collections.abc import Iterable, Sequence

import numpy as np

from benchmarks import timing
from benchmarks.results import Record


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with its columns in line: the first to the left, the others to the right."""
    rows = [list(header), *map(list, rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        first, *others = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return "| " + " | ".join(cells) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])])


def seconds(value: float) -> str:
    """Three digits and a unit."""
    scaled, unit = value, "s"
    for shorter in ("ms", "µs"):
        if scaled < 0.9995:
            scaled, unit = 1000 * scaled, shorter
    return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f} {unit}"


def size(value: float) -> str:
    """Bytes, in the unit that suits them."""
    for factor, unit in ((1e6, "MB"), (1e3, "kB")):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value:.0f} B"


def spread(record: Record) -> str:
    """Half the distance between the quartiles, in percent of the median."""
    low, middle, high = timing.quartiles(record.values)
    return f"±{100 * (high - low) / 2 / middle:.0f} %"


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The exponent p of values ~ sizes^p, fitted to the upper half of the sizes (two at least)."""
    upper = max(2, (len(sizes) + 1) // 2)
    return float(np.polyfit(np.log(sizes[-upper:]), np.log(values[-upper:]), 1)[0])
