"""Batch norm's kernels: forward, backward, both, inference, and with ReLU behind it.

The floor is NumPy's own copy of an array of x's size, in the same turns, times the share of a
copy's bytes that the operation must move at least: a copy reads x and writes as much; so does the
forward pass, the backward pass reads x and dy and writes dx, both together move five arrays. ReLU
adds none. For arrays that fit a cache, the copy is one within it.
"""

from collections.abc import Iterator

import numpy as np

from benchmarks.context import Context
from benchmarks.peers.base import KernelCase
from benchmarks.results import Record
from benchmarks.timing import Task

# The operations, and how many arrays of x's size each must read or write.
ARRAYS_MOVED = {"forward": 2, "backward": 3, "forward+backward": 5, "inference": 2, "bn+relu": 5}


def kernels(context: Context) -> Iterator[Record]:
    """A Record for each type, shape, operation and contestant, and the floors."""
    for dtype in context.settings.dtypes:
        for shape in context.settings.shapes:
            arrays = KernelCase(shape, dtype)
            for operation in ARRAYS_MOVED if context.only is None else ("forward+backward",):
                tasks = checked_tasks(operation, arrays, context)
                if context.only is None:
                    tasks["floor"] = floor(operation, arrays)
                case = {"operation": operation, "shape": list(shape), "dtype": dtype}
                yield from context.measure("kernels", case, tasks)


def checked_tasks(operation: str, arrays: KernelCase, context: Context) -> dict[str, Task]:
    """The contestants' tasks, each compared with npbn's result."""
    return context.tasks(
        f"batch norm {operation}, {arrays.shape} {arrays.dtype}",
        lambda peer: {
            who: task
            for who, kernels in peer.kernels(arrays).items()
            if (task := kernels.task(operation, arrays.shape))
        },
        arrays.dtype,
    )


def floor(operation: str, arrays: KernelCase) -> Task:
    """The time in which the bytes that the operation must move are moved by a copy."""
    source, target = arrays.x, np.empty_like(arrays.x)
    return Task(lambda: np.copyto(target, source), units=2 / ARRAYS_MOVED[operation])
