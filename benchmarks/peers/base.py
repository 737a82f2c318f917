"""What is measured, and what a peer provides for it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import cycle, pairwise
from math import prod
from typing import Any

import numpy as np

from benchmarks.timing import Task
from npbn import datasets, reference

LESSON_SIZES = (784, 100, 100, 100, 10)
EPSILON, MOMENTUM, LEARNING_RATE, ADAM_RATE = 1e-3, 0.99, 0.01, 0.001
STEPS_COMPARED = 3

Array = Any
Values = Mapping[str, Array]


class KernelCase:
    """Inputs of the batch norm operations: x (..., D) and its dy, gamma, beta, mean and variance.

    dy_relu is dy for batch norm followed by ReLU: 0 where its output is so near to the kink that
    rounding decides on which side it is.
    """

    def __init__(self, shape: Sequence[int], dtype: str) -> None:
        self.shape, self.dtype = tuple(shape), dtype
        rng, features = np.random.default_rng(0), shape[-1]
        self.x = (3 * rng.standard_normal(shape) + rng.normal(0, 5, features)).astype(dtype)
        self.gamma = rng.uniform(0.5, 1.5, features).astype(dtype)
        self.beta = rng.standard_normal(features).astype(dtype)
        self.mean = rng.normal(0, 5, features).astype(dtype)
        self.variance = rng.uniform(0.5, 20, features).astype(dtype)
        self.dy = rng.standard_normal(shape).astype(dtype)

    @cached_property
    def dy_relu(self) -> Array:
        """The dy for batch norm followed by ReLU."""
        y, _ = reference.batch_norm_forward(self.x, self.gamma, self.beta, epsilon=EPSILON)
        return np.where(np.abs(y) < 1e-3, 0, self.dy).astype(self.dtype)


@dataclass(frozen=True)
class Kernels:
    """One contestant's batch norm on the arrays of a KernelCase, in its own types.

    forward() -> (y, cache); backward(cache) -> (dx, dgamma, dbeta); inference() -> y; relu(), batch
    norm with ReLU behind it, and both() -> (y, (dx, dgamma, dbeta)): both is forward, then backward
    unless given. numpy: makes a NumPy array, channels last, of what they return.
    """

    forward: Callable[[], Any]
    backward: Callable[[Any], Any]
    inference: Callable[[], Any] | None = None
    relu: Callable[[], Any] | None = None
    both: Callable[[], Any] | None = None
    numpy: Callable[[Any], Array] = np.asarray

    def task(self, operation: str, shape: tuple[int, ...]) -> Task | None:
        """The Task of an operation, if it is there; its results are y, dx, dgamma and dbeta."""
        forward, backward = self.forward, self.backward

        def both() -> Any:
            y, cache = forward()
            return y, backward(cache)

        cache = forward()[1] if operation == "backward" else None
        run = {
            "forward": forward,
            "backward": lambda: backward(cache),
            "forward+backward": self.both or both,
            "inference": self.inference,
            "bn+relu": self.relu,
        }[operation]
        parts = {
            "forward": lambda result: [result[0]],
            "backward": lambda result: [None, *result],
            "inference": lambda result: [result],
        }.get(operation, lambda result: [result[0], *result[1]])

        def results() -> dict[str, Array]:
            named = zip(("y", "dx", "dgamma", "dbeta"), parts(run()), strict=False)
            arrays = {name: self.numpy(value) for name, value in named if value is not None}
            return {k: v.reshape(shape) if k in ("y", "dx") else v for k, v in arrays.items()}

        return run and Task(run, results=results)


class LayerCase:
    """Inputs of a layer of images: x (N, H, W, C) and its dy; of Conv2D also weight and bias.

    layer: "Conv2D" with so many filters of 3x3, as many pixels out as in; "MaxPool2D", "AvgPool2D"
    of 2x2 or "GlobalAvgPool2D". text: how npbn writes it.
    """

    gradients: tuple[str, ...] = ("dweight", "dbias")

    def __init__(self, layer: str, shape: Sequence[int], filters: int = 0) -> None:
        self.layer, self.shape = layer, tuple(shape)
        rng, (images, height, width, channels) = np.random.default_rng(0), shape
        self.text, out = {
            "Conv2D": (f"Conv2D({channels}, {filters}, 3)", (images, height, width, filters)),
            "GlobalAvgPool2D": ("GlobalAvgPool2D()", (images, channels)),
        }.get(layer, (f"{layer}(2)", (images, height // 2, width // 2, channels)))
        self.x, self.dy, self.bias, self.weight = (
            rng.standard_normal(each, dtype=np.float32)
            for each in (shape, out, filters, (3, 3, channels, filters))
        )

    def task(
        self, run: Callable[[], Any], arrays: Callable[..., Any] = lambda *results: results
    ) -> Task:
        """The Task of a run that returns y, dx and what the layer has of `gradients`.

        arrays: makes of these NumPy arrays, channels last.
        """

        def results() -> dict[str, Array]:
            named = zip(("y", "dx", *self.gradients), arrays(*run()), strict=False)
            return {name: np.asarray(value) for name, value in named}

        return Task(run, results=results)


class SequenceCase(LayerCase):
    """Inputs of a layer of sequences, or of one that normalizes each example.

    layer: "LSTM" of so many units, with x (N, T, D), or "LayerNorm", "GroupNorm" of so many groups,
    or "InstanceNorm". parameters: by npbn's names, in its order.
    """

    def __init__(self, layer: str, shape: Sequence[int], size: int = 0) -> None:
        self.layer, self.shape, self.size = layer, tuple(shape), size
        rng, features = np.random.default_rng(0), shape[-1]
        draw = partial(rng.standard_normal, dtype=np.float32)
        if layer == "LSTM":
            self.text, out = f"LSTM({features}, {size})", (*shape[:2], size)
            self.parameters = {
                "input_weight": draw((features, 4 * size)) / np.float32(features**0.5),
                "recurrent_weight": draw((size, 4 * size)) / np.float32(size**0.5),
                "bias": draw(4 * size),
            }
        else:
            self.text, out = f"{layer}({f'{size}, ' if size else ''}{features})", shape
            self.parameters = {"gamma": 1 + draw(features) / 4, "beta": draw(features)}
        self.x, self.dy = draw(shape), draw(out)
        self.gradients = tuple(f"d{name}" for name in self.parameters)


@dataclass(frozen=True)
class Setup:
    """A network before its first step, and the batches that it is trained on, again and again.

    values: "weight0" (in, out), "gamma0", "beta0", "mean0", "variance0" (out,), "weight1", ... and
    the last one's "bias<i>"; without batch norm a bias for each and no other vectors. ReLU between.
    A weight (3, 3, in, out) is a convolution's, and MaxPool2D(2) comes after its ReLU. adam: it is
    trained by Adam, else by gradient descent.
    """

    values: Values
    batch_norm: bool
    batches: list[tuple[Array, Array]]
    adam: bool = False

    def rows(self, place: int) -> int:
        """How many rows, images or pixels of all images, batch norm has there."""
        images, weight = self.batches[0][0], self.values[f"weight{place}"]
        return len(images) * (prod(images.shape[1:3]) // 4**place if weight.ndim == 4 else 1)

    @property
    def in_float64(self) -> "Setup":
        """The same in another type."""
        values = {name: value.astype(np.float64) for name, value in self.values.items()}
        batches = [(images.astype(np.float64), labels) for images, labels in self.batches]
        return replace(self, values=values, batches=batches)


def make_setup(
    batch_norm: bool, sizes: Sequence[int] = LESSON_SIZES, batch_size: int = 60, batches: int = 10
) -> Setup:
    """The lesson's network, or one of other sizes, with weights of the lesson's scale."""
    return _setup(batch_norm, list(pairwise(sizes)), (784,), batch_size, batches)


def make_image_setup(batch_norm: bool, batch_size: int = 60, batches: int = 10) -> Setup:
    """Three convolutions and a Dense(576, 10) on images (28, 28, 1), trained by Adam.

    Its biases are not 0: black would lie on the kink of ReLU, whose slope JAX takes as 1/2.
    """
    shapes = [(3, 3, 1, 16), (3, 3, 16, 32), (3, 3, 32, 64), (576, 10)]
    setup = _setup(batch_norm, shapes, (28, 28, 1), batch_size, batches, bias=0.01)
    return replace(setup, adam=True)


def _setup(
    batch_norm: bool,
    shapes: Sequence[tuple[int, ...]],
    image: tuple[int, ...],
    batch_size: int,
    batches: int,
    bias: float = 0,
) -> Setup:
    rng = np.random.default_rng(0)
    values: dict[str, Array] = {}
    for place, shape in enumerate(shapes):
        values[f"weight{place}"] = rng.normal(0, 0.05, shape).astype(np.float32)
        starts = {"gamma": 1, "beta": 0, "mean": 0, "variance": 1}
        for name, start in (
            starts.items() if batch_norm and place < len(shapes) - 1 else [("bias", bias)]
        ):
            values[f"{name}{place}"] = np.full(shape[-1], start, np.float32)
    images, labels = datasets.load_mnist_5k().train
    images = images.reshape(-1, *image)
    chosen = rng.integers(len(images), size=(batches, batch_size))
    return Setup(values, batch_norm, [(images[rows], labels[rows]) for rows in chosen])


def depth(values: Values) -> int:
    """The number of weight matrices among the values."""
    return sum(name.startswith("weight") for name in values)


def split(values: Values) -> tuple[dict[str, Array], dict[str, Array]]:
    """Copies of what gradient descent changes, and of the rest, the population statistics."""
    copies = {name: value.copy() for name, value in values.items()}
    state = {k: v for k, v in copies.items() if k.startswith(("mean", "variance"))}
    return {k: v for k, v in copies.items() if k not in state}, state


def one_hot(batches: Sequence[tuple[Array, Array]]) -> list[tuple[Array, Array]]:
    """The batches with labels as rows that are 1 at the class, else 0."""
    return [(images, np.eye(10, dtype=images.dtype)[labels]) for images, labels in batches]


def training_task(
    setup: Setup,
    step: Callable[..., Any],
    batches: Sequence[tuple[Any, Any]],
    values: Callable[[], Values],
) -> Task:
    """The Task of a training step of a network that is at the setup's start.

    step: a function of one batch, in the peer's own arrays, that returns the loss. values: a
    function that returns the network's as NumPy arrays, by the names of a Setup, the population's
    variance as the average of biased ones.
    """
    ring = cycle(batches)

    def run() -> Any:
        return step(*next(ring))

    return Task(
        run, results=lambda: changes(setup, [run() for _ in range(STEPS_COMPARED)], values())
    )


def changes(setup: Setup, losses: Sequence[Any], values: Values) -> dict[str, Array]:
    """The first losses, and by how much each value was changed: so no step forgotten hides."""
    changed = {name: value - setup.values[name] for name, value in values.items()}
    return {"losses": np.array([float(loss) for loss in losses]), **changed}


class Peer:
    """A library to compare with, or npbn itself. It provides what it has of the following.

    library: its name for --peers. A contestant is one way of using the library.
    """

    library = ""

    def kernels(self, case: KernelCase) -> dict[str, Kernels]:
        """Contestant -> Kernels."""
        return {}

    def layers(self, case: LayerCase) -> dict[str, Task]:
        """Contestant -> the case's task: the layer forward and backward."""
        return {}

    def sequences(self, case: SequenceCase) -> dict[str, Task]:
        """The same of a layer of sequences or a norm."""
        return {}

    def steps(self, setup: Setup) -> dict[str, Task]:
        """Contestant -> training_task. {} where it has no such network."""
        return {}

    def loops(self, setup: Setup, data: Any, steps: int) -> dict[str, Task]:
        """Contestant -> Task: about so many steps on shuffled batches of 60 of data.train."""
        return {}

    def evaluations(self, values: Values, images: Array) -> dict[str, Callable[[], Any]]:
        """Contestant -> function that returns the predicted classes of the images."""
        return {}
