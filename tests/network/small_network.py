"""What the tests of networks share: a small one, batches for it, layers of a reader's own."""

import numpy as np

from npbn import SGD, BatchNorm, Dense, Layer, ReLU, Sequential, training_steps


def small(*, dtype=np.float32, activation=ReLU, norm=True, seed=0):
    rng = np.random.default_rng(seed)
    layers = []
    for in_features, out_features in ((6, 5), (5, 4)):
        layers.append(Dense(in_features, out_features, use_bias=not norm, rng=rng, dtype=dtype))
        layers += [BatchNorm(out_features, dtype=dtype)] if norm else []
        layers.append(activation())
    return Sequential([*layers, Dense(4, 3, rng=rng, dtype=dtype)])


def batch(rows=8, dtype=np.float32, seed=1):
    return np.random.default_rng(seed).normal(2, 3, (rows, 6)).astype(dtype)


def labels(rows=8, seed=2):
    return np.random.default_rng(seed).integers(3, size=rows)


def train(network, steps=5):
    data = batch(32), labels(32)
    return list(training_steps(network, data, optimizer=SGD(0.1), steps=steps, batch_size=8))


def gradients(network, dy, x=None):
    """A copy of all gradients, after a forward pass if x is given."""
    if x is not None:
        network.forward(x, training=True)
    network.backward(dy)
    return network.gradient_vector.copy()


def copies(arrays):
    return {name: array.copy() for name, array in arrays.items()}


def assert_same(arrays, others):
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name], name)


class Scale(Layer):
    """A reader's own layer, that takes the fewest arguments."""

    def __init__(self, features):
        super().__init__(parameters={"scale": np.full(features, 2, np.float32)})

    def forward(self, x):
        self.cache = x
        return x * self.parameters["scale"]

    def backward(self, dy):
        x = self.take_cache()
        self.gradients["scale"][...] = (dy * x).sum(0)
        return dy * self.parameters["scale"]


class Identity(Layer):
    """A reader's own layer, that hands on what it got, and remembers how it was called."""

    def forward(self, x, training=False, statistics=None):
        self.told = training, statistics
        return x

    def backward(self, dy, input_gradient=True):
        self.wanted = input_gradient
        return dy


class Residual(Sequential):
    """A network of a reader's own, with passes of its own."""

    def forward(self, x, training=False, statistics=None):
        return x + super().forward(x, training, statistics)

    def backward(self, dy):
        return dy + super().backward(dy, input_gradient=True)


class Within(Sequential):
    """The same, that adds nothing: it runs as it is written."""

    def forward(self, x, training=False, statistics=None):
        return super().forward(x, training, statistics)

    def backward(self, dy):
        return super().backward(dy, input_gradient=True)
