"""The recurrent layer: its readings and PyTorch agree, masked steps are none."""

import re
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_oracles import assert_near, by_pytorch, mask_of, some_lengths, upstream

from npbn import (
    LSTM,
    RNN,
    BatchNorm,
    BatchNormLSTM,
    Dense,
    Layer,
    Sequential,
    functional,
    gradient_check,
    reference,
)
from npbn.numerics.denormals import quiet
from npbn.testing import CASES

STEMS = {"rnn": RNN, "lstm": LSTM}
each_stem = pytest.mark.parametrize("stem", STEMS)
each_last_only = pytest.mark.parametrize("last_only", [False, True], ids=["all", "last"])


def make(stem, shape=(4, 6, 3), dtype=np.float64, last_only=False, seed=0):
    inputs = CASES[stem].inputs(np.random.default_rng(seed), shape, dtype)
    return inputs | {"last_only": last_only}


def both_passes(room, stem, inputs, dy):
    y, cache = getattr(room, f"{stem}_forward")(**inputs)
    return y, *getattr(room, f"{stem}_backward")(dy, cache)


def filled(stem, inputs):
    names = ("input_weight", "recurrent_weight", "bias")
    units = len(inputs["recurrent_weight"])
    size, dtype = inputs["x"].shape[-1], inputs["x"].dtype
    layer = STEMS[stem](size, units, last_only=inputs["last_only"], dtype=dtype)
    for name in names:
        setattr(layer, name, inputs[name])
    return layer


def shape_of_y(inputs):
    y, _ = reference.rnn_forward(
        inputs["x"], np.ones((inputs["x"].shape[-1], 3)), np.ones((3, 3)), np.ones(3)
    )
    return y[:, -1] if inputs["last_only"] else y


# The three readings, and PyTorch's


@each_stem
@each_last_only
@settings(max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 6)),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 1000),
)
def test_the_readings_are_pytorchs(stem, last_only, shape, dtype, seed):
    inputs = make(stem, shape, dtype, last_only, seed)
    dy = upstream(shape_of_y(inputs), seed).astype(dtype)
    expected = by_pytorch(STEMS[stem].__name__, inputs, dy)
    assert_near(both_passes(functional, stem, inputs, dy), expected, dtype)
    layer = filled(stem, inputs)
    y, dx = layer.forward(inputs["x"], training=True), layer.backward(dy)
    assert_near((y, dx, *layer.gradients.values()), expected, dtype)
    if dtype == np.float64:
        assert_near(both_passes(reference, stem, inputs, dy), expected, dtype)


@each_stem
@each_last_only
@settings(max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 6)),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 1000),
)
def test_masked_steps_are_those_that_pytorchs_packed_sequences_lack(
    stem, last_only, shape, dtype, seed
):
    inputs = make(stem, shape, dtype, last_only, seed)
    lengths = some_lengths(*shape[:2], seed)
    mask = mask_of(lengths, shape[1])
    dy = upstream(shape_of_y(inputs), seed).astype(dtype)
    if not last_only:
        dy[~mask] = 0
    expected = by_pytorch(STEMS[stem].__name__, inputs, dy, lengths)
    inputs["x"][~mask] = np.nan
    rooms = [functional] + [reference] * (dtype == np.float64)
    for room in rooms:
        y, *gradients = both_passes(room, stem, inputs | {"mask": mask}, dy)
        if not last_only:
            # PyTorch has 0 where we, and Keras, carry the state on.
            ends = y[np.arange(len(y)), lengths - 1]
            assert np.array_equal(y[~mask], np.repeat(ends, shape[1] - lengths, 0))
            y = np.where(mask[..., np.newaxis], y, dtype(0))
        assert_near((y, *gradients), expected, dtype)
        assert not gradients[0][~mask].any()


# Masks


@each_stem
@each_last_only
def test_any_mask_will_do_and_what_it_leaves_out_may_be_anything(stem, last_only, dtype):
    inputs = make(stem, (5, 8, 3), dtype, last_only)
    mask = np.random.default_rng(3).random((5, 8)) < 0.5
    mask[0], mask[1] = False, True
    dy = upstream(shape_of_y(inputs)).astype(dtype)
    y, dx, *gradients = both_passes(functional, stem, inputs | {"mask": mask}, dy)
    true = both_passes(reference, stem, inputs | {"mask": mask}, dy)
    assert_near((y, dx, *gradients), true, dtype)
    # One sequence at a time, of the steps that it has.
    sums = [np.zeros_like(each) for each in gradients]
    for row, kept in enumerate(mask):
        own, own_dy = inputs["x"][row : row + 1, kept], dy[row : row + 1]
        if not kept.any():
            assert not y[row].any()
            assert not dx[row].any()
            continue
        if not last_only:
            # What is carried on over masked steps has their gradient, too.
            own_dy = np.zeros((1, kept.sum(), 3), dtype)
            for place, step in enumerate(np.cumsum(kept) - 1):
                if step >= 0:
                    own_dy[0, step] += dy[row, place]
        plain = both_passes(functional, stem, inputs | {"x": own}, own_dy)
        assert_near((y[row : row + 1] if last_only else y[row : row + 1, kept],), plain[:1], dtype)
        assert_near((dx[row : row + 1, kept],), plain[1:2], dtype)
        for total, each in zip(sums, plain[2:], strict=True):
            total += each
    assert_near(gradients, sums, dtype)
    inputs["x"][~mask] = np.nan
    again = both_passes(functional, stem, inputs | {"mask": mask}, dy)
    for one, other in zip((y, dx, *gradients), again, strict=True):
        np.testing.assert_array_equal(one, other)


@each_stem
def test_a_cache_with_a_mask_may_be_used_again(stem):
    inputs = make(stem)
    mask = mask_of(some_lengths(4, 6), 6)
    y, cache = getattr(functional, f"{stem}_forward")(**inputs, mask=mask)
    backward = getattr(functional, f"{stem}_backward")
    first = backward(upstream(y), cache)
    backward(upstream(y, 7), cache)
    for one, other in zip(first, backward(upstream(y), cache), strict=True):
        np.testing.assert_array_equal(one, other)


@each_stem
@each_last_only
def test_the_gradient_is_that_of_a_masked_forward(stem, last_only):
    inputs = make(stem, last_only=last_only)
    mask = mask_of(some_lengths(4, 6), 6)

    class Masked(Layer):
        def __init__(self):
            super().__init__()
            self.inner = filled(stem, inputs)

        def forward(self, x, training=False, statistics=None):
            return self.inner.forward(x, training, statistics, mask=mask)

        def backward(self, dy):
            return self.inner.backward(dy)

    report = gradient_check(Masked(), inputs["x"])
    assert report, report


@each_stem
def test_a_network_hands_the_mask_on_up_to_the_last_step(stem):
    """A BatchNorm behind last_only sees whole rows, one before it the steps that are some."""
    kind = STEMS[stem]
    mask = mask_of(some_lengths(6, 5), 5)
    x = np.random.default_rng(0).standard_normal((6, 5, 3)).astype(np.float32)
    seen = []

    class Told(Layer):
        def forward(self, x, mask=None):
            seen.append(mask)
            return x

        def backward(self, dy):
            return dy

    layers = [kind(3, 4, rng=0), BatchNorm(4), kind(4, 4, last_only=True, rng=1), BatchNorm(4)]
    # No warning: the first biases of two LSTMs are equal, but not drawn.
    network = Sequential([*layers, Told(), Sequential([Dense(4, 2, rng=2), BatchNorm(2)])])
    y = network.forward(x, training=True, mask=mask)
    assert seen == [None]
    network.backward(y)
    alone = kind(3, 4, rng=0).forward(x, mask=mask)
    alone = BatchNorm(4).forward(alone, training=True, mask=mask)
    alone = kind(4, 4, last_only=True, rng=1).forward(alone, mask=mask)
    alone = BatchNorm(4).forward(alone, training=True)
    alone = Dense(4, 2, rng=2).forward(alone)
    np.testing.assert_array_equal(BatchNorm(2).forward(alone, training=True), y)


@each_stem
def test_another_mask_is_refused(stem):
    inputs = make(stem)
    right = np.ones((4, 6), bool)
    layer = filled(stem, inputs)
    for wrong, error, message in (
        (right.astype(int), TypeError, "mask: expected an array of bools, got int64: pass"),
        (right[:, :-1], ValueError, r"mask: expected shape \(4, 6\), got \(4, 5\)"),
        (~right, ValueError, "mask: expected one True at least, got none"),
    ):
        with pytest.raises(error, match=message):
            getattr(functional, f"{stem}_forward")(**inputs, mask=wrong)
        with pytest.raises(error, match=message):
            layer.forward(inputs["x"], mask=wrong)


# The layer


@each_stem
def test_the_first_weights_are_scaled_and_orthogonal(stem):
    layer = STEMS[stem](400, 50, rng=0)
    gates = layer.bias.size // 50
    assert abs(layer.input_weight.std() * np.sqrt(400) - 1) < 0.02
    for turn in np.split(layer.recurrent_weight, gates, axis=1):
        np.testing.assert_allclose(turn @ turn.T, np.eye(50), atol=1e-5)
    expected = np.zeros((gates, 50))
    if gates == 4:
        expected[1] = 1
    assert np.array_equal(layer.bias, expected.reshape(-1))
    same, other = STEMS[stem](400, 50, rng=0), STEMS[stem](400, 50, rng=1)
    assert np.array_equal(same.recurrent_weight, layer.recurrent_weight)
    assert not np.array_equal(other.recurrent_weight, layer.recurrent_weight)
    double = STEMS[stem](400, 50, rng=0, dtype=np.float64)
    np.testing.assert_allclose(double.input_weight, layer.input_weight, rtol=1e-6)


@pytest.mark.parametrize(
    ("stem", "kind"),
    [("rnn", RNN), ("lstm", LSTM), ("lstm", partial(BatchNormLSTM, steps=6))],
    ids=["RNN", "LSTM", "BatchNormLSTM"],
)
def test_weights_that_are_given_are_copied_and_say_the_type(stem, kind):
    inputs = make(stem)
    for names in (["input_weight"], ["recurrent_weight"], ["input_weight", "recurrent_weight"]):
        own = {name: inputs[name] for name in names}
        layer = kind(3, 3, rng=0, **own)
        assert layer.dtype == np.float64
        for name, each in own.items():
            assert np.array_equal(getattr(layer, name), each)
            assert not np.may_share_memory(getattr(layer, name), each)
        assert kind(3, 3, dtype=np.float32, **own).dtype == np.float32
    for name in ("input_weight", "recurrent_weight"):
        with pytest.raises(ValueError, match=rf"^{name}: expected shape "):
            kind(3, 3, **{name: inputs[name][:, 1:]})
        with pytest.raises(TypeError, match=rf"^{name}: expected "):
            kind(3, 3, **{name: inputs[name].tolist()})
    single = inputs["recurrent_weight"].astype(np.float32)
    with pytest.raises(TypeError, match=r"^recurrent_weight: expected float64 like the first"):
        kind(3, 3, input_weight=inputs["input_weight"], recurrent_weight=single)


@each_stem
def test_what_is_no_size_and_no_sequence_is_refused(stem):
    kind = STEMS[stem]
    for wrong in (0, 1.5, "3", True):
        for call in (lambda wrong: kind(wrong, 3), lambda wrong: kind(3, wrong)):
            with pytest.raises((TypeError, ValueError), match=r"^(in_features|units): expected"):
                call(wrong)
    with pytest.raises(TypeError, match=r"^last_only: expected True or False"):
        kind(3, 3, last_only=1)
    layer = kind(3, 3)
    for shape, advice in (
        ((5, 3), r"x\[np.newaxis\] if it is one sequence"),
        ((5, 12), r"x.reshape\(len\(x\), -1, 3\) if its steps lie flat"),
        ((5, 7), r"x\[..., np.newaxis\] if each step is one number"),
        ((5, 3, 3, 1), r"x\[..., 0\] if the rows of an image are the steps"),
    ):
        message = rf"expected sequences \(N, T, D\), got {re.escape(str(shape))}: pass {advice}"
        with pytest.raises(ValueError, match=message):
            layer.forward(np.ones(shape, np.float32))
    with pytest.raises(ValueError, match=r"\(5, 1\): pass x\[..., np.newaxis\] if each step"):
        kind(1, 3).forward(np.ones((5, 1), np.float32))
    with pytest.raises(ValueError, match=r"expected \(..., 3\), got \(2, 3, 5\): if axis 1 has"):
        layer.forward(np.ones((2, 3, 5), np.float32))


@each_stem
def test_last_only_is_a_setting_and_a_network_notices_it(stem):
    network = Sequential([STEMS[stem](3, 2, rng=0)])
    x = np.random.default_rng(0).standard_normal((4, 5, 3)).astype(np.float32)
    y = network.forward(x)
    network.layers[0].last_only = True
    assert np.array_equal(network.forward(x), y[:, -1])
    assert repr(network.layers[0]) == f"{STEMS[stem].__name__}(3, 2, last_only=True)"
    assert "(N, 2)" in str(network)
    network.layers[0].last_only = False
    assert "(N, ?, 2)" in str(network)


@each_stem
def test_a_step_is_printed_once_with_how_often_it_runs(stem):
    layers = [STEMS[stem](3, 2, rng=0), STEMS[stem](2, 2, last_only=True, rng=1)]
    x = np.random.default_rng(0).standard_normal((4, 17, 3)).astype(np.float32)
    text = str(Sequential(layers).tape(x, np.zeros(4, int)))
    assert "np.matmul(hidden_before, " in text
    assert ", x 17" in text
    assert "array" not in text
    assert len(text.splitlines()) < 160


@each_stem
def test_a_gradient_that_vanishes_leaves_no_denormal_numbers(stem):
    """They would cost many CPUs five times the time."""
    inputs = make(stem, (3, 400, 3), np.float32, last_only=True)
    inputs["bias"] -= 0.5 * (stem == "lstm")
    inputs["recurrent_weight"] /= 2
    y, cache = getattr(functional, f"{stem}_forward")(**inputs)
    twin = cache.with_own_scratch()
    with quiet():
        twin.backward(np, np.ones_like(y), None, *twin.new_gradients())
    sizes = abs(twin._all_dz)
    assert not sizes[0].any()
    assert sizes[-1].any()
    assert not ((sizes > 0) & (sizes < np.finfo(np.float32).tiny)).any()


@each_stem
def test_print_shows_the_steps_of_layers_before_it(stem):
    network = Sequential([Dense(2, 3, rng=0), STEMS[stem](3, 2, last_only=True, rng=1)])
    first, second = str(network).splitlines()[1:3]
    assert "(N, ?, 3)" in first
    assert "(N, 2)" in second
