"""Convolution over images: its equations, as sums over the places of the kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from npbn.reference._windows import Numbers, added, each_axis, places

Array = NDArray[Any]


class Conv2DCache(NamedTuple):
    """What the backward pass needs; padding is [(top, bottom), (left, right)]."""

    padded: Array
    weight: Array
    has_bias: bool
    stride: Numbers
    padding: list[tuple[int, int]]
    dilation: Numbers
    groups: int


def conv2d_forward(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Any = 1,
    padding: Any = "same",
    dilation: Any = 1,
    groups: int = 1,
) -> tuple[Array, Conv2DCache]:
    """The convolution of images with a kernel.

    ::

        y[n, h, w] = sum over i, j of padded[n, h * stride + i * dilation, ...] @ weight[i, j]
                     + bias

    x (N, H, W, C), weight (height, width, C / groups, out), bias (out,) or None; each group of
    outputs sees its own group of channels. Returns y (N, H', W', out) and the cache.
    """
    size, stride, dilation = weight.shape[:2], each_axis(stride, 2), each_axis(dilation, 2)
    padding = added(x.shape[1:3], size, stride, padding, dilation)
    padded = np.pad(x, ((0, 0), *padding, (0, 0)))
    in_kernel = list(places(padded.shape[1:3], size, stride, dilation))
    y = np.concatenate(
        [
            sum(part[pixels] @ kernel[i, j] for (i, j), pixels in in_kernel)
            for part, kernel in _groups(groups, padded, weight)
        ],
        axis=-1,
    )
    cache = Conv2DCache(padded, weight, bias is not None, stride, padding, dilation, groups)
    return (y if bias is None else y + bias), cache


def conv2d_backward(dy: Array, cache: Conv2DCache) -> tuple[Array, Array, Array | None]:
    """Each pixel that went into y gets its share of dy, and each weight what it was laid on.

    ::

        dx[n, h * stride + i * dilation, ...] += dy[n, h, w] @ weight[i, j]'
        dweight[i, j] = sum over n, h, w of x[n, h * stride + i * dilation, ...]' @ dy[n, h, w]
        dbias         = sum(dy)

    Returns dx (N, H, W, C), dweight and dbias, None where there is no bias.
    """
    padded, weight, has_bias, stride, padding, dilation, groups = cache
    dpadded, dweight = np.zeros_like(padded), np.empty_like(weight)
    for part, kernel, dpart, dkernel, dout in _groups(groups, padded, weight, dpadded, dweight, dy):
        for (i, j), pixels in places(padded.shape[1:3], weight.shape[:2], stride, dilation):
            dpart[pixels] += dout @ kernel[i, j].T
            dkernel[i, j] = np.einsum("nhwc,nhwo->co", part[pixels], dout)
    (top, _), (left, _) = padding
    height, width = padded.shape[1] - sum(padding[0]), padded.shape[2] - sum(padding[1])
    dx = dpadded[:, top : top + height, left : left + width]
    return dx, dweight, dy.sum((0, 1, 2)) if has_bias else None


def _groups(groups: int, *arrays: Array) -> Any:
    """The part of each array, by its last axis, that is of the first group, the second ..."""
    return zip(*(np.split(each, groups, axis=-1) for each in arrays), strict=True)
