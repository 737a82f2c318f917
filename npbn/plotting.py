"""Figures, built without pyplot: no window, no global state. `figure.savefig(path)` keeps one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from npbn import _checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette less its yellow: these stay apart for colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")


def training_accuracies(
    curves: Mapping[str, Sequence[float]], batches_per_sample: int, *, ax: Axes | None = None
) -> Figure:
    """Draw validation accuracies over training steps, one curve a network.

    curves: name -> the accuracies sampled at steps 0, batches_per_sample, 2 * batches_per_sample,
    ...; the names make the legend. Drawn into ax if given, else into a new figure; returns the
    figure. ValueError for no curves, an empty curve, values outside 0 to 1 (NaN is one) and
    batches_per_sample below 1; TypeError for arguments of another kind.
    """
    batches_per_sample = _checks.integer("batches_per_sample", batches_per_sample, minimum=1)
    checked = _checked_curves(curves)
    axes = _axes(ax)
    for index, (name, accuracies) in enumerate(checked.items()):
        steps = np.arange(len(accuracies)) * batches_per_sample
        axes.plot(
            steps,
            accuracies,
            label=name,
            color=COLOURS[index % len(COLOURS)],
            linestyle=("-", "--", ":")[index // len(COLOURS) % 3],
            linewidth=2,
            # A line through one point is invisible.
            marker="o" if len(accuracies) == 1 else None,
        )
    axes.set_xlabel("Training steps")
    axes.set_ylabel("Accuracy")
    axes.set_title("Validation Accuracy During Training")
    axes.set_ylim(0, 1)
    axes.set_yticks(np.arange(11) / 10)
    axes.margins(x=0.02)
    axes.grid(True, color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower right")
    # .figure of a subfigure is the whole figure, and of a figure itself.
    return axes.figure.figure


def _checked_curves(curves: Any) -> dict[str, _checks.Array]:
    """name -> accuracies (N,) from 0 to 1."""
    form = 'pass {"With Batch Norm": accuracies}'
    if not isinstance(curves, Mapping):
        raise TypeError(
            f"curves: expected a mapping of names, got a {type(curves).__name__}: {form}"
        )
    if not curves:
        raise ValueError(f"curves: expected one curve or more, got none: {form}")
    for name in curves:
        if not isinstance(name, str):
            raise TypeError(f"curves: expected names as keys, got {name!r}")
    return {name: _accuracies(f"curves[{name!r}]", values) for name, values in curves.items()}


def _accuracies(name: str, values: Any) -> _checks.Array:
    try:
        accuracies = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        accuracies = None
    if accuracies is None or accuracies.ndim != 1:
        raise TypeError(f"{name}: expected a sequence of numbers, got {values!r:.60}")
    if not accuracies.size:
        raise ValueError(f"{name}: expected one accuracy or more, got none")
    outside = ~((accuracies >= 0) & (accuracies <= 1))
    if outside.any():
        where = int(outside.argmax())
        raise ValueError(
            f"{name}: expected accuracies from 0 to 1, got {accuracies[where]} in place {where}"
        )
    return accuracies


def _axes(ax: Axes | None) -> Axes:
    """ax, checked, or the axes of a new figure that pyplot does not know."""
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    if ax is None:
        return Figure(figsize=(8, 5), layout="constrained").add_subplot()
    if not isinstance(ax, Axes):
        raise TypeError(f"ax: expected a matplotlib Axes, got a {type(ax).__name__}")
    return ax
