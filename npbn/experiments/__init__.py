"""Training runs as descriptions, many of them over seeds and processes, their results in a file."""

from npbn.experiments.description import Run, build
from npbn.experiments.measure import Result, perform
from npbn.experiments.results import Record, machine, read_results
from npbn.experiments.runner import run_all

__all__ = [
    "Record",
    "Result",
    "Run",
    "build",
    "machine",
    "perform",
    "read_results",
    "run_all",
]
