"""PyTorch, eager: as its users have it, and its batch norm kernels called without autograd."""

from itertools import chain, islice, repeat

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


def trainer(setup, compiled=lambda function: function, fused=None):
    """A Trainer whose step is the one of PyTorch's own tutorials; fused: SGD in one kernel."""
    network = network_of(setup.values)
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, fused=fused)

    @compiled
    def loss_of(images, labels):
        return F.cross_entropy(network(images), labels)

    def step(images, labels):
        optimizer.zero_grad()
        loss = loss_of(images, labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    rows = len(setup.batches[0][0])

    def values():
        found, place = {}, -1
        for layer in network:
            names = ("weight", "bias") if isinstance(layer, nn.Linear) else ("gamma", "beta")
            place += isinstance(layer, nn.Linear)
            for name, value in zip(names, layer.parameters(), strict=False):
                array = value.detach().numpy().copy()
                found[f"{name}{place}"] = array.T if name == "weight" else array
            if isinstance(layer, nn.BatchNorm1d):
                found[f"mean{place}"] = layer.running_mean.numpy().copy()
                # PyTorch averages variances over m - 1. The first one, 1, is no batch's.
                start = MOMENTUM ** layer.num_batches_tracked.item()
                moved = layer.running_var.numpy() - start
                found[f"variance{place}"] = start + moved * ((rows - 1) / rows)
        return found

    batches = [(torch.tensor(images), torch.tensor(labels)) for images, labels in setup.batches]
    return base.Trainer(step, batches, values)


def folded(network):
    """The network with each batch norm folded into the Linear before it."""
    layers = []
    for layer in network:
        if isinstance(layer, nn.BatchNorm1d):
            layers[-1] = nn.utils.fusion.fuse_linear_bn_eval(layers[-1], layer)
        else:
            layers.append(layer)
    return nn.Sequential(*layers).eval()


def evaluation(network, images, rows=None):
    """A Task: the classes of the images, so many at a time, or all."""
    x = torch.tensor(images)

    def classes():
        with torch.no_grad():
            blocks = [x] if rows is None else x.split(rows)
            return torch.cat([network(block).argmax(1) for block in blocks])

    return Task(classes, base.classes)


def data_loop(setup, data, batch_size, steps):
    """A Task: so many steps on shuffled batches of a DataLoader, as PyTorch's tutorials have it."""
    step = trainer(setup).step
    images = torch.utils.data.TensorDataset(*map(torch.from_numpy, data))
    loader = torch.utils.data.DataLoader(images, batch_size, shuffle=True, drop_last=True)

    def run():
        for batch in islice(chain.from_iterable(repeat(loader)), steps):
            step(*batch)

    return Task(run, units=steps)


class TorchPeer(base.Peer):
    """Eager PyTorch."""

    library = "pytorch"

    def kernels(self, case: base.KernelCase) -> Kernels:
        for operation, task in autograd_path(case):
            yield operation, "PyTorch", task
        for operation, task in native_kernels(case):
            yield operation, "PyTorch, native kernels", task

    def trainers(self, setup: base.Setup) -> dict[str, base.Trainer]:
        return {"PyTorch": trainer(setup), "PyTorch, fused SGD": trainer(setup, fused=True)}

    def loops(
        self, setup: base.Setup, data: tuple[Array, Array], batch_size: int, steps: int
    ) -> dict[str, Task]:
        return {"PyTorch, DataLoader": data_loop(setup, data, batch_size, steps)}

    def evaluations(self, values: base.Values, images: Array) -> dict[str, Task]:
        network = network_of(values).eval()
        tasks = {
            "PyTorch, whole": evaluation(network, images),
            "PyTorch, blocks of 500": evaluation(network, images, 500),
        }
        if "gamma0" in values:
            tasks["PyTorch, folded, blocks of 500"] = evaluation(folded(network), images, 500)
        return tasks
