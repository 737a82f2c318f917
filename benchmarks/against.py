"""This checkout of npbn beside another one: how many times the other's time it takes.

    python -m benchmarks.against PATH              minutes
    python -m benchmarks.against PATH --quick step kernels

PATH is the other checkout's folder, such as a git worktree. Each of the two runs in a process of
its own, on one thread. They take turns, once it is known that both compute the same; some pairs of
processes do so one after another, as where arrays come to lie changes a time by some per cent.
"""

import argparse
import multiprocessing
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import comparison, timing
from benchmarks.formatting import seconds, table
from benchmarks.settings import SHAPES
from benchmarks.timing import Task

HERE = Path(__file__).parents[1]
# What a process computes in less than this share of a core was disturbed.
STARVED = 0.9


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
    for operation in ("forward", "backward", "forward+backward"):
        for shape in SHAPES:
            name = f"{operation}, {'x'.join(map(str, shape))}"
            yield Case("kernels", name, lambda o=operation, s=shape: _kernel(o, s))


GROUPS = ("fit", "step", "kernels")


def _fit() -> Task:
    from benchmarks.peers import base, npbn_peer
    from npbn import SGD, datasets, fit

    data, steps = datasets.load_mnist_5k().train, 500
    network = npbn_peer.network_of(base.make_setup(True).values)

    def run() -> Any:
        optimizer = SGD(base.LEARNING_RATE)
        return fit(network, data, optimizer=optimizer, steps=steps, progress=False)

    return Task(run, lambda history: {"losses": np.array(history.losses[:3])}, steps)


def _step(batch_norm: bool, batch: int) -> Task:
    from benchmarks.groups.step import STEPS_COMPARED, changes
    from benchmarks.peers import base, npbn_peer

    setup = base.make_setup(batch_norm, batch_size=batch)
    trainer = npbn_peer.NpbnPeer().trainers(setup)["npbn"]
    return Task(trainer.run, lambda _: changes(trainer.first(STEPS_COMPARED), setup.values))


def _new_shape() -> Task:
    """Steps on batches of 41 to 80 images in turn: when a size comes back, it is long forgotten."""
    from benchmarks.peers import base, npbn_peer

    (images, labels), *_ = base.make_setup(True, batch_size=80).batches
    trainer = npbn_peer.NpbnPeer().trainers(base.make_setup(True))["npbn"]
    sizes = range(41, 81)

    def run() -> list[float]:
        return [trainer.step(images[:size], labels[:size]) for size in sizes]

    return Task(run, lambda losses: {"losses": np.array(losses[:3])}, len(sizes))


def _kernel(operation: str, shape: tuple[int, ...]) -> Task:
    from benchmarks.peers import base, npbn_peer

    tasks = npbn_peer.NpbnPeer().kernels(base.KernelCase(shape, "float32"))
    return next(task for own, _, task in tasks if own == operation)


def serve(root: str, connection: Any) -> None:
    """A process that measures the npbn in the folder `root`, as the connection asks it to.

    It answers a case's name with what one call computes, a number of seconds with how many calls
    take as long, and a number of calls with (wall, processor) seconds of one operation, or with a
    text where something fails.
    """
    from threadpoolctl import threadpool_limits

    sys.path.insert(0, root)
    try:
        import npbn

        if Path(root).resolve() not in Path(npbn.__file__).resolve().parents:
            raise ImportError(f"{root}: no npbn there, got {npbn.__file__}")
        with threadpool_limits(1):
            _serve(connection)
    except EOFError:
        pass
    except Exception:
        connection.send(f"{root}:\n{traceback.format_exc()}")


def _serve(connection: Any) -> None:
    known = {case.name: case for case in cases()}
    task = Task(lambda: None)
    while True:
        asked = connection.recv()
        if isinstance(asked, str):
            task = known[asked].make()
            connection.send({k: np.array(v) for k, v in task.result(task.run()).items()})
        elif isinstance(asked, float):
            connection.send(timing.calibrated(task.run, asked))
        else:
            task.run()  # the other process had the caches
            wall, cpu = timing.one_turn(task.run, asked)
            connection.send((wall / (asked * task.units), cpu / (asked * task.units)))


class Pair:
    """A process for this checkout and one for the other; use it in a `with` statement."""

    def __init__(self, here: Path, there: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self.connections, self.processes = [], []
        for root in (here, there):
            own, its = context.Pipe()
            process = context.Process(target=serve, args=(str(root), its), daemon=True)
            process.start()
            its.close()
            self.connections.append(own)
            self.processes.append(process)

    def __enter__(self) -> "Pair":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.kill()
            process.join()

    def ask(self, place: int, what: Any) -> Any:
        """The answer of this checkout's process (0) or of the other's (1)."""
        with suppress(BrokenPipeError):  # what it said before it ended can still be read
            self.connections[place].send(what)
        try:
            answer = self.connections[place].recv()
        except EOFError:
            raise RuntimeError("a measuring process died") from None
        if isinstance(answer, str):
            raise RuntimeError(answer)
        return answer

    def measure(self, case: Case, turns: int, shortest: float) -> list[list[tuple[float, float]]]:
        """For each of the two, (wall, processor) seconds of each turn. They alternate.

        Disagreement where the two do not compute the same.
        """
        got = [self.ask(place, case.name) for place in (0, 1)]
        comparison.check("this checkout", case.name, *got, "float32", case.changes)
        calls = [self.ask(place, shortest) for place in (0, 1)]
        times: list[list[tuple[float, float]]] = [[], []]
        for turn in range(turns):
            for place in (0, 1) if turn % 2 == 0 else (1, 0):
                times[place].append(self.ask(place, calls[place]))
        return times


def compare(
    there: Path,
    groups: Iterable[str] = GROUPS,
    *,
    pairs: int = 3,
    turns: int = 11,
    shortest: float = 0.05,
    advance: Callable[[str], Any] = lambda name: None,
) -> dict[str, list[list[tuple[float, float]]]]:
    """The times of each case by its name, as Pair.measure has them; all pairs' turns in a row."""
    groups = tuple(groups)
    chosen = [case for case in cases() if case.group in groups]
    times: dict[str, list[list[tuple[float, float]]]] = {case.name: [[], []] for case in chosen}
    for _ in range(pairs):
        with Pair(HERE, there) as pair:
            for case in chosen:
                advance(case.name)
                for own, new in zip(
                    times[case.name], pair.measure(case, turns, shortest), strict=True
                ):
                    own += new
    return times


def report(times: dict[str, list[list[tuple[float, float]]]]) -> str:
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
    except (RuntimeError, comparison.Disagreement) as error:
        print(f"benchmarks.against: {error}", file=sys.stderr)
        return 1
    print(report(times))
    return 0


if __name__ == "__main__":
    sys.exit(main())
