"""The lesson's network class, less the session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from os import PathLike, fspath
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn import checkpoint, datasets
from npbn._checks import Array, Statistics
from npbn.datasets import Dataset
from npbn.layers import BatchNorm, Dense, Layer
from npbn.network import Sequential
from npbn.optimizers import SGD
from npbn.training import History, fit

Activation = Callable[[], Layer]

SINGLE_PREDICTIONS = 200


class NeuralNet:
    """A network for digits, with or without batch normalization on its hidden layers.

    Parameters
    ----------
    initial_weights : list of ndarray
        One (in, out) a layer; they say how many layers there are and how large. They are copied, so
        that several networks can start from the same ones.
    activation_fn : function
        A layer class, or any call without arguments that makes a layer, for the hidden layers:
        ReLU, Sigmoid, ``lambda: LeakyReLU(0.1)``. The output layer has none.
    use_batch_norm : bool
        Whether each hidden layer is normalized, between its matrix product and its activation. A
        layer that is has no bias; beta takes its place.

    Attributes
    ----------
    network : Sequential
    training_accuracies : list of float
        The validation accuracies sampled by `train`.
    history : History or None
        Of the last training.
    name : "With Batch Norm" or "Without Batch Norm"

    Raises
    ------
    TypeError, ValueError
        For arguments of another kind, and weights that do not fit together.
    """

    def __init__(
        self, initial_weights: Sequence[Array], activation_fn: Activation, use_batch_norm: bool
    ) -> None:
        self.use_batch_norm = checks.flag("use_batch_norm", use_batch_norm)
        self.name = "With Batch Norm" if use_batch_norm else "Without Batch Norm"
        self.training_accuracies: list[float] = []
        self.history: History | None = None
        self.build_network(initial_weights, activation_fn)

    def build_network(self, initial_weights: Sequence[Array], activation_fn: Activation) -> None:
        """Set `network`: hidden layers with activation_fn, and an output layer without."""
        initial_weights = _checked_weights(initial_weights)
        _check_makes_layers(activation_fn)
        layers: list[Layer] = []
        for weights in initial_weights[:-1]:
            layers += self.fully_connected(weights, activation_fn)
        layers += self.fully_connected(initial_weights[-1])
        self.network = Sequential(layers)

    def fully_connected(
        self, initial_weights: Array, activation_fn: Activation | None = None
    ) -> list[Layer]:
        """The layers of one fully connected layer; override it to build them another way.

        Without activation_fn it is the output layer, which is never normalized.
        """
        in_features, out_features = initial_weights.shape
        if self.use_batch_norm and activation_fn:
            return [
                Dense(in_features, out_features, use_bias=False, weight=initial_weights),
                BatchNorm(out_features, dtype=initial_weights.dtype),
                activation_fn(),
            ]
        dense = Dense(in_features, out_features, weight=initial_weights)
        return [dense, activation_fn()] if activation_fn else [dense]

    def train(
        self,
        learning_rate: float,
        training_batches: int,
        batches_per_sample: int,
        save_model_as: str | PathLike[str] | None = None,
        *,
        data: Dataset | None = None,
        batch_size: int = 60,
        seed: int | None = None,
        progress: bool = True,
    ) -> None:
        """Train by plain gradient descent, sampling the validation accuracy; print the last one.

        After every step that batches_per_sample divides, counted from 0, the validation accuracy
        goes to `training_accuracies`. A loss that is not finite ends the run, and the rest of the
        samples show what the network then says. Ctrl-C ends it early; ``history.interrupted``
        tells.

        Parameters
        ----------
        learning_rate : float
        training_batches, batches_per_sample : int
            How many steps, and how many a sample.
        save_model_as : path or None
            The one file that `test` can restore from.
        data : Dataset or None
            None: MNIST.
        batch_size : int
        seed : int or None
            Orders the batches; None: a fresh one, printed.
        progress : bool
            Whether a terminal or a notebook shows a bar.

        Raises
        ------
        OSError
            Before the first step, if save_model_as could not be written.
        """
        checks.number("learning_rate", learning_rate, minimum=0)
        checks.integer("training_batches", training_batches, minimum=0)
        checks.integer("batches_per_sample", batches_per_sample, minimum=1)
        if seed is not None:
            checks.integer("seed", seed, minimum=0)
        if save_model_as is not None:
            _check_can_save(save_model_as)
        data = default_data() if data is None else _checked_data(data)
        self.history = fit(
            self.network,
            data.train,
            data.validation,
            optimizer=SGD(learning_rate),
            steps=training_batches,
            batch_size=batch_size,
            sample_every=batches_per_sample,
            seed=fresh_seed() if seed is None else seed,
            progress=progress,
            on_divergence="record",
        )
        self.training_accuracies += self.history.validation_accuracies
        accuracy = self.history.final_validation_accuracy
        if self.history.interrupted:
            print(f"{self.name}: interrupted after step {len(self.history.losses)}")
        else:
            print(f"{self.name}: After training, final accuracy on validation set = {accuracy}")
        if save_model_as is not None:
            self.network.save(save_model_as)

    def test(
        self,
        test_training_accuracy: bool = False,
        include_individual_predictions: bool = False,
        restore_from: str | PathLike[str] | None = None,
        *,
        data: Dataset | None = None,
    ) -> None:
        """Print the accuracy on the test set, and if asked that of predictions one at a time.

        Parameters
        ----------
        test_training_accuracy : bool
            True normalizes with the statistics of what is predicted, the whole test set or one
            single image; False, as it should be, with those of the population.
        include_individual_predictions : bool
            Whether to print 200 predictions, one at a time (fewer where the test set has no 200).
        restore_from : path or None
            A file that `train` saved.
        data : Dataset or None
            None: MNIST.
        """
        by_batch = checks.flag("test_training_accuracy", test_training_accuracy)
        checks.flag("include_individual_predictions", include_individual_predictions)
        data = default_data() if data is None else _checked_data(data)
        if restore_from is not None:
            self.network.load(restore_from)
        images, labels = data.test
        statistics: Statistics = "batch" if by_batch else "population"
        accuracy = self.network.accuracy(images, labels, statistics=statistics)
        print(f"{self.name}: Accuracy on full test set = {accuracy}")
        if include_individual_predictions:
            predictions = single_predictions(self.network, images, statistics)
            correct = int(np.count_nonzero(predictions == labels[: len(predictions)]))
            print(f"{len(predictions)} Predictions:", predictions)
            print(f"Accuracy on {len(predictions)} samples:", correct / len(predictions))

    def __repr__(self) -> str:
        return f"NeuralNet({self.name}, {self.network!r})"


def _checked_weights(initial_weights: Any) -> list[Array]:
    if isinstance(initial_weights, np.ndarray):
        raise TypeError(
            "initial_weights: expected a list of arrays (in, out), got an array of shape "
            f"{initial_weights.shape}: pass [initial_weights] for a network of one layer"
        )
    given = checks.items("initial_weights", initial_weights, "arrays (in, out)")
    if not given:
        raise ValueError("initial_weights: expected one array (in, out) or more, got none")
    weights: list[Array] = []
    for place, each in enumerate(given):
        name = f"initial_weights[{place}]"
        array = checks.float_array(name, each)
        inputs = weights[-1].shape[1] if weights else "in"
        if array.ndim != 2 or array.size == 0 or (weights and len(array) != inputs):
            reason = f", as the layer before it has {inputs} outputs" if weights else ""
            raise ValueError(f"{name}: expected shape ({inputs}, out){reason}, got {array.shape}")
        weights.append(array)
        checks.same_dtype(weights[0], **{name: array})
    return weights


def _check_makes_layers(activation_fn: Any) -> None:
    made = None
    if callable(activation_fn):
        with suppress(TypeError):
            made = activation_fn()
    if not isinstance(made, Layer):
        hint = f": pass {type(activation_fn).__name__}" if isinstance(activation_fn, Layer) else ""
        raise TypeError(
            "activation_fn: expected a layer class such as ReLU, or a call without arguments that "
            f"makes a layer, got {activation_fn!r}{hint}"
        )


def _check_can_save(path: Any) -> None:
    try:
        fspath(path)
    except TypeError:
        raise TypeError(f"save_model_as: expected a path or None, got {path!r}") from None
    try:
        checkpoint.check_save(path, {}, {})
    except OSError as error:
        error.strerror = f"save_model_as: pass a file that can be written: {error.strerror}"
        raise
    except ValueError as error:
        raise ValueError(f"save_model_as: {error}") from None


def _checked_data(data: Dataset) -> Dataset:
    if not isinstance(data, Dataset):
        raise TypeError(
            f"data: expected what npbn.datasets.load_mnist() returns, got a {type(data).__name__}"
        )
    return data


def single_predictions(network: Sequential, images: Array, statistics: Statistics) -> list[int]:
    """The classes of the first 200 images, each predicted by itself."""
    return [
        int(network.predict(images[i : i + 1], statistics=statistics)[0])
        for i in range(min(SINGLE_PREDICTIONS, len(images)))
    ]


@cache
def default_data() -> Dataset:
    """MNIST, loaded once."""
    return datasets.load_mnist()


def fresh_seed() -> int:
    """A seed that was never used, printed so that the run can be repeated."""
    seed = int(np.random.default_rng().integers(2**32))
    print(f"Fresh seed: {seed} (pass seed={seed} for the same run again)")
    return seed
