"""Train the lesson's two networks, without and with batch normalization, and compare them.

With no flags: good weights, learning rate 0.01, ReLU, 2,000 batches of 60 digits, seed 0. It prints
both networks' accuracies beside the lesson's, shows what goes wrong when a network is tested with
the statistics of its test batch, and saves the accuracy curves as mnist_bn.png. Takes some seconds.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from npbn import SGD, LeakyReLU, ReLU, Sigmoid, Tanh, datasets, fit, lesson, plotting

ACTIVATIONS = {"relu": ReLU, "sigmoid": Sigmoid, "tanh": Tanh, "leaky_relu": LeakyReLU}


def parse_arguments(arguments=None):
    summary, details = __doc__.split("\n\n", 1)
    parser = argparse.ArgumentParser(description=summary, epilog=details)
    add = parser.add_argument
    add(
        "--weights",
        choices=["good", "bad"],
        default="good",
        help="initial weights of standard deviation 0.05 (good) or 5 (bad); default good",
    )
    add("--learning-rate", type=float, default=0.01, metavar="RATE", help="default 0.01")
    add("--activation", choices=list(ACTIVATIONS), default="relu", help="default relu")
    add("--batches", type=int, default=2000, metavar="N", help="training steps; default 2000")
    add("--batch-size", type=int, default=60, metavar="N", help="images a step; default 60")
    add(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="for weights and batches; the same seed gives the same figures; default 0",
    )
    add(
        "--data",
        choices=["mnist", "fashion", "digits"],
        default="mnist",
        help="MNIST, Fashion-MNIST, or the 5,000 digits that npbn carries; default mnist",
    )
    add(
        "--data-dir",
        metavar="FOLDER",
        help="where the data files are, or are downloaded to; default: the folder that the "
        "environment variable NPBN_DATA names, else the user's cache",
    )
    add(
        "--output",
        type=Path,
        default=Path(),
        metavar="FOLDER",
        help="where mnist_bn.png is saved; default: here",
    )
    add("--quiet", action="store_true", help="no progress bars, only the results")
    options = parser.parse_args(arguments)
    for name, minimum in (("batches", 1), ("batch_size", 2), ("seed", 0), ("learning_rate", 0)):
        if not minimum <= getattr(options, name) < float("inf"):
            flag = name.replace("_", "-")
            value = getattr(options, name)
            parser.error(f"--{flag}: expected a finite number of at least {minimum}, got {value}")
    return options


def load_data(options):
    if options.data == "digits":
        return datasets.load_mnist_5k(), "5,000 MNIST digits"
    if options.data == "fashion":
        return datasets.load_fashion_mnist(options.data_dir), "Fashion-MNIST"
    try:
        return datasets.load_mnist(options.data_dir), "MNIST"
    except (OSError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        print(f"No MNIST, going on with the 5,000 digits that npbn carries ({reason})")
        return datasets.load_mnist_5k(), "5,000 MNIST digits"


def load_or_exit(options):
    """The data, or one line on why there are none."""
    if options.data_dir is not None and not Path(options.data_dir).is_dir():
        sys.exit(f"--data-dir: there is no folder {options.data_dir}")
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=options.output).close()
    except OSError as error:
        sys.exit(f"--output: nothing can be saved there: {error}")
    try:
        data, name = load_data(options)
    except (OSError, RuntimeError, ValueError) as error:
        sys.exit(str(error))
    if options.batch_size > len(data.train[1]):
        sys.exit(f"--batch-size: {name} has {len(data.train[1]):,} training images")
    return data, name


def single_accuracy(network, images, labels, statistics):
    """Accuracy of the first 200 images, predicted one at a time, and how many classes were said."""
    predictions = lesson.single_predictions(network, images, statistics)
    return float(np.mean(predictions == labels[: len(predictions)])), len(set(predictions))


def print_results(networks, data, reported):
    print(f"\n{'':22}{'validation':>12}{'test':>10}{'seconds':>10}", end="")
    print(f"{'the lesson: validation':>26}{'test':>10}" if reported else "")
    for net in networks:
        print(f"{net.name:22}{net.history.final_validation_accuracy:12.4f}", end="")
        print(f"{net.network.accuracy(*data.test):10.4f}{net.history.seconds:10.1f}", end="")
        if reported:
            side = "with" if net.use_batch_norm else "without"
            validation = getattr(reported[0], f"validation_{side}")
            print(f"{validation:26.4f}{getattr(reported[0], f'test_{side}'):10.4f}", end="")
        print(
            f"   diverged at step {net.history.diverged_at}" * (net.history.diverged_at is not None)
        )


def print_demonstration(network, data, with_figures):
    print("\nThe network with batch norm, tested with two kinds of statistics:")
    print(f"{'':22}{'whole test set':>16}{'200 images one by one':>25}", end="")
    print(f"{'the lesson:':>14}{'whole':>8}{'one by one':>13}" if with_figures else "")
    for statistics in ("population", "batch"):
        whole = network.accuracy(*data.test, statistics=statistics)
        single, classes = single_accuracy(network, *data.test, statistics)
        print(f"{f'of the {statistics}':22}{whole:16.4f}{single:25.4f}", end="")
        if with_figures:
            figures = lesson.reported_demonstration(statistics)
            print(f"{'':14}{figures[0]:8.4f}{figures[1]:13.4f}", end="")
        print("   always the same class" if classes == 1 else "")
    print("A single image's own statistics say nothing: its mean is the image, its variance 0.")


def main(arguments=None):
    options = parse_arguments(arguments)
    data, name = load_or_exit(options)
    sample_every = max(1, min(500, options.batches // 40))
    weights = lesson.initial_weights(options.weights == "bad", options.seed)
    print(
        f"{name}: {len(data.train[1]):,} training images, {options.batches:,} batches of "
        f"{options.batch_size}, {options.weights} weights, learning rate "
        f"{options.learning_rate:g}, {options.activation}, seed {options.seed}"
    )
    networks = []
    for use_batch_norm in (False, True):
        net = lesson.NeuralNet(weights, ACTIVATIONS[options.activation], use_batch_norm)
        if not options.quiet:
            print(f"Training: {net.name}", flush=True)
        net.history = fit(
            net.network,
            data.train,
            data.validation,
            optimizer=SGD(options.learning_rate),
            steps=options.batches,
            batch_size=options.batch_size,
            sample_every=sample_every,
            seed=options.seed,
            progress=not options.quiet,
            on_divergence="record",
        )
        if net.history.interrupted:
            print(f"{net.name}: interrupted after step {len(net.history.losses):,}")
            return 130
        networks.append(net)

    reported = [
        run
        for run in lesson.reported_runs()
        if name == "MNIST"
        and options.batch_size == 60
        and (run.initial_weights, run.learning_rate) == (options.weights, options.learning_rate)
        and (run.activation, run.training_batches) == (options.activation, options.batches)
    ]
    print_results(networks, data, reported)
    # The lesson's demonstration is of the network of its 2,000-batch run with these settings.
    demonstrated = (options.weights, options.learning_rate, options.activation, options.batches)
    as_lesson = bool(reported) and demonstrated == ("good", 0.01, "relu", 2000)
    print_demonstration(networks[1].network, data, as_lesson)
    path = options.output / "mnist_bn.png"
    curves = {net.name: net.history for net in networks}
    plotting.training_accuracies(curves).savefig(path, dpi=150)
    print(f"\nAccuracy curves: {path}")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
