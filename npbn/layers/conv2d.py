"""Convolution over images as a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional.conv2d import Conv2DOperation
from npbn.layers.image_layers import WindowLayer, shortest
from npbn.layers.initial import initial_weight
from npbn.layers.layer import ArrayAttribute
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode


class Conv2D(WindowLayer):
    """A kernel is laid on every place of an image; each output is a weighted sum of what it covers.

    ::

        y[n, h, w]    = bias + sum over i, j of x[n, h * stride + i * dilation, ...] @ weight[i, j]
        dx[n, ...]   += dy[n, h, w] @ weight[i, j]'     at the same pixels
        dweight[i, j] = sum over n, h, w of x[n, ...]' @ dy[n, h, w]
        dbias         = sum(dy)

    in x with its padding: a cross-correlation, as all libraries call convolution.

    Parameters
    ----------
    in_channels, filters : int
        The sizes of the last axis of x (N, H, W, in_channels) and of y.
    kernel_size : int or pair
        A number, or a pair (height, width).
    stride, dilation : int or pair
        How far one window is from the next, and one pixel of a window from the next; a number, or a
        pair (along the height, along the width).
    padding : str, int or pair
        "same", as Keras has it: y is ceil(H / stride) high, and of the zeros around x an odd one
        goes behind it; "valid": none; a number of zeros on each side, a pair of numbers (height,
        width), or a pair of pairs ((top, bottom), (left, right)).
    groups : int
        The channels are cut into so many groups, each of which goes to its share of the filters
        alone.
    use_bias : bool
        False leaves the bias out, as before a `BatchNorm`, whose beta takes its place.
    weight : ndarray, shape (height, width, in_channels / groups, filters), or None
        The initial weights, copied; None draws them from a normal distribution of standard
        deviation sqrt(2 / (height * width * in_channels / groups)) (He et al. 2015).
    rng : numpy.random.Generator, int or None
        For that draw; an int is a seed, None fresh, not reproducible.
    dtype : np.float32, np.float64 or None
        None: the type of the weights given, else np.float32.

    Attributes
    ----------
    weight : ndarray, shape (height, width, in_channels / groups, filters)
        A parameter.
    bias : ndarray, shape (filters,)
        A parameter, which starts at 0.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """

    weight = ArrayAttribute("parameters", "The weights, (height, width, in / groups, filters).")
    bias = ArrayAttribute("parameters", "The bias, (filters,); None without.")

    def __init__(
        self,
        in_channels: int,
        filters: int,
        kernel_size: checks.Each,
        *,
        stride: checks.Each = 1,
        padding: checks.PaddingLike = "same",
        dilation: checks.Each = 1,
        groups: int = 1,
        use_bias: bool = True,
        weight: Array | None = None,
        rng: np.random.Generator | int | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self.in_channels = checks.integer("in_channels", in_channels, minimum=1)
        self.filters = checks.integer("filters", filters, minimum=1)
        self.kernel_size = self._size = checks.each_axis("kernel_size", kernel_size, 2)
        self.groups = checks.groups(groups, self.in_channels)
        checks.groups(groups, self.filters, "filters")
        self.use_bias = checks.flag("use_bias", use_bias)
        shape = (*self.kernel_size, self.in_channels // self.groups, self.filters)
        parameters = {"weight": initial_weight(shape, weight, rng, dtype)}
        if self.use_bias:
            parameters["bias"] = np.zeros(self.filters, parameters["weight"].dtype)
        super().__init__(parameters)
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        own, gradients = self._parameters, self._gradients
        operation = Conv2DOperation(
            shape, dtype, own["weight"].shape, self.use_bias, self._windows(shape), self.groups
        )
        return Pass(
            operation,
            (own["weight"], own.get("bias")),
            (gradients["weight"], gradients.get("bias")),
        )

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*super().output_shape(shape)[:-1], self.filters)

    @property
    def _takes_features(self) -> int:
        return self.in_channels

    def scaled(self, scale: Array, shift: Array) -> Conv2D:
        weight = (self.weight * scale).astype(self.weight.dtype)
        result = Conv2D(
            self.in_channels,
            self.filters,
            self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            weight=weight,
        )
        result.bias[...] = shift + (0 if self.bias is None else self.bias * scale)
        return result

    def __repr__(self) -> str:
        shown = self._shown(stride=1, padding="same", dilation=1, groups=1, use_bias=True)
        return f"Conv2D({self.in_channels}, {self.filters}, {shortest(self.kernel_size)}{shown})"
