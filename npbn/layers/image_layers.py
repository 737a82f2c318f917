"""What layers of images (N, H, W, C) have in common."""

from __future__ import annotations

from typing import Any

from npbn import _checks as checks
from npbn.layers.layer import Layer
from npbn.numerics.windows import Windows


class ImageLayer(Layer):
    """A layer that takes images and nothing else."""

    _takes_axes = 4

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) != self._takes_axes:
            raise ValueError(f"{self!r}: {checks.not_images('x', shape)}")
        return super().output_shape(shape)


class WindowLayer(ImageLayer):
    """A layer with a window that goes over images: its settings, and how many windows there are."""

    _size: tuple[int, ...]

    @checks.Setting
    def stride(self, value: checks.Each) -> tuple[int, ...]:
        """How far one window is from the next, along the height and the width."""
        return checks.each_axis("stride", value, 2)

    @checks.Setting
    def padding(self, value: checks.PaddingLike) -> checks.Padding:
        """The pixels added ((top, bottom), (left, right)), or "same" or "valid"."""
        return checks.padding(value, 2)

    @checks.Setting
    def dilation(self, value: checks.Each) -> tuple[int, ...]:
        """How far one pixel of a window is from the next, along the height and the width."""
        return checks.each_axis("dilation", value, 2)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        images, *space, channels = super().output_shape(shape)
        # To print a network whose images are of any size.
        known = all(isinstance(each, int) for each in space)
        return images, *(self._windows(shape).count if known else space), channels

    def _windows(self, shape: tuple[int, ...]) -> Windows:
        """Those on images of that shape; ValueError where there is none."""
        return Windows(
            repr(self), shape[1:-1], self._size, self.stride, self.padding, self.dilation
        )

    def _shown(self, **defaults: Any) -> str:
        """The settings that are not as usual, as one types them."""
        values = {name: shortest(getattr(self, name)) for name in defaults}
        return "".join(
            f", {name}={value!r}" for name, value in values.items() if value != defaults[name]
        )


def shortest(value: Any) -> Any:
    """The shortest that stands for a setting: (2, 2) is 2, ((1, 1), (0, 0)) is (1, 0)."""
    if not isinstance(value, tuple):
        return value
    each = tuple(map(shortest, value))
    if tuple in map(type, each):
        return value
    return each[0] if len(set(each)) == 1 else each
