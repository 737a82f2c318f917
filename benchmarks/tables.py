"""Tables from a results file, narrow enough for a phone; the figure with --figure.

    python -m benchmarks.tables data/benchmark.json                              print
    python -m benchmarks.tables data/benchmark.json --into docs/benchmark.md     put into a page
    python -m benchmarks.tables data/benchmark.json --figure docs/benchmark.png  draw

Nothing is measured here.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import timing
from benchmarks.results import Record, Results, by_case

NPBN, PRODUCTS = "npbn", "bare products"

# A task that computes all the time uses one core; much less than that, and others had it.
STARVED = 0.9
# And what has one thread must not use much more.
THREADED = 1.2

# What stands beside npbn where a row is a size; all contestants stand where a row is a contestant.
BESIDE = ("textbook NumPy", "PyTorch", "JAX jit")
# What every report begins with, and where in a page it begins.
BEGINNING = "## Where and how it was measured"


def report(results: Results) -> str:
    """All tables, in Markdown that also reads well in a terminal."""
    tables = [
        f"## {title}\n\n{text}"
        for make in (
            _steps,
            _kernels,
            _loop,
            _evaluation,
            _growth,
            _images,
            _sequences,
            _memory,
            _import,
        )
        for title, text in make(results)
    ]
    if results.missing:
        lines = "\n".join(f"- {who}: {reason}" for who, reason in sorted(results.missing.items()))
        tables.append(f"## Left out\n\n{lines}")
    return "\n\n".join([_head(results), *tables]) + "\n"


def _head(results: Results) -> str:
    machine, run = results.machine, results.run
    versions = ", ".join(f"{name} {version}" for name, version in results.versions.items())
    lines = [
        f"Measured {run.get('started', '')} on {machine.get('cpu', 'an unknown CPU')}, "
        f"{machine.get('cores', '?')} cores, {machine.get('system', '')}, "
        f"Python {machine.get('python', '')}.",
        f"BLAS: {'; '.join(machine.get('blas', []))}.",
        f"Versions: {versions}.",
        f"Commit {machine.get('commit', 'unknown')}.",
        "Medians of turns A B A B, one thread each unless said.",
        "A ratio is npbn's time over the other's, the median over the turns; the spread is half "
        "the distance between their quartiles.",
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
    timed = [each for each in results.records if each.cores is not None]
    if starved := sum(each.cores < STARVED for each in timed):
        lines.append(
            f"Something else was at work on the machine: {starved} of {len(results.records)} "
            f"measurements had less than {STARVED} of a core."
        )
    who = {each.who for each in timed if each.threads == "one" and each.cores > THREADED}
    if who:
        names = ", ".join(sorted(who))
        lines.append(f"More than {THREADED} cores with one thread, here and there: {names}.")
    return "\n".join([BEGINNING, "", *(f"- {line}" for line in lines)])


Tables = Iterator[tuple[str, str]]


def _steps(results: Results) -> Tables:
    for case, own in by_case(results.find("step")):
        yield f"A training step of 60 images, {_with(case)}", _contestants(own, results)


def _kernels(results: Results) -> Tables:
    both = {"operation": "forward+backward", "dtype": "float32"}
    for shape in ([60, 100], [65536, 64]):
        if own := results.find("kernels", shape=shape, **both):
            title = f"Batch norm, forward and backward, {_shape(shape)}, float32"
            yield title, _contestants(own, results)
    for operation, dtype, name in (
        ("forward+backward", "float32", "forward and backward"),
        ("forward+backward", "float64", "forward and backward"),
        ("forward", "float32", "forward"),
        ("backward", "float32", "backward"),
        ("inference", "float32", "inference"),
        ("bn+relu", "float32", "with ReLU, forward and backward"),
    ):
        if own := results.find("kernels", operation=operation, dtype=dtype):
            yield f"Batch norm, {name}, {dtype}", _sizes(own, "shape", BESIDE)


def _loop(results: Results) -> Tables:
    for case, own in by_case(results.find("loop")):
        bare = next(record for record in own if record.who == "bare step")
        ratios = _Ratios()
        rows = [[each.who, seconds(each.median), ratios.cell(each, bare)] for each in own]
        title = f"The loop around a step, {_with(case)}, {case['data']}, {case['steps']} steps"
        yield title, ratios.below(table(["", "a step", "this / bare step"], rows))


def _evaluation(results: Results) -> Tables:
    for case, own in by_case(results.find("evaluation")):
        title = f"Evaluation of {case['images']:,} images, {_with(case)}"
        yield title, _contestants(own, results)


def _growth(results: Results) -> Tables:
    for along, batch_norm in (
        ("batch", True),
        ("batch", False),
        ("width", True),
        ("depth", True),
    ):
        if own := results.find("growth", along=along, batch_norm=batch_norm):
            title = f"A training step over the {along}, {_with({'batch_norm': batch_norm})}"
            slopes = ", ".join(
                f"{who} {slope([r.case['size'] for r in each], [r.median for r in each]):.2f}"
                for who in dict.fromkeys(record.who for record in own)
                if len(each := [record for record in own if record.who == who]) > 1
            )
            text = _sizes(own, "size", (PRODUCTS, *BESIDE))
            yield title, f"{text}\n\nTime grows as the {along} to the power of: {slopes}."


def _images(results: Results) -> Tables:
    if own := results.find("images", what="layer"):
        for what, beside in (
            ("products and equations", (PRODUCTS, "npbn.reference")),
            ("other libraries", ("PyTorch", "JAX jit", "tf.function")),
        ):
            title = f"Convolution and pooling beside {what}, forward and backward, float32"
            yield title, _sizes(own, "layer", beside)
    for case, own in by_case(results.find("images", what="step")):
        title = f"A training step of the convolutional network, 60 images, {_with(case)}"
        yield title, _contestants(own, results)
    if own := results.find("images", what="memory"):
        rows = []
        for case, records in by_case(own):
            cells = [size(max(record.values)) for record in records]
            rows.append([_label(case, "layer"), *cells, size(case["result_bytes"])])
        header = ["at most at a time", *(record.who for record in own[: len(cells)]), "y and dx"]
        yield "What a convolution allocates, forward and backward", table(header, rows)


def _sequences(results: Results) -> Tables:
    for case, own in by_case(results.find("sequences")):
        if case["layer"].startswith("LSTM"):
            yield (
                f"{_label(case, 'layer')}, forward and backward, float32",
                _contestants(own, results),
            )
    norms = [each for each in results.find("sequences") if "Norm" in each.case["layer"]]
    if norms:
        beside = ("npbn.reference", "PyTorch", "PyTorch, channels first")
        yield "Norms of each example, forward and backward, float32", _sizes(norms, "layer", beside)


def _memory(results: Results) -> Tables:
    if own := results.find("memory", what="step"):
        rows = []
        for case, records in by_case(own):
            most = {record.who: size(max(record.values)) for record in records}
            cells = [most.get(who, "") for who in (NPBN, "training_steps")]
            what = f"{case['batch']} images, {_with(case)}"
            rows.append([what, *cells, size(case["activation_bytes"])])
        header = ["at most at a time", "calls by hand", "training_steps", "a hidden activation"]
        yield "What a step after the first allocates", table(header, rows)
    if own := results.find("memory", what="run"):
        rows = [[record.who, size(record.median)] for record in own]
        title = f"Peak resident memory, {own[0].case['steps']} steps of the lesson's network"
        yield title, table(["process", "peak"], rows)


def _import(results: Results) -> Tables:
    own = results.find("import")
    for numpy in results.find("import", "numpy"):
        ratios = _Ratios()
        rows = [[each.who, seconds(each.median), ratios.cell(each, numpy)] for each in own]
        text = ratios.below(table(["", "time", "this / numpy"], rows))
        yield "Import, in a fresh process", text


def _contestants(own: list[Record], results: Results) -> str:
    """A row a contestant, the fastest first, with its default threads' time where it was taken."""
    npbn = next((record for record in own if record.who == NPBN), None)
    default = {
        record.who: seconds(record.median)
        for record in results.find(own[0].group, threads="default", **own[0].case)
    }
    ratios = _Ratios()
    rows = [
        [each.who, seconds(each.median), ratios.cell(npbn, each), default.get(each.who, "")]
        for each in sorted(own, key=lambda record: record.median)
    ]
    header = ["", "time", "npbn / this", "default threads"]
    columns = len(header) if default else len(header) - 1
    return ratios.below(table(header[:columns], [row[:columns] for row in rows]))


def _sizes(own: list[Record], name: str, beside: Sequence[str]) -> str:
    """A row a size: npbn's time, and its ratios to what stands beside it."""
    beside = [who for who in beside if any(record.who == who for record in own)]
    rows, ratios = [], _Ratios()
    for case, records in by_case(own):
        found = {record.who: record for record in records}
        if NPBN in found:
            npbn = found[NPBN]
            row = [_label(case, name), seconds(npbn.median)]
            rows.append(row + [ratios.cell(npbn, found.get(who)) for who in beside])
    return ratios.below(table([name, NPBN, *(f"/ {who}" for who in beside)], rows))


class _Ratios:
    """The ratios of a table, and how far they spread."""

    def __init__(self) -> None:
        self._spreads: list[float] = []

    def cell(self, above: Record | None, below: Record | None) -> str:
        """The ratio of two records."""
        if above is None or below is None or above is below:
            return ""
        low, middle, high = timing.quartiles(timing.ratios(above.values, below.values))
        self._spreads.append((high - low) / 2 / middle)
        return f"{middle:.2f}"

    def below(self, text: str) -> str:
        """The table, and a line on the spread of its ratios."""
        if not self._spreads:
            return text
        usual, most = 100 * np.median(self._spreads), 100 * max(self._spreads)
        return f"{text}\n\nSpread of the ratios: usually {usual:.1f} %, at most {most:.0f} %."


def _with(case: Any) -> str:
    return "with batch norm" if case["batch_norm"] else "without batch norm"


def _label(case: Any, name: str) -> str:
    """The case's value of this name, a layer with the shape of its x."""
    if name == "layer":
        return f"{case['layer']}, {_shape(case['shape'])}"
    return _shape(case[name]) if name == "shape" else str(case[name])


def _shape(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table with its columns in line: the first to the left, the others to the right."""
    rows = [list(header), *map(list, rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        first, *others = zip(row, widths, strict=True)
        cells = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in others)]
        return "| " + " | ".join(cells) + " |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(rows[0]), line(rule), *map(line, rows[1:])])


def seconds(value: float) -> str:
    """Three digits and a unit."""
    scaled, unit = value, "s"
    for shorter in ("ms", "µs"):
        if scaled < 0.9995:
            scaled, unit = 1000 * scaled, shorter
    return f"{scaled:.{2 if scaled < 9.995 else 1 if scaled < 99.95 else 0}f} {unit}"


def size(value: float) -> str:
    """Bytes, in the unit that suits them."""
    for factor, unit in ((1e6, "MB"), (1e3, "kB")):
        if value >= factor:
            return f"{value / factor:.1f} {unit}"
    return f"{value:.0f} B"


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """The exponent p of values ~ sizes^p, fitted to the upper half of the sizes (two at least)."""
    upper = max(2, (len(sizes) + 1) // 2)
    return float(np.polyfit(np.log(sizes[-upper:]), np.log(values[-upper:]), 1)[0])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tables", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", help="what python -m benchmarks --json wrote")
    parser.add_argument("--into", metavar="PAGE", help="replace the tables of this page")
    parser.add_argument("--figure", metavar="FILE", help="draw the figure there; prints no tables")
    options = parser.parse_args(arguments)
    try:
        results = Results.load(options.file)
        if options.figure:
            from benchmarks import figure

            figure.draw(results).savefig(options.figure, dpi=150)
            return 0
        if options.into:
            page = Path(options.into)
            own, found, _ = page.read_text(encoding="utf-8").partition(BEGINNING)
            if not found:
                raise ValueError(f"{page}: expected a line {BEGINNING!r}")
            page.write_text(own + report(results), encoding="utf-8")
            return 0
    except (OSError, ValueError) as error:
        print(f"benchmarks.tables: {error}", file=sys.stderr)
        return 1
    print(report(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
