"""npbn as its users call it."""

import io
from collections.abc import Callable
from contextlib import redirect_stderr
from typing import Any

import numpy as np

import npbn
from benchmarks.peers import base
from benchmarks.peers.base import ADAM_RATE, EPSILON, LEARNING_RATE, Array, Setup, Values
from benchmarks.timing import Task

# Layers of images by `npbn.`: `against` measures older checkouts, which do not have them.
from npbn import SGD, Adam, BatchNorm, Dense, ReLU, Sequential, fit, functional, training_steps


def network_of(values: Values) -> Sequential:
    """The network that has these values."""
    layers: list[Any] = []
    for place in range(base.depth(values)):
        weight, bias = values[f"weight{place}"], values.get(f"bias{place}")
        layers += [ReLU()] if place else []
        if place and values[f"weight{place - 1}"].ndim == 4:
            layers += [npbn.MaxPool2D(2), *([npbn.Flatten()] if weight.ndim == 2 else [])]
        how = {"use_bias": bias is not None, "weight": weight}
        if weight.ndim == 4:
            layers.append(npbn.Conv2D(*weight.shape[2:], 3, **how))
        else:
            layers.append(Dense(*weight.shape, **how))
        if bias is not None:
            layers[-1].bias = bias
        if f"gamma{place}" in values:
            how = {"momentum": base.MOMENTUM, "epsilon": EPSILON, "dtype": weight.dtype}
            norm = BatchNorm(weight.shape[-1], **how)
            norm.gamma, norm.beta = values[f"gamma{place}"], values[f"beta{place}"]
            norm.population_mean = values[f"mean{place}"]
            norm.population_variance = values[f"variance{place}"]
            layers.append(norm)
    return Sequential(layers)


def values_of(network: Sequential) -> dict[str, Array]:
    """The network's values, by the names of a Setup."""
    values, place = {}, -1
    for layer in network.layers:
        place += "weight" in layer.parameters
        for name, value in {**layer.parameters, **layer.state}.items():
            values[f"{name.removeprefix('population_')}{place}"] = value.copy()
    return values


def step_of(network: Sequential, adam: bool = False) -> Callable[[Array, Array], float]:
    """A step of the public calls that a training loop of one's own makes."""
    optimizer = Adam(ADAM_RATE) if adam else SGD(LEARNING_RATE)

    def step(images: Array, labels: Array) -> float:
        logits = network.forward(images, training=True)
        loss, dlogits = functional.softmax_cross_entropy(logits, labels)
        network.backward(dlogits)
        optimizer.step(network)
        return loss

    return step


def training_steps_task(setup: Setup, data: tuple[Array, Array]) -> Task:
    """`training_steps` itself, data and all: a call is one step of a generator without an end."""
    network, rows = network_of(setup.values), len(setup.batches[0][0])
    optimizer = SGD(LEARNING_RATE)
    steps = training_steps(network, data, optimizer=optimizer, steps=10**9, batch_size=rows)
    return Task(lambda: next(steps))


def passes_of(layer: Any, case: base.LayerCase) -> Callable[[], Any]:
    """The layer of a network of its own, forward and backward."""
    network = Sequential([layer])

    def run() -> Any:
        y = network.forward(case.x, training=True)
        dx = network.backward(case.dy, input_gradient=True)
        return y, dx, *layer.gradients.values()

    return run


class NpbnPeer(base.Peer):
    """The contestant itself."""

    library = "npbn"

    def kernels(self, case: base.KernelCase) -> dict[str, base.Kernels]:
        arrays = case.x, case.gamma, case.beta
        norm = BatchNorm(case.shape[-1], epsilon=EPSILON, dtype=case.dtype)
        norm.gamma, norm.beta = case.gamma, case.beta
        network, gradients = Sequential([norm, ReLU()]), norm.gradients

        def relu() -> Any:
            y = network.forward(case.x, training=True)
            dx = network.backward(case.dy_relu, input_gradient=True)
            return y, (dx, gradients["gamma"], gradients["beta"])

        own = base.Kernels(
            lambda: functional.batch_norm_forward(*arrays, epsilon=EPSILON),
            lambda cache: functional.batch_norm_backward(case.dy, cache),
            lambda: functional.batch_norm_inference(
                *arrays, case.mean, case.variance, epsilon=EPSILON
            ),
            relu,
        )
        return {"npbn": own}

    def layers(self, case: base.LayerCase) -> dict[str, Task]:
        layer = {
            "Conv2D": lambda: npbn.Conv2D(*case.weight.shape[2:], 3, weight=case.weight),
            "MaxPool2D": lambda: npbn.MaxPool2D(2),
            "AvgPool2D": lambda: npbn.AvgPool2D(2),
            "GlobalAvgPool2D": lambda: npbn.GlobalAvgPool2D(),
        }[case.layer]()
        if layer.parameters:
            layer.bias = case.bias
        return {"npbn": case.task(passes_of(layer, case))}

    def sequences(self, case: base.SequenceCase) -> dict[str, Task]:
        layer = {
            "LSTM": lambda: npbn.LSTM(case.x.shape[-1], case.size),
            "LayerNorm": lambda: npbn.LayerNorm(case.x.shape[-1]),
            "GroupNorm": lambda: npbn.GroupNorm(case.size, case.x.shape[-1]),
            "InstanceNorm": lambda: npbn.InstanceNorm(case.x.shape[-1]),
        }[case.layer]()
        for name, value in case.parameters.items():
            setattr(layer, name, value)
        return {"npbn": case.task(passes_of(layer, case))}

    def steps(self, setup: Setup) -> dict[str, Task]:
        network = network_of(setup.values)
        step, batches = step_of(network, setup.adam), setup.batches
        return {"npbn": base.training_task(setup, step, batches, lambda: values_of(network))}

    def loops(self, setup: Setup, data: Any, steps: int) -> dict[str, Task]:
        def fitting(validation: Any = None, progress: bool = False) -> Task:
            network, rng = network_of(setup.values), np.random.default_rng(0)

            def run() -> None:
                how = {"optimizer": SGD(LEARNING_RATE), "steps": steps, "seed": rng}
                how["progress"] = progress
                with redirect_stderr(_Terminal()):
                    fit(network, data.train, validation, **how)

            return Task(run, steps)

        return {
            "fit": fitting(),
            "fit, progress bar": fitting(progress=True),
            "fit, sampling every 500": fitting(data.validation),
            "training_steps": training_steps_task(setup, data.train),
        }

    def evaluations(self, values: Values, images: Array) -> dict[str, Callable[[], Any]]:
        network = network_of(values)
        ways = {"npbn": lambda: network.predict(images)}
        if "gamma0" in values:
            folded = network.fold_batch_norm()
            ways["npbn, folded"] = lambda: folded.predict(images)
        return ways


class _Terminal(io.StringIO):
    """A terminal that nobody looks at: progress bars draw on it."""

    def isatty(self) -> bool:
        return True
