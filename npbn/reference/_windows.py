"""Where a kernel lies on images ``(N, *space, C)``: what convolution and pooling have in common."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

Numbers = tuple[int, ...]


def each_axis(value: int | Sequence[int], axes: int) -> Numbers:
    """A number for each axis: one number stands for all."""
    return (value,) * axes if isinstance(value, int) else tuple(value)


def added(
    space: Numbers, size: Numbers, stride: Numbers, padding: Any, dilation: Numbers
) -> list[tuple[int, int]]:
    """How many pixels are added (before, after) along each axis.

    "same": there are ceil(n / stride) windows along an axis of n pixels.
    """
    if padding == "valid":
        padding = 0
    if padding == "same":
        pairs = []
        for n, k, s, d in zip(space, size, stride, dilation, strict=True):
            windows = -(-n // s)
            missing = max((windows - 1) * s + (k - 1) * d + 1 - n, 0)
            pairs.append((missing // 2, missing - missing // 2))
        return pairs
    if isinstance(padding, int):
        padding = (padding,) * len(space)
    return [(each, each) if isinstance(each, int) else (each[0], each[1]) for each in padding]


def places(
    padded: Numbers, size: Numbers, stride: Numbers, dilation: Numbers
) -> Iterator[tuple[Numbers, tuple[slice, ...]]]:
    """Each place within the kernel, and the pixels that lie there, one of every window."""
    for place in np.ndindex(size):
        slices = [slice(None)]
        for n, k, s, d, p in zip(padded, size, stride, dilation, place, strict=True):
            windows = (n - (k - 1) * d - 1) // s + 1
            slices.append(slice(p * d, p * d + (windows - 1) * s + 1, s))
        yield place, tuple(slices)
