"""Where depth fails: plain and residual networks, without and with batch normalization.

Convolutional networks of growing depth learn the digits that npbn carries, each for some hundred
steps with the same rate, in four ways: their blocks of two convolutions one after another, or with
each block's input added to its output (Residual); and each of these without and with batch norm.
It prints how large the gradient of the first weights is at the start, and how well each has learnt
its digits, and draws that over depth as deep_residual_bn.png. Takes two minutes.
"""

import argparse
import itertools
import sys
from pathlib import Path

import numpy as np

from npbn import (
    SGD,
    BatchNorm,
    Conv2D,
    Dense,
    GlobalAvgPool2D,
    ReLU,
    Residual,
    Sequential,
    datasets,
    fit,
    functional,
)

CHANNELS = 16


def block(is_residual, use_batch_norm, rng):
    """Two convolutions; what is added to their output is their input."""
    layers = []
    for place in range(2):
        layers.append(Conv2D(CHANNELS, CHANNELS, 3, use_bias=not use_batch_norm, rng=rng))
        if use_batch_norm:
            layers.append(BatchNorm(CHANNELS, momentum=0.9))
        if place == 0:
            layers.append(ReLU())
    return [Residual(layers) if is_residual else Sequential(layers), ReLU()]


def network(blocks, is_residual, use_batch_norm, seed):
    rng = np.random.default_rng(seed)
    # 28 x 28 pixels -> 7 x 7 of 16 channels
    layers = [Conv2D(1, CHANNELS, 4, stride=4, padding="valid", rng=rng)]
    for _ in range(blocks):
        layers += block(is_residual, use_batch_norm, rng)
    return Sequential([*layers, GlobalAvgPool2D(), Dense(CHANNELS, 10, rng=rng)])


def first_gradient(net, images, labels):
    """The norm of the first weights' gradient, before the first step."""
    _, dlogits = functional.softmax_cross_entropy(net.forward(images, training=True), labels)
    net.backward(dlogits)
    return float(np.linalg.norm(net.layers[0].gradients["weight"]))


def parse_arguments(arguments=None):
    summary, details = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(description=summary, epilog=details)
    add = parser.add_argument
    add("--blocks", type=int, nargs="+", default=[2, 8, 20], metavar="N", help="default 2 8 20")
    add("--steps", type=int, default=300, metavar="N", help="default 300")
    add("--learning-rate", type=float, default=0.1, metavar="RATE", help="default 0.1")
    add("--seed", type=int, default=0, metavar="N", help="default 0")
    add("--output", type=Path, default=Path(), metavar="FOLDER", help="default: here")
    return parser.parse_args(arguments)


def draw(reached):
    """The accuracies over depth, a line for each way: {way: {convolutions: accuracy}}."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for marker, (way, accuracies) in zip("svDo", reached.items(), strict=True):
        axes.plot(accuracies.keys(), accuracies.values(), marker=marker, label=way)
    axes.axhline(0.1, color="0.6", linestyle="--", label="guessing")
    axes.set(xlabel="Convolutions", ylabel="Training accuracy", ylim=(0, 1.03))
    axes.set_xticks(list(next(iter(reached.values()))))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center")
    return figure


def main(arguments=None):
    options = parse_arguments(arguments)
    data = datasets.load_mnist_5k(flatten=False)
    images, labels = data.train
    reached = {}
    print(f"{'':38}{'first gradient':>16}{'training':>11}{'validation':>12}")
    for blocks in options.blocks:
        convolutions = 2 * blocks + 1
        for is_residual, use_batch_norm in itertools.product((False, True), repeat=2):
            way = ("residual" if is_residual else "plain") + ", batch norm" * use_batch_norm
            net = network(blocks, is_residual, use_batch_norm, options.seed)
            gradient = first_gradient(net, images[:60], labels[:60])
            history = fit(
                net,
                data.train,
                optimizer=SGD(options.learning_rate),
                steps=options.steps,
                seed=options.seed,
                progress=False,
                on_divergence="record",
            )
            if history.diverged_at is None:
                net.recompute_population(images)
            accuracies = net.accuracy(images, labels), net.accuracy(*data.validation)
            reached.setdefault(way, {})[convolutions] = accuracies[0]
            print(f"{f'{convolutions} convolutions, {way}':42}{gradient:12.1e}", end="")
            print(f"{accuracies[0]:11.3f}{accuracies[1]:12.3f}", end="")
            print(f"   diverged at step {history.diverged_at}" * (history.diverged_at is not None))
            sys.stdout.flush()
    draw(reached).savefig(options.output / "deep_residual_bn.png", dpi=150)
    print("\nAccuracy over depth: deep_residual_bn.png")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
