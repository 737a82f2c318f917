"""Where depth fails: plain and residual networks, without and with batch normalization.

Convolutional networks of growing depth learn the digits that npbn carries, each for some hundred
steps with the same rate, in four ways: their blocks of two convolutions one after another, or with
each block's input added to its output (Residual); and each of these without and with batch norm.
It prints how well each has learnt its training digits, and how large the gradient of the first
weights was at the start, and saves the curves as deep_residual_bn.png. Takes two minutes.
"""

import argparse
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
    plotting,
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


def main(arguments=None):
    summary, details = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(description=summary, epilog=details)
    parser.add_argument("--blocks", type=int, nargs="+", default=[2, 8, 20], metavar="N")
    parser.add_argument("--steps", type=int, default=300, metavar="N")
    parser.add_argument("--learning-rate", type=float, default=0.1, metavar="RATE")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--output", type=Path, default=Path(), metavar="FOLDER")
    options = parser.parse_args(arguments)
    data = datasets.load_mnist_5k(flatten=False)
    images, labels = data.train

    curves = {}
    print(f"{'':34}{'first gradient':>16}{'training accuracy':>20}{'validation':>12}")
    for blocks in options.blocks:
        for is_residual in (False, True):
            for use_batch_norm in (False, True):
                name = f"{2 * blocks + 1} convolutions, {'residual' if is_residual else 'plain'}"
                name += ", batch norm" if use_batch_norm else ""
                net = network(blocks, is_residual, use_batch_norm, options.seed)
                norm = first_gradient(net, images[:60], labels[:60])
                history = fit(
                    net,
                    data.train,
                    data.validation,
                    optimizer=SGD(options.learning_rate),
                    steps=options.steps,
                    sample_every=max(1, options.steps // 20),
                    seed=options.seed,
                    progress=False,
                    on_divergence="record",
                )
                net.recompute_population(images)
                curves[name] = history
                learnt = net.accuracy(images[:1000], labels[:1000])
                valid = net.accuracy(*data.validation)
                print(f"{name:42}{norm:10.1e}{learnt:18.3f}{valid:14.3f}", end="")
                print(
                    f"   diverged at {history.diverged_at}" * (history.diverged_at is not None),
                    history.seconds,
                )
    path = options.output / "deep_residual_bn.png"
    plotting.training_accuracies(curves).savefig(path, dpi=150)
    print(f"\nAccuracy curves: {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
