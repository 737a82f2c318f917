"""The fully connected layer: its three readings and PyTorch agree, its laws hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npbn import Dense, functional, reference
from npbn.layers.initial import normal_weights
from npbn.testing import CASES

MODES = {
    "training": (True, None),
    "frozen": (True, "population"),
    "inference": (False, None),
    "demonstration": (False, "batch"),
}
each_mode = pytest.mark.parametrize(("training", "statistics"), MODES.values(), ids=MODES)
each_bias = pytest.mark.parametrize("use_bias", [True, False], ids=["bias", "no bias"])


def make(shape=(7, 5), dtype=np.float64, use_bias=True, seed=0):
    inputs = CASES["dense"].inputs(np.random.default_rng(seed), shape, dtype)
    if not use_bias:
        del inputs["bias"]
    return inputs


def upstream(y, seed=1):
    return np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype)


def filled(inputs):
    weight, bias = inputs["weight"], inputs.get("bias")
    dense = Dense(*weight.shape, weight=weight, use_bias=bias is not None)
    if bias is not None:
        dense.bias = bias
    return dense


def both_passes(room, inputs, dy):
    """y, dx, dweight and dbias by the functions of a room."""
    y, cache = room.dense_forward(**inputs)
    return y, *room.dense_backward(dy, cache)


# The three readings, and PyTorch's


@each_mode
@each_bias
def test_the_three_readings_agree(
    training, statistics, use_bias, shape, dtype, exact, assert_close
):
    inputs = make(shape, dtype, use_bias)
    dense = filled(inputs)
    y = dense.forward(inputs["x"], training, statistics)
    dy = upstream(y)
    dx = dense.backward(dy)
    by_layer = (y, dx, *dense.gradients.values())
    fast = both_passes(functional, inputs, dy)
    true = both_passes(reference, exact(inputs), exact(dy))
    if not use_bias:
        assert fast[-1] is None
        assert true[-1] is None
        fast, true = fast[:-1], true[:-1]
    for own, one, expected in zip(by_layer, fast, true, strict=True):
        assert own.dtype == one.dtype == dtype
        assert_close(one, expected)
        assert_close(own, expected)


@each_bias
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 5), (2, 3, 4, 5)], ids=str)
def test_any_layout_will_do(use_bias, shape, dtype, laid_out, assert_close):
    inputs = make(shape, dtype, use_bias)
    other_inputs = inputs | {"x": laid_out(inputs["x"]), "weight": laid_out(inputs["weight"])}
    expected_y, _ = functional.dense_forward(**inputs)
    dy = upstream(expected_y)
    expected = both_passes(functional, inputs, dy)
    dense = filled(other_inputs)
    by_layer = (dense.forward(other_inputs["x"]), dense.backward(laid_out(dy)))
    fast = both_passes(functional, other_inputs, laid_out(dy))
    for one, true in zip(fast, expected, strict=True):
        if true is not None:
            assert_close(one, true)
    for one, true in zip((*by_layer, *dense.gradients.values()), expected, strict=False):
        assert_close(one, true)


@each_bias
@pytest.mark.parametrize("shape", [(7, 5), (60, 100), (4, 6, 3), (2, 3, 4, 5)], ids=str)
def test_agrees_with_pytorch(use_bias, shape, dtype, assert_close):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")
    inputs = make(shape, dtype, use_bias)
    dense = filled(inputs)
    y = dense.forward(inputs["x"])
    dy = upstream(y)
    dx = dense.backward(dy)

    x = torch.from_numpy(inputs["x"]).requires_grad_()
    # PyTorch keeps the weights as (out, in).
    weight = torch.from_numpy(inputs["weight"].T.copy()).requires_grad_()
    bias = torch.from_numpy(inputs["bias"]).requires_grad_() if use_bias else None
    their_y = torch.nn.functional.linear(x, weight, bias)
    their_y.backward(torch.from_numpy(dy))
    assert_close(y, their_y.detach().numpy())
    assert_close(dx, x.grad.numpy())
    assert_close(dense.gradients["weight"], weight.grad.numpy().T)
    if use_bias:
        assert_close(dense.gradients["bias"], bias.grad.numpy())


def test_many_rows_lose_no_digits_in_the_gradient_of_the_bias(exact, assert_close):
    inputs = make((2**19, 6), np.float32)
    y, cache = functional.dense_forward(**inputs)
    dy = np.abs(upstream(y))
    assert_close(functional.dense_backward(dy, cache)[2], exact(dy).sum(0), units=1)


# Laws

law = settings(derandomize=True, deadline=None, max_examples=50)
sizes = st.integers(1, 6)
seeds = st.integers(0, 2**32 - 1)


@law
@given(sizes, sizes, sizes, seeds, st.floats(-10, 10), st.floats(-10, 10))
def test_it_is_linear_and_backward_is_its_transpose(rows, inner, outer, seed, a, b):
    rng = np.random.default_rng(seed)
    x, other = rng.standard_normal((2, rows, inner))
    weight, dy = rng.standard_normal((inner, outer)), rng.standard_normal((rows, outer))
    y, cache = functional.dense_forward(x, weight)
    other_y, _ = functional.dense_forward(other, weight)
    combined, _ = functional.dense_forward(a * x + b * other, weight)
    np.testing.assert_allclose(combined, a * y + b * other_y, atol=1e-11)
    dx, dweight, _ = functional.dense_backward(dy, cache)
    product = np.vdot(dy, y)
    np.testing.assert_allclose(np.vdot(dx, x), product, atol=1e-11)
    np.testing.assert_allclose(np.vdot(dweight, weight), product, atol=1e-11)


@law
@given(sizes, sizes, st.integers(2, 6), seeds)
def test_gradients_of_a_batch_are_sums_over_its_rows(inner, outer, rows, seed):
    inputs = make((rows, inner), seed=seed)
    y, cache = functional.dense_forward(**inputs)
    dy = upstream(y, seed)
    dx, dweight, dbias = functional.dense_backward(dy, cache)
    by_row = [
        functional.dense_backward(
            dy[[row]], functional.dense_forward(**inputs | {"x": inputs["x"][[row]]})[1]
        )
        for row in range(rows)
    ]
    np.testing.assert_allclose(dx, np.concatenate([each[0] for each in by_row]), atol=1e-12)
    np.testing.assert_allclose(dweight, sum(each[1] for each in by_row), atol=1e-12)
    np.testing.assert_allclose(dbias, sum(each[2] for each in by_row), atol=1e-12)


# The layer


def test_a_new_layer_draws_he_weights_and_starts_from_no_bias():
    dense = Dense(500, 400, rng=0)
    assert dense.dtype == np.float32
    assert dense.weight.shape == (500, 400)
    assert abs(dense.weight.mean()) < 1e-3
    assert dense.weight.std() == pytest.approx(np.sqrt(2 / 500), rel=0.01)
    np.testing.assert_array_equal(dense.bias, np.zeros(400))
    assert list(dense.parameters) == list(dense.gradients) == ["weight", "bias"]
    assert not dense.state


def test_a_layer_without_bias():
    dense = Dense(3, 2, use_bias=False, rng=0)
    assert list(dense.parameters) == ["weight"]
    assert dense.bias is None
    with pytest.raises(AttributeError, match="has no bias"):
        dense.bias = np.zeros(2, np.float32)


def test_the_same_seed_draws_the_same_weights():
    seeded = Dense(4, 3, rng=7).weight
    np.testing.assert_array_equal(Dense(4, 3, rng=7).weight, seeded)
    np.testing.assert_array_equal(Dense(4, 3, rng=np.random.default_rng(7)).weight, seeded)
    np.testing.assert_allclose(Dense(4, 3, rng=7, dtype=np.float64).weight, seeded, rtol=1e-6)
    assert (Dense(4, 3, rng=8).weight != seeded).any()
    assert (Dense(4, 3).weight != Dense(4, 3).weight).any()
    rng = np.random.default_rng(7)
    assert (Dense(4, 3, rng=rng).weight != Dense(4, 3, rng=rng).weight).any()


def test_given_weights_are_copied_and_decide_the_type(dtype):
    weight = np.random.default_rng(0).standard_normal((4, 3)).astype(dtype)
    dense = Dense(4, 3, weight=weight)
    assert dense.dtype == dense.bias.dtype == dtype
    np.testing.assert_array_equal(dense.weight, weight)
    assert not np.may_share_memory(dense.weight, weight)
    for wanted in (np.float32, np.float64):
        assert Dense(4, 3, weight=weight, dtype=wanted).dtype == wanted


def test_changing_x_after_backward_changes_nothing():
    inputs = make()
    dense, twin = filled(inputs), filled(inputs)
    x = inputs["x"].copy()
    y = dense.forward(x)
    twin.forward(inputs["x"])
    dy = upstream(y)
    dx = dense.backward(dy)
    kept = dx.copy()
    x[...] = 7
    dy_twin = upstream(y)
    np.testing.assert_array_equal(twin.backward(dy_twin), kept)
    np.testing.assert_array_equal(dx, kept)
    for name, gradient in dense.gradients.items():
        np.testing.assert_array_equal(gradient, twin.gradients[name])


def test_x_is_still_needed_and_so_no_out():
    weight, x, dy = np.random.default_rng(0).standard_normal((3, 5, 5))
    dense = Dense(5, 5, weight=weight)
    with pytest.raises(ValueError, match=r"^out: overlaps"):
        functional.dense_forward(x, weight, out=x)
    with pytest.raises(ValueError, match=r"^out: overlaps"):
        dense.forward(x, out=x)
    dense.forward(x)
    with pytest.raises(ValueError, match=r"^out: overlaps"):
        dense.backward(dy, out=x)
    dense.backward(dy)
    np.testing.assert_allclose(dense.gradients["weight"], x.T @ dy)


def test_a_stack_of_initial_weights_is_drawn_one_after_another():
    sizes = (300, 200, 40)
    for std in (None, 0.5):
        drawn, rng = normal_weights(sizes, std, 3), np.random.default_rng(3)
        assert [weight.dtype for weight in drawn] == [np.float32, np.float32]
        for weight, shape in zip(drawn, ((300, 200), (200, 40)), strict=True):
            scale = np.sqrt(2 / shape[0]) if std is None else std
            expected = (rng.standard_normal(shape) * scale).astype(np.float32)
            np.testing.assert_array_equal(weight, expected)


def test_repr():
    assert repr(Dense(784, 100)) == "Dense(784, 100)"
    assert repr(Dense(784, 100, use_bias=False)) == "Dense(784, 100, use_bias=False)"


# What is refused


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"in_features": 0}, ValueError, "in_features: expected at least 1, got 0"),
        ({"in_features": 4.0}, TypeError, "in_features: expected a whole number, got float 4.0"),
        ({"out_features": -3}, ValueError, "out_features: expected at least 1, got -3"),
        ({"out_features": "3"}, TypeError, "out_features: expected a whole number, got str '3'"),
        ({"use_bias": 1}, TypeError, "use_bias: expected True or False, got int 1"),
        ({"weight": np.ones((3, 4))}, ValueError, r"weight: expected shape \(4, 3\), got \(3, 4\)"),
        ({"weight": np.ones(3)}, ValueError, r"weight: expected shape \(4, 3\), got \(3,\)"),
        ({"weight": np.ones((4, 3), int)}, TypeError, "weight: expected float32 or float64, got"),
        ({"weight": [[1.0] * 3] * 4}, TypeError, "weight: .*np.asarray"),
        ({"rng": "seed"}, TypeError, "rng: expected a numpy.random.Generator, a seed or None"),
        ({"rng": -1}, ValueError, "rng: expected at least 0, got -1"),
        ({"dtype": int}, TypeError, "dtype: expected np.float32 or np.float64"),
        ({"weight": np.ones((4, 3)), "dtype": int}, TypeError, "dtype: expected np.float32 or"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        Dense(**{"in_features": 4, "out_features": 3} | arguments)


def test_options_are_keywords():
    with pytest.raises(TypeError, match="positional"):
        Dense(4, 3, False)


@pytest.mark.parametrize("shape", [(60, 99), (100, 60), (3, 100, 1)], ids=str)
def test_wrong_features_name_the_layer(shape):
    with pytest.raises(ValueError, match="expected") as caught:
        Dense(100, 10, rng=0).forward(np.ones(shape, np.float32))
    assert str(caught.value) == f"Dense(100, 10): expected (..., 100), got {shape}"


@pytest.mark.parametrize("shape", [(5,), (5, 3, 1), ()], ids=str)
def test_weights_have_two_axes(shape):
    with pytest.raises(ValueError, match=r"^weight: expected two axes \(in, out\)"):
        functional.dense_forward(np.ones((7, 5)), np.ones(shape))
