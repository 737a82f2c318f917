"""One training step of the lesson's network: 784-100-100-100-10, ReLU, batch 60, gradient descent.

A step is forward, loss, backward and update on a batch that is there already; everyone hands the
loss out as a number. Beside it the same network's bare matrix products; and the step while another
process keeps the second core busy.
"""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from itertools import cycle
from typing import Any

import numpy as np

from benchmarks import comparison, timing
from benchmarks.context import Checker, Context
from benchmarks.peers import base
from benchmarks.results import Record
from benchmarks.settings import Settings
from benchmarks.timing import Task, Times

NAME = "step"
DEFAULT_THREADS = True
PRODUCTS = "bare products"
STEPS_COMPARED = 3


def cases(settings: Settings) -> list[dict[str, Any]]:
    """With batch norm and without; and beside a busy process."""
    names = ("batch_norm", "busy")
    return [
        dict(zip(names, each, strict=True))
        for each in ((True, False), (False, False), (True, True))
    ]


def run(case: dict[str, Any], context: Context) -> Iterator[Record]:
    """A Record for each contestant."""
    setup = base.make_setup(case["batch_norm"])
    if case["busy"]:
        if context.only is None:
            yield from _beside_another_process(case, context, setup)
        return
    tasks = {}
    if context.only in (None, "npbn"):
        tasks[PRODUCTS] = bare_products(setup)
    tasks |= checked_tasks(setup, context)
    yield from context.measure(NAME, case, tasks)


def checked_tasks(
    setup: base.Setup, context: Context, contestants: tuple[str, ...] | None = None
) -> dict[str, Task]:
    """The contestants' steps, after the losses and parameters of the first three were compared."""
    many = len(setup.batches[0][0]) > 60
    tolerance = comparison.CHANGES_WITH_KINKS if many else comparison.CHANGES
    checker = Checker(f"the first {STEPS_COMPARED} steps' changes", changes=tolerance)
    tasks = {}
    for peer in context.peers:
        if contestants is not None and peer.library not in contestants:
            continue
        for who, trainer in peer.trainers(setup).items():
            checker.check(who, changes(trainer.first(STEPS_COMPARED), setup.values))
            if context.is_timed(peer):
                tasks[who] = trainer.task()
    return tasks


def changes(results: dict[str, Any], start: base.Values) -> dict[str, Any]:
    """The losses, and by how much each value was changed: a step forgotten does not hide in it."""
    return {name: v - start[name] if name in start else v for name, v in results.items()}


def bare_products(setup: base.Setup) -> Task:
    """The step's matrix products and nothing else: x W, x' dy, and dy W' but for the first layer.

    Into arrays that are there, of the shapes that they have in the step; the values do not matter.
    The images are another batch's each time, as they are for the steps: in no cache yet.
    """
    images, _ = setup.batches[0]
    ring = cycle(setup.batches)
    rng = np.random.default_rng(0)
    products = []
    for place in range(1, setup.depth):
        weight = setup.values[f"weight{place}"]
        x = rng.standard_normal((len(images), len(weight)), dtype=np.float32)
        dy = rng.standard_normal((len(images), weight.shape[1]), dtype=np.float32)
        products.append((x, weight, np.empty_like(dy)))
        products.append((x.T, dy, np.empty_like(weight)))
        products.append((dy, weight.T, np.empty_like(x)))
    weight = setup.values["weight0"]
    dy = rng.standard_normal((len(images), weight.shape[1]), dtype=np.float32)
    y, dweight = np.empty_like(dy), np.empty_like(weight)

    def run():
        x, _ = next(ring)
        np.matmul(x, weight, out=y)
        for left, right, out in products:
            np.matmul(left, right, out=out)
        np.matmul(x.T, dy, out=dweight)

    return Task(run)


def _beside_another_process(
    case: dict[str, Any], context: Context, setup: base.Setup
) -> Iterator[Record]:
    settings = context.settings
    step = checked_tasks(setup, context, ("npbn",))["npbn"].run
    calls = timing.calibrated(step, settings.seconds)
    alone, beside = Times(calls=calls), Times(calls=calls)
    for turn in range(settings.turns):
        for busy in (False, True) if turn % 2 == 0 else (True, False):
            with busy_process() if busy else nullcontext():
                (beside if busy else alone).add(*timing.one_turn(step, calls), calls)
    yield context.record(NAME, case, "npbn, alone", alone)
    yield context.record(NAME, case, "npbn, second core busy", beside)


_BUSY = """
import numpy as np
a = np.ones((300, 300))
print("busy", flush=True)
while True:
    a = np.tanh(a @ a)
"""


@contextmanager
def busy_process() -> Iterator[subprocess.Popen[bytes]]:
    """Another process that works with NumPy, on one thread, until the block ends."""
    process = subprocess.Popen([sys.executable, "-c", _BUSY], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.communicate()
