"""Memory: what a training step allocates after the first, and a run's peak resident memory."""

import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.context import Context
from benchmarks.groups.imports import ROOT
from benchmarks.peers import base, npbn_peer
from benchmarks.results import Record
from benchmarks.settings import Settings

NAME = "memory"
DEFAULT_THREADS = False
RUNS = {"npbn": "npbn", "PyTorch": "pytorch", "Keras": "tensorflow"}


def cases(settings: Settings) -> list[dict[str, Any]]:
    """A step with batch norm and without, of a small batch and a larger one, and the run.

    Of the small batch NumPy's own buffers for casting, some 30 kB, are most of it.
    """
    steps = [
        {"what": "step", "batch_norm": batch_norm, "batch": batch}
        for batch_norm in (True, False)
        for batch in (60, 600)
    ]
    return [*steps, {"what": "run", "steps": settings.run_steps}]


def run(case: dict[str, Any], context: Context) -> Iterator[Record]:
    """Bytes: of the step's largest allocation at a time, or of the run's whole process."""
    if case["what"] == "step":
        setup = base.make_setup(case["batch_norm"], batch_size=case["batch"])
        images, _ = setup.batches[0]
        activation = len(images) * setup.values["weight0"].shape[1] * images.itemsize
        case = {**case, "activation_bytes": activation}
        for who, step in _steps(setup).items():
            for _ in range(3):
                step()
            values = [float(peak_allocation(step)) for _ in range(context.settings.turns)]
            yield Record(NAME, case, who, context.threads, values, unit="bytes")
        return
    libraries = {peer.library for peer in context.peers}
    for who, library in RUNS.items():
        if library in libraries:
            value = float(resident_peak(who, case["steps"]))
            yield Record(NAME, case, who, context.threads, [value], unit="bytes")


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


def resident_peak(who: str, steps: int) -> int:
    """The most resident memory of a fresh process that trains the lesson's network, in bytes."""
    command = [sys.executable, "-m", "benchmarks.groups.whole_run", who, str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise RuntimeError(f"the run with {who} failed:\n{done.stderr}")
    return int(done.stdout.split()[-1])


def _steps(setup: base.Setup) -> dict[str, Callable[[], Any]]:
    trainer = npbn_peer.NpbnPeer().trainers(setup)["npbn"]
    batch = setup.batches[0]
    data = npbn_peer.training_steps_task(setup.values, batch, len(batch[0]))
    return {"npbn": trainer.run, "training_steps": data.run}
