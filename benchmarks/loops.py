"""Whole runs of the lesson's network: the training loop end to end, and evaluation.

The loop is on MNIST where NPBN_DATA has it, else on the digits that npbn carries. A call of fit has
its set-up and its look at all data inside; it does as many steps as the lesson's shortest run.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.context import Context
from benchmarks.peers import npbn_peer
from benchmarks.peers.base import LEARNING_RATE, make_setup
from benchmarks.results import Record
from benchmarks.timing import Task
from npbn import SGD, datasets, fit


def loop(context: Context) -> Iterator[Record]:
    """A Record for the bare step and for each loop around it, a step."""
    data, name = load_data()
    for batch_norm in (True, False):
        setup, count = make_setup(batch_norm), context.settings.steps
        tasks = {"bare step": npbn_peer.NpbnPeer().steps(setup)["npbn"]}
        for peer in context.peers:
            if peer.library not in context.missing:
                tasks |= peer.loops(setup, data, count)
        case = {"batch_norm": batch_norm, "data": name, "steps": count}
        yield from context.measure("loop", case, tasks)


def load_data() -> tuple[datasets.Dataset, str]:
    """MNIST if it is there, else the embedded digits; nothing is downloaded."""
    try:
        return datasets.load_mnist(download=False), "MNIST"
    except FileNotFoundError:
        return datasets.load_mnist_5k(), "5,000 digits"


def evaluation(context: Context) -> Iterator[Record]:
    """The classes of many images in inference, after some training, a Record a contestant."""
    data, count = datasets.load_mnist_5k(), context.settings.images
    images = data.train[0][np.random.default_rng(0).integers(len(data.train[0]), size=count)]
    for batch_norm in (True, False):
        network = npbn_peer.network_of(make_setup(batch_norm).values)
        # Population statistics must be some that training left; the classes as sure as they get.
        fit(network, data.train, optimizer=SGD(10 * LEARNING_RATE), steps=300, progress=False)
        values = npbn_peer.values_of(network)

        def task(classes: Callable[[], Any]) -> Task:
            return Task(classes, results=lambda: {"classes": np.asarray(classes())})

        tasks = context.tasks(
            "predicted classes",
            lambda peer, values=values: {
                who: task(classes) for who, classes in peer.evaluations(values, images).items()
            },
        )
        case = {"batch_norm": batch_norm, "images": count}
        yield from context.measure("evaluation", case, tasks)
