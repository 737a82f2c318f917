"""Batch norm's backward pass: its computational graph, and dx as a projection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.plotting.figures import COLOURS, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Each value and what it is computed by, in order; sum is over all axes but the last.
_FORWARD = {
    "x": "",
    "mean": "sum(x) / m",
    "centred": "x - mean",
    "square": "centred**2",
    "variance": "sum(square) / m",
    "std": "sqrt(variance + epsilon)",
    "inverse": "1 / std",
    "x_hat": "centred * inverse",
    "gamma": "",
    "scaled": "gamma * x_hat",
    "beta": "",
    "y": "scaled + beta",
}
# Where a value goes, and what comes back from there. Its gradient is the sum of what comes back.
_BACK = {
    ("x", "centred"): "dcentred",
    ("x", "mean"): "dmean / m",
    ("mean", "centred"): "-sum(dcentred)",
    ("centred", "x_hat"): "inverse * dx_hat",
    ("centred", "square"): "2 * centred * dsquare",
    ("square", "variance"): "dvariance / m",
    ("variance", "std"): "dstd / (2 * std)",
    ("std", "inverse"): "-dinverse / std**2",
    ("inverse", "x_hat"): "sum(centred * dx_hat)",
    ("x_hat", "scaled"): "gamma * dscaled",
    ("gamma", "scaled"): "sum(x_hat * dscaled)",
    ("scaled", "y"): "dy",
    ("beta", "y"): "sum(dy)",
}


class Step(NamedTuple):
    """A value on the way from x to y, and the loss's gradient with respect to it.

    Attributes
    ----------
    equation, gradient_equation : str
        What made them, as Python; empty for what is given. A gradient's name is d and the name of
        its value.
    value, gradient : ndarray
        Both of one shape and type.
    """

    equation: str
    value: Array
    gradient_equation: str
    gradient: Array


def batch_norm_steps(
    x: Array, gamma: Array, beta: Array, dy: Array, *, epsilon: float = 1e-3
) -> dict[str, Step]:
    """Batch norm one operation at a time, forward and back: what `batch_norm_graph` draws.

    Compare with your own, to find the first that differs::

        steps = plotting.batch_norm_steps(x, gamma, beta, dy)
        print(abs(steps["variance"].gradient - dvariance).max())

    Parameters
    ----------
    x : ndarray, shape (..., D)
        The batch, float32 or float64.
    gamma, beta : ndarray, shape (D,)
        Scale and shift, of x's type.
    dy : ndarray
        The gradient that comes back to y, shaped like x and of its type.
    epsilon : float
        What is added to the variance, under the root.

    Returns
    -------
    dict of str to Step
        x, mean, centred, square, variance, std, inverse, x_hat, gamma, scaled, beta, y, in the
        order of the forward pass.

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape.
    """
    x = checks.batch("x", x)
    inputs = {"x": x}
    for name, vector in (("gamma", gamma), ("beta", beta)):
        inputs[name] = checks.vector(name, vector, x.shape[-1], x)
    dy = checks.upstream(dy, x)
    axes = tuple(range(x.ndim - 1))
    known = {
        "sum": lambda array: array.sum(axes),
        "sqrt": np.sqrt,
        "m": x.size // x.shape[-1],
        "epsilon": checks.epsilon(epsilon, x.dtype),
        "dy": dy.copy(),
    } | {name: value.copy() for name, value in inputs.items()}
    for name, expression in _FORWARD.items():
        if expression:
            known[name] = eval(expression, {}, known)
    terms = {
        name: [back for (start, _), back in _BACK.items() if start == name] for name in _FORWARD
    }
    for name in reversed(_FORWARD):
        if terms[name]:
            gradient = eval(" + ".join(terms[name]), {}, known)
            # What is the same in every row is one row until here.
            known[f"d{name}"] = np.broadcast_to(gradient, known[name].shape).copy()
    return {
        name: Step(
            f"{name} = {expression}" if expression else "",
            known[name],
            f"d{name} = {' + '.join(terms[name])}" if terms[name] else "",
            known[f"d{name}"],
        )
        for name, expression in _FORWARD.items()
    }


# The row of each box, and in which column it is: 0 has what there is for every value of the batch,
# 1 what there is once for each feature.
_PLACES = {
    "x": (0, 0.0),
    "mean": (1, 1.0),
    "centred": (0, 2.0),
    "square": (0, 3.5),
    "variance": (1, 4.5),
    "std": (1, 5.5),
    "inverse": (1, 6.5),
    "x_hat": (0, 7.5),
    "gamma": (1, 8.1),
    "scaled": (0, 9.1),
    "beta": (1, 9.7),
    "y": (0, 10.7),
}
# In inches.
_MIDDLES, _WIDTH, _HEIGHT, _ROW, _TOP = (2.4, 6.95), 3.8, 0.48, 0.8, 1.35
_CODE: dict[str, Any] = {"family": "monospace", "fontsize": 8.5}
_FORWARD_COLOUR, _BACKWARD_COLOUR = COLOURS[0], COLOURS[1]


def batch_norm_graph(
    x: Array, gamma: Array, beta: Array, dy: Array, *, epsilon: float = 1e-3
) -> Figure:
    """Draw batch norm's computational graph: each value, its shape, and what comes back to it.

    From top to bottom goes the forward pass. Along the same edges the gradients come back, and at
    each edge stands what comes back along it: a value that goes two ways has the sum of two. On the
    left is what there is for every value of the batch, on the right what there is once for each
    feature: forward, an edge to the right takes a sum over the batch; back, so does one to the
    left. All is computed of the arrays given, as `batch_norm_steps` returns it.

    Parameters
    ----------
    x : ndarray, shape (..., D)
        The batch, float32 or float64.
    gamma, beta : ndarray, shape (D,)
        Scale and shift, of x's type.
    dy : ndarray
        The gradient that comes back to y, shaped like x and of its type.
    epsilon : float
        What is added to the variance, under the root.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure.

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape.
    """
    steps = batch_norm_steps(x, gamma, beta, dy, epsilon=epsilon)
    width, height = 9.0, _TOP + _ROW * max(row for _, row in _PLACES.values()) + 0.5
    figure = new_figure((width, height))
    axes = figure.add_subplot(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    _explain(axes, steps["x"].value.shape, steps["mean"].value.shape)
    for name, step in steps.items():
        _draw_step(axes, name, step)
    for (start, end), back in _BACK.items():
        _draw_edge(axes, start, end, back)
    return figure


def _middle(name: str) -> tuple[float, float]:
    column, row = _PLACES[name]
    return _MIDDLES[column], _TOP + _ROW * row


def _explain(axes: Axes, batch: tuple[int, ...], features: tuple[int, ...]) -> None:
    axes.text(0.1, 0.2, "Batch norm, one operation at a time", fontsize=12, va="center")
    for place, (text, colour) in enumerate(
        (
            ("forward: each value, what makes it, its range", _FORWARD_COLOUR),
            ("backward: what comes back along an edge, and to each value;", _BACKWARD_COLOUR),
            ("a value that goes two ways has the sum of both", _BACKWARD_COLOUR),
        )
    ):
        axes.text(4.6, 0.2 + 0.2 * place, text, fontsize=9, va="center", color=colour)
    for middle, text in zip(
        _MIDDLES, (f"for every value: {batch}", f"once for each feature: {features}"), strict=True
    ):
        axes.text(middle, 0.92, text, fontsize=9, ha="center", va="center", color="0.35")


def _draw_step(axes: Axes, name: str, step: Step) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = _middle(name)
    left, right = x - _WIDTH / 2, x + _WIDTH / 2
    corner = left, y - _HEIGHT / 2
    box = "round,pad=0,rounding_size=0.08"
    axes.add_patch(
        FancyBboxPatch(corner, _WIDTH, _HEIGHT, box, facecolor="0.96", edgecolor="0.5", zorder=2)
    )
    upper, lower = y - 0.11, y + 0.11
    for place, height, side, text, colour in (
        (left + 0.08, upper, "left", step.equation or name, "black"),
        (right - 0.08, upper, "right", f"{step.value.shape}", "0.35"),
        (left + 0.08, lower, "left", _range(step.value), _FORWARD_COLOUR),
        (right - 0.08, lower, "right", f"d{name} {_range(step.gradient)}", _BACKWARD_COLOUR),
    ):
        axes.text(place, height, text, ha=side, va="center", color=colour, zorder=3, **_CODE)


def _range(array: Array) -> str:
    return f"{array.min():.2g} to {array.max():.2g}"


def _draw_edge(axes: Axes, start: str, end: str, back: str) -> None:
    """An arrow forward, and beside it what comes back, with an arrow the other way."""
    from matplotlib.patches import FancyArrowPatch
    from matplotlib.path import Path

    (x, y), (to_x, to_y) = _middle(start), _middle(end)
    half, rim = _HEIGHT / 2, _WIDTH / 2
    side, rotation = "left", 0
    if x < to_x:  # to the right, then down
        points = [(x + rim, y), (to_x, y), (to_x, to_y - half)]
        where, way = (x + rim + 0.08, y - 0.1), "\N{LEFTWARDS ARROW}"
    elif x > to_x:  # down, then to the left
        points = [(x, y + half), (x, to_y), (to_x + rim, to_y)]
        where, way = (to_x + rim + 0.08, to_y - 0.1), "\N{RIGHTWARDS ARROW}"
    elif (start, end) == ("centred", "x_hat"):  # past what lies between
        aside = x - rim - 0.18
        points = [(x - rim, y), (aside, y), (aside, to_y), (x - rim, to_y)]
        where, way = (aside - 0.12, (y + to_y) / 2), "\N{RIGHTWARDS ARROW}"
        side, rotation = "center", 90
    else:
        points = [(x, y + half), (x, to_y - half)]
        where, way = (x + 0.1, (y + to_y) / 2), "\N{UPWARDS ARROW}"
    axes.add_patch(
        FancyArrowPatch(
            path=Path(points),
            arrowstyle="-|>",
            mutation_scale=10,
            shrinkA=0,
            linewidth=1.1,
            color=_FORWARD_COLOUR,
        )
    )
    text = f"{way} {back}"
    colour = _BACKWARD_COLOUR
    axes.text(*where, text, color=colour, rotation=rotation, ha=side, va="center", **_CODE)


# Of more examples the lines that join them to 0 would be a surface.
_MOST_LINES = 100
_WHOLE, _TAKEN, _REST = COLOURS[0], COLOURS[1], COLOURS[2]


def batch_norm_projection(
    x: Array, gamma: Array, dy: Array, *, feature: int = 0, epsilon: float = 1e-3
) -> Figure:
    """Draw dx as what is left of dy: without its mean, and without its part along x_hat.

    ::

        dx = gamma / std * (dy - mean(dy) - x_hat * mean(dy * x_hat))

    The upper row has a point for each value of the feature, x_hat to the right: the mean of dy, the
    line through the origin that its part along x_hat is, and what is left of both. The lower row
    has the same as vectors of m numbers, in the planes in which they lie: dy is the hypotenuse of a
    triangle with one side along the vector of ones; the other side that of one along x_hat. What
    remains, gamma / std times, is dx: so neither moving all of x (along the ones) nor stretching it
    (along x_hat) changes the loss. With epsilon above 0 the last holds up to epsilon / (variance +
    epsilon).

    Parameters
    ----------
    x : ndarray, shape (..., D)
        The batch, float32 or float64.
    gamma : ndarray, shape (D,)
        The scale, of x's type.
    dy : ndarray
        The gradient that comes back to y, shaped like x and of its type.
    feature : int
        Which of the D features is drawn.
    epsilon : float
        What is added to the variance, under the root.

    Returns
    -------
    matplotlib.figure.Figure
        A new figure.

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape, a feature that there is not, and one that is constant,
        whose x_hat has no direction.
    """
    x = checks.batch("x", x)
    gamma = checks.vector("gamma", gamma, x.shape[-1], x)
    dy = checks.upstream(dy, x)
    feature = checks.integer("feature", feature, minimum=0)
    if feature >= x.shape[-1]:
        raise ValueError(f"feature: expected a place below {x.shape[-1]}, got {feature}")
    own, back = (each[..., feature].ravel().astype(np.float64) for each in (x, dy))
    centred = own - own.mean()
    std = np.sqrt((centred**2).mean() + checks.epsilon(epsilon, x.dtype))
    if not centred.any():
        raise ValueError(f"x: expected values that differ, all of feature {feature} are {own[0]}")
    x_hat = centred / std
    scale = float(gamma[feature]) / std

    left = back - back.mean()
    slope = (back * x_hat).mean()
    rest = left - slope * x_hat
    dx = scale * rest
    figure = new_figure((10, 7.4))
    figure.suptitle(f"Batch norm's dx of feature {feature}: what is left of dy", fontsize=12)
    upper, lower = figure.subplots(2, 3, height_ratios=(1.15, 1))
    _draw_values(upper, x_hat, (back, left, rest), slope, scale)
    _draw_triangle(lower[0], ("dy", "its mean, along the ones", "the rest"), back, back - left)
    names = "dy - mean(dy)", "its part along x_hat", "what is left"
    _draw_triangle(lower[1], names, left, left - rest, along=x_hat)
    _tell(
        lower[2],
        {
            "m": f"{len(dx)}",
            "mean(dy)": f"{back.mean():.3g}",
            "mean(dy * x_hat)": f"{slope:.3g}",
            "gamma / std": f"{scale:.3g}",
            "sum(dx)": f"{dx.sum():.1g}",
            "sum(dx * x_hat)": f"{dx @ x_hat:.1g}",
        },
    )
    return figure


def _draw_values(
    row: Array, x_hat: Array, parts: tuple[Array, ...], slope: float, scale: float
) -> None:
    """What there is of dy at each x_hat, and what is taken out of it next."""
    dy = parts[0]
    total = float(dy @ dy) or 1.0
    titles = "dy", "dy - mean(dy)", "what is left of dy"
    out = np.full_like(dy, dy.mean()), slope * x_hat, np.zeros_like(dy)
    labels = "its mean", "its part along x_hat", None
    order = np.argsort(x_hat)
    for axes, title, part, taken, label in zip(row, titles, parts, out, labels, strict=True):
        axes.axhline(0, color="0.8", linewidth=0.8, zorder=0)
        if len(dy) <= _MOST_LINES:
            axes.vlines(x_hat, taken, part, color=_REST, linewidth=0.8, zorder=1)
        axes.plot(x_hat, part, "o", color=_WHOLE, markersize=4 if len(dy) <= _MOST_LINES else 2)
        if label:
            axes.plot(x_hat[order], taken[order], color=_TAKEN, linewidth=2, label=label)
            axes.legend(fontsize=8)
        share = float(part @ part) / total
        axes.set_title(f"{title}\n{share:.0%} of dy's sum of squares", fontsize=10)
        axes.set_xlabel("x_hat")
        axes.spines[["top", "right"]].set_visible(False)
        if axes is not row[0]:
            axes.sharey(row[0])
    if scale:
        # Matplotlib's secondary axis of a negative scale has its limits the wrong way round.
        right = row[2].twinx()
        right.set_ylim(*(scale * limit for limit in row[2].get_ylim()))
        right.set_ylabel("dx: gamma / std times that", color="0.35")
        right.spines["top"].set_visible(False)


def _draw_triangle(
    axes: Axes, names: tuple[str, str, str], whole: Array, taken: Array, along: Array | None = None
) -> None:
    """Vectors in the plane that two of them lie in: whole, what is taken out of it, and the rest.

    along: the direction of what is taken; None: the ones.
    """
    direction = "the ones" if along is None else "x_hat"
    along = np.ones_like(whole) if along is None else along
    unit = along / np.sqrt(along @ along)
    rest = whole - taken
    across = rest - unit * (unit @ rest)
    height = np.sqrt(across @ across)
    corners = ((0.0, 0.0), (unit @ taken, 0.0), (unit @ whole, height))
    for (start, end), colour, name, vector in zip(
        ((0, 2), (0, 1), (1, 2)), (_WHOLE, _TAKEN, _REST), names, (whole, taken, rest), strict=True
    ):
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 2, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", corners[end], corners[start], arrowprops=arrow)
        # What has no length is no arrow; the line is for the legend and for the limits.
        label = f"{name}: length {np.sqrt(vector @ vector):.3g}"
        axes.plot(*zip(corners[start], corners[end], strict=True), color=colour, label=label)
    axes.set_title(f"in the plane of {names[0]} and {direction}", fontsize=9, color="0.35")
    axes.set_aspect("equal", adjustable="datalim")
    axes.margins(0.1)
    axes.set_axis_off()
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, 0.0), frameon=False)


def _tell(axes: Axes, numbers: dict[str, str]) -> None:
    axes.set_axis_off()
    width = max(map(len, numbers))
    formula = "dx = gamma / std\n     * (dy - mean(dy)\n        - x_hat * mean(dy * x_hat))"
    table = "\n".join(f"{name:<{width}}  {value}" for name, value in numbers.items())
    axes.text(0, 1, f"{formula}\n\n{table}", va="top", linespacing=1.5, **_CODE)
