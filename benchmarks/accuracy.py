"""Errors of batch norm in float32 against |mean| / std: npbn beside its peers.

    python -m benchmarks.accuracy data/accuracy.json              measure, and print the table
    python -m benchmarks.accuracy data/accuracy.json --show       the table from the file
    python -m benchmarks.accuracy data/accuracy.json --show --figure docs/accuracy.png

The true values are the equations in longdouble. An error is the largest difference, over the larger
of the largest true value and the largest term that it is made of: for y gamma * x_hat, for dx
gamma * dy / sqrt(variance + epsilon), for dgamma a column's 2-norm of dy * x_hat, for dbeta that of
dy. Nothing here is a time: it may run on a busy machine.
"""

from __future__ import annotations

import argparse
import sys
from itertools import chain, product
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import machine, peers
from benchmarks.figure import STYLES
from benchmarks.peers.base import EPSILON, Array, KernelCase
from benchmarks.results import Record, Results
from npbn import reference

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from matplotlib.figure import Figure

RATIOS = (0.0, 1.0, 3.0, 10.0, 30.0, 1e2, 1e3, 1e4, 1e5, 1e6)
SHAPES = ((60, 100), (65536, 64))
LIBRARIES = ("npbn", "textbook", "pytorch", "jax")
QUANTITIES = ("y", "dx", "dgamma", "dbeta")


def truth(case: Any, epsilon: float = EPSILON) -> dict[str, tuple[Array, Any]]:
    """Each quantity of a case's x, gamma, beta and dy in longdouble, and what its error is over."""
    x, gamma, beta, dy = (
        each.astype(np.longdouble) for each in (case.x, case.gamma, case.beta, case.dy)
    )
    y, cache = reference.batch_norm_forward(x, gamma, beta, epsilon=epsilon)
    dx, dgamma, dbeta = reference.batch_norm_backward(dy, cache)
    scale = gamma / np.sqrt(cache.variance + epsilon)
    norms = np.sqrt(((dy * cache.x_hat) ** 2).sum(0)), np.sqrt((dy**2).sum(0))
    terms = (gamma * cache.x_hat, scale * dy, *norms)
    return {
        name: (true, max(np.abs(true).max(), np.abs(term).max()))
        for name, true, term in zip(QUANTITIES, (y, dx, dgamma, dbeta), terms, strict=True)
    }


def measure(
    shapes: Iterable[tuple[int, ...]] = SHAPES,
    ratios: Iterable[float] = RATIOS,
    libraries: Iterable[str] = LIBRARIES,
) -> Results:
    """All errors, as Records of group "accuracy"; inf where a value is not finite.

    x: normal numbers of standard deviation 0.7, whose mean is `ratio` of these away from 0.
    """
    found, missing = peers.load(libraries)
    results = Results({"complete": True}, machine.describe(), machine.versions(), missing)
    for shape, ratio in product(shapes, ratios):
        case = KernelCase(shape, "float32")
        rng, side = np.random.default_rng(1), np.where(np.arange(shape[-1]) % 2, 1, -1)
        case.x = (0.7 * (rng.standard_normal(shape) + ratio * side)).astype(np.float32)
        true = truth(case)
        for who, kernels in chain.from_iterable(peer.kernels(case).items() for peer in found):
            if "native" in who:  # what PyTorch's usual path calls
                continue
            with np.errstate(all="ignore"):
                got = kernels.task("forward+backward", case.shape).results()
            for quantity, (value, largest) in true.items():
                error = float(np.abs(got[quantity] - value).max() / largest)
                about = {"shape": list(shape), "ratio": ratio, "quantity": quantity}
                values = [error if np.isfinite(error) else float("inf")]
                results.records.append(Record("accuracy", about, who, "one", values, unit="1"))
    return results


def table(results: Results) -> str:
    """A Markdown table a shape: rows are ratios, columns contestants, the worst of the four."""
    lines = []
    for shape, whos, ratios in _shapes(results):
        lines += [f"Largest error of y, dx, dgamma and dbeta, float32, {tuple(shape)}:", ""]
        lines += [f"| \\|mean\\| / std | {' | '.join(whos)} |"]
        lines += ["| ---: |" + " ---: |" * len(whos)]
        for ratio in ratios:
            row = [f"{worst(results, shape, ratio, who):.1e}" for who in whos]
            lines.append(f"| {ratio:g} | {' | '.join(row)} |")
        lines.append("")
    return "\n".join(lines)


def worst(results: Results, shape: list[int], ratio: float, who: str) -> float:
    """The largest of a contestant's errors in one case."""
    return max(
        each.values[0] for each in results.find("accuracy", who=who, shape=shape, ratio=ratio)
    )


def draw(results: Results) -> Figure:
    """A matplotlib Figure: one half a shape, error against |mean| / std, both logarithmic."""
    from matplotlib.figure import Figure

    shapes = list(_shapes(results))
    figure = Figure(figsize=(5.6 * len(shapes), 4.4), layout="constrained")
    for place, (shape, whos, ratios) in enumerate(shapes):
        axes = figure.add_subplot(1, len(shapes), place + 1)
        for who in whos:
            colour, marker = STYLES[who]
            own = [min(worst(results, shape, ratio, who), 10) for ratio in ratios]
            wide = 2.4 if who == "npbn" else 1.2
            axes.plot(ratios, own, color=colour, marker=marker, linewidth=wide, label=who)
        axes.set_xscale("symlog", linthresh=1)
        axes.set_yscale("log")
        axes.set_title(f"Batch norm of {tuple(shape)}, float32", loc="left", fontweight="bold")
        axes.set_xlabel("|mean| / std")
        axes.set_ylabel("Largest error of y, dx, dgamma, dbeta")
        axes.grid(True, color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, loc="upper left")
    return figure


def _shapes(results: Results) -> Iterator[tuple[list[int], list[str], list[float]]]:
    """Each shape, its contestants and its ratios, in the order of the file."""
    for shape in dict.fromkeys(tuple(each.case["shape"]) for each in results.records):
        own = results.find("accuracy", shape=list(shape))
        whos, ratios = ([each.who for each in own], [each.case["ratio"] for each in own])
        yield list(shape), list(dict.fromkeys(whos)), list(dict.fromkeys(ratios))


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("file", help="where the errors are kept, JSON")
    parser.add_argument("--show", action="store_true", help="from the file, nothing measured")
    parser.add_argument("--figure", metavar="FILE", help="draw it")
    options = parser.parse_args(arguments)
    if not options.show:
        measure().save(options.file)
    results = Results.load(options.file)
    print(table(results))
    if options.figure:
        draw(results).savefig(options.figure, dpi=150)
    return 0


if __name__ == "__main__":
    sys.exit(main())
