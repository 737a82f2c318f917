"""RMS norm: PyTorch agrees, its laws hold, and float32 keeps its digits."""

import numpy as np
import pytest
from exactness import BOUNDS, two_norm

from npbn import RMSNorm, functional, reference
from npbn.testing import CASES


def make(shape, dtype=np.float64):
    rng = np.random.default_rng(0)
    inputs = CASES["rms_norm"].inputs(rng, shape, dtype)
    return inputs, rng.standard_normal(shape).astype(dtype)


@pytest.mark.parametrize("epsilon", [1e-5, 0.1, 0])
def test_pytorch_agrees(shape, epsilon):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    inputs, dy = make(shape)
    x, gamma = (torch.tensor(inputs[name], requires_grad=True) for name in ("x", "gamma"))
    y = torch.nn.functional.rms_norm(x, shape[-1:], gamma, eps=epsilon)
    y.backward(torch.tensor(dy))
    found, cache = functional.rms_norm_forward(**inputs | {"epsilon": epsilon})
    np.testing.assert_allclose(found, y.detach().numpy(), rtol=1e-12, atol=1e-12)
    for one, other in zip(functional.rms_norm_backward(dy, cache), (x, gamma), strict=True):
        np.testing.assert_allclose(one, other.grad.numpy(), rtol=1e-9, atol=1e-9)


def assert_keeps_its_digits(x, dy, epsilon):
    """Each row of y and dx, and each dgamma, by itself."""
    gamma = np.random.default_rng(1).uniform(0.5, 1.5, x.shape[-1]).astype(np.float32)
    y, cache = functional.rms_norm_forward(x, gamma, epsilon=epsilon)
    dx, dgamma = functional.rms_norm_backward(dy, cache)
    x, dy, gamma = (each.astype(np.longdouble) for each in (x, dy, gamma))
    true_y, true = reference.rms_norm_forward(x, gamma, epsilon=np.longdouble(epsilon))
    true_dx, true_dgamma = reference.rms_norm_backward(dy, true)
    tiny = np.finfo(np.float32).tiny
    for name, found, expected, size in (
        ("y", y, true_y, abs(true_y).max(-1, keepdims=True)),
        ("dx", dx, true_dx, (abs(gamma * dy) / true.rms).max(-1, keepdims=True)),
        ("dgamma", dgamma, true_dgamma, np.maximum(abs(true_dgamma), two_norm(dy * true.x_hat))),
    ):
        assert (abs(found - expected) / np.maximum(size, tiny)).max() <= BOUNDS[name], name


@pytest.mark.parametrize("shape", [(2, 1), (3, 7), (60, 100), (5000, 2), (300, 1024), (2, 70000)])
@pytest.mark.parametrize("size", [1e-38, 1e-20, 1, 1e20, 1e38])
@pytest.mark.parametrize("epsilon", [1e-30, 1e-5, 10])
def test_float32_of_any_size_keeps_its_digits(shape, size, epsilon):
    rng = np.random.default_rng(0)
    x = (size * rng.uniform(-1, 1, shape)).astype(np.float32)
    rms = np.sqrt((x.astype(np.float64) ** 2).mean(-1, keepdims=True) + epsilon)
    dy = rng.standard_normal(shape) * np.clip(rms, 1e-6, 1e6)  # so that dx is in the range
    assert_keeps_its_digits(x, dy.astype(np.float32), epsilon)


@pytest.mark.parametrize("mean", [0, 1, 1e4])
@pytest.mark.parametrize("shape", [(60, 100), (60_000, 20)])
def test_sums_of_two_values_and_one_sided_gradients_keep_their_digits(shape, mean):
    # All roundings go one way.
    rng = np.random.default_rng(0)
    x = np.where(rng.random(shape) < 0.1, 0.7, 0.1).astype(np.float32)
    assert_keeps_its_digits(x, (rng.standard_normal(shape) + mean).astype(np.float32), 1e-5)


@pytest.mark.parametrize("rows", [7, 20_000])
def test_a_row_alone_decides_its_output(rows):
    inputs, dy = make((rows, 4))
    y, cache = functional.rms_norm_forward(**inputs)
    dx, _ = functional.rms_norm_backward(dy, cache)
    for place in (0, rows // 2, rows - 1):
        row = slice(place, place + 1)
        own, cache = functional.rms_norm_forward(**inputs | {"x": inputs["x"][row]})
        np.testing.assert_array_equal(own, y[row])
        np.testing.assert_array_equal(functional.rms_norm_backward(dy[row], cache)[0], dx[row])


def test_without_epsilon_the_size_of_a_row_does_not_matter():
    inputs, dy = make((7, 5))
    y, cache = functional.rms_norm_forward(inputs["x"], np.ones(5), epsilon=0)
    np.testing.assert_allclose((y**2).mean(-1), 1)
    other, _ = functional.rms_norm_forward(-8 * inputs["x"], np.ones(5), epsilon=0)
    np.testing.assert_allclose(other, -y)
    # So the gradient has no part along x.
    dx, _ = functional.rms_norm_backward(dy, cache)
    np.testing.assert_allclose((dx * inputs["x"]).sum(-1), 0, atol=1e-14)


def test_a_row_of_zeros_is_0_and_an_infinity_shows_in_its_whole_row_alone(dtype):
    x, gamma = np.ones((4, 3), dtype), np.ones(3, dtype)
    x[1], x[2, 0], x[3, 1] = 0, np.inf, np.nan
    for epsilon in (0, 1e-5):
        y, cache = functional.rms_norm_forward(x, gamma, epsilon=epsilon)
        np.testing.assert_array_equal(np.isnan(y).all(-1), [False, False, True, True])
        np.testing.assert_allclose(y[:2], [[1] * 3, [0] * 3], rtol=1e-5)
        dx, _ = functional.rms_norm_backward(0 * x[:1] + np.ones_like(x), cache)
        assert np.isfinite(dx[:2]).all()


def test_squares_that_float64_cannot_hold_make_nan_not_0():
    y, _ = functional.rms_norm_forward(np.array([[1e200, 1.0], [2, 2]]), np.ones(2))
    np.testing.assert_array_equal(np.isnan(y), [[True] * 2, [False] * 2])


def test_the_layer_starts_with_a_gamma_of_ones():
    norm = RMSNorm(5)
    assert norm.dtype == np.float32
    np.testing.assert_array_equal(norm.gamma, np.ones(5))
    assert repr(norm) == "RMSNorm(5)"
    assert repr(RMSNorm(5, epsilon=0.1)) == "RMSNorm(5, epsilon=0.1)"


def test_epsilon_is_checked_wherever_it_is_set():
    for value, message in ((-1, "at least 0"), (1e-50, "or at least 1.17549e-38 in float32")):
        with pytest.raises(ValueError, match=f"^epsilon: expected .*{message}"):
            RMSNorm(2, epsilon=value)
        norm = RMSNorm(2)
        with pytest.raises(ValueError, match=f"^epsilon: expected .*{message}"):
            norm.epsilon = value
        assert norm.epsilon == 1e-5
    with pytest.raises(ValueError, match="in float32, got 1e-50"):
        RMSNorm(2, epsilon=1e-50, dtype=np.float64).astype(np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"features": 0}, ValueError, "features: expected at least 1, got 0"),
        ({"features": 4.0}, TypeError, "features: expected a whole number, got float 4.0"),
        ({"epsilon": "0"}, TypeError, "epsilon: expected a number, got str '0'"),
        ({"dtype": int}, TypeError, "dtype: expected np.float32 or np.float64"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        RMSNorm(**{"features": 4} | arguments)
