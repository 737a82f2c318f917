"""How the layers of a reader run in a network: as they are written."""

import copy
import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context, ContextVar, copy_context
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.denormals import quiet
from npbn.numerics.tape import outside

if TYPE_CHECKING:
    from npbn.layers.layer import Layer
    from npbn.layers.plan import Mode


def runs_as_written(layer: "Layer") -> bool:
    """Whether its class says `forward` or `backward` itself, and does not say `at_work`."""
    for kind in type(layer).__mro__:
        if "at_work" in vars(kind):
            return False
        if "forward" in vars(kind) or "backward" in vars(kind):
            return True
    return False


def within(layers: Iterable["Layer"]) -> Iterator["Layer"]:
    """The layers, and all layers that lie in them."""
    for layer in layers:
        yield layer
        yield from within(layer._layers_within().values())


def strangers(layer: "Layer") -> Iterator["Layer"]:
    """The layers within that it did not hold when its network was made."""
    for each in layer._layers_within().values():
        if not each._is_within_another:
            yield each
        elif runs_as_written(each):  # the others ask themselves
            yield from strangers(each)


# The context of whoever called a network, with his settings of NumPy's errors.
_callers: ContextVar[Context | None] = ContextVar("callers", default=None)
# Of the network's pass that is running: the batches of layers within readers' layers, which wait
# until all is known to be finite.
_waiting: ContextVar["list[Any] | None"] = ContextVar("waiting", default=None)


class computing:
    """Within it NumPy gives no warnings, but in readers' layers, which run in the caller's context.

    Once for a step: within another one it costs next to nothing.
    """

    __slots__ = ("_quiet", "_token")

    def __enter__(self) -> None:
        self._token = None
        if _callers.get() is None:
            self._token = _callers.set(copy_context())
            self._quiet = quiet()
            self._quiet.__enter__()

    def __exit__(self, *error: Any) -> None:
        if self._token is not None:
            self._quiet.__exit__(*error)
            _callers.reset(self._token)


def waiting_batches() -> list[Any] | None:
    """Of the network's pass of which this is within a reader's layer; else None."""
    return _waiting.get()


class ReaderPass:
    """A reader's layer in a plan. What it returns is checked."""

    is_readers = True
    operation = y = dx = None

    def __init__(self, layer: "Layer", mode: "Mode", waiting: list[Any]) -> None:
        self._layer, self._name, self._mode = layer, layer._name, mode
        self._waiting, self._x = waiting, np.empty(())

    def given(self) -> list[Array]:
        """What is not its own."""
        return [self._x]

    def arrays(self, direction: str, **between: Array | None) -> dict[str, Any]:
        """The arrays by name, for a tape."""
        return dict(between)

    def run(self, xp: Any, x: Array) -> Array:
        """What its forward pass returns, of a shadow where no backward pass follows."""
        self._x = x
        mode = self._mode
        for late in strangers(self._layer):
            raise ValueError(
                f"{self._name}: holds {late!r}, which came after the network was made, and is not "
                "trained with it: make another, Sequential(copy.deepcopy(network.layers))"
            )
        layer = self._layer if mode.keeps else shadow(self._layer)
        call = outside(xp, self._call(layer, "forward"), "layer.forward")
        options = {} if mode.mask is None else {"mask": mode.mask}
        y = call(locked(x), training=mode.training, statistics=mode.statistics, **options)
        return checked_result(self._name, "forward", y, x)

    def check_for_next(self, y: Array) -> None:
        """ValueError where the layer behind it could not go on with y."""
        if y.ndim < 2 or not y.size:
            raise ValueError(
                f"{self._name}: forward's result: expected two axes or more, the features last, "
                f"and none of length 0, got {y.shape}"
            )

    def run_backward(self, xp: Any, dy: Array, dx: Array | None, wanted: bool) -> Array:
        """What its backward pass returns; dy is a copy, as it may keep that."""
        call = outside(xp, self._call(self._layer, "backward"), "layer.backward")
        result = call(dy.copy(), input_gradient=wanted)
        return checked_result(self._name, "backward", result, self._x) if wanted else dy

    def _call(self, layer: "Layer", direction: str) -> Callable[..., Any]:
        def call(array: Array, **options: Any) -> Any:
            token = _waiting.set(self._waiting)
            try:
                return told(self._name, layer, direction)(array, **options)
            finally:
                _waiting.reset(token)

        return partial(in_callers_context, call)


def locked(x: Array) -> Array:
    """x, as a view that cannot be written: a layer that works in place is told so."""
    view = x.view()
    view.flags.writeable = False
    return view


def told(name: str, layer: "Layer", direction: str) -> Callable[..., Any]:
    """A pass of a reader's layer; NumPy's words for common mistakes come with what to write."""
    method = adapted(getattr(layer, direction))

    def call(array: Array, **options: Any) -> Any:
        try:
            return method(array, **options)
        except (TypeError, ValueError) as error:
            if advice := _advice(str(error), layer, direction):
                said = str(error).partition(": write into the array")[0]
                raise type(error)(f"{name}: {direction}: {said}: {advice}") from error
            raise

    return call


def _advice(error: str, layer: "Layer", direction: str) -> str | None:
    if "read-only" in error:
        return (
            "x is read again by others and must stay as it is: make a new array, y = 2 * x say, or "
            "begin with x = x.copy()"
        )
    if direction == "forward":
        return None
    kept = re.match(r"'(.*)': these names keep their values", error)
    if kept and kept[1] in layer.gradients:
        return f"write into the array, self.gradients[{kept[1]!r}][...] = ..."
    into = re.search(r"could not broadcast .* into shape (\(.*\))", error)
    shape = into[1] if into else None
    same = [name for name, array in layer.gradients.items() if str(array.shape) == shape]
    if same:
        return (
            f"a gradient has its parameter's shape, that of {' and '.join(same)} is {shape}: sum "
            f"over the rows, self.gradients[{same[0]!r}][...] = (...).sum(0)"
        )
    return None


def checked_result(name: str, direction: str, result: Any, x: Array) -> Array:
    """What a reader's pass returned, if it is what a network can go on with."""
    name = f"{name}: {direction}'s result"
    returned, given = ("y", "x") if direction == "forward" else ("dx", "dy")
    if result is None:
        raise TypeError(
            f"{name}: expected an array, got None: end {direction} with return {returned}"
        )
    if not isinstance(result, np.ndarray):
        raise TypeError(
            f"{name}: expected an array, got a {type(result).__name__}: return "
            f"np.asarray({returned}, {given}.dtype)"
        )
    if result.dtype != x.dtype:
        raise TypeError(
            f"{name}: expected {x.dtype} like x, got {result.dtype}: return "
            f"{returned}.astype({given}.dtype), or make what it is made of so: np.ones(5) is "
            f"float64, np.ones(5, {given}.dtype) is {x.dtype}"
        )
    if direction == "backward" and result.shape != x.shape:
        raise ValueError(f"{name}: expected the shape of x, {x.shape}, got {result.shape}")
    return checks.float_array(name, result)


def in_callers_context(function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """What a function returns that is run under the settings of whoever called the network."""
    context = _callers.get()
    return (function if context is None else partial(context.run, function))(*args, **options)


def adapted(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, called with those of our keyword arguments that its signature has."""
    names = _taken(getattr(method, "__func__", method))
    if names is None:
        return method

    def call(array: Array, **options: Any) -> Any:
        return method(array, **{name: options[name] for name in names if name in options})

    return call


@lru_cache(maxsize=256)
def _taken(function: Callable[..., Any]) -> tuple[str, ...] | None:
    """Which of our keyword arguments it takes; None: any."""
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return None
    return tuple(
        name for name in ("training", "statistics", "mask", "input_gradient") if name in parameters
    )


def shadow(layer: "Layer") -> "Layer":
    """A layer of the same arrays, whose passes leave nothing behind in the given one.

    It is another object, and so are the layers within; everything else is the same.
    """
    known: dict[int, Any] = {}

    def shadowed(value: Any) -> Any:
        if id(value) in known:
            return known[id(value)]
        if hasattr(type(value), "at_work"):
            other = known[id(value)] = object.__new__(type(value))
            vars(other).update({name: shadowed(each) for name, each in value._lasting().items()})
            vars(other)["_owner"] = value._owner
            return other
        if isinstance(value, tuple):
            items = map(shadowed, value)
            return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
        if isinstance(value, list | dict):
            other = known[id(value)] = copy.copy(value)
            for key, each in value.items() if isinstance(value, dict) else enumerate(value):
                other[key] = shadowed(each)
            return other
        return value

    return shadowed(layer)
