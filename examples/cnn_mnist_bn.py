"""Train a small convolutional network, without and with batch normalization, and compare the two.

Three convolutions of 16, 32 and 64 filters, each followed by ReLU and max pooling, learn MNIST for
six epochs with Adam, whose rate falls to 0 in half a cosine. Both networks reach 99.2 % of the test
set, so that is not where they differ; then the same networks are trained by plain SGD for 300 steps
at a high rate, and from small weights, where the one without batch norm does not learn. It saves
the accuracy curves as cnn_mnist_bn.png, the first layer's filters as cnn_filters.png and what they
make of a digit as cnn_feature_maps.png. Takes four minutes; with --data digits, a few seconds.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from mnist_bn import load_or_exit

from npbn import (
    SGD,
    Adam,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    MaxPool2D,
    ReLU,
    Sequential,
    fit,
    plotting,
)

NAMES = ("Without Batch Norm", "With Batch Norm")
# What the two are trained on besides: what it is called, the rate of SGD, the size of the weights.
HARD = (
    ("learning rate 0.5", 0.5, 1.0),
    ("weights a tenth as large", 0.01, 0.1),
)


def parse_arguments(arguments=None):
    summary, details = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(description=summary, epilog=details)
    add = parser.add_argument
    add("--epochs", type=int, default=6, metavar="N", help="default 6")
    add("--batch-size", type=int, default=60, metavar="N", help="images a step; default 60")
    add("--learning-rate", type=float, default=0.003, metavar="RATE", help="Adam's; default 0.003")
    add("--hard-steps", type=int, default=300, metavar="N", help="steps of SGD; default 300")
    add("--seed", type=int, default=0, metavar="N", help="for weights and batches; default 0")
    add(
        "--data",
        choices=["mnist", "fashion", "digits"],
        default="mnist",
        help="MNIST, Fashion-MNIST, or the 5,000 digits that npbn carries; default mnist",
    )
    add("--data-dir", metavar="FOLDER", help="where the data files are, as for mnist_bn.py")
    add("--output", type=Path, default=Path(), metavar="FOLDER", help="default: here")
    add("--quiet", action="store_true", help="no progress bars, only the results")
    options = parser.parse_args(arguments)
    for name, minimum in (("epochs", 1), ("batch_size", 2), ("hard_steps", 1), ("seed", 0)):
        if getattr(options, name) < minimum:
            flag = name.replace("_", "-")
            parser.error(f"--{flag}: expected at least {minimum}, got {getattr(options, name)}")
    return options


def network(use_batch_norm, seed, weight_size=1.0):
    """Three times convolution, batch norm if it is used, ReLU, pooling; then ten classes."""
    rng, layers, channels = np.random.default_rng(seed), [], 1
    for filters in (16, 32, 64):
        convolution = Conv2D(channels, filters, 3, use_bias=not use_batch_norm, rng=rng)
        convolution.weight *= np.float32(weight_size)
        layers.append(convolution)
        if use_batch_norm:
            layers.append(BatchNorm(filters, momentum=0.9))
        layers += [ReLU(), MaxPool2D(2)]
        channels = filters
    # 28 x 28 pixels, halved three times
    return Sequential([*layers, Flatten(), Dense(3 * 3 * channels, 10, rng=rng)])


def trained(options, use_batch_norm, train, validation):
    net = network(use_batch_norm, options.seed)
    steps = options.epochs * (len(train[1]) // options.batch_size)

    def rate(step):
        return options.learning_rate * (1 + np.cos(np.pi * step / steps)) / 2

    history = fit(
        net,
        train,
        validation,
        optimizer=Adam(rate),
        steps=steps,
        batch_size=options.batch_size,
        sample_every=max(1, steps // 20),
        seed=options.seed,
        progress=not options.quiet,
    )
    return net, history


def hard_accuracy(options, use_batch_norm, rate, weight_size, train, validation):
    """The accuracy on the validation set after some steps of SGD."""
    net = network(use_batch_norm, options.seed, weight_size)
    fit(
        net,
        train,
        optimizer=SGD(rate),
        steps=options.hard_steps,
        batch_size=options.batch_size,
        seed=options.seed,
        progress=False,
        on_divergence="record",
    )
    return net.accuracy(*validation)


def main(arguments=None):
    options = parse_arguments(arguments)
    data, name = load_or_exit(options)
    train, validation, test = (
        (images.reshape(-1, 28, 28, 1), labels)
        for images, labels in (data.train, data.validation, data.test)
    )
    print(f"{name}: {len(train[1]):,} training images, {options.epochs} epochs, Adam")
    print(f"{'':22}{'validation':>12}{'test':>10}{'seconds':>10}", flush=True)
    histories, nets = {}, []
    for use_batch_norm, title in enumerate(NAMES):
        net, history = trained(options, bool(use_batch_norm), train, validation)
        if history.interrupted:
            print(f"{title}: interrupted after step {len(history.losses):,}")
            return 130
        histories[title] = history
        nets.append(net)
        accuracies = f"{net.accuracy(*validation):12.4f}{net.accuracy(*test):10.4f}"
        print(f"{title:22}{accuracies}{history.seconds:10.1f}", flush=True)

    print(f"\nWhere they part: validation accuracy after {options.hard_steps} steps of SGD")
    print(f"{'':28}{NAMES[0]:>20}{NAMES[1]:>20}")
    for title, rate, weight_size in HARD:
        reached = [
            hard_accuracy(options, use_batch_norm, rate, weight_size, train, validation)
            for use_batch_norm in (False, True)
        ]
        print(f"{title:28}{reached[0]:20.4f}{reached[1]:20.4f}", flush=True)

    figures = {
        "cnn_mnist_bn.png": plotting.training_accuracies(histories),
        "cnn_filters.png": plotting.filters(nets[1].layers[0]),
        "cnn_feature_maps.png": plotting.feature_maps(nets[1], test[0][0]),
    }
    for file, figure in figures.items():
        figure.savefig(options.output / file, dpi=150)
    print(f"\nSaved in {options.output.resolve().name}/: {', '.join(figures)}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
