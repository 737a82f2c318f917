"""Figures, built without pyplot: no window, no global state. `figure.savefig(path)` keeps one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

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


def accuracy_bands(
    groups: Mapping[str, Sequence[Sequence[float]]],
    batches_per_sample: int,
    *,
    reported: Mapping[str, Sequence[float]] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw the median of several runs' validation accuracies over training steps, in their range.

    groups: name -> one curve a run, sampled at steps 0, batches_per_sample, ..., all of one length.
    reported: name -> final accuracies found elsewhere, drawn as dots where the curves end. Drawn
    into ax if given, else into a new figure; returns the figure. Errors as training_accuracies.
    """
    batches_per_sample = _checks.integer("batches_per_sample", batches_per_sample, minimum=1)
    axes = _axes(ax)
    for index, (name, curves) in enumerate(groups.items()):
        values = np.array(
            [*_checked_curves({f"{name} {i}": c for i, c in enumerate(curves)}).values()]
        )
        steps = np.arange(values.shape[1]) * batches_per_sample
        colour = COLOURS[index % len(COLOURS)]
        axes.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)
        axes.plot(steps, np.median(values, 0), label=name, color=colour, linewidth=1.5)
        end = values.shape[1] * batches_per_sample
        for accuracy in (reported or {}).get(name, ()):
            axes.plot(end, accuracy, "o", color=colour, markeredgecolor="black", clip_on=False)
    axes.set_ylim(0, 1)
    axes.set_yticks(np.arange(0, 11, 2) / 10)
    axes.margins(x=0.02)
    axes.grid(True, color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes.figure.figure


def accuracy_strips(
    groups: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    reported: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    ax: Axes | None = None,
) -> Figure:
    """Draw final accuracies, a dot a run: a column a category, a colour a side.

    groups: side -> category -> accuracies; every side has the same categories. reported: likewise,
    accuracies found elsewhere, drawn as bars. Drawn into ax if given, else into a new figure;
    returns the figure.
    """
    axes = _axes(ax)
    categories = list(next(iter(groups.values())))
    for index, (side, columns) in enumerate(groups.items()):
        colour = COLOURS[index % len(COLOURS)]
        shift = 0.18 * (2 * index - len(groups) + 1)
        for place, category in enumerate(categories):
            values = np.asarray(columns[category], np.float64)
            spread = np.linspace(-0.1, 0.1, len(values)) if len(values) > 1 else np.zeros(1)
            axes.plot(
                place + shift + spread[: len(values)],
                values,
                "o",
                color=colour,
                markersize=4.5,
                alpha=0.8,
                label=side if place == 0 else None,
            )
            for accuracy in (reported or {}).get(side, {}).get(category, ()):
                axes.plot(
                    [place + shift - 0.17, place + shift + 0.17], [accuracy] * 2, color="black"
                )
    if reported:
        axes.plot([], [], color="black", label="the lesson")
    axes.set_xticks(range(len(categories)), categories)
    axes.set_ylabel("Accuracy")
    axes.set_ylim(0, 1)
    axes.set_yticks(np.arange(11) / 10)
    axes.grid(True, axis="y", color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=3, frameon=False)
    return axes.figure.figure


def _checked_curves(curves: Mapping[str, Sequence[float]]) -> dict[str, _checks.Array]:
    if not isinstance(curves, Mapping):
        raise TypeError(
            f"curves: expected a mapping of names to accuracies, got a {type(curves).__name__}: "
            'pass {"With Batch Norm": accuracies}'
        )
    if not curves:
        raise ValueError("curves: expected one curve or more, got none")
    checked: dict[str, _checks.Array] = {}
    for name, values in curves.items():
        if not isinstance(name, str):
            raise TypeError(f"curves: expected names as keys, got {name!r}")
        try:
            accuracies = np.asarray(values, dtype=np.float64)
        except (TypeError, ValueError):
            accuracies = None
        if accuracies is None or accuracies.ndim != 1:
            raise TypeError(f"curves[{name!r}]: expected a sequence of numbers, got {values!r:.60}")
        if accuracies.size == 0:
            raise ValueError(f"curves[{name!r}]: expected one accuracy or more, got none")
        outside = ~((accuracies >= 0) & (accuracies <= 1))
        if outside.any():
            where = int(outside.argmax())
            raise ValueError(
                f"curves[{name!r}]: expected accuracies from 0 to 1, got {accuracies[where]} "
                f"in place {where}"
            )
        checked[name] = accuracies
    return checked


def _axes(ax: Axes | None) -> Axes:
    """ax, checked, or the axes of a new figure that pyplot does not know."""
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    if ax is None:
        return Figure(figsize=(8, 5), layout="constrained").add_subplot()
    if not isinstance(ax, Axes):
        raise TypeError(f"ax: expected a matplotlib Axes, got a {type(ax).__name__}")
    return ax
