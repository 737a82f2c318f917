"""Accuracies and losses over training steps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from npbn import _checks
from npbn.plotting.figures import COLOURS, axes_in, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Where an accuracy axis has its marks; see _spread.
_MARKS = (0, 0.5, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99, 1)
_REST = 0.01


def training_accuracies(
    curves: Any,
    batches_per_sample: int | None = None,
    *,
    ax: Axes | None = None,
    scale: str = "error",
) -> Figure:
    """Draw validation accuracies over training steps, one curve a network.

    Parameters
    ----------
    curves : History or dict
        Name -> a `History`, or the accuracies sampled at steps 0, batches_per_sample, 2 *
        batches_per_sample, ...; the names make the legend. A single History will do.
    batches_per_sample : int or None
        Needed for curves that are no History.
    ax : matplotlib.axes.Axes or None
        Where to draw; None: in a new figure.
    scale : "error" or "linear"
        "error" spreads the axis towards 1, by the logarithm of the error, so that 0.95 and 0.97 lie
        apart; "linear" is from 0 to 1 in equal steps.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For no curves, an empty curve, values outside 0 to 1 (NaN is one) and batches_per_sample
        below 1.
    TypeError
        For arguments of another kind.
    """
    _checks.choice("scale", scale, ("error", "linear"))
    if batches_per_sample is not None:
        batches_per_sample = _checks.integer("batches_per_sample", batches_per_sample, minimum=1)
    if _is_history(curves):
        curves = {"validation": curves}
    checked = {
        name: _points(name, values, batches_per_sample) for name, values in _named(curves).items()
    }
    axes = axes_in(ax, (8, 5))
    for index, (name, (steps, accuracies)) in enumerate(checked.items()):
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
    axes.set_title("Validation Accuracy During Training")
    _lay_out(axes)
    _accuracy_axis(axes, scale)
    axes.legend(loc="best")
    # .figure of a subfigure is the whole figure, and of a figure itself.
    return axes.figure.figure


def history(run: Any) -> Figure:
    """Draw a History: losses, and beside them accuracies if there are any, over training steps.

    The loss of each step's batch is a thin line, its mean over a fiftieth of the steps a thick one;
    samples have a dot each.

    Parameters
    ----------
    run : History
        What `fit` returned.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        For anything else.
    ValueError
        For a run without a step.
    """
    if not _is_history(run):
        raise TypeError(f"run: expected the History that fit returned, got {run!r:.60}")
    if not len(run.losses):
        raise ValueError("run: expected a History of one step or more, got none")
    kinds = ["losses"]
    if len(run.validation_accuracies) or len(run.training_accuracies):
        kinds.append("accuracies")
    figure = new_figure((5.5 * len(kinds), 4.5))
    for kind, axes in zip(kinds, figure.subplots(1, len(kinds), squeeze=False)[0], strict=True):
        _lay_out(axes)
        if kind == "losses":
            _draw_losses(axes, np.asarray(run.losses, np.float64))
        for place, name in enumerate(("training", "validation")):
            values = getattr(run, f"{name}_{kind}")
            if len(values):
                axes.plot(
                    run.sample_steps,
                    values,
                    label=f"{name}, samples",
                    color=COLOURS[place],
                    linestyle=("--", "-")[place],
                    marker="o",
                    markersize=3,
                )
        if kind == "accuracies":
            axes.set_title("Accuracy")
            _accuracy_axis(axes, "error")
        else:
            axes.set_title("Loss")
            values = np.concatenate([line.get_ydata() for line in axes.get_lines()])
            if (values[np.isfinite(values)] > 0).all():
                axes.set_yscale("log")
        for name in ("diverged", "stopped"):
            if (step := getattr(run, f"{name}_at")) is not None:
                axes.axvline(step, color="0.4", linestyle=":", label=f"{name} at step {step:,}")
        axes.legend()
    return figure


def _draw_losses(axes: Axes, losses: _checks.Array) -> None:
    steps, width = np.arange(len(losses)), max(1, len(losses) // 50)
    losses = np.where(np.isfinite(losses), losses, np.nan)
    axes.plot(steps, losses, color=COLOURS[4], linewidth=0.5, alpha=0.6)
    means = np.convolve(losses, np.full(width, 1 / width), "valid")
    middle = steps[: len(means)] + (width - 1) / 2
    label = "training, each batch" if width == 1 else f"training, mean of {width:,} batches"
    marker = "o" if len(means) == 1 else None
    axes.plot(middle, means, color=COLOURS[0], linewidth=2, label=label, marker=marker)


def _lay_out(axes: Axes) -> None:
    axes.set_xlabel("Training steps")
    axes.margins(x=0.02)
    axes.grid(True, color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _spread(accuracies: Any) -> Any:
    """The same way on for each halving of the error, until it is small beside _REST."""
    return -np.log10(np.maximum(1 + _REST - np.asarray(accuracies, float), 1e-9))


def _gathered(places: Any) -> Any:
    return 1 + _REST - 10 ** -np.asarray(places, float)


def _accuracy_axis(axes: Axes, scale: str) -> None:
    if scale == "linear":
        axes.set_ylabel("Accuracy")
        axes.set_yticks(np.arange(11) / 10)
    else:
        from matplotlib.ticker import NullFormatter, NullLocator

        axes.set_yscale("function", functions=(_spread, _gathered))
        axes.set_ylabel("Accuracy (log scale of the error)")
        axes.set_yticks(_MARKS, [f"{mark:g}" for mark in _MARKS])
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_minor_formatter(NullFormatter())
    axes.set_ylim(0, 1)


def _is_history(value: Any) -> bool:
    """Whether it is what fit returned, which is of a room below this one."""
    return all(hasattr(value, name) for name in ("losses", "sample_steps", "diverged_at"))


def _points(
    name: str, values: Any, batches_per_sample: int | None
) -> tuple[_checks.Array, _checks.Array]:
    """A curve's steps and accuracies."""
    where = f"curves[{name!r}]"
    if _is_history(values):
        accuracies = np.asarray(values.validation_accuracies, np.float64)
        # Not sampled before a resume.
        there = ~np.isnan(accuracies)
        if not there.any():
            raise ValueError(
                f"{where}: expected a run with one accuracy or more, got none: "
                "pass fit a validation set with labels"
            )
        steps = np.asarray(values.sample_steps)[: len(there)][there]
        return steps, _accuracies(where, accuracies[there])
    accuracies = _accuracies(where, values)
    if batches_per_sample is None:
        raise TypeError(
            "batches_per_sample: expected how many steps lie between two accuracies, got None: "
            "pass it, or a History for each curve"
        )
    return np.arange(len(accuracies)) * batches_per_sample, accuracies


def _named(curves: Any) -> Mapping[str, Any]:
    """The curves, if each has a name."""
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
    return curves


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
