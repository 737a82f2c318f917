"""Where to draw, and in which colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette less its yellow: these stay apart for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def axes_in(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """ax, checked, or the axes of a new figure of that size, which pyplot does not know."""
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    if ax is None:
        return Figure(figsize=size, layout="constrained").add_subplot()
    if not isinstance(ax, Axes):
        raise TypeError(f"ax: expected a matplotlib Axes, got a {type(ax).__name__}")
    return ax


def shortened(title: str) -> str:
    """As much as a panel has room for."""
    return title if len(title) <= 48 else f"{title[:45]}..."
