"""PyTorch, eager and compiled, and its batch norm kernels called without autograd."""

from functools import partial
from itertools import chain, islice, repeat

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.peers import base
from benchmarks.peers.base import ADAM_RATE, EPSILON, LEARNING_RATE, MOMENTUM
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


def layer_path(case):
    """A layer of images forward and backward under autograd, all in the format channels_last."""
    x, dy = _tensors(case, "x", "dy")
    weight = torch.tensor(case.weight).permute(3, 2, 0, 1)
    weight = weight.contiguous(memory_format=torch.channels_last)
    leaves, function = {
        "Conv2D": ([x, weight, torch.tensor(case.bias)], partial(F.conv2d, padding=1)),
        "MaxPool2D": ([x], partial(F.max_pool2d, kernel_size=2)),
        "AvgPool2D": ([x], partial(F.avg_pool2d, kernel_size=2)),
        "GlobalAvgPool2D": ([x], partial(torch.mean, dim=(2, 3))),
    }[case.layer]
    for each in leaves:
        each.requires_grad_()

    def run():
        y = function(*leaves)
        return y, *torch.autograd.grad(y, leaves, dy)

    def arrays(y, dx, *others):
        # weight (out, in, height, width), bias
        others = [each.permute(2, 3, 1, 0) if each.ndim == 4 else each for each in others]
        return [_in_numpy(y), _in_numpy(dx), *others]

    return case.task(run, arrays)


def lstm(case):
    """nn.LSTM forward and backward under autograd."""
    layer = nn.LSTM(case.x.shape[-1], case.size, batch_first=True)
    weights = [torch.tensor(each.T.copy()) for each in case.parameters.values()]
    with torch.no_grad():
        # Its second bias is 0.
        for own, value in zip(layer.parameters(), [*weights, torch.zeros(())], strict=True):
            own.copy_(value)
    x, dy = torch.tensor(case.x, requires_grad=True), torch.tensor(case.dy)
    leaves = [x, *layer.parameters()]

    def run():
        y, _ = layer(x)
        return y, *torch.autograd.grad(y, leaves, dy)

    return case.task(run, lambda *arrays: [each.detach().numpy() for each in in_rows(*arrays)])


def in_rows(y, dx, *gradients):
    """PyTorch's weights are (out, in)."""
    return y, dx, *(each.T if each.ndim == 2 else each for each in gradients)


def norm(case, channels_first=False):
    """A norm forward and backward under autograd; channels_first: in the usual memory format."""
    x, dy, axis = torch.tensor(case.x), torch.tensor(case.dy), -1
    if case.layer != "LayerNorm":
        x, dy, axis = x.movedim(-1, 1), dy.movedim(-1, 1), 1
        if channels_first:
            x, dy = x.clone(memory_format=torch.contiguous_format), dy.contiguous()
    leaves = [x, *map(torch.tensor, case.parameters.values())]
    for each in leaves:
        each.requires_grad_()

    def function(x, gamma, beta):
        if case.layer == "LayerNorm":
            return F.layer_norm(x, x.shape[-1:], gamma, beta)
        if case.layer == "GroupNorm":
            return F.group_norm(x, case.size, gamma, beta)
        return F.instance_norm(x, weight=gamma, bias=beta)

    def run():
        y = function(*leaves)
        return y, *torch.autograd.grad(y, leaves, dy)

    def arrays(*results):
        return [
            (each.movedim(axis, -1) if each.ndim > 1 else each).detach().numpy() for each in results
        ]

    return case.task(run, arrays)


class Flatten(nn.Module):
    """Rows in the order (height, width, channel), which of channels_last are there already."""

    def forward(self, x):
        """The rows."""
        return x.movedim(1, -1).flatten(1)


def network_of(values, memory_format=torch.channels_last):
    """The network that has these values; the format is that of images."""
    layers = []
    for place in range(base.depth(values)):
        *_, rows, columns = shape = values[f"weight{place}"].shape
        bias = f"bias{place}" in values
        layers += [nn.ReLU()] if place else []
        if place and values[f"weight{place - 1}"].ndim == 4:
            layers += [nn.MaxPool2d(2), *([Flatten()] if len(shape) == 2 else [])]
        if len(shape) == 4:
            layers.append(nn.Conv2d(rows, columns, 3, padding=1, bias=bias))
        else:
            layers.append(nn.Linear(rows, columns, bias=bias))
        if f"gamma{place}" in values:
            norm = nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d
            layers.append(norm(columns, eps=EPSILON, momentum=1 - MOMENTUM))
    network = nn.Sequential(*layers)
    network.to(torch.tensor(values["weight0"]), memory_format=memory_format)
    with torch.no_grad():
        for name, tensor in tensors_of(network).items():
            tensor.copy_(torch.tensor(values[name]))
    return network


def tensors_of(network):
    """The network's tensors, by the names of a Setup."""
    found, place = {}, -1
    for layer in network:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            place += 1
            axes = (2, 3, 1, 0) if isinstance(layer, nn.Conv2d) else (1, 0)
            own = {"weight": layer.weight.permute(axes), "bias": layer.bias}
        elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
            own = {"gamma": layer.weight, "beta": layer.bias}
            own |= {"mean": layer.running_mean, "variance": layer.running_var}
        else:
            continue
        found |= {f"{name}{place}": each for name, each in own.items() if each is not None}
    return found


def values_of(network, setup):
    """The network's values after the steps that are compared."""
    values = {name: each.detach().numpy().copy() for name, each in tensors_of(network).items()}
    for name in values:
        if name.startswith("variance"):
            # PyTorch averages variances over m - 1. The first one, 1, is no batch's.
            start = MOMENTUM**base.STEPS_COMPARED
            rows = setup.rows(int(name.removeprefix("variance")))
            values[name] = start + (values[name] - start) * ((rows - 1) / rows)
    return values


def step_of(network, adam=False, compiled=lambda function: function, fused=None):
    """A step as PyTorch's own tutorials have it; fused: the optimizer in one kernel."""
    kind, rate = (torch.optim.Adam, ADAM_RATE) if adam else (torch.optim.SGD, LEARNING_RATE)
    optimizer = kind(network.parameters(), lr=rate, fused=fused)

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


def step_task(setup, channels_first=False, **how):
    """The Task of such a step; channels_first: in the usual memory format."""
    form = torch.contiguous_format if channels_first else torch.channels_last
    network, batches = network_of(setup.values, form), []
    for images, labels in setup.batches:
        x = torch.tensor(images).movedim(-1, 1)
        # Not contiguous(): with one channel it would leave the other format's strides.
        x = x.clone(memory_format=form) if channels_first else x
        batches.append((x, torch.tensor(labels)))
    step = step_of(network, setup.adam, **how)
    return base.training_task(setup, step, batches, lambda: values_of(network, setup))


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

    def sequences(self, case: base.SequenceCase) -> dict[str, Task]:
        if case.layer == "LSTM":
            return {"PyTorch": lstm(case)}
        if case.layer == "LayerNorm":
            return {"PyTorch": norm(case)}
        return {"PyTorch": norm(case), "PyTorch, channels first": norm(case, channels_first=True)}

    def steps(self, setup: base.Setup) -> dict[str, Task]:
        fused = f"PyTorch, fused {'Adam' if setup.adam else 'SGD'}"
        ways = {"PyTorch": step_task(setup), fused: step_task(setup, fused=True)}
        if setup.adam:
            ways["PyTorch, channels first"] = step_task(setup, channels_first=True)
        return ways

    def layers(self, case: base.LayerCase) -> dict[str, Task]:
        return {"PyTorch": layer_path(case)}

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
