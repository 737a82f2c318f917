"""The lesson's network, trained beside PyTorch's."""

from itertools import pairwise

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from npbn import SGD, BatchNorm, Dense, ReLU, Sequential, Sigmoid, functional


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
