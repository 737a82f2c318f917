"""Many runs side by side, their results kept as they finish."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from typing import Any

from npbn import _checks as checks
from npbn._progress import progress_bar
from npbn.experiments.description import Run
from npbn.experiments.measure import Result, perform
from npbn.experiments.results import Record, ResultsFile, machine

# A run whose worker has died this often is skipped.
DEATHS = 2

Perform = Callable[[Any], Any]


def run_all(
    runs: Iterable[Any],
    path: str | os.PathLike[str],
    *,
    workers: int = 2,
    executor: Executor | None = None,
    progress: bool = True,
    perform: Perform = perform,
    result_type: Any = Result,
) -> dict[Any, Record]:
    """Perform each run once, and return the records of all of them.

    Results go to a file as they finish. Runs that it has already are not repeated: after an
    interruption, the same call goes on where it stopped.

    Parameters
    ----------
    runs : iterable of Run
    path : path
        The file, a JSON line a result.
    workers : int
        How many runs at a time, each in a process of its own with one BLAS thread.
    executor : concurrent.futures.Executor or None
        Any, instead of those processes; workers then says how many runs it is handed at a time.
    progress : bool
        Whether one bar over all runs, by their batches, is shown.
    perform, result_type : function, type
        From a run to its result, and the class of the results; they and the runs must pickle.
        Another experiment's runs and results may be any frozen dataclasses of what JSON has, their
        lists as tuples.

    Returns
    -------
    dict
        Run -> Record.

    Raises
    ------
    ValueError
        For a bad results file.
    RuntimeError
        Naming the runs in flight, where a worker of the caller's executor dies: that cannot be
        started again, and the same call goes on.

    Notes
    -----
    Where a worker dies, what had finished is kept, and the runs that were in flight are tried
    again, one at a time; one whose worker has died twice is recorded as that (result None) and
    skipped. What a run itself raises is raised here.
    """
    workers = checks.integer("workers", workers, minimum=1)
    runs = list(dict.fromkeys(checks.items("runs", runs, "runs")))
    file = ResultsFile(path, (type(runs[0]) if runs else Run, result_type))
    waiting = [run for run in runs if not _is_settled(file.records.get(run))]
    with progress_bar(
        sum(map(_cost, runs)),
        enabled=progress,
        unit="batch",
        initial=sum(map(_cost, runs)) - sum(map(_cost, waiting)),
    ) as bar:

        def settle(run: Any, result: tuple[Any, dict[str, str]]) -> None:
            file.append(Record(run, result[0], 0, result[1]))
            bar.update(_cost(run))

        if executor is not None:
            died = _drain(executor, waiting, workers, perform, settle)
            if died:
                _record_deaths(file, died)
                raise RuntimeError(_in_flight(died) + "; what had finished is kept: call again")
        else:
            while waiting:
                # After a death one at a time, so that it is known whose worker dies.
                suspects = [run for run in waiting if run in file.records]
                batch, at_once = (suspects[:1], 1) if suspects else (waiting, workers)
                with _pool(at_once) as pool:
                    died = _drain(pool, batch, at_once, perform, settle)
                if died:
                    print(_in_flight(died) + "; going on")
                    _record_deaths(file, died)
                    for run in died:
                        if _is_settled(file.records[run]):
                            bar.update(_cost(run))
                waiting = [run for run in waiting if not _is_settled(file.records.get(run))]
    return {run: file.records[run] for run in runs}


def _cost(run: Any) -> int:
    return getattr(run, "batches", 1)


def _is_settled(record: Record | None) -> bool:
    return record is not None and (record.result is not None or record.deaths >= DEATHS)


def _in_flight(died: list[Any]) -> str:
    return "A worker died; in flight: " + "; ".join(map(str, died))


def _record_deaths(file: ResultsFile, died: list[Any]) -> None:
    for run in died:
        before = file.records[run].deaths if run in file.records else 0
        file.append(Record(run, None, before + 1, machine()))


def _drain(
    executor: Executor,
    runs: list[Any],
    at_once: int,
    perform: Perform,
    settle: Callable[[Any, Any], None],
) -> list[Any]:
    """Hand the runs over, a few at a time; the runs that were in flight when a worker died."""
    queue = iter(runs)
    pending: dict[Future[Any], Any] = {}
    while True:
        while len(pending) < at_once and (run := next(queue, None)) is not None:
            try:
                pending[executor.submit(_performed, perform, run)] = run
            except BrokenExecutor:
                return [*pending.values(), run]
        if not pending:
            return []
        done, _ = wait(pending, return_when=FIRST_COMPLETED)
        died = []
        for future in done:
            run = pending.pop(future)
            error = future.exception()
            if error is None:
                settle(run, future.result())
            elif _is_death(error):
                died.append(run)
            else:
                raise error
        if died:
            finished, _ = wait(pending)
            for future in finished:
                run = pending.pop(future)
                if future.exception() is None:
                    settle(run, future.result())
                else:
                    died.append(run)
            return died


def _is_death(error: BaseException) -> bool:
    # dask.distributed has a class of its own, which a library that does not need it cannot import.
    return isinstance(error, BrokenExecutor) or type(error).__name__ == "KilledWorker"


def _performed(perform: Perform, run: Any) -> tuple[Any, dict[str, str]]:
    return perform(run), machine()


def _pool(workers: int) -> _Pool:
    return _Pool(
        workers,
        # Spawned, as fork is not safe beside BLAS threads, and not there on every system.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )


class _Pool(ProcessPoolExecutor):
    """A pool that does not wait for running runs where an exception leaves it."""

    def __exit__(self, kind: Any, *rest: Any) -> None:
        if kind is not None:
            for process in list((self._processes or {}).values()):
                process.terminate()
        self.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    from threadpoolctl import threadpool_limits

    # Ctrl-C reaches every process of a terminal; the first process decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threadpool_limits(1, user_api="blas")
