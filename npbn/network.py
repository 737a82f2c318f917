"""Sequential: layers one after another, their parameters in one vector, itself a layer."""

import weakref
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npbn import _checks as checks
from npbn import checkpoint, functional
from npbn._checks import Array, Statistics
from npbn.layers import Layer
from npbn.layers.chain import Chain
from npbn.layers.foreign import Memory, adapted, kept_as_they_are
from npbn.layers.population import folded_layers, recompute_population
from npbn.layers.summary import checked, common_dtype, size, table

_DERIVED = ("_parameter_vector", "_gradient_vector", "_slices", "_chain", "_pending")

# Inference goes by blocks of rows whose activations stay in a CPU's cache.
ROWS = 500


class Sequential(Layer):
    """A network: each layer's output is the next one's input.

    layers: one Layer or more; a Sequential may be one of them. A layer belongs to one network.

    The parameters of all layers lie in `parameter_vector`, their gradients in `gradient_vector`,
    both one contiguous 1-D array; the layers' own arrays are views into them. `parameters`,
    `gradients` and `state` have names like "1.gamma"; `slices` maps a parameter's name to its place
    in the vectors. print(network) shows a table. ValueError or TypeError for layers that do not go
    together.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = checked(layers)
        self._assemble()

    def _assemble(self) -> None:
        """Gather the layers' arrays into two vectors of this network."""
        dtype = common_dtype(self._layers) or np.dtype(np.float32)
        for layer in self._layers:
            layer._network = weakref.ref(self)
        total = sum(size(layer) for layer in self._layers)
        self._bind(np.zeros(total, dtype), np.zeros(total, dtype))
        self._chain = Chain(list(_leaves(self._layers)))
        self._pending: Array | None = None

    def _bind(self, values: Array, gradients: Array) -> None:
        self._parameter_vector, self._gradient_vector = values, gradients
        self._slices: dict[str, slice] = {}
        start = 0
        for place, layer in enumerate(self._layers):
            end = start + size(layer)
            layer._bind(values[start:end], gradients[start:end])
            for name, value in layer.parameters.items():
                self._slices[f"{place}.{name}"] = slice(start, start + value.size)
                start += value.size

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in order."""
        return self._layers

    @property
    def parameter_vector(self) -> Array:
        """All parameters, (P,); writing into it changes the layers'."""
        return self._parameter_vector

    @property
    def gradient_vector(self) -> Array:
        """The gradients of all parameters, (P,), as the last backward pass left them."""
        return self._gradient_vector

    @property
    def slices(self) -> Mapping[str, slice]:
        """The place of each parameter in the two vectors."""
        return MappingProxyType(self._slices)

    @property
    def parameters(self) -> Mapping[str, Array]:
        """All parameters, by names like "1.gamma"."""
        return self._gathered("parameters")

    @property
    def gradients(self) -> Mapping[str, Array]:
        """Their gradients, by the same names."""
        return self._gathered("gradients")

    @property
    def state(self) -> Mapping[str, Array]:
        """All arrays that are kept but not trained, by names like "1.population_mean"."""
        return self._gathered("state")

    def _gathered(self, kind: str) -> Mapping[str, Any]:
        named = (
            (f"{place}.{name}", value)
            for place, layer in enumerate(self._layers)
            for name, value in getattr(layer, kind).items()
        )
        return MappingProxyType(dict(named))

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The type of all parameters; None where there are none: then either float type will do."""
        return common_dtype(self._layers)

    @property
    def generators(self) -> Mapping[str, np.random.Generator]:
        """The layers' sources of randomness, by names like "2._rng"."""
        return self._gathered("generators")

    @property
    def _digits(self) -> Mapping[str, Array]:
        return self._gathered("_digits")

    @np.errstate(all="ignore")
    def forward(
        self,
        x: Array,
        training: bool = False,
        statistics: Statistics | None = None,
        *,
        out: Array | None = None,
    ) -> Array:
        """The last layer's output, through all layers in order; the arguments as for every layer.

        In training with a BatchNorm an x that is not finite is a ValueError, and may end a pending
        pass; where only what the layers make of it is not finite, the pass goes on without a
        warning, and no population statistics move.
        TypeError or ValueError, naming the layer, for an x of another type or shape.
        """
        statistics = checks.mode(training, statistics)
        self._chain.check(x, training, statistics, out)
        refuse = self._network is None or self._network() is None  # within another, that one does
        moves = training and statistics == "batch"
        spoiled = self._chain.is_spoiled(x, moves, out, refuse)
        self._pending = None
        self._pending = self._chain.forward(x, training, statistics, out, spoiled, refuse)
        return self._pending

    @np.errstate(all="ignore")
    def backward(
        self, dy: Array, *, input_gradient: bool = False, out: Array | None = None
    ) -> Array | None:
        """The gradients of all parameters, in `gradient_vector`, and with input_gradient dx.

        dy: the loss's gradient with respect to the last forward pass's output, of its shape and
        type. Nobody needs dx of a whole network to train it, and it is a quarter of the work: None
        is returned unless input_gradient is True.
        RuntimeError without a forward pass before it, or for a second one; TypeError or ValueError
        for a dy of another type or shape.
        """
        if self._pending is None:
            raise RuntimeError("Sequential: no forward pass is pending: call forward again first")
        checks.upstream(dy, self._pending)
        if not checks.flag("input_gradient", input_gradient) and out is not None:
            raise ValueError("out: nothing to write: pass input_gradient=True as well")
        self._chain.check_input_gradient(dy, out)
        self._pending = None
        return self._chain.backward(dy, input_gradient, out)

    @np.errstate(all="ignore")
    def predict_probabilities(self, x: Array, *, statistics: Statistics = "population") -> Array:
        """softmax of the network's output, (N, classes), in inference.

        With statistics="batch" the whole of x is one batch, whose own statistics normalize it. A
        pending backward pass stays as it was. TypeError or ValueError for an x of another type or
        shape.
        """
        return np.concatenate([functional.softmax(y) for y in self._inferred(x, statistics)])

    def predict(self, x: Array, *, statistics: Statistics = "population") -> NDArray[np.intp]:
        """The class of each row, (N,): the place of its largest output, or of a NaN."""
        return np.concatenate([y.argmax(-1) for y in self._inferred(x, statistics)])

    def accuracy(
        self, images: Array, labels: Array, *, statistics: Statistics = "population"
    ) -> float:
        """The share of images whose predicted class is their label, a float from 0 to 1.

        images (N, ...) as for predict; labels (N,) integers, from 0 to the number of classes - 1.
        """
        checks.batch("images", images)
        labels, predicted, classes = checks.labels(labels, len(images)), [], 0
        for y in self._inferred(images, statistics):
            if y.ndim != 2:
                raise ValueError(f"accuracy: expected outputs (N, classes), got {y.shape}")
            if y.shape[1] != classes:
                classes = y.shape[1]
                checks.labels(labels, len(images), classes)
            predicted.append(y.argmax(1))
        return int(np.count_nonzero(np.concatenate(predicted) == labels)) / len(labels)

    def _inferred(self, x: Array, statistics: Statistics) -> Iterator[Array]:
        """The network's output in inference, block by block; each is written over by the next."""
        statistics = checks.mode(False, statistics)
        self._chain.check(x, False, statistics)
        rows = ROWS if statistics == "population" else len(x)
        memory = Memory(len(self._chain.layers))
        for start in range(0, len(x), rows):
            block = x[start : start + rows]
            if memory.kind != (block.shape, block.dtype):
                memory = Memory(len(self._chain.layers), block)
            with np.errstate(all="ignore"):
                if type(self).forward is Sequential.forward:
                    y = self._chain.infer(block, statistics, memory)
                else:
                    with kept_as_they_are([self]):
                        y = adapted(self.forward)(block, training=False, statistics=statistics)
            yield y

    def recompute_population(self, images: Array, *, batch_size: int = 1000) -> None:
        """Set every BatchNorm's population statistics to the exact ones of images, layer by layer.

            mean = sum(x) / m,  variance = sum((x - mean)^2) / m

        over all m values of a feature, where x is what reaches the layer in inference, the layers
        before it being exact already (with unbiased_population, m - 1 in the variance). images
        (N, ...) are taken batch_size rows at a time: Wu & Johnson's PreciseBN, 2021. TypeError or
        ValueError for images of another type or shape, or that are not finite.
        """
        batch_size = checks.integer("batch_size", batch_size, minimum=1)
        self._chain.check(images, False, "population")
        recompute_population(self._chain, images, batch_size)

    def fold_batch_norm(self) -> "Sequential":
        """A network for inference with each BatchNorm folded into the Dense right before it.

        Its outputs are this network's with population statistics, to rounding. Other layers stay
        as copies, also a BatchNorm after another layer; nested networks are laid flat.
        """
        return Sequential(folded_layers(self._chain.layers))

    def save(self, path: str | PathLike[str]) -> None:
        """Write parameters and state, population statistics included, to the file `path`.

        At any moment the file is the old one or the new one, whole. OSError where it cannot be.
        """
        checkpoint.save(path, {**self.parameters, **self.state}, {"layers": self._description()})

    def load(self, path: str | PathLike[str]) -> None:
        """Read parameters and state from a file that `save` wrote: all of it, or nothing.

        FileNotFoundError where there is none; ValueError, naming the file, for another network's
        file or a damaged one.
        """
        arrays, header = checkpoint.load(path)
        own = {**self.parameters, **self.state}
        checkpoint.check_layers(path, header, self._description())
        checkpoint.check_arrays(path, arrays, own)
        for name, value in arrays.items():
            own[name][...] = value

    def _description(self) -> list[str]:
        return list(map(repr, self._chain.layers))

    def _convert(self, dtype: np.dtype[Any]) -> None:
        for layer in self._layers:
            layer._convert(dtype)
        self._assemble()

    def __getstate__(self) -> dict[str, Any]:
        """The layers, and what a subclass added; the rest is made of them."""
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name not in _DERIVED}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._assemble()

    def __repr__(self) -> str:
        return f"Sequential([{', '.join(map(repr, self._layers))}])"

    def __str__(self) -> str:
        return table(self._chain.layers)


def _leaves(layers: Sequence[Layer]) -> Iterator[Layer]:
    for layer in layers:
        if type(layer) is Sequential:
            yield from _leaves(layer.layers)
        else:
            yield layer
