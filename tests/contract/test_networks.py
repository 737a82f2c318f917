"""What every network promises, with each layer in it: files, copies, training, layouts, threads."""

import copy

import numpy as np
import pytest
from operations import each_pair, make
from shared import COPIES, MODES, in_threads
from subjects import SUBJECTS, arrays_of, assert_same_arrays, statistics_of, upstream

from npbn import SGD, Adam, Sequential, fit, functional, gradient_check, training_steps
from npbn.layers import BatchNorm, Dense, Dropout, LeakyReLU, ReLU, Sigmoid
from npbn.testing import CASES


def network(subject, dtype=np.float32):
    """The layer between others; with rows of features it ends in three classes."""
    shape = subject.shape
    layers = [Dense(shape[-1], shape[-1], rng=0, dtype=dtype), subject.filled(dtype), LeakyReLU()]
    layers[0].bias[...] = np.linspace(-1, 1, shape[-1])
    y = Sequential(layers).forward(subject.batch(dtype))
    if y.ndim == 2:
        layers.append(Dense(y.shape[-1], 3, rng=1, dtype=dtype))
    return Sequential(copy.deepcopy(layers))


def labels(rows):
    return np.arange(rows) % 3


def trained(subject, steps=5):
    """A network after some steps, with all that can be remembered of them."""
    each, x = network(subject), subject.batch()
    for _ in range(steps):
        y = each.forward(x, training=True)
        each.backward(upstream(y))
        each.parameter_vector[...] -= np.float32(0.01) * each.gradient_vector
    return each


# With each layer


def test_its_gradients_are_right(subject, mode):
    each = network(subject)
    own = labels(subject.shape[0]) if len(subject.shape) == 2 else None
    report = gradient_check(each, subject.batch(np.float64), own, **mode)
    assert report, report
    assert {name for name in report.errors if name.startswith("d(1.")} == {
        f"d(1.{name})" for name in each.layers[1].parameters
    }


def test_a_table_of_it_is_printed(subject):
    each = network(subject)
    line = next(line for line in str(each).splitlines() if repr(each.layers[1]) in line)
    count = sum(value.size for value in each.layers[1].parameters.values())
    assert f"{count:,}" in line.split()


def test_a_file_brings_it_back(subject, tmp_path):
    each, other, x = trained(subject), network(subject), subject.batch(seed=5)
    assert not np.array_equal(each.forward(x), other.forward(x))
    each.save(tmp_path / "network.npz")
    other.load(tmp_path / "network.npz")
    assert_same_arrays_but_gradients(each, other)
    np.testing.assert_array_equal(each.forward(x), other.forward(x))


def assert_same_arrays_but_gradients(one, other):
    for kind in ("parameters", "state"):
        for name, array in getattr(one, kind).items():
            np.testing.assert_array_equal(array, getattr(other, kind)[name])


@pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES)
def test_a_copy_goes_its_own_way_and_its_arrays_are_in_its_vector(subject, make_copy):
    each, x = trained(subject), subject.batch(seed=5)
    other, third = make_copy(each), make_copy(each)
    assert_same_arrays(each, other)
    for one in (each, other):
        one.backward(upstream(one.forward(x, training=True)))
    assert_same_arrays(each, other)
    other.parameter_vector[...] = 0
    assert not any(array.any() for array in other.layers[1].parameters.values())
    assert_same_arrays_but_gradients(third, trained(subject))


def test_in_float64_it_computes_the_same(subject, assert_close):
    each, x = trained(subject), subject.batch()
    other = each.astype(np.float64)
    y = other.forward(x.astype(np.float64))
    assert y.dtype == np.float64
    assert_close(each.forward(x), y, units=200)


def test_folded_it_predicts_the_same(subject, assert_close):
    each, x = trained(subject), subject.batch()
    before = each.forward(x)
    folded = each.fold_batch_norm()
    assert_close(folded.forward(x), before, units=200)
    np.testing.assert_array_equal(each.forward(x), before)
    assert len(folded.layers) <= len(each.layers)


def test_fit_trains_it_to_the_same_bits_again(subject):
    if len(subject.shape) != 2:
        return
    images = np.concatenate([subject.batch(seed=seed) for seed in range(6)])
    data = images, labels(len(images))

    def run():
        each = network(subject)
        before = copy.deepcopy(each)
        history = fit(
            each, data, data, optimizer=Adam(0.01), steps=12, batch_size=14, progress=False
        )
        return each, before, history.losses

    each, before, losses = run()
    again, _, same = run()
    assert losses == same
    assert np.isfinite(losses).all()
    assert_same_arrays(each, again)
    for kind in ("parameters", "state"):
        for name, array in getattr(each.layers[1], kind).items():
            assert not np.array_equal(array, getattr(before.layers[1], kind)[name])


def test_exact_statistics_are_those_of_the_whole_data(subject, assert_close):
    each, x = network(subject), subject.batch()
    parameters = each.parameter_vector.copy()
    each.recompute_population(x)
    np.testing.assert_array_equal(each.parameter_vector, parameters)
    blocks = copy.deepcopy(each)
    blocks.recompute_population(x, batch_size=3)
    for name, array in statistics_of(each.layers[1]).items():
        assert not np.array_equal(array, subject.filled().state[name])
        assert_close(blocks.layers[1].state[name], array)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, -1])
def test_a_pass_that_is_not_finite_moves_no_state(subject, value, place):
    each, x = trained(subject), subject.batch()
    before = copy.deepcopy(dict(each.state))
    wrong = x.copy()
    wrong.flat[place] = value
    if each.state:
        with pytest.raises(ValueError, match=r"^x: .*finite"):
            each.forward(wrong, training=True)
    for mode in list(MODES.values())[1:]:
        each.forward(wrong, **mode)
    each.layers[0].weight.flat[place] = value
    each.forward(x, training=True)
    for name, array in each.state.items():
        np.testing.assert_array_equal(array, before[name])


def test_threads_predict_the_same(subject, one_blas_thread):
    each, x = trained(subject), subject.batch()
    expected = each.predict_probabilities(x)
    predicted = in_threads([lambda: each.predict_probabilities(x)] * 4)
    for one in predicted:
        np.testing.assert_array_equal(one, expected)


# With many layers


def whole(seed=0, activation=ReLU):
    rng = np.random.default_rng(seed)
    layers = [Dense(6, 16, use_bias=False, rng=rng), BatchNorm(16), activation()]
    layers += [Dropout(0.3, rng=seed), Dense(16, 8, rng=rng), BatchNorm(8), activation()]
    return Sequential([*layers, Dense(8, 3, rng=rng)])


def data(rows=90, seed=0):
    images = np.random.default_rng(seed).random((rows, 6)).astype(np.float32)
    return images, images.reshape(rows, 3, 2).sum(2).argmax(1)


def test_a_network_takes_any_layout(laid_out, assert_close):
    images, classes = data()
    one, other = whole(), whole()
    y, y_other = one.forward(images, training=True), other.forward(laid_out(images), training=True)
    assert type(y_other) is np.ndarray
    assert_close(y_other, y)
    dx = one.backward(upstream(y), input_gradient=True)
    dx_other = other.backward(laid_out(upstream(y)), input_gradient=True)
    assert_close(dx_other, dx)
    assert_close(other.gradient_vector, one.gradient_vector)
    for name, value in one.state.items():
        assert_close(other.state[name], value)
    assert_close(one.predict_probabilities(laid_out(images)), one.predict_probabilities(images))
    assert one.accuracy(laid_out(images), classes) == one.accuracy(images, classes)
    one.recompute_population(images)
    other.parameter_vector[...] = one.parameter_vector
    other.recompute_population(laid_out(images), batch_size=37)
    for name, value in one.state.items():
        assert_close(other.state[name], value)


@pytest.mark.parametrize("place", ["train", "validation"])
def test_training_on_any_layout_gives_the_same_bits(laid_out, place):
    def run(change):
        each = whole()
        pairs = {"train": data(), "validation": data(70, seed=1)}
        images, classes = pairs[place]
        pairs[place] = (change(images), np.repeat(classes, 2)[::2])
        options = {"steps": 9, "batch_size": 20, "sample_every": 2, "progress": False}
        history = fit(each, **pairs, optimizer=Adam(0.01), **options)
        return history.losses, history.validation_accuracies, each.parameter_vector.tobytes()

    assert run(laid_out) == run(np.array)


def test_a_network_trains_on_tiny_and_large_numbers_where_numpy_raises():
    images, classes = data()
    for scale in (1e-30, 1, 1e12):
        with np.errstate(all="raise"):
            each = whole(activation=Sigmoid)
            scaled = images * np.float32(scale)
            run = training_steps(each, (scaled, classes), optimizer=Adam(0.01), steps=3)
            assert np.isfinite([loss for _, loss in run]).all()
            each.accuracy(scaled, classes)


# Threads


@pytest.fixture
def one_blas_thread():
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


def test_networks_in_threads_give_the_same_bits_as_alone(one_blas_thread):
    simple = [
        subject
        for subject in SUBJECTS.values()
        if not arrays_of(subject.new()) and subject.takes((90, 16))
    ]

    def training(seed):
        def run():
            subject, rng = simple[seed % len(simple)], np.random.default_rng(seed)
            each = whole(seed, lambda: subject.maker(rng, (90, 16), np.float32))
            images, classes = data(90 + seed)
            optimizer = [SGD(0.1, momentum=0.9), Adam(0.01)][seed % 2]
            options = {"steps": 60, "batch_size": 20, "seed": seed}
            steps = training_steps(each, (images, classes), optimizer=optimizer, **options)
            losses = [loss for _, loss in steps]
            each.recompute_population(images)
            state = [value.tobytes() for value in each.state.values()]
            return losses, each.parameter_vector.tobytes(), state, each.predict(images).tolist()

        return run

    runs = [training(seed) for seed in range(8)]
    assert in_threads(runs) == [run() for run in runs]


def test_operations_in_threads_give_the_same_bits_as_alone(one_blas_thread):
    def computing(case):
        def run():
            inputs = make(case, dtype=np.float32)
            found = [case.results(functional, inputs) for _ in range(20)]
            return [[np.asarray(each).tobytes() for each in every.values()] for every in found]

        return run

    runs = [computing(case) for case in [*CASES.values()] * 2]
    assert in_threads(runs) == [run() for run in runs]


@each_pair
def test_threads_may_share_a_cache(case, one_blas_thread):
    inputs = make(case, dtype=np.float32)
    y, cache = case.forward(functional, inputs)

    def going_back(seed):
        def run():
            dy = upstream(y, seed)
            found = [case.backward(functional, dy, cache, inputs) for _ in range(60)]
            return [[each.tobytes() for each in every] for every in found]

        return run

    runs = [going_back(seed) for seed in range(4)]
    assert in_threads(runs) == [run() for run in runs]
