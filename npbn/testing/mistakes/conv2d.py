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


def _pieces(p: Any) -> None:
    """What lies where, in the padded x: p.cache is the reference's own."""
    p.cache = reference.conv2d_forward(p.x, p.weight, p.bias, **_settings(p))[1]
    (p.top, _), (p.left, _) = p.cache.padding
    p.height, p.width = p.weight.shape[:2]
    p.pixels = p.y.shape[1] * p.y.shape[2]


def _windows(p: Any) -> Any:
    """Each window's place in y, and its pixels in the padded x, in the order of loops."""
    (down, right), (apart, beside) = p.cache.stride, p.cache.dilation
    for h, w in np.ndindex(p.y.shape[1:3]):
        rows = slice(h * down, h * down + (p.height - 1) * apart + 1, apart)
        columns = slice(w * right, w * right + (p.width - 1) * beside + 1, beside)
        yield (slice(None), h, w), (slice(None), rows, columns)


def _dpadded(p: Any, *, overwrites: bool = False) -> Any:
    """The gradient of the padded x; overwrites: where the last window alone counts."""
    dpadded = np.zeros_like(p.cache.padded)
    for place, window in _windows(p):
        share = np.einsum("no,ijco->nijc", p.dy[place], p.weight)
        dpadded[window] = share if overwrites else dpadded[window] + share
    return dpadded


def _cut(p: Any, dpadded: Any, top: int, left: int) -> Any:
    return dpadded[:, top : top + p.x.shape[1], left : left + p.x.shape[2]]


def _dweight_of_the_last(p: Any, examples: slice) -> Any:
    """That of the last window, of some examples."""
    *_, (place, window) = _windows(p)
    return np.einsum("nijc,no->ijco", p.cache.padded[window][examples], p.dy[place][examples])


def _reordered(weight: Any) -> Any:
    """The weight that its numbers are if they are read in the order channel, row, column."""
    height, width, channels, filters = weight.shape
    return weight.reshape(channels, height, width, filters).transpose(1, 2, 0, 3)


def _last_place(p: Any) -> Any:
    """1 at the last place of the kernel, else 0."""
    place = np.zeros((p.height, p.width, 1, 1))
    place[-1, -1] = 1
    return place


def _of_filter(p: Any, number: int) -> Any:
    """dx of one filter alone."""
    weight = np.zeros_like(p.weight)
    weight[..., number] = p.weight[..., number]
    return _gradients(p, weight=weight)[0]


_mistake = mistakes_of("conv2d", _pieces, shape=_SQUARE)
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
        "y: padding in front alone",
        'has all of the padding in front of the image: "same" has half of it behind',
        y=lambda p: _y(p, padding=((2, 0), (2, 0))),
    ),
    _mistake(
        "y: the border's values around it",
        "is padded with the values of the border, not with zeros",
        y=lambda p: _y(
            p,
            x=np.pad(p.x, ((0, 0), *p.cache.padding, (0, 0)), mode="edge"),
            padding="valid",
        ),
    ),
    _mistake(
        "y: rows and columns of the kernel",
        "has the kernel's rows and columns exchanged",
        y=lambda p: _y(p, weight=p.weight.swapaxes(0, 1)),
    ),
    _mistake(
        "y: channels and filters",
        "has channels and filters of the weight exchanged",
        y=lambda p: _y(p, weight=p.weight.swapaxes(2, 3)),
    ),
    _mistake(
        "y: windows by channels, the weight by places",
        "has each window in the order channel, row, column, and the weight in its own, row, "
        "column, channel: numbers that do not belong together are multiplied",
        y=lambda p: _y(p, weight=_reordered(p.weight)),
    ),
    _mistake(
        "y: windows by places, the weight by channels",
        "has each window in the order row, column, channel, and the weight in the order channel, "
        "row, column: numbers that do not belong together are multiplied",
        y=lambda p: _y(p, weight=p.weight.transpose(2, 0, 1, 3).reshape(p.weight.shape)),
    ),
    _mistake(
        "y: the middle of the kernel",
        "has the middle of the kernel alone: y sums over all of its places",
        y=lambda p: p.x @ p.weight[p.height // 2, p.width // 2] + p.bias,
    ),
    _mistake(
        "y: the last place of the kernel",
        "has the kernel's last place alone: what the others give is added, not overwritten",
        y=lambda p: _y(p, weight=p.weight * _last_place(p)),
    ),
    _mistake(
        "y: a mean over the kernel",
        "has the mean over the kernel's places, not their sum",
        y=lambda p: (p.y - p.bias) / (p.height * p.width) + p.bias,
    ),
    _mistake(
        "y: a mean over the window",
        "has the mean over the window, its channels too, not the sum",
        y=lambda p: (p.y - p.bias) / (p.height * p.width * p.x.shape[-1]) + p.bias,
    ),
    _mistake(
        "y: the bias at every place of the kernel",
        "has the bias added for every place of the kernel, not once",
        y=lambda p: p.y + p.bias * (p.height * p.width - 1),
    ),
    _mistake("y: the bias is subtracted", "has the bias subtracted", y=lambda p: p.y - 2 * p.bias),
    _mistake(
        "y: the bias of the first filter",
        "has the first filter's bias for all filters",
        y=lambda p: p.y - p.bias + p.bias[0],
    ),
    _mistake(
        "windows overwrite one another in dx",
        "has the last window's share alone: a pixel is in several windows, whose shares are added",
        dx=lambda p: _cut(p, _dpadded(p, overwrites=True), p.top, p.left),
    ),
    _mistake(
        "the padding stays in dx",
        "begins in the padding: that in front is to be cut off",
        dx=lambda p: _cut(p, _dpadded(p), 0, 0),
    ),
    _mistake(
        "the padding is not cut off in dx",
        "has the padding around it: that is to be cut off",
        has_other_shape=True,
        dx=lambda p: _dpadded(p),
    ),
    _mistake(
        "dx of the last filter",
        "is that of the last filter alone: every filter adds its share",
        dx=lambda p: _of_filter(p, -1),
    ),
    _mistake(
        "dx of the first filter",
        "is that of the first filter alone: every filter adds its share",
        dx=lambda p: _of_filter(p, 0),
    ),
    _mistake(
        "rows and columns of the kernel in dx",
        "has the kernel's rows and columns exchanged",
        dx=lambda p: _gradients(p, weight=p.weight.swapaxes(0, 1))[0],
    ),
    _mistake(
        "the kernel is not turned in dx",
        "has the kernel as in y: what a pixel got of weight[i] comes from y[h - i]",
        dx=lambda p: _gradients(p, weight=p.weight[::-1, ::-1])[0],
    ),
    _mistake(
        "no transpose in dx",
        "is a sum of dy @ weight[i, j], not of dy @ weight[i, j]'",
        dx=lambda p: _gradients(p, weight=p.weight.swapaxes(2, 3))[0],
    ),
    _mistake(
        "dx of the middle",
        "has the middle of the kernel alone: a pixel is in a window for each of its places",
        dx=lambda p: p.dy @ p.weight[p.height // 2, p.width // 2].T,
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
        "dweight of the last example",
        "is that of the last image alone: the weight did something in every one",
        dweight=lambda p: _gradients(p, x=p.x[-1:], dy=p.dy[-1:])[1],
    ),
    _mistake(
        "dweight of the last window",
        "is that of the last window alone: the weight did something in every one",
        dweight=lambda p: _dweight_of_the_last(p, slice(None)),
    ),
    _mistake(
        "dweight of the last window of the last image",
        "is that of the last window of the last image alone: the weight did something in every one",
        dweight=lambda p: _dweight_of_the_last(p, slice(-1, None)),
    ),
    _mistake(
        "dweight by channels",
        "has its numbers in the order channel, row, column: it was made of windows of that order",
        dweight=lambda p: p.dweight.transpose(2, 0, 1, 3).reshape(p.weight.shape),
    ),
    _mistake(
        "rows and columns of dweight",
        "has the kernel's rows and columns exchanged",
        dweight=lambda p: p.dweight.swapaxes(0, 1),
    ),
    _mistake(
        "dweight of the padding behind alone",
        'has all of the padding behind the image: "same" has half of it in front',
        dweight=lambda p: _gradients(p, padding=((0, 2), (0, 2)))[1],
    ),
    _mistake(
        "dweight is a mean over the images",
        "is divided by the number of images: the weight did something in every one",
        dweight=lambda p: p.dweight / len(p.x),
    ),
    _mistake(
        "dbias is a mean over the images",
        "is divided by the number of images: the bias is added in every one",
        dbias=lambda p: p.dbias / len(p.x),
    ),
    _mistake(
        "dbias of one image",
        "is that of the first image alone: the bias is added in every one",
        dbias=lambda p: p.dy[0].sum((0, 1)),
    ),
    _mistake(
        "dbias of the last image",
        "is that of the last image alone: the bias is added in every one",
        dbias=lambda p: p.dy[-1].sum((0, 1)),
    ),
    _mistake(
        "dbias of the last window",
        "is that of the last window alone: the bias is added in every one",
        dbias=lambda p: p.dy[:, -1, -1].sum(0),
    ),
    _mistake(
        "dbias over the filters",
        "is summed over the filters, too: each has a bias of its own",
        dbias=lambda p: np.full_like(p.bias, p.dy.sum()),
    ),
    _mistake(
        "dbias of y",
        "sums y, not dy",
        dbias=lambda p: p.y.sum((0, 1, 2)),
    ),
    _mistake(
        "dweight is a mean over the pixels",
        "is divided by the number of pixels: the weight did something at every one",
        dweight=lambda p: p.dweight / p.pixels,
    ),
    _mistake(
        "dbias is a mean over the pixels",
        "is divided by the number of pixels: the bias is added at every one",
        dbias=lambda p: p.dbias / p.pixels,
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
