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
    into ax if given, else into a new figure; returns the figure. Errors as training_accuracies, and
    a ValueError for runs of other lengths.
    """
    batches_per_sample = _checks.integer("batches_per_sample", batches_per_sample, minimum=1)
    checked = _checked_bands(groups)
    found = {}
    if reported is not None:
        _check_mapping("reported", reported, "", '{"With Batch Norm": accuracies}')
        found = _any_accuracies("reported", reported)
    axes = _axes(ax)
    for index, (name, values) in enumerate(checked.items()):
        steps = np.arange(values.shape[1]) * batches_per_sample
        colour = COLOURS[index % len(COLOURS)]
        axes.fill_between(steps, values.min(0), values.max(0), color=colour, alpha=0.2, linewidth=0)
        axes.plot(steps, np.median(values, 0), label=name, color=colour, linewidth=1.5)
        end = values.shape[1] * batches_per_sample
        for accuracy in found.get(name, ()):
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
    returns the figure. ValueError for no sides, sides of other categories, values outside 0 to 1;
    TypeError for arguments of another kind.
    """
    checked = _checked_strips("groups", groups, "side", "category")
    categories = list(next(iter(checked.values())))
    for side, columns in checked.items():
        if set(columns) != set(categories):
            raise ValueError(
                f"groups[{side!r}]: expected the categories {categories} like the first side, "
                f"got {list(columns)}"
            )
    found = {} if reported is None else _checked_strips("reported", reported, "", "")
    axes = _axes(ax)
    for index, (side, columns) in enumerate(checked.items()):
        colour = COLOURS[index % len(COLOURS)]
        shift = 0.18 * (2 * index - len(groups) + 1)
        for place, category in enumerate(categories):
            values = columns[category]
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
            for accuracy in found.get(side, {}).get(category, ()):
                axes.plot(
                    [place + shift - 0.17, place + shift + 0.17], [accuracy] * 2, color="black"
                )
    if found:
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


def _checked_curves(curves: Any) -> dict[str, _checks.Array]:
    _check_mapping("curves", curves, "curve", '{"With Batch Norm": accuracies}')
    return {name: _accuracies(f"curves[{name!r}]", values) for name, values in curves.items()}


def _checked_bands(groups: Any) -> dict[str, _checks.Array]:
    """name -> accuracies (runs, samples)."""
    _check_mapping("groups", groups, "group", '{"With Batch Norm": [accuracies, accuracies]}')
    checked = {}
    for name, curves in groups.items():
        where = f"groups[{name!r}]"
        runs = [
            _accuracies(f"{where}[{place}]", curve)
            for place, curve in enumerate(_checks.items(where, curves, "curves"))
        ]
        if not runs:
            raise ValueError(f"{where}: expected one curve or more, got none")
        for place, run in enumerate(runs):
            if len(run) != len(runs[0]):
                raise ValueError(
                    f"{where}[{place}]: expected {len(runs[0])} accuracies like the first curve, "
                    f"got {len(run)}: pass runs of one length"
                )
        checked[name] = np.array(runs)
    return checked


def _checked_strips(
    name: str, groups: Any, side_kind: str, column_kind: str
) -> dict[str, dict[str, _checks.Array]]:
    """side -> category -> accuracies, which may be none."""
    _check_mapping(name, groups, side_kind, '{"With Batch Norm": {"ReLU": accuracies}}')
    checked = {}
    for side, columns in groups.items():
        where = f"{name}[{side!r}]"
        _check_mapping(where, columns, column_kind, '{"ReLU": accuracies}')
        checked[side] = _any_accuracies(where, columns)
    return checked


def _any_accuracies(name: str, columns: Mapping[str, Any]) -> dict[str, _checks.Array]:
    return {
        category: _accuracies(f"{name}[{category!r}]", values, minimum=0)
        for category, values in columns.items()
    }


def _check_mapping(name: str, value: Any, kind: str, form: str) -> None:
    """kind: what each name names; "": there may be none. form: what to pass."""
    if not isinstance(value, Mapping):
        raise TypeError(
            f"{name}: expected a mapping of names, got a {type(value).__name__}: pass {form}"
        )
    if kind and not value:
        raise ValueError(f"{name}: expected one {kind} or more, got none: pass {form}")
    for key in value:
        if not isinstance(key, str):
            raise TypeError(f"{name}: expected names as keys, got {key!r}")


def _accuracies(name: str, values: Any, minimum: int = 1) -> _checks.Array:
    """values as an array (N,) from 0 to 1, N at least minimum."""
    try:
        accuracies = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        accuracies = None
    if accuracies is None or accuracies.ndim != 1:
        raise TypeError(f"{name}: expected a sequence of numbers, got {values!r:.60}")
    if accuracies.size < minimum:
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
