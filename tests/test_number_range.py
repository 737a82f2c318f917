"""Batch norm of the largest and smallest numbers, whose squares or shares of a mean overflow."""

import copy

import numpy as np
import pytest
from exactness import BOUNDS, column_errors

from npbn import BatchNorm, Dense, ReLU, Sequential, functional


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


@pytest.mark.parametrize("rows", [2, 60, 1000, pytest.param(70000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("size", [1e-38, 1e-37, 1e-33, 1e-25, 1e-18, 1e18, 1e20, 1e30, 1e38])
@pytest.mark.parametrize("epsilon", [0, 1e-30, 1e-3, 10])
def test_columns_of_one_size(rows, size, epsilon):
    side = np.random.default_rng(0).uniform(-1, 1, (rows, 3)) + np.array([0, 0.5, 2])
    assert_each_column_exact(size * side, epsilon)


@pytest.mark.parametrize("rows", [2, 60, 1000, 20000])
@pytest.mark.parametrize("epsilon", [1e-30, 1e-3])
def test_columns_of_every_size_side_by_side(rows, epsilon):
    sizes = np.array([0, 1e-38, 1e-20, 1e-3, 1, 1e10, 1e19, 1e38, 0])
    x = np.random.default_rng(0).uniform(-1, 1, (rows, 9)) * sizes
    x[:, -1] = 7
    assert_each_column_exact(x, epsilon)


@pytest.mark.parametrize("size", [1e-307, 1e-200, 1e160, 1e307])
def test_float64(size):
    x = np.random.default_rng(0).uniform(-1, 1, (60, 3)) + np.array([0, 0.5, 2])
    assert_each_column_exact(size * x, 1e-3, np.float64)


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
