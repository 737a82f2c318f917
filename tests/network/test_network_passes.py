"""Forward and backward through a network: what they give, whose the arrays are, what is refused."""

import copy

import numpy as np
import pytest
from shared import frozen, memory_of
from small_network import Identity, Residual, assert_same, batch, copies, gradients, small

from npbn import BatchNorm, Dense, Dropout, LeakyReLU, ReLU, Sequential, Sigmoid, Tanh

# What each makes of it


@pytest.mark.parametrize("statistics", [None, "batch", "population"])
@pytest.mark.parametrize("training", [True, False])
def test_a_network_is_its_layers_one_after_another(training, statistics):
    network, x = Sequential([*copy.deepcopy(small()).layers, Dropout(0.5, rng=0)]), batch()
    network.layers[-2].bias = np.ones(3, np.float32)
    alone, without = copy.deepcopy(network), copy.deepcopy(network)
    y = network.forward(x, training, statistics)
    assert (y == 0).any() == training
    expected = x
    for layer in alone.layers:
        expected = layer.forward(expected, training, statistics)
    assert np.array_equal(y, expected)
    dy = np.random.default_rng(3).normal(size=y.shape).astype(np.float32)
    dx = network.backward(dy, input_gradient=True)
    without.forward(x, training, statistics)
    assert without.backward(dy) is None
    assert_same(network.gradients, without.gradients)
    for layer in reversed(alone.layers):
        dy = layer.backward(dy)
    assert np.array_equal(dx, dy)
    assert_same(network.gradients, alone.gradients)
    assert_same(network.state, alone.state)


def test_layers_before_the_first_parameters_are_left_out_or_not():
    first = Identity()
    network = Sequential([first, Dropout(0.5, rng=0), Dense(6, 3, rng=0)])
    y = network.forward(batch(), training=True)
    assert network.backward(y) is None
    assert not hasattr(first, "wanted")
    network.forward(batch(), training=True)
    assert network.backward(y, input_gradient=True).shape == (8, 6)


def test_dx_goes_through_the_layers_before_the_first_parameters():
    network, x = Sequential([LeakyReLU(0.5), Dense(6, 3, rng=0)]), batch()
    dy = np.ones_like(network.forward(x, training=True))
    dx = network.backward(dy, input_gradient=True)
    expected = dy @ network.layers[1].weight.T * np.where(x > 0, 1, np.float32(0.5))
    assert np.allclose(dx, expected, rtol=1e-6)
    gradients(network, dy, x)
    with pytest.raises(RuntimeError, match="backward without a forward pass"):
        network.layers[0].backward(dx)


def test_batches_of_other_shapes_may_come_between():
    network, fresh = small(), small()
    for rows in (8, 3, 8, 5):
        found = network.forward(batch(rows), statistics="batch")
        assert np.array_equal(found, copy.deepcopy(fresh).forward(batch(rows), statistics="batch"))


def test_without_parameters_each_type_keeps_its_own():
    network, x = Sequential([Tanh(), Sigmoid()]), batch(dtype=np.float64)
    network.forward(batch())
    y = network.forward(x)
    assert y.dtype == np.float64
    assert np.array_equal(y, Sequential([Tanh(), Sigmoid()]).forward(x))
    network.backward(y, input_gradient=True)


# Whose the arrays are


ENDS = {
    **{
        f"{last.__name__} last": lambda last=last: [BatchNorm(6), Dense(6, 6, rng=0), last()]
        for last in (ReLU, LeakyReLU, Sigmoid, Tanh, Identity)
    },
    "BatchNorm last": lambda: [Dense(6, 6, rng=0), Tanh(), BatchNorm(6)],
    "BatchNorm and Tanh first": lambda: [BatchNorm(6), Tanh(), Dense(6, 6, rng=0)],
    "a reader's first": lambda: [Identity(), Dense(6, 6, rng=0), BatchNorm(6), ReLU()],
}


@pytest.mark.parametrize("layers", ENDS.values(), ids=ENDS)
def test_what_a_caller_gave_or_got_is_never_written(layers):
    network, x, dy = Sequential(layers()), batch(), batch(seed=3)
    y = network.forward(x, training=True)
    arrays = x, dy, y, network.backward(dy, input_gradient=True)
    kept = [each.copy() for each in arrays]
    y_out, dx_out = np.empty_like(y), np.empty_like(x)
    for seed in (7, 8, 1):
        assert network.forward(batch(seed=seed), training=True, out=y_out) is y_out
        assert network.backward(-dy, input_gradient=True, out=dx_out) is dx_out
        network.forward(batch(seed=seed), training=True)
        network.backward(-dy, input_gradient=True)
    for each, before in zip(arrays, kept, strict=True):
        assert np.array_equal(each, before)
    assert np.array_equal(y_out, y)
    assert np.array_equal(dx_out, -arrays[3])


def test_out_may_not_be_what_is_still_needed():
    network = Sequential([Dense(6, 6, use_bias=False, rng=0)])
    x, weight = batch(6), network.layers[0].weight
    for out in (x, weight):
        with pytest.raises(ValueError, match="out: overlaps"):
            network.forward(x, out=out)
    dy = network.forward(x)
    for out in (x, dy, weight):
        with pytest.raises(ValueError, match="out: overlaps"):
            network.backward(dy, input_gradient=True, out=out)
    network = Sequential([Sigmoid(), Sigmoid()])
    x, wide = batch(), np.tile(batch(), 2)
    y = network.forward(x)
    with pytest.raises(ValueError, match="out: overlaps"):
        network.backward(y, input_gradient=True, out=x)
    assert np.array_equal(network.forward(wide[:, :6], out=wide[:, 6:]), y)


@pytest.mark.parametrize(
    "make",
    [
        lambda: [Dense(50, 400, rng=0), BatchNorm(400), Sigmoid(), Dense(400, 3, rng=0)],
        lambda: [Dense(50, 400, rng=0), BatchNorm(400), ReLU(), Dense(400, 3, rng=0)],
        lambda: [Dense(50, 400, rng=0), ReLU(), Dense(400, 3, rng=0)],
        lambda: [BatchNorm(400), Dense(400, 3, rng=0)],
        lambda: [Dense(400, 3, rng=0), Tanh(), Dense(3, 400, rng=0)],
    ],
    ids=["Sigmoid", "ReLU", "ReLU alone", "BatchNorm first", "wide at both ends"],
)
def test_a_step_with_out_allocates_no_array_of_a_layers_size(make):
    network = Sequential(make())
    features = getattr(network.layers[0], "in_features", 400)
    x = np.random.default_rng(0).normal(size=(200, features)).astype(np.float32)
    y, dx = network.forward(x), np.empty_like(x)
    dy = np.ones_like(y)

    def step():
        network.forward(x, training=True, out=y)
        network.backward(dy)
        network.forward(x, training=True, out=y)
        network.backward(dy, input_gradient=True, out=dx)

    step()
    assert memory_of(step)[1] < 200 * 400 * 4


@pytest.mark.parametrize("activation", [[], [ReLU()]], ids=["", "ReLU"])
def test_a_batch_norm_after_a_dense_holds_one_array(activation):
    layers = [Dense(50, 400, rng=0), BatchNorm(400), *activation, Dense(400, 3, rng=0)]
    network, x = Sequential(layers), np.ones((4000, 50), np.float32)
    held, _ = memory_of(lambda: network.forward(x, training=True))
    assert held < 2.5 * (4000 * 400 * 4)


def test_gradients_of_one_size_share_two_arrays():
    network = Sequential([Dense(50, 400, rng=0), Tanh(), Tanh(), Tanh(), Dense(400, 3, rng=0)])
    y = network.forward(np.ones((200, 50), np.float32), training=True)
    held, _ = memory_of(lambda: network.backward(y))
    assert held < 2.5 * (200 * 400 * 4)


# One backward pass for each forward pass


@pytest.mark.parametrize(
    "come_between",
    [
        lambda network, y: network.layers[2].backward(y),
        lambda network, y: network.layers[1].forward(np.ones((2, 5), np.float32)),
    ],
)
def test_a_pass_of_its_own_within_ends_the_networks(come_between):
    inner = Sequential([Dense(5, 4, rng=1), ReLU()])
    network = Sequential([Dense(6, 5, rng=0), inner, Dense(4, 3, rng=2)])
    y = network.forward(batch(), training=True)
    come_between(network, y)
    with pytest.raises(RuntimeError, match=r"layer \d.*another pass of its own"):
        network.backward(y)


# What is not finite


class OwnNorm(BatchNorm):
    pass


HIDE = {
    "Tanh": lambda: [Tanh(), BatchNorm(6)],
    "Sigmoid": lambda: [Dense(6, 6, rng=0), Sigmoid(), BatchNorm(6)],
    "ReLU": lambda: [ReLU(), BatchNorm(6)],
    "Dropout first": lambda: [Dropout(0.5, rng=0), BatchNorm(6)],
    "Dropout after": lambda: [BatchNorm(6), Dropout(0.5, rng=0), BatchNorm(6)],
    "a reader's": lambda: [Identity(), BatchNorm(6)],
    "a reader's network": lambda: [Residual([Dense(6, 6, rng=0), BatchNorm(6)])],
    "a subclass": lambda: [Dense(6, 6, rng=0), OwnNorm(6)],
    "none": lambda: [BatchNorm(6), Dense(6, 6, rng=0)],
}


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("layers", HIDE.values(), ids=HIDE)
def test_an_x_that_is_not_finite_is_refused_in_training_and_moves_nothing(layers, value):
    network, x = Sequential(layers()), batch()
    x[0, 0] = value
    before = frozen(network)
    out = np.full_like(network.forward(x), 7)
    with pytest.raises(ValueError, match="x: expected finite values"):
        network.forward(x, training=True, out=out)
    assert (out == 7).all()
    assert frozen(network) == before


def test_it_shows_in_inference():
    assert np.isnan(small().forward(batch() * np.float32(np.nan))).any()


def test_after_a_refused_batch_no_stale_pass_is_left_but_one_that_was_not_touched():
    late, early = small(), Sequential([Dropout(0.5, rng=0), BatchNorm(6)])
    for network in (late, early):
        y = network.forward(batch(), training=True)
        with pytest.raises(ValueError, match="x: expected finite"):
            network.forward(batch() * np.float32(np.nan), training=True)
    with pytest.raises(RuntimeError, match="forward"):
        late.layers[1].backward(np.ones((8, 5), np.float32))
    early.backward(np.ones_like(y))


def test_a_batch_that_one_layer_refuses_is_not_written_to_out():
    out, norm = np.full((8, 6), 7, np.float32), BatchNorm(6)
    with pytest.raises(ValueError, match="is not finite"):
        norm.forward(1e25 * batch(), training=True, out=out)
    assert (out == 7).all()
    assert norm.forward(batch(), training=True, out=out) is out
    np.testing.assert_array_equal(out, BatchNorm(6).forward(batch(), training=True))
    with pytest.raises(ValueError, match="out: overlaps"):
        norm.forward(out, training=True, out=out)


LOSE = {
    "a batch norm": lambda: [BatchNorm(6)],
    "a subclass": lambda: [OwnNorm(6)],
    "a reader's network": lambda: [Residual([BatchNorm(6), ReLU(), Dense(6, 6, rng=1)])],
    "one that hides it": lambda: [Residual([Tanh(), BatchNorm(6)])],
}


@pytest.mark.parametrize("layers", LOSE.values(), ids=LOSE)
@pytest.mark.parametrize("weight", [3e38, np.inf])
def test_weights_too_large_make_y_nan_and_move_no_population(layers, weight):
    network = Sequential([Dense(6, 6, rng=0), *layers(), Dense(6, 3, rng=1)])
    network.layers[0].weight[...] = weight
    before = copies(network.state)
    y = network.forward(batch(), training=True)
    assert np.isnan(y).all()
    network.backward(y)
    assert_same(network.state, before)
    assert network.predict(batch()).shape == (8,)


def test_a_batch_norm_alone_refuses_what_in_a_network_makes_y_nan():
    with pytest.raises(ValueError, match=r"OwnNorm\(6\): the batch.* not finite"):
        OwnNorm(6).forward(batch() * np.float32(np.inf), training=True)
