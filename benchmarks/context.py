"""What the parts of the benchmark share: settings, peers, and checked, interleaved timing."""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np

from benchmarks import comparison, timing
from benchmarks.peers.base import Peer
from benchmarks.results import Record
from benchmarks.settings import Settings
from benchmarks.timing import Task


class Context:
    """A measuring process: its settings, its threads ("one" or "default") and its peers.

    only: the library that is timed; None: all, in interleaved turns. With default threads each is
    timed in a process of its own, as the libraries' thread pools disturb one another: each spins
    for a while when its work is done. missing: library -> why it is left out.
    """

    def __init__(
        self, settings: Settings, peers: list[Peer], threads: str = "one", only: str | None = None
    ) -> None:
        self.settings, self.peers, self.threads, self.only = settings, peers, threads, only
        self.missing: dict[str, str] = {}

    def tasks(
        self,
        what: str,
        offer: Callable[[Peer], Mapping[str, Task]],
        dtype: str = "float32",
        changes: float | None = None,
        libraries: Collection[str] | None = None,
    ) -> dict[str, Task]:
        """Contestant -> Task, of all that the peers offer, each compared with npbn's first one.

        dtype, changes: for comparison.check. libraries: the peers to ask, if not all.
        Disagreement where one computes something else. A peer that fails is missing from then on.
        """
        chosen, expected = {}, None
        for peer in self.peers:
            if peer.library in self.missing or peer.library not in (libraries or [peer.library]):
                continue
            try:
                tasks = dict(offer(peer))
                results = {who: task.results() for who, task in tasks.items()}
            except Exception as error:
                # Anything: a compiler that is not there, or fails, has many ways to say so.
                if peer.library == "npbn":
                    raise
                first = str(error).strip().partition("\n")[0]
                self.missing[peer.library] = f"{type(error).__name__}: {first}"
                continue
            for who, result in results.items():
                if expected is None:
                    expected = {name: np.array(value) for name, value in result.items()}
                comparison.check(who, what, result, expected, dtype, changes)
                if self.only in (None, peer.library):
                    chosen[who] = tasks[who]
        return chosen

    def measure(
        self, group: str, case: Mapping[str, Any], tasks: Mapping[str, Task]
    ) -> Iterator[Record]:
        """Time the tasks; one Record each."""
        settings = self.settings
        times = timing.measure(tasks, turns=settings.turns, seconds=settings.seconds)
        for who, each in times.items():
            yield Record(
                group, dict(case), who, self.threads, each.wall, cpu=each.cpu, calls=each.calls
            )
