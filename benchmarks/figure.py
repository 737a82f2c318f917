"""The figure: time against size, npbn beside its peers and above its floor."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.results import Record, Results
from benchmarks.tables import PRODUCTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Who is drawn, in the same colour everywhere: Okabe and Ito's palette, which stays apart for
# colour-blind readers; a marker of its own for each, for those who print in grey.
STYLES = {
    "npbn": ("#000000", "o"),
    "textbook NumPy": ("#D55E00", "v"),
    "npbn.reference": ("#E69F00", "<"),
    "PyTorch": ("#0072B2", "s"),
    "PyTorch, native kernels": ("#56B4E9", "D"),
    "torch.compile": ("#0072B2", "x"),
    "JAX jit": ("#009E73", "^"),
    "tf.function": ("#CC79A7", "P"),
    "autograd": ("#999999", "X"),
    "floor": ("#595959", ""),
    PRODUCTS: ("#595959", ""),
}
FLOORS = {"floor": "floor: its bytes, copied", PRODUCTS: "floor: its matrix products"}


def draw(results: Results) -> Figure:
    """A matplotlib Figure of one or two halves; ValueError where nothing for it was measured.

    Left: batch norm forward + backward in float32 over the number of values. Right: the training
    step of the lesson's network over the batch.
    """
    from matplotlib.figure import Figure

    halves: list[tuple[list[Record], Callable[[Record], int], str, str]] = [
        (
            results.find("kernels", operation="forward+backward", dtype="float32"),
            lambda record: int(np.prod(record.case["shape"])),
            "Batch norm, forward + backward, float32",
            "Values in x",
        ),
        (
            results.find("growth", along="batch", batch_norm=True),
            lambda record: record.case["size"],
            "Training step, 784-100-100-100-10, batch norm",
            "Images in a batch",
        ),
    ]
    halves = [half for half in halves if half[0]]
    if not halves:
        raise ValueError("nothing to draw: measure kernels (in float32) or growth")
    figure = Figure(figsize=(6.8 * len(halves), 5.2), layout="constrained")
    for place, (records, size, title, label) in enumerate(halves):
        axes = figure.add_subplot(1, len(halves), place + 1)
        _lines(axes, records, size)
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=12)
        axes.set_xlabel(label)
        axes.set_ylabel("Time, one thread")
    return figure


def _lines(axes: Axes, records: list[Record], size: Callable[[Record], int]) -> None:
    from matplotlib.ticker import EngFormatter

    curves = {
        who: sorted((record for record in records if record.who == who), key=size)
        for who in dict.fromkeys(record.who for record in records)
        if who in STYLES
    }
    # The legend has them from top to bottom as the lines end.
    for who, own in sorted(curves.items(), key=lambda item: -item[1][-1].median):
        colour, marker = STYLES[who]
        axes.plot(
            [size(record) for record in own],
            [record.median for record in own],
            color=colour,
            marker=marker,
            linestyle="--" if who in FLOORS else ":" if who == "torch.compile" else "-",
            linewidth=2.4 if who == "npbn" else 1.2,
            zorder=3 if who == "npbn" else 2,
            label=FLOORS.get(who, who),
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(EngFormatter("s"))
    axes.grid(True, which="major", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
