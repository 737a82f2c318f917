"""A frozen BatchNorm, and one whose population is the mean of all batches."""

import copy
import pickle

import numpy as np
import pytest
from small_network import Within, batch, copies

from npbn import SGD, BatchNorm, Dense, ReLU, Sequential, fit, gradient_check

MODES = [
    {"training": True},
    {"training": True, "statistics": "population"},
    {"training": False},
    {"training": False, "statistics": "batch"},
]


def filled(norm):
    rng = np.random.default_rng(3)
    for array in (norm.gamma, norm.beta, norm.population_mean, norm.population_variance):
        array[...] = rng.uniform(0.5, 2, array.shape)
    return norm


def layers(wrap, **settings):
    first, last = filled(BatchNorm(6)), filled(BatchNorm(4))
    norm = wrap(filled(BatchNorm(5, **settings)))
    return [first, Dense(6, 5, rng=0), norm, ReLU(), Dense(5, 4, rng=1), last]


WRAPS = {
    "plain": lambda norm: norm,
    "nested": lambda norm: Sequential([norm]),
    "in a reader's": lambda norm: Within([norm]),
}
each_wrap = pytest.mark.parametrize("wrap", WRAPS.values(), ids=WRAPS)
each_mode = pytest.mark.parametrize("mode", MODES, ids=str)


def the_norm(network):
    return network[2] if isinstance(network[2], BatchNorm) else network[2][0]


@each_mode
def test_a_frozen_layer_is_inference_in_every_mode(mode):
    frozen, plain, x = filled(BatchNorm(6, frozen=True)), filled(BatchNorm(6)), batch()
    before = copies(frozen.state)
    assert np.array_equal(frozen.forward(x, **mode), plain.forward(x))
    assert np.array_equal(frozen.backward(x), plain.backward(x))
    for name, gradient in frozen.gradients.items():
        np.testing.assert_array_equal(gradient, plain.gradients[name])
    for name, array in frozen.state.items():
        np.testing.assert_array_equal(array, before[name])
    assert frozen.batch_mean is None


def test_one_row_is_enough_for_a_frozen_layer():
    assert BatchNorm(6, frozen=True).forward(batch(1), training=True).shape == (1, 6)


@each_wrap
def test_in_a_network_the_others_follow_and_it_stays(wrap):
    network, x = Sequential(layers(wrap, frozen=True)), batch()
    before = copies(network.state)
    for _ in range(3):
        network.forward(x, training=True)
    moved = {
        name for name, array in network.state.items() if not np.array_equal(array, before[name])
    }
    assert moved == {f"{place}.population_{of}" for place in (0, 5) for of in ("mean", "variance")}
    assert gradient_check(network, batch(dtype=np.float64))


@each_wrap
def test_it_may_be_frozen_and_thawed_later(wrap):
    network, other, x = Sequential(layers(wrap)), Sequential(layers(wrap, frozen=True)), batch()
    network.forward(x, training=True)
    for name, array in network.state.items():
        other.state[name][...] = array
    the_norm(network).frozen = True
    assert np.array_equal(network.forward(x, training=True), other.forward(x, training=True))
    the_norm(network).frozen = False
    before = the_norm(network).population_mean.copy()
    network.forward(x, training=True)
    assert not np.array_equal(the_norm(network).population_mean, before)
    with pytest.raises(TypeError, match="frozen: expected True or False"):
        the_norm(network).frozen = 1


def test_exact_statistics_leave_a_frozen_layer_as_it_is():
    network = Sequential(layers(lambda norm: norm, frozen=True))
    before = network[2].population_mean.copy()
    network.recompute_population(batch(30))
    assert np.array_equal(network[2].population_mean, before)


def test_a_network_of_frozen_layers_alone_takes_what_is_not_finite():
    network, x = Sequential([BatchNorm(6, frozen=True), ReLU()]), batch()
    x[0, 0] = np.nan
    y = network.forward(x, training=True)
    assert np.isnan(y[0, 0])
    assert np.isfinite(y[1:]).all()


# momentum=None


@pytest.mark.parametrize("unbiased", [False, True], ids=["biased", "unbiased"])
@each_wrap
def test_without_momentum_the_population_is_the_mean_of_all_batches(wrap, unbiased):
    network = Sequential(layers(wrap, momentum=None, unbiased_population=unbiased))
    norm, seen = the_norm(network), []
    for seed in range(7):
        network.forward(batch(4 + seed, seed=seed), training=True)
        rows = 4 + seed
        factor = rows / (rows - 1) if unbiased else 1
        seen.append((norm.batch_mean, norm.batch_variance * np.float32(factor)))
    for name, values in zip(("mean", "variance"), zip(*seen, strict=True), strict=True):
        found = norm.state[f"population_{name}"]
        np.testing.assert_allclose(found, np.mean(values, 0, np.float64), rtol=1e-6)
    assert norm.state["population_batches"] == 7


def test_it_is_exact_over_many_batches_and_shapes():
    norm, means = BatchNorm(3, momentum=None), []
    rng = np.random.default_rng(0)
    for _ in range(2000):
        x = rng.normal(5, 1, (2, 3)).astype(np.float32)
        norm.forward(x, training=True)
        means.append(x.mean(0, dtype=np.float64))
    np.testing.assert_allclose(norm.population_mean, np.mean(means, 0), rtol=1e-7)


def test_a_batch_that_is_refused_does_not_count():
    norm, x = BatchNorm(6, momentum=None), batch()
    norm.forward(x, training=True)
    x[0, 0] = np.inf
    with pytest.raises(ValueError, match="finite"):
        norm.forward(x, training=True)
    norm.forward(batch())
    norm.forward(batch(), statistics="batch")
    assert norm.state["population_batches"] == 1


def test_the_count_begins_when_momentum_is_set_to_none_and_can_be_set_back():
    norm = filled(BatchNorm(6))
    assert "population_batches" not in norm.state
    norm.momentum = None
    norm.forward(batch(seed=1), training=True)
    np.testing.assert_allclose(norm.population_mean, norm.batch_mean, rtol=1e-6)
    norm.state["population_batches"][...] = 0
    norm.forward(batch(seed=2), training=True)
    np.testing.assert_allclose(norm.population_mean, norm.batch_mean, rtol=1e-6)
    norm.momentum = 0.5
    assert "population_batches" not in norm.state
    assert "momentum=None" in repr(BatchNorm(6, momentum=None))


@pytest.mark.parametrize(
    "again",
    [
        copy.copy,
        copy.deepcopy,
        lambda network: pickle.loads(pickle.dumps(network)),
        lambda network: network.astype(np.float64).astype(np.float32),
    ],
)
def test_copies_and_files_go_on_counting_apart(again, tmp_path):
    network = Sequential([BatchNorm(6, momentum=None), Dense(6, 3, rng=0)])
    network.forward(batch(seed=1), training=True)
    other = again(network)
    other.forward(batch(seed=2), training=True)
    assert (network.state["0.population_batches"], other.state["0.population_batches"]) == (1, 2)
    network.save(tmp_path / "net")
    other.load(tmp_path / "net")
    assert other.state["0.population_batches"] == 1
    for each in (network, other):
        each.forward(batch(seed=2), training=True)
    for name, array in network.state.items():
        np.testing.assert_allclose(array, other.state[name], rtol=1e-6)


def test_a_run_that_resumes_counts_on_to_the_same_bits(tmp_path):
    def network():
        return Sequential([BatchNorm(6, momentum=None), Dense(6, 3, rng=0)])

    data, options = (batch(32), np.arange(32) % 3), {"batch_size": 8, "progress": False}
    whole, first, second = network(), network(), network()
    fit(whole, data, optimizer=SGD(0.1), steps=9, **options)
    options["checkpoint"] = tmp_path / "run"
    fit(first, data, optimizer=SGD(0.1), steps=4, **options)
    fit(second, data, optimizer=SGD(0.1), steps=9, resume=True, **options)
    assert second.state["0.population_batches"] == 9
    for name, array in whole.state.items():
        np.testing.assert_array_equal(array, second.state[name])
    assert np.array_equal(whole.parameter_vector, second.parameter_vector)


def test_the_tape_shows_the_mean_of_all_batches_and_moves_nothing():
    network = Sequential([BatchNorm(6, momentum=None), Dense(6, 3, rng=0)])
    tape = network.tape(batch(), np.arange(8) % 3)
    assert network.state["0.population_batches"] == 0
    assert "np.add(count_1, 1, out=count_1)" in str(tape)
