"""Layers of images, forward and backward in float32, and a step of a network of them.

The network: Conv2D(1, 16, 3), Conv2D(16, 32, 3), Conv2D(32, 64, 3), each with BatchNorm or without,
ReLU and MaxPool2D(2); Flatten, Dense(576, 10); Adam on 60 images. PyTorch has images in the memory
format channels_last, as npbn has them, and is the faster for it; of the step also in its usual one.

The floor is a convolution's three matrix products, with patches of the images that are there. All
have one thread.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain

import numpy as np

from benchmarks.context import Context
from benchmarks.footprint import peak_allocation
from benchmarks.peers.base import LayerCase, Setup, make_image_setup
from benchmarks.peers.by_hand import ReferencePeer
from benchmarks.peers.npbn_peer import NpbnPeer
from benchmarks.results import Record
from benchmarks.tables import PRODUCTS
from benchmarks.timing import Task

# The peers that have the network.
LIBRARIES = ("npbn", "pytorch", "jax")

# Rows of a product: a whole batch's patches would come from no cache, which npbn's do.
BLOCK = 784


def images(context: Context) -> Iterator[Record]:
    """A Record for each layer and contestant, for the network's steps, and for the memory."""
    cases = [LayerCase(*each) for each in context.settings.layers]
    convolutions = [case for case in cases if case.layer == "Conv2D"]
    for case in cases:
        tasks = context.tasks(case.text, lambda peer, case=case: peer.layers(case))
        if case in convolutions:
            tasks[PRODUCTS] = bare_products([(len(case.x) * case.x[0, ..., 0].size, case.weight)])
        yield from context.measure("images", _about("layer", case), tasks)
    for batch_norm in (True, False):
        setup = make_image_setup(batch_norm)
        tasks = checked_steps(setup, context)
        layers = [(setup.rows(place), setup.values[f"weight{place}"]) for place in range(4)]
        tasks[PRODUCTS] = bare_products(layers, first_dx=False)
        yield from context.measure("images", {"what": "step", "batch_norm": batch_norm}, tasks)
    for case in convolutions:
        about = {**_about("memory", case), "result_bytes": case.dy.nbytes + case.x.nbytes}
        run = NpbnPeer().layers(case)["npbn"].run
        for who, call in (
            ("npbn, first pass", run),
            ("npbn, later", run),
            ("npbn.reference", ReferencePeer().layers(case)["npbn.reference"].run),
        ):
            values = [float(peak_allocation(call))]
            yield Record("images", about, who, context.threads, values, unit="bytes")


def _about(what: str, case: LayerCase) -> dict[str, object]:
    return {"what": what, "layer": case.text, "shape": list(case.shape)}


def checked_steps(setup: Setup, context: Context) -> dict[str, Task]:
    """The contestants' steps, whose first losses and changes of parameters were compared.

    The changes in float64: Adam divides each gradient by its size, so that of the small ones only
    rounding is seen, and PyTorch's sums in batch norm over 47,040 pixels leave 1e-5 of it.
    """
    context.tasks(
        "the first steps with images",
        lambda peer: peer.steps(setup.in_float64),
        "float64",
        libraries=LIBRARIES,
    )

    def only_losses(task: Task) -> Task:
        return replace(task, results=lambda: {"losses": task.results()["losses"]})

    return context.tasks(
        "the first losses with images",
        lambda peer: {who: only_losses(task) for who, task in peer.steps(setup).items()},
        libraries=LIBRARIES,
    )


def bare_products(layers: Iterable[tuple[int, np.ndarray]], first_dx: bool = True) -> Task:
    """The matrix products x W, x' dy and dy W' of layers, each (rows of x, weight), block by block.

    Into arrays that are there; the values do not matter. first_dx: with dy W' of the first layer.
    """
    rng, products = np.random.default_rng(0), []
    for rows, weight in layers:
        blocks = max(1, rows // BLOCK)
        matrix = weight.reshape(-1, weight.shape[-1])
        x, dy = (
            rng.standard_normal((rows // blocks, each), dtype=np.float32) for each in matrix.shape
        )
        own = [(x, matrix, np.empty_like(dy)), (x.T, dy, np.empty_like(matrix))]
        if products or first_dx:
            own.append((dy, matrix.T, np.empty_like(x)))
        products.append(own * blocks)

    def run() -> None:
        for left, right, out in chain.from_iterable(products):
            np.matmul(left, right, out=out)

    return Task(run)
