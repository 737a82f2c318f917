"""Predictions, exact population statistics, folding: what a trained network is used for."""

from functools import partial

import numpy as np
import pytest
from shared import in_threads, memory_of
from small_network import (
    Identity,
    Residual,
    Scale,
    assert_same,
    batch,
    copies,
    gradients,
    labels,
    small,
    train,
)

from npbn import BatchNorm, Dense, Dropout, LeakyReLU, ReLU, Sequential, Sigmoid, Tanh, functional
from npbn.layers.running_average import mean_and_variance

# Predictions


def test_probabilities_sum_to_one_and_agree_with_predict():
    network, x = small(), batch(1203)
    probabilities = network.predict_probabilities(x)
    assert probabilities.sum(1) == pytest.approx(np.ones(1203), abs=1e-6)
    assert np.array_equal(probabilities.argmax(1), network.predict(x))
    assert probabilities == pytest.approx(functional.softmax(network.forward(x)), abs=1e-6)


def test_accuracy_is_a_share():
    network, x = small(), batch(1203)
    truth = network.predict(x)
    assert network.accuracy(x, truth) == 1.0
    wrong = (truth + 1) % 3
    wrong[:401] = truth[:401]
    assert network.accuracy(x, wrong.astype(np.uint8)) == 401 / 1203
    assert type(network.accuracy(x, truth)) is float


def test_an_accuracy_needs_one_prediction_an_image():
    network, x = Sequential([Dense(4, 3, rng=0)]), np.ones((50, 20, 4), np.float32)
    message = r"labels: expected shape \(50, 20\) for outputs \(50, 20, 3\), got \(50,\), one label"
    with pytest.raises(ValueError, match=message + " an example: write last_only=True"):
        network.accuracy(x, labels(50))
    with pytest.raises(ValueError, match=r"one label an example: write Flatten\(\)"):
        network.accuracy(x[:, :, np.newaxis], labels(50))
    with pytest.raises(ValueError, match=r"labels: expected shape \(50, 20\), got \(50, 10\)"):
        network.accuracy(x, np.zeros((50, 10), int))


def test_the_classes_of_an_accuracy_are_those_of_every_block():
    class Some(Identity):
        """Of three classes, or of two where x is negative."""

        def forward(self, x):
            return x[:, : 2 if x[0, 0] < 0 else 3]

    network, x = Sequential([Some()]), np.abs(batch(1203))
    x[500:] *= -1
    truth = network.predict(x)
    assert network.accuracy(x, truth % 2) == np.mean(truth == truth % 2)
    truth[0] = 2
    with pytest.raises(ValueError, match="labels: expected classes 0 to 1, got 2"):
        network.accuracy(x, truth)


def test_with_batch_statistics_all_of_x_is_one_batch():
    network, x = small(), batch(1203)
    whole = network.forward(x, statistics="batch").argmax(1)
    assert np.array_equal(network.predict(x, statistics="batch"), whole)


def test_no_statistics_named_are_the_populations():
    network = small()
    train(network)
    expected = network.predict_probabilities(batch())
    found = network.predict_probabilities(batch(), statistics=None)
    np.testing.assert_array_equal(found, expected)
    data = batch(), labels()
    assert network.accuracy(*data, statistics=None) == network.accuracy(*data)
    found = network.layer_by_layer(batch(), statistics=None)
    for run, expected in zip(found, network.layer_by_layer(batch()), strict=True):
        np.testing.assert_array_equal(run.y, expected.y)


def test_one_image_with_its_own_statistics_says_nothing():
    network = small()
    train(network)
    y = [network.predict_probabilities(x[None], statistics="batch") for x in batch(50)]
    assert all(np.array_equal(each, y[0]) for each in y)


def test_a_pending_backward_pass_stays():
    network = Sequential([Dense(6, 5, rng=0), BatchNorm(5), Scale(5), Dense(5, 3, rng=1)])
    y = network.forward(batch(), training=True)
    expected = gradients(network, y)
    network.forward(batch(), training=True)
    network.predict(batch(4))
    network.accuracy(batch(), labels(), statistics="batch")
    network.predict_probabilities(batch())
    network.recompute_population(batch(30))
    assert np.array_equal(gradients(network, y), expected)


def test_of_nan_the_class_is_zero():
    network = small()
    network.layers[-1].bias[1] = np.nan
    network.parameter_vector[:] = np.nan
    assert not network.predict(batch()).any()


class Stateful(Identity):
    """Works on an attribute of its own."""

    def forward(self, x):
        self.kept = x
        for _ in range(9):
            self.kept = self.kept + 1
        return self.kept


THREADED = {
    "the package's layers": small,
    "a reader's layer": lambda: Sequential([Dense(6, 5, rng=0), Stateful(), BatchNorm(5), Tanh()]),
    "a reader's network": lambda: Residual([Dense(6, 6, rng=0), Stateful(), Scale(6)]),
    "one within": lambda: Sequential([Residual([Dense(6, 6, rng=0), Sigmoid()]), Identity()]),
}


@pytest.mark.parametrize("make", THREADED.values(), ids=THREADED)
def test_several_threads_at_once_get_what_each_alone_gets(make):
    def predicted(network, place):
        """Of two shapes in turn, which all threads have in common, and data which they have not."""
        x = [batch(20 + n % 2, seed=place) for n in range(10)]
        return [network.predict_probabilities(each).tobytes() for each in x]

    expected = [predicted(make(), place) for place in range(4)]
    for _ in range(15):  # new networks, that keep nothing yet
        shared = make()
        found = in_threads([partial(predicted, shared, place) for place in range(4)])
        assert found == expected


WIDE = {
    "x": lambda: (200_000, [BatchNorm(200_000), ReLU(), Dense(200_000, 3, rng=0)]),
    "hidden": lambda: (
        2,
        [Dense(2, 200_000, rng=0), BatchNorm(200_000), ReLU(), Dense(200_000, 3, rng=1)],
    ),
}
USES = {
    "predict": lambda network, x: network.predict(x),
    "predict_probabilities": lambda network, x: network.predict_probabilities(x),
    "accuracy": lambda network, x: network.accuracy(x, np.zeros(len(x), int)),
    "recompute_population": lambda network, x: network.recompute_population(x),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("wide", WIDE.values(), ids=WIDE)
def test_of_large_rows_few_are_held_at_once(wide, use):
    features, layers = wide()
    network = Sequential(layers)
    x = np.broadcast_to(np.arange(features, dtype=np.float32), (200, features))
    assert memory_of(lambda: use(network, x))[1] < 200 * 200_000 * 4 / 2


# Exact statistics


@pytest.mark.parametrize("batch_size", [7, 1000])
@pytest.mark.parametrize("unbiased", [False, True])
def test_exact_statistics_are_those_of_all_images_layer_by_layer(unbiased, batch_size):
    dense = [Dense(n, m, use_bias=False, rng=n) for n, m in ((6, 5), (5, 4))]
    norm = [BatchNorm(m, unbiased_population=unbiased) for m in (5, 4)]
    network = Sequential([dense[0], norm[0], Tanh(), Dropout(0.5, rng=0), dense[1], norm[1]])
    x = batch(60)
    network.recompute_population(x, batch_size=batch_size)
    for place in (1, 5):
        reaches = x
        for layer in network.layers[:place]:
            reaches = layer.forward(reaches)
        own, reaches = network.layers[place], reaches.astype(np.float64)
        assert own.population_mean == pytest.approx(reaches.mean(0), rel=1e-5, abs=1e-6)
        variance = reaches.var(0, ddof=int(unbiased))
        assert own.population_variance == pytest.approx(variance, rel=1e-5)


@pytest.mark.parametrize("size", [1e-20, 1.0, 1e15])
@pytest.mark.parametrize("ratio", [0, 1e4])
def test_statistics_of_blocks_are_those_of_the_whole(size, ratio):
    x = np.random.default_rng(3).standard_normal((100, 4)) + ratio
    x = (x * size).astype(np.float32)
    mean, variance, count = mean_and_variance(x[start : start + 30] for start in (0, 30, 60, 90))
    whole = x.astype(np.longdouble)
    assert count == 100
    assert np.abs(mean / whole.mean(0) - 1).max() < 1e-13
    assert np.abs(variance / whole.var(0) - 1).max() < 1e-10


def test_exact_statistics_of_feature_maps():
    x = np.random.default_rng(0).normal(3, 2, (10, 4, 5, 3)).astype(np.float32)
    network = Sequential([BatchNorm(3)])
    network.recompute_population(x, batch_size=4)
    assert network.layers[0].population_mean == pytest.approx(x.mean((0, 1, 2)), rel=1e-5)


def test_of_two_images_the_unbiased_variance_is_over_one_and_of_one_image_it_is_zero():
    norm = BatchNorm(6, unbiased_population=True)
    network, x = Sequential([norm]), batch(2)
    network.recompute_population(x)
    assert norm.population_variance == pytest.approx(x.var(0, ddof=1), rel=1e-5)
    network.recompute_population(x[:1])
    assert (norm.population_variance == 0).all()


def spoiled():
    network = small()
    network.layers[3].weight[0, 0] = np.inf
    return network


NOT_FINITE = {
    "an infinity": (lambda: small(dtype=np.float64), batch(dtype=np.float64) * np.inf, 1),
    "too large to square": (lambda: small(dtype=np.float64), batch(dtype=np.float64) * 1e200, 1),
    "a weight": (spoiled, batch(40), 4),
}


def test_a_constant_feature_without_epsilon_has_statistics_as_any():
    network = Sequential([BatchNorm(6, epsilon=0), BatchNorm(6)])
    network.recompute_population(np.ones((8, 6), np.float32))
    assert (network.state["0.population_variance"] == 0).all()
    assert (network.forward(np.ones((8, 6), np.float32)) == 0).all()


@pytest.mark.parametrize(("make", "x", "place"), NOT_FINITE.values(), ids=NOT_FINITE)
def test_statistics_that_are_not_finite_are_refused_and_change_nothing(make, x, place):
    network = make()
    before = copies(network.state)
    with pytest.raises(ValueError, match=f"not finite on the way to layer {place}"):
        network.recompute_population(x)
    assert_same(network.state, before)


# Folding


@pytest.mark.parametrize("activation", [ReLU, Sigmoid, Tanh, LeakyReLU])
def test_a_folded_network_agrees_and_its_batch_norms_are_gone(activation):
    network = small(activation=activation)
    train(network, 50)
    folded = network.fold_batch_norm()
    assert not any(isinstance(layer, BatchNorm) for layer in folded.layers)
    y = network.forward(batch())
    assert folded.forward(batch()) == pytest.approx(y, rel=1e-5, abs=1e-6 * float(abs(y).max()))


def test_a_batch_norm_without_a_dense_before_it_stays():
    network = Sequential([BatchNorm(6), Dense(6, 5), ReLU(), BatchNorm(5), Dense(5, 3)])
    network.recompute_population(batch(100))
    folded = network.fold_batch_norm()
    assert repr(folded) == repr(network)
    assert np.array_equal(folded.forward(batch()), network.forward(batch()))
    folded.parameter_vector[:] = 0
    assert network.parameter_vector.any()


def test_numbers_out_of_range_are_folded_without_a_warning():
    norm = BatchNorm(2, epsilon=0)
    network = Sequential([Dense(2, 2, weight=np.eye(2, dtype=np.float32)), norm])
    norm.population_variance = np.array([0, 1e-30], np.float32)
    norm.gamma = np.array([1, 1e30], np.float32)
    weight = network.fold_batch_norm().layers[0].weight
    np.testing.assert_array_equal(weight, [[np.inf, 0], [np.nan, np.inf]])
