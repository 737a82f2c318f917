"""What a network keeps from pass to pass: right after every change, and never much."""

import copy
import weakref

import numpy as np
import pytest
from shared import memory_of
from small_network import Identity, Residual, assert_same, batch, gradients, small, train

import npbn
from npbn import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2D,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Sequential,
    Sigmoid,
)
from npbn.layers.plans import Plans

# A layer's setting: how it is made, another value, a wrong one.
SETTINGS = {
    "momentum": (lambda **setting: BatchNorm(5, **setting), 0.5, 2.0),
    "epsilon": (lambda **setting: BatchNorm(5, **setting), 0.7, -1.0),
    "unbiased_population": (lambda **setting: BatchNorm(5, **setting), True, 1),
    "slope": (lambda slope=0.2: LeakyReLU(slope), 0.6, 1.0),
    "rate": (lambda rate=0.5: Dropout(rate, rng=0), 0.25, 1.0),
}
AROUND = {
    "in the network": lambda layers: layers,
    "in a network within": lambda layers: [Sequential(layers)],
    "in a reader's network": lambda layers: [Residual(layers)],
}


@pytest.mark.parametrize(("name", "setting"), SETTINGS.items(), ids=SETTINGS)
@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
def test_a_setting_that_is_changed_works_from_the_next_pass_on(around, name, setting):
    make, value, wrong = setting
    layer = make()
    within = around([Dense(5, 5, rng=0), BatchNorm(5), layer])
    network = Sequential([Dense(6, 5, rng=3), *within, Dense(5, 3, rng=1)])
    train(network)
    network.predict(batch())
    with pytest.raises((TypeError, ValueError), match=f"^{name}: expected") as from_the_start:
        make(**{name: wrong})
    with pytest.raises(type(from_the_start.value)) as later:
        setattr(layer, name, wrong)
    assert str(later.value) == str(from_the_start.value)
    before, old = getattr(layer, name), copy.deepcopy(network)
    setattr(layer, name, value)
    assert before != getattr(layer, name) == value
    fresh = copy.deepcopy(network)  # keeps no plans
    for x in (batch(), batch(5)):
        for each in (network, fresh, old):
            each.backward(each.forward(x, training=True))
        np.testing.assert_array_equal(network.gradient_vector, fresh.gradient_vector)
        assert_same(network.state, fresh.state)
        found = network.predict_probabilities(x)
        np.testing.assert_array_equal(found, fresh.predict_probabilities(x))
    moved = not np.array_equal(network.gradient_vector, old.gradient_vector)
    assert moved or any((network.state[key] != old.state[key]).any() for key in old.state)


def test_a_setting_that_is_changed_leaves_the_pending_pass():
    layer = LeakyReLU(0.1)
    network, x = Sequential([Dense(6, 5, rng=0), layer, Dense(5, 3, rng=1)]), batch()
    dy = batch(seed=3)[:, :3]
    expected = gradients(network, dy, x)
    network.forward(x, training=True)
    layer.slope = 0.9
    network.predict(x)
    assert np.array_equal(gradients(network, dy), expected)


@pytest.mark.parametrize("call", ["forward", "predict_probabilities"])
def test_a_setting_that_changes_in_the_midst_of_a_pass_works_from_the_next_one_on(call):
    class Changing(Identity):
        now = False

        def forward(self, x):
            if self.now:
                late.slope = 0.9
            return x

    changing, late = Changing(), LeakyReLU(0.1)
    network = Sequential([changing, Dense(6, 5, rng=0), late, Dense(5, 3, rng=1)])
    found = []
    for changing.now in (False, True, False):
        found.append(getattr(network, call)(batch()))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[2], getattr(copy.deepcopy(network), call)(batch()))
    assert not np.array_equal(found[1], found[2])


def wide(*activations):
    layers = [Dense(50, 400, rng=0), BatchNorm(400), *activations, Dense(400, 3, rng=1)]
    return Sequential(layers)


def pass_through(network, rows):
    x = np.random.default_rng(rows).standard_normal((rows, 50)).astype(np.float32)
    network.backward(network.forward(x, training=True))
    network.predict(x)


def test_many_shapes_in_turn_hold_no_more_memory_than_a_few():
    network, many = wide(Sigmoid()), wide(Sigmoid())
    few, _ = memory_of(lambda: [pass_through(network, 100 + n) for n in range(Plans.COUNT)])
    held, _ = memory_of(lambda: [pass_through(many, 100 + n) for n in range(5 * Plans.COUNT)])
    assert held < 1.5 * few


@pytest.mark.parametrize("make", [lambda: wide(Sigmoid()), lambda: wide(ReLU()), wide])
def test_what_is_kept_is_bounded_in_bytes(make, monkeypatch):
    network = make()
    one, _ = memory_of(lambda: pass_through(network, 1000))
    monkeypatch.setattr(Plans, "BYTES", int(3 * one))
    network = make()
    held, _ = memory_of(lambda: [pass_through(network, 1000 + n) for n in range(Plans.COUNT)])
    assert held < 4.5 * one
    monkeypatch.setattr(Plans, "BYTES", 0)
    network = make()
    held, _ = memory_of(lambda: [pass_through(network, 1000 + n) for n in range(Plans.COUNT)])
    assert held < 2.5 * one


@pytest.mark.parametrize("predicts", [True, False])
def test_what_a_plan_refers_to_is_not_its_own_memory(predicts):
    network = wide(Sigmoid())
    x, y = np.ones((50_000, 50), np.float32)[:2000], np.empty((2000, 3), np.float32)
    call = network.predict if predicts else lambda x: network.forward(x, training=True, out=y)
    network.backward(network.forward(x, training=True, out=y))  # threads keep room to work in
    network.predict(x)
    network._changed()
    held, _ = memory_of(lambda: call(x))
    (plan,) = network._plans._kept.values()
    assert 0.9 * held < plan.nbytes < held
    if not predicts:
        more, _ = memory_of(lambda: network.backward(y))
        network.forward(x, training=True, out=y)
        assert 0.9 * (held + more) < plan.nbytes < held + more


def test_copies_and_files_are_without_them():
    network = wide(Sigmoid())
    copies = []
    before, _ = memory_of(lambda: copies.append(copy.deepcopy(network)))
    pass_through(network, 1000)
    after, _ = memory_of(lambda: copies.append(copy.deepcopy(network)))
    assert after < before + 20_000


FIRST = {
    "Dense": small,
    "BatchNorm": lambda: Sequential([BatchNorm(6), Dense(6, 3, rng=0)]),
    "Flatten": lambda: Sequential([Flatten(), Dense(6, 3, rng=0)]),
    "Flatten, Residual": lambda: Sequential([Flatten(), npbn.Residual([Dense(6, 6, rng=0)])]),
    "Residual, Flatten": lambda: Sequential([npbn.Residual([Flatten(), Dense(6, 6, rng=0)])]),
    "Residual": lambda: Sequential([npbn.Residual([npbn.Residual([Dense(6, 6, rng=0)])])]),
    "Identity": lambda: Sequential([Identity(), Dense(6, 3, rng=0)]),
    "Identity twice": lambda: Sequential([npbn.Residual([Identity(), Identity()]), ReLU()]),
    "Dropout": lambda: Sequential([Dropout(0.5, rng=0), Dense(6, 3, rng=0)]),
}


@pytest.mark.parametrize("make", FIRST.values(), ids=FIRST)
@pytest.mark.parametrize("rows", [40, 700])
def test_prediction_keeps_no_hold_of_the_images(make, rows):
    network, images = make(), batch(rows)
    known = weakref.ref(images)
    network.predict(images)
    del images
    assert known() is None


@pytest.mark.parametrize(
    "first",
    [
        lambda: Conv2D(1, 2, 3, rng=0),
        lambda: MaxPool2D(2),
        lambda: MaxPool2D(2, padding=1),
        lambda: AvgPool2D(2),
        GlobalAvgPool2D,
        lambda: npbn.Residual([AvgPool2D(3, stride=1, padding=1), MaxPool2D(1)]),
    ],
)
def test_nor_does_that_of_layers_of_images(first):
    network, images = Sequential([first(), ReLU()]), np.ones((9, 4, 4, 1), np.float32)
    known = weakref.ref(images)
    network.predict(images)
    del images
    assert known() is None
