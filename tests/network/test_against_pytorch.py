"""The lesson's network, and a residual one of images, trained beside PyTorch's."""

from itertools import pairwise

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from npbn import (
    SGD,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    functional,
)


@threadpool_limits.wrap(limits=1)  # two pools of spinning threads would wait for each other
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("activation", [ReLU, Sigmoid])
def test_twenty_steps_of_the_lessons_network_by_pytorch(activation, norm):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    rng = np.random.default_rng(0)
    own, theirs = [], []
    for place, (n, m) in enumerate(pairwise((784, 100, 100, 100, 10))):
        hidden = place < 3
        weight, bias = rng.normal(0, 0.05, (n, m)), not (norm and hidden)
        own.append(Dense(n, m, weight=weight, use_bias=bias))
        linear = torch.nn.Linear(n, m, bias=bias, dtype=torch.float64)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(weight.T))
            if bias:
                linear.bias.zero_()
        theirs.append(linear)
        if hidden and norm:
            own.append(BatchNorm(m, dtype=np.float64, unbiased_population=True))
            theirs.append(torch.nn.BatchNorm1d(m, 1e-3, 0.01, dtype=torch.float64))
        if hidden:
            own.append(activation())
            theirs.append(getattr(torch.nn, activation.__name__)())
    network, model = Sequential(own), torch.nn.Sequential(*theirs)
    optimizer, descent = SGD(0.1), torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(20):
        x, y = rng.random((60, 784)), rng.integers(10, size=60)
        loss, dlogits = functional.softmax_cross_entropy(network.forward(x, training=True), y)
        network.backward(dlogits)
        optimizer.step(network)
        descent.zero_grad()
        error = torch.nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y))
        error.backward()
        descent.step()
        assert abs(loss - error.item()) < 1e-10
    names = {
        Dense: {"weight": "weight", "bias": "bias"},
        BatchNorm: {
            "gamma": "weight",
            "beta": "bias",
            "population_mean": "running_mean",
            "population_variance": "running_var",
        },
    }
    for layer, module in zip(network.layers, model, strict=True):
        for mine, other in names.get(type(layer), {}).items():
            if (array := getattr(layer, mine)) is not None:
                found = getattr(module, other).detach().numpy()
                assert np.abs(array - (found.T if mine == "weight" else found)).max() < 1e-10


@threadpool_limits.wrap(limits=1)
def test_ten_steps_of_a_residual_network_of_images_by_pytorch():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    rng = np.random.default_rng(0)
    double = {"dtype": torch.float64}

    def conv(channels, filters, stride=1):
        """Ours and theirs; PyTorch has no "same" with a stride, and these sizes are odd."""
        own = Conv2D(channels, filters, 3, stride=stride, use_bias=False, rng=rng, dtype=np.float64)
        other = torch.nn.Conv2d(channels, filters, 3, stride, padding=1, bias=False, **double)
        with torch.no_grad():
            other.weight.copy_(torch.from_numpy(own.weight.transpose(3, 2, 0, 1).copy()))
        return own, other

    def norm(features):
        return (
            BatchNorm(features, momentum=0.9, unbiased_population=True, dtype=np.float64),
            torch.nn.BatchNorm2d(features, 1e-3, 0.1, **double),
        )

    class Block(torch.nn.Sequential):
        def forward(self, x):
            return x + super().forward(x)

    def both(*pairs, own=Sequential, theirs=torch.nn.Sequential):
        ours, others = zip(*pairs, strict=True)
        return own(list(ours)), theirs(*others)

    def block(features):
        pairs = conv(features, features), norm(features), (ReLU(), torch.nn.ReLU())
        pairs = *pairs, conv(features, features), norm(features)
        return both(*pairs, own=Residual, theirs=Block)

    dense = Dense(6, 3, rng=rng, dtype=np.float64)
    linear = torch.nn.Linear(6, 3, **double)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(dense.weight.T.copy()))
        linear.bias.zero_()
    pool = MaxPool2D(3, stride=2, padding=1), torch.nn.MaxPool2d(3, 2, 1)
    means = GlobalAvgPool2D(), torch.nn.AdaptiveAvgPool2d(1)
    network, model = both(
        *(conv(2, 4), norm(4), (ReLU(), torch.nn.ReLU()), pool, block(4), block(4)),
        *(conv(4, 6, stride=2), norm(6), (ReLU(), torch.nn.ReLU()), block(6)),
        *(means, (Flatten(), torch.nn.Flatten()), (dense, linear)),
    )
    optimizer, descent = SGD(0.1), torch.optim.SGD(model.parameters(), 0.1)
    for _ in range(10):
        x, y = rng.random((8, 13, 9, 2)), rng.integers(3, size=8)
        loss, dlogits = functional.softmax_cross_entropy(network.forward(x, training=True), y)
        network.backward(dlogits)
        optimizer.step(network)
        descent.zero_grad()
        their_x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy())
        error = torch.nn.functional.cross_entropy(model(their_x), torch.from_numpy(y))
        error.backward()
        descent.step()
        assert abs(loss - error.item()) < 1e-9
    model.eval()
    with torch.no_grad():
        expected = torch.softmax(model(their_x), 1).numpy()
    assert abs(network.predict_probabilities(x) - expected).max() < 1e-9
    folded = network.fold_batch_norm()
    assert abs(folded.predict_probabilities(x) - expected).max() < 1e-9
    population = [each.numpy() for name, each in model.named_buffers() if "running" in name]
    for own, other in zip(network.state.values(), population, strict=True):
        assert abs(own - other).max() < 1e-9
