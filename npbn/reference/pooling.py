"""Pooling: its equations, over the places of a window."""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from npbn.reference._windows import Numbers, added, each_axis, places

Array = NDArray[Any]


class PoolCache(NamedTuple):
    """What the backward pass needs: where each place of a window lies in the padded x."""

    padded: Array
    y: Array
    counts: Array
    padding: list[tuple[int, int]]
    places: list[tuple[slice, ...]]


def max_pool_forward(
    x: Array, *, size: Any, stride: Any = None, padding: Any = "valid", dilation: Any = 1
) -> tuple[Array, PoolCache]:
    """y = max of x over each window, in each channel by itself.

    x (N, ..., C) with any number of axes between. Returns y (N, ..., C) and the cache.
    """
    pixels, _ = _windows(x, -np.inf, size, stride, padding, dilation)
    y = np.max(pixels, axis=0)
    # Backward is to find no y in the padding: NaN is equal to nothing.
    _, cache = _windows(x, np.nan, size, stride, padding, dilation)
    return y, cache._replace(y=y)


def max_pool_backward(dy: Array, cache: PoolCache) -> Array:
    """dx = dy at the first of the largest pixels of each window, else 0, summed over windows."""
    dpadded, is_given = np.zeros_like(cache.padded), np.zeros(dy.shape, bool)
    for place in cache.places:
        is_first = (cache.padded[place] == cache.y) & ~is_given
        dpadded[place] += dy * is_first
        is_given |= is_first
    return _without(cache.padding, dpadded)


def average_pool_forward(
    x: Array,
    *,
    size: Any,
    stride: Any = None,
    padding: Any = "valid",
    dilation: Any = 1,
    count_padding: bool = False,
) -> tuple[Array, PoolCache]:
    """y = sum of x over each window / the number of pixels in it.

    The pixels are those of x; with count_padding also the zeros around it. x (N, ..., C) with any
    number of axes between. Returns y (N, ..., C) and the cache.
    """
    pixels, cache = _windows(x, 0, size, stride, padding, dilation)
    ones, _ = _windows(np.ones_like(x), int(count_padding), size, stride, padding, dilation)
    counts = np.sum(ones, axis=0)
    y = np.sum(pixels, axis=0) / counts
    return y, cache._replace(y=y, counts=counts)


def average_pool_backward(dy: Array, cache: PoolCache) -> Array:
    """dx = dy / the number of pixels, at each pixel of the window, summed over windows."""
    dpadded = np.zeros_like(cache.padded)
    for place in cache.places:
        dpadded[place] += dy / cache.counts
    return _without(cache.padding, dpadded)


def global_average_pool_forward(x: Array) -> tuple[Array, tuple[int, ...]]:
    """y = mean of x over all axes but the first and the last.

    x (N, ..., C). Returns y (N, C) and the cache, x's shape.
    """
    return x.mean(tuple(range(1, x.ndim - 1))), x.shape


def global_average_pool_backward(dy: Array, cache: tuple[int, ...]) -> Array:
    """dx = dy / the number of pixels, at every pixel."""
    images, *space, channels = cache
    share = dy / prod(space)
    return np.broadcast_to(share.reshape(images, *(1 for _ in space), channels), cache).copy()


def _windows(
    x: Array, fill: float, size: Any, stride: Any, padding: Any, dilation: Any
) -> tuple[list[Array], PoolCache]:
    """For each place of a window what all windows have there, each (N, ..., C); the cache."""
    space: Numbers = x.shape[1:-1]
    axes = len(space)
    size, dilation = each_axis(size, axes), each_axis(dilation, axes)
    stride = size if stride is None else each_axis(stride, axes)
    padding = added(space, size, stride, padding, dilation)
    padded = np.pad(x, [(0, 0), *padding, (0, 0)], constant_values=fill)
    slices = [pixels for _, pixels in places(padded.shape[1:-1], size, stride, dilation)]
    return [padded[each] for each in slices], PoolCache(padded, x, x, padding, slices)


def _without(padding: list[tuple[int, int]], padded: Array) -> Array:
    """What lies within the padding."""
    slices = [slice(b, n - a) for (b, a), n in zip(padding, padded.shape[1:-1], strict=True)]
    return padded[(slice(None), *slices)]
