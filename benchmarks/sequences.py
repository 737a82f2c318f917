"""An LSTM, and the norms of each example, forward and backward in float32, on one thread.

Beside npbn's LSTM stands its normalized one, which nobody else has, in the same turns. PyTorch has
images in the memory format channels_last, as npbn has them, and in its usual one.
"""

from collections.abc import Iterator

import npbn
from benchmarks.context import Context
from benchmarks.peers.base import SequenceCase
from benchmarks.peers.npbn_peer import passes_of
from benchmarks.results import Record
from benchmarks.timing import Task

NORMALIZED = "npbn, BatchNormLSTM"


def sequences(context: Context) -> Iterator[Record]:
    """A Record for each layer and contestant."""
    for each in context.settings.sequences:
        case = SequenceCase(*each)
        tasks = context.tasks(case.text, lambda peer, case=case: peer.sequences(case))
        if case.layer == "LSTM":
            tasks[NORMALIZED] = normalized(case)
        about = {"layer": case.text, "shape": list(case.shape)}
        yield from context.measure("sequences", about, tasks)


def normalized(case: SequenceCase) -> Task:
    """Recurrent batch norm in the place of the case's LSTM."""
    _, steps, features = case.shape
    layer = npbn.BatchNormLSTM(features, case.size, steps=steps, rng=0)
    return case.task(passes_of(layer, case))
