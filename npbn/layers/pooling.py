"""Pooling of images as layers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from npbn import _checks as checks
from npbn.functional.pooling import (
    AveragePoolOperation,
    GlobalAveragePoolOperation,
    MaxPoolOperation,
)
from npbn.layers.image_layers import ImageLayer, WindowLayer, shortest
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode
from npbn.numerics.windows import Windows


class _Pool2D(WindowLayer):
    """What both poolings have in common."""

    _usual: ClassVar[Mapping[str, Any]] = {"padding": "valid"}

    def __init__(
        self, size: checks.Each, stride: checks.Each | None, padding: checks.PaddingLike
    ) -> None:
        super().__init__()
        self.size = self._size = checks.each_axis("size", size, 2)
        self.stride = self.size if stride is None else stride
        self.padding, self.dilation = padding, 1

    def _windows(self, shape: tuple[int, ...]) -> Windows:
        windows = super()._windows(shape)
        windows.check_pixels(f"{self!r}: padding")
        return windows

    def __repr__(self) -> str:
        size = shortest(self.size)
        return f"{type(self).__name__}({size}{self._shown(stride=size, **self._usual)})"


class MaxPool2D(_Pool2D):
    """y = the largest pixel of each window, in each channel by itself.

    x (N, H, W, C) -> y (N, H', W', C). dx is dy at that pixel, the first of equal ones, else 0,
    summed over the windows that share it.

    Parameters
    ----------
    size : int or pair
        Of the window, a number, or a pair (height, width).
    stride : int, pair or None
        How far one window is from the next; None: size, so that they lie side by side.
    padding : str, int or pair
        "valid": what a last window would need beyond the image is left out; "same": there are
        ceil(H / stride) windows along the height; or a number of pixels on each side, a pair
        (height, width), or a pair of pairs ((top, bottom), (left, right)). What is added is smaller
        than any number.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """

    def __init__(
        self,
        size: checks.Each,
        *,
        stride: checks.Each | None = None,
        padding: checks.PaddingLike = "valid",
    ) -> None:
        super().__init__(size, stride, padding)

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        return Pass(MaxPoolOperation(shape, dtype, self._windows(shape)))


class AvgPool2D(_Pool2D):
    """y = the mean of the pixels in each window, in each channel by itself.

    x (N, H, W, C) -> y (N, H', W', C). dx is dy / (the number of pixels), at each of them, summed
    over the windows that share it.

    Parameters
    ----------
    size, stride, padding
        As of `MaxPool2D`, with zeros around the image.
    count_padding : bool
        False divides by the number of the image's own pixels in a window, as Keras does; True,
        PyTorch's default, counts the zeros around it too.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """

    _usual: ClassVar[Mapping[str, Any]] = {**_Pool2D._usual, "count_padding": False}

    def __init__(
        self,
        size: checks.Each,
        *,
        stride: checks.Each | None = None,
        padding: checks.PaddingLike = "valid",
        count_padding: bool = False,
    ) -> None:
        super().__init__(size, stride, padding)
        self.count_padding = count_padding

    @checks.Setting
    def count_padding(self, value: bool) -> bool:
        """Whether the zeros around an image count as pixels."""
        return checks.flag("count_padding", value)

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        windows = self._windows(shape)
        return Pass(AveragePoolOperation(shape, dtype, windows, self.count_padding))


class GlobalAvgPool2D(ImageLayer):
    """y = the mean of all pixels of each image, in each channel by itself.

    x (N, H, W, C) -> y (N, C). dx is dy / (the number of pixels), at every pixel.
    """

    def __init__(self) -> None:
        super().__init__()

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        return Pass(GlobalAveragePoolOperation(shape, dtype))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        images, *_, channels = super().output_shape(shape)
        return images, channels
