"""Interleaved turns: A B C A B C ..., so that what disturbs the machine disturbs all alike.

Between two benchmarks that run one after another lie minutes, in which a shared machine's speed
drifts by more than the ratio that is wanted. Repetitions are calibrated to a shortest time, a
warm-up is not counted, every value is kept: that is pyperf's method, which has no interleaving.
"""

import gc
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Task:
    """Something to time: run is the timed call, nothing but what a user would write.

    units: how many operations one call does; the time is that of one. results: computes, untimed,
    arrays by name, to compare them.
    """

    run: Callable[[], Any]
    units: float = 1.0
    results: Callable[[], Mapping[str, Any]] = dict


@dataclass
class Times:
    """Seconds an operation took, turn by turn, on the clock and of the processor's time."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    calls: int = 1


def measure(
    tasks: Mapping[str, Task],
    *,
    turns: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    cpu_clock: Callable[[], float] = time.process_time,
) -> dict[str, Times]:
    """Time all tasks in interleaved turns; each turn of each takes `seconds` or one call.

    Every other round goes backwards, so that nobody always comes after the same neighbour. Returns
    the times by the tasks' names; value i of each was taken in the same round.
    """
    times = {name: Times(calls=calibrated(t.run, seconds, clock)) for name, t in tasks.items()}
    with _quiet_collector():
        for turn in range(turns):
            for name in list(tasks) if turn % 2 == 0 else list(reversed(tasks)):
                wall, cpu = one_turn(tasks[name], times[name].calls, clock, cpu_clock)
                times[name].wall.append(wall)
                times[name].cpu.append(cpu)
    return times


def one_turn(
    task: Task,
    calls: int,
    clock: Callable[[], float] = time.perf_counter,
    cpu_clock: Callable[[], float] = time.process_time,
) -> tuple[float, float]:
    """Seconds that each operation of so many calls took, on the clock and of processor time."""
    run, operations = task.run, calls * task.units
    cpu, start = cpu_clock(), clock()
    for _ in repeat(None, calls):
        run()
    return (clock() - start) / operations, (cpu_clock() - cpu) / operations


def calibrated(
    run: Callable[[], Any], seconds: float, clock: Callable[[], float] = time.perf_counter
) -> int:
    """How many calls take `seconds`, found after a call that warms up."""
    run()
    calls = 1
    while True:
        taken = calls * one_turn(Task(run), calls, clock, clock)[0]
        if taken >= seconds:
            return calls
        # By the time taken, but at most tenfold: a short time says little about a long one.
        calls = max(calls + 1, int(calls * min(10.0, 1.1 * seconds / max(taken, 1e-9))))


def ratios(numerator: Iterable[float], denominator: Iterable[float]) -> list[float]:
    """The ratios of turns that were taken in the same round."""
    return [above / below for above, below in zip(numerator, denominator, strict=True)]


def ratio(numerator: Iterable[float], denominator: Iterable[float]) -> float:
    """Their median."""
    return float(np.median(ratios(numerator, denominator)))


def quartiles(values: Iterable[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    low, middle, high = np.percentile(list(values), [25, 50, 75])
    return float(low), float(middle), float(high)


@contextmanager
def _quiet_collector() -> Any:
    """Leave what the libraries made at import to itself: to search it takes 0.1 s a collection."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
