"""ReLU, leaky ReLU, sigmoid, tanh: their three readings and PyTorch agree, their laws hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from npbn import LeakyReLU, ReLU, Sigmoid, Tanh, functional, reference

SLOPE = 0.3
ACTIVATIONS = {
    "relu": (ReLU, {}),
    "leaky_relu": (LeakyReLU, {"slope": SLOPE}),
    "sigmoid": (Sigmoid, {}),
    "tanh": (Tanh, {}),
}
MODES = {
    "training": (True, None),
    "frozen": (True, "population"),
    "inference": (False, None),
    "demonstration": (False, "batch"),
}
each_activation = pytest.mark.parametrize("name", ACTIVATIONS)
each_mode = pytest.mark.parametrize(("training", "statistics"), MODES.values(), ids=MODES)


def layer(name):
    kind, options = ACTIVATIONS[name]
    return kind(**options)


def both_passes(room, name, x, dy):
    y, cache = getattr(room, f"{name}_forward")(x, **ACTIVATIONS[name][1])
    return y, getattr(room, f"{name}_backward")(dy, cache)


def forward(name, x):
    return getattr(functional, f"{name}_forward")(x, **ACTIVATIONS[name][1])[0]


def make(shape=(7, 5), dtype=np.float64, seed=0):
    """x, a tenth of it exactly 0, and dy."""
    rng = np.random.default_rng(seed)
    x = 3 * rng.standard_normal(shape)
    x[rng.random(shape) < 0.1] = 0
    return x.astype(dtype), rng.standard_normal(shape).astype(dtype)


# The three readings, and PyTorch's


@each_activation
@each_mode
def test_the_three_readings_agree(name, training, statistics, shape, dtype, exact, assert_close):
    x, dy = make(shape, dtype)
    own = layer(name)
    by_layer = own.forward(x, training, statistics), own.backward(dy)
    fast = both_passes(functional, name, x, dy)
    true = both_passes(reference, name, exact(x), exact(dy))
    for one, other, expected in zip(by_layer, fast, true, strict=True):
        assert one.dtype == other.dtype == dtype
        np.testing.assert_array_equal(one, other)
        assert_close(one, expected)


@each_activation
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 5), (70_000, 3)], ids=str)
def test_any_layout_will_do(name, shape, dtype, laid_out):
    x, dy = make(shape, dtype)
    own = layer(name)
    found = own.forward(laid_out(x)), own.backward(laid_out(dy))
    for one, expected in zip(found, both_passes(functional, name, x, dy), strict=True):
        np.testing.assert_allclose(one, expected, rtol=4 * np.finfo(dtype).eps)


@each_activation
@pytest.mark.parametrize("shape", [(60, 100), (2, 3, 4, 5)], ids=str)
def test_agrees_with_pytorch(name, shape, dtype, assert_close):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")
    theirs = {
        "relu": torch.relu,
        "leaky_relu": lambda x: torch.nn.functional.leaky_relu(x, SLOPE),
        "sigmoid": torch.sigmoid,
        "tanh": torch.tanh,
    }
    x, dy = make(shape, dtype)
    own = layer(name)
    y, dx = own.forward(x), own.backward(dy)
    their_x = torch.from_numpy(x).requires_grad_()
    their_y = theirs[name](their_x)
    their_y.backward(torch.from_numpy(dy))
    assert_close(y, their_y.detach().numpy())
    assert_close(dx, their_x.grad.numpy())


# Laws

law = settings(derandomize=True, deadline=None, max_examples=100)
values = arrays(np.float64, (3, 2), elements=st.floats(allow_nan=False, allow_infinity=False))
ordinary = arrays(np.float64, (3, 2), elements=st.floats(-30, 30))


@law
@given(values)
def test_relu_is_idempotent_and_leaves_what_is_positive(x):
    y = forward("relu", x)
    np.testing.assert_array_equal(forward("relu", y), y)
    np.testing.assert_array_equal(y, np.where(x > 0, x, 0))
    # relu(x) - relu(-x) = x
    np.testing.assert_array_equal(y - forward("relu", -x), x)


@law
@given(ordinary, st.floats(0.01, 0.99), st.floats(0.01, 100))
def test_relu_and_leaky_relu_are_homogeneous(x, slope, factor):
    for function in (
        lambda x: functional.relu_forward(x)[0],
        lambda x: functional.leaky_relu_forward(x, slope=slope)[0],
    ):
        np.testing.assert_allclose(
            function(factor * x), factor * function(x), rtol=1e-14, atol=1e-300
        )


@law
@given(values)
def test_leaky_relu_lies_between_the_identity_and_relu(x):
    for slope, expected in ((0.0, forward("relu", x)), (0.5, np.where(x > 0, x, 0.5 * x))):
        y, cache = functional.leaky_relu_forward(x, slope=slope)
        np.testing.assert_array_equal(y, expected)
        dx = functional.leaky_relu_backward(np.ones_like(x), cache)
        # A value that is lost below the smallest number has 0's derivative.
        np.testing.assert_array_equal(dx, np.where(y > 0, 1, slope))


@law
@given(values)
def test_sigmoid_is_symmetric_about_one_half(x):
    y, other = forward("sigmoid", x), forward("sigmoid", -x)
    np.testing.assert_allclose(y + other, 1, rtol=0, atol=1e-15)
    assert ((y >= 0) & (y <= 1)).all()
    np.testing.assert_array_equal(y >= 0.5, (x >= 0) | (y == 0.5))


@law
@given(ordinary)
def test_tanh_is_odd_and_a_stretched_sigmoid(x):
    y = forward("tanh", x)
    np.testing.assert_array_equal(forward("tanh", -x), -y)
    np.testing.assert_allclose(y, 2 * forward("sigmoid", 2 * x) - 1, atol=1e-15)


@each_activation
def test_activations_rise(name):
    x = np.linspace(-40, 40, 4001)[:, np.newaxis]
    y, dx = both_passes(functional, name, x, np.ones_like(x))
    assert (np.diff(y, axis=0) >= 0).all()
    assert (dx >= 0).all()
    assert (dx <= 1).all()


# Numbers at the edge


@each_activation
def test_numbers_that_no_exponential_survives(name, dtype):
    largest = np.finfo(dtype).max
    x = np.array([[-largest, -1000, -100, 0, 100, 1000, largest]], dtype)
    y, dx = both_passes(functional, name, x, np.ones_like(x))
    true_y, true_dx = both_passes(reference, name, x.astype(np.longdouble), np.ones_like(x))
    np.testing.assert_allclose(y, true_y.astype(dtype), rtol=1e-6, atol=np.finfo(dtype).tiny)
    np.testing.assert_allclose(dx, true_dx.astype(dtype), rtol=1e-6, atol=np.finfo(dtype).eps)


@each_activation
@each_mode
def test_nan_stays_nan_where_it_is(name, training, statistics, dtype):
    x, _ = make((3, 4), dtype)
    expected = layer(name).forward(x)
    x[1, 2] = np.nan
    y = layer(name).forward(x, training, statistics)
    assert np.isnan(y[1, 2])
    y[1, 2] = expected[1, 2]
    np.testing.assert_array_equal(y, expected)


@each_activation
def test_infinity_is_a_limit(name, dtype):
    x = np.array([[-np.inf, np.inf]], dtype)
    limits = {
        "relu": [0, np.inf],
        "leaky_relu": [-np.inf, np.inf],
        "sigmoid": [0, 1],
        "tanh": [-1, 1],
    }
    np.testing.assert_array_equal(layer(name).forward(x)[0], limits[name])
    np.testing.assert_array_equal(forward(name, x)[0], limits[name])


def test_a_leaky_relu_of_slope_0_is_a_relu(dtype):
    x = np.array([[-np.inf, -1, 0, 1, np.inf]], dtype)
    np.testing.assert_array_equal(LeakyReLU(0).forward(x), ReLU().forward(x))


def test_sigmoid_has_no_denormal_numbers(dtype):
    x = np.linspace(-800, 0, 16_001, dtype=dtype)[:, np.newaxis]
    y = forward("sigmoid", x)
    assert ((y == 0) | (y >= np.finfo(dtype).tiny)).all()
    true = reference.sigmoid_forward(x.astype(np.longdouble))[0]
    np.testing.assert_allclose(y[y > 0], true[y > 0].astype(dtype), rtol=2e-6)
    assert (true[y == 0] < 1.01 * np.finfo(dtype).tiny).all()


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_gradients_have_no_denormal_numbers(name, dtype):
    tiny = np.finfo(dtype).tiny
    x = np.full((40, 1), 3, dtype)
    dy = np.geomspace(tiny, 1e6 * tiny, 40, dtype=dtype)[:, np.newaxis]
    true = both_passes(reference, name, x.astype(np.longdouble), dy.astype(np.longdouble))[1]
    dx = both_passes(functional, name, x, dy)[1]
    assert ((dx == 0) | (dx >= tiny)).all()
    assert (true[dx == 0] < tiny * (1 + 1e-5)).all()
    np.testing.assert_allclose(dx[dx > 0], true[dx > 0].astype(dtype), rtol=1e-4)
    assert 0 < np.count_nonzero(dx) < len(dx)


@each_activation
def test_there_is_no_slope_at_the_kink(name):
    zeros, ones = np.zeros((2, 3)), np.ones((2, 3))
    dx = both_passes(functional, name, zeros, ones)[1]
    expected = {"relu": 0, "leaky_relu": SLOPE, "sigmoid": 0.25, "tanh": 1}
    np.testing.assert_array_equal(dx, expected[name])
    np.testing.assert_array_equal(both_passes(functional, name, -zeros, ones)[1], expected[name])


@each_activation
def test_functional_writes_over_x_where_it_may(name):
    x, dy = make()
    expected = both_passes(functional, name, x, dy)
    function = getattr(functional, f"{name}_forward")
    if name == "leaky_relu":
        with pytest.raises(ValueError, match=r"^out: overlaps"):
            function(x, slope=SLOPE, out=x)
        return
    y, cache = function(x, out=x)
    assert y is x
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(getattr(functional, f"{name}_backward")(dy, cache), expected[1])


@each_activation
def test_a_caller_may_write_into_y_before_backward(name, dtype):
    x, dy = make(dtype=dtype)
    expected = both_passes(functional, name, x, dy)[1]
    y, cache = getattr(functional, f"{name}_forward")(x, **ACTIVATIONS[name][1])
    y[...] = -7
    dx = getattr(functional, f"{name}_backward")(dy, cache)
    np.testing.assert_array_equal(dx, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_and_its_gradient_are_exact_and_0_below_the_smallest_normal_number(dtype):
    x = np.array([[-np.inf, -800, -710, -100, -88, -87, -17, 0, 17, 87, 88, 100, 700, 800, np.inf]])
    y, cache = functional.sigmoid_forward(x.astype(dtype))
    dx = functional.sigmoid_backward(np.ones_like(y), cache)
    e = np.exp(-abs(x.astype(np.longdouble)))
    for got, true in ((y, np.where(x >= 0, 1, e) / (1 + e)), (dx, e / (1 + e) ** 2)):
        expected = np.where(true < np.finfo(dtype).tiny, 0, true).astype(np.float64)
        np.testing.assert_allclose(got, expected, rtol=3 * np.finfo(dtype).eps, atol=0)


# The layers


@each_activation
def test_layers_have_nothing_to_train_or_to_keep(name):
    own = layer(name)
    assert not own.parameters
    assert not own.gradients
    assert not own.state
    assert own.dtype is None


def test_repr():
    assert [repr(layer(name)) for name in ACTIVATIONS] == [
        "ReLU()",
        "LeakyReLU(0.3)",
        "Sigmoid()",
        "Tanh()",
    ]


@pytest.mark.parametrize("slope", [np.float64(0.3), np.float32(0.3), 0, np.int64(0)], ids=repr)
def test_numpy_numbers_leave_float32_alone(slope):
    own = LeakyReLU(slope)
    assert type(own.slope) is float
    x, dy = make(dtype=np.float32)
    assert own.forward(x).dtype == own.backward(dy).dtype == np.float32


@pytest.mark.parametrize(
    ("slope", "error"),
    [
        (-0.1, ValueError),
        (1, ValueError),
        (1.5, ValueError),
        (np.nan, ValueError),
        ("0.2", TypeError),
        (None, TypeError),
        (True, TypeError),
        (np.ones(1), TypeError),
    ],
    ids=repr,
)
def test_a_wrong_slope_is_refused(slope, error):
    for call in (LeakyReLU, lambda slope: functional.leaky_relu_forward(make()[0], slope=slope)):
        with pytest.raises(error, match=r"^slope: expected a"):
            call(slope)
