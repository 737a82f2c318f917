"""Batches: every epoch shows every row once, and a stored state leads to the same batches."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shared import memory_of

from npbn.datasets import minibatches

BIT_GENERATORS = [
    np.random.PCG64,
    np.random.PCG64DXSM,
    np.random.MT19937,
    np.random.Philox,
    np.random.SFC64,
]

sizes = st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n)))
seeds = st.integers(0, 2**32)


def numbered(rows):
    """Images and labels that tell which row they are."""
    labels = np.arange(rows)
    return np.repeat(labels, 6).reshape(rows, 2, 3).astype(np.float32), labels


def take(batches, count):
    return [next(batches) for _ in range(count)]


def same(some, others):
    return len(some) == len(others) and all(
        np.array_equal(a, b)
        for pair, other in zip(some, others, strict=True)
        for a, b in zip(pair, other, strict=True)
    )


@given(size=sizes, count=st.integers(1, 40), seed=seeds)
def test_batches_are_full_and_an_epoch_shows_every_row_once(size, count, seed):
    rows, batch_size = size
    images, labels = numbered(rows)
    shown = []
    for batch_images, batch_labels in take(minibatches(images, labels, batch_size, seed), count):
        assert batch_images.shape == (batch_size, 2, 3)
        assert batch_images.dtype == images.dtype
        np.testing.assert_array_equal(batch_images[:, 1, 2], batch_labels)
        shown += batch_labels.tolist()
    for start in range(0, len(shown), rows):
        epoch = shown[start : start + rows]
        assert len(set(epoch)) == len(epoch)
        assert set(epoch) == set(range(rows)) or len(epoch) < rows


@given(size=sizes, seed=seeds)
def test_the_order_is_one_permutation_of_the_generator_after_the_other(size, seed):
    rows, batch_size = size
    rng = np.random.default_rng(seed)
    expected = np.concatenate([rng.permutation(rows) for _ in range(4)])
    batches = take(minibatches(*numbered(rows), batch_size, seed), 3 * rows // batch_size)
    shown = np.concatenate([labels for _, labels in batches])
    np.testing.assert_array_equal(shown, expected[: len(shown)])


def test_seed_and_generator_agree_and_none_is_fresh():
    data = numbered(40)
    first = take(minibatches(*data, 7, 3), 9)
    assert same(first, take(minibatches(*data, 7, np.random.default_rng(3)), 9))
    assert same(first, take(minibatches(*data, 7, np.random.SeedSequence(3)), 9))
    assert not same(first, take(minibatches(*data, 7, 4), 9))
    assert not same(take(minibatches(*data, 7, None), 9), take(minibatches(*data, 7, None), 9))


def test_batches_belong_to_the_caller():
    images, labels = numbered(10)
    images.flags.writeable = labels.flags.writeable = False
    batches = minibatches(images, labels, 4, 0)
    kept = []
    for batch in itertools.islice(batches, 6):
        for array, source in zip(batch, (images, labels), strict=True):
            assert not np.shares_memory(array, source)
            kept.append((array, array.copy()))
    for array, copy in kept:
        np.testing.assert_array_equal(array, copy)
        array[...] = -1
    np.testing.assert_array_equal(next(batches)[0][:, 0, 0] >= 0, True)


def test_any_memory_layout_gives_the_same_batches(laid_out):
    images, labels = numbered(11)
    expected = take(minibatches(images, labels, 4, 5), 8)
    for other in (laid_out(images), images.astype(images.dtype.newbyteorder())):
        assert same(take(minibatches(other, labels, 4, 5), 8), expected)
        batches = minibatches(other, labels, 4, 5)
        out = np.empty((4, 2, 3), other.dtype), np.empty(4, labels.dtype)
        for batch in expected:
            batches.next_into(*out)
            assert same([out], [batch])


@pytest.mark.parametrize("layout", ["C", "Fortran"])
def test_the_data_are_not_copied(layout):
    images = np.zeros((20_000, 100), np.float32, order=layout[0])
    labels = np.zeros(len(images), np.uint8)
    out = np.empty((10, 100), np.float32), np.empty(10, np.uint8)

    def some():
        batches = minibatches(images, labels, 10, 0)
        take(batches, 3)
        batches.next_into(*out)

    assert memory_of(some)[1] < images.nbytes / 10


def test_labels_and_images_may_be_of_any_type():
    words = np.array(["zero", "one", "two"])
    images, labels = next(minibatches(np.array([0, 1, 2], np.uint8), words, 3, 0))
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(labels, words[images])


@given(size=sizes, seed=seeds)
def test_next_into_writes_what_next_returns(size, seed):
    rows, batch_size = size
    data = numbered(rows)
    batches = minibatches(*data, batch_size, seed)
    out = np.empty((batch_size, 2, 3), np.float32), np.empty(batch_size, data[1].dtype)
    for expected in take(minibatches(*data, batch_size, seed), 12):
        batches.next_into(*out)
        assert same([out], [expected])


def test_next_into_refuses_what_does_not_fit_and_the_batch_is_still_to_come():
    images, labels = numbered(9)
    batches = minibatches(images, labels, 4, 0)
    good = np.empty((4, 2, 3), np.float32), np.empty(4, labels.dtype)
    frozen = good[0].copy()
    frozen.flags.writeable = False
    bad = [
        ((np.empty((5, 2, 3), np.float32), good[1]), ValueError),
        ((np.empty((4, 2, 3)), good[1]), ValueError),
        ((good[0], np.empty(4, np.int16)), ValueError),
        ((good[0], np.empty((4, 1), labels.dtype)), ValueError),
        ((frozen, good[1]), ValueError),
        ((images[:4], good[1]), ValueError),
        ((good[0], labels[:4]), ValueError),
        ((good[0].tolist(), good[1]), TypeError),
    ]
    for out, error in bad:
        with pytest.raises(error, match="out: "):
            batches.next_into(*out)
    batches.next_into(*good)
    assert same([good], take(minibatches(images, labels, 4, 0), 1))
    for out, error in bad:
        with pytest.raises(error, match="out: "):
            batches.next_into(*out)


@given(size=sizes, before=st.integers(0, 20), seed=seeds, kind=st.sampled_from(BIT_GENERATORS))
def test_a_state_stored_as_json_leads_to_the_same_batches(size, before, seed, kind):
    rows, batch_size = size
    data = numbered(rows)
    batches = minibatches(*data, batch_size, np.random.Generator(kind(seed)))
    take(batches, before)
    stored = json.dumps(batches.state())
    expected = take(batches, 12)
    batches.restore(json.loads(stored))
    assert same(take(batches, 12), expected)
    other = minibatches(*data, batch_size, np.random.Generator(kind(seed + 1)))
    take(other, 3)
    other.restore(json.loads(stored))
    assert json.dumps(other.state()) == stored
    assert same(take(other, 12), expected)


def test_a_state_stays_as_it_was():
    batches = minibatches(*numbered(10), 4, np.random.Generator(np.random.MT19937(0)))
    state = batches.state()
    stored = json.dumps(state)
    take(batches, 10)
    assert json.dumps(state) == stored
    batches.restore(state)
    state["epoch"]["state"]["key"][0] += 1
    batches.state()["epoch"]["state"]["key"][0] += 1
    assert json.dumps(batches.state()) == stored


def test_a_generator_that_others_draw_from_is_restored_with_the_batches():
    def run(rng, batches, count):
        return [(next(batches)[1].tolist(), rng.random()) for _ in range(count)]

    rng = np.random.default_rng(0)
    batches = minibatches(*numbered(10), 4, rng)
    run(rng, batches, 6)
    state = batches.state()
    expected = run(rng, batches, 6)
    rng = np.random.default_rng(1)
    batches = minibatches(*numbered(10), 4, rng)
    batches.restore(state)
    assert run(rng, batches, 6) == expected


def test_position_counts_rows_so_another_batch_size_goes_on_from_there():
    batches = minibatches(*numbered(12), 4, 0)
    order = np.concatenate([labels for _, labels in take(batches, 3)])
    batches.restore(minibatches(*numbered(12), 4, 0).state())
    next(batches)
    wider = minibatches(*numbered(12), 8, 1)
    wider.restore(batches.state())
    np.testing.assert_array_equal(next(wider)[1], order[4:])


def broken_states():
    good = minibatches(*numbered(10), 4, 0).state()
    twister = np.random.Generator(np.random.MT19937(0))
    return {
        "none": None,
        "empty": {},
        "other rows": minibatches(*numbered(11), 4, 0).state(),
        "position beyond": good | {"position": 11},
        "position negative": good | {"position": -1},
        "position a float": good | {"position": 1.0},
        "other generator": minibatches(*numbered(10), 4, twister).state(),
        "half a generator": good | {"epoch": {"bit_generator": "PCG64"}},
        "no generator": good | {"now": None},
        "huge": good | {"now": good["now"] | {"state": {"state": 2**200, "inc": 1}}},
    }


def test_a_generator_is_drawn_from_with_an_epochs_first_batch():
    """So who draws from it after a call that was refused, or after an epoch, gets the same."""
    rng = np.random.default_rng(3)
    batches = minibatches(*numbered(10), 5, rng)
    states = [rng.bit_generator.state]
    for _ in range(4):
        next(batches)
        states.append(rng.bit_generator.state)
    before, first, _, second, _ = states
    assert before == np.random.default_rng(3).bit_generator.state
    assert [before == first, first == second] == [False, False]
    assert states == [before, first, first, second, second]


@pytest.mark.parametrize("key", ["epoch", "now"])
@pytest.mark.parametrize("place", [-1, 625, 2**31 - 1])
@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox])
def test_a_state_that_would_read_beyond_a_generators_buffer_is_refused(kind, place, key):
    batches = minibatches(*numbered(10), 4, np.random.Generator(kind(0)))
    state = batches.state()
    bad = state[key]["state"] if kind is np.random.MT19937 else state[key]
    bad["pos" if kind is np.random.MT19937 else "buffer_pos"] = place
    with pytest.raises(ValueError, match=r"position from 0 to|must be between"):
        batches.restore(state)
    assert same(
        take(batches, 8), take(minibatches(*numbered(10), 4, np.random.Generator(kind(0))), 8)
    )


@pytest.mark.parametrize("kind", BIT_GENERATORS)
def test_a_state_that_a_generator_does_not_keep_whole_is_refused(kind):
    batches = minibatches(*numbered(10), 4, np.random.Generator(kind(0)))
    state = batches.state()
    with pytest.raises(ValueError, match="expected a state of"):
        batches.restore(state | {"now": state["now"] | {"uinteger": 0.5, "other": 1}})


@pytest.mark.parametrize("case", broken_states())
def test_a_wrong_state_is_refused_and_nothing_has_changed(case):
    data = numbered(10)
    batches = minibatches(*data, 4, 0)
    next(batches)
    with pytest.raises(ValueError, match="state: expected"):
        batches.restore(broken_states()[case])
    assert same(take(batches, 8), take(minibatches(*data, 4, 0), 9)[1:])


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((*numbered(5), 6), ValueError, "batch_size: expected at most 5.*got 6"),
        ((*numbered(0), 1), ValueError, "batch_size: expected at most 0"),
        ((*numbered(5), 0), ValueError, "batch_size: expected at least 1, got 0"),
        ((*numbered(5), 2.0), TypeError, "batch_size: expected a whole number"),
        ((*numbered(5), True), TypeError, "batch_size: expected a whole number"),
        ((numbered(5)[0], numbered(4)[1], 2), ValueError, r"\(5, 2, 3\) and \(4,\)"),
        ((numbered(5)[0], np.eye(5), 2), ValueError, r"\(5, 2, 3\) and \(5, 5\)"),
        ((np.array(1.0), np.array(1), 1), ValueError, r"got \(\) and \(\)"),
        (([[1.0]], numbered(1)[1], 1), TypeError, "images: expected an array"),
        ((numbered(2)[0], [0, 1], 1), TypeError, "labels: expected an array"),
    ],
)
def test_what_cannot_be_batched_is_refused_at_once(arguments, error, message):
    with pytest.raises(error, match=message):
        minibatches(*arguments, np.random.default_rng(0))


def test_a_wrong_generator_is_refused():
    with pytest.raises(TypeError, match="rng: expected"):
        minibatches(*numbered(5), 2, "seed")
