"""The example's SyncBatchNorm: ranks, here threads, do together what BatchNorm does alone."""

import threading

import numpy as np
import pytest
from shared import MODES, in_threads
from sync_batch_norm_mpi import Alone, SyncBatchNorm

from npbn import BatchNorm, Dense, ReLU, Sequential, gradient_check


class Thread:
    """The communicator of one of several threads."""

    def __init__(self, rank, values, barrier):
        self.rank, self.size = rank, len(values)
        self._values, self._barrier = values, barrier

    def allgather(self, value):
        self._values[self.rank] = value
        self._barrier.wait()
        found = list(self._values)
        self._barrier.wait()
        return found


def communicators(size):
    values, barrier = [None] * size, threading.Barrier(size, timeout=10)
    return [Thread(rank, values, barrier) for rank in range(size)]


def filled(layer):
    """The layer with parameters and population statistics that are none of the first ones."""
    for each in (*layer.parameters.values(), *layer.state.values()):
        each[...] = np.random.default_rng(each.size).uniform(0.5, 1.5, each.shape)
    return layer


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(7, 5), (7, 3, 4, 5)], ids=str)
def test_ranks_agree_with_the_whole_batch(shape, dtype, mode):
    rng = np.random.default_rng(0)
    x, dy = (100 + rng.standard_normal(shape)).astype(dtype), rng.standard_normal(shape)
    dy, cuts = dy.astype(dtype), [1, 3]
    options = {"momentum": 0.9, "epsilon": 0.01, "dtype": dtype}
    layers = [filled(SyncBatchNorm(5, each, **options)) for each in communicators(3)]

    def of_rank(layer, x, dy):
        return lambda: (layer.forward(x, **mode), layer.backward(dy))

    found = in_threads(list(map(of_rank, layers, np.split(x, cuts), np.split(dy, cuts))))
    whole = filled(BatchNorm(5, **options))
    expected = whole.forward(x, **mode), whole.backward(dy)
    # The mean of float64 is rounded: at 100 that is a hundred times as much.
    near = {"rtol": 1e-6, "atol": 4e-6} if dtype == np.float32 else {"rtol": 0, "atol": 1e-12}
    for own, true in zip(map(np.concatenate, zip(*found, strict=True)), expected, strict=True):
        assert own.dtype == dtype
        np.testing.assert_allclose(own, true, **near)
    for name, true in whole.gradients.items():
        np.testing.assert_allclose(sum(each.gradients[name] for each in layers), true, **near)
    for layer in layers:
        for name, true in whole.state.items():
            np.testing.assert_allclose(layer.state[name], true, **near)


def test_its_derivatives_are_right_and_in_a_network_too():
    x, labels = np.random.default_rng(0).standard_normal((8, 5)), np.arange(8) % 3
    norm = SyncBatchNorm(5, Alone(), dtype=np.float64)
    assert gradient_check(norm, x)
    assert gradient_check(norm, x, training=False)
    network = Sequential([norm, ReLU(), Dense(5, 3, rng=0, dtype=np.float64)])
    assert gradient_check(network, x, labels)


def test_backward_is_of_the_last_forward_pass():
    x, dy = np.random.default_rng(0).standard_normal((2, 8, 5))
    norm = SyncBatchNorm(5, Alone(), dtype=np.float64)
    norm.forward(x, training=True)
    norm.forward(x)
    np.testing.assert_allclose(norm.backward(dy), dy / np.sqrt(norm.population_variance + 1e-3))
    norm.forward(x)
    norm.forward(x, training=True)
    norm.backward(dy)
    with pytest.raises(RuntimeError, match="backward without a forward pass"):
        norm.backward(dy)
