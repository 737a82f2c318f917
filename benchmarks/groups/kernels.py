"""Batch norm's kernels: forward, backward, both, inference, and with ReLU behind it.

The floor is NumPy's own copy of an array of x's size, in the same turns, times the share of a
copy's bytes that the operation must move at least: a copy reads x and writes as much; so does the
forward pass, the backward pass reads x and dy and writes dx, both together move five arrays. ReLU
adds none. For arrays that fit a cache, the copy is one within it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.context import Checker, Context
from benchmarks.peers.base import OPERATIONS, KernelCase
from benchmarks.results import Record
from benchmarks.settings import Settings
from benchmarks.timing import Task

NAME = "kernels"
DEFAULT_THREADS = True

# Arrays of x's size that must be read or written.
ARRAYS_MOVED = {
    "forward": 2,
    "backward": 3,
    "forward+backward": 5,
    "inference": 2,
    "bn+relu": 5,
}


def cases(settings: Settings) -> list[dict[str, Any]]:
    """A case is a shape and a type, with all operations."""
    return [
        {"shape": list(shape), "dtype": dtype}
        for dtype in settings.dtypes
        for shape in settings.shapes
    ]


def run(case: dict[str, Any], context: Context) -> Iterator[Record]:
    """A Record for each operation and contestant, and the floors."""
    arrays = KernelCase(case["shape"], case["dtype"])
    operations = OPERATIONS if context.only is None else ("forward+backward",)
    for operation in operations:
        tasks = checked_tasks(operation, arrays, context)
        if context.only is None:
            tasks["floor"] = floor(operation, arrays)
        yield from context.measure(NAME, {"operation": operation, **case}, tasks)


def checked_tasks(operation: str, arrays: KernelCase, context: Context) -> dict[str, Task]:
    """The contestants' tasks, each compared with npbn's result."""
    checker = Checker(f"batch norm {operation}, {arrays.shape} {arrays.dtype}", arrays.dtype)
    tasks = {}
    for peer in context.peers:
        for own_operation, who, task in peer.kernels(arrays):
            if own_operation == operation:
                checker.check(who, task.result(task.run()))
                if context.is_timed(peer):
                    tasks[who] = task
    return tasks


def floor(operation: str, arrays: KernelCase) -> Task:
    """The time in which the bytes that the operation must move are moved by a copy."""
    source, target = arrays.x, np.empty_like(arrays.x)
    np.copyto(target, source)
    return Task(lambda: np.copyto(target, source), units=2 / ARRAYS_MOVED[operation])
