"""Tables from a results file; the figure with --figure. Nothing is measured here."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from benchmarks import timing
from benchmarks.bounds import bounds
from benchmarks.formatting import seconds, size, slope, spread, table
from benchmarks.results import Record, Results, cases

NPBN = "npbn"

# A task that computes all the time uses one core; much less than that, and others had it.
STARVED = 0.9
# And what has one thread must not use much more.
THREADED = 1.2


def report(results: Results) -> str:
    """All tables, in Markdown that also reads well in a terminal."""
    parts = [_head(results)]
    for name, make in _SECTIONS.items():
        if records := [record for record in results.records if record.group == name]:
            parts += make(records, results)
    parts += _bounds(results)
    if results.missing:
        lines = "\n".join(f"- {who}: {reason}" for who, reason in sorted(results.missing.items()))
        parts.append(f"## Left out\n\n{lines}")
    return "\n\n".join(parts) + "\n"


def _head(results: Results) -> str:
    machine, run = results.machine, results.run
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    lines = [
        f"Measured {run.get('started', '')} on {machine.get('cpu', 'an unknown CPU')}, "
        f"{machine.get('cores', '?')} cores, {machine.get('system', '')}, "
        f"Python {machine.get('python', '')}.",
        f"BLAS: {'; '.join(machine.get('blas', []))}. Versions: {versions}. "
        f"Commit {machine.get('commit', 'unknown')}.",
        "Medians of interleaved turns, one thread each unless said; ± is half the distance between "
        "the quartiles; x is npbn's time over the other's, the median over turns.",
    ]
    if machine.get("huge_pages") == "madvise":
        lines.append(
            "Huge pages: on demand, so NumPy's large arrays have them, and PyTorch's only with "
            "THP_MEM_ALLOC_ENABLE=1, which was not set."
        )
    if run.get("quick"):
        lines.append("A quick run: few turns, not for quoting.")
    if not run.get("complete", True):
        lines.append("The run did not finish.")
    if starved := [each for each in results.records if each.cores and each.cores < STARVED]:
        lines.append(
            f"Something else was at work on the machine: {len(starved)} of {len(results.records)} "
            f"measurements had less than {STARVED} of a core."
        )
    one = [each for each in results.records if each.threads == "one" and each.cores is not None]
    if who := sorted({each.who for each in one if each.cores > THREADED}):
        lines.append(
            f"More than {THREADED} cores with one thread, here and there: {', '.join(who)}."
        )
    return "\n".join(lines)


def _over(above: Record | None, below: Record | None) -> str:
    if above is None or below is None or above is below:
        return ""
    return f"x {timing.ratio(above.values, below.values):.2f}"


def _kernels(records: list[Record], results: Results) -> Iterator[str]:
    """A table an operation and type: a row a contestant, three columns a shape."""
    kinds = dict.fromkeys((r.threads, r.case["operation"], r.case["dtype"]) for r in records)
    for threads, operation, dtype in kinds:
        own = [
            record
            for record in records
            if (record.threads, record.case["operation"], record.case["dtype"])
            == (threads, operation, dtype)
        ]
        shapes = list(dict.fromkeys(tuple(record.case["shape"]) for record in own))
        rows = []
        for who in dict.fromkeys(record.who for record in own):
            row = [who]
            for shape in shapes:
                found = {r.who: r for r in own if tuple(r.case["shape"]) == shape}
                # With default threads the turns were not taken together.
                row += _cells(found.get(who), found.get(NPBN) if threads == "one" else None)
            rows.append(row)
        names = ["x".join(map(str, shape)) for shape in shapes]
        header = ["", *(cell for name in names for cell in (name, "±", "x"))]
        alone = "" if threads == "one" else ", default threads, each library alone"
        note = _NOTES.get(operation, "")
        yield f"## Batch norm, {operation}, {dtype}{alone}\n\n{note}{table(header, rows)}"


_NOTES = {
    "bn+relu": "Forward and backward. npbn and PyTorch, whose layers these are, also move the "
    "population statistics; npbn's, in a network, keeps its arrays from call to call.\n\n"
}


def _cells(record: Record | None, npbn: Record | None) -> list[str]:
    if record is None:
        return ["-", "", ""]
    return [seconds(record.median), spread(record), _over(npbn, record)]


def _contestants(
    records: list[Record], title: Callable[[Any], str], against: str = NPBN
) -> Iterator[str]:
    """A table a case: a row a contestant, with its default threads' time where it was taken.

    Ratios are npbn's time over a peer's; where `against` is another name, each over that one's.
    """
    for case, own in cases(record for record in records if record.threads == "one"):
        first = next((record for record in own if record.who == against), None)
        default = {
            record.who: record
            for record in records
            if record.threads == "default" and record.case == case
        }
        over = "npbn / this" if against == NPBN else f"this / {against}"
        header = ["", "time", "±", over, "cores used", *(["default threads"] if default else [])]
        rows = []
        for record in own:
            pair = (first, record) if against == NPBN else (record, first)
            row = [record.who, seconds(record.median), spread(record), _over(*pair), _cores(record)]
            if default:
                other = default.get(record.who)
                row.append(seconds(other.median) if other else "")
            rows.append(row)
        yield f"## {title(case)}\n\n{table(header, rows)}"


def _cores(record: Record) -> str:
    return "" if record.cores is None else f"{record.cores:.1f}"


def _with(case: Any) -> str:
    return "with batch norm" if case["batch_norm"] else "without batch norm"


def _step(records: list[Record], results: Results) -> Iterator[str]:
    def title(case: Any) -> str:
        beside = ", another process on the second core" if case["busy"] else ""
        return f"Training step, {_with(case)}, batch 60{beside}"

    quiet = [record for record in records if not record.case["busy"]]
    busy = [record for record in records if record.case["busy"]]
    yield from _contestants(quiet, title)
    yield from _contestants(busy, title, "npbn, alone")


def _loop(records: list[Record], results: Results) -> Iterator[str]:
    def title(case: Any) -> str:
        return f"Training loop, {_with(case)}, {case['data']}, {case['steps']} steps, time a step"

    yield from _contestants(records, title, "bare step")


def _evaluation(records: list[Record], results: Results) -> Iterator[str]:
    yield from _contestants(records, lambda c: f"Evaluation of {c['images']:,} images, {_with(c)}")


def _import(records: list[Record], results: Results) -> Iterator[str]:
    numpy = next((record for record in records if record.who == "numpy"), None)
    rows = []
    for record in records:
        over = timing.ratio(record.values, numpy.values) if numpy else float("nan")
        rows.append([record.who, seconds(record.median), spread(record), f"{over:.2f}"])
    header = ["import, fresh process", "time", "±", "this / numpy"]
    yield f"## Import\n\n{table(header, rows)}"


def _memory(records: list[Record], results: Results) -> Iterator[str]:
    steps = [record for record in records if record.case["what"] == "step"]
    runs = [record for record in records if record.case["what"] == "run"]
    if steps:
        rows = [
            [
                f"{record.who}, {_with(record.case)}, batch {record.case['batch']}",
                size(max(record.values)),
                size(record.case["activation_bytes"]),
            ]
            for record in steps
        ]
        header = ["a step after the first", "most allocated at a time", "one hidden activation"]
        yield f"## Memory of a training step\n\n{table(header, rows)}"
    if runs:
        rows = [[record.who, size(record.median)] for record in runs]
        title = f"Peak resident memory, {runs[0].case['steps']} steps of the lesson's network"
        yield f"## {title}\n\n{table(['process', 'peak'], rows)}"


def _growth(records: list[Record], results: Results) -> Iterator[str]:
    for along in ("batch", "width", "depth"):
        for batch_norm in (True, False):
            own = [
                record
                for record in records
                if (record.case["along"], record.case["batch_norm"]) == (along, batch_norm)
            ]
            if not own:
                continue
            names = list(dict.fromkeys(record.who for record in own))
            sizes = list(dict.fromkeys(record.case["size"] for record in own))
            times = {(record.who, record.case["size"]): record.median for record in own}
            rows = [
                [
                    str(each),
                    *(seconds(times[n, each]) if (n, each) in times else "-" for n in names),
                ]
                for each in sizes
            ]
            rows.append(["slope", *(_slope_cell(sizes, name, times) for name in names)])
            title = f"Training step over {along}, {_with({'batch_norm': batch_norm})}"
            yield f"## {title}\n\n{table([along, *names], rows)}"


def _slope_cell(sizes: list[int], name: str, times: dict[Any, float]) -> str:
    known = [each for each in sizes if (name, each) in times]
    return f"{slope(known, [times[name, each] for each in known]):.2f}" if len(known) > 1 else "-"


def _bounds(results: Results) -> Iterator[str]:
    rows = []
    for bound in bounds():
        if ratios := bound.measured(results):
            low, middle, high = timing.quartiles(ratios)
            verdict = "yes" if high <= bound.at_most else "no" if low > bound.at_most else "about"
            between = f"{low:.2f} to {high:.2f}"
            rows.append([bound.what, f"{bound.at_most:.2f}", f"{middle:.2f}", between, verdict])
    if rows:
        header = ["ratio", "at most", "median", "half of the turns", "met"]
        yield f"## Bounds\n\n{table(header, rows)}"


_SECTIONS: dict[str, Callable[[list[Record], Results], Iterator[str]]] = {
    "import": _import,
    "memory": _memory,
    "kernels": _kernels,
    "step": _step,
    "loop": _loop,
    "evaluation": _evaluation,
    "growth": _growth,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.add_argument("file", help="what python -m benchmarks --json wrote")
    parser.add_argument("--figure", metavar="FILE", help="draw the figure there; prints no tables")
    options = parser.parse_args(arguments)
    try:
        results = Results.load(options.file)
        if options.figure:
            from benchmarks import figure

            figure.draw(results).savefig(options.figure, dpi=150)
            return 0
    except (OSError, ValueError) as error:
        print(f"benchmarks.tables: {error}", file=sys.stderr)
        return 1
    print(report(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
