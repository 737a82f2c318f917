"""From a description to a result: train, sample, test, and tell how it failed if it did."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from npbn import _html, datasets
from npbn._checks import Array
from npbn.datasets import Dataset
from npbn.experiments.description import Run, build
from npbn.layers import Dense
from npbn.network import Sequential
from npbn.optimizers import SGD
from npbn.training import fit

OUTCOMES = ("finite", "dead", "not finite")


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run came to.

    Attributes
    ----------
    validation_accuracy, test_accuracy : float
        After the last step, with population statistics.
    training_accuracy : float
        Of the images trained on, the first 10,000 at most.
    accuracies : tuple of float
        The sampled validation accuracies.
    seconds : float
        Of the training, sampling included.
    outcome : "finite", "dead" or "not finite"
        "not finite" where a loss was infinite or NaN (then every prediction is class 0); "dead"
        where the last hidden layer's activations are the same for every image, so that every
        prediction is one class; else "finite".
    diverged_at : int or None
        The step whose loss was not finite.
    constant_units : tuple of float
        For each hidden layer the share of units whose activation is the same for all validation
        images.
    digest : str
        SHA-256 of the final parameters and population statistics.
    """

    validation_accuracy: float
    test_accuracy: float
    training_accuracy: float
    accuracies: tuple[float, ...]
    seconds: float
    outcome: str
    diverged_at: int | None
    constant_units: tuple[float, ...]
    digest: str

    def _repr_html_(self) -> str:
        return _html.block(_html.fields(self))


class Interrupted(RuntimeError):
    """A run was ended early by Ctrl-C and has no result."""


def perform(run: Run) -> Result:
    """Train the network that a run describes, and measure it.

    A pure function of the run and the machine: the same bits each time, in any process.

    Parameters
    ----------
    run : Run

    Returns
    -------
    Result

    Raises
    ------
    Interrupted
        After Ctrl-C.
    FileNotFoundError, ValueError, RuntimeError
        Without the data.
    """
    data = load(run.data)
    images, labels = data.train
    train = images[: run.training_images], labels[: run.training_images]
    network = build(run)
    history = fit(
        network,
        train,
        data.validation,
        optimizer=SGD(run.learning_rate),
        steps=run.batches,
        batch_size=run.batch_size,
        sample_every=run.batches_per_sample,
        seed=run.seed,
        progress=False,
        on_divergence="record",
    )
    if history.interrupted or history.final_validation_accuracy is None:
        raise Interrupted(f"interrupted after {len(history.losses)} batches: {run}")
    constant = _constant_units(network, data.validation[0])
    outcome = "finite"
    if history.diverged_at is not None:
        outcome = "not finite"
    elif constant and constant[-1] == 1:
        outcome = "dead"
    return Result(
        validation_accuracy=history.final_validation_accuracy,
        test_accuracy=network.accuracy(*data.test),
        training_accuracy=network.accuracy(train[0][:10_000], train[1][:10_000]),
        accuracies=tuple(history.validation_accuracies),
        seconds=history.seconds,
        outcome=outcome,
        diverged_at=history.diverged_at,
        constant_units=constant,
        digest=_digest(network),
    )


@cache
def load(name: str) -> Dataset:
    """A data set by its name in a Run, loaded once a process."""
    loaders = {
        "mnist": datasets.load_mnist,
        "fashion": datasets.load_fashion_mnist,
        "digits": datasets.load_mnist_5k,
    }
    return loaders[name]()


@np.errstate(all="ignore")
def _constant_units(network: Sequential, x: Array) -> tuple[float, ...]:
    shares = []
    for layer, following in pairwise(network.layers):
        x = layer.forward(x)
        if isinstance(following, Dense):
            shares.append(float(np.mean((x == x[0]).all(0))))
    return tuple(shares)


def _digest(network: Sequential) -> str:
    digest = hashlib.sha256(network.parameter_vector.tobytes())
    for value in network.state.values():
        digest.update(value.tobytes())
    return digest.hexdigest()
