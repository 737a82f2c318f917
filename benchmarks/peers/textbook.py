"""NumPy as courses and textbooks write it: one expression a formula, in the arrays' own type.

Batch norm goes through its graph backward stage by stage, and every layer hands its dx on, the
first one too, whose dx nobody needs; each parameter is updated by itself. That is how the course
and the book do it that most learners read (Stanford's CS231n; Saito, Deep Learning from Scratch).
"""

import numpy as np

from benchmarks.peers import base
from benchmarks.peers.base import EPSILON, LEARNING_RATE, MOMENTUM, Array, Kernels
from benchmarks.timing import Task


def batch_norm_forward(x, gamma, beta, eps=EPSILON):
    """The batch's statistics, x normalized by them, scaled and shifted; x (N, D)."""
    mu = x.mean(axis=0)
    xc = x - mu
    var = np.mean(xc**2, axis=0)
    std = np.sqrt(var + eps)
    xn = xc / std
    out = gamma * xn + beta
    return out, (gamma, xc, std, xn, mu, var)


def batch_norm_backward(dout, cache):
    """Back through the same stages."""
    gamma, xc, std, xn, _, _ = cache
    n = dout.shape[0]
    dbeta = dout.sum(axis=0)
    dgamma = np.sum(xn * dout, axis=0)
    dxn = gamma * dout
    dxc = dxn / std
    dstd = -np.sum((dxn * xc) / (std * std), axis=0)
    dvar = 0.5 * dstd / std
    dxc += (2.0 / n) * xc * dvar
    dmu = np.sum(dxc, axis=0)
    dx = dxc - dmu / n
    return dx, dgamma, dbeta


def batch_norm_inference(x, gamma, beta, mean, variance, eps=EPSILON):
    """With given statistics."""
    xn = (x - mean) / np.sqrt(variance + eps)
    return gamma * xn + beta


def softmax_loss(x, y):
    """The mean cross entropy and its gradient."""
    shifted = x - np.max(x, axis=1, keepdims=True)
    log_probs = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    n = x.shape[0]
    loss = -np.sum(log_probs[np.arange(n), y]) / n
    dx = np.exp(log_probs)
    dx[np.arange(n), y] -= 1
    dx /= n
    return loss, dx


class TextbookNetwork:
    """Dense, batch norm where there is a gamma, ReLU, again and again; softmax at the end."""

    def __init__(self, values, dtype):
        self.values = {name: value.astype(dtype) for name, value in values.items()}
        self.depth = base.depth(values)

    def step(self, x, y):
        """Forward, backward, update; returns the loss."""
        p, caches = self.values, []
        for i in range(self.depth):
            inputs, norm = x, None
            x = x.dot(p[f"weight{i}"])
            if f"bias{i}" in p:
                x = x + p[f"bias{i}"]
            if f"gamma{i}" in p:
                x, norm = batch_norm_forward(x, p[f"gamma{i}"], p[f"beta{i}"])
                mu, var = norm[-2:]
                p[f"mean{i}"] = MOMENTUM * p[f"mean{i}"] + (1 - MOMENTUM) * mu
                p[f"variance{i}"] = MOMENTUM * p[f"variance{i}"] + (1 - MOMENTUM) * var
            caches.append((inputs, norm, x))
            if i < self.depth - 1:
                x = np.maximum(0, x)
        loss, dx = softmax_loss(x, y)
        grads = {}
        for i in reversed(range(self.depth)):
            inputs, norm, before_relu = caches[i]
            if i < self.depth - 1:
                dx = dx * (before_relu > 0)
            if norm is not None:
                dx, grads[f"gamma{i}"], grads[f"beta{i}"] = batch_norm_backward(dx, norm)
            grads[f"weight{i}"] = inputs.T.dot(dx)
            if f"bias{i}" in p:
                grads[f"bias{i}"] = np.sum(dx, axis=0)
            dx = dx.dot(p[f"weight{i}"].T)
        for name, gradient in grads.items():
            p[name] -= LEARNING_RATE * gradient
        return loss

    def predict(self, x):
        """The class of each row."""
        p = self.values
        for i in range(self.depth):
            x = x.dot(p[f"weight{i}"])
            if f"bias{i}" in p:
                x = x + p[f"bias{i}"]
            if f"gamma{i}" in p:
                x = batch_norm_inference(x, *(p[f"{n}{i}"] for n in _STATE))
            if i < self.depth - 1:
                x = np.maximum(0, x)
        return np.argmax(x, axis=1)


_STATE = ("gamma", "beta", "mean", "variance")


class TextbookPeer(base.Peer):
    """The textbook in float32 and, as it comes without a thought, in float64."""

    library = "textbook"

    def kernels(self, case: base.KernelCase) -> Kernels:
        name = "textbook NumPy"
        gamma, beta = case.gamma, case.beta
        x, dy, dy_relu = (
            each.reshape(-1, case.shape[-1]) for each in (case.x, case.dy, case.dy_relu)
        )
        _, cache = batch_norm_forward(x, gamma, beta)

        def shaped(names):
            def result(returned):
                named = names(returned)
                wide = {k: v.reshape(case.shape) for k, v in named.items() if k in ("y", "dx")}
                return {**named, **wide}

            return result

        def both():
            y, cache = batch_norm_forward(x, gamma, beta)
            return y, batch_norm_backward(dy, cache)

        def with_relu():
            y, cache = batch_norm_forward(x, gamma, beta)
            out = np.maximum(0, y)
            return out, batch_norm_backward(dy_relu * (y > 0), cache)

        def inference():
            return batch_norm_inference(x, gamma, beta, case.mean, case.variance)

        def forward():
            return batch_norm_forward(x, gamma, beta)

        yield "forward", name, Task(forward, shaped(base.output_first))
        yield (
            "backward",
            name,
            Task(lambda: batch_norm_backward(dy, cache), shaped(base.gradients)),
        )
        yield "forward+backward", name, Task(both, shaped(base.output_and_gradients))
        yield "inference", name, Task(inference, shaped(base.output))
        yield "bn+relu", name, Task(with_relu, shaped(base.output_and_gradients))

    def trainers(self, setup: base.Setup) -> dict[str, base.Trainer]:
        return {
            "textbook NumPy": self._trainer(setup, np.float32),
            "textbook NumPy, float64": self._trainer(setup, np.float64),
        }

    def _trainer(self, setup, dtype):
        network = TextbookNetwork(setup.values, dtype)
        return base.Trainer(
            network.step,
            [(images.astype(dtype), labels) for images, labels in setup.batches],
            lambda: {name: value.copy() for name, value in network.values.items()},
        )

    def evaluations(self, values: base.Values, images: Array) -> dict[str, Task]:
        network = TextbookNetwork(values, np.float32)
        return {"textbook NumPy": Task(lambda: network.predict(images), base.classes)}
