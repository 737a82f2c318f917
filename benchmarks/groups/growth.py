"""How a training step's cost grows with the batch, the width and the depth of the network."""

from collections.abc import Iterator
from typing import Any

from benchmarks.context import Context
from benchmarks.groups.step import PRODUCTS, bare_products, checked_tasks
from benchmarks.peers import base
from benchmarks.results import Record
from benchmarks.settings import Settings

NAME = "growth"
DEFAULT_THREADS = False

# Of the peers those whose set-up for each size takes no minutes, for the figure; by batch alone.
BESIDE = ("npbn", "textbook", "pytorch", "jax")


def cases(settings: Settings) -> list[dict[str, Any]]:
    """A case is a size of one of batch, width and depth; the others are the lesson's.

    A batch of one cannot be normalized, so the batch grows without batch norm as well.
    """
    batches = [
        {"along": "batch", "size": size, "batch_norm": batch_norm}
        for batch_norm in (True, False)
        for size in settings.batches
        if size > 1 or not batch_norm
    ]
    others = [
        {"along": along, "size": size, "batch_norm": True}
        for along, sizes in (("width", settings.widths), ("depth", settings.depths))
        for size in sizes
    ]
    return batches + others


def run(case: dict[str, Any], context: Context) -> Iterator[Record]:
    """Records of npbn's step and of its bare products; of some peers' where the batch grows."""
    lesson = {"batch": 60, "width": 100, "depth": 3}
    sizes = {**lesson, case["along"]: case["size"]}
    layers = (784, *[sizes["width"]] * sizes["depth"], 10)
    setup = base.make_setup(case["batch_norm"], layers, sizes["batch"], batches=3)
    beside = BESIDE if case["along"] == "batch" and case["batch_norm"] else ("npbn",)
    tasks = {PRODUCTS: bare_products(setup), **checked_tasks(setup, context, beside)}
    for who in ("JAX lax.scan", "textbook NumPy, float64", "PyTorch, fused SGD"):
        tasks.pop(who, None)
    yield from context.measure(NAME, case, tasks)
