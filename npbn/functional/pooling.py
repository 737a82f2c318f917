"""Pooling: of the pixels in each window the largest, or their mean; and the mean of an image."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.blocks import BLOCK_BYTES, SMALL
from npbn.numerics.constants import constant
from npbn.numerics.denormals import quiet
from npbn.numerics.operation import Operation, check_backward
from npbn.numerics.tape import repeated
from npbn.numerics.windows import PaddedImages, Windows


class _PoolOperation(Operation):
    """What both poolings have in common: some images at a time, which stay in cache."""

    fill = 0.0  # what is added around x

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], windows: Windows) -> None:
        super().__init__(shape, dtype)
        self.shape = (shape[0], *windows.count, shape[-1])
        self._windows = windows
        image = prod(windows.padded) * shape[-1] * dtype.itemsize
        self._at_once = max(1, min(shape[0], BLOCK_BYTES // image))
        self._around = self._padded_with(self.fill)

    def _padded_with(self, value: float) -> PaddedImages:
        return PaddedImages(self._windows, self._at_once, self.x_shape[-1], self.dtype, value)

    def _some_images(self, xp: Any) -> Iterator[slice]:
        for start in repeated(xp, range(0, self.shape[0], self._at_once)):
            yield slice(start, min(start + self._at_once, self.shape[0]))

    def _positions(self, xp: Any, array: Array) -> Iterator[Array]:
        """What all windows have at each place of theirs."""
        for place in repeated(xp, self._windows.positions()):
            yield self._windows.at(array, place)

    def prepare_backward(self) -> None:
        # Where windows share no pixel each place of dx is written once, in dx itself.
        self._is_direct = self._windows.are_apart and not self._windows.has_padding
        self._share = np.empty((self._at_once, *self.shape[1:]), self.dtype)
        if not self._is_direct:
            padded = self._at_once, *self._windows.padded, self.shape[-1]
            self._dx = np.empty(padded, self.dtype)

    def _target(self, xp: Any, dx: Array, some: slice) -> Array:
        """Where to write some images' dx, 0 throughout unless all of it will be written."""
        target = dx[some] if self._is_direct else self._dx[: some.stop - some.start]
        if not (self._is_direct and self._windows.covers):
            xp.copyto(target, 0.0)
        return target

    def _put_back(self, xp: Any, target: Array, dx: Array, some: slice) -> None:
        if not self._is_direct:
            xp.copyto(dx[some], self._windows.interior(target))


class MaxPoolOperation(_PoolOperation):
    """y = the largest pixel of each window."""

    reads_x = reads_y = True
    fill = -np.inf

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        self._x, self._y = x, y
        for some in self._some_images(xp):
            out = y[some]
            xp.copyto(out, -np.inf)
            for pixels in self._positions(xp, self._around.of(xp, x[some])):
                xp.maximum(out, pixels, out=out)

    def keep_y(self) -> None:
        """Keep a copy of y, for the caller may write into it."""
        self._y = self._y.copy()

    def prepare_backward(self) -> None:
        super().prepare_backward()
        # To -inf a pixel may be equal, to NaN none is: no gradient goes beyond the image.
        self._around_nan = self._padded_with(np.nan)
        self._is_largest, self._is_given = np.empty((2, *self._share.shape), bool)

    def backward(self, xp: Any, dy: Array, dx: Array | None) -> None:
        if dx is None:
            return
        for some in self._some_images(xp):
            images, y, given = self._around_nan.of(xp, self._x[some]), self._y[some], dy[some]
            count, target = len(y), self._target(xp, dx, some)
            is_largest, is_given = self._is_largest[:count], self._is_given[:count]
            xp.copyto(is_given, False)
            for place in repeated(xp, self._windows.positions()):
                # Of equal pixels the first has all of dy.
                xp.equal(self._windows.at(images, place), y, out=is_largest)
                xp.greater(is_largest, is_given, out=is_largest)
                xp.logical_or(is_given, is_largest, out=is_given)
                there = self._windows.at(target, place)
                if self._is_direct:
                    xp.multiply(given, is_largest, out=there)
                else:
                    share = self._share[:count]
                    xp.multiply(given, is_largest, out=share)
                    xp.add(there, share, out=there)
            self._put_back(xp, target, dx, some)


class AveragePoolOperation(_PoolOperation):
    """y = the mean of the pixels in each window."""

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        windows: Windows,
        count_padding: bool,
    ) -> None:
        super().__init__(shape, dtype, windows)
        counts = windows.pixels() if not count_padding else np.array(prod(windows.size))
        self._counts = counts.astype(dtype)[..., np.newaxis]

    @property
    def shows_infinity(self) -> bool:  # type: ignore[override]
        """Whether every pixel is in a window."""
        return self._windows.covers

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        for some in self._some_images(xp):
            out = y[some]
            xp.copyto(out, 0.0)
            for pixels in self._positions(xp, self._around.of(xp, x[some])):
                xp.add(out, pixels, out=out)
            xp.divide(out, self._counts, out=out)

    def backward(self, xp: Any, dy: Array, dx: Array | None) -> None:
        if dx is None:
            return
        for some in self._some_images(xp):
            share, target = self._share[: some.stop - some.start], self._target(xp, dx, some)
            xp.divide(dy[some], self._counts, out=share)
            for there in self._positions(xp, target):
                if self._is_direct:
                    xp.copyto(there, share)
                else:
                    xp.add(there, share, out=there)
            self._put_back(xp, target, dx, some)


class GlobalAveragePoolOperation(Operation):
    """y = the mean of all pixels of an image, in float64."""

    shows_infinity = True

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        super().__init__(shape, dtype)
        self.shape = shape[0], shape[-1]
        pixels = prod(shape[1:-1])
        self._at_once = max(1, min(shape[0], SMALL // (pixels * shape[-1])))
        self._values = np.empty((self._at_once, pixels, shape[-1]))
        self._sums = np.empty((shape[0], 1, shape[-1]))
        self._ones, self._pixels = constant(1.0, "d", pixels), constant(float(pixels), "d")

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        images = x.reshape(len(x), -1, x.shape[-1])
        for start in repeated(xp, range(0, len(x), self._at_once)):
            some = images[start : start + self._at_once]
            values = self._values[: len(some)]
            xp.copyto(values, some)
            xp.matmul(self._ones[np.newaxis], values, out=self._sums[start : start + self._at_once])
        xp.divide(self._sums.reshape(self.shape), self._pixels, out=y)

    def prepare_backward(self) -> None:
        self._share = np.empty(self.shape, self.dtype)

    def backward(self, xp: Any, dy: Array, dx: Array | None) -> None:
        if dx is not None:
            xp.divide(dy, self._pixels, out=self._share)
            ones = (1,) * (dx.ndim - 2)
            xp.copyto(dx, self._share.reshape(len(dy), *ones, -1))


@quiet()
def max_pool_forward(
    x: Array,
    *,
    size: checks.Each,
    stride: checks.Each | None = None,
    padding: checks.PaddingLike = "valid",
    dilation: checks.Each = 1,
    out: Array | None = None,
) -> tuple[Array, MaxPoolOperation]:
    """y = the largest pixel of each window, in each channel by itself. NaN stays NaN.

    Parameters
    ----------
    x : (N, ..., C) array, float32 or float64
        With one axis or more between: images (N, H, W, C), sequences (N, T, C).
    size, stride, dilation : int, or one an axis
        Of the window, how far one is from the next, and one pixel of a window from the next.
        stride=None: size.
    padding : "same", "valid", int, one an axis, or a pair (before, after) an axis
        "valid": none; "same": there are ceil(n / stride) windows along an axis of n pixels; a
        number of pixels on each side. What is added is smaller than any number.
    out : array like y, optional

    Returns
    -------
    y : (N, ..., C) array
    cache : MaxPoolOperation
        It refers to x: leave it unchanged until the backward pass.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """
    x, windows = _checked(x, size, stride, padding, dilation)
    operation = MaxPoolOperation(x.shape, x.dtype, windows)
    y = checks.output(out, operation.shape, x.dtype, (x,))
    operation.forward(np, x, y)
    operation.keep_y()
    return y, operation


@quiet()
def max_pool_backward(dy: Array, cache: MaxPoolOperation, *, out: Array | None = None) -> Array:
    """dx = dy at the largest pixel of each window, the first of equal ones, summed over windows.

    Else 0 (of an infinite dy, NaN).

    Parameters
    ----------
    dy : array like y
    cache : what `max_pool_forward` returned
    out : array like x, optional

    Returns
    -------
    dx : array like x

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape.
    """
    return _backward("max_pool_forward", MaxPoolOperation, dy, cache, out)


@quiet()
def average_pool_forward(
    x: Array,
    *,
    size: checks.Each,
    stride: checks.Each | None = None,
    padding: checks.PaddingLike = "valid",
    dilation: checks.Each = 1,
    count_padding: bool = False,
    out: Array | None = None,
) -> tuple[Array, AveragePoolOperation]:
    """y = the mean of the pixels in each window, in each channel by itself.

    Parameters
    ----------
    x, size, stride, padding, dilation
        As for `max_pool_forward`.
    count_padding : bool
        False divides by the number of x's own pixels in a window, as Keras does; True, PyTorch's
        default, counts the zeros around x too.
    out : array like y, optional

    Returns
    -------
    y : (N, ..., C) array
    cache : AveragePoolOperation

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """
    x, windows = _checked(x, size, stride, padding, dilation)
    count_padding = checks.flag("count_padding", count_padding)
    operation = AveragePoolOperation(x.shape, x.dtype, windows, count_padding)
    y = checks.output(out, operation.shape, x.dtype, (x,))
    operation.forward(np, x, y)
    return y, operation


@quiet()
def average_pool_backward(
    dy: Array, cache: AveragePoolOperation, *, out: Array | None = None
) -> Array:
    """dx = dy / (the number of pixels), at each pixel of a window, summed over windows.

    Parameters
    ----------
    dy : array like y
    cache : what `average_pool_forward` returned
    out : array like x, optional

    Returns
    -------
    dx : array like x

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape.
    """
    return _backward("average_pool_forward", AveragePoolOperation, dy, cache, out)


@quiet()
def global_average_pool_forward(
    x: Array, *, out: Array | None = None
) -> tuple[Array, GlobalAveragePoolOperation]:
    """y = the mean of all pixels of each image, in each channel by itself.

    Parameters
    ----------
    x : (N, ..., C) array, float32 or float64
        With one axis or more between.
    out : array like y, optional

    Returns
    -------
    y : (N, C) array
    cache : GlobalAveragePoolOperation

    Raises
    ------
    TypeError, ValueError
        For an x or out of another type or shape.
    """
    x = checks.images("x", x)
    operation = GlobalAveragePoolOperation(x.shape, x.dtype)
    y = checks.output(out, operation.shape, x.dtype, (x,))
    operation.forward(np, x, y)
    return y, operation


@quiet()
def global_average_pool_backward(
    dy: Array, cache: GlobalAveragePoolOperation, *, out: Array | None = None
) -> Array:
    """dx = dy / (the number of pixels), at every pixel.

    Parameters
    ----------
    dy : (N, C) array
    cache : what `global_average_pool_forward` returned
    out : array like x, optional

    Returns
    -------
    dx : array like x

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape.
    """
    return _backward("global_average_pool_forward", GlobalAveragePoolOperation, dy, cache, out)


def _checked(x: Any, size: Any, stride: Any, padding: Any, dilation: Any) -> tuple[Array, Windows]:
    x = checks.images("x", x)
    space = x.shape[1:-1]
    size = checks.each_axis("size", size, len(space))
    windows = Windows(
        "x",
        space,
        size,
        size if stride is None else checks.each_axis("stride", stride, len(space)),
        checks.padding(padding, len(space)),
        checks.each_axis("dilation", dilation, len(space)),
    )
    windows.check_pixels("padding")
    return x, windows


def _backward(
    source: str, kind: type[Operation], dy: Array, cache: Any, out: Array | None
) -> Array:
    dy, dx = check_backward(source, kind, dy, cache, out)
    cache.with_own_scratch().backward(np, dy, dx)
    return dx
