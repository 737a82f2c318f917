"""A label for each step of a sequence: training, evaluation and prediction take them."""

from functools import partial

import numpy as np
import pytest

from npbn import LSTM, SGD, Dense, Sequential, fit, functional, training_steps

IGNORING = partial(functional.softmax_cross_entropy, ignored_label=-1)


def data(rows=24, steps=5):
    """Sequences whose steps say themselves which class they are of, and a mask."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=(rows, steps))
    x = np.eye(3, dtype=np.float32)[labels]
    mask = np.arange(steps) < rng.integers(1, steps + 1, rows)[:, np.newaxis]
    return x, labels, mask


def network(**options):
    return Sequential([LSTM(3, 8, rng=0, **options), Dense(8, 3, rng=1)])


def run(each, *given, steps=200, **options):
    options = {"optimizer": SGD(1.0), "batch_size": 12, "progress": False} | options
    return fit(each, *given, steps=steps, **options)


def test_they_are_learnt_and_counted_one_by_one():
    each, (x, labels, _) = network(), data()
    history = run(each, (x, labels), (x, labels))
    assert history.final_validation_accuracy == 1
    assert each.predict(x).shape == labels.shape
    assert each.accuracy(x, labels) == 1
    wrong = labels.copy()
    wrong[0] = (wrong[0] + 1) % 3
    found = each.evaluate(x, wrong)
    assert found.accuracy == each.accuracy(x, wrong) == 1 - 1 / 24
    assert found.rows == found.confusion.sum() == labels.size
    np.testing.assert_allclose(each.predict_probabilities(x).sum(-1), 1, rtol=1e-6)


def test_a_step_is_that_of_the_loss_over_all_steps():
    (x, labels, _), trained, by_hand = data(12), network(), network()
    order = np.random.default_rng(0).permutation(12)
    [(_, loss)] = training_steps(
        trained, (x, labels), optimizer=SGD(0.5), steps=1, batch_size=12, seed=0
    )
    y = by_hand.forward(x[order], training=True)
    expected, dy = functional.softmax_cross_entropy(y, labels[order])
    assert loss == expected
    by_hand.backward(dy)
    SGD(0.5).step(by_hand)
    np.testing.assert_array_equal(trained.parameter_vector, by_hand.parameter_vector)


def test_masked_steps_count_in_no_loss_and_no_accuracy():
    each, (x, labels, mask) = network(), data()
    message = r"labels of masked steps would count in the loss: set train\[1\]\[~mask\] = -1"
    with pytest.raises(ValueError, match=message):
        run(each, (x, labels, mask))
    with pytest.raises(ValueError, match=message):
        run(each, (x, labels, mask), loss=IGNORING)
    with pytest.raises(ValueError, match="labels of masked steps would count"):
        each.evaluate(x, labels, mask=mask)
    with pytest.raises(ValueError, match="labels of masked steps would count"):
        each.tape(x, labels, mask=mask)
    kept = np.where(mask, labels, -1)
    x[~mask] = np.float32(1e6)
    history = run(each, (x, kept, mask), (x, kept, mask), loss=IGNORING)
    assert history.final_validation_accuracy == 1
    assert each.evaluate(x, kept, mask=mask, loss=IGNORING).rows == mask.sum()
    assert each.accuracy(x, labels, mask=mask) == 1
    labels[0, 0] = (labels[0, 0] + 1) % 3
    assert each.accuracy(x, labels, mask=mask) == 1 - 1 / mask.sum()


def test_a_tape_shows_the_loss_of_all_steps():
    each, (x, labels, mask) = network(), data(6)
    tape = each.tape(x, labels, optimizer=SGD(0.1))
    (block,) = (block for block in tape.blocks if "cross entropy" in str(block))
    assert "float32 (30, 3)" in str(block)
    masked = str(each.tape(x, mask=mask))
    assert "masked" in masked
    assert "masked" not in str(each.tape(x))
    for block in each.tape(x, mask=mask).blocks:
        exec(block.source, {"np": np, **block.arrays})
    with pytest.raises(ValueError, match=r"layer 0, mask: expected shape \(6, 5\)"):
        each.tape(x, mask=mask[:, 1:])
    with pytest.raises(TypeError, match="mask: expected an array of bools"):
        each.tape(x, mask=mask.astype(int))


@pytest.mark.parametrize(
    ("last_only", "change", "message"),
    [
        (
            False,
            lambda x, labels, mask: (x, labels[:, 0]),
            r"one label an example: write last_only",
        ),
        (True, lambda x, labels, mask: (x, labels), r"expected shape \(24,\), got \(24, 5\)$"),
        (True, lambda x, labels, mask: (x, np.eye(3, dtype=int)[labels[:, 0]]), "if they are one-"),
        (
            True,
            lambda x, labels, mask: (x.swapaxes(0, 1), labels[:, 0]),
            r"expected 24 sequences \(N, T, D\), one for each of train\[1\], got \(5, 24, 3\)",
        ),
        (True, lambda x, labels, mask: (x, mask, labels[:, 0]), "the mask before the targets"),
        (True, lambda x, labels, mask: (x, labels[:, 0], mask.T), r"train\[2\]: expected shape"),
    ],
    ids=["no last_only", "a label a step", "one-hot", "steps first", "mask second", "mask turned"],
)
def test_what_does_not_go_together_is_told_with_what_to_write(last_only, change, message):
    with pytest.raises(ValueError, match=message):
        run(network(last_only=last_only), change(*data()), steps=1)
