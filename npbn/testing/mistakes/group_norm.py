"""Wrong group normalizations."""

from typing import Any

import numpy as np

from npbn.testing.mistake import Pieces
from npbn.testing.norm_mistakes import means_over_the_batch, mistakes_of_norm
from npbn.testing.norm_steps import dx_with, y_with


def _grouped(p: Pieces, values: Any, axes: tuple[int, ...], *, interleaved: bool = False) -> Any:
    """Means over some of the axes (examples, places, groups, channels of a group)."""
    own = values.shape[-1] // p.groups
    shape = (own, p.groups) if interleaved else (p.groups, own)
    grouped = values.reshape(len(values), -1, *shape)
    return np.broadcast_to(grouped.mean(axes, keepdims=True), grouped.shape).reshape(values.shape)


def _mean(p: Pieces, values: Any) -> Any:
    return _grouped(p, values, (1, 3))


def _of_an_example(p: Pieces, values: Any) -> Any:
    return _grouped(p, values, (1, 2, 3))


def _of_a_channel(p: Pieces, values: Any) -> Any:
    return _grouped(p, values, (1,))


def _of_a_place(p: Pieces, values: Any) -> Any:
    return _grouped(p, values, (3,))


def _interleaved(p: Pieces, values: Any) -> Any:
    return _grouped(p, values, (1, 2), interleaved=True)


_mistake, _ALL = mistakes_of_norm("group_norm", _mean, "the places and the channels of a group")
MISTAKES = (
    *_ALL,
    *means_over_the_batch(_mistake, "the places and the channels of a group"),
    _mistake(
        "gamma at the end",
        "has the factor gamma after the means, where each group's mean has other gammas in it",
        dx=lambda p: (
            p.gamma * (p.dy - p.average(p.dy) - p.x_hat * p.average(p.dy * p.x_hat)) / p.std
        ),
    ),
    _mistake(
        "means over all groups",
        "has means over all channels, as with one group",
        dx=lambda p: dx_with(p, _of_an_example),
    ),
    _mistake(
        "means over the places alone",
        "has means of each channel, as instance norm: those of a group have one together",
        dx=lambda p: dx_with(p, _of_a_channel),
    ),
    _mistake(
        "means over the channels alone",
        "has means of each place, as layer norm: all places have one together",
        dx=lambda p: dx_with(p, _of_a_place),
    ),
    _mistake(
        "groups of every other channel",
        "has means over every other channel: those of a group lie beside one another",
        dx=lambda p: dx_with(p, _interleaved),
    ),
    _mistake(
        "y: over all groups",
        "is normalized over all channels, as with one group",
        y=lambda p: y_with(p, _of_an_example),
    ),
    _mistake(
        "y: over the places alone",
        "is normalized channel by channel, as by instance norm",
        y=lambda p: y_with(p, _of_a_channel),
    ),
    _mistake(
        "y: over the channels alone",
        "is normalized place by place, as by layer norm",
        y=lambda p: y_with(p, _of_a_place),
    ),
    _mistake(
        "y: groups of every other channel",
        "has groups of every other channel: those of a group lie beside one another",
        y=lambda p: y_with(p, _interleaved),
    ),
)
