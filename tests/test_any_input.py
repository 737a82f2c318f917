"""Whatever way an array lies in memory, and whichever thread computes, the result is the same."""

import sys
import threading

import numpy as np
import pytest
from test_cases import ONE_FUNCTION, forward, make, results

from npbn import (
    SGD,
    Adam,
    BatchNorm,
    Dense,
    Dropout,
    LeakyReLU,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
    fit,
    functional,
    training_steps,
)
from npbn.testing import CASES

ACTIVATIONS = [ReLU, LeakyReLU, Sigmoid, Tanh]


def network(seed=0, activation=ReLU):
    rng = np.random.default_rng(seed)
    layers = [Dense(6, 16, use_bias=False, rng=rng), BatchNorm(16), activation()]
    layers += [Dropout(0.3, rng=seed), Dense(16, 8, rng=rng), BatchNorm(8), activation()]
    return Sequential([*layers, Dense(8, 3, rng=rng)])


def data(rows=90, seed=0):
    images = np.random.default_rng(seed).random((rows, 6)).astype(np.float32)
    return images, images.reshape(rows, 3, 2).sum(2).argmax(1)


# Strides, read-only and memory-mapped input


def test_a_network_takes_any_layout(laid_out, assert_close):
    images, labels = data()
    one, other = network(), network()
    y, y_other = one.forward(images, training=True), other.forward(laid_out(images), training=True)
    assert type(y_other) is np.ndarray
    assert_close(y_other, y)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    dx = one.backward(dy, input_gradient=True)
    dx_other = other.backward(laid_out(dy), input_gradient=True)
    assert_close(dx_other, dx)
    assert_close(other.gradient_vector, one.gradient_vector)
    for name, value in one.state.items():
        assert_close(other.state[name], value)
    assert_close(one.predict_probabilities(laid_out(images)), one.predict_probabilities(images))
    assert one.accuracy(laid_out(images), labels) == one.accuracy(images, labels)
    one.recompute_population(images)
    other.parameter_vector[...] = one.parameter_vector
    other.recompute_population(laid_out(images), batch_size=37)
    for name, value in one.state.items():
        assert_close(other.state[name], value)


@pytest.mark.parametrize("place", ["train", "validation"])
def test_training_on_any_layout_gives_the_same_bits(laid_out, place):
    def trained(change):
        each = network()
        pairs = {"train": data(), "validation": data(70, seed=1)}
        images, labels = pairs[place]
        pairs[place] = (change(images), np.repeat(labels, 2)[::2])
        history = fit(
            each,
            **pairs,
            optimizer=Adam(0.01),
            steps=9,
            batch_size=20,
            sample_every=2,
            progress=False,
        )
        return history.losses, history.validation_accuracies, each.parameter_vector.tobytes()

    assert trained(laid_out) == trained(np.array)


@pytest.mark.parametrize("name", CASES)
def test_what_comes_of_a_mapped_array_is_plain(name, dtype):
    from conftest import memory_mapped

    inputs = make(name, dtype=dtype)
    mapped = {k: memory_mapped(v) if isinstance(v, np.ndarray) else v for k, v in inputs.items()}
    expected = results(functional, name, inputs)
    found = results(functional, name, mapped)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert type(one) is type(other)
    assert name in ONE_FUNCTION or type(forward(functional, name, mapped)[0]) is np.ndarray


# Threads


def in_threads(functions):
    """What the functions return, all running at once and taking turns often."""
    found = [None] * len(functions)
    together = threading.Barrier(len(functions), timeout=10)

    def run(place):
        together.wait()
        found[place] = functions[place]()

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=run, args=(n,)) for n in range(len(functions))]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    finally:
        sys.setswitchinterval(before)
    return found


@pytest.fixture
def one_blas_thread():
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


def test_networks_in_threads_give_the_same_bits_as_alone(one_blas_thread):
    def training(seed):
        def run():
            each = network(seed, ACTIVATIONS[seed % 4])
            images, labels = data(90 + seed)
            optimizer = [SGD(0.1, momentum=0.9), Adam(0.01)][seed % 2]
            losses = [
                loss
                for _, loss in training_steps(
                    each, (images, labels), optimizer=optimizer, steps=60, batch_size=20, seed=seed
                )
            ]
            each.recompute_population(images)
            state = [value.tobytes() for value in each.state.values()]
            return losses, each.parameter_vector.tobytes(), state, each.predict(images).tolist()

        return run

    runs = [training(seed) for seed in range(8)]
    assert in_threads(runs) == [run() for run in runs]


def test_operations_in_threads_give_the_same_bits_as_alone(one_blas_thread):
    def computing(name, seed):
        def run():
            shape = (40, 5 + seed % 3)
            found = [results(functional, name, make(name, shape, np.float32)) for _ in range(20)]
            return [[np.asarray(each).tobytes() for each in every] for every in found]

        return run

    runs = [computing(name, seed) for seed, name in enumerate(list(CASES) * 2)]
    assert in_threads(runs) == [run() for run in runs]


# Whatever NumPy is told to do about overflow, underflow and the like


@pytest.mark.parametrize("scale", [1, 1e-30, 1e30])
@pytest.mark.parametrize("name", CASES)
def test_a_caller_to_whom_numpy_raises_gets_the_same_results(name, scale):
    inputs = make(name, dtype=np.float32)
    first = next(iter(inputs))
    inputs[first] = inputs[first] * np.float32(scale)
    expected = [repr(each) for each in results(functional, name, inputs)]
    with np.errstate(all="raise"):
        got = results(functional, name, inputs)
    assert [repr(each) for each in got] == expected


def test_a_network_trains_on_tiny_and_large_numbers_where_numpy_raises():
    images, labels = data()
    for scale in (1e-30, 1, 1e12):
        with np.errstate(all="raise"):
            each = network(activation=Sigmoid)
            run = training_steps(
                each, (images * np.float32(scale), labels), optimizer=Adam(0.01), steps=3
            )
            assert np.isfinite([loss for _, loss in run]).all()
            each.accuracy(images * np.float32(scale), labels)
