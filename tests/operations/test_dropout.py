"""Dropout: its three readings agree, the mean is kept, the same seed draws the same mask."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from npbn import Dropout, functional, reference

RATE = 0.4


def make(shape=(7, 5), dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(dtype), rng.standard_normal(shape).astype(dtype)


def both_passes(room, x, dy, rng=3):
    y, cache = room.dropout_forward(x, rate=RATE, rng=rng)
    return y, room.dropout_backward(dy, cache)


# The three readings


@pytest.mark.parametrize("statistics", [None, "batch", "population"])
def test_the_three_readings_agree_in_training(statistics, shape, dtype, exact, assert_close):
    x, dy = make(shape, dtype)
    dropout = Dropout(RATE, rng=3)
    by_layer = dropout.forward(x, training=True, statistics=statistics), dropout.backward(dy)
    fast = both_passes(functional, x, dy)
    true = both_passes(reference, exact(x), exact(dy))
    for one, other, expected in zip(by_layer, fast, true, strict=True):
        assert one.dtype == other.dtype == dtype
        np.testing.assert_array_equal(one, other)
        assert_close(one, expected)


@pytest.mark.parametrize("statistics", [None, "batch", "population"])
def test_inference_is_the_identity(statistics, shape, dtype):
    x, dy = make(shape, dtype)
    rng = np.random.default_rng(0)
    before = rng.bit_generator.state
    dropout = Dropout(RATE, rng=rng)
    y, dx = dropout.forward(x, statistics=statistics), dropout.backward(dy)
    np.testing.assert_array_equal(y, x)
    np.testing.assert_array_equal(dx, dy)
    assert not np.may_share_memory(y, x)
    assert not np.may_share_memory(dx, dy)
    assert rng.bit_generator.state == before


# Laws

rates = st.floats(0, 0.99)
seeds = st.integers(0, 2**32 - 1)
law = settings(derandomize=True, deadline=None, max_examples=50)


@law
@given(rates, seeds)
@example(0.0, 0)
def test_a_value_is_dropped_or_scaled_and_its_gradient_likewise(rate, seed):
    x, dy = make(seed=seed)
    y, cache = functional.dropout_forward(x, rate=rate, rng=seed)
    kept = y != 0
    np.testing.assert_allclose(y, np.where(kept, x / (1 - rate), 0), rtol=1e-14)
    dx = functional.dropout_backward(dy, cache)
    np.testing.assert_allclose(dx, np.where(kept, dy / (1 - rate), 0), rtol=1e-14)
    assert set(np.unique(cache.factor)) <= {0, 1 / (1 - rate)}


@law
@given(rates, seeds)
def test_the_share_is_the_rate_and_the_mean_is_kept(rate, seed):
    ones = np.ones((400, 50), np.float32)
    y, _ = functional.dropout_forward(ones, rate=rate, rng=seed)
    deviation = np.sqrt(rate * (1 - rate) / ones.size)
    assert abs((y == 0).mean() - rate) <= 6 * deviation + 1e-6
    assert abs(y.mean(dtype=np.float64) - 1) <= 6 * deviation / (1 - rate) + 1e-6


# Randomness


def test_the_same_seed_draws_the_same_masks():
    x, _ = make((60, 100))
    first, second = Dropout(RATE, rng=5), Dropout(RATE, rng=np.random.default_rng(5))
    masks = []
    for _ in range(3):
        y = first.forward(x, training=True)
        np.testing.assert_array_equal(second.forward(x, training=True), y)
        masks.append(y == 0)
    assert (masks[0] != masks[1]).any()
    assert (masks[1] != masks[2]).any()
    other = Dropout(RATE, rng=6).forward(x, training=True)
    assert ((other == 0) != masks[0]).any()


def test_both_types_draw_the_same_mask():
    x, _ = make((60, 100))
    single = functional.dropout_forward(x.astype(np.float32), rate=RATE, rng=5)[0]
    double = functional.dropout_forward(x, rate=RATE, rng=5)[0]
    np.testing.assert_array_equal(single == 0, double == 0)


def test_no_seed_is_a_fresh_mask_each_time():
    x, _ = make((60, 100))
    y = [Dropout(RATE).forward(x, training=True) for _ in range(2)]
    y += [functional.dropout_forward(x, rate=RATE)[0] for _ in range(2)]
    assert len({each.tobytes() for each in y}) == 4


def test_numpys_global_randomness_is_left_alone():
    np.random.seed(0)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    dropout = Dropout(RATE)
    dropout.forward(make()[0], training=True)
    functional.dropout_forward(make()[0], rate=RATE)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002


# The layer, and what is refused


def test_the_layer_has_nothing_to_train_or_to_keep():
    dropout = Dropout(np.float64(0.5))
    assert not dropout.parameters
    assert not dropout.gradients
    assert not dropout.state
    assert dropout.dtype is None
    assert type(dropout.rate) is float
    assert repr(dropout) == "Dropout(0.5)"


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("rate", each) for each in (-0.1, 1, np.float32(1), np.nan, "0.5", None, True, np.ones(1))]
    + [("rng", each) for each in ("a", 0.5, True, -1, np.random.RandomState(0))],
    ids=lambda each: str(each).partition("(")[0],
)
def test_wrong_settings_are_refused(name, wrong):
    with pytest.raises((TypeError, ValueError), match=rf"^{name}: expected a"):
        Dropout(**{"rate": RATE, name: wrong})


# A mask of the caller's


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_mask_says_what_is_kept_and_nothing_is_drawn(dtype):
    rng = np.random.default_rng(3)
    x, dy = rng.standard_normal((2, 5, 3, 4)).astype(dtype)
    mask = rng.random(x.shape) < 0.5
    results = []
    for room in (functional, reference):
        y, cache = room.dropout_forward(x, rate=0.2, mask=mask)
        results.append((y, room.dropout_backward(dy, cache)))
    for array, (found, other) in zip((x, dy), zip(*results, strict=True), strict=True):
        np.testing.assert_allclose(found, np.where(mask, array / dtype(0.8), 0), rtol=1e-6)
        np.testing.assert_allclose(found, other, rtol=1e-6)
    assert np.array_equal(functional.dropout_forward(x, rate=0.2, mask=mask, out=y.copy())[0], y)


def test_the_mask_of_a_draw_gives_its_bits():
    x = np.random.default_rng(3).standard_normal((6, 4)).astype(np.float32)
    y, cache = functional.dropout_forward(x, rate=0.4, rng=5)
    again, _ = functional.dropout_forward(x, rate=0.4, mask=cache.mask)
    assert np.array_equal(again, y)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"mask": np.ones((2, 3))}, TypeError, "mask: expected an array of bools, got float64: pa"),
        ({"mask": [True]}, TypeError, r"mask: expected an array of bools, got list \[True\]: pass"),
        ({"mask": np.ones((3, 2), bool)}, ValueError, r"mask: expected shape \(2, 3\), got \(3, 2"),
        ({"mask": np.ones((2, 3), bool), "rng": 0}, ValueError, "rng: nothing to draw where a"),
    ],
)
def test_another_mask_is_refused(options, error, message):
    with pytest.raises(error, match=f"^{message}"):
        functional.dropout_forward(np.ones((2, 3)), rate=0.5, **options)
