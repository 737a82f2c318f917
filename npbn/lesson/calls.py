"""The lesson's functions, less the session."""

from __future__ import annotations

from typing import Any

from npbn import _checks as checks
from npbn import plotting
from npbn._checks import Array
from npbn.datasets import Dataset
from npbn.layers import ReLU
from npbn.layers.initial import normal_weights
from npbn.lesson.neural_net import Activation, NeuralNet, fresh_seed

SIZES = (784, 100, 100, 100, 10)
GOOD_STD, BAD_STD = 0.05, 5.0


def initial_weights(use_bad_weights: bool, seed: int | None = None) -> list[Array]:
    """Weights to start networks from: (784, 100), (100, 100), (100, 100) and (100, 10), float32.

    Parameters
    ----------
    use_bad_weights : bool
        Whether the normal numbers around 0 have the standard deviation 5, else 0.05.
    seed : int or None
        None: fresh.
    """
    std = BAD_STD if checks.flag("use_bad_weights", use_bad_weights) else GOOD_STD
    return normal_weights(SIZES, std, seed)


def train_and_test(
    use_bad_weights: bool,
    learning_rate: float,
    activation_fn: Activation,
    training_batches: int = 50000,
    batches_per_sample: int = 500,
    *,
    data: Dataset | None = None,
    batch_size: int = 60,
    seed: int | None = None,
    progress: bool = True,
) -> tuple[NeuralNet, NeuralNet]:
    """Train two networks, without and with batch normalization; test both; plot their accuracies.

    Both get the same initial weights and the same batches. The arguments are those of
    `initial_weights`, `NeuralNet` and `NeuralNet.train`. Ctrl-C ends the running training, and
    nothing follows it.

    Returns
    -------
    tuple of NeuralNet
        The two networks, without and with.
    """
    checks.integer("training_batches", training_batches, minimum=0)
    checks.integer("batches_per_sample", batches_per_sample, minimum=1)
    seed = fresh_seed() if seed is None else checks.integer("seed", seed, minimum=0)
    weights = initial_weights(use_bad_weights, seed)
    networks = (
        NeuralNet(weights, activation_fn, False),
        NeuralNet(weights, activation_fn, True),
    )
    for each in networks:
        each.train(
            learning_rate,
            training_batches,
            batches_per_sample,
            data=data,
            batch_size=batch_size,
            seed=seed,
            progress=progress,
        )
        if each.history is not None and each.history.interrupted:
            return networks
    for each in networks:
        each.test(data=data)
    plot_training_accuracies(*networks, batches_per_sample=batches_per_sample)
    return networks


def plot_training_accuracies(*args: NeuralNet, **kwargs: Any) -> None:
    """Show how the validation accuracies of one or more trained networks changed in training.

    Parameters
    ----------
    *args : NeuralNet
    **kwargs
        batches_per_sample, the one given to `NeuralNet.train`.

    Raises
    ------
    TypeError
        Without batches_per_sample, or for anything else.
    """
    if set(kwargs) != {"batches_per_sample"}:
        raise TypeError(
            f"expected the keyword batches_per_sample and no other, got {sorted(kwargs)}"
        )
    for place, each in enumerate(args):
        if not isinstance(each, NeuralNet):
            raise TypeError(f"args[{place}]: expected a NeuralNet, got {each!r:.60}")
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    curves: dict[str, list[float]] = {}
    for each in args:
        same = sum(other.name == each.name for other in args[: len(curves)])
        curves[f"{each.name} ({same + 1})" if same else each.name] = each.training_accuracies
    plotting.training_accuracies(curves, kwargs["batches_per_sample"], ax=ax, scale="linear")
    plt.show()


def batch_norm_test(
    test_training_accuracy: bool,
    *,
    data: Dataset | None = None,
    batch_size: int = 60,
    seed: int | None = None,
    progress: bool = True,
) -> NeuralNet:
    """Train a network with batch normalization for 2,000 batches; test it in batch and one by one.

    Parameters
    ----------
    test_training_accuracy : bool
        True normalizes in the test with the statistics of what is predicted, and shows what goes
        wrong: of a single image they say nothing, and every prediction is the same. False
        normalizes with those of the population.
    data, batch_size, seed, progress
        As for `NeuralNet.train`.

    Returns
    -------
    NeuralNet
    """
    checks.flag("test_training_accuracy", test_training_accuracy)
    seed = fresh_seed() if seed is None else seed
    net = NeuralNet(initial_weights(False, seed), ReLU, True)
    net.train(0.01, 2000, 2000, data=data, batch_size=batch_size, seed=seed, progress=progress)
    if net.history is not None and net.history.interrupted:
        return net
    net.test(test_training_accuracy, include_individual_predictions=True, data=data)
    return net
