"""The measuring processes, one after another: what each measures, and what comes of it."""

import sys
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection

from benchmarks import (
    footprint,
    images,
    kernels,
    loops,
    machine,
    peers,
    processes,
    sequences,
    steps,
)
from benchmarks.context import Context
from benchmarks.results import Record, Results
from benchmarks.settings import Settings

GROUPS: dict[str, Callable[[Context], Iterator[Record]]] = {
    "import": footprint.imports,
    "memory": footprint.memory,
    "kernels": kernels.kernels,
    "step": steps.steps,
    "loop": loops.loop,
    "evaluation": loops.evaluation,
    "growth": steps.growth,
    "images": images.images,
    "sequences": sequences.sequences,
}
WITH_DEFAULT_THREADS = ("kernels", "step", "evaluation")


def work(
    connection: Connection,
    settings: Settings,
    groups: list[str],
    libraries: list[str],
    threads: str = "one",
    only: str | None = None,
) -> None:
    """In a process of its own: measure, and send Records, and parts of Results as dicts."""
    found, missing = peers.load(libraries)
    own = Context(settings, found, threads, only)
    connection.send({"machine": machine.describe(), "versions": machine.versions()})
    for name in groups:
        for record in GROUPS[name](own):
            connection.send(record)
    connection.send({"missing": missing | own.missing})


def measure(
    results: Results, settings: Settings, groups: list[str], libraries: list[str], default: bool
) -> None:
    """Add all measurements to the results as they come. default: with default threads as well."""
    again = [name for name in groups if name in WITH_DEFAULT_THREADS] if default else []
    requests: list[tuple] = [(groups, libraries)]
    if again:
        requests += [(again, [each], "default", each) for each in ("npbn", *libraries)]
    for request in requests:
        threads = "default" if len(request) > 2 else "one"
        with processes.started(work, settings, *request, threads=threads) as connection:
            for message in processes.messages(connection):
                if isinstance(message, Record):
                    results.records.append(message)
                    case = ", ".join(map(str, message.case.values()))
                    print(f"{message.group}: {case}: {message.who}", file=sys.stderr)
                else:
                    for name, new in message.items():
                        getattr(results, name).update(new)
