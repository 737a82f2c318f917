"""The training loop end to end: what data, loop, progress and sampling cost beside the bare step,
and other libraries' loops.

On MNIST where NPBN_DATA has it, else on the digits that npbn carries. A call of fit has its set-up
and its look at all data inside; it does as many steps as the lesson's shortest run.
"""

import io
from collections.abc import Iterator
from contextlib import redirect_stderr
from typing import Any

from benchmarks.context import Context
from benchmarks.peers import base, npbn_peer
from benchmarks.peers.base import LEARNING_RATE
from benchmarks.results import Record
from benchmarks.settings import Settings
from benchmarks.timing import Task
from npbn import SGD, datasets, fit

NAME = "loop"
DEFAULT_THREADS = False


def cases(settings: Settings) -> list[dict[str, Any]]:
    """With batch norm and without."""
    return [{"batch_norm": batch_norm} for batch_norm in (True, False)]


def run(case: dict[str, Any], context: Context) -> Iterator[Record]:
    """A Record for the bare step and for each loop around it, a step."""
    data, name = load_data()
    setup, steps = base.make_setup(case["batch_norm"]), context.settings.loop_steps

    def fitting(validation=None, progress=False):
        network = npbn_peer.network_of(setup.values)

        def run():
            with redirect_stderr(_Terminal()):
                fit(
                    network,
                    data.train,
                    validation,
                    optimizer=SGD(LEARNING_RATE),
                    steps=steps,
                    progress=progress,
                )

        return Task(run, units=steps)

    tasks = {
        "bare step": npbn_peer.NpbnPeer().trainers(setup)["npbn"].task(),
        "training_steps": npbn_peer.training_steps_task(setup.values, data.train, 60),
        "fit": fitting(),
        "fit, progress bar": fitting(progress=True),
        "fit, sampling every 500": fitting(validation=data.validation),
    }
    for peer in context.peers:
        tasks |= peer.loops(setup, data.train, 60, steps)
    yield from context.measure(NAME, {**case, "data": name, "steps": steps}, tasks)


def load_data() -> tuple[datasets.Dataset, str]:
    """MNIST if it is there, else the embedded digits; nothing is downloaded."""
    try:
        return datasets.load_mnist(download=False), "MNIST"
    except FileNotFoundError:
        return datasets.load_mnist_5k(), "5,000 digits"


class _Terminal(io.TextIOBase):
    """A terminal that nobody looks at: progress bars draw on it."""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        return len(text)
