"""PyTorch, eager: as its users have it, and its batch norm kernels called without autograd."""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.peers import base
from benchmarks.peers.base import EPSILON, LEARNING_RATE, MOMENTUM, Array, Kernels
from benchmarks.timing import Task


def channels_second(x):
    """A tensor (N, ..., D) seen as PyTorch wants it, (N, D, ...): a view, nothing is moved."""
    return x.movedim(-1, 1)


def to_numpy(result):
    """The arrays of a result, with the channels last again where there were other axes."""
    return {
        name: value.detach().movedim(1, -1).numpy() if value.ndim > 2 else value.detach().numpy()
        for name, value in result.items()
    }


def in_numpy(names):
    """A function that makes arrays by name of what the timed call returned."""
    return lambda result: to_numpy(names(result))


def autograd_path(case, compiled=lambda function: function):
    """(operation, Task) of F.batch_norm and its backward pass as a user of autograd has them."""
    x, dy, dy_relu = (
        channels_second(torch.tensor(each)) for each in (case.x, case.dy, case.dy_relu)
    )
    gamma, beta, mean, variance = (
        torch.tensor(each) for each in (case.gamma, case.beta, case.mean, case.variance)
    )
    leaves = [each.requires_grad_() for each in (x, gamma, beta)]
    running = torch.zeros_like(mean), torch.ones_like(mean)

    @compiled
    def batch_norm(x, gamma, beta):
        return F.batch_norm(x, None, None, gamma, beta, training=True, eps=EPSILON)

    @compiled
    def batch_norm_relu(x, gamma, beta):
        momentum = 1 - MOMENTUM
        y = F.batch_norm(x, *running, gamma, beta, training=True, momentum=momentum, eps=EPSILON)
        return torch.relu(y)

    @compiled
    def population(x, gamma, beta):
        return F.batch_norm(x, mean, variance, gamma, beta, training=False, eps=EPSILON)

    def both():
        y = batch_norm(*leaves)
        return y, torch.autograd.grad(y, leaves, dy)

    def with_relu():
        y = batch_norm_relu(*leaves)
        return y, torch.autograd.grad(y, leaves, dy_relu)

    def inference():
        with torch.no_grad():
            return population(*leaves)

    kept = batch_norm(*leaves)

    def backward():
        return torch.autograd.grad(kept, leaves, dy, retain_graph=True)

    yield "forward", Task(lambda: batch_norm(*leaves), in_numpy(base.output))
    yield "backward", Task(backward, in_numpy(base.gradients))
    yield "forward+backward", Task(both, in_numpy(base.output_and_gradients))
    yield "inference", Task(inference, in_numpy(base.output))
    yield "bn+relu", Task(with_relu, in_numpy(base.output_and_gradients))


def native_kernels(case):
    """(operation, Task) of the kernels themselves, which allocate what they return."""
    x, dy = (channels_second(torch.tensor(each)) for each in (case.x, case.dy))
    gamma, beta = torch.tensor(case.gamma), torch.tensor(case.beta)
    forward_kernel = torch.ops.aten.native_batch_norm.default
    backward_kernel = torch.ops.aten.native_batch_norm_backward.default
    every = [True, True, True]

    def forward():
        return forward_kernel(x, gamma, beta, None, None, True, 0.0, EPSILON)

    def backward(saved):
        return backward_kernel(dy, x, gamma, None, None, *saved, True, EPSILON, every)

    def both():
        y, *saved = forward()
        return y, backward(saved)

    kept = forward()[1:]
    yield "forward", Task(forward, in_numpy(base.output_first))
    yield "backward", Task(lambda: backward(kept), in_numpy(base.gradients))
    yield "forward+backward", Task(both, in_numpy(base.output_and_gradients))


def network_of(values):
    """The network that has these values."""
    layers = []
    last = base.depth(values) - 1
    for place in range(last + 1):
        weight, bias = values[f"weight{place}"], values.get(f"bias{place}")
        layers.append(nn.Linear(*weight.shape, bias=bias is not None))
        pairs = [(layers[-1].weight, weight.T), (layers[-1].bias, bias)]
        if f"gamma{place}" in values:
            norm = nn.BatchNorm1d(weight.shape[1], eps=EPSILON, momentum=1 - MOMENTUM)
            layers.append(norm)
            own = (norm.weight, norm.bias, norm.running_mean, norm.running_var)
            names = ("gamma", "beta", "mean", "variance")
            pairs += [(a, values[f"{name}{place}"]) for a, name in zip(own, names, strict=True)]
        with torch.no_grad():
            for own, value in pairs:
                if value is not None:
                    own.copy_(torch.tensor(value))
        if place < last:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def trainer(setup, compiled=lambda function: function):
    """A Trainer whose step is the one of PyTorch's own tutorials."""
    network = network_of(setup.values)
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE)

    @compiled
    def loss_of(images, labels):
        return F.cross_entropy(network(images), labels)

    def step(images, labels):
        optimizer.zero_grad()
        loss = loss_of(images, labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    def parameters():
        values, place = {}, -1
        for layer in network:
            names = ("weight", "bias") if isinstance(layer, nn.Linear) else ("gamma", "beta")
            place += isinstance(layer, nn.Linear)
            for name, value in zip(names, layer.parameters(), strict=False):
                array = value.detach().numpy().copy()
                values[f"{name}{place}"] = array.T if name == "weight" else array
        return values

    batches = [(torch.tensor(images), torch.tensor(labels)) for images, labels in setup.batches]
    return base.Trainer(step, batches, parameters)


class TorchPeer(base.Peer):
    """Eager PyTorch."""

    library = "pytorch"

    def kernels(self, case: base.KernelCase) -> Kernels:
        for operation, task in autograd_path(case):
            yield operation, "PyTorch", task
        for operation, task in native_kernels(case):
            yield operation, "PyTorch, native kernels", task

    def trainers(self, setup: base.Setup) -> dict[str, base.Trainer]:
        return {"PyTorch": trainer(setup)}

    def evaluations(self, values: base.Values, images: Array) -> dict[str, Task]:
        network = network_of(values).eval()
        x = torch.tensor(images)

        def whole():
            with torch.no_grad():
                return network(x).argmax(1)

        def blocks():
            with torch.no_grad():
                return torch.cat([network(block).argmax(1) for block in x.split(500)])

        return {
            "PyTorch, whole": Task(whole, base.classes),
            "PyTorch, blocks of 500": Task(blocks, base.classes),
        }
