"""Residual: layers whose input is added to their output."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import numpy as np

from npbn._checks import Array
from npbn.layers.layer import Layer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode, check_same_shape
from npbn.network.folding import folded_layers
from npbn.network.inference import known_shapes
from npbn.network.layer_list import LayerList
from npbn.network.summary import common_dtype
from npbn.numerics.operation import Operation


class Residual(LayerList):
    """y = x + layers(x), the block that deep networks are made of.

    ::

        y  = x + f(x)
        dx = dy + (the gradient that goes back through f)

    So the gradient reaches x as it is, whatever the layers make of it. Parameters, gradients and
    state have names like "0.weight"; in a network, "3.0.weight".

    Parameters
    ----------
    layers : sequence of Layer
        One or more, whose output has the shape of their input; others, also a Residual, may be
        among them.

    Raises
    ------
    TypeError, ValueError
        For layers that do not go together, and for an x of which they make another shape.

    References
    ----------
    He et al. 2016.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__(layers)
        common_dtype(self._layers)
        self._ends = _Begin(), _End()
        self._adopt()

    @property
    def _leaves(self) -> tuple[Layer, ...]:
        begin, end = self._ends
        return (begin, *self._flat("_leaves"), end)

    def _adopt(self) -> None:
        super()._adopt()
        for each in self._ends:
            each._owner = weakref.ref(self)
        self._lay_statistics()

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        layers = self._flat("_units")
        shapes = known_shapes(layers, shape)
        if len(shapes) > len(layers):
            check_same_shape(self, shape, shapes[-1])
        return shape

    def _folded(self) -> Layer:
        return Residual(folded_layers(self._flat("_units")))

    def _convert(self, dtype: np.dtype[Any]) -> None:
        super()._convert(dtype)
        self._lay_statistics()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._adopt()


class _BeginOperation(Operation):
    """y = x, which is kept; dx = the dy of what the layers made of it, and that of x itself."""

    begins = y_is_view = dx_over_dy = shows_infinity = True
    dy: Array  # that of x itself

    def forward(self, xp: Any, x: Array, y: Array | None) -> Array:
        self.kept = x
        return x

    def backward(self, xp: Any, dy: Array, dx: Array) -> None:
        xp.add(dy, self.dy, out=dx)


class _EndOperation(Operation):
    """y = x + (the x that was kept); dx = dy, which is kept as well."""

    ends = y_over_x = dx_is_view = shows_infinity = True
    begin: _BeginOperation

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        xp.add(x, self.begin.kept, out=y)

    def backward(self, xp: Any, dy: Array, dx: Array | None) -> Array:
        self.begin.dy = dy
        return dy


class _Begin(Layer):
    """Where a Residual begins."""

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        return Pass(_BeginOperation(shape, dtype))

    def __repr__(self) -> str:
        return repr(self._owner()) if self._owner is not None else super().__repr__()


class _End(_Begin):
    """Where it ends."""

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        return Pass(_EndOperation(shape, dtype))
