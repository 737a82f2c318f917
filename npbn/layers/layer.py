"""Layer: the base of all layers, and of a reader's own."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn import _html
from npbn._checks import Array, Statistics
from npbn.layers.passes import Pass
from npbn.layers.plan import LastBatch, Mode, Plan
from npbn.layers.readers import computing, waiting_batches
from npbn.layers.running_average import RunningAverage
from npbn.numerics.read_only_mapping import ReadOnlyMapping, table
from npbn.numerics.sums import all_finite

# Attributes of a run and of an owner: no copy has them.
_PASSING = {"_pending", "_owner"}


class Layer(checks.Settings):
    """The base of all layers, and of a reader's own.

    A layer of one's own provides:

    1. ``forward(self, x, training=False, statistics=None)``, which returns y, a new array of x's
       type, and keeps in ``self.cache`` what the backward pass will need. It may take fewer
       arguments: `Sequential` passes a layer what its signature has. It leaves x as it is.
    2. ``backward(self, dy)``, which takes ``self.take_cache()``, writes the gradient of each
       parameter into ``self.gradients[name][...]`` and returns dx, shaped like x. It changes
       neither dy nor the cache.
    3. If it has parameters or a state (arrays that are kept and saved but not trained), a call of
       ``super().__init__(parameters={name: array}, state={name: array})``; each array is copied.
    4. Randomness, if it has any, from a `numpy.random.Generator` in an attribute of its own, or in
       a list, tuple or dict that is one: a checkpoint keeps what `generators` shows.

    Layers in its attributes, or in lists, tuples and dicts there, belong to it: they are trained,
    saved and printed with it, their arrays by names like "inner.0.weight".

    A layer that defines `at_work` instead runs in arrays that the network keeps for it:
    docs/adding_an_operation.md. A subclass that defines `forward` or `backward`, and no `at_work`,
    is a layer of one's own, and runs as it is written.
    """

    _parameters: Mapping[str, Array] = ReadOnlyMapping({})
    _gradients: Mapping[str, Array] = ReadOnlyMapping({})
    _state: Mapping[str, Array] = ReadOnlyMapping({})
    _running_average: RunningAverage | None = None
    _owner: weakref.ref[Layer] | None = None
    # What a layer of one's own keeps for its backward pass.
    cache: Any = None
    # The passes of a plan that a layer of the package goes back through: (plan, first, end).
    _pending: tuple[Plan, int, int] | None = None
    _batch: LastBatch | None = None
    # How many axes its x has; None: two or more.
    _takes_axes: int | None = None
    # Settings that inference does not look at: a saved network may be loaded with others.
    _training_only: tuple[str, ...] = ()

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

    # What a layer says of itself to a network

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of y for an x of this shape; ValueError, naming the layer, if there is none."""
        features = self._takes_features
        if features is not None and (len(shape) < 2 or shape[-1] != features):
            advice = checks.features_elsewhere("x", shape, features)
            raise ValueError(f"{self!r}: expected (..., {features}), got {shape}{advice}")
        return shape

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        """A pass for an x of this shape and type; ValueError for one that the mode cannot take."""
        raise TypeError(
            f"{type(self).__name__}: a layer defines forward(x, ...), this one does not"
        )

    def affine(self) -> tuple[Array, Array] | None:
        """(scale, shift), float64, each (D,), if in inference y = scale * x + shift; else None."""
        return None

    def scaled(self, scale: Array, shift: Array) -> Layer | None:
        """A layer with y = scale * (y of this one) + shift in inference, if one can be made."""
        return None

    def measure(self, inputs: Callable[[], Iterator[tuple[Array, Array | None]]]) -> None:
        """Make the population statistics the exact ones of all inputs.

        inputs() gives blocks of x, each with its mask or None. ValueError where the statistics are
        not finite.
        """

    def hold_constants(self) -> None:
        """Keep what backward takes for constants as the next forward pass finds it, for all after.

        `gradient_check` calls it on its copy: what forward computes of x, and backward does not
        differentiate, would move with x.
        """

    @property
    def _takes_features(self) -> int | None:
        """The size that the last axis of x has; None: any."""
        return None

    @property
    def _ends_steps(self) -> bool:
        """Whether y has no axis of steps any more, so that a mask ends here."""
        return False

    # The two passes

    def forward(
        self,
        x: Array,
        training: bool = False,
        statistics: Statistics | None = None,
        *,
        out: Array | None = None,
    ) -> Array:
        """y from x; the class states the equation.

        Parameters
        ----------
        x : ndarray, shape (..., D)
            float32 or float64 as the layer's parameters. It and the weights are kept by reference
            until backward: change neither before.
        training : bool
            Whether this is a step of training.
        statistics : "batch", "population" or None
            None means the batch's in training, else the population's. Only batch normalization
            looks at it.
        out : ndarray or None
            Where to write y, instead of a new array.

        Returns
        -------
        y : ndarray

        Raises
        ------
        TypeError, ValueError
            For arguments of another type, shape or range.
        """
        return self._masked_forward(x, training, statistics, None, out)

    def backward(
        self, dy: Array, *, input_gradient: bool = True, out: Array | None = None
    ) -> Array | None:
        """dx from dy: the gradient of what the last forward pass computed; the class states it.

        Parameters
        ----------
        dy : ndarray
            Shaped like y and of its type.
        input_gradient : bool
            False leaves dx out.
        out : ndarray or None
            Where to write dx, instead of a new array.

        Returns
        -------
        dx : ndarray or None
            Shaped like x. The gradient of each parameter is in `gradients`; nothing accumulates.

        Raises
        ------
        RuntimeError
            Without a forward pass before it, or for a second one.
        TypeError, ValueError
            For a dy or out of another type or shape.
        """
        with computing():
            return self._backward(dy, input_gradient, out)

    def __call__(self, *args: Any, **options: Any) -> Array:
        """``layer(x)`` is ``layer.forward(x)``."""
        return self.forward(*args, **options)

    def _masked_forward(
        self,
        x: Array,
        training: bool,
        statistics: Statistics | None,
        mask: Array | None,
        out: Array | None,
    ) -> Array:
        mode = Mode(bool(training), checks.mode(training, statistics), mask=mask)
        with computing():
            return self._forward(x, mode, out)

    def _forward(self, x: Array, mode: Mode, out: Array | None) -> Array:
        """As forward, within `computing`."""
        self._check_type(x)
        layers = self._leaves
        plan = self._plan_for(x, mode)
        if out is not None:
            shape = plan.output_shape or np.shape(out)
            checks.output(out, shape, x.dtype, (x, *self._all_parameters()))
        is_x_finite = not plan.is_careful or all_finite(np, x.reshape(-1))
        if not is_x_finite and (error := self._refusal(x)):
            raise error
        try:
            y = plan.forward(np, layers, x, out)
            is_finite = is_x_finite and plan.is_finite(np)
            if not is_finite and (error := self._refusal(x)):
                raise error
            if out is not None:
                checks.output(out, y.shape, y.dtype)
        except BaseException:
            # What the plan's arrays hold of an earlier pass may be half written over.
            self._forget(plan)
            raise
        if not plan.gives_away:
            result = np.empty(y.shape, y.dtype) if out is None else out
            np.copyto(result, y)
            y = result
        if not is_finite:
            # Statistics that are not finite would make y = beta, and hide it.
            y[...] = np.nan
        plan.follow(np, is_finite)
        plan.remember(layers)
        vars(self)["_pending"] = plan, 0, len(layers)
        self._release(plan)
        return y

    def _backward(self, dy: Array, input_gradient: bool, out: Array | None) -> Array | None:
        pending = self._pending_pass()
        if pending is None:
            raise self._no_forward()
        plan, first, end = pending
        dy = checks.float_array("dy", dy)
        checks.has_shape("dy", dy, plan.shapes[end])
        if dy.dtype != plan.dtype:
            checks.same_dtype(plan.x, dy=dy)
        dx = None
        if checks.flag("input_gradient", input_gradient):
            kept = (dy, plan.x, *self._all_parameters()) if out is not None else ()
            dx = checks.output(out, plan.shapes[first], plan.dtype, kept)
        elif out is not None:
            raise ValueError("out: nothing to write: pass input_gradient=True as well")
        plan.check_pending(self._leaves, first)
        self._forget(plan)
        return plan.backward(np, self._leaves, dy, first, end, dx)

    def _pending_pass(self) -> tuple[Plan, int, int] | None:
        """The passes that backward goes back through."""
        return self._pending

    def _forget(self, plan: Plan) -> None:
        """No pass of this plan is pending any more."""
        for each in (self, *self._leaves):
            if each._pending is not None and each._pending[0] is plan:
                vars(each)["_pending"] = None

    @property
    def _units(self) -> tuple[Layer, ...]:
        """The layers that a list of layers consists of: itself; of a network, those in it."""
        return (self,)

    def _folded(self) -> Layer:
        """A copy, in which each BatchNorm is folded into what is right before it."""
        return copy.deepcopy(self)

    @property
    def _path(self) -> str:
        """Its place in its network, "3" or "1.0"; "" in none."""
        owner = None if self._owner is None else self._owner()
        if owner is None:
            return ""
        own = [name for name, each in owner._layers_within().items() if each is self]
        return ".".join(filter(None, [owner._path, *own]))

    @property
    def _name(self) -> str:
        """What it is, and where: messages begin so."""
        return f"layer {self._path}, {self!r}" if self._path else repr(self)

    @property
    def _leaves(self) -> tuple[Layer, ...]:
        """The layers that are run one after another: itself; of a network, those in it."""
        return (self,)

    def _plan_for(self, x: Array, mode: Mode) -> Plan:
        """One that is made for x. A layer by itself uses it once."""
        layers = self._leaves
        return Plan(layers, x.shape, x.dtype, mode, is_network=len(layers) > 1)

    def _release(self, plan: Plan) -> None:
        """Keep the plan for the next forward pass, or let it go."""

    def _refusal(self, x: Array) -> Exception | None:
        """What is raised of an x whose statistics are not finite; None: y is NaN then."""
        if waiting_batches() is not None:
            return None
        return ValueError(
            f"{self!r}: the batch, or its variance, is not finite, and would spoil the "
            "population statistics: look at np.isfinite(x) and abs(x).max()"
        )

    def _no_forward(self) -> Exception:
        if type(self).backward is Layer.backward and type(self).at_work is Layer.at_work:
            name = type(self).__name__
            return TypeError(f"{name}: a layer defines backward(dy), this one does not")
        is_readers = type(self).at_work is Layer.at_work
        hint = ", which puts what backward needs into self.cache" if is_readers else ""
        return RuntimeError(
            f"{self!r}: backward without a forward pass before it (each forward pass allows one "
            f"backward pass): call forward again{hint}"
        )

    def _check_type(self, x: Array) -> None:
        checks.batch("x", x)
        if self.dtype is not None and x.dtype != self.dtype:
            raise TypeError(
                f"{self!r} holds {self.dtype}, got {x.dtype}: pass x.astype(np.{self.dtype}), "
                f"or use its astype(np.{x.dtype})"
            )

    def take_cache(self) -> Any:
        """What forward left in `cache`, once: a second backward pass is a RuntimeError."""
        if self.cache is None:
            raise self._no_forward()
        cache, self.cache = self.cache, None
        return cache

    # Its arrays, and those of the layers within

    @property
    def parameters(self) -> Mapping[str, Array]:
        """The arrays that are trained, by name, read-only; write into one with ``[...] =``."""
        return self._gathered("parameters", self._parameters)

    @property
    def gradients(self) -> Mapping[str, Array]:
        """The gradient of each parameter as the last backward pass left it, by the same names."""
        return self._gathered("gradients", self._gradients)

    @property
    def state(self) -> Mapping[str, Array]:
        """The arrays that are kept and saved but not trained, by name, read-only."""
        averages = {} if self._running_average is None else self._running_average.state
        return self._gathered("state", {**self._state, **averages})

    @property
    def _digits(self) -> Mapping[str, Array]:
        """What the state is rounded from, where more digits are carried than it shows."""
        return self._gathered(
            "_digits", {} if self._running_average is None else self._running_average.digits
        )

    @property
    def generators(self) -> Mapping[str, np.random.Generator]:
        """The layer's sources of randomness, by attribute name.

        Those in lists, tuples and dicts, and of layers within, by names like "each.0", "drop._rng".
        """
        own = dict(self._in_attributes(np.random.Generator))
        return self._gathered("generators", own)

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The type of the parameters; None where there are none: then either float type will do."""
        return next((value.dtype for value in self.parameters.values()), None)

    def _gathered(self, kind: str, own: Mapping[str, Any]) -> Mapping[str, Any]:
        inner = {
            f"{name}.{key}": value
            for name, layer in self._layers_within().items()
            for key, value in getattr(layer, kind).items()
        }
        return ReadOnlyMapping({**own, **inner})

    def _layers_within(self) -> dict[str, Layer]:
        """The layers within, by name."""
        return dict(self._in_attributes(Layer))

    def _in_attributes(self, kind: type) -> Iterator[tuple[str, Any]]:
        """What is of that kind in the attributes, and in lists, tuples and dicts there, by name."""

        def search(name: str, value: Any) -> Iterator[tuple[str, Any]]:
            if isinstance(value, kind):
                yield name, value
            elif isinstance(value, list | tuple | dict):
                each = value.items() if isinstance(value, dict) else enumerate(value)
                for key, item in each:
                    yield from search(f"{name}.{key}", item)

        for name, value in self._lasting().items():
            yield from search(name, value)

    def _lasting(self) -> dict[str, Any]:
        """The attributes that a copy has: all but the pending pass and the owner."""
        return {name: value for name, value in vars(self).items() if name not in _PASSING}

    def _all_parameters(self) -> list[Array]:
        return list(self.parameters.values())

    @property
    def _follows_batches(self) -> bool:
        """Whether it has population statistics that follow the batches'."""
        return self._running_average is not None

    @property
    def _is_within_another(self) -> bool:
        return self._owner is not None and self._owner() is not None

    def _changed(self) -> None:
        """Plans that were made with other settings or arrays are no longer right."""
        owner = None if self._owner is None else self._owner()
        if owner is not None:
            owner._changed()

    # Copies

    def astype(self, dtype: DTypeLike) -> Self:
        """A copy that holds float32 or float64. TypeError for any other type."""
        dtype = checks.float_dtype("dtype", dtype)
        other = copy.deepcopy(self)
        other._convert(dtype)
        return other

    def _convert(self, dtype: np.dtype[Any]) -> None:
        self._parameters = {name: value.astype(dtype) for name, value in self._parameters.items()}
        self._gradients = {name: value.astype(dtype) for name, value in self._gradients.items()}
        self._state = {
            name: value.astype(dtype) if value.dtype.kind == "f" else value
            for name, value in self._state.items()
        }
        if self._running_average is not None:
            self._running_average.convert(dtype)
        for layer in self._layers_within().values():
            layer._convert(dtype)

    def _bind(self, values: Array, gradients: Array) -> None:
        """Move parameters and gradients into two 1-D vectors of their total size; keep views."""
        start = 0
        bound: list[dict[str, Array]] = []
        for vector, arrays in ((values, self._parameters), (gradients, self._gradients)):
            start, views = 0, {}
            for name, value in arrays.items():
                end = start + value.size
                views[name] = vector[start:end].reshape(value.shape)
                views[name][...] = value
                start = end
            bound.append(views)
        self._parameters, self._gradients = bound
        for layer in self._layers_within().values():
            end = start + sum(value.size for value in layer.parameters.values())
            layer._bind(values[start:end], gradients[start:end])
            start = end
        self._changed()

    def _adopt(self) -> None:
        """Take the layers within for one's own."""
        for layer in self._layers_within().values():
            layer._owner = weakref.ref(self)
            layer._adopt()

    def __copy__(self) -> Self:
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        return self._lasting()

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)

    def _typed(self, *sizes: Any, **usual: Any) -> str:
        """What one types to make it: its sizes, and the settings that are not as usual."""
        own = ((name, getattr(self, name), value) for name, value in usual.items())
        given = [f"{name}={value!r}" for name, value, default in own if value != default]
        return f"{type(self).__name__}({', '.join([*map(repr, sizes), *given])})"

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _repr_html_(self) -> str:
        arrays = {**self.parameters, **self.state}
        return _html.block(
            _html.paragraph(_html.code(repr(self))), *([table(arrays)] if arrays else [])
        )


class ArrayAttribute:
    """``layer.gamma``: reads one of a layer's arrays; assigning copies into it.

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
