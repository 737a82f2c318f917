"""npbn.reference, the equations as they are printed."""

import numpy as np

from benchmarks.peers import base
from benchmarks.peers.base import EPSILON, LEARNING_RATE, MOMENTUM, Array, Kernels
from benchmarks.timing import Task
from npbn import reference

NAME = "npbn.reference"


class ReferenceNetwork:
    """The network of a Setup, put together of the equations."""

    def __init__(self, values):
        self.values = {name: value.copy() for name, value in values.items()}
        self.last = base.depth(values) - 1

    def forward(self, x, training):
        """The logits, and what the backward pass needs of each layer."""
        p, caches = self.values, []
        for i in range(self.last + 1):
            x, cache = reference.dense_forward(x, p[f"weight{i}"], p.get(f"bias{i}"))
            caches.append((reference.dense_backward, cache, (f"weight{i}", f"bias{i}")))
            if f"gamma{i}" in p:
                gamma, beta = p[f"gamma{i}"], p[f"beta{i}"]
                statistics = p[f"mean{i}"], p[f"variance{i}"]
                if training:
                    x, cache = reference.batch_norm_forward(x, gamma, beta, epsilon=EPSILON)
                    names = (f"gamma{i}", f"beta{i}")
                    caches.append((reference.batch_norm_backward, cache, names))
                    for name, old in zip(("mean", "variance"), statistics, strict=True):
                        p[f"{name}{i}"] = reference.update_population(
                            old, getattr(cache, name), momentum=MOMENTUM
                        )
                else:
                    x = reference.batch_norm_inference(x, gamma, beta, *statistics, epsilon=EPSILON)
            if i < self.last:
                x, cache = reference.relu_forward(x)
                caches.append((lambda dy, cache: (reference.relu_backward(dy, cache),), cache, ()))
        return x, caches

    def step(self, images, labels):
        """Forward, backward, update; returns the loss."""
        logits, caches = self.forward(images, training=True)
        loss, dx = reference.softmax_cross_entropy(logits, labels)
        for backward, cache, names in reversed(caches):
            dx, *gradients = backward(dx, cache)
            for name, gradient in zip(names, gradients, strict=True):
                if name in self.values:
                    self.values[name] -= LEARNING_RATE * gradient
        return loss


class ReferencePeer(base.Peer):
    """The equations: slow, and what all others must agree with."""

    library = "reference"

    def kernels(self, case: base.KernelCase) -> Kernels:
        x, dy, gamma, beta = case.x, case.dy, case.gamma, case.beta
        _, cache = reference.batch_norm_forward(x, gamma, beta, epsilon=EPSILON)
        dy_relu = case.dy_relu

        def forward():
            return reference.batch_norm_forward(x, gamma, beta, epsilon=EPSILON)

        def both():
            y, cache = forward()
            return y, reference.batch_norm_backward(dy, cache)

        def with_relu():
            y, cache = forward()
            y, relu_cache = reference.relu_forward(y)
            return y, reference.batch_norm_backward(
                reference.relu_backward(dy_relu, relu_cache), cache
            )

        def inference():
            return reference.batch_norm_inference(
                x, gamma, beta, case.mean, case.variance, epsilon=EPSILON
            )

        yield "forward", NAME, Task(forward, base.output_first)
        yield (
            "backward",
            NAME,
            Task(lambda: reference.batch_norm_backward(dy, cache), base.gradients),
        )
        yield "forward+backward", NAME, Task(both, base.output_and_gradients)
        yield "inference", NAME, Task(inference, base.output)
        yield "bn+relu", NAME, Task(with_relu, base.output_and_gradients)

    def trainers(self, setup: base.Setup) -> dict[str, base.Trainer]:
        network = ReferenceNetwork(setup.values)

        def values():
            return {name: value.copy() for name, value in network.values.items()}

        return {NAME: base.Trainer(network.step, setup.batches, values)}

    def evaluations(self, values: base.Values, images: Array) -> dict[str, Task]:
        network = ReferenceNetwork(values)

        def classes():
            return np.argmax(network.forward(images, training=False)[0], axis=1)

        return {NAME: Task(classes, base.classes)}
