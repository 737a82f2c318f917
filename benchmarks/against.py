"""This checkout of npbn beside another one: how many times the other's time it takes.

    python -m benchmarks.against PATH              minutes
    python -m benchmarks.against PATH --quick step kernels

PATH is the other checkout's folder, such as a git worktree. Each of the two runs in a process of
its own, on one thread. They take turns, once it is known that both compute the same; some pairs of
processes do so one after another, as where arrays come to lie changes a time by some per cent.
"""

import argparse
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import comparison, processes, timing
from benchmarks.settings import SHAPES
from benchmarks.tables import STARVED, seconds, table
from benchmarks.timing import Task

HERE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Case:
    """Something to time in both checkouts: `make` gives the task there, npbn being that one's."""

    group: str
    name: str
    make: Callable[[], Task]
    changes: float | None = None


def cases() -> Iterator[Case]:
    """All of them. Nothing of npbn is imported before `make`."""
    yield Case("fit", "fit, a step", _fit)
    yield Case("step", "step", lambda: _step(True, 60), comparison.CHANGES)
    yield Case("step", "step without batch norm", lambda: _step(False, 60), comparison.CHANGES)
    many = comparison.CHANGES_WITH_KINKS
    yield Case("step", "step, batch of 600", lambda: _step(True, 600), many)
    yield Case("step", "first step with a new shape", _new_shape)
    for operation in ("forward+backward", "forward", "backward"):
        for shape in SHAPES:
            name = f"{operation}, {'x'.join(map(str, shape))}"
            yield Case("kernels", name, lambda o=operation, s=shape: _kernel(o, s))


GROUPS = ("fit", "step", "kernels")

# By a case's name: this checkout's and the other's turns, each (wall, processor) seconds.
Pairs = dict[str, tuple[list[tuple[float, float]], list[tuple[float, float]]]]


def _fit() -> Task:
    from benchmarks.peers import base, npbn_peer
    from npbn import SGD, datasets, fit

    data, steps = datasets.load_mnist_5k().train, 500
    network = npbn_peer.network_of(base.make_setup(True).values)
    rng = np.random.default_rng(0)

    def run() -> Any:
        optimizer = SGD(base.LEARNING_RATE)
        return fit(network, data, optimizer=optimizer, steps=steps, seed=rng, progress=False)

    return Task(run, steps, lambda: {"losses": np.array(run().losses[:3])})


def _step(batch_norm: bool, batch: int) -> Task:
    from benchmarks.peers import base, npbn_peer

    setup = base.make_setup(batch_norm, batch_size=batch)
    return npbn_peer.NpbnPeer().steps(setup)["npbn"]


def _new_shape() -> Task:
    """Steps on batches of 41 to 80 images in turn: when a size comes back, it is long forgotten."""
    from benchmarks.peers import base, npbn_peer

    setup = base.make_setup(True, batch_size=80)
    (images, labels), *_ = setup.batches
    step, sizes = npbn_peer.step_of(npbn_peer.network_of(setup.values)), range(41, 81)

    def run() -> list[float]:
        return [step(images[:size], labels[:size]) for size in sizes]

    return Task(run, len(sizes), lambda: {"losses": np.array(run()[:3])})


def _kernel(operation: str, shape: tuple[int, ...]) -> Task:
    from benchmarks.peers import base, npbn_peer

    kernels = npbn_peer.NpbnPeer().kernels(base.KernelCase(shape, "float32"))
    return kernels["npbn"].task(operation, shape)


def serve(connection: Connection, root: str) -> None:
    """Measure the npbn in the folder `root`, as asked, in a process of its own.

    A case's name is answered with what it computes, a number of seconds with how many calls take as
    long, a number of calls with (wall, processor) seconds of one operation.
    """
    sys.path.insert(0, root)
    import npbn

    if Path(root).resolve() not in Path(npbn.__file__).resolve().parents:
        raise ImportError(f"{root}: no npbn there, got {npbn.__file__}")
    known = {case.name: case for case in cases()}
    task = Task(lambda: None)
    while True:
        asked = connection.recv()
        if isinstance(asked, str):
            task = known[asked].make()
            connection.send({name: np.array(each) for name, each in task.results().items()})
        elif isinstance(asked, float):
            connection.send(timing.calibrated(task.run, asked))
        else:
            task.run()  # the other process had the caches
            connection.send(timing.one_turn(task, asked))


def compare(
    there: Path,
    groups: Collection[str] = GROUPS,
    *,
    pairs: int = 3,
    turns: int = 11,
    shortest: float = 0.05,
    advance: Callable[[str], Any] = lambda name: None,
) -> Pairs:
    """Each case's times. pairs: how often fresh processes are started; the turns are of each.

    Disagreement where the two do not compute the same; processes.Failed where one fails.
    """
    chosen = [case for case in cases() if case.group in groups]
    times: Pairs = {case.name: ([], []) for case in chosen}
    for _ in range(pairs):
        with (
            processes.started(serve, str(HERE)) as here,
            processes.started(serve, str(there)) as other,
        ):
            both = here, other
            for case in chosen:
                advance(case.name)
                got, expected = (processes.ask(each, case.name) for each in both)
                comparison.check("this checkout", case.name, got, expected, changes=case.changes)
                calls = [processes.ask(each, shortest) for each in both]
                for turn in range(turns):
                    for place in (0, 1) if turn % 2 == 0 else (1, 0):
                        times[case.name][place].append(processes.ask(both[place], calls[place]))
    return times


def report(times: Pairs) -> str:
    """A table: each time, the ratios by the clock, their quartiles, and by processor time."""
    rows, starved = [], False
    for name, pair in times.items():
        (here, here_cpu), (there, there_cpu) = (zip(*each, strict=True) for each in pair)
        low, middle, high = timing.quartiles(timing.ratios(here, there))
        by_cpu = timing.ratio(here_cpu, there_cpu)
        starved |= timing.ratio(here_cpu + there_cpu, here + there) < STARVED
        texts = [seconds(float(np.median(each))) for each in (here, there)]
        rows.append([name, *texts, f"{middle:.3f}", f"{low:.3f} to {high:.3f}", f"{by_cpu:.3f}"])
    header = ["", "this", "other", "ratio", "half of the turns", "of processor time"]
    note = "\n\nThe machine was busy: rather trust the processor's time." if starved else ""
    return table(header, rows) + note


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.against",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("path", type=Path, help="a folder that has another npbn")
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(GROUPS)}; default all")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter turns")
    options = parser.parse_intermixed_args(arguments)
    if unknown := [name for name in options.groups if name not in GROUPS]:
        parser.error(f"no group {', '.join(unknown)}: there are {', '.join(GROUPS)}")
    if not (options.path / "npbn" / "__init__.py").exists():
        parser.error(f"{options.path}: no npbn there")
    amount: dict[str, Any] = {"pairs": 2, "turns": 5, "shortest": 0.01} if options.quick else {}
    try:
        times = compare(
            options.path,
            options.groups or GROUPS,
            **amount,
            advance=lambda name: print(name, file=sys.stderr),
        )
    except (processes.Failed, comparison.Disagreement) as error:
        print(f"benchmarks.against: {error}", file=sys.stderr)
        return 1
    print(report(times))
    return 0


if __name__ == "__main__":
    sys.exit(main())
