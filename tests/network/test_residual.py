"""Residual: y = x + f(x), laid flat in a network, with the results of its layers run by hand."""

import copy
import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import COPIES, MODES, in_threads
from small_network import Identity, assert_same, batch, copies, labels, train

from npbn import (
    SGD,
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    Layer,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
    functional,
    gradient_check,
)


class Scale(Layer):
    """A reader's own layer, for features and images."""

    def __init__(self, features, dtype=np.float64):
        super().__init__({"scale": np.full(features, 0.5, dtype)})

    def forward(self, x):
        self.cache = x
        return x * self.parameters["scale"]

    def backward(self, dy):
        x = self.take_cache()
        self.gradients["scale"][...] = (dy * x).reshape(-1, x.shape[-1]).sum(0)
        return dy * self.parameters["scale"]


# Layers by name, made for 3 features or channels, by a generator.
EITHER = {
    "norm": lambda rng: BatchNorm(3, momentum=0.7, dtype=np.float64),
    "relu": lambda rng: ReLU(),
    "leaky": lambda rng: LeakyReLU(0.3),
    "sigmoid": lambda rng: Sigmoid(),
    "dropout": lambda rng: Dropout(0.4, rng=int(rng.integers(1 << 30))),
    "scale": lambda rng: Scale(3),
    "identity": lambda rng: Identity(),
}
ROWS = EITHER | {
    "dense": lambda rng: Dense(3, 3, rng=rng, dtype=np.float64),
    "flatten": lambda rng: Flatten(),
}
IMAGES = EITHER | {
    "conv": lambda rng: Conv2D(3, 3, 3, rng=rng, dtype=np.float64),
    "max": lambda rng: MaxPool2D(3, stride=1, padding="same"),
    "mean": lambda rng: AvgPool2D(2, stride=1, padding="same"),
}
KINDS = {"rows": (ROWS, (6, 3)), "images": (IMAGES, (4, 5, 4, 3))}
each_kind = pytest.mark.parametrize(("makers", "shape"), KINDS.values(), ids=KINDS)


def nestings(names):
    """Lists of names, and of pairs (Residual or Sequential, such a list)."""
    leaves = st.sampled_from(sorted(names))

    def lists(each):
        return st.tuples(
            st.sampled_from([Residual, Residual, Sequential]),
            st.lists(each, min_size=1, max_size=4),
        )

    return st.lists(st.recursive(leaves, lists, max_leaves=10), min_size=1, max_size=5)


def made(tree, makers, rng):
    if isinstance(tree, str):
        return makers[tree](rng)
    kind, trees = tree
    return kind([made(each, makers, rng) for each in trees])


def forward_by_hand(layer, x, **mode):
    """y, of copies of the layers, which are run one by one."""
    if isinstance(layer, Identity | Scale):
        return layer.forward(x)
    if not isinstance(layer, Residual | Sequential):
        return layer.forward(x, **mode)
    y = x
    for each in layer.layers:
        y = forward_by_hand(each, y, **mode)
    return x + y if isinstance(layer, Residual) else y


def backward_by_hand(layer, dy):
    if not isinstance(layer, Residual | Sequential):
        return layer.backward(dy)
    dx = dy
    for each in reversed(layer.layers):
        dx = backward_by_hand(each, dx)
    return dy + dx if isinstance(layer, Residual) else dx


def normal(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def assert_near(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-11)


@each_kind
@settings(derandomize=True, max_examples=50)
@given(data=st.data())
def test_all_nestings_compute_what_their_layers_do_by_hand(makers, shape, data):
    outer = data.draw(st.sampled_from([Sequential, Residual]))
    layer = made((outer, data.draw(nestings(makers))), makers, np.random.default_rng(0))
    # Copies are made before: a network's arrays are no longer the layers' own.
    twin, dy = copy.deepcopy(layer), normal(shape, 1)
    x = normal(shape)
    for mode in (*MODES.values(), MODES["training"]):
        given, upstream = x.copy(), dy.copy()
        y = layer.forward(given, **mode)
        assert_near(y, forward_by_hand(twin, x, **mode))
        dx = layer.backward(upstream, input_gradient=True)
        assert_near(dx, backward_by_hand(twin, dy))
        for name, gradient in layer.gradients.items():
            assert_near(gradient, twin.gradients[name])
        for name, value in layer.state.items():
            assert_near(value, twin.state[name])
        np.testing.assert_array_equal(given, x)
        np.testing.assert_array_equal(upstream, dy)
    if outer is Sequential:
        for statistics in ("population", "batch", "population"):
            expected = functional.softmax(forward_by_hand(twin, x, statistics=statistics))
            assert_near(layer.predict_probabilities(x, statistics=statistics), expected)


@pytest.mark.parametrize("input_gradient", [True, False])
@pytest.mark.parametrize("first", [0, 1])
def test_two_in_a_row_of_several_layers(first, input_gradient):
    """What one is given lies where the layers of the one before wrote."""
    rng = np.random.default_rng(0)

    def dense():
        return Dense(3, 3, rng=rng, dtype=np.float64)

    blocks = [Residual([dense(), dense(), dense()]) for _ in range(3)]
    network = Sequential([dense()][:first] + blocks + [dense()])
    twin, x = copy.deepcopy(network), normal((6, 3))
    assert_near(network.forward(x), forward_by_hand(twin, x))
    dx = network.backward(normal((6, 3), 1), input_gradient=input_gradient)
    expected = backward_by_hand(twin, normal((6, 3), 1))
    assert dx is None or input_gradient
    if input_gradient:
        assert_near(dx, expected)
    assert_near(network.gradient_vector, twin.gradient_vector)
    probabilities = network.predict_probabilities(x)
    assert_near(probabilities, functional.softmax(forward_by_hand(twin, x)))


# Blocks of five features, to stand in a network.


def block(seed=1, dtype=np.float32):
    rng = np.random.default_rng(seed)
    first, second = (Dense(5, 5, use_bias=False, rng=rng, dtype=dtype) for _ in range(2))
    return Residual([first, BatchNorm(5, dtype=dtype), Tanh(), second, BatchNorm(5, dtype=dtype)])


BLOCKS = {
    "plain": lambda dtype: block(dtype=dtype),
    "nested": lambda dtype: Residual([block(dtype=dtype), Tanh(), block(2, dtype)]),
    "twice itself": lambda dtype: Residual([Residual([Tanh()])]),
    "a network within": lambda dtype: Residual([Sequential([block(dtype=dtype), Sigmoid()])]),
    "in a network within": lambda dtype: Sequential([block(dtype=dtype), block(2, dtype)]),
    "a dropout within": lambda dtype: Residual([*copy.deepcopy(block(dtype=dtype).layers), drop()]),
    "only a dropout": lambda dtype: Residual([drop()]),
    "a reader's layer within": lambda dtype: Residual([Scale(5, dtype), block(dtype=dtype)]),
    "only a reader's layer": lambda dtype: Residual([Scale(5, dtype)]),
}
each_block = pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS)


def drop():
    return Dropout(0.5, rng=3)


def network_of(make, dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    return Sequential(
        [
            Dense(6, 5, rng=rng, dtype=dtype),
            make(dtype),
            ReLU(),
            Dense(5, 3, rng=rng, dtype=dtype),
        ]
    )


@each_block
@pytest.mark.parametrize("place", ["alone", "first", "in the midst", "last"])
@pytest.mark.parametrize("mode", MODES)
def test_gradients(make, place, mode):
    mode = MODES[mode]
    layer = make(np.float64)
    rng = np.random.default_rng(4)
    ends = [Dense(5, 5, rng=rng, dtype=np.float64) for _ in range(2)]
    around = {"first": [layer, *ends], "in the midst": [ends[0], layer, ends[1]]}
    around["last"] = [*ends, layer]
    network = layer if place == "alone" else Sequential(around[place])
    for array in network.state.values():
        array[...] = rng.uniform(0.5, 2, array.shape)
    assert gradient_check(network, normal((7, 5)), **mode)


@each_block
def test_it_trains(make):
    network = network_of(make)
    before, state = network.parameter_vector.copy(), copies(network.state)
    losses = [loss for _, loss in train(network, 60)]
    assert np.mean(losses[-10:]) < np.mean(losses[:10])
    for name, place in network.slices.items():
        assert not np.array_equal(network.parameter_vector[place], before[place]), name
    for name, value in network.state.items():
        assert not np.array_equal(value, state[name]), name


@each_block
def test_prediction_is_forward(make):
    network = network_of(make)
    train(network)
    for rows in (8, 1203, 8):
        x = batch(rows)
        found = network.predict_probabilities(x)
        np.testing.assert_allclose(found, functional.softmax(network.forward(x)), atol=1e-6)
        assert np.array_equal(network.predict(x), found.argmax(1))


@each_block
def test_folded(make):
    network = network_of(make)
    train(network, 20)
    folded, x = network.fold_batch_norm(), batch(50)
    np.testing.assert_allclose(folded.forward(x), network.forward(x), atol=3e-6)
    np.testing.assert_allclose(
        folded.predict_probabilities(x), network.predict_probabilities(x), atol=1e-6
    )
    assert "BatchNorm" in repr(network) or not network.state
    assert "BatchNorm" not in repr(folded)
    assert not np.shares_memory(folded.parameter_vector, network.parameter_vector)


def test_a_block_by_itself_is_folded_where_a_norm_follows_its_weights():
    network = Sequential([block(), BatchNorm(5), Dense(5, 3, rng=0)])
    folded = network.fold_batch_norm()
    # The last one normalizes x + f(x): it has no weights before it.
    within = ["Dense", "Tanh", "Dense"]
    assert [type(each).__name__ for each in folded.layers] == ["Residual", "BatchNorm", "Dense"]
    assert [type(each).__name__ for each in folded.layers[0].layers] == within


@each_block
def test_saved_and_loaded(make, tmp_path):
    network, other = network_of(make), network_of(make, seed=8)
    train(network)
    network.save(tmp_path / "n")
    other.load(tmp_path / "n")
    assert_same(other.parameters, network.parameters)
    assert_same(other.state, network.state)
    np.testing.assert_array_equal(other.forward(batch()), network.forward(batch()))


def test_a_file_of_other_layers_within_is_refused_and_one_of_another_momentum_told(tmp_path):
    def holding(*layers):
        return Sequential([Residual([Dense(5, 5, rng=0), *layers])])

    holding(BatchNorm(5, momentum=0.5)).save(tmp_path / "n")
    with pytest.warns(UserWarning, match="momentum"):
        holding(BatchNorm(5)).load(tmp_path / "n")
    with pytest.raises(ValueError, match="layer 0 is Residual"):
        holding(BatchNorm(5, momentum=0.5, epsilon=0.1)).load(tmp_path / "n")
    with pytest.raises(ValueError, match="layer 0 is Residual"):
        Sequential([Sequential([Dense(5, 5, rng=0), BatchNorm(5, momentum=0.5)])]).load(
            tmp_path / "n"
        )


@each_block
@pytest.mark.parametrize("duplicate", COPIES.values(), ids=COPIES)
@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a network"])
def test_copied(make, duplicate, alone):
    layer = make(np.float32) if alone else network_of(make)
    x = batch()[:, : 5 if alone else 6]
    layer.forward(x, training=True)
    clone = duplicate(layer)
    before = copies(layer.parameters), copies(layer.state)
    for each in (clone, layer):
        assert repr(each) == repr(layer)
        y = each.forward(x, training=True)
        each.backward(np.ones_like(y))
        for name, value in each.parameters.items():
            value -= each.gradients[name]
        if each is clone:
            assert_same(layer.parameters, before[0])
            assert_same(layer.state, before[1])
    assert_same(layer.parameters, clone.parameters)
    assert_same(layer.state, clone.state)
    np.testing.assert_array_equal(layer.forward(x), clone.forward(x))


@each_block
def test_of_another_type(make):
    network = network_of(make)
    train(network)
    double = network.astype(np.float64)
    for value in (*double.parameters.values(), *double.state.values()):
        assert value.dtype == np.float64
    y = double.forward(batch(dtype=np.float64))
    np.testing.assert_allclose(y, network.forward(batch()), atol=1e-5)
    alone = make(np.float32).astype(np.float64)
    y = alone.forward(normal((6, 5)), training=True)
    assert y.dtype == alone.backward(y, input_gradient=True).dtype == np.float64


def test_types_do_not_mix():
    with pytest.raises(TypeError, match=r"layers\[1\]: BatchNorm\(5\) holds float32.*float64"):
        Residual([Dense(5, 5, dtype=np.float64), BatchNorm(5)])
    with pytest.raises(TypeError, match=r"layers\[1\]: Residual.* holds float32.*float64"):
        Sequential([Dense(5, 5, dtype=np.float64), block()])
    with pytest.raises(TypeError, match="holds float32, got float64"):
        block().forward(normal((3, 5)))


def test_a_table():
    network = network_of(BLOCKS["nested"])
    text = str(network)
    rows = [line.split() for line in text.splitlines()]
    places = [row[0] for row in rows[1:-1]]
    inner = [f"1.{outer}.{each}" for outer in "02" for each in range(5)]
    expected = ["0", "1", "1.0", *inner[:5], "1.1", "1.2", *inner[5:], "2", "3"]
    assert places == expected
    assert rows[2][1:] == ["Residual([...])", "(N,", "5)", "140"]
    assert rows[-1][0] == str(network.parameter_vector.size) == "193"
    assert "1.0.0.weight" in network.slices


def test_the_table_of_images_whose_size_is_not_known():
    within = [Conv2D(4, 4, 3, rng=1), BatchNorm(4)]
    network = Sequential([Conv2D(1, 4, 3, rng=0), Residual(within), Flatten()])
    shapes = [line.rpartition("(")[2].partition(")")[0] for line in str(network).splitlines()[1:-1]]
    assert shapes == ["N, ?, ?, 4"] * 4 + ["N, ?"]
    assert network.output_shape((2, 8, 9, 1)) == (2, 288)


def test_names():
    inner = Residual([Dense(3, 4, rng=0), Dense(4, 3, rng=1)])
    layer = Residual([inner, Sequential([BatchNorm(3)])])
    assert repr(layer) == (
        "Residual([Residual([Dense(3, 4), Dense(4, 3)]), Sequential([BatchNorm(3)])])"
    )
    assert repr(eval(repr(layer))) == repr(layer)
    assert (
        [*layer.parameters]
        == [*layer.gradients]
        == [*("0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias", "1.0.gamma", "1.0.beta")]
    )
    assert [*layer.state] == ["1.0.population_mean", "1.0.population_variance"]
    assert len(layer) == 2
    assert layer[0] is inner
    assert [*layer] == [*layer.layers]


# What a network keeps


@each_block
def test_its_tape(make):
    network = network_of(make)
    twin = copy.deepcopy(network)
    tape = network.tape(batch(), labels(), optimizer=SGD(0.1))
    assert_same(network.parameters, twin.parameters)
    assert_same(network.state, twin.state)
    titles = [each.title.partition(":")[0] for each in tape.blocks]
    for direction in "forward", "backward":
        own = [title for title in titles if title.endswith(direction)]
        assert all(title.startswith("layer ") for title in own)
    for each in tape.blocks:
        if each.runs:
            names = {"np": np, **each.arrays}
            with np.errstate(all="ignore"):
                exec(each.source, names)


def test_its_tape_names_the_block_where_the_input_is_added():
    network = Sequential([Dense(6, 5, rng=0), Residual([Tanh()]), Dense(5, 3, rng=1)])
    blocks = network.tape(batch(), labels()).blocks
    own = {each.title: str(each) for each in blocks if "Residual" in each.title}
    forward, backward = (
        "layer 1, forward: Residual([Tanh()])",
        "layer 1, backward: Residual([Tanh()])",
    )
    assert set(own) == {forward, backward}
    added = [str(each) for each in blocks if each.title in own and each.lines]
    assert len(added) == 2
    assert all("np.add(" in each for each in added)


@each_block
def test_threads_predict_the_same(make):
    network, images = network_of(make), batch(1500)
    train(network)
    expected = network.predict_probabilities(images)
    calls = [lambda: network.predict_probabilities(images) for _ in range(4)]
    for found in in_threads(calls):
        np.testing.assert_array_equal(found, expected)


def test_population_statistics_move_once_a_step():
    network = network_of(BLOCKS["nested"])
    twin, x = copy.deepcopy(network), batch()
    network.forward(x, training=True)
    forward_by_hand(twin, x, training=True)
    assert_same(network.state, twin.state)
    for mode in ("frozen", "inference", "demonstration"):
        network.forward(x, **MODES[mode])
        assert_same(network.state, twin.state)
    network.predict(x)
    assert_same(network.state, twin.state)


def test_none_move_where_a_later_layer_is_not_finite():
    network = Sequential([Residual([BatchNorm(5)]), Dense(5, 5, rng=0), Residual([BatchNorm(5)])])
    before = copies(network.state)
    network.layers[1].weight[0] = np.inf
    assert np.isnan(network.forward(batch()[:, :5], training=True)).all()
    assert_same(network.state, before)
    x = batch()[:, :5]
    x[2, 3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        network.forward(x, training=True)
    assert_same(network.state, before)


def test_a_frozen_norm_within_stays():
    layer = block()
    layer[1].frozen = True
    network = Sequential([Dense(6, 5, rng=0), layer, Dense(5, 3, rng=1)])
    before = copies(network.state)
    train(network)
    for name, value in network.state.items():
        assert np.array_equal(value, before[name]) == name.startswith("1.1."), name


def test_exact_population_statistics():
    network, images = network_of(BLOCKS["nested"]), batch(300)
    network.recompute_population(images)
    again = copy.deepcopy(network)
    for layer in norms(again):
        layer.momentum = 0.0
    # Exact statistics are those of the one batch of all images.
    for _ in norms(again):
        again.forward(images, training=True)
    for name, value in network.state.items():
        np.testing.assert_allclose(value, again.state[name], rtol=1e-4, atol=1e-5)


def norms(layer):
    if isinstance(layer, BatchNorm):
        yield layer
    elif isinstance(layer, Residual | Sequential):
        for each in layer:
            yield from norms(each)


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "in a network"])
def test_a_setting_changed_within_works_from_the_next_pass_on(alone):
    slope = LeakyReLU(0.1)
    layer = Residual([Residual([slope])])
    network = layer if alone else Sequential([layer, Dense(5, 3, rng=0)])
    x = batch()[:, :5]
    before = network.forward(x)
    if not alone:
        before = network.predict_probabilities(x)
    slope.slope = 0.9
    call = network.forward if alone else network.predict_probabilities
    np.testing.assert_array_equal(call(x), getattr(copy.deepcopy(network), call.__name__)(x))
    assert not np.array_equal(call(x), before)


def test_a_mask_reaches_the_norms_within():
    norm, dense = BatchNorm(3, dtype=np.float64), Dense(3, 3, rng=0, dtype=np.float64)
    network = Sequential([dense, Residual([norm])])
    first, second = copy.deepcopy((dense, norm))
    x, mask = normal((4, 5, 3)), np.random.default_rng(1).random((4, 5)) < 0.6
    y = network.forward(x, training=True, mask=mask)
    between = first.forward(x)
    assert_near(y, between + second.forward(between, training=True, mask=mask))
    assert_same(norm.state, second.state)
    dx = network.backward(normal((4, 5, 3), 1), input_gradient=True)
    dy = normal((4, 5, 3), 1)
    assert_near(dx, first.backward(dy + second.backward(dy)))


def test_a_setting_changed_within_drops_the_plans():
    network = network_of(BLOCKS["nested"])
    network.predict(batch())
    plans = network._plans
    network[1][0][1].epsilon = 0.5
    assert network._plans is not plans


# Passes


@pytest.mark.parametrize("makes", ["more features", "fewer pixels", "more pixels"])
@pytest.mark.parametrize("in_network", [True, False])
@pytest.mark.parametrize("readers", [True, False])
def test_layers_that_change_the_shape(makes, in_network, readers):
    rng = np.random.default_rng(0)
    inner, shape, other = {
        "more features": (Dense(3, 4, rng=rng), (2, 3), (2, 4)),
        "fewer pixels": (MaxPool2D(2), (2, 4, 4, 3), (2, 2, 2, 3)),
        "more pixels": (Conv2D(3, 3, 3, padding=2, rng=rng), (2, 4, 4, 3), (2, 6, 6, 3)),
    }[makes]
    layer = Residual([Identity(), inner] if readers else [inner])
    network, x = layer, np.ones(shape, np.float32)
    message = f"{layer!r}: expected layers that keep the shape {shape}, got {other}"
    if in_network:
        network = Sequential([Dropout(0.5, rng=0), layer])
        message = f"layer 1, {message}"
    calls = [network.forward] + ([network.predict] if in_network else [])
    calls += [] if readers else [lambda x: network.output_shape(x.shape)]
    for call in calls:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            call(x)


def test_a_layer_within_that_takes_no_such_x_is_named_once():
    network = Sequential([Dense(3, 3, rng=0), Residual([Dense(4, 4, rng=1)])])
    with pytest.raises(ValueError, match=r"^layer 1\.0, Dense\(4, 4\): expected "):
        network.output_shape((5, 3))


def test_where_a_readers_layer_decides_the_shape_the_pass_looks_at_it():
    class FirstThree(Layer):
        def forward(self, x):
            return x[..., :3]

        def backward(self, dy):
            return np.concatenate([dy, np.zeros_like(dy[..., :1])], -1)

    assert Residual([Dense(3, 4, rng=0), Dense(4, 3, rng=1)]).output_shape((5, 3)) == (5, 3)
    block = Residual([Dense(3, 4, rng=0), FirstThree()])
    network = Sequential([block, Dense(3, 2, rng=1)])
    assert network.output_shape((5, 3)) == (5, 2)
    assert network.predict(normal((5, 3), dtype=np.float32)).shape == (5,)


def test_layers_within_that_do_not_go_together_are_named():
    network = Sequential([Residual([Dense(3, 3), BatchNorm(4)])])
    for call in (network.forward, network.predict):
        with pytest.raises(ValueError, match=r"^layer 0\.1, BatchNorm\(4\): expected"):
            call(np.ones((2, 3), np.float32))


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ([], ValueError, "layers: expected one layer or more, got none"),
        (ReLU(), TypeError, r"layers: expected a list of layers, got ReLU\(\): pass \[ReLU"),
        ([ReLU], TypeError, r"layers\[0\]: expected a Layer, .*: write ReLU\("),
        (None, TypeError, "layers: expected a list of layers, got None"),
    ],
    ids=str,
)
def test_what_is_no_list_of_layers(value, error, message):
    with pytest.raises(error, match=f"^{message}"):
        Residual(value)


def test_a_layer_belongs_to_one():
    shared = Dense(5, 5)
    first = Residual([shared])
    for make in (
        lambda: Residual([shared]),
        lambda: Residual([first, first]),
        lambda: Sequential([first, shared]),
    ):
        with pytest.raises(ValueError, match="is used twice, or in another network"):
            make()


def test_equal_draws_are_told():
    with pytest.warns(UserWarning, match=r"0\.0\.weight = 1\.weight"):
        Sequential([Residual([Dense(5, 5, rng=0)]), Dense(5, 5, rng=0)])
    with pytest.warns(UserWarning, match=r"0\.0\.weight = 0\.1\.weight"):
        Sequential([Residual([Dense(5, 5, rng=0), Dense(5, 5, rng=0)])])


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "in the midst", "last"])
def test_results_belong_to_the_caller(place):
    layers = [Dense(5, 5, rng=0), Dense(5, 5, rng=1)]
    layers.insert(place, Residual([Tanh()]))
    network, x = Sequential(layers), batch()[:, :5]
    for training in (True, False):
        first = network.forward(x, training=training)
        dx = network.backward(first, input_gradient=True)
        y, kept = first.copy(), dx.copy()
        second = network.forward(-x, training=training)
        network.backward(second, input_gradient=True)
        np.testing.assert_array_equal(first, y)
        np.testing.assert_array_equal(dx, kept)
        for a, b in itertools.combinations([first, second, dx, x], 2):
            assert not np.shares_memory(a, b)
    out, dx = np.empty_like(x), np.empty_like(x)
    assert network.forward(x, out=out) is out
    np.testing.assert_array_equal(out, network.forward(x))
    assert network.backward(out, input_gradient=True, out=dx) is dx


def test_a_single_layer_within_goes_back_by_hand():
    network = Sequential([Dense(6, 5, rng=0), block(), Dense(5, 3, rng=1)])
    twin, dy = copy.deepcopy(network), normal((8, 5), 2, np.float32)
    network.forward(batch(), training=True)
    forward_by_hand(twin, batch(), training=True)
    for layer, other in zip(network[1], twin[1], strict=True):
        np.testing.assert_allclose(layer.backward(dy), other.backward(dy), atol=1e-6)
        assert_same(layer.gradients, other.gradients)
        with pytest.raises(RuntimeError, match="backward without a forward pass"):
            layer.backward(dy)
        network.forward(batch(), training=True)
    network[1][0].forward(normal((8, 5), 0, np.float32))
    with pytest.raises(RuntimeError, match=r"layer 1\.0, Dense.*another pass of its own"):
        network.backward(normal((8, 3), 0, np.float32))


WITHIN = {
    "a Residual": lambda layers: Residual(layers),
    "a network": lambda layers: Sequential(layers),
    "one around a Residual": lambda layers: Sequential([Residual(layers)]),
    "a Residual with a reader's layer": lambda layers: Residual([Scale(5, np.float32), *layers]),
}


@pytest.mark.parametrize("make", WITHIN.values(), ids=WITHIN)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_part_of_a_network_goes_back_by_hand(make, place):
    rng = np.random.default_rng(0)
    layers = [Dense(5, 5, rng=rng), Dense(5, 5, rng=rng)]
    layers.insert(place, make([Dense(5, 5, rng=rng), BatchNorm(5)]))
    network = Sequential(layers)
    part, x, dy = network[place], batch()[:, :5], normal((8, 5), 2, np.float32)
    twin = copy.deepcopy(network)
    network.forward(x, training=True)
    forward_by_hand(twin, x, training=True)
    dx = part.backward(dy, input_gradient=True)
    np.testing.assert_allclose(dx, backward_by_hand(twin[place], dy), atol=1e-5)
    for name, value in part.gradients.items():
        np.testing.assert_allclose(value, twin[place].gradients[name], atol=1e-5)
    with pytest.raises(RuntimeError, match="forward"):
        part.backward(dy)
    network.forward(x, training=True)
    network.backward(dy)
    with pytest.raises(RuntimeError, match="forward"):
        part.backward(dy)


def test_a_network_within_that_begins_with_a_readers_layer_does_not_go_back_half_the_way():
    within = Sequential([Scale(5, np.float32), Dense(5, 5, rng=0)])
    network, x = Sequential([Dense(5, 5, rng=1), within]), batch()[:, :5]
    network.forward(x)
    with pytest.raises(RuntimeError, match="no forward pass is pending"):
        within.backward(x)
    assert network.backward(x) is None


def test_what_was_run_layer_by_layer_is_no_pass_of_the_whole():
    layers, x = [Dense(5, 5, rng=0), Dense(5, 5, rng=1)], batch()[:, :5]
    for network in (Sequential(layers), Sequential([Dense(5, 5, rng=2)])):
        for layer in network:
            layer.forward(x)
        with pytest.raises(RuntimeError, match="no forward pass is pending"):
            network.backward(x)


def test_each_forward_pass_allows_one_backward_pass():
    layer, x = block(), batch()[:, :5]
    with pytest.raises(RuntimeError, match="backward without a forward pass"):
        layer.backward(x)
    layer.forward(x)
    layer.backward(x)
    with pytest.raises(RuntimeError, match="backward without a forward pass"):
        layer.backward(x)


class Around(Layer):
    """A reader's own layer that holds a Residual."""

    def __init__(self):
        super().__init__()
        self.inner = block()

    def forward(self, x, training=False, statistics=None):
        return 2 * self.inner.forward(x, training, statistics)

    def backward(self, dy):
        return self.inner.backward(2 * dy)


def test_within_a_readers_layer():
    network = Sequential([Dense(6, 5, rng=0), Around(), Dense(5, 3, rng=1)])
    assert gradient_check(network, normal((6, 6)))
    before = copies(network.state)
    train(network)
    assert all((value != before[name]).all() for name, value in network.state.items())
    expected = functional.softmax(network.forward(batch()))
    np.testing.assert_allclose(network.predict_probabilities(batch()), expected, atol=1e-6)


class Twice(Residual):
    """A Residual of a reader's own, with passes of its own."""

    def forward(self, x, training=False, statistics=None):
        return 2 * super().forward(x, training, statistics)

    def backward(self, dy):
        return super().backward(2 * dy)


def test_a_readers_residual_runs_as_it_is_written():
    rng = np.random.default_rng(0)
    layers = [Dense(5, 5, rng=rng), BatchNorm(5)]
    layer, x = Twice(layers), batch()[:, :5]
    plain = Residual(copy.deepcopy(layers))
    network = Sequential([layer, Dense(5, 3, rng=rng)])
    np.testing.assert_array_equal(layer.forward(x), 2 * plain.forward(x))
    assert gradient_check(network, normal((6, 5)))
    expected = functional.softmax(network.forward(x))
    np.testing.assert_allclose(network.predict_probabilities(x), expected, atol=1e-6)
    before = copies(network.state)
    network.forward(x, training=True)
    assert all((value != before[name]).all() for name, value in network.state.items())
