"""Layers run one after another: work buffers, deferred population statistics, both passes."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array, Statistics
from npbn.functional._sums import all_finite
from npbn.layers.activations import LeakyReLU, ReLU, Sigmoid, Tanh
from npbn.layers.base import Layer
from npbn.layers.batch_norm import BatchNorm
from npbn.layers.dense import Dense
from npbn.layers.dropout import Dropout
from npbn.layers.foreign import (
    Memory,
    adapted,
    foreign_backward,
    foreign_forward,
    kept_as_they_are,
    within,
)

_NOT_FINITE = "x: expected finite values in training: look at np.isfinite(x)"

# Only these exact types are handed buffers; a reader's layer, or a subclass, runs as it is written.
BUILT_IN = (Dense, BatchNorm, ReLU, LeakyReLU, Sigmoid, Tanh, Dropout)


class Chain:
    """The passes of a network over its layers, nested networks laid flat."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)
        self._built_in = [type(layer) in BUILT_IN for layer in layers]
        self._forwards = [adapted(layer.forward) for layer in layers]
        self._backwards = [adapted(layer.backward) for layer in layers]
        kinds = [type(layer) for layer in layers]
        self._norms = [place for place, kind in enumerate(kinds) if kind is BatchNorm]
        # A ReLU after a BatchNorm is done by it, while the numbers are in cache.
        self._rectified = [pair == (BatchNorm, ReLU) for pair in itertools.pairwise([*kinds, None])]
        # Nobody needs a Dense's output but the BatchNorm after it, which may centre it in place.
        self._in_place = [pair == (Dense, BatchNorm) for pair in itertools.pairwise([None, *kinds])]
        before = kinds[: self._norms[0]] if self._norms else []
        # A Dense makes a variance infinite of an infinity; other layers may hide one, and Dropout
        # has drawn by then, so x is looked at first.
        self._careful = any(isinstance(layer, BatchNorm) for layer in within(layers)) and not (
            set(before) <= {Dense} and set(kinds) <= {*BUILT_IN} - {Dropout}
        )
        trained = [place for place, layer in enumerate(layers) if layer.parameters]
        self._first_trained = trained[0] if trained else len(layers)
        self._first_foreign = (*self._built_in, False).index(False)
        self._dtype = next((layer.dtype for layer in layers if layer.dtype is not None), None)
        self._checked: tuple[Any, ...] | None = None
        self._output_shape: tuple[int, ...] | None = None
        self._memory = Memory(len(layers))

    def first_not_finite(self) -> str:
        """The first layer whose output in the last forward pass was not finite."""
        return self._memory.first_not_finite(self.layers)

    @property
    def output_shape(self) -> tuple[int, ...] | None:
        """The output's shape for the x checked last; None where a reader's layer decides it."""
        return self._output_shape

    def check(
        self, x: Array, training: bool, statistics: Statistics, out: Array | None = None
    ) -> None:
        """Refuse an x or out that a layer would refuse, before any of them runs."""
        checks.float_array("x", x)
        if self._dtype is not None and x.dtype != self._dtype:
            wanted = self._dtype
            raise TypeError(
                f"x: the network holds {wanted}, got {x.dtype}: pass x.astype(np.{wanted}), or use "
                f"network.astype(np.{x.dtype})"
            )
        key = (x.shape, training, statistics)
        if key != self._checked:
            self._output_shape = self._walk(x, training, statistics)
            self._checked = key
        if out is not None:
            shape = self._output_shape
            if shape is None:
                shape = np.shape(out)
            checks.output(out, shape, x.dtype, (x, *self._parameters()))

    def check_input_gradient(self, dy: Array, out: Array | None) -> None:
        """Refuse an out= for dx that does not fit, or that the backward pass still needs."""
        memory = self._memory
        if out is None or memory.x is None:
            return
        kept = (dy, memory.x, memory.outputs[-1], *self._parameters())
        checks.output(out, memory.x.shape, dy.dtype, kept)

    def _parameters(self) -> list[Array]:
        return [value for layer in self.layers for value in layer.parameters.values()]

    def _walk(self, x: Array, training: bool, statistics: Statistics) -> tuple[int, ...] | None:
        """The shape of the output; None where a reader's layer decides it."""
        shape = checks.batch("x", x).shape
        for place in range(self._first_foreign):
            layer: Any = self.layers[place]
            try:
                if type(layer) is BatchNorm:
                    layer._check_values(shape, training, statistics)
                shape = layer._output_shape(shape)
            except ValueError as error:
                raise ValueError(f"layer {place}, {error}") from None
        return shape if self._first_foreign == len(self.layers) else None

    def is_spoiled(self, x: Array, moves: bool, out: Array | None, refuse: bool) -> bool:
        """Whether x is not finite, where that has to be known first; with refuse a ValueError."""
        first = self._careful or (out is not None and self._norms)
        if not (moves and first) or all_finite(x.reshape(-1)):
            return False
        if refuse:
            raise ValueError(_NOT_FINITE)
        return True

    def forward(
        self,
        x: Array,
        training: bool,
        statistics: Statistics,
        out: Array | None,
        spoiled: bool,
        refuse: bool,
    ) -> Array:
        """The last layer's output, a new array unless out is given; the layers remember it.

        spoiled: whether x is known not to be finite; refuse: whether that is a ValueError.
        """
        if self._memory.kind != (x.shape, x.dtype):
            self._memory = Memory(len(self.layers), x)
        memory = self._memory
        moves = training and statistics == "batch"
        memory.x = x
        memory.outputs[-1] = None if self._output_shape is None else out
        try:
            y = self._run(x, training, statistics, memory)
            if out is not None:
                checks.output(out, y.shape, y.dtype)
            finite = not moves or (not spoiled and self._is_finite(x, memory, refuse))
        except BaseException:
            # What the layers remember of an earlier pass may be half written over.
            for each in self.layers:
                each._cache = None
            raise
        if not finite:
            # A variance that is not finite would make y = beta, and hide that it is not.
            y[...] = np.nan
        layer: Any
        for layer, own, output, cache in zip(
            self.layers, self._built_in, memory.outputs, memory.caches, strict=True
        ):
            if own:
                layer._remember(output, cache)
        if moves and finite:
            for place in self._norms:
                layer = self.layers[place]
                layer._move_population()
        if out is not None and y is not out:
            np.copyto(out, y)
            return out
        return y

    def _is_finite(self, x: Array, memory: Memory, refuse: bool) -> bool:
        """Whether all batch variances are; with refuse a ValueError if x itself is not."""
        layers: Any = self.layers
        finite = all(
            layers[place]._can_hold(memory.caches[place], memory.outputs[place])
            for place in self._norms
        )
        if refuse and not finite and not np.isfinite(x).all():
            raise ValueError(_NOT_FINITE)
        return finite

    def infer(
        self,
        x: Array,
        statistics: Statistics,
        memory: Memory,
        stop: int | None = None,
    ) -> Array:
        """The output of the layers before stop in inference; no layer remembers anything.

        stop: not the place of a ReLU after a BatchNorm, which has done its work.
        The result may be written over by the next call with the same memory. Readers' layers get
        back all their attributes as they were.
        """
        foreign = [each for each, own in zip(self.layers, self._built_in, strict=True) if not own]
        with kept_as_they_are(foreign):
            return self._run(x, False, statistics, memory, stop)

    def _run(
        self,
        x: Array,
        training: bool,
        statistics: Statistics,
        memory: Memory,
        stop: int | None = None,
    ) -> Array:
        outputs, caches = memory.outputs, memory.caches
        y = x
        rectified = False
        for place in range(len(self.layers) if stop is None else stop):
            layer: Any = self.layers[place]
            if rectified:
                rectified = False
                outputs[place] = caches[place] = y
                continue
            if not self._built_in[place]:
                y = self._foreign(place, y, training=training, statistics=statistics)
                outputs[place] = y
                continue
            rectified = self._rectified[place]
            buffer, spare = outputs[place + rectified], caches[place]
            if place > self._first_foreign:
                self._check_after_foreign(place, y, training, statistics)
                if buffer is not None and buffer.shape != layer._output_shape(y.shape):
                    buffer, spare = None, None
            if type(layer) is BatchNorm:
                centred = y if self._in_place[place] else None
                y, caches[place] = layer._forward(
                    y, training, statistics, buffer, spare, centred, rectified
                )
            else:
                y, caches[place] = layer._forward(y, training, statistics, buffer, spare)
            outputs[place] = y
        return y

    def _check_after_foreign(
        self, place: int, x: Array, training: bool, statistics: Statistics
    ) -> None:
        layer: Any = self.layers[place]
        try:
            layer._check_input(x, training, statistics)
        except ValueError as error:
            raise ValueError(f"layer {place}, {error}") from None

    def _foreign(self, place: int, x: Array, **options: Any) -> Array:
        name = f"layer {place}, {self.layers[place]!r}"
        y = foreign_forward(name, self._forwards[place], x, **options)
        # It may have returned its input, or an array that it keeps: what a network returns is new.
        return y.copy() if place == len(self.layers) - 1 else y

    def backward(self, dy: Array, input_gradient: bool, out: Array | None = None) -> Array | None:
        """dx, or None; the layers' caches are taken and their gradients written."""
        stop = 0 if input_gradient else self._first_trained
        memory = self._memory
        for place, each in enumerate(self.layers):
            if self._built_in[place] and each._cache is not memory.caches[place]:
                raise RuntimeError(
                    f"layer {place}, {each!r}: another pass of its own came between: call the "
                    "network's forward again"
                )
        for each in self.layers[:stop]:
            each._cache = None
        dx: Any = dy
        own = False  # whether dx is ours to write
        rectified: Array | None = None
        for place in range(len(self.layers) - 1, stop - 1, -1):
            layer: Any = self.layers[place]
            wanted = input_gradient or place > stop
            if not self._built_in[place]:
                # It may keep dy.
                memory.gradients.pop(dx.shape, None)
                x: Any = memory.outputs[place - 1] if place else memory.x
                name = f"layer {place}, {layer!r}"
                dx, own = foreign_backward(name, self._backwards[place], dx, x, wanted), False
                continue
            cache = layer._take_cache()
            if own and place > 0 and self._rectified[place - 1]:
                rectified = cache
                continue
            if place == 0 and (wanted or type(layer) is not BatchNorm):
                buffer = out
            elif own and type(layer) is ReLU:
                buffer = dx
            else:
                buffer = memory.gradient(layer._input_shape(dx.shape), dx)
            if rectified is None:
                dx = layer._backward(dx, cache, wanted, buffer)
            else:
                dx = layer._backward(dx, cache, wanted, buffer, rectified)
                rectified = None
            own = True
        if not input_gradient:
            return None
        if not self._built_in[0]:
            dx = np.array(dx)
            if out is not None:
                np.copyto(out, dx)
                return out
        return dx
