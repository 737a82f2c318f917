"""One training step of the lesson's network: 784-100-100-100-10, ReLU, batch 60, gradient descent.

A step is forward, loss, backward and update on a batch that is there already; everyone hands the
loss out as a number. Beside it the same network's bare matrix products. Then how its cost grows
with the batch, the width and the depth of the network.
"""

from collections.abc import Collection, Iterator
from itertools import cycle

import numpy as np

from benchmarks import comparison
from benchmarks.context import Context
from benchmarks.peers.base import Setup, make_setup
from benchmarks.results import Record
from benchmarks.tables import PRODUCTS
from benchmarks.timing import Task

# What is measured as the batch grows: of the libraries whose set-up takes no minutes, one way each.
GROWING = {"npbn": "npbn", "textbook": "textbook NumPy", "pytorch": "PyTorch", "jax": "JAX jit"}


def steps(context: Context) -> Iterator[Record]:
    """With batch norm and without, a Record for each contestant."""
    for batch_norm in (True, False):
        setup = make_setup(batch_norm)
        tasks = checked_tasks(setup, context)
        if context.only in (None, "npbn"):
            tasks[PRODUCTS] = bare_products(setup)
        yield from context.measure("step", {"batch_norm": batch_norm}, tasks)


def growth(context: Context) -> Iterator[Record]:
    """A case is a size of one of batch, width and depth; the others are the lesson's.

    A batch of one cannot be normalized, so the batch grows without batch norm as well.
    """
    settings = context.settings
    for along, batch_norm, libraries, sizes in (
        ("batch", True, list(GROWING), settings.batches),
        ("batch", False, ["npbn"], settings.batches),
        ("width", True, ["npbn"], settings.widths),
        ("depth", True, ["npbn"], settings.depths),
    ):
        for size in sizes:
            if size == 1 and along == "batch" and batch_norm:
                continue
            own = {"batch": 60, "width": 100, "depth": 3, along: size}
            layers = (784, *[own["width"]] * own["depth"], 10)
            setup = make_setup(batch_norm, layers, own["batch"], batches=3)
            tasks = checked_tasks(setup, context, libraries)
            tasks = {who: task for who, task in tasks.items() if who in GROWING.values()}
            case = {"along": along, "size": size, "batch_norm": batch_norm}
            yield from context.measure("growth", case, {PRODUCTS: bare_products(setup), **tasks})


def checked_tasks(
    setup: Setup, context: Context, libraries: Collection[str] | None = None
) -> dict[str, Task]:
    """The contestants' steps, whose first losses and changes of parameters were compared."""
    many = len(setup.batches[0][0]) > 60
    return context.tasks(
        "the first steps",
        lambda peer: peer.steps(setup),
        changes=comparison.CHANGES_WITH_KINKS if many else comparison.CHANGES,
        libraries=libraries,
    )


def bare_products(setup: Setup) -> Task:
    """The step's matrix products and nothing else: x W, x' dy, and dy W' but for the first layer.

    Into arrays that are there, of the shapes that they have in the step; the values do not matter.
    The images are another batch's each time, as they are for the steps: in no cache yet.
    """
    ring, rows = cycle(setup.batches), len(setup.batches[0][0])
    rng = np.random.default_rng(0)
    weights = [value for name, value in setup.values.items() if name.startswith("weight")]
    products = []
    for weight in weights:
        x, dy = (rng.standard_normal((rows, each), dtype=np.float32) for each in weight.shape)
        products.append((x, weight, np.empty_like(dy)))
        products.append((x.T, dy, np.empty_like(weight)))
        products.append((dy, weight.T, np.empty_like(x)))
    (_, weight, y), (_, dy, dweight), _, *others = products

    def run() -> None:
        x, _ = next(ring)
        np.matmul(x, weight, out=y)
        for left, right, out in others:
            np.matmul(left, right, out=out)
        np.matmul(x.T, dy, out=dweight)

    return Task(run)
