"""What each layer is given and makes of it: as in a forward pass, and nothing else changes."""

import copy

import numpy as np
import pytest
from shared import frozen
from small_network import Identity, Scale, Within, batch, small, train

from npbn import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
)


def same(array, other):
    return array.dtype == other.dtype and np.array_equal(array, other)


@pytest.mark.parametrize("statistics", ["batch", "population"])
def test_each_layer_with_its_input_and_output(statistics):
    network, expected = small(), batch()
    train(network)
    runs = network.layer_by_layer(batch(), statistics=statistics)
    assert [run.layer for run in runs] == list(network.layers)
    for place, (name, layer, x, y) in enumerate(runs):
        assert name == f"layer {place}, {layer!r}"
        assert same(x, expected)
        expected = copy.deepcopy(layer).forward(x, statistics=statistics)
        assert same(y, expected)
    assert same(y, network.forward(batch(), statistics=statistics))


def test_convolutions_and_views():
    rng = np.random.default_rng(0)
    layers = [Flatten(), Dense(18, 3, rng=rng)]
    layers = [Conv2D(1, 2, 3, rng=rng), BatchNorm(2), ReLU(), MaxPool2D(2), *layers]
    network, x = Sequential(layers), rng.normal(size=(2, 6, 6, 1)).astype(np.float32)
    expected = x
    for run in network.layer_by_layer(x):
        assert same(run.x, expected)
        expected = copy.deepcopy(run.layer).forward(run.x)
        assert same(run.y, expected)
    assert same(expected, network.forward(x))


def test_the_populations_statistics_unless_told_otherwise_and_no_dropout():
    network = Sequential([Dropout(0.5, rng=0), BatchNorm(6), ReLU()])
    network.forward(batch(), training=True)
    dropout, norm, _ = network.layer_by_layer(batch())
    assert same(dropout.y, batch())
    assert same(norm.y, copy.deepcopy(network[1]).forward(batch(), statistics="population"))


def test_networks_within_are_taken_layer_by_layer_readers_layers_as_one():
    scale, own = Scale(5), Within([Dense(5, 5, rng=1), ReLU()])
    within = Sequential([Dense(6, 5, rng=0), Sequential([BatchNorm(5), scale])])
    network = Sequential([within, own, Dense(5, 3, rng=2)])
    runs = network.layer_by_layer(batch())
    assert [run.layer for run in runs] == [within[0], within[1][0], scale, own, network[2]]
    names = ["0.0", "0.1.0", "0.1.1", "1", "2"]
    for run, name in zip(runs, names, strict=True):
        assert run.name == f"layer {name}, {run.layer!r}"
    assert same(runs[2].y, 2 * runs[1].y)
    assert same(runs[-1].y, network.forward(batch()))
    (whole,) = own.layer_by_layer(runs[2].y)
    assert whole.layer is own
    assert same(whole.y, runs[3].y)


def test_of_a_residual_its_layers_and_itself():
    inner = Residual([Sigmoid()])
    outer = Residual([Dense(6, 6, rng=0), inner, ReLU()])
    network = Sequential([Scale(6), outer, Dense(6, 3, rng=1)])
    runs = network.layer_by_layer(batch())
    layers = [network[0], outer[0], inner[0], inner, outer[2], outer, network[2]]
    assert [run.layer for run in runs] == layers
    of = {run.layer: run for run in runs}
    assert of[inner[0]].name == "layer 1.1.0, Sigmoid()"
    assert of[inner].name == f"layer 1.1, {inner!r}"
    for block, first, last in ((inner, inner[0], inner[0]), (outer, outer[0], outer[2])):
        assert same(of[block].x, of[first].x)
        assert same(of[block].y, of[block].x + of[last].y)
    assert same(of[outer].x, of[network[0]].y)
    assert same(of[network[2]].x, of[outer].y)
    assert same(runs[-1].y, network.forward(batch()))


def test_nothing_in_the_network_changes():
    identity = Identity()
    network = Sequential([*small().layers[:-1], Dropout(0.5, rng=0), identity, Scale(4)])
    untouched = copy.deepcopy(network)
    for each in (network, untouched):
        dy = np.ones_like(each.forward(batch(), training=True))
    told, x = identity.told, batch(5)
    kept = [network.parameters, network.state, network.generators, network[1].batch_mean, x]
    before = frozen(kept)
    for statistics in ("batch", "population"):
        for run in network.layer_by_layer(x, statistics=statistics):
            run.x[...] = run.y[...] = np.nan  # the caller's own
    kept[3] = network[1].batch_mean
    assert frozen(kept) == before
    assert identity.told is told
    for each in (network, untouched):
        each.backward(dy)
    assert frozen(network.gradients) == frozen(untouched.gradients)


def test_the_rows_of_readers_layers_may_change_in_number():
    class Half(Identity):
        def forward(self, x):
            return x[::2]

    network = Sequential([Dense(6, 5, rng=0), Half(), BatchNorm(5)])
    first, half, norm = network.layer_by_layer(batch())
    assert same(half.y, first.y[::2])
    assert same(norm.y, network.forward(batch()))


def test_a_batch_of_one_and_values_that_are_not_finite_are_taken():
    for x in (batch(1), np.full((2, 6), np.inf, np.float32)):
        assert small().layer_by_layer(x, statistics="batch")[-1].y.shape == (len(x), 3)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (batch(dtype=np.float64), TypeError, "x: the network holds float32, got float64"),
        (batch()[:, :5], ValueError, r"layer 0, Dense\(6, 5.*: expected \(..., 6\), got \(8, 5\)"),
        (batch()[0], ValueError, "x: expected two axes or more"),
        ([[1.0]], TypeError, "x: expected a float32 or float64 array"),
    ],
)
def test_what_cannot_go_through_is_refused(x, error, message):
    with pytest.raises(error, match=message):
        small().layer_by_layer(x)
    with pytest.raises(ValueError, match=r"^statistics: expected 'batch' or 'population'"):
        small().layer_by_layer(batch(), statistics="all")


def test_what_a_readers_layer_returns_is_checked():
    class Nothing(Identity):
        def forward(self, x):
            """Forget to return y."""

    with pytest.raises(TypeError, match=r"layer 1, Nothing\(\): forward's result: expected an arr"):
        Sequential([ReLU(), Nothing()]).layer_by_layer(batch())
