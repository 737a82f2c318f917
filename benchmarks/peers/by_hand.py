"""Networks put together of functions by hand: a textbook's, and npbn's own equations."""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import numpy as np

from benchmarks.peers import base, textbook
from benchmarks.peers.base import EPSILON, LEARNING_RATE, MOMENTUM, Array
from benchmarks.timing import Task
from npbn import reference


class Network:
    """Dense, batch norm where there is a gamma, ReLU, again and again; softmax at the end.

    f: where the functions are. Every layer hands its dx on, the first one too, and each parameter
    is updated by itself.
    """

    def __init__(self, f: Any, values: base.Values, dtype: Any) -> None:
        self.f, self.last = f, base.depth(values) - 1
        self.values = {name: value.astype(dtype) for name, value in values.items()}

    def forward(self, x: Array, training: bool) -> tuple[Array, list[Any]]:
        """The logits, and what the backward pass needs of each layer."""
        f, p, caches = self.f, self.values, []
        for i in range(self.last + 1):
            x, cache = f.dense_forward(x, p[f"weight{i}"], p.get(f"bias{i}"))
            caches.append((f.dense_backward, cache, (f"weight{i}", f"bias{i}")))
            if f"gamma{i}" in p:
                gamma, beta, mean, variance = (
                    p[f"{name}{i}"] for name in ("gamma", "beta", "mean", "variance")
                )
                if training:
                    x, cache = f.batch_norm_forward(x, gamma, beta, epsilon=EPSILON)
                    caches.append((f.batch_norm_backward, cache, (f"gamma{i}", f"beta{i}")))
                    p[f"mean{i}"] = MOMENTUM * mean + (1 - MOMENTUM) * cache.mean
                    p[f"variance{i}"] = MOMENTUM * variance + (1 - MOMENTUM) * cache.variance
                else:
                    x = f.batch_norm_inference(x, gamma, beta, mean, variance, epsilon=EPSILON)
            if i < self.last:
                x, cache = f.relu_forward(x)
                caches.append((lambda dy, cache: (f.relu_backward(dy, cache),), cache, ()))
        return x, caches

    def step(self, images: Array, labels: Array) -> Any:
        """Forward, backward, update; returns the loss."""
        logits, caches = self.forward(images, training=True)
        loss, dx = self.f.softmax_cross_entropy(logits, labels)
        gradients = {}
        for backward, cache, names in reversed(caches):
            dx, *others = backward(dx, cache)
            gradients |= dict(zip(names, others, strict=True))
        for name, gradient in gradients.items():
            if name in self.values:
                self.values[name] -= LEARNING_RATE * gradient
        return loss


class TextbookPeer(base.Peer):
    """The textbook in float32 and, as it comes without a thought, in float64."""

    library, functions = "textbook", textbook
    types: ClassVar = {"textbook NumPy": np.float32, "textbook NumPy, float64": np.float64}

    def kernels(self, case: base.KernelCase) -> dict[str, base.Kernels]:
        f, arrays = self.functions, (case.x, case.gamma, case.beta)

        def relu() -> Any:
            y, cache = f.batch_norm_forward(*arrays, epsilon=EPSILON)
            y, relu_cache = f.relu_forward(y)
            dy = f.relu_backward(case.dy_relu.reshape(y.shape), relu_cache)
            return y, f.batch_norm_backward(dy, cache)

        own = base.Kernels(
            lambda: f.batch_norm_forward(*arrays, epsilon=EPSILON),
            lambda cache: f.batch_norm_backward(case.dy, cache),
            lambda: f.batch_norm_inference(*arrays, case.mean, case.variance, epsilon=EPSILON),
            relu,
        )
        return {next(iter(self.types)): own}

    def steps(self, setup: base.Setup) -> dict[str, Task]:
        tasks = {}
        for name, dtype in self.types.items():
            network = Network(self.functions, setup.values, dtype)
            batches = [(images.astype(dtype), labels) for images, labels in setup.batches]
            values = partial(getattr, network, "values")
            tasks[name] = base.training_task(setup, network.step, batches, values)
        return tasks

    def evaluations(self, values: base.Values, images: Array) -> dict[str, Callable[[], Any]]:
        network = Network(self.functions, values, np.float32)
        name = next(iter(self.types))
        return {name: lambda: np.argmax(network.forward(images, training=False)[0], axis=1)}


class ReferencePeer(TextbookPeer):
    """npbn's own equations, as they are printed: slow, and what all others must agree with."""

    library, functions, types = "reference", reference, {"npbn.reference": np.float32}

    def layers(self, case: base.LayerCase) -> dict[str, Task]:
        forward, backward = {
            "Conv2D": (
                lambda x: reference.conv2d_forward(x, case.weight, case.bias),
                reference.conv2d_backward,
            ),
            "MaxPool2D": (partial(reference.max_pool_forward, size=2), reference.max_pool_backward),
            "AvgPool2D": (
                partial(reference.average_pool_forward, size=2),
                reference.average_pool_backward,
            ),
            "GlobalAvgPool2D": (
                reference.global_average_pool_forward,
                reference.global_average_pool_backward,
            ),
        }[case.layer]

        def run() -> Any:
            y, cache = forward(case.x)
            gradients = backward(case.dy, cache)
            return y, *(gradients if isinstance(gradients, tuple) else [gradients])

        return {"npbn.reference": case.task(run)}

    def sequences(self, case: base.SequenceCase) -> dict[str, Task]:
        stem, options = {
            "LSTM": ("lstm", {}),
            "LayerNorm": ("layer_norm", {}),
            "GroupNorm": ("group_norm", {"groups": case.size}),
            "InstanceNorm": ("instance_norm", {}),
        }[case.layer]
        forward = partial(getattr(reference, f"{stem}_forward"), **options)
        backward = getattr(reference, f"{stem}_backward")

        def run() -> Any:
            y, cache = forward(case.x, *case.parameters.values())
            return y, *backward(case.dy, cache)

        return {"npbn.reference": case.task(run)}
