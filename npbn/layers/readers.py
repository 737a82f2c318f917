"""How the layers of a reader run in a network: as they are written."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from npbn import _checks as checks
from npbn._checks import Array
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


class ReaderPass:
    """A reader's layer in a plan. What it returns is checked."""

    is_readers = True
    operation = y = dx = None

    def __init__(self, layer: "Layer", place: int, mode: "Mode") -> None:
        self._layer, self._name, self._mode = layer, f"layer {place}, {layer!r}", mode
        self._x: Array | None = None

    def arrays(self, direction: str, **between: Array | None) -> dict[str, Any]:
        """The arrays by name, for a tape."""
        return dict(between)

    def run(self, xp: Any, x: Array) -> Array:
        """What its forward pass returns, of a shadow where no backward pass follows."""
        self._x = x
        training, statistics, keeps = self._mode
        layer = self._layer if keeps else shadow(self._layer)
        forward = outside(xp, adapted(layer.forward), "layer.forward")
        y = forward(x, training=training, statistics=statistics)
        name = f"{self._name}: forward's result"
        checks.same_dtype(x, **{name: checks.float_array(name, y)})
        return y

    def run_backward(self, xp: Any, dy: Array, dx: Array | None, wanted: bool) -> Array:
        """What its backward pass returns; dy is a copy, as it may keep that."""
        assert self._x is not None
        backward = outside(xp, adapted(self._layer.backward), "layer.backward")
        result = backward(dy.copy(), input_gradient=wanted)
        if not wanted:
            return dy
        name = f"{self._name}: backward's result"
        checks.has_shape(name, checks.float_array(name, result), self._x.shape)
        checks.same_dtype(self._x, **{name: result})
        return result


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
        name for name in ("training", "statistics", "input_gradient") if name in parameters
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
            vars(other).update({name: shadowed(each) for name, each in value._shadowed().items()})
            return other
        if type(value) is dict:
            return {name: shadowed(each) for name, each in value.items()}
        if type(value) in (list, tuple):
            return type(value)(map(shadowed, value))
        return value

    return shadowed(layer)
