"""The figure: time against size, npbn beside its peers and above its floor."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.groups.step import PRODUCTS
from benchmarks.results import Record, Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Who is drawn, in the same colour in both halves: Okabe and Ito's palette, which stays apart for
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
}
FLOORS = {"floor": "floor: its bytes, copied", PRODUCTS: "floor: its matrix products"}


def draw(results: Results) -> Figure:
    """A matplotlib Figure of one or two halves; ValueError where nothing for it was measured.

    Left: batch norm forward + backward in float32 over the number of values. Right: the training
    step of the lesson's network over the batch.
    """
    from matplotlib.figure import Figure

    kernels = results.find("kernels", operation="forward+backward", dtype="float32")
    growth = results.find("growth", along="batch", batch_norm=True)
    halves = [
        (
            kernels,
            lambda record: int(np.prod(record.case["shape"])),
            "Batch norm, forward + backward, float32",
            "Values in x",
        ),
        (
            growth,
            lambda record: record.case["size"],
            "Training step, 784-100-100-100-10, batch norm",
            "Images in a batch",
        ),
    ]
    halves = [half for half in halves if half[0]]
    if not halves:
        raise ValueError("nothing to draw: measure kernels (in float32) or growth")
    figure = Figure(figsize=(6.4 * len(halves), 5.2), layout="constrained")
    for place, (records, size, title, label) in enumerate(halves):
        axes = figure.add_subplot(1, len(halves), place + 1)
        _lines(axes, records, size)
        axes.set_title(title, loc="left", fontsize=11, fontweight="bold", pad=12)
        axes.set_xlabel(label)
        axes.set_ylabel("Time, one thread")
    return figure


def _lines(axes: Axes, records: Iterable[Record], size) -> None:
    from matplotlib.ticker import EngFormatter

    records = list(records)
    ends = []
    for who in dict.fromkeys(record.who for record in records):
        if who not in STYLES and who not in FLOORS:
            continue
        own = sorted((record for record in records if record.who == who), key=size)
        x, y = [size(record) for record in own], [record.median for record in own]
        if who in FLOORS:
            line = {"color": "0.35", "linestyle": (0, (4, 3)), "linewidth": 1.2}
            text = FLOORS[who]
        else:
            colour, marker = STYLES[who]
            wide = who == "npbn"
            line = {"color": colour, "marker": marker, "linewidth": 2.4 if wide else 1.2}
            line |= {"markersize": 6 if wide else 4.5, "zorder": 3 if wide else 2}
            line["linestyle"] = ":" if who == "torch.compile" else "-"
            text = who
        axes.plot(x, y, label=who, **line)
        ends.append((y[-1], text, line["color"], who == "npbn"))
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_formatter(EngFormatter("s"))
    axes.grid(True, which="major", color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    _label_ends(axes, max(map(size, records)), ends)


def _label_ends(axes: Axes, right: float, ends) -> None:
    """Each line's name where it ends, moved apart where two would overlap."""
    low, high = np.log(axes.get_ylim())
    least = 0.045 * (high - low)
    ends = sorted(ends)
    places = np.log([y for y, *_ in ends])
    for _ in range(500):
        lack = np.maximum(least - np.diff(places), 0) / 2
        places[:-1] -= lack
        places[1:] += lack
        places -= max(places[-1] - high, 0)
    for place, (y, text, colour, bold) in zip(places, ends, strict=True):
        axes.annotate(
            text,
            (right, y),
            xytext=(1.06, (place - low) / (high - low)),
            textcoords="axes fraction",
            color=colour,
            fontsize=9,
            fontweight="bold" if bold else "normal",
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": colour,
                "linewidth": 0.6,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 4,
            },
        )
