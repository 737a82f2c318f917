"""Starts the measuring processes, one after another, and gathers what they send."""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks import groups
from benchmarks.groups.imports import ROOT
from benchmarks.results import Record, Results
from benchmarks.settings import Settings, environment


class WorkerFailed(Exception):
    """A measuring process ended early; the message is its own."""


def plan(
    settings: Settings, chosen: Iterable[str], libraries: Iterable[str], default_threads: bool
) -> list[dict[str, Any]]:
    """The requests to worker processes: all with one thread, then each with its default threads."""
    chosen, libraries = list(chosen), list(libraries)
    common = {"settings": settings.as_dict()}
    first = {"groups": chosen, "libraries": libraries, "threads": "one", "only": None}
    requests = [common | first]
    again = [name for name in chosen if groups.group(name).DEFAULT_THREADS]
    if default_threads and again:
        for library in dict.fromkeys(["npbn", *libraries]):
            own = {"groups": again, "libraries": [library], "threads": "default", "only": library}
            requests.append(common | own)
    return requests


def size(request: dict[str, Any]) -> int:
    """How many cases a request has."""
    settings = Settings.from_dict(request["settings"])
    return sum(len(groups.group(name).cases(settings)) for name in request["groups"])


def gather(request: dict[str, Any], results: Results, on_case: Callable[[str], Any]) -> None:
    """Run a worker; add what it measures to results as it comes, and report each finished case.

    WorkerFailed with the worker's own message where it fails; a peer that disagrees is one.
    """
    command = [sys.executable, "-m", "benchmarks.worker", json.dumps(request)]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment(request["threads"]),
            cwd=ROOT,
            text=True,
            encoding="utf-8",
        )
        error = None
        try:
            assert process.stdout is not None
            for line in process.stdout:
                message = json.loads(line)
                error = message.get("error", error)
                _add(message, request["threads"], results)
                if "done" in message:
                    on_case(message["done"])
            process.wait()
        finally:
            process.kill()
            process.communicate()
        if error is not None or process.returncode:
            log.seek(0)
            raise WorkerFailed(error or f"a measuring process died:\n{log.read()[-3000:]}")


def _add(message: dict[str, Any], threads: str, results: Results) -> None:
    if "record" in message:
        results.records.append(Record(**message["record"]))
    results.missing |= message.get("missing", {})
    results.versions |= message.get("versions", {})
    if "machine" in message and threads not in results.machine.get("blas_threads", {}):
        described = dict(message["machine"])
        counts = {threads: described.pop("blas_threads")}
        before = results.machine.get("blas_threads", {})
        results.machine = described | results.machine | {"blas_threads": before | counts}
