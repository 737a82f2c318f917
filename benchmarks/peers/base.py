"""What is measured, and what a peer provides for it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle, pairwise
from typing import Any

import numpy as np

from benchmarks.timing import Task
from npbn import lesson, reference
from npbn.testing import CASES

LESSON_SIZES = (784, 100, 100, 100, 10)
OPERATIONS = ("forward", "backward", "forward+backward", "inference", "bn+relu")

EPSILON, MOMENTUM, LEARNING_RATE = 1e-3, 0.99, 0.01

Array = Any
Values = Mapping[str, Array]
Kernels = Iterator[tuple[str, str, Task]]


class KernelCase:
    """Inputs of the batch norm operations: x (..., D) and its dy, gamma, beta, mean and variance.

    dy_relu is dy for batch norm followed by ReLU: 0 where its output is so near to the kink that
    rounding decides on which side it is.
    """

    def __init__(self, shape: Sequence[int], dtype: str) -> None:
        self.shape, self.dtype = tuple(shape), dtype
        rng = np.random.default_rng(0)
        inputs = CASES["batch_norm_inference"].inputs(rng, self.shape, np.dtype(dtype))
        self.x, self.gamma, self.beta = (inputs[name] for name in ("x", "gamma", "beta"))
        self.mean, self.variance = inputs["mean"], inputs["variance"]
        self.dy = rng.standard_normal(self.shape).astype(dtype)

    @cached_property
    def dy_relu(self) -> Array:
        """The dy for batch norm followed by ReLU."""
        y, _ = reference.batch_norm_forward(self.x, self.gamma, self.beta, epsilon=EPSILON)
        return np.where(np.abs(y) < 1e-3, 0, self.dy).astype(self.dtype)


@dataclass(frozen=True)
class Setup:
    """A network before its first step, and the batches that it is trained on, again and again.

    values: "weight0" (in, out), "gamma0", "beta0", "mean0", "variance0" (out,), "weight1", ... and
    the last one's "bias<i>"; without batch norm a bias for each and no other vectors. ReLU between.
    """

    values: Values
    batch_norm: bool
    batches: list[tuple[Array, Array]]

    @property
    def depth(self) -> int:
        """The number of weight matrices."""
        return depth(self.values)


def depth(values: Values) -> int:
    """The number of weight matrices among the values."""
    return sum(name.startswith("weight") for name in values)


def trained(values: Values) -> list[str]:
    """The names of what gradient descent changes: all but the population statistics."""
    return [name for name in values if not name.startswith(("mean", "variance"))]


def make_setup(
    batch_norm: bool, sizes: Sequence[int] = LESSON_SIZES, batch_size: int = 60, batches: int = 10
) -> Setup:
    """The lesson's network with its initial weights, or one of other sizes with He's."""
    from npbn import datasets

    if tuple(sizes) == LESSON_SIZES:
        weights = lesson.initial_weights(False, 0)
    else:
        rng = np.random.default_rng(0)
        weights = [
            (rng.standard_normal((rows, columns)) * np.sqrt(2 / rows)).astype(np.float32)
            for rows, columns in pairwise(sizes)
        ]
    values: dict[str, Array] = {}
    for place, weight in enumerate(weights):
        values[f"weight{place}"] = weight
        features = weight.shape[1]
        if batch_norm and place < len(weights) - 1:
            for name, start in (("gamma", 1), ("beta", 0), ("mean", 0), ("variance", 1)):
                values[f"{name}{place}"] = np.full(features, start, np.float32)
        else:
            values[f"bias{place}"] = np.zeros(features, np.float32)
    images, labels = datasets.load_mnist_5k().train
    rng = np.random.default_rng(0)
    chosen = rng.integers(len(images), size=(batches, batch_size))
    return Setup(values, batch_norm, [(images[rows], labels[rows]) for rows in chosen])


class Trainer:
    """A network in training: `run` does `steps` steps and returns their losses.

    step: a function of one batch, in the peer's own arrays, that returns the loss. values: a
    function that returns the network's as NumPy arrays, by the names of a Setup, the population's
    variance as the average of biased ones.
    """

    steps = 1

    def __init__(
        self,
        step: Callable[..., Any],
        batches: Sequence[tuple[Any, Any]],
        values: Callable[[], Values],
    ) -> None:
        self.step, self.values = step, values
        self._ring = cycle(batches)

    def run(self) -> Any:
        """The timed call: the next batch's step."""
        return self.step(*next(self._ring))

    def first(self, count: int) -> dict[str, Array]:
        """The losses of so many steps, and the values after them."""
        losses = np.array([float(self.run()) for _ in range(count)])
        return {"losses": losses, **self.values()}

    def task(self) -> Task:
        """What is timed."""
        return Task(self.run, units=self.steps)


class Peer:
    """A library to compare with, or npbn itself. It provides what it has of the following.

    library: its name for --peers. missing: contestant -> why it is not measured; filled on the way.
    A contestant is one way of using the library; a peer may have several.
    """

    library = ""

    def __init__(self) -> None:
        self.missing: dict[str, str] = {}

    def kernels(self, case: KernelCase) -> Kernels:
        """(operation, contestant, Task); results are y, or dx, dgamma and dbeta, or all four."""
        return iter(())

    def trainers(self, setup: Setup) -> dict[str, Trainer]:
        """Contestant -> Trainer at the setup's start. {} where it has no such network."""
        return {}

    def loops(
        self, setup: Setup, data: tuple[Array, Array], batch_size: int, steps: int
    ) -> dict[str, Task]:
        """Contestant -> Task that trains on shuffled batches of the data, about so many steps."""
        return {}

    def evaluations(self, values: Values, images: Array) -> dict[str, Task]:
        """Contestant -> Task whose result is {"classes": predicted classes of the images}."""
        return {}


def gradients(result: Any) -> dict[str, Any]:
    """A result (dx, dgamma, dbeta) by names, for NumPy arrays."""
    return dict(zip(("dx", "dgamma", "dbeta"), result, strict=True))


def output_and_gradients(result: Any) -> dict[str, Any]:
    """A result (y, (dx, dgamma, dbeta)) by names, for NumPy arrays."""
    return {"y": result[0], **gradients(result[1])}


def output(result: Any) -> dict[str, Any]:
    """A result y by its name."""
    return {"y": result}


def output_first(result: Any) -> dict[str, Any]:
    """A result (y, what the backward pass needs), of which y."""
    return {"y": result[0]}


def classes(result: Any) -> dict[str, Any]:
    """A result of predicted classes by its name."""
    return {"classes": np.asarray(result)}
