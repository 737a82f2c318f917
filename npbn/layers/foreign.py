"""How a network calls layers that are not npbn's own: a reader's, or a subclass."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.layers.base import Layer
from npbn.layers.batch_norm import BatchNorm


class Memory:
    """The arrays of one pass, to be written over by the next of the same shape and type."""

    def __init__(self, count: int, x: Array | None = None) -> None:
        self.kind = None if x is None else (x.shape, x.dtype)
        self.x = x
        self.outputs: list[Array | None] = [None] * count
        self.caches: list[Any] = [None] * count
        self.gradients: dict[tuple[int, ...], list[Array]] = {}
        self._dtype = None if x is None else x.dtype

    def gradient(self, shape: tuple[int, ...], dy: Array) -> Array:
        """An array to write a gradient to: one of two a shape, the one that is not dy."""
        pair = self.gradients.get(shape)
        if pair is None:
            pair = self.gradients[shape] = [np.empty(shape, self._dtype) for _ in range(2)]
        return pair[pair[0] is dy]

    def first_not_finite(self, layers: Sequence[Layer]) -> str:
        """The first of the layers whose output was not finite."""
        # Where a variance is not, y is beta; where gamma or beta is not, the variance may well be.
        finite = [
            np.isfinite(getattr(cache, "variance", 0)).all() and (y is None or np.isfinite(y).all())
            for y, cache in zip(self.outputs[:-1], self.caches[:-1], strict=True)
        ]
        place = [*finite, False].index(False)
        layer = layers[place]
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


def foreign_forward(name: str, forward: Callable[..., Any], x: Array, **options: Any) -> Array:
    """What a reader's layer makes of x, if it may go on to the next one; else a TypeError."""
    y = forward(x, **options)
    name = f"{name}: forward's result"
    checks.float_array(name, y)
    checks.same_dtype(x, **{name: y})
    return y


def foreign_backward(
    name: str, backward: Callable[..., Any], dy: Array, x: Array, wanted: bool
) -> Array | None:
    """Its dx if wanted, for an input x; TypeError or ValueError if that is none."""
    dx = backward(dy, input_gradient=wanted)
    if not wanted:
        return None
    name = f"{name}: backward's result"
    checks.has_shape(name, checks.float_array(name, dx), x.shape)
    checks.same_dtype(x, **{name: dx})
    return dx


@contextmanager
def kept_as_they_are(layers: Iterable[Layer]) -> Iterator[None]:
    """Give layers, and all layers within them, their attributes back at the end."""
    each_layer = list(within(layers))
    before = [(layer, vars(layer).copy()) for layer in each_layer]
    for layer in each_layer:
        chain = getattr(layer, "_chain", None)
        if chain is not None:
            # A network's pass may still be pending in its buffers: it gets others meanwhile.
            before.append((chain, vars(chain).copy()))
            chain._memory = Memory(len(chain.layers))
    try:
        yield
    finally:
        for each, attributes in before:
            vars(each).clear()
            vars(each).update(attributes)


def within(layers: Iterable[Layer]) -> Iterator[Layer]:
    """The layers, and all layers that lie in their attributes."""
    for layer in layers:
        yield layer
        for value in vars(layer).values():
            if isinstance(value, Layer):
                yield from within([value])
            elif isinstance(value, list | tuple):
                yield from within(each for each in value if isinstance(each, Layer))


def has_unreachable_norm(layer: Layer) -> bool:
    """Whether a reader's layer has a BatchNorm inside, which no network can look into."""
    return any(isinstance(each, BatchNorm) and each is not layer for each in within([layer]))
