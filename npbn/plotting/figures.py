"""Where to draw, and in which colours."""

from __future__ import annotations

import io
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette less its yellow: these stay apart for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def new_figure(size: tuple[float, float]) -> Figure:
    """A figure of that size in inches, which pyplot does not know; a notebook shows it."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    # Of a figure that is not pyplot's a notebook knows nothing but this. With %matplotlib inline
    # it has a way of its own, and does not ask. A subclass would have to import matplotlib here.
    vars(figure)["_repr_png_"] = partial(_png, figure)
    return figure


def _png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()


def axes_in(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """ax, checked, or the axes of a new figure of that size, which pyplot does not know."""
    from matplotlib.axes import Axes

    if ax is None:
        return new_figure(size).add_subplot()
    if not isinstance(ax, Axes):
        raise TypeError(f"ax: expected a matplotlib Axes, got a {type(ax).__name__}")
    return ax


def shortened(title: str) -> str:
    """As much as a panel has room for."""
    return title if len(title) <= 48 else f"{title[:45]}..."
