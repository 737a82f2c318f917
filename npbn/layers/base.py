"""What every layer has: parameters, gradients, state, and the two passes."""

import copy
import weakref
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array, Statistics

_PENDING = ("_cache", "_output", "_network")


class Layer:
    """The base of all layers, and of a reader's own.

    A layer of one's own provides:

    1. `forward(self, x, training=False, statistics=None)`, which returns y and keeps in
       `self._cache` what the backward pass will need. It may take fewer arguments: `Sequential`
       passes a layer what its signature has.
    2. `backward(self, dy)`, which takes `self._take_cache()`, writes the gradient of each parameter
       into `self.gradients[name][...]` and returns dx, shaped like x. It changes neither dy nor the
       cache.
    3. If it has parameters or a state (arrays that are kept and saved but not trained), a call of
       `super().__init__(parameters={name: array}, state={name: array})`; each array is copied.
    4. Randomness, if it has any, from a `numpy.random.Generator` in an attribute of its own, or in
       a list or tuple, or in a layer, that is one: a checkpoint keeps what `generators` shows.

    Attributes:
        parameters: read-only mapping of names to arrays; write into an array with `[...] =`.
        gradients: the same names; overwritten by each backward pass.
        state: read-only mapping of names to arrays that are not trained.
    """

    _parameters: dict[str, Array] | MappingProxyType[str, Array] = MappingProxyType({})
    _gradients: dict[str, Array] | MappingProxyType[str, Array] = MappingProxyType({})
    _state: dict[str, Array] | MappingProxyType[str, Array] = MappingProxyType({})
    _cache: Any = None
    _network: weakref.ref[Any] | None = None

    def __init__(
        self,
        parameters: Mapping[str, Array] | None = None,
        state: Mapping[str, Array] | None = None,
    ) -> None:
        self._parameters = {
            name: np.array(checks.float_array(name, value), order="C")
            for name, value in (parameters or {}).items()
        }
        self._gradients = {name: np.zeros_like(value) for name, value in self._parameters.items()}
        self._state = {name: np.array(value, order="C") for name, value in (state or {}).items()}
        if both := set(self._parameters) & set(self._state):
            raise ValueError(f"{sorted(both)}: a parameter and a state need different names")
        for name, value in self._parameters.items():
            checks.same_dtype(next(iter(self._parameters.values())), **{name: value})

    @property
    def parameters(self) -> Mapping[str, Array]:
        """The arrays that are trained, by name."""
        return MappingProxyType(self._parameters)

    @property
    def gradients(self) -> Mapping[str, Array]:
        """The gradient of each parameter as the last backward pass left it, by the same names."""
        return MappingProxyType(self._gradients)

    @property
    def state(self) -> Mapping[str, Array]:
        """The arrays that are kept and saved but not trained, by name."""
        return MappingProxyType(self._state)

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The type of the parameters; None where there are none: then either float type will do."""
        return next((value.dtype for value in self._parameters.values()), None)

    def forward(
        self, x: Array, training: bool = False, statistics: Statistics | None = None
    ) -> Array:
        """y from x; see the layer's own class for the equation."""
        raise TypeError(
            f"{type(self).__name__}: a layer defines forward(x, ...), this one does not"
        )

    def backward(self, dy: Array) -> Array | None:
        """dx from dy, and the gradients of the parameters on the way."""
        raise TypeError(f"{type(self).__name__}: a layer defines backward(dy), this one does not")

    def astype(self, dtype: DTypeLike) -> Self:
        """A copy that holds float32 or float64. TypeError for any other type."""
        dtype = checks.float_dtype("dtype", dtype)
        other = copy.deepcopy(self)
        other._convert(dtype)
        return other

    @property
    def generators(self) -> Mapping[str, np.random.Generator]:
        """The layer's sources of randomness, by attribute name.

        Those of layers within, and in lists and tuples, too, by names like "drop._rng", "each.0".
        """
        return {
            name: rng
            for attribute, value in vars(self).items()
            if attribute not in _PENDING
            for name, rng in _generators(attribute, value)
        }

    @property
    def _digits(self) -> Mapping[str, Array]:
        """What the state is rounded from, where more digits are carried than it shows."""
        return {}

    def __copy__(self) -> Self:
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        """All but the pending backward pass and the network: a copy has neither."""
        return {name: value for name, value in vars(self).items() if name not in _PENDING}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _take_cache(self) -> Any:
        """What forward kept, once: a second backward pass is an error, not a wrong number."""
        if self._cache is None:
            raise RuntimeError(
                f"{self!r}: backward without a forward pass before it (each forward pass "
                "allows one backward pass): call forward again"
            )
        cache, self._cache = self._cache, None
        return cache

    def _convert(self, dtype: np.dtype[Any]) -> None:
        self._parameters = {name: value.astype(dtype) for name, value in self._parameters.items()}
        self._gradients = {name: value.astype(dtype) for name, value in self._gradients.items()}
        self._state = {
            name: value.astype(dtype) if value.dtype.kind == "f" else value
            for name, value in self._state.items()
        }

    def _bind(self, values: Array, gradients: Array) -> None:
        """Move parameters and gradients into two 1-D vectors of their total size; keep views."""
        parameter_views, gradient_views = {}, {}
        start = 0
        for name, value in self._parameters.items():
            place = slice(start, start + value.size)
            parameter_views[name] = values[place].reshape(value.shape)
            gradient_views[name] = gradients[place].reshape(value.shape)
            parameter_views[name][...] = value
            gradient_views[name][...] = self._gradients[name]
            start += value.size
        self._parameters, self._gradients = parameter_views, gradient_views


class BuiltInLayer(Layer):
    """A layer of npbn's own: its public passes check, then call the cores `_forward` and
    `_backward`.

    The cores have no side effect but the gradients that `_backward` writes (and Dropout's draw):
    `Sequential` calls them with buffers of its own, and decides itself what the layer remembers.
    """

    _output: Array | None = None

    @np.errstate(all="ignore")
    def forward(
        self,
        x: Array,
        training: bool = False,
        statistics: Statistics | None = None,
        *,
        out: Array | None = None,
    ) -> Array:
        """y from x; the class states the equation.

        x (..., D), float32 or float64 as the layer's parameters. training: whether this is a step
        of training. statistics: "batch" or "population"; None means the batch's in training, else
        the population's (only batch normalization looks at it). out: where to write y, instead of a
        new array. Keeps x, y and the weights by reference until backward: change none before.
        TypeError or ValueError for arguments of another type, shape or range.
        """
        statistics = checks.mode(training, statistics)
        self._check_input(x, training, statistics)
        kept = (x, *self._parameters.values())
        out = checks.output(out, self._output_shape(x.shape), x.dtype, kept)
        y, cache = self._forward(x, training, statistics, out, None)
        self._remember(y, cache)
        return y

    @np.errstate(all="ignore")
    def backward(
        self, dy: Array, *, input_gradient: bool = True, out: Array | None = None
    ) -> Array | None:
        """dx from dy: the gradient of what the last forward pass computed; the class states it.

        dy is shaped like y and of its type. Writes the gradient of each parameter; nothing
        accumulates. input_gradient=False leaves dx out and returns None. out: where to write dx.
        RuntimeError without a forward pass before it, or for a second one; TypeError or ValueError
        for a dy or out of another type or shape.
        """
        if not checks.flag("input_gradient", input_gradient) and out is not None:
            raise ValueError("out: nothing to write: pass input_gradient=True as well")
        if self._cache is not None and self._output is not None:
            dy = checks.upstream(dy, self._output)
            if out is not None:
                shape = self._input_shape(self._output.shape)
                kept = (dy, self._output, *_arrays(self._cache), *self._parameters.values())
                checks.output(out, shape, dy.dtype, kept)
        cache = self._take_cache()
        self._output = None
        return self._backward(dy, cache, input_gradient, out)

    def _forward(
        self, x: Array, training: bool, statistics: Statistics, out: Array | None, spare: Any
    ) -> tuple[Array, Any]:
        """y and the cache. out: where to write y, if given. spare: an old cache to write over."""
        raise NotImplementedError

    def _backward(
        self, dy: Array, cache: Any, input_gradient: bool, out: Array | None
    ) -> Array | None:
        """dx, or None without input_gradient. out: where to write it; dy itself for ReLU alone."""
        raise NotImplementedError

    def _remember(self, y: Array, cache: Any) -> None:
        """What a forward pass leaves in the layer."""
        self._output = y
        self._cache = cache

    def _output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of y for an x of the given shape; a ValueError if there is none."""
        return shape

    def _input_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return shape

    def _check_input(self, x: Array, training: bool, statistics: Statistics) -> None:
        checks.batch("x", x)
        if self.dtype is not None and x.dtype != self.dtype:
            raise TypeError(
                f"{self!r} holds {self.dtype}, got {x.dtype}: pass x.astype(np.{self.dtype}), "
                f"or use its astype(np.{x.dtype})"
            )
        self._output_shape(x.shape)

    def _expect_features(self, shape: tuple[int, ...], features: int) -> None:
        if len(shape) < 2 or shape[-1] != features:
            raise ValueError(f"{self!r}: expected (..., {features}), got {shape}")


def _generators(name: str, value: Any) -> Iterator[tuple[str, np.random.Generator]]:
    if isinstance(value, np.random.Generator):
        yield name, value
    elif isinstance(value, Layer):
        yield from ((f"{name}.{inner}", rng) for inner, rng in value.generators.items())
    elif isinstance(value, list | tuple):
        for place, each in enumerate(value):
            yield from _generators(f"{name}.{place}", each)


def _arrays(cache: Any) -> list[Array]:
    each = cache if isinstance(cache, tuple) else (cache,)
    return [value for value in each if isinstance(value, np.ndarray)]


class ArrayAttribute:
    """`layer.gamma`: reads one of a layer's arrays; assigning copies into it.

    Assigning raises TypeError or ValueError for an array of another type or shape, AttributeError
    for one that was left out.
    """

    def __init__(self, kind: str, description: str) -> None:
        self.kind = kind
        self.__doc__ = description

    def __set_name__(self, owner: type[Layer], name: str) -> None:
        self.name = name

    def __get__(self, layer: Layer | None, owner: type[Layer] | None = None) -> Any:
        if layer is None:
            return self
        return getattr(layer, self.kind).get(self.name)

    def __set__(self, layer: Layer, value: Any) -> None:
        array = getattr(layer, self.kind).get(self.name)
        if array is None:
            raise AttributeError(f"{layer!r} has no {self.name}")
        value = checks.float_array(self.name, value)
        checks.has_shape(self.name, value, array.shape)
        checks.same_dtype(array, **{self.name: value})
        array[...] = value
