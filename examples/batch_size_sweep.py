"""How small may a batch be? Batch norm and its relatives on one network, from 2 to 256 images.

The lesson's network, three hidden layers of 100, learns the digits that npbn carries for ten
epochs, at a learning rate that goes with the batch's size (0.1 for 32 images), at seeds 0 to 4,
with batch, ghost batch, group and layer normalization and with batch renormalization, whose
schedule leaves the first 5,000 steps to batch norm. The question, fixed before the runs: does batch
norm degrade at small batches, as Wu & He 2018 report? It does, by this rule, if its median test
accuracy falls by more than 0.01 from 32 images to 2, and by more than twice what group norm's
falls. Results are kept in batch_size_sweep.jsonl, so that a second call goes on; the figure is
batch_size_sweep.png. Takes ten minutes; --quick some seconds.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from npbn import (
    SGD,
    BatchNorm,
    BatchRenorm,
    Dense,
    GhostBatchNorm,
    GroupNorm,
    LayerNorm,
    ReLU,
    Sequential,
    datasets,
    fit,
)
from npbn.experiments import run_all

SIZES = (2, 4, 8, 16, 32, 64, 128, 256)
SEEDS = (0, 1, 2, 3, 4)
EPOCHS, GHOST = 10, 16
NORMS = {
    "batch": lambda channels, size: BatchNorm(channels, momentum=0.9),
    "ghost batch": lambda channels, size: GhostBatchNorm(
        channels, ghost_size=min(GHOST, size), momentum=0.9
    ),
    "batch renormalization": lambda channels, size: BatchRenorm(channels, momentum=0.9),
    "group": lambda channels, size: GroupNorm(4, channels),
    "layer": lambda channels, size: LayerNorm(channels),
}


@dataclass(frozen=True)
class Training:
    """One training: which normalization, how many images a batch, and the seed."""

    norm: str
    batch_size: int
    seed: int
    batches: int


@dataclass(frozen=True)
class Accuracy:
    """What it came to on the test set."""

    test_accuracy: float
    seconds: float


def network(run):
    rng, layers = np.random.default_rng(run.seed), []
    for inputs in (784, 100, 100):
        layers.append(Dense(inputs, 100, use_bias=False, rng=rng))
        layers += [NORMS[run.norm](100, run.batch_size), ReLU()]
    return Sequential([*layers, Dense(100, 10, rng=rng)])


def perform(run):
    data, net = datasets.load_mnist_5k(), network(run)
    history = fit(
        net,
        data.train,
        optimizer=SGD(0.1 * run.batch_size / 32),
        steps=run.batches,
        batch_size=run.batch_size,
        seed=run.seed,
        progress=False,
        on_divergence="record",
    )
    return Accuracy(net.accuracy(*data.test), history.seconds)


def medians(records):
    """{norm: {batch size: (median, least, most)}}."""
    found = {}
    for run, record in records.items():
        by_size = found.setdefault(run.norm, {}).setdefault(run.batch_size, [])
        by_size.append(record.result.test_accuracy)
    return {
        norm: {
            size: (float(np.median(each)), min(each), max(each))
            for size, each in sorted(by_size.items())
        }
        for norm, by_size in found.items()
    }


def verdict(found):
    """What became of the claim, by the rule above."""
    drop = {norm: found[norm][32][0] - found[norm][2][0] for norm in ("batch", "group")}
    degrades = drop["batch"] > max(0.01, 2 * drop["group"])
    return (
        f"Batch norm {'degrades' if degrades else 'does not degrade'} at small batches: from 32 "
        f"images to 2 its median falls by {drop['batch']:.3f}, group norm's by {drop['group']:.3f}"
    )


def draw(found):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    # Where lines lie on one another the one below is seen beside it.
    styles = zip("osD^v", (7, 4, 2, 2, 2), strict=True)
    for (marker, width), (norm, by_size) in zip(styles, found.items(), strict=True):
        sizes = list(by_size)
        middle, least, most = zip(*by_size.values(), strict=True)
        (line,) = axes.plot(sizes, middle, marker=marker, linewidth=width, label=norm)
        axes.fill_between(sizes, least, most, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, list(map(str, sizes)))
    axes.set(xlabel="Images a batch", ylabel="Test accuracy: median and range of the seeds")
    axes.set_title(verdict(found), fontsize="small", wrap=True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower center", ncols=3)
    return figure


def main(arguments=None):
    summary, details = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(description=summary, epilog=details)
    add = parser.add_argument
    add("--quick", action="store_true", help="sizes 2, 32 and 256, one seed, one epoch")
    add("--workers", type=int, default=2, metavar="N", help="default 2")
    add("--results", type=Path, default=Path("batch_size_sweep.jsonl"), metavar="FILE")
    add("--output", type=Path, default=Path(), metavar="FOLDER", help="default: here")
    options = parser.parse_args(arguments)
    sizes, seeds = ((2, 32, 256), SEEDS[:1]) if options.quick else (SIZES, SEEDS)
    images = 4000 * (1 if options.quick else EPOCHS)
    runs = [
        Training(norm, size, seed, images // size)
        for seed in seeds
        for norm in NORMS
        for size in sizes
    ]
    records = run_all(
        runs, options.results, workers=options.workers, perform=perform, result_type=Accuracy
    )
    found = medians({run: records[run] for run in runs})
    print(f"{'':22}" + "".join(f"{size:>8}" for size in sizes))
    for norm, by_size in found.items():
        print(f"{norm:22}" + "".join(f"{middle:8.3f}" for middle, *_ in by_size.values()))
    print(verdict(found))
    draw(found).savefig(options.output / "batch_size_sweep.png", dpi=120)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
