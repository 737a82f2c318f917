"""What the parts of the benchmark share: settings, peers, and checked, interleaved timing."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks import comparison, timing
from benchmarks.peers.base import Peer
from benchmarks.results import Record
from benchmarks.settings import Settings
from benchmarks.timing import Task

Results = Mapping[str, Any]


class Context:
    """A measuring process: its settings, its threads ("one" or "default") and its peers.

    only: the library that is timed; None: all, in interleaved turns. With default threads each is
    timed in a process of its own, as the libraries' thread pools disturb one another: each spins
    for a while when its work is done.
    """

    def __init__(
        self, settings: Settings, peers: list[Peer], threads: str = "one", only: str | None = None
    ) -> None:
        self.settings, self.peers, self.threads, self.only = settings, peers, threads, only

    def measure(
        self, group: str, case: Mapping[str, Any], tasks: Mapping[str, Task]
    ) -> Iterator[Record]:
        """Time the tasks; one Record each."""
        settings = self.settings
        times = timing.measure(tasks, turns=settings.turns, seconds=settings.seconds)
        for who, each in times.items():
            yield self.record(group, case, who, each)

    def record(self, group: str, case: Mapping[str, Any], who: str, times: timing.Times) -> Record:
        """The Record of measured times."""
        return Record(
            group, dict(case), who, self.threads, times.wall, cpu=times.cpu, calls=times.calls
        )

    def is_timed(self, peer: Peer) -> bool:
        """Whether this process is to time the peer."""
        return self.only in (None, peer.library)


class Checker:
    """Holds each contestant's results against npbn's, which come first."""

    def __init__(self, what: str, dtype: str = "float32", changes: float | None = None) -> None:
        self.what, self.dtype, self.changes = what, dtype, changes
        self._expected: dict[str, Results] = {}

    def check(self, who: str, results: Results, key: str = "") -> None:
        """Disagreement if they differ from those of the first who came with this key."""
        copies = {name: np.array(value) for name, value in results.items()}
        if key not in self._expected:
            self._expected[key] = copies
        else:
            what = f"{self.what} {key}".strip()
            comparison.check(who, what, copies, self._expected[key], self.dtype, self.changes)
