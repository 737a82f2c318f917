"""How a network calls layers that are not npbn's own: a reader's, or a subclass."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

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


def adapted(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, called with those of our keyword arguments that its signature has."""
    taken = inspect.signature(method).parameters
    if any(each.kind is each.VAR_KEYWORD for each in taken.values()):
        return method
    names = [name for name in ("training", "statistics", "input_gradient") if name in taken]

    def call(array: Array, **options: Any) -> Any:
        return method(array, **{name: options[name] for name in names if name in options})

    return call


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
