"""Layers run one after another: work buffers, deferred population statistics, both passes."""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array, Statistics
from npbn.layers.activations import LeakyReLU, ReLU, Sigmoid, Tanh
from npbn.layers.base import BuiltInLayer, Layer
from npbn.layers.batch_norm import BatchNorm
from npbn.layers.dense import Dense
from npbn.layers.dropout import Dropout

# Only these exact types are handed buffers; a reader's layer, or a subclass, runs as it is written.
BUILT_IN = (Dense, BatchNorm, ReLU, LeakyReLU, Sigmoid, Tanh, Dropout)


class Memory:
    """The arrays of one pass, to be written over by the next of the same shape."""

    def __init__(self, shape: tuple[int, ...], count: int) -> None:
        self.shape = shape
        self.outputs: list[Array | None] = [None] * count
        self.caches: list[Any] = [None] * count
        self.input_gradients: list[Array | None] = [None] * count


class Chain:
    """The passes of a network over its layers, nested networks laid flat."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self.layers = tuple(layers)
        self._built_in = [type(layer) in BUILT_IN for layer in layers]
        self._forwards = [adapted(layer.forward) for layer in layers]
        self._backwards = [adapted(layer.backward) for layer in layers]
        self._norms = [place for place, layer in enumerate(layers) if type(layer) is BatchNorm]
        trained = [place for place, layer in enumerate(layers) if layer.parameters]
        self._first_trained = trained[0] if trained else len(layers)
        self._first_foreign = (*self._built_in, False).index(False)
        self._dtype = next((layer.dtype for layer in layers if layer.dtype is not None), None)
        self._checked: tuple[Any, ...] | None = None
        self._output_shape: tuple[int, ...] | None = None
        self._memory = Memory((), len(layers))

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
        if out is not None and self._output_shape is not None:
            kept = [value for layer in self.layers for value in layer.parameters.values()]
            checks.output(out, self._output_shape, x.dtype, (x, *kept))

    @property
    def output_shape(self) -> tuple[int, ...] | None:
        """The output's shape for the x checked last; None where a reader's layer decides it."""
        return self._output_shape

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of the last forward pass's x."""
        return self._memory.shape

    def _walk(self, x: Array, training: bool, statistics: Statistics) -> tuple[int, ...] | None:
        """The shape of the output; None where a reader's layer decides it."""
        shape = checks.batch("x", x).shape
        for place, layer in enumerate(self.layers[: self._first_foreign]):
            assert isinstance(layer, BuiltInLayer)
            try:
                if type(layer) is BatchNorm:
                    layer._check_values(shape, training, statistics)
                shape = layer._output_shape(shape)
            except ValueError as error:
                raise ValueError(f"layer {place}, {error}") from None
        return shape if self._first_foreign == len(self.layers) else None

    def forward(
        self, x: Array, training: bool, statistics: Statistics, out: Array | None = None
    ) -> Array:
        """The last layer's output, a new array unless out is given; the layers remember it."""
        if self._memory.shape != x.shape:
            self._memory = Memory(x.shape, len(self.layers))
        memory = self._memory
        memory.outputs[-1] = None if self._output_shape is None else out
        y = self._run(x, training, statistics, memory)
        finite = True
        if training and statistics == "batch" and self._norms:
            finite = all(_is_finite(memory.caches[place].variance) for place in self._norms)
            if not finite and not np.isfinite(x).all():
                raise ValueError("x: expected finite values in training: look at np.isfinite(x)")
        layer: Any
        for place, layer in enumerate(self.layers):
            if self._built_in[place]:
                layer._remember(memory.outputs[place], memory.caches[place])
        memory.outputs[-1] = None
        if training and statistics == "batch" and finite:
            for place in self._norms:
                layer = self.layers[place]
                layer._move_population()
        if out is not None and y is not out:
            np.copyto(checks.output(out, y.shape, y.dtype), y)
            return out
        return y

    def infer(
        self,
        x: Array,
        statistics: Statistics,
        memory: Memory,
        start: int = 0,
        stop: int | None = None,
    ) -> Array:
        """The output of layers start to stop - 1 in inference; no layer remembers anything.

        The result may be written over by the next call with the same memory.
        """
        foreign = [
            (layer, vars(layer).copy())
            for layer, built_in in zip(self.layers, self._built_in, strict=True)
            if not built_in
        ]
        try:
            return self._run(x, False, statistics, memory, start, stop)
        finally:
            for layer, attributes in foreign:
                vars(layer).clear()
                vars(layer).update(attributes)

    def _run(
        self,
        x: Array,
        training: bool,
        statistics: Statistics,
        memory: Memory,
        start: int = 0,
        stop: int | None = None,
    ) -> Array:
        outputs, caches = memory.outputs, memory.caches
        y = x
        for place in range(start, len(self.layers) if stop is None else stop):
            layer: Any = self.layers[place]
            if not self._built_in[place]:
                outputs[place] = y = self._foreign(
                    place, y, training=training, statistics=statistics
                )
                continue
            buffer, spare = outputs[place], caches[place]
            if place > self._first_foreign:
                layer._check_input(y, training, statistics)
                if buffer is not None and buffer.shape != layer._output_shape(y.shape):
                    buffer, spare = None, None
            y, caches[place] = layer._forward(y, training, statistics, buffer, spare)
            outputs[place] = y
        return y

    def _foreign(self, place: int, x: Array, **options: Any) -> Array:
        y = self._forwards[place](x, **options)
        name = f"layer {place}, {self.layers[place]!r}: forward's result"
        checks.float_array(name, y)
        checks.same_dtype(x, **{name: y})
        # It may have returned its input, or an array that it keeps: what a network returns is new.
        return y.copy() if place == len(self.layers) - 1 else y

    def backward(self, dy: Array, input_gradient: bool, out: Array | None = None) -> Array | None:
        """dx, or None; the layers' caches are taken and their gradients written."""
        stop = 0 if input_gradient else self._first_trained
        memory = self._memory
        for place, each in enumerate(self.layers):
            if self._built_in[place] and each._cache is None:
                raise RuntimeError(f"layer {place}, {each!r}: its backward pass was called already")
            if place < stop:
                each._cache = None
        dx: Any = dy
        for place in range(len(self.layers) - 1, stop - 1, -1):
            layer: Any = self.layers[place]
            wanted = input_gradient or place > stop
            if self._built_in[place]:
                buffer = out if place == 0 else memory.input_gradients[place]
                if buffer is not None and place > self._first_foreign:
                    buffer = buffer if buffer.shape == layer._input_shape(dx.shape) else None
                dx = layer._backward(dx, layer._take_cache(), wanted, buffer)
                memory.input_gradients[place] = dx
            else:
                dx = self._backwards[place](dx, input_gradient=wanted)
        memory.input_gradients[0] = None
        if not input_gradient:
            return None
        if not self._built_in[0]:
            dx = np.array(dx)
            if out is not None:
                np.copyto(out, dx)
                return out
        return dx

    def first_not_finite(self) -> str:
        """The first layer whose output in the last forward pass was not finite."""
        finite = [y is None or np.isfinite(y).all() for y in self._memory.outputs[:-1]]
        place = [*finite, False].index(False)
        layer = self.layers[place]
        broken = [name for name, value in layer.parameters.items() if not np.isfinite(value).all()]
        note = f" (its {' and '.join(broken)} no longer finite)" if broken else ""
        return f"layer {place}, {layer!r}{note}"


def adapted(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, called with those of our keyword arguments that its signature has."""
    taken = inspect.signature(method).parameters
    if any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        return method
    names = [name for name in ("training", "statistics", "input_gradient") if name in taken]

    def call(array: Array, **options: Any) -> Any:
        return method(array, **{name: options[name] for name in names if name in options})

    return call


def _is_finite(vector: Array) -> bool:
    # One product tells nearly always; it may overflow where the values do not.
    return math.isfinite(vector.dot(vector)) or bool(np.isfinite(vector).all())
