"""Import and memory: what npbn costs before it computes, and beside it."""

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from importlib import util
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import peers, processes
from benchmarks.context import Context
from benchmarks.loops import load_data
from benchmarks.peers import npbn_peer
from benchmarks.peers.base import make_setup
from benchmarks.results import Record

ROOT = Path(__file__).parents[1]
MODULES = {
    "numpy": "npbn",
    "npbn": "npbn",
    "torch": "pytorch",
    "jax": "jax",
    "tensorflow": "tensorflow",
    "autograd": "autograd",
    "sklearn.neural_network": "sklearn",
}
RUNS = {"npbn": "npbn", "PyTorch": "pytorch", "Keras": "tensorflow"}

_IMPORT = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def imports(context: Context) -> Iterator[Record]:
    """A Record for each module that is installed and belongs to a peer that is asked for."""
    libraries = {peer.library for peer in context.peers}
    seconds: dict[str, list[float]] = {
        module: []
        for module, library in MODULES.items()
        if library in libraries and util.find_spec(module.partition(".")[0])
    }
    # The file system has them all in its cache: this process has imported them itself.
    for _ in range(context.settings.starts):
        for module, values in seconds.items():
            command = [sys.executable, "-c", _IMPORT.format(module)]
            done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
            values.append(float(done.stdout.split()[-1]))
    for module, values in seconds.items():
        yield Record("import", {}, module, context.threads, values)


def memory(context: Context) -> Iterator[Record]:
    """Bytes: the most that a step after the first has allocated at a time, and a whole run's peak.

    Of a batch of 60 NumPy's own buffers for casting, some 30 kB, are most of it.
    """
    for batch_norm in (True, False):
        for batch in (60, 600):
            setup = make_setup(batch_norm, batch_size=batch)
            activation = 4 * batch * setup.values["weight0"].shape[1]
            case = {"what": "step", "batch_norm": batch_norm, "batch": batch}
            case["activation_bytes"] = activation
            for who, step in (
                ("npbn", npbn_peer.NpbnPeer().steps(setup)["npbn"].run),
                ("training_steps", npbn_peer.training_steps_task(setup, setup.batches[0]).run),
            ):
                for _ in range(3):
                    step()
                values = [float(peak_allocation(step)) for _ in range(context.settings.turns)]
                yield Record("memory", case, who, context.threads, values, unit="bytes")
    libraries = {peer.library for peer in context.peers}
    for who, library in RUNS.items():
        if library in libraries:
            count = context.settings.steps
            with processes.started(_whole_run, library, count) as connection:
                (peak,) = processes.messages(connection)
            case = {"what": "run", "steps": count}
            yield Record("memory", case, who, context.threads, [float(peak)], unit="bytes")


def peak_allocation(call: Callable[[], Any]) -> int:
    """The most bytes that a call had allocated at a time; NumPy reports its arrays, too."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def _whole_run(connection: Connection, library: str, steps: int) -> None:
    """A run of the lesson's network on MNIST, as the library's users have it."""
    peer = peers.load([library])[0][-1]
    next(iter(peer.loops(make_setup(True), load_data()[0], steps).values())).run()
    connection.send(_peak_bytes())


def _peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        # ru_maxrss would be the parent's where that one was larger: exec does not reset it.
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
