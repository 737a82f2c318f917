"""Functions from a run to a result that worker processes can import."""

import hashlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from npbn.experiments import Result


@dataclass(frozen=True)
class Roll:
    """The description of another experiment's run."""

    seed: int


@dataclass(frozen=True)
class Pips:
    """Its result."""

    number: int
    throws: tuple[tuple[int, ...], ...]


def roll(run):
    """From the one to the other."""
    return Pips(run.seed % 6 + 1, ((1, 2), (run.seed,)))


def made_up(run):
    """A result at once, the same for the same run."""
    digest = hashlib.sha256(str(run).encode()).hexdigest()
    accuracy = int(digest[:4], 16) / 0xFFFF
    return Result(
        validation_accuracy=accuracy,
        test_accuracy=accuracy,
        training_accuracy=accuracy,
        accuracies=(0.1, accuracy),
        seconds=1.0,
        outcome="finite",
        diverged_at=None,
        constant_units=(0.0,),
        digest=digest,
    )


def slow(run):
    """The same, and a line in a file whose name NPBN_TEST_LOG has."""
    with Path(os.environ["NPBN_TEST_LOG"]).open("a") as file:
        file.write(f"{run.seed}\n")
    time.sleep(0.05)
    return made_up(run)


def deadly(run):
    """Seed 3 kills its process, each time."""
    if run.seed == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return slow(run)


def failing(run):
    """Seed 1 raises."""
    if run.seed == 1:
        raise ZeroDivisionError("seed 1")
    return made_up(run)
