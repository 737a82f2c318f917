"""Convolution over images, as matrix products over patches of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.denormals import quiet
from npbn.numerics.operation import Operation, check_backward, put_back, writable
from npbn.numerics.sums import BiasGradient
from npbn.numerics.tape import named, repeated
from npbn.numerics.windows import Part, Patches, Windows


class Conv2DOperation(Operation):
    """y = patches of x @ weight + bias.

    Backward takes the patches of dy, where every pixel has one, and dy has not many more channels:
    one matrix then gives dx, as a convolution of dy with the kernel turned around, and dweight.
    Otherwise it takes those of x again, for dweight, and adds what they get of dy into dx.
    """

    reads_x = True

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        weight_shape: tuple[int, ...],
        has_bias: bool,
        windows: Windows,
        groups: int,
    ) -> None:
        super().__init__(shape, dtype)
        images, _, _, channels = shape
        filters = weight_shape[-1]
        self.has_bias, self._windows, self._groups = has_bias, windows, groups
        self.shape = (images, *windows.count, filters)
        self._patches = Patches(windows, images, channels, groups, dtype)
        # dy is padded so that each pixel of x has a window on it: all that it went to.
        back = [
            (reach - 1 - before, reach - 1 - after)
            for reach, before, after in zip(
                windows.reach, windows.before, windows.after, strict=True
            )
        ]
        has_strides = windows.stride != (1, 1)
        self._by_dy = not has_strides and np.min(back) >= 0 and filters <= 2 * channels
        if self._by_dy:
            self._back = Windows(
                "dy", windows.count, windows.size, (1, 1), tuple(back), windows.dilation
            )
        if has_bias:
            # Beside each pixel of a line: longer rows to add, in half the time.
            self._biases = np.empty((windows.count[1], filters), dtype)

    @property
    def shows_infinity(self) -> bool:  # type: ignore[override]
        """Whether every pixel is in a window."""
        return self._windows.covers

    def forward(self, xp: Any, x: Array, weight: Array, bias: Array | None, y: Array) -> None:
        self.x, self.weight = x, weight
        written, filters = writable(y), self._by_groups(weight)
        rows = self._by_groups(written)
        if bias is not None:
            xp.copyto(self._biases, bias)
        for part in self._patches.each(xp, x):
            out = rows[:, part.rows]
            named(xp, filters=filters, y_rows=out)
            xp.matmul(part.patches, filters, out=out)
            if bias is not None:
                lines = written[part.images, part.lines]
                xp.add(lines, self._biases, out=lines)
        put_back(xp, written, y)

    def _by_groups(self, array: Array) -> Array:
        """(..., C) -> (groups, rows, C / groups)."""
        return array.reshape(-1, self._groups, array.shape[-1] // self._groups).swapaxes(0, 1)

    def prepare_backward(self) -> None:
        images, _, _, channels = self.x_shape
        kind, filters = self.dtype, self.shape[-1]
        if self._by_dy:
            self._patches_of_dy = Patches(self._back, images, filters, self._groups, kind)
            width, within = self._patches_of_dy.width, channels // self._groups
            self._turned = np.empty((self._groups, width, within), kind)
            self._products = np.empty((self._groups, width, within), kind)
        else:
            self._patches_of_x = Patches(self._windows, images, channels, self._groups, kind)
            width = self._patches_of_x.width
            self._products = np.empty((self._groups, width, filters // self._groups), kind)
            padded = self._patches_of_x.at_once, *self._windows.padded, channels
            self._dx = np.empty(padded, kind)
        self._sums = np.empty(self._products.shape)
        if self.has_bias:
            self._bias_gradient = BiasGradient(self.shape, kind)

    def backward(
        self, xp: Any, dy: Array, dx: Array | None, dweight: Array, dbias: Array | None
    ) -> None:
        xp.copyto(self._sums, 0.0)
        if self._by_dy:
            self._backward_by_dy(xp, dy, dx, dweight)
        else:
            self._backward_by_x(xp, dy, dx, dweight)
        if dbias is not None:
            self._bias_gradient.write(xp, dy, dbias)

    def _backward_by_dy(self, xp: Any, dy: Array, dx: Array | None, dweight: Array) -> None:
        groups, (height, width, within, filters) = self._groups, self.weight.shape
        # (height, width, in, groups, out) -> (groups, height, width, out, in), turned around
        turned = self.weight.reshape(height, width, within, groups, filters // groups)
        turned = turned[::-1, ::-1].transpose(3, 0, 1, 4, 2)
        xp.copyto(self._turned.reshape(turned.shape), turned)
        x, written = self._by_groups(self.x), None if dx is None else writable(dx)
        for part in self._patches_of_dy.each(xp, dy):
            given, transposed = x[:, part.rows], part.patches.swapaxes(1, 2)
            named(xp, x_rows=given, patches_transposed=transposed)
            if written is not None:
                out = self._by_groups(written)[:, part.rows]
                named(xp, dx_rows=out)
                xp.matmul(part.patches, self._turned, out=out)
            xp.matmul(transposed, given, out=self._products)
            xp.add(self._sums, self._products, out=self._sums)
        if dx is not None and written is not None:
            put_back(xp, written, dx)
        sums = self._sums.reshape(groups, height, width, filters // groups, within)
        sums = sums[:, ::-1, ::-1].transpose(1, 2, 4, 0, 3)
        xp.copyto(dweight.reshape(sums.shape), sums)

    def _backward_by_x(self, xp: Any, dy: Array, dx: Array | None, dweight: Array) -> None:
        groups, filters = self._groups, self._by_groups(self.weight)
        rows = self._by_groups(dy)
        for part in self._patches_of_x.each(xp, self.x):
            given, transposed = rows[:, part.rows], part.patches.swapaxes(1, 2)
            named(xp, dy_rows=given, patches_transposed=transposed)
            xp.matmul(transposed, given, out=self._products)
            xp.add(self._sums, self._products, out=self._sums)
            if dx is not None:
                # The patches are over; what they get of dy takes their place.
                named(xp, filters_transposed=(turned := filters.swapaxes(1, 2)))
                xp.matmul(given, turned, out=part.patches)
                self._add_to_dx(xp, part, dx)
        sums = self._sums.reshape(groups, *self.weight.shape[:3], filters.shape[-1])
        sums = sums.transpose(1, 2, 3, 0, 4)
        xp.copyto(dweight.reshape(sums.shape), sums)

    def _add_to_dx(self, xp: Any, part: Part, dx: Array) -> None:
        """Each pixel's share of dx is added where the pixel lies."""
        some = self._dx[: part.images.stop - part.images.start]
        if part.lines.start == 0:
            xp.copyto(some, 0.0)
        for position in repeated(xp, self._windows.positions()):
            target = self._windows.at(some, position)[:, part.lines]
            target = np.moveaxis(target.reshape(*target.shape[:-1], self._groups, -1), -2, 0)
            share = part.seen[(..., *position, slice(None))]
            xp.add(target, share, out=target)
        if part.lines.stop == self.shape[1]:
            xp.copyto(dx[part.images], self._windows.interior(some))


@quiet()
def conv2d_forward(
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: checks.Each = 1,
    padding: checks.PaddingLike = "same",
    dilation: checks.Each = 1,
    groups: int = 1,
    out: Array | None = None,
) -> tuple[Array, Conv2DOperation]:
    """The convolution of images with a kernel.

    ::

        y[n, h, w] = sum over i, j of x[n, h * stride + i * dilation, ...] @ weight[i, j] + bias

    in the padded x: a cross-correlation, as all libraries call convolution.

    Parameters
    ----------
    x : (N, H, W, C) array, float32 or float64
    weight : (height, width, C / groups, out) array, of x's type
    bias : (out,) array, of x's type, optional
    stride, dilation : int, or a pair (along the height, along the width)
        How far one window is from the next, and one pixel of a window from the next.
    padding : "same", "valid", int, a pair, or a pair of pairs
        "same", as Keras has it: y is ceil(H / stride) high, and of the zeros around x an odd one
        goes behind it; "valid": none; a number of zeros on each side, a pair of numbers (height,
        width), or a pair of pairs ((top, bottom), (left, right)).
    groups : int
        The channels are cut into so many groups, each of which goes to its share of the outputs
        alone.
    out : array like y, optional

    Returns
    -------
    y : (N, H', W', out) array
    cache : Conv2DOperation
        It refers to x and weight: change neither before the backward pass.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """
    x = checks.images("x", x, 2)
    weight = checks.float_array("weight", weight)
    checks.same_dtype(x, weight=weight)
    groups = checks.groups(groups, x.shape[-1])
    own = x.shape[-1] // groups
    if weight.ndim != 4 or 0 in weight.shape or weight.shape[2] != own:
        is_first = weight.ndim == 4 and weight.shape[1] == own
        advice = ": if out comes first, pass weight.transpose(2, 3, 1, 0)" if is_first else ""
        raise ValueError(
            f"weight: expected (height, width, {own}, out), got {weight.shape}{advice}"
        )
    checks.groups(groups, weight.shape[-1], "filters")
    if bias is not None:
        bias = checks.vector("bias", bias, weight.shape[-1], x)
    windows = Windows(
        "x",
        x.shape[1:-1],
        weight.shape[:2],
        checks.each_axis("stride", stride, 2),
        checks.padding(padding, 2),
        checks.each_axis("dilation", dilation, 2),
    )
    operation = Conv2DOperation(x.shape, x.dtype, weight.shape, bias is not None, windows, groups)
    y = checks.output(out, operation.shape, x.dtype, (x, weight, bias))
    operation.forward(np, x, weight, bias, y)
    return y, operation


@quiet()
def conv2d_backward(
    dy: Array, cache: Conv2DOperation, *, out: Array | None = None
) -> tuple[Array, Array, Array | None]:
    """The gradients of x, weight and bias.

    ::

        dx[n, h * stride + i * dilation, ...] += dy[n, h, w] @ weight[i, j]'
        dweight[i, j] = sum over n, h, w of x[n, h * stride + i * dilation, ...]' @ dy[n, h, w]
        dbias         = sum(dy)

    Parameters
    ----------
    dy : (N, H', W', out) array
    cache : what `conv2d_forward` returned
    out : array for dx, optional

    Returns
    -------
    dx : (N, H, W, C) array
    dweight : array like weight
    dbias : (out,) array, or None where there is no bias

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape.
    """
    dy, dx = check_backward("conv2d_forward", Conv2DOperation, dy, cache, out)
    dweight = np.empty(cache.weight.shape, cache.dtype)
    dbias = np.empty(cache.weight.shape[-1], cache.dtype) if cache.has_bias else None
    cache.with_own_scratch().backward(np, dy, dx, dweight, dbias)
    return dx, dweight, dbias
