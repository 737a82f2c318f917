"""Run everything that the lesson reports, over many seeds, and write a report beside its figures.

With no flags: all of the lesson's runs and what its claims need beside, at the seeds 0 to 4, two at
a time. Results go to a file as they finish; after an interruption the same command goes on where
it stopped. At the end it writes lesson_report.html, .md and .png. All of it took three
quarters of an hour on two cores that were busy otherwise, too; --runs 2 --seeds 0 takes seconds.
"""

import argparse
import sys
from contextlib import nullcontext
from importlib.util import find_spec
from pathlib import Path

from claims import report_runs
from dask_cluster import dask_executor
from report import write_report
from runs import lesson_run, lesson_runs, runs_of

from npbn.experiments import run_all


def parse_arguments(arguments=None):
    summary, details = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(description=summary, epilog=details)
    add = parser.add_argument
    add(
        "--runs",
        default="all",
        metavar="LIST",
        help="all, or some of the lesson's run numbers, as in 1,2,7: then without what its claims "
        "need beside them; none: only what the claims need beside; default all",
    )
    add("--seeds", default="0-4", metavar="LIST", help="as in 0-4 or 0,7; default 0-4")
    add("--workers", type=int, default=2, metavar="N", help="runs at a time; default 2")
    add(
        "--output",
        type=Path,
        default=Path("lesson_report"),
        metavar="FOLDER",
        help="for results.jsonl and the report; default lesson_report",
    )
    add(
        "--dask",
        metavar="SCHEDULER",
        help="on a dask cluster instead of processes: its scheduler's address, as in "
        'tcp://host:8786, or "here" for one on this machine',
    )
    add("--only-report", action="store_true", help="no runs: the report from the results there are")
    add("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_args(arguments)
    try:
        options.seeds = numbers(options.seeds)
        options.runs = options.runs if options.runs in ("all", "none") else numbers(options.runs)
    except ValueError:
        parser.error("--seeds and --runs take numbers, as in 0-4 or 1,2,7")
    if options.workers < 1:
        parser.error(f"--workers: expected at least 1, got {options.workers}")
    if isinstance(options.runs, list) and (unknown := set(options.runs) - set(range(1, 19))):
        parser.error(f"--runs: the lesson has runs 1 to 18, got {sorted(unknown)}")
    if options.dask and not find_spec("distributed"):
        parser.error('--dask needs dask: pip install -e ".[dask]"')
    return options


def numbers(text):
    """The numbers of a list like 0-2,7."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    if not found:
        raise ValueError(text)
    return found


def wanted_runs(options):
    if isinstance(options.runs, list):
        return runs_of(map(lesson_run, options.runs), options.seeds)
    runs = report_runs(options.seeds)
    if options.runs == "none":
        own = set(runs_of(lesson_runs(), options.seeds))
        return [run for run in runs if run not in own]
    return runs


def main(arguments=None):
    options = parse_arguments(arguments)
    results = options.output / "results.jsonl"
    if not options.only_report:
        runs = wanted_runs(options)
        print(f"{len(runs)} training runs, {options.workers} at a time; results in {results}")
        settings = {"workers": options.workers, "progress": not options.quiet}
        dask = dask_executor(options.dask, options.workers) if options.dask else nullcontext()
        try:
            with dask as executor:
                records = run_all(runs, results, executor=executor, **settings)
        except KeyboardInterrupt:
            print(f"\nInterrupted. What had finished is in {results}; the same command goes on.")
            return 130
        for run, record in records.items():
            if record.result is None:
                print(f"Skipped, its worker died {record.deaths} times: {run}")
    for path in write_report(results, options.output):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
