"""Batch norm at the ends of the range, where squares of the type's numbers overflow or vanish.

Small float32 arrays are exact throughout; large ones, and float64, where their docstring says.
"""

import copy

import numpy as np
import pytest
from exactness import BOUNDS, column_errors

from npbn import BatchNorm, Dense, ReLU, Sequential, functional, reference


def assert_each_column_exact(x, epsilon, dtype=np.float32):
    errors, cache, true = column_errors(x, epsilon, dtype=dtype)
    share = float(np.finfo(dtype).eps / np.finfo(np.float32).eps)
    for name, bound in BOUNDS.items():
        assert not errors[name] > bound * share, (name, errors[name])
    std = np.sqrt(true.variance + epsilon)
    assert not (abs(cache.mean - true.mean) / (abs(true.mean) + std)).max() > 1e-6 * share
    with np.errstate(over="ignore"):
        variance = true.variance.astype(dtype)
    np.testing.assert_allclose(cache.variance, variance, rtol=1e-6, atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("rows", [2, 60, 1000])
@pytest.mark.parametrize("size", [1e-38, 1e-37, 1e-33, 1e-25, 1e-18, 1e18, 1e20, 1e30, 1e38])
@pytest.mark.parametrize("epsilon", [0, 1e-30, 1e-3, 10])
def test_columns_of_one_size(rows, size, epsilon):
    side = np.random.default_rng(0).uniform(-1, 1, (rows, 3)) + np.array([0, 0.5, 2])
    assert_each_column_exact(size * side, epsilon)


@pytest.mark.parametrize(("rows", "power"), [(2, 38), (60, 38), (1000, 38), (20000, 14)])
@pytest.mark.parametrize("epsilon", [1e-30, 1e-3])
def test_columns_of_every_size_side_by_side(rows, power, epsilon):
    sizes = np.array([0, 1, 10.0**-power, 1e-3, 1, 1e10, 1e18, 10.0**power, 0])
    x = np.random.default_rng(0).uniform(-1, 1, (rows, 9)) * sizes
    x[:, -1] = 7
    assert_each_column_exact(x, epsilon)


LARGE = [(np.float32, 20000, 1e-30, 1e38), (np.float64, 60, 1e-290, 1e300)]
each_large = pytest.mark.parametrize(("dtype", "rows", "least", "most"), LARGE)


@each_large
@pytest.mark.parametrize("epsilon", [0, 1e-30, 1e-3])
def test_large_arrays_and_float64_within_the_promise(dtype, rows, least, most, epsilon):
    deviations = np.linspace(-1, 1, rows)[:, np.newaxis] * np.sqrt([3 * least, 3, 3 * most])
    for x in (deviations, deviations + np.sqrt([100 * least, 100, most])):
        assert_each_column_exact(x, epsilon, dtype)


@each_large
def test_beyond_it_no_feature_is_silently_beta(dtype, rows, least, most):
    x = (
        np.linspace(-1, 1, rows)[:, np.newaxis]
        * np.sqrt([3, 1e9, least / 100])
        * [1, np.sqrt(most), 1]
    )
    one = np.ones(3, dtype)
    y, cache = functional.batch_norm_forward(x.astype(dtype), one, one)
    np.testing.assert_array_equal(np.isfinite(cache.variance), [True, False, True])
    np.testing.assert_array_equal(np.isnan(y), np.broadcast_to([False, True, False], y.shape))


def test_gradients_and_parameters_of_any_size():
    x, dy = np.random.default_rng(0).standard_normal((2, 60, 3)).astype(np.float32)
    gamma, beta = np.array([[1e-27, 1, 1e27], [0, 0, 0]], np.float32)
    size = np.array([1e18, 1e18, 1e-18], np.float32)
    y, cache = functional.batch_norm_forward(size * x, gamma, beta, epsilon=0)
    expected, true = reference.batch_norm_forward(x.astype(np.float64), gamma, beta, epsilon=0)
    np.testing.assert_allclose(y / gamma, expected / gamma, rtol=1e-6, atol=1e-6)
    _, dgamma, dbeta = functional.batch_norm_backward(np.float32(1e21) * dy, cache)
    _, true_dgamma, true_dbeta = reference.batch_norm_backward(dy, true)
    np.testing.assert_allclose(dgamma / 1e21, true_dgamma, rtol=1e-5)
    np.testing.assert_allclose(dbeta / 1e21, true_dbeta, rtol=1e-5)


def test_a_deviation_that_the_type_cannot_hold():
    x, one = np.array([[3e38], [-3e38], [3e38]], np.float32), np.ones(1, np.float32)
    y, _ = functional.batch_norm_forward(x, one, 0 * one)
    np.testing.assert_allclose(y[:, 0], np.sqrt([0.5, 2, 0.5]) * [1, -1, 1], rtol=1e-6)


@pytest.mark.parametrize("rows", [2, 60, 1000])
def test_from_end_to_end_of_the_range(rows):
    x = np.linspace(-1, 1, 3 * rows).reshape(rows, 3) * float(np.finfo(np.float32).max)
    assert_each_column_exact(x, 1e-3)


@pytest.mark.parametrize("size", [1e-24, -1e-24, 1e-30, -1e-30, 1e-36, -1e-44])
def test_two_neighbouring_numbers(size):
    # Their mean is rounded to one of them.
    x = np.array([[size], [np.nextafter(np.float32(size), np.float32(0))]], np.float32)
    one = np.ones(1, np.float32)
    y, _ = functional.batch_norm_forward(x, one, 0 * one, epsilon=0)
    np.testing.assert_array_equal(y, np.sign(size) * np.array([[1], [-1]]))


def test_a_variance_that_is_too_large_when_unbiased_is_refused():
    norm = BatchNorm(1, momentum=0.4, unbiased_population=True)
    x = np.array([[1.8e19], [-1.8e19]], np.float32)
    with pytest.raises(ValueError, match="or its variance, is not finite"):
        norm.forward(x, training=True)
    assert np.isnan(Sequential([norm]).forward(x, training=True)).all()
    assert norm.population_variance == 1


def test_one_that_it_can_hold_unbiased_is_taken():
    norm = BatchNorm(1, momentum=0.5, unbiased_population=True)
    x = np.array([[1.2e19], [-1.2e19], [0]], np.float32)
    for layer in (norm, Sequential([norm])):
        assert np.isfinite(layer.forward(x, training=True)).all()
    assert norm.population_variance == pytest.approx(0.75 * 1.44e38, rel=1e-6)


def test_a_layer_of_its_own_gives_no_warning():
    norm = BatchNorm(1)
    norm.forward(np.array([[6e9], [-6e9]], np.float32), training=True)
    assert norm.population_variance == pytest.approx(0.01 * 3.6e19)


def test_one_infinity_spoils_its_column_alone():
    x = np.random.default_rng(0).standard_normal((60, 3)).astype(np.float32)
    x[7, 1] = np.inf
    one = np.ones(3, np.float32)
    y, _ = functional.batch_norm_forward(x, one, one)
    np.testing.assert_array_equal(np.isnan(y), np.broadcast_to([False, True, False], y.shape))


@pytest.mark.parametrize("size", [1e-35, 1e20])
@pytest.mark.parametrize("before", [[], [Dense(3, 3, weight=np.eye(3, dtype=np.float32))]])
def test_in_a_network_with_a_relu_behind(size, before):
    x = (size * np.random.default_rng(0).standard_normal((20, 3))).astype(np.float32)
    norm = BatchNorm(3, epsilon=0)
    expected = np.maximum(norm.forward(x, statistics="batch"), 0)
    network = Sequential([*copy.deepcopy(before), norm, ReLU()])
    y = network.forward(x, statistics="batch")
    np.testing.assert_allclose(y, expected, rtol=1e-6)
    assert (y > 1).any()


def test_in_training_statistics_that_the_type_cannot_hold_are_refused():
    x = (1e20 * np.random.default_rng(0).standard_normal((20, 3))).astype(np.float32)
    norm = BatchNorm(3)
    with pytest.raises(ValueError, match="or its variance, is not finite"):
        norm.forward(x, training=True)
    assert np.isnan(Sequential([norm]).forward(x, training=True)).all()
    np.testing.assert_array_equal(norm.population_variance, 1)
