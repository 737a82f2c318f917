"""A layer of one's own that holds layers: they belong to it, wherever it keeps them."""

import copy
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
from shared import COPIES
from small_network import Identity, Residual, assert_same, batch, copies, labels, train

from npbn import SGD, BatchNorm, Dense, Dropout, Layer, ReLU, Sequential, Tanh, fit, gradient_check

Four = namedtuple("Four", "dense norm dropout tanh")


class Layers(list):
    """A reader's own kind of list."""


# How the four layers are kept, and what their names are.
KEPT = {
    "a network": (Sequential, "0 1 2 3"),
    "a list": (list, "0 1 2 3"),
    "a tuple": (tuple, "0 1 2 3"),
    "a named tuple": (lambda four: Four(*four), "0 1 2 3"),
    "a list of one's own": (lambda four: Layers(four), "0 1 2 3"),
    "an ordered dict": (
        lambda four: OrderedDict(zip("abcd", four, strict=True)),
        "a b c d",
    ),
    "a dict": (lambda four: dict(zip("abcd", four, strict=True)), "a b c d"),
    "a dict of lists": (
        lambda four: {"a": [four[0], (four[1],)], "b": four[2:]},
        "a.0 a.1.0 b.0 b.1",
    ),
}
each_way = pytest.mark.parametrize(("keep", "names"), KEPT.values(), ids=KEPT)


def layers_in(kept):
    if isinstance(kept, Layer):
        yield kept
    elif isinstance(kept, dict | list | tuple):
        for each in kept.values() if isinstance(kept, dict) else kept:
            yield from layers_in(each)


class Block(Layer):
    """y = x + scale * (what the layers within make of x)."""

    def __init__(self, keep=list, seed=1):
        super().__init__({"scale": np.full(5, 2, np.float32)})
        four = [Dense(5, 5, rng=seed), BatchNorm(5), Dropout(0.5, rng=2), Tanh()]
        self.inner = keep(four)

    def forward(self, x, training=False, statistics=None):
        y = x
        for layer in layers_in(self.inner):
            y = layer.forward(y, training, statistics)
        self.cache = y
        return x + y * self.parameters["scale"]

    def backward(self, dy, input_gradient=True):
        dx = dy * self.parameters["scale"]
        self.gradients["scale"][...] = (dy * self.take_cache()).sum(0)
        for layer in reversed([*layers_in(self.inner)]):
            dx = layer.backward(dx, input_gradient=True)
        return dy + dx


def network_of(*blocks, seed=0):
    return Sequential([Dense(6, 5, rng=seed), *blocks, Dense(5, 3, rng=seed + 5)])


@each_way
def test_they_are_named_counted_and_printed(keep, names):
    network, places = network_of(Block(keep)), [f"1.inner.{name}" for name in names.split()]
    dense, norm = places[:2]
    arrays = [f"{dense}.weight", f"{dense}.bias", f"{norm}.gamma", f"{norm}.beta"]
    assert [*network.slices][2:7] == ["1.scale", *arrays]
    assert [*network.state] == [f"{norm}.population_mean", f"{norm}.population_variance"]
    assert [*network.generators] == [f"{places[2]}._rng"]
    assert network.parameter_vector.size == 35 + 5 + 30 + 10 + 18
    lines = [line.split() for line in str(network).splitlines()]
    assert [f"{dense}", "Dense(5,", "5)", "30"] in lines
    assert [f"{norm}", "BatchNorm(5)", "10"] in lines
    assert str(network).endswith("98 parameters, float32")


@each_way
def test_they_are_trained(keep, names):
    network = network_of(Block(keep))
    before = network.parameter_vector.copy()
    state = {name: value.copy() for name, value in network.state.items()}
    assert gradient_check(network, batch(4))
    assert np.array_equal(network.parameter_vector, before)
    fit(network, (batch(60), labels(60)), optimizer=SGD(0.1), steps=5, batch_size=20)
    for name, place in network.slices.items():
        assert not np.array_equal(network.parameter_vector[place], before[place]), name
    for name, value in state.items():
        assert not np.array_equal(network.state[name], value)


@each_way
def test_they_are_saved_converted_and_copied(keep, names, tmp_path):
    network = network_of(Block(keep))
    train(network)
    network.save(tmp_path / "n")
    other = network_of(Block(keep, seed=8), seed=9)
    other.load(tmp_path / "n")
    assert np.array_equal(other.forward(batch()), network.forward(batch()))
    double = network.astype(np.float64)
    for value in (*double.parameters.values(), *double.state.values()):
        assert value.dtype == np.float64
    x = batch(dtype=np.float64)
    assert np.allclose(double.forward(x), network.forward(batch()), atol=1e-5)
    clones = [duplicate(network) for duplicate in COPIES.values()]
    before = network.parameter_vector.copy()
    for each in (*clones, double):
        for value in each.parameters.values():
            assert np.shares_memory(value, each.parameter_vector)
    for each in clones:
        train(each)
    assert np.array_equal(network.parameter_vector, before)
    train(network)
    for each in clones:
        assert np.array_equal(network.parameter_vector, each.parameter_vector)
        assert_same(network.state, each.state)


@pytest.mark.parametrize("kind", [Residual, Block])
def test_their_statistics_wait_until_those_of_all_layers_are_finite(kind):
    inner = kind([Dense(5, 5, rng=1), BatchNorm(5)]) if kind is Residual else Block()
    network = Sequential([Dense(6, 5, rng=0), inner, Dense(5, 3, rng=2), BatchNorm(3)])
    before = copies(network.state)
    network.layers[2].weight[0] = np.inf
    assert np.isnan(network.forward(batch(), training=True)).all()
    assert_same(network.state, before)
    network.layers[2].weight[0] = 1
    network.forward(batch(), training=True)
    assert all((network.state[name] != before[name]).any() for name in before)


@each_way
def test_prediction_leaves_their_pending_pass_alone(keep, names):
    network, twin = network_of(Block(keep)), network_of(Block(keep))
    x = batch()
    dy = np.cos(network.forward(x, training=True))
    twin.forward(x, training=True)
    network.predict(batch(7))
    network.backward(dy)
    twin.backward(dy)
    np.testing.assert_array_equal(network.gradient_vector, twin.gradient_vector)


class Thrice(Layer):
    """Calls what it holds three times, as a recurrent layer does."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x, training=False, statistics=None):
        for _ in range(3):
            for layer in layers_in(self.inner):
                x = 1 + 2 * layer.forward(x, training, statistics)
        return x


@pytest.mark.parametrize("keep", [list, Sequential], ids=["by itself", "in a network"])
def test_of_a_layer_that_is_called_often_each_batch_is_followed_in_order(keep):
    network, alone = (Thrice(keep([BatchNorm(6)])) for _ in range(2))
    network, x = Sequential([network]), batch()
    network.forward(x, training=True)
    alone.forward(x, training=True)
    assert_same(network.layers[0].state, alone.state)
    assert (alone.state["inner.0.population_mean"] != 0).all()


AROUND = {
    "in the network": lambda block: block,
    "in a layer": lambda block: Block(lambda _: [block]),
    "in a network within a layer": lambda block: Block(lambda _: Sequential([block, Tanh()])),
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_a_layer_that_comes_after_the_network_is_refused_not_left_untrained(around):
    block = Block()
    network = network_of(around(block))
    train(network)
    block.inner[0] = Dense(5, 5)
    late = r"^layer [\w.]+, Block\(\): holds Dense\(5, 5\), which came after the network was made"
    for call in (network.predict, network.forward):
        with pytest.raises(ValueError, match=late):
            call(batch())
    train(Sequential(copy.deepcopy(network.layers)))


def test_a_layer_that_is_held_twice_is_refused():
    shared = Dense(5, 5)
    twice, first, second, itself = (Block(lambda _: [shared]) for _ in range(4))
    twice.again, itself.inner = shared, Block()
    itself.itself = itself
    for blocks in ([twice], [first, second], [shared, first], [itself]):
        with pytest.raises(ValueError, match=r"layers\[\d\]: .* is used twice"):
            network_of(*blocks)
    network = network_of(first)
    with pytest.raises(ValueError, match="another network"):
        network_of(second)
    assert network.slices


def test_a_layer_within_that_has_another_type_is_refused():
    with pytest.raises(TypeError, match=r"layers\[1\]: Block.*float64"):
        network_of(Block(lambda four: [each.astype(np.float64) for each in four]))


def test_population_statistics_whose_input_is_not_known_are_not_forgotten():
    for layer in (Residual([Dense(5, 5, rng=0), BatchNorm(5)]), Block(), Block(Sequential)):
        with pytest.raises(ValueError, match=r"layer 1.*has a BatchNorm inside"):
            network_of(layer).recompute_population(batch())
    network_of(Residual([Dense(5, 5), ReLU()]), Identity()).recompute_population(batch())
