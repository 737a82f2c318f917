"""Run everything that the lesson reports, over many seeds, and write a report beside its figures.

With no flags: all of the lesson's runs and what its claims need beside, at the seeds 0 to 4, two at
a time. Results go to a file as they finish; after an interruption the same command goes on where
it stopped. At the end it writes lesson_report.html, .md and .png. All of it took three
quarters of an hour on two cores that were busy otherwise, too; --runs 2 --seeds 0 takes seconds.
"""

import argparse
import sys
from pathlib import Path

from npbn.experiments import run_all
from npbn.lesson import CLAIMS, lesson_runs, report_runs, write_report


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
    known = {number for call in lesson_runs() for number in call.numbers}
    if not isinstance(options.runs, str) and (unknown := set(options.runs) - known):
        parser.error(f"--runs: the lesson has runs 1 to 18, got {sorted(unknown)}")
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
    if options.runs == "all":
        return report_runs(options.seeds)
    if options.runs == "none":
        return [run for claim in CLAIMS for seed in options.seeds for run in claim.extra_runs(seed)]
    calls = [call for call in lesson_runs() if set(call.numbers) & set(options.runs)]
    return [run for call in calls for run in call.runs(options.seeds)]


def main(arguments=None):
    options = parse_arguments(arguments)
    results = options.output / "results.jsonl"
    if not options.only_report:
        runs = wanted_runs(options)
        print(f"{len(runs)} training runs, {options.workers} at a time; results in {results}")
        try:
            records = run_all(runs, results, workers=options.workers, progress=not options.quiet)
        except KeyboardInterrupt:
            print(f"\nInterrupted. What had finished is in {results}; the same command goes on.")
            return 130
        lost = [run for run, record in records.items() if record.result is None]
        for run in lost:
            print(f"Skipped, its worker died {records[run].deaths} times: {run}")
    for path in write_report(results, options.output):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
