"""How what reaches a network's layers is distributed, now and over training."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array, Statistics
from npbn.plotting.figures import COLOURS, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The median, and where one and two standard deviations around it would end, were it a normal one.
PERCENTILES = (2.5, 16, 50, 84, 97.5)
_BINS = 61  # odd: inputs that are all the same are in the middle of one
# How dense the bands are, the wider one first.
_ALPHAS = (0.25, 0.45)

Kinds = type | tuple[type, ...]


def activation_histograms(
    network: Any,
    images: Array,
    *,
    layers: Kinds | None = None,
    statistics: Statistics = "batch",
) -> Figure:
    """Draw how the inputs of each activation are distributed: a row a layer, a column a network.

    A bar is the share of all inputs, of all units and images together; a title tells the share of
    those that are not finite, which no bar has.

    Parameters
    ----------
    network : Sequential or dict
        A `Sequential`, or name -> Sequential, to compare them: the panels of a row have the same
        axis and bins. Nothing in it changes.
    images : ndarray, shape (N, ...)
        Of the network's type; they go through as one batch in inference.
    layers : type, tuple of types or None
        Whose inputs, a class of layers or a tuple of classes: layers=BatchNorm shows what there is
        to be normalized, layers=Layer the inputs of all. None: the activations, which are the
        layers without parameters, state and random draws whose output is shaped like their input.
    statistics : "batch" or "population"
        Of the "batch", the images here, is what a step of training sees, also the first, when the
        population's are still 0 and 1; of the "population" is what predict sees.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        For arguments of another kind, images that a network does not take, and a network without
        such a layer.
    """
    from matplotlib.ticker import PercentFormatter

    networks = _named("network", network, "layer_by_layer", "a Sequential")
    found = {
        name: _inputs(_place("network", name), each, images, layers, statistics)
        for name, each in networks.items()
    }
    figure, rows = _panels(found, share_y=False, x_label="Input", y_label="Share of inputs")
    for place, row in enumerate(rows):
        inputs = {name: list(found[name].values())[place] for name in row}
        finite = {name: values[np.isfinite(values)] for name, values in inputs.items()}
        edges = _edges(np.concatenate([*finite.values()], dtype=np.float64))
        for name, axes in row.items():
            size = inputs[name].size
            shares = np.histogram(finite[name], edges)[0] / size
            axes.stairs(shares, edges, fill=True, color=_colour(found, name))
            axes.set_xlim(edges[0], edges[-1])
            axes.set_ylim(bottom=0)
            if missing := size - finite[name].size:
                title = axes.get_title(loc="left")
                axes.set_title(f"{title}: {missing / size:.0%} not finite", loc="left")
            axes.yaxis.set_major_formatter(PercentFormatter(1))
    return figure


class ActivationRecord:
    """What `activation_histograms` shows, as percentiles over training: a callback for `fit`.

    The call before training is step 0; `fit` makes the others. A record is of one run of one
    network.

    Parameters
    ----------
    images, layers, statistics
        As for `activation_histograms`.

    Attributes
    ----------
    steps : list of int
        How many updates had been made, a number a sample.
    layers : list of str
        The names of the layers.
    percentiles : ndarray, shape (samples, layers, 5)
        Those of `PERCENTILES`, NaN where inputs are not finite.

    Examples
    --------
    ::

        record = plotting.ActivationRecord(images)
        record(network)
        fit(network, ..., sample_every=20, callback=record)
        plotting.activation_bands(record)
    """

    def __init__(
        self, images: Array, *, layers: Kinds | None = None, statistics: Statistics = "batch"
    ) -> None:
        self._images = checks.batch("images", images)
        self._layers = _kinds(layers)
        self._statistics = checks.mode(False, statistics)
        self.steps: list[int] = []
        self.layers: list[str] = []
        self._samples: list[Array] = []

    def __call__(self, network: Any, history: Any = None) -> None:
        """Take a sample. ValueError for one that cannot be of the same run."""
        step = 0 if history is None else len(history.losses)
        found = _inputs("network", network, self._images, self._layers, self._statistics)
        if self.steps and (step <= self.steps[-1] or self.layers != list(found)):
            raise ValueError(
                f"record: expected the same network after step {self.steps[-1]:,}, got one at step "
                f"{step:,}: make another ActivationRecord for each run"
            )
        with np.errstate(all="ignore"):  # between infinities lies NaN
            sample = [np.percentile(values, PERCENTILES) for values in found.values()]
        self._samples.append(np.where(np.isfinite(sample), sample, np.nan))
        self.steps.append(step)
        self.layers = list(found)

    @property
    def percentiles(self) -> Array:
        """Those of `PERCENTILES`, (samples, layers, 5), a new array; NaN where not finite."""
        shape = len(self.steps), len(self.layers), len(PERCENTILES)
        return np.array(self._samples, np.float64).reshape(shape)


def activation_bands(records: Any, *, scale: str = "asinh") -> Figure:
    """Draw how the inputs of each activation moved in training: a row a layer, a column a network.

    The line is the median; the bands hold 68 % and 95 % of the inputs, from the 16th to the 84th
    percentile and from the 2.5th to the 97.5th.

    Parameters
    ----------
    records : ActivationRecord or dict
        What `fit` was given as its callback, or name -> record, to compare them: all panels of a
        row have the same axis.
    scale : "asinh" or "linear"
        "asinh", linear around 0 and logarithmic from 1 on, shows inputs of 0.5 and of 100 together.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError
        For what is no record.
    ValueError
        For one without a sample.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    checks.choice("scale", scale, ("asinh", "linear"))
    records = _named("records", records, "percentiles", "an ActivationRecord")
    for name, record in records.items():
        if not record.steps:
            raise ValueError(
                f"{_place('records', name)}: expected one sample or more, got none: pass it to "
                "fit, callback=record"
            )
    names = {name: record.layers for name, record in records.items()}
    figure, rows = _panels(names, share_y=True, x_label="Training steps", y_label="Input")
    for place, row in enumerate(rows):
        for name, axes in row.items():
            low, lower, median, upper, high = records[name].percentiles[:, place].T
            steps, colour = records[name].steps, _colour(records, name)
            for ends, alpha in zip(((low, high), (lower, upper)), _ALPHAS, strict=True):
                axes.fill_between(steps, *ends, color=colour, alpha=alpha, linewidth=0)
            axes.plot(steps, median, color=colour)
            axes.margins(x=0)
        if scale == "asinh":
            _asinh_axis(next(iter(row.values())))  # the others share it
    figure.legend(
        handles=[
            *(
                Patch(color="black", alpha=alpha, linewidth=0, label=label)
                for alpha, label in zip(_ALPHAS, ("95 % of inputs", "68 % of inputs"), strict=True)
            ),
            Line2D([], [], color="black", label="median"),
        ],
        loc="outside lower center",
        ncols=3,
    )
    return figure


def _inputs(
    argument: str, network: Any, images: Array, layers: Kinds | None, statistics: Statistics
) -> dict[str, Array]:
    """The input of each layer that is shown, by its name; ValueError if there is none."""
    kinds = _kinds(layers)
    found = {
        name: x
        for name, layer, x, y in network.layer_by_layer(images, statistics=statistics)
        if (_is_activation(layer, x, y) if kinds is None else isinstance(layer, kinds))
    }
    if not found:
        wanted = "an activation" if kinds is None else f"a layer of {layers!r}"
        raise ValueError(
            f"{argument}: expected {wanted} in it, found none: pass layers=Dense, say, for the "
            "inputs of these"
        )
    return found


def _is_activation(layer: Any, x: Array, y: Array) -> bool:
    return x.shape == y.shape and not (layer.parameters or layer.state or layer.generators)


def _kinds(layers: Any) -> Kinds | None:
    if layers is not None:
        try:
            isinstance(None, layers)
        except TypeError:
            raise TypeError(
                f"layers: expected a class of layers, or a tuple of classes, got {layers!r:.60}: "
                "pass layers=Dense, say"
            ) from None
    return layers


def _named(argument: str, value: Any, sign: str, kind: str) -> Mapping[str, Any]:
    """name -> what has that sign of its kind; a single one has no name."""
    named = value if isinstance(value, Mapping) else {"": value}
    for name, each in named.items():
        if not isinstance(name, str) or isinstance(each, type) or not hasattr(each, sign):
            got = f"{name!r}: {each!r:.60}" if named is value else f"{each!r:.60}"
            raise TypeError(
                f"{argument}: expected {kind}, or several by name, "
                f'{{"With Batch Norm": ...}}, got {got}'
            )
    if not named:
        raise ValueError(f"{argument}: expected {kind} at least, got none")
    return named


def _place(argument: str, name: str) -> str:
    return f"{argument}[{name!r}]" if name else argument


def _edges(values: Array) -> Array:
    """Of bins from the smallest to the largest value."""
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    largest = max(-low, high)
    if high - low <= 1e-9 * largest:  # all are the same, to rounding
        low, high = low - (largest or 1) / 2, high + (largest or 1) / 2
    return np.linspace(low, high, _BINS + 1)


def _colour(names: Mapping[str, Any], name: str) -> str:
    return COLOURS[list(names).index(name) % len(COLOURS)]


def _asinh_axis(axes: Axes) -> None:
    """Linear around 0, logarithmic from 1 on."""
    axes.set_yscale("function", functions=(np.arcsinh, np.sinh))
    low, high = axes.get_ylim()
    digits = np.log10(max(-low, high))
    if digits > 1:  # else the usual marks will do
        step = np.ceil(digits / 3)
        powers = 10.0 ** np.arange(step, digits, step)
        marks = (*-powers, *((-2, 0, 2) if step == 1 else (0,)), *powers)
        axes.set_yticks([mark for mark in marks if low <= mark <= high])
        axes.yaxis.set_major_formatter("{x:g}")


def _panels(
    layers: Mapping[str, Collection[str]], *, share_y: bool, x_label: str, y_label: str
) -> tuple[Figure, list[dict[str, Axes]]]:
    """A figure, and its rows, axes by network; layers: those of each network's column."""
    count = max(map(len, layers.values()))
    figure = new_figure((max(6, 4.5 * len(layers)), 0.8 + 2 * count))
    grid = figure.subplots(count, len(layers), squeeze=False, sharey="row" if share_y else False)
    rows: list[dict[str, Axes]] = [{} for _ in range(count)]
    for column, (network, names) in enumerate(layers.items()):
        for axes in grid[len(names) :, column]:
            axes.set_visible(False)
        for place, name in enumerate(names):
            axes = rows[place][network] = grid[place, column]
            header = f"{network}\n" if network and not place else ""
            axes.set_title(header + shortened(name), loc="left", fontsize="medium")
            axes.grid(True, color="0.88", linewidth=0.8)
            axes.set_axisbelow(True)
            axes.spines[["top", "right"]].set_visible(False)
            if place == len(names) - 1:
                axes.set_xlabel(x_label)
            if not column:
                axes.set_ylabel(y_label)
    return figure, rows
