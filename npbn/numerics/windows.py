"""Windows: what a kernel sees of images ``(N, *space, C)`` at each place where it is laid."""

import math
from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.operation import Workspace
from npbn.numerics.tape import named, repeated

# Of so many bytes are the patches that are made at once: they are read again while in cache, and
# the products are of many rows. Half of it took 3 to 7 % longer, twice as much 5 % more or less.
PATCH_BYTES = 1 << 21
# Rows of a kernel with fewer numbers are copied one position at a time, from whole rows of pixels:
# a third of the time for (60, 28, 28, 1) and a kernel of 3 x 3.
SHORT = 16


class Windows:
    """Where a kernel is laid along each axis of images, and how many times.

    Parameters
    ----------
    name : str
        The argument that a ValueError names, where no window fits.
    space, size, stride, dilation : tuple of int
        Of the images and of the kernel, a number an axis.
    padding : Padding
        As `_checks.padding` returns it.

    Attributes
    ----------
    before, after : tuple of int
        How many pixels are added on each side.
    count : tuple of int
        How many windows there are.
    """

    def __init__(
        self,
        name: str,
        space: tuple[int, ...],
        size: tuple[int, ...],
        stride: tuple[int, ...],
        padding: checks.Padding,
        dilation: tuple[int, ...],
    ) -> None:
        self.space, self.size, self.stride, self.dilation = space, size, stride, dilation
        self.reach = tuple(d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True))
        if padding == "same":
            # As many windows as strides begin in the image; what is left over goes behind it.
            missing = [
                max((-(-n // s) - 1) * s + reach - n, 0)
                for n, s, reach in zip(space, stride, self.reach, strict=True)
            ]
            padding = tuple((each // 2, each - each // 2) for each in missing)
        elif padding == "valid":
            padding = ((0, 0),) * len(space)
        self.before, self.after = zip(*padding, strict=True)
        self.padded = tuple(map(sum, zip(self.before, space, self.after, strict=True)))
        self.count = tuple(
            (n - reach) // s + 1
            for n, reach, s in zip(self.padded, self.reach, stride, strict=True)
        )
        if min(self.count) < 1:
            needed = [max(1, r - b - a) for r, (b, a) in zip(self.reach, padding, strict=True)]
            axes = "(N, H, W, C)" if len(space) == 2 else "(N, ..., C)"
            raise ValueError(
                f"{name}: expected images {axes} of at least {' x '.join(map(str, needed))} "
                f"pixels, got {' x '.join(map(str, space))}"
            )

    @property
    def has_padding(self) -> bool:
        """Whether pixels are added anywhere."""
        return self.padded != self.space

    @property
    def are_apart(self) -> bool:
        """Whether no two windows share a pixel."""
        return all(s >= reach for s, reach in zip(self.stride, self.reach, strict=True))

    def _along_axes(self) -> Iterator[tuple[int, Array]]:
        """Of each axis how many pixels there are, and which of them each window has (count, size).

        Those that are added are below 0, or as many and above.
        """
        along = (self.space, self.count, self.stride, self.size, self.dilation, self.before)
        for n, c, s, k, d, b in zip(*along, strict=True):
            yield n, np.add.outer(s * np.arange(c), d * np.arange(k)) - b

    @cached_property
    def covers(self) -> bool:
        """Whether every pixel is in a window."""
        return all(np.isin(np.arange(n), seen).all() for n, seen in self._along_axes())

    def check_pixels(self, name: str) -> None:
        """ValueError where a window has none of an image: it has no mean, and no largest one."""
        if self.has_padding and not all(
            ((seen >= 0) & (seen < n)).any(1).all() for n, seen in self._along_axes()
        ):
            added = tuple(zip(self.before, self.after, strict=True))
            raise ValueError(
                f"{name}: expected a pixel of the image in every window, got {added} around "
                f"{' x '.join(map(str, self.space))} pixels"
            )

    def pixels(self) -> Array:
        """How many pixels of an image are in each window, ``(*count,)``."""
        padding = list(zip(self.before, self.after, strict=True))
        padded = np.pad(np.ones(self.space), padding).reshape(1, *self.padded, 1)
        return np.sum([self.at(padded, place) for place in self.positions()], axis=0)[0, ..., 0]

    def positions(self) -> Iterator[tuple[int, ...]]:
        """The places within the kernel, row by row."""
        return np.ndindex(self.size)

    def interior(self, padded: Array) -> Array:
        """The images within padded ones."""
        bounds = zip(self.before, self.space, strict=True)
        return padded[(slice(None), *(slice(b, b + n) for b, n in bounds))]

    def at(self, padded: Array, position: tuple[int, ...]) -> Array:
        """What all windows have at one place of the kernel: ``(N, *count, C)``."""
        each = zip(position, self.dilation, self.count, self.stride, strict=True)
        return padded[
            (slice(None), *(slice(p * d, p * d + (n - 1) * s + 1, s) for p, d, n, s in each))
        ]

    def view(self, padded: Array) -> Array:
        """All windows: ``(N, *count, *size, C)``."""
        first, *along, last = padded.strides
        shape = (len(padded), *self.count, *self.size, padded.shape[-1])
        strides = [
            *(step * s for step, s in zip(along, self.stride, strict=True)),
            *(step * d for step, d in zip(along, self.dilation, strict=True)),
        ]
        return np.lib.stride_tricks.as_strided(padded, shape, (first, *strides, last))


class PaddedImages(Workspace):
    """Room for some images at a time with what is added around them, made once."""

    def __init__(
        self, windows: Windows, images: int, channels: int, dtype: np.dtype[Any], value: float = 0
    ) -> None:
        self.windows = windows
        if windows.has_padding:
            self._padded = np.full((images, *windows.padded, channels), value, dtype)

    def of(self, xp: Any, images: Array) -> Array:
        """The images with their padding; themselves where there is none."""
        if not self.windows.has_padding:
            return images
        padded = self._padded[: len(images)]
        xp.copyto(self.windows.interior(padded), images)
        return padded


class Part(NamedTuple):
    """The patches of some windows: those on some images, in some lines of windows.

    Attributes
    ----------
    patches : (groups, windows, height * width * C / groups) array
    rows : slice
        Which of all windows they are.
    seen : (groups, images, lines, windows a line, height, width, C / groups) array
        The patches.
    """

    patches: Array
    rows: slice
    images: slice
    lines: slice
    seen: Array


class Patches(Workspace):
    """The windows of images (N, H, W, C) as matrices, one row a window, some windows at a time.

    With groups of channels there is a matrix for each: (groups, windows, height * width * C /
    groups). Never for a whole batch: that is as many times its memory as a kernel has places.
    """

    def __init__(
        self, windows: Windows, images: int, channels: int, groups: int, dtype: np.dtype[Any]
    ) -> None:
        self.count, self._images = windows.count, images
        own = channels // groups
        self.width = math.prod(windows.size) * own
        height, width = windows.count
        line = width * groups * self.width * dtype.itemsize
        self.lines = max(1, min(height, PATCH_BYTES // line))
        self.at_once = max(1, min(images, PATCH_BYTES // (line * height)))
        # Views are made once: of a small layer they would be a tenth of the time.
        self._padded = np.zeros((self.at_once, *windows.padded, channels), dtype)
        self._interior = windows.interior(self._padded)
        every = windows.view(self._padded)
        every = every.reshape(*every.shape[:-1], groups, own)
        self._windows = np.moveaxis(every, -2, 0)
        most = self.at_once * self.lines * width
        # Short rows of the kernel, a pixel or two: one column after another is filled.
        by_columns = windows.size[1] * own < SHORT
        shape = (groups, self.width, most) if by_columns else (groups, most, self.width)
        memory = np.empty(shape, dtype)
        self._patches = memory.swapaxes(1, 2) if by_columns else memory
        seen = groups, self.at_once, self.lines, width, *windows.size, own
        self._seen = self._patches.reshape(seen)

    def each(self, xp: Any, x: Array) -> Iterator[Part]:
        """All patches, part by part; each part is written over the one before."""
        height, width = self.count
        for start in repeated(xp, range(0, self._images, self.at_once)):
            stop = min(start + self.at_once, self._images)
            count, images = stop - start, slice(start, stop)
            interior, given = self._interior[:count], x[images]
            named(xp, images=given, interior=interior)
            xp.copyto(interior, given)
            for top in repeated(xp, range(0, height, self.lines)):
                bottom = min(top + self.lines, height)
                lines, rows = slice(top, bottom), count * (bottom - top) * width
                windows = self._windows[:, :count, lines]
                seen = self._seen[:, :count, : bottom - top]
                patches = self._patches[:, :rows]
                named(xp, windows=windows, patches=patches, seen=seen)
                xp.copyto(seen, windows)
                first = (start * height + top) * width
                yield Part(patches, slice(first, first + rows), images, lines, seen)
