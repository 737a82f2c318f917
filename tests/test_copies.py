"""What npbn hands out to be looked at can be kept: it copies and pickles, and stays read-only."""

import copy
import pickle

import numpy as np
import pytest

from npbn import (
    SGD,
    Adam,
    BatchNorm,
    Dense,
    Dropout,
    ReLU,
    Sequential,
    datasets,
    experiments,
    fit,
    functional,
    gradient_check,
    lesson,
)
from npbn.numerics.read_only_mapping import ReadOnlyMapping

COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda each: pickle.loads(pickle.dumps(each)),
}
how_to_copy = pytest.mark.parametrize("how", COPIES)
rng = np.random.default_rng(0)
X = rng.normal(2, 3, (24, 6)).astype(np.float32)
LABELS = rng.integers(2, size=24)


@pytest.fixture
def network():
    inner = Sequential([Dense(8, 8, rng=2), BatchNorm(8)])
    layers = [Dense(6, 8, rng=1), BatchNorm(8), ReLU(), Dropout(0.5, rng=3), inner]
    return Sequential([*layers, Dense(8, 2, rng=4)])


@pytest.fixture
def optimizer():
    return Adam(0.1)


@pytest.fixture
def history(network, optimizer):
    data = X, LABELS
    return fit(network, data, data, optimizer=optimizer, steps=4, batch_size=8, progress=False)


def assert_equal(one, other):
    assert type(one) is type(other)
    assert list(one) == list(other)
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name], name)


@how_to_copy
@pytest.mark.parametrize("kind", ["parameters", "gradients", "state", "slices"])
def test_what_a_network_has_by_name_is_copied(network, history, kind, how):
    original = getattr(network, kind)
    kept = COPIES[how](original)
    assert original
    assert_equal(kept, original)
    with pytest.raises(TypeError, match="keep their values"):
        kept["0.weight"] = None


@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_the_best_parameters_are_kept_while_training_goes_on(network, history, how):
    best = COPIES[how]({**network.parameters, **network.state})
    before = network.forward(X)
    fit(network, (X, LABELS), optimizer=Adam(0.1), steps=3, batch_size=8, progress=False)
    assert not np.array_equal(network.forward(X), before)
    for name, array in {**network.parameters, **network.state}.items():
        array[...] = best[name]
    np.testing.assert_array_equal(network.forward(X), before)


@how_to_copy
def test_an_optimizers_state_is_copied(network, optimizer, history, how):
    assert_equal(COPIES[how](optimizer.state), optimizer.state)
    assert set(optimizer.state) == {"mean", "mean_square"}


def test_a_pickled_optimizer_is_what_it_remembers_without_the_network():
    wide = Sequential([Dense(600, 50, rng=0)])
    for optimizer, vectors in ((Adam(0.1, max_norm=1.0), 2), (SGD(0.1), 0)):
        wide.backward(wide.forward(np.ones((3, 600), np.float32), training=True))
        optimizer.step(wide)
        assert len(pickle.dumps(optimizer)) < (vectors + 0.1) * wide.parameter_vector.nbytes


@how_to_copy
def test_a_gradient_report_is_copied(how):
    report = gradient_check(BatchNorm(6), X[:8])
    kept = COPIES[how](report)
    assert kept == report
    assert str(kept) == str(report)
    assert kept
    assert kept.errors == dict(report.errors)


@how_to_copy
def test_whatever_else_is_handed_out_is_copied(network, optimizer, history, how):
    ones = np.ones(6, np.float32)
    for each in (
        network,
        network.layers,
        network.generators,
        network.layers[0].parameters,
        ReLU().parameters,
        network.tape(X, LABELS, optimizer=optimizer),
        optimizer,
        history,
        functional.batch_norm_forward(X, ones, ones)[1],
        datasets.Dataset(*[(X, LABELS)] * 3),
        datasets.minibatches(X, LABELS, 8, 0),
        lesson.reported_runs(),
        experiments.Run(batch_norm=True, learning_rate=0.1),
    ):
        assert type(COPIES[how](each)) is type(each)


# The mapping itself


def test_it_equals_a_dict_of_the_same_and_joins_with_it():
    values = {"a": 1, "b": 2}
    mapping = ReadOnlyMapping(values)
    assert mapping == values
    assert values == mapping
    assert mapping != {"a": 1}
    assert list(mapping) == list(mapping.keys()) == ["a", "b"]
    assert list(mapping.values()) == [1, 2]
    assert list(mapping.items()) == [("a", 1), ("b", 2)]
    assert "a" in mapping
    assert "c" not in mapping
    assert mapping.get("c", 5) == 5
    assert {**mapping} == dict(mapping) == mapping.copy() == values
    assert type(mapping.copy()) is dict
    assert mapping | {"b": 3} == {"a": 1, "b": 3}
    assert {"b": 3, "c": 4} | mapping == {"b": 2, "c": 4, "a": 1}
    assert mapping | mapping == values
    with pytest.raises(TypeError, match="unsupported operand"):
        mapping | [("a", 1)]


def test_it_does_not_change_with_the_dict_that_it_was_made_of():
    values = {"a": 1}
    mapping = ReadOnlyMapping(values)
    values["b"] = 2
    assert mapping == {"a": 1}


def test_it_says_how_to_write_into_an_array(network):
    with pytest.raises(TypeError, match=r"write into the array, \['1\.gamma'\]\[\.\.\.\] = value"):
        network.parameters["1.gamma"] = np.ones(8, np.float32)
    with pytest.raises(TypeError, match=r"'1\.gamma': these names keep their values$"):
        network.slices["1.gamma"] = slice(3)
    with pytest.raises(TypeError, match="keep their values"):
        del network.parameters["1.gamma"]
    with pytest.raises(AttributeError):
        network.parameters.clear()
    network.parameters["1.gamma"][...] = 3
    assert network.layers[1].gamma.tolist() == [3] * 8


def test_it_prints_as_a_dict_with_the_shapes_of_arrays():
    network = Sequential([Dense(784, 10, rng=0)])
    assert repr(network.parameters) == "{'0.weight': float32 (784, 10), '0.bias': float32 (10,)}"
    assert str(network.slices) == str(dict(network.slices))
    assert str(ReLU().state) == "{}"
    report = gradient_check(BatchNorm(6), X[:8])
    assert str(report.errors) == str(dict(report.errors))
    assert repr(report) == str(report)
