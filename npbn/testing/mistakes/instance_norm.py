"""Wrong instance normalizations."""

from typing import Any

from npbn.testing.mistake import Pieces
from npbn.testing.norm_mistakes import means_over_the_batch, mistakes_of_norm
from npbn.testing.norm_steps import dx_with, y_with


def _mean(p: Pieces, values: Any) -> Any:
    return values.mean(tuple(range(1, values.ndim - 1)), keepdims=True)


def _of_an_example(p: Pieces, values: Any) -> Any:
    return values.mean(tuple(range(1, values.ndim)), keepdims=True)


def _of_a_row(p: Pieces, values: Any) -> Any:
    return values.mean(-1, keepdims=True)


def _of_a_column(p: Pieces, values: Any) -> Any:
    return values.mean(1, keepdims=True)


_mistake, _ALL = mistakes_of_norm("instance_norm", _mean, "the places of an example")
MISTAKES = (
    *_ALL,
    *means_over_the_batch(_mistake, "the places of an example"),
    _mistake(
        "means over the channels, too",
        "has means over all channels of an example: each channel has its own",
        dx=lambda p: dx_with(p, _of_an_example),
    ),
    _mistake(
        "means over the channels",
        "has means over the channels, as layer norm, not over the places",
        dx=lambda p: dx_with(p, _of_a_row),
    ),
    _mistake(
        "means over the height",
        "has means over the height alone: a channel's mean is over all of its image",
        shape=(2, 3, 2, 2),
        dx=lambda p: dx_with(p, _of_a_column),
    ),
    _mistake(
        "y: over the channels, too",
        "is normalized over all channels of an example: each channel has its own mean",
        y=lambda p: y_with(p, _of_an_example),
    ),
    _mistake(
        "y: over the channels",
        "is normalized over the channels, as by layer norm, not over the places",
        y=lambda p: y_with(p, _of_a_row),
    ),
    _mistake(
        "y: over the height",
        "is normalized over the height alone: a channel's mean is over all of its image",
        shape=(2, 3, 2, 2),
        y=lambda p: y_with(p, _of_a_column),
    ),
)
