"""What a convolution looks for, and what a layer makes of an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array, Statistics
from npbn.plotting.figures import axes_in, new_figure, shortened

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def filters(layer_or_weight: Any, *, ax: Axes | None = None) -> Figure:
    """Draw the kernels of a convolution, each a picture: negative is blue, 0 white, positive red.

    With one input channel the pictures are numbered by output channel, from row to row; with more a
    row is an input channel, and the picture in it that of the column's output channel. All have the
    same scale of colours.

    Parameters
    ----------
    layer_or_weight : Layer or ndarray
        A layer with a weight (height, width, in, out), or such an array; of a Dense on images
        ``weight.reshape(28, 28, 1, -1)`` is one.
    ax : matplotlib.axes.Axes or None
        Where to draw; None: in a new figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        For anything else.
    """
    name, weight = "weight", layer_or_weight
    if not isinstance(weight, np.ndarray):
        name = f"{layer_or_weight!r:.60}"
        weight = getattr(layer_or_weight, "parameters", {}).get("weight")
        if weight is None:
            raise TypeError(f"{name}: expected a layer that has a weight, or an array")
    weight = checks.float_array(name, weight)
    if weight.ndim != 4 or not weight.size:
        raise ValueError(
            f"{name}: expected a weight (height, width, in, out), got {weight.shape}: of a Dense "
            "on images pass its weight.reshape(28, 28, 1, -1), say"
        )
    height, width, in_channels, out_channels = weight.shape
    pictures = weight.transpose(2, 3, 0, 1).reshape(-1, height, width)
    is_matrix = in_channels > 1
    columns = out_channels if is_matrix else _columns(out_channels)
    axes = axes_in(ax, _size(pictures, columns, widest=8))
    _draw(axes, pictures, columns, row_step=1 if is_matrix else columns)
    axes.set_title(f"{shortened(name)}\n{height} x {width} kernels")
    if is_matrix:
        axes.set_xlabel("Output channel")
        axes.set_ylabel("Input channel")
    return axes.figure.figure


def feature_maps(
    network: Any, image: Array, *, layer: Any = 0, statistics: Statistics = "population"
) -> Figure:
    """Draw what a layer makes of an image in inference: the image, and each channel of the output.

    The channels are numbered from row to row, and have one scale of colours: negative is blue, 0
    white, positive red. An image of three channels from 0 to 1 is shown in colour, any other as the
    mean of its channels. The network stays as it was.

    Parameters
    ----------
    network : Sequential
    image : ndarray, shape (H, W, C) or (1, H, W, C)
        Of the network's type.
    layer : Layer or int
        One of the network's, at any depth, or its place in network.layers.
    statistics : "population" or "batch"
        Of the "population", as predict, or of this image alone, the "batch".

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    TypeError, ValueError
        For an image or layer that is none of the network's, and for an output that is no picture.
    """
    if isinstance(network, type) or not hasattr(network, "layer_by_layer"):
        raise TypeError(f"network: expected a Sequential, got {network!r:.60}")
    x = checks.float_array("image", image)
    x = x[np.newaxis] if x.ndim == 3 else x
    if x.ndim != 4 or len(x) != 1:
        raise ValueError(
            f"image: expected one image, (height, width, channels), got {image.shape}: pass "
            "images[0], or image.reshape(28, 28, 1), say"
        )
    name, y = _output(network, layer, network.layer_by_layer(x, statistics=statistics))
    if y.ndim != 4:
        raise ValueError(
            f"{name}: expected an output (1, height, width, channels), got {y.shape}: pass a layer "
            "before it"
        )
    channels = np.moveaxis(y[0], -1, 0)
    columns = _columns(len(channels))
    width, height = _size(channels, columns, widest=5.6)
    figure = new_figure((width + 2.5, height))
    left, right = figure.subplots(1, 2, width_ratios=(2.5, width))
    in_colour = x.shape[-1] == 3 and x.min() >= 0 and x.max() <= 1
    left.imshow(x[0] if in_colour else x[0].mean(-1), cmap="gray", interpolation="nearest")
    left.set_title("image")
    left.set_axis_off()
    _draw(right, channels, columns, row_step=columns)
    right.set_title(shortened(name))
    return figure


def _output(network: Any, layer: Any, runs: Any) -> tuple[str, Array]:
    """The name of the layer, or of the one in that place, and what it made."""
    if not hasattr(layer, "parameters"):
        place = checks.integer("layer", layer, minimum=-len(network))
        if place >= len(network):
            raise ValueError(f"layer: expected a place below {len(network)}, got {place}")
        layer = network[place]
    found = {id(run.layer): run for run in runs}
    last = layer
    while id(last) not in found and hasattr(last, "layers"):
        last = last.layers[-1]  # what a network within makes, its last layer makes
    if id(last) not in found:
        raise ValueError(
            f"layer: expected one that network.layer_by_layer(image) lists, got {layer!r:.60}"
        )
    return found[id(last)].name, found[id(last)].y


def _columns(count: int) -> int:
    """A power of two, so that the rows begin with round numbers: at least as wide as high."""
    return min(count, 2 ** math.ceil(math.log2(count) / 2))


def _size(pictures: Array, columns: int, widest: float) -> tuple[float, float]:
    """Of a figure of them, in inches, with room for the bar of colours and the title."""
    count, height, width = pictures.shape
    aspect = math.ceil(count / columns) * height / (columns * width)
    inches = min(max(2.5, 1.1 * columns), widest, 9 / aspect)
    return inches + 1.4, inches * aspect + 1


def _draw(axes: Axes, pictures: Array, columns: int, row_step: int) -> None:
    """Pictures (N, H, W) in rows of so many, as one image with NaN between them.

    row_step: how much greater a row's number is than that of the row before.
    """
    from matplotlib import colormaps

    count, height, width = pictures.shape
    rows, gap = math.ceil(count / columns), max(1, min(height, width) // 12)
    cells = np.full((rows * columns, height + gap, width + gap), np.nan)
    cells[:count, :height, :width] = pictures
    sheet = cells.reshape(rows, columns, height + gap, width + gap).swapaxes(1, 2)
    limit = float(np.abs(pictures[np.isfinite(pictures)]).max(initial=0)) or 1.0
    image = axes.imshow(
        sheet.reshape(rows * (height + gap), -1)[:-gap, :-gap],
        cmap=colormaps["RdBu_r"].with_extremes(bad="0.75"),
        vmin=-limit,
        vmax=limit,
        interpolation="nearest",
    )
    for axis, number, size, step in (
        (axes.xaxis, columns, width, 1),
        (axes.yaxis, rows, height, row_step),
    ):
        # Sixteen numbers are as many as can be read.
        shown = np.arange(0, number, max(1, 2 ** math.ceil(math.log2(number / 16))))
        axis.set_ticks(shown * (size + gap) + (size - 1) / 2, [f"{each * step}" for each in shown])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.figure.colorbar(image, cax=axes.inset_axes((1.03, 0, 0.03, 1)))
