"""Wrong convolutions."""

from typing import Any

import numpy as np

from npbn import reference
from npbn.testing.mistake import mistakes_of

# As many filters as channels: of a transpose nobody can tell the shape.
_SQUARE = (2, 4, 3, 2)


def _settings(p: Any) -> dict[str, Any]:
    names = ("stride", "padding", "dilation", "groups")
    return {name: getattr(p, name) for name in names if hasattr(p, name)}


def _y(p: Any, **changed: Any) -> Any:
    given = {"x": p.x, "weight": p.weight, "bias": p.bias} | _settings(p) | changed
    return reference.conv2d_forward(**given)[0]


def _gradients(p: Any, **changed: Any) -> Any:
    given = {"x": p.x, "weight": p.weight, "bias": p.bias} | _settings(p) | changed
    dy = given.pop("dy", p.dy)
    return reference.conv2d_backward(dy, reference.conv2d_forward(**given)[1])


_mistake = mistakes_of("conv2d", shape=_SQUARE)
_PLAIN = (
    _mistake(
        "y: the kernel is turned around",
        "has the kernel turned around: libraries compute a cross-correlation, x[h + i] with "
        "weight[i]",
        y=lambda p: _y(p, weight=p.weight[::-1, ::-1]),
    ),
    _mistake("y: no bias", "lacks the bias", y=lambda p: p.y - p.bias),
    _mistake(
        "y: padding behind alone",
        'has all of the padding behind the image: "same" has half of it in front',
        y=lambda p: _y(p, padding=((0, 2), (0, 2))),
    ),
    _mistake(
        "y: one channel",
        "is made of the first channel alone: each filter sums over all of them",
        y=lambda p: _y(p, x=p.x * np.eye(p.x.shape[-1])[0]),
    ),
    _mistake(
        "the kernel is not turned in dx",
        "has the kernel as in y: what a pixel got of weight[i] comes from y[h - i]",
        dx=lambda p: _y(p, x=p.dy, weight=p.weight.swapaxes(2, 3), bias=None),
    ),
    _mistake(
        "no transpose in dx",
        "is a sum of dy @ weight[i, j], not of dy @ weight[i, j]'",
        dx=lambda p: _gradients(p, weight=p.weight.swapaxes(2, 3))[0],
    ),
    _mistake(
        "dx of the middle",
        "has the middle of the kernel alone: a pixel is in a window for each of its places",
        dx=lambda p: p.dy @ p.weight[1, 1].T,
    ),
    _mistake(
        "dweight is turned around",
        "is turned around: dweight[i, j] belongs to x[h + i, w + j]",
        dweight=lambda p: p.dweight[::-1, ::-1],
    ),
    _mistake(
        "dweight is transposed",
        "has dy' @ x at each place, not x' @ dy",
        dweight=lambda p: p.dweight.swapaxes(2, 3),
    ),
    _mistake(
        "dweight of one example",
        "is that of the first image alone: the weight did something in every one",
        dweight=lambda p: _gradients(p, x=p.x[:1], dy=p.dy[:1])[1],
    ),
    _mistake(
        "dweight is a mean over the pixels",
        "is divided by the number of pixels: the weight did something at every one",
        dweight=lambda p: p.dweight / (p.dy.shape[1] * p.dy.shape[2]),
    ),
    _mistake(
        "dbias is a mean over the pixels",
        "is divided by the number of pixels: the bias is added at every one",
        dbias=lambda p: p.dbias / (p.dy.shape[1] * p.dy.shape[2]),
    ),
    _mistake(
        "dbias of one pixel",
        "is that of the first pixel alone: the bias is added at every one",
        dbias=lambda p: p.dy[:, 0, 0].sum(0),
    ),
    _mistake(
        "an earlier weight",
        "uses the weight of an earlier call",
        dx=lambda p: _gradients(p, weight=p.earlier.weight)[0],
        of_an_earlier_batch=True,
    ),
)

_mistake = mistakes_of("conv2d, with settings", shape=(2, 4, 3, 2))
_WITH_SETTINGS = (
    _mistake(
        "y: the padding is exchanged",
        "has the padding of the front behind",
        y=lambda p: _y(p, padding=[pair[::-1] for pair in p.padding]),
    ),
    _mistake(
        "y: the other group",
        "has each group's channels with another group's filters",
        y=lambda p: _y(p, weight=np.roll(p.weight, p.weight.shape[-1] // p.groups, -1)),
    ),
    _mistake(
        "dx: the other group",
        "has each group's filters with another group's channels",
        dx=lambda p: np.roll(p.dx, p.x.shape[-1] // p.groups, -1),
    ),
    _mistake(
        "dx of every second pixel",
        "is 0 at every second row: with a stride each pixel still is in a window",
        dx=lambda p: p.dx * (np.arange(p.x.shape[1]) % 2 == 0)[:, np.newaxis, np.newaxis],
    ),
)

MISTAKES = (*_PLAIN, *_WITH_SETTINGS)
