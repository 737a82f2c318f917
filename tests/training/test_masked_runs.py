"""Sequences of unequal length: the mask goes beside the data, in training, sampling, prediction."""

import copy

import numpy as np
import pytest

from npbn import SGD, BatchNorm, Dense, Flatten, Sequential, fit, functional, training_steps
from npbn.datasets.batching import Minibatches


def data(rows=40, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, (rows, 5, 3)).astype(np.float32)
    mask = np.arange(5) < rng.integers(1, 6, rows)[:, np.newaxis]
    x[~mask] = 1e6  # counts nowhere
    return x, rng.integers(2, size=rows), mask


def network():
    return Sequential([BatchNorm(3, momentum=0.5), Flatten(), Dense(15, 2, rng=0)])


def assert_same(one, other):
    np.testing.assert_array_equal(one.parameter_vector, other.parameter_vector)
    for name, value in one.state.items():
        np.testing.assert_array_equal(value, other.state[name])


def test_steps_hand_each_batch_its_rows_of_the_mask():
    x, labels, mask = data()
    trained, by_hand = network(), network()
    steps = training_steps(trained, (x, labels, mask), optimizer=SGD(0.1), steps=7, batch_size=12)
    losses = [loss for _, loss in steps]
    batches = Minibatches(np.arange(len(x)), labels, 12, 0)
    for expected in losses:
        rows, own = next(batches)
        y = by_hand.forward(x[rows], training=True, mask=mask[rows])
        loss, dy = functional.softmax_cross_entropy(y, own)
        assert loss == expected
        by_hand.backward(dy)
        SGD(0.1).step(by_hand)
    assert_same(trained, by_hand)


def test_prediction_takes_it_block_by_block(monkeypatch):
    (x, labels, mask), each = data(), network()
    fit(each, (x, labels, mask), optimizer=SGD(0.1), steps=5, batch_size=12, progress=False)
    expected = each.forward(x, mask=mask)
    assert abs(expected).max() < 100
    monkeypatch.setattr("npbn.network.inference.ROWS", 7)
    monkeypatch.setattr("npbn.network.inference.BYTES", 7 * 60)
    predicted = each.predict(x, mask=mask)
    np.testing.assert_array_equal(predicted, expected.argmax(1))
    probabilities = each.predict_probabilities(x, mask=mask)
    np.testing.assert_allclose(probabilities, functional.softmax(expected), rtol=1e-5)
    assert each.accuracy(x, labels, mask=mask) == np.mean(predicted == labels)
    assert each.evaluate(x, labels, mask=mask).accuracy == np.mean(predicted == labels)
    assert not np.array_equal(each.predict_probabilities(x), probabilities)


def test_a_mask_that_does_not_fit_is_refused_by_name():
    x, _, mask = data()
    for call in (network().predict, network().predict_probabilities):
        with pytest.raises(ValueError, match=r"^mask: expected "):
            call(x, mask=mask[1:])


def test_samples_take_that_of_validation_and_training_rows():
    validation, each = data(30, seed=1), network()
    options = {"optimizer": SGD(0.1), "steps": 6, "batch_size": 12, "sample_training": 20}
    history = fit(each, data(), validation, sample_every=5, progress=False, **options)
    x, labels, mask = validation
    assert history.final_validation_accuracy == each.accuracy(x, labels, mask=mask)
    assert np.isfinite(history.validation_losses).all()
    x, labels, mask = (array[::2] for array in data())
    assert history.final_training_accuracy == each.accuracy(x, labels, mask=mask)


def test_a_run_goes_on_to_the_same_bits_and_only_with_the_same_mask(tmp_path):
    def run(each, steps, given=None, **options):
        optimizer = SGD(0.1, momentum=0.9)
        options = {"optimizer": optimizer, "batch_size": 12, "progress": False} | options
        return fit(each, given or data(), steps=steps, **options)

    whole, cut, again = network(), network(), network()
    run(whole, 9)
    options = {"checkpoint": tmp_path / "run.npz", "resume": True}
    run(cut, 4, **options)
    x, labels, mask = data()
    with pytest.raises(ValueError, match="holds another run, its data"):
        run(copy.deepcopy(cut), 9, (x, labels, ~mask | (np.arange(5) == 0)), **options)
    run(again, 9, **options)
    assert_same(whole, again)


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda mask: mask.astype(int), TypeError, "an array of bools, got int64"),
        (lambda mask: mask[:-1], ValueError, r"expected shape \(40, 5\), got \(39, 5\)"),
        (lambda mask: mask[:, :4], ValueError, r"expected shape \(\d+, 5\), got \(\d+, 4\)"),
    ],
)
def test_a_wrong_mask_is_refused(wrong, error, message):
    x, labels, mask = data()
    each = network()
    before = each.parameter_vector.copy()
    given = x, labels, wrong(mask)
    with pytest.raises(error, match=message):
        list(training_steps(each, given, optimizer=SGD(0.1), steps=1, batch_size=12))
    with pytest.raises(error, match=message):
        each.predict(x, mask=wrong(mask))
    np.testing.assert_array_equal(each.parameter_vector, before)
