"""The arrays of all layers: two vectors, names, copies, and who may belong to which network."""

import copy
import gc

import numpy as np
import pytest
from small_network import Identity, Scale, assert_same, batch, labels, small, train

from npbn import BatchNorm, Dense, Layer, ReLU, Sequential, Tanh, gradient_check


def test_layers_hold_views_into_one_vector():
    network = small()
    assert network.parameter_vector.size == sum(v.size for v in network.parameters.values())
    for name, value in network.parameters.items():
        assert np.shares_memory(value, network.parameter_vector)
        assert np.array_equal(network.parameter_vector[network.slices[name]], value.ravel())
    network.parameter_vector[network.slices["1.gamma"]] = 7
    assert (network.layers[1].gamma == 7).all()


def test_backward_fills_the_gradient_vector():
    network = small()
    network.backward(np.ones_like(network.forward(batch(), training=True)))
    for name, value in network.gradients.items():
        assert np.array_equal(network.gradient_vector[network.slices[name]], value.ravel())
    assert network.gradients["6.bias"] == pytest.approx([8, 8, 8])


def test_a_network_may_be_a_layer():
    inner = Sequential([Dense(5, 4, use_bias=False, rng=0), BatchNorm(4), ReLU()])
    outer = Sequential([Dense(6, 5, rng=1), inner, Dense(4, 3, rng=2)])
    flat = [outer.layers[0], *inner.layers, outer.layers[2]]
    flat = Sequential([copy.deepcopy(each) for each in flat])
    assert list(outer.slices)[2] == "1.0.weight"
    for network in (outer, flat):
        train(network)
    assert np.array_equal(outer.parameter_vector, flat.parameter_vector)
    assert np.shares_memory(inner.parameter_vector, outer.parameter_vector)
    assert np.array_equal(outer.forward(batch()), flat.forward(batch()))
    assert gradient_check(outer, batch(), labels())
    clone = copy.deepcopy(outer)
    assert np.shares_memory(clone.layers[1].layers[0].weight, clone.parameter_vector)


def test_each_parameter_of_a_readers_layer_has_a_place_of_its_own():
    class Three(Layer):
        def __init__(self):
            values = {name: np.full(2, k, np.float32) for k, name in enumerate("abc")}
            super().__init__(parameters=values, state={"count": np.array([3])})

    network = Sequential([Three(), Dense(2, 2, rng=0)])
    assert network.parameter_vector[:6].tolist() == [0, 0, 1, 1, 2, 2]
    network.parameter_vector[:6] = range(6)
    assert network.layers[0].parameters["c"].tolist() == [4, 5]
    other = network.astype(np.float64).layers[0]
    assert other.parameters["c"].dtype == np.float64
    assert other.state["count"].dtype == np.array([3]).dtype


def test_the_parameters_of_a_layer_are_of_one_float_type_and_have_names_of_their_own():
    for kind, message in (
        (np.float64, "b: expected float32 like"),
        (np.int64, "b: expected float"),
    ):
        with pytest.raises(TypeError, match=message):
            Layer({"a": np.ones(2, np.float32), "b": np.ones(2, kind)})
    with pytest.raises(ValueError, match="different names"):
        Layer(parameters={"a": np.ones(2)}, state={"a": np.ones(2)})


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ([], ValueError, "one layer or more"),
        ([Dense(6, 5), 3], TypeError, r"layers\[1\]: expected a Layer, got 3$"),
        ([Dense(6, 5), Dense(5, 4, dtype=np.float64)], TypeError, r"layers\[1\].*float64"),
    ],
)
def test_wrong_layers_are_refused_and_stay_free(layers, error, message):
    with pytest.raises(error, match=message):
        Sequential(layers)
    for each in layers:
        if isinstance(each, Layer):
            Sequential([each])


def test_a_layer_belongs_to_one_network_while_it_lives():
    dense = Dense(6, 5)
    network = Sequential([dense])
    with pytest.raises(ValueError, match="another network"):
        Sequential([dense])
    assert Sequential([copy.deepcopy(dense)]) is not network
    del network
    gc.collect()
    Sequential([dense])


@pytest.mark.parametrize("within", [False, True], ids=["its own", "within another"])
def test_a_layer_that_ran_in_one_network_runs_in_the_next(within):
    layers = [Dense(6, 5, rng=0), BatchNorm(5), Scale(5)]
    train(Sequential([*layers, Dense(5, 3, rng=1)]))
    gc.collect()
    network = Sequential([*([Sequential(layers)] if within else layers), Dense(5, 3, rng=1)])
    fresh = copy.deepcopy(network)
    for each in (network, fresh):
        each.parameter_vector[...] = np.linspace(-1, 1, each.parameter_vector.size)
        train(each)
    assert np.array_equal(network.parameter_vector, fresh.parameter_vector)
    assert_same(network.state, fresh.state)


def test_its_table():
    layers = [Dense(6, 1200), BatchNorm(1200), ReLU(), Identity(), Dense(1200, 3)]
    assert str(Sequential(layers)).splitlines()[-7:] == [
        "   layer            output shape  parameters",
        "0  Dense(6, 1200)   (N, 1200)          8,400",
        "1  BatchNorm(1200)  (N, 1200)          2,400",
        "2  ReLU()           (N, 1200)              0",
        "3  Identity()       (N, ?)                 0",
        "4  Dense(1200, 3)   (N, 3)             3,603",
        "14,403 parameters, float32",
    ]
    assert str(Sequential([ReLU(), BatchNorm(4)])).splitlines()[-3:] == [
        "0  ReLU()        (N, ?)                 0",
        "1  BatchNorm(4)  (N, 4)                 8",
        "8 parameters, float32",
    ]
    assert "0  Dense(6, 5, use_bias=False)  (N, 5)" in str(small())
    nested = Sequential([Sequential([Dense(6, 5), Identity()]), ReLU()])
    assert [line.split() for line in str(nested).splitlines()[1:-1]] == [
        ["0", "Sequential([...])", "(N,", "?)", "35"],
        ["0.0", "Dense(6,", "5)", "(N,", "5)", "35"],
        ["0.1", "Identity()", "(N,", "?)", "0"],
        ["1", "ReLU()", "(N,", "?)", "0"],
    ]
    assert str(Sequential([ReLU()])).endswith("\n0 parameters, no type")
    assert repr(Sequential([ReLU(), Tanh()])) == "Sequential([ReLU(), Tanh()])"


def test_the_shape_of_its_output_is_known_where_no_readers_layer_decides_it():
    assert small().output_shape((7, 2, 6)) == (7, 2, 3)
    with pytest.raises(ValueError, match=r"^layer 0, Dense\(6, 5.*expected \(\.\.\., 6\), got"):
        small().output_shape((7, 5))
    network = Sequential([Dense(6, 5), Sequential([ReLU(), Identity()]), Dense(5, 3)])
    with pytest.raises(ValueError, match=r"^layer 1\.1, Identity\(\): decides the shape"):
        network.output_shape((7, 6))
