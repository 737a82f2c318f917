"""PyTorch, eager and compiled, and its batch norm kernels called without autograd."""

from functools import partial
from itertools import chain, islice, repeat

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.peers import base
from benchmarks.peers.base import EPSILON, LEARNING_RATE, MOMENTUM
from benchmarks.timing import Task


def _tensors(case, *names):
    """Tensors of a case's arrays, seen as PyTorch wants them, (N, D, ...): nothing is moved."""
    arrays = [torch.tensor(getattr(case, name)) for name in names]
    return [each.movedim(-1, 1) if each.ndim > 1 else each for each in arrays]


def _in_numpy(tensor):
    """The array of a tensor, with the channels last again where there were other axes."""
    tensor = tensor.detach()
    return (tensor.movedim(1, -1) if tensor.ndim > 2 else tensor).numpy()


def autograd_path(case, compiled=lambda function: function):
    """F.batch_norm and its backward pass as a user of autograd has them."""
    dy, dy_relu, mean, variance = _tensors(case, "dy", "dy_relu", "mean", "variance")
    leaves = [each.requires_grad_() for each in _tensors(case, "x", "gamma", "beta")]
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

    def forward():
        y = batch_norm(*leaves)
        return y, y

    def both():
        y = batch_norm(*leaves)
        return y, torch.autograd.grad(y, leaves, dy)

    def relu():
        y = batch_norm_relu(*leaves)
        return y, torch.autograd.grad(y, leaves, dy_relu)

    def inference():
        with torch.no_grad():
            return population(*leaves)

    def backward(y):
        return torch.autograd.grad(y, leaves, dy, retain_graph=True)

    return base.Kernels(forward, backward, inference, relu, both, _in_numpy)


def native_kernels(case):
    """The kernels themselves, which allocate what they return."""
    x, dy, gamma, beta = _tensors(case, "x", "dy", "gamma", "beta")
    forward_kernel = torch.ops.aten.native_batch_norm.default
    backward_kernel = torch.ops.aten.native_batch_norm_backward.default
    every = [True, True, True]

    def forward():
        y, *saved = forward_kernel(x, gamma, beta, None, None, True, 0.0, EPSILON)
        return y, saved

    def backward(saved):
        return backward_kernel(dy, x, gamma, None, None, *saved, True, EPSILON, every)

    return base.Kernels(forward, backward, numpy=_in_numpy)


def network_of(values):
    """The network that has these values."""
    layers = []
    for place in range(base.depth(values)):
        rows, columns = values[f"weight{place}"].shape
        layers += [nn.ReLU()] if place else []
        layers.append(nn.Linear(rows, columns, bias=f"bias{place}" in values))
        if f"gamma{place}" in values:
            layers.append(nn.BatchNorm1d(columns, eps=EPSILON, momentum=1 - MOMENTUM))
    network = nn.Sequential(*layers)
    with torch.no_grad():
        for name, tensor in tensors_of(network).items():
            tensor.copy_(torch.tensor(values[name]))
    return network


def tensors_of(network):
    """The network's tensors, by the names of a Setup."""
    found, place = {}, -1
    for layer in network:
        if isinstance(layer, nn.Linear):
            place += 1
            own = {"weight": layer.weight.T, "bias": layer.bias}
        elif isinstance(layer, nn.BatchNorm1d):
            own = {"gamma": layer.weight, "beta": layer.bias}
            own |= {"mean": layer.running_mean, "variance": layer.running_var}
        else:
            continue
        found |= {f"{name}{place}": each for name, each in own.items() if each is not None}
    return found


def values_of(network, rows):
    """The network's values after the steps that are compared, on batches of so many rows."""
    values = {name: each.detach().numpy().copy() for name, each in tensors_of(network).items()}
    for name in values:
        if name.startswith("variance"):
            # PyTorch averages variances over m - 1. The first one, 1, is no batch's.
            start = MOMENTUM**base.STEPS_COMPARED
            values[name] = start + (values[name] - start) * ((rows - 1) / rows)
    return values


def step_of(network, compiled=lambda function: function, fused=None):
    """A step as PyTorch's own tutorials have it; fused: SGD in one kernel."""
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

    return step


def step_task(setup, **how):
    """The Task of such a step."""
    network = network_of(setup.values)
    batches = [(torch.tensor(images), torch.tensor(labels)) for images, labels in setup.batches]
    step, rows = step_of(network, **how), len(batches[0][0])
    return base.training_task(setup, step, batches, lambda: values_of(network, rows))


def evaluation(network, images, rows=None):
    """A function: the classes of the images, so many at a time, or all."""
    x = torch.tensor(images)

    def classes():
        with torch.no_grad():
            blocks = [x] if rows is None else x.split(rows)
            return torch.cat([network(block).argmax(1) for block in blocks])

    return classes


class TorchPeer(base.Peer):
    """Eager PyTorch."""

    library = "pytorch"

    def kernels(self, case: base.KernelCase) -> dict[str, base.Kernels]:
        return {"PyTorch": autograd_path(case), "PyTorch, native kernels": native_kernels(case)}

    def steps(self, setup: base.Setup) -> dict[str, Task]:
        return {"PyTorch": step_task(setup), "PyTorch, fused SGD": step_task(setup, fused=True)}

    def loops(self, setup: base.Setup, data, steps: int) -> dict[str, Task]:
        step, rows = step_of(network_of(setup.values)), len(setup.batches[0][0])
        images = torch.utils.data.TensorDataset(*map(torch.from_numpy, data.train))
        loader = torch.utils.data.DataLoader(images, rows, shuffle=True, drop_last=True)

        def run():
            for batch in islice(chain.from_iterable(repeat(loader)), steps):
                step(*batch)

        return {"PyTorch, DataLoader": Task(run, steps)}

    def evaluations(self, values: base.Values, images: base.Array):
        network = network_of(values).eval()
        ways = {
            "PyTorch, whole": evaluation(network, images),
            "PyTorch, blocks of 500": evaluation(network, images, 500),
        }
        if "gamma0" in values:
            folded = []
            for layer in network:
                if isinstance(layer, nn.BatchNorm1d):
                    folded[-1] = nn.utils.fusion.fuse_linear_bn_eval(folded[-1], layer)
                else:
                    folded.append(layer)
            network = nn.Sequential(*folded).eval()
            ways["PyTorch, folded, blocks of 500"] = evaluation(network, images, 500)
        return ways


class TorchCompilePeer(base.Peer):
    """The same PyTorch code, compiled to C++ for each shape; it needs a C++ compiler."""

    library = "torch.compile"

    def kernels(self, case: base.KernelCase) -> dict[str, base.Kernels]:
        return {self.library: autograd_path(case, self._compiler())}

    def steps(self, setup: base.Setup) -> dict[str, Task]:
        return {self.library: step_task(setup, compiled=self._compiler())}

    def evaluations(self, values: base.Values, images: base.Array):
        network = self._compiler()(network_of(values).eval())
        return {f"{self.library}, whole": evaluation(network, images)}

    def _compiler(self):
        # What was compiled for another shape counts towards a limit, after which it stays eager.
        torch.compiler.reset()
        return partial(torch.compile, dynamic=False)
