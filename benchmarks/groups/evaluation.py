"""The classes of 10,000 images, by the lesson's network after some training, in inference."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.context import Checker, Context
from benchmarks.peers import base, npbn_peer
from benchmarks.peers.base import LEARNING_RATE
from benchmarks.results import Record
from benchmarks.settings import Settings
from npbn import SGD, datasets, fit

NAME = "evaluation"
DEFAULT_THREADS = True


def cases(settings: Settings) -> list[dict[str, Any]]:
    """With batch norm and without."""
    return [{"batch_norm": each, "images": settings.images} for each in (True, False)]


def run(case: dict[str, Any], context: Context) -> Iterator[Record]:
    """A Record for each contestant."""
    data = datasets.load_mnist_5k()
    network = npbn_peer.network_of(base.make_setup(case["batch_norm"]).values)
    # Population statistics must be some that training left; and the classes as sure as they get.
    fit(network, data.train, optimizer=SGD(10 * LEARNING_RATE), steps=300, progress=False)
    values = npbn_peer.values_of(network)
    chosen = np.random.default_rng(0).integers(len(data.train[0]), size=case["images"])
    images = data.train[0][chosen]
    checker, tasks = Checker("predicted classes"), {}
    for peer in context.peers:
        for who, task in peer.evaluations(values, images).items():
            checker.check(who, task.result(task.run()))
            if context.is_timed(peer):
                tasks[who] = task
    if tasks:
        yield from context.measure(NAME, case, tasks)
