"""Batch normalization: its three readings and PyTorch agree, its laws hold, its books are kept."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from npbn import BatchNorm, Sequential, functional, reference
from npbn.testing import CASES

MODES = {
    "training": (True, None),
    "training, explicitly": (True, "batch"),
    "frozen": (True, "population"),
    "inference": (False, None),
    "inference, explicitly": (False, "population"),
    "demonstration": (False, "batch"),
}
each_mode = pytest.mark.parametrize(("training", "statistics"), MODES.values(), ids=MODES)


def make(shape=(7, 5), dtype=np.float64, seed=0):
    """Keyword arguments of batch_norm_inference: x, gamma, beta, epsilon, mean, variance."""
    return CASES["batch_norm_inference"].inputs(np.random.default_rng(seed), shape, dtype)


def upstream(x, seed=1):
    return np.random.default_rng(seed).standard_normal(x.shape).astype(x.dtype)


def filled(inputs, **options):
    """The layer with the parameters and the population statistics of inputs."""
    x = inputs["x"]
    norm = BatchNorm(x.shape[-1], epsilon=inputs["epsilon"], dtype=x.dtype, **options)
    norm.gamma, norm.beta = inputs["gamma"], inputs["beta"]
    norm.population_mean, norm.population_variance = inputs["mean"], inputs["variance"]
    return norm


def uses_batch(training, statistics):
    return statistics == "batch" or (training and statistics is None)


def both_passes(room, inputs, dy, of_batch):
    """y, dx, dgamma and dbeta by the functions of a room."""
    if of_batch:
        taken = {key: value for key, value in inputs.items() if key not in ("mean", "variance")}
        y, cache = room.batch_norm_forward(**taken)
        return y, *room.batch_norm_backward(dy, cache)
    y = room.batch_norm_inference(**inputs)
    taken = {key: value for key, value in inputs.items() if key != "beta"}
    return y, *room.batch_norm_inference_backward(dy, **taken)


# The three readings, and PyTorch's


@each_mode
def test_the_three_readings_agree(training, statistics, shape, dtype, exact, assert_close):
    inputs = make(shape, dtype)
    dy = upstream(inputs["x"])
    of_batch = uses_batch(training, statistics)
    true = both_passes(reference, exact(inputs), exact(dy), of_batch)
    fast = both_passes(functional, inputs, dy, of_batch)
    norm = filled(inputs)
    y = norm.forward(inputs["x"], training, statistics)
    dx = norm.backward(dy)
    by_layer = (y, dx, norm.gradients["gamma"], norm.gradients["beta"])
    for own, one, expected in zip(by_layer, fast, true, strict=True):
        assert own.dtype == one.dtype == dtype
        assert_close(one, expected)
        assert_close(own, expected)


def test_the_statistics_agree(shape, dtype, exact, assert_close):
    inputs = make(shape, dtype)
    norm = filled(inputs)
    norm.forward(inputs["x"], training=True)
    taken = {key: inputs[key] for key in ("x", "gamma", "beta")}
    true = reference.batch_norm_forward(**exact(taken))[1]
    fast = functional.batch_norm_forward(**taken)[1]
    for cached, of_layer, expected in (
        (fast.mean, norm.batch_mean, true.mean),
        (fast.variance, norm.batch_variance, true.variance),
    ):
        assert cached.dtype == of_layer.dtype == dtype
        assert_close(cached, expected)
        assert_close(of_layer, expected)
    assert_close(true.variance.astype(dtype), exact(inputs["x"]).var(tuple(range(len(shape) - 1))))


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 5), (2, 3, 4, 5)], ids=str)
def test_any_layout_will_do(training, shape, dtype, laid_out, assert_close):
    inputs = make(shape, dtype)
    dy = upstream(inputs["x"])
    norm, other = filled(inputs), filled(inputs)
    assert_close(
        other.forward(laid_out(inputs["x"]), training),
        norm.forward(inputs["x"], training),
    )
    assert_close(other.backward(laid_out(dy)), norm.backward(dy))
    for name in ("gamma", "beta"):
        assert_close(other.gradients[name], norm.gradients[name])


def channels_first(array):
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


@each_mode
@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize("shape", [(7, 5), (60, 100), (4, 6, 3), (2, 3, 4, 5)], ids=str)
def test_agrees_with_pytorch(training, statistics, unbiased, shape, dtype, assert_close):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")
    inputs = make(shape, dtype)
    x, dy = inputs["x"], upstream(inputs["x"])
    norm = filled(inputs, momentum=0.9, unbiased_population=unbiased)
    before = copy.deepcopy(norm)
    y = norm.forward(x, training, statistics)
    dx = norm.backward(dy)

    kind = torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d
    theirs = kind(
        shape[-1],
        eps=inputs["epsilon"],
        momentum=1 - 0.9,
        dtype=getattr(torch, np.dtype(dtype).name),
    )
    theirs.train(uses_batch(training, statistics))
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(inputs["gamma"]))
        theirs.bias.copy_(torch.from_numpy(inputs["beta"]))
        theirs.running_mean.copy_(torch.from_numpy(inputs["mean"]))
        theirs.running_var.copy_(torch.from_numpy(inputs["variance"]))
    their_x = torch.from_numpy(channels_first(x)).requires_grad_()
    their_y = theirs(their_x)
    their_y.backward(torch.from_numpy(channels_first(dy)))

    assert_close(channels_first(y), their_y.detach().numpy())
    assert_close(channels_first(dx), their_x.grad.numpy())
    assert_close(norm.gradients["gamma"], theirs.weight.grad.numpy())
    assert_close(norm.gradients["beta"], theirs.bias.grad.numpy())
    if not (training and uses_batch(training, statistics)):
        return
    assert_close(norm.population_mean, theirs.running_mean.numpy())
    m = x.size // shape[-1]
    their_share = theirs.running_var.numpy() - 0.9 * before.population_variance
    own_share = norm.population_variance - 0.9 * before.population_variance
    ratio = 1 if unbiased else (m - 1) / m
    np.testing.assert_allclose(own_share, their_share * ratio, rtol=200 * np.finfo(dtype).eps)


# Numbers that are hard on float32


@pytest.mark.parametrize(
    ("rows", "mean", "std"), [(60, 1e4, 0.1), (65_536, 1e4, 0.1), (1000, 1e-3, 1.0), (60, 1e6, 1.0)]
)
def test_a_mean_far_larger_than_the_standard_deviation(rows, mean, std, exact, assert_close):
    rng = np.random.default_rng(0)
    x = (mean + std * rng.standard_normal((rows, 4))).astype(np.float32)
    dy = upstream(x)
    gamma, beta = np.ones(4, np.float32), np.zeros(4, np.float32)
    y, cache = functional.batch_norm_forward(x, gamma, beta)
    true_y, true_cache = reference.batch_norm_forward(exact(x), exact(gamma), exact(beta))
    assert_close(y, true_y)
    assert_close(cache.mean, true_cache.mean)
    assert_close(cache.variance, true_cache.variance)
    gradients = functional.batch_norm_backward(dy, cache)
    for one, true in zip(
        gradients, reference.batch_norm_backward(exact(dy), true_cache), strict=True
    ):
        assert_close(one, true)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 1e-12])
@pytest.mark.parametrize("rows", [2, 3, 23, 60, 1025, 3000])
def test_a_constant_feature_becomes_beta(rows, epsilon):
    values = 10 ** np.random.default_rng(0).uniform(-3, 6, 300)
    x = np.tile(values.astype(np.float32), (rows, 1))
    gamma, beta = np.ones(300, np.float32), np.full(300, 0.5, np.float32)
    y, cache = functional.batch_norm_forward(x, gamma, beta, epsilon=epsilon)
    assert (cache.variance >= 0).all()
    np.testing.assert_allclose(cache.mean, values, rtol=1e-6)
    np.testing.assert_allclose(y, 0.5, atol=0.01)
    dx, dgamma, dbeta = functional.batch_norm_backward(upstream(x), cache)
    assert np.isfinite(dx).all()
    assert np.isfinite(dgamma).all()
    assert np.isfinite(dbeta).all()


# Laws. The shares that rounding may take are of what was summed, not of the sum.

ROUNDING = 1e-9


def batches(fewest=2, most=12, largest=1000):
    """(N, D) arrays, also of equal, tiny and very different values."""
    elements = st.floats(-largest, largest, width=32)
    shapes = st.tuples(st.integers(fewest, most), st.integers(1, 4))
    return shapes.flatmap(lambda shape: arrays(np.float64, shape, elements=elements))


epsilons = st.floats(1e-5, 10)
seeds = st.integers(0, 2**32 - 1)
law = settings(derandomize=True, deadline=None, max_examples=60)


def passes(x, epsilon, seed):
    """gamma, beta, dy, y, cache, dx, dgamma and dbeta; the first three are random."""
    rng = np.random.default_rng(seed)
    gamma, beta = rng.normal(0, 2, (2, x.shape[1]))
    dy = rng.standard_normal(x.shape)
    y, cache = functional.batch_norm_forward(x, gamma, beta, epsilon=epsilon)
    return gamma, beta, dy, y, cache, *functional.batch_norm_backward(dy, cache)


@law
@given(batches(), epsilons, seeds)
def test_dx_is_gamma_over_std_times_a_projection_of_dy(x, epsilon, seed):
    gamma, _, dy, _, cache, dx, dgamma, dbeta = passes(x, epsilon, seed)
    m, std = len(x), np.sqrt(cache.variance + epsilon)
    x_hat = (x - cache.mean) / std
    factor = gamma / std
    size = np.abs(factor) * np.linalg.norm(dy, axis=0)
    # A bias before the batch norm has no gradient,
    assert (np.abs(dx.sum(0)) <= ROUNDING * size * m).all()
    # nor, but for epsilon, has the scale of what comes in;
    expected = factor * dgamma * epsilon / (cache.variance + epsilon)
    assert (np.abs((dx * x_hat).sum(0) - expected) <= ROUNDING * size * m).all()
    # and this is what the projection leaves of dy's length.
    q = cache.variance / (cache.variance + epsilon)
    left = (dy**2).sum(0) - dbeta**2 / m - (2 - q) * dgamma**2 / m
    assert (np.abs((dx**2).sum(0) - factor**2 * left) <= ROUNDING * size**2).all()


@law
@given(batches(fewest=1), st.floats(0, 10), seeds)
def test_no_value_is_further_from_the_mean_than_its_number_allows(x, epsilon, seed):
    epsilon = max(epsilon, 1e-12)
    gamma, beta, _, y, cache, *_ = passes(x, epsilon, seed)
    x_hat = (y - beta) / gamma
    bound = np.sqrt(len(x) - 1)
    assert (np.abs(x_hat) <= bound * (1 + ROUNDING) + ROUNDING * (1 + np.abs(beta / gamma))).all()
    # The outputs' mean is beta, and their standard deviation gamma, less epsilon's share.
    np.testing.assert_allclose(y.mean(0), beta, atol=1e-8)
    share = np.sqrt(cache.variance / (cache.variance + epsilon))
    np.testing.assert_allclose(y.std(0), np.abs(gamma) * share, atol=1e-8)


@law
@given(batches(1, 1), epsilons, seeds)
def test_a_batch_of_one_becomes_beta_and_stops_the_gradient(x, epsilon, seed):
    _, beta, dy, y, _, dx, dgamma, dbeta = passes(x, epsilon, seed)
    np.testing.assert_array_equal(y[0], beta)
    np.testing.assert_array_equal(dx, 0)
    np.testing.assert_array_equal(dgamma, 0)
    np.testing.assert_array_equal(dbeta, dy[0])


@law
@given(batches(2, 2), epsilons)
def test_of_two_values_little_more_than_the_sign_survives(x, epsilon):
    ones = np.ones(x.shape[1])
    y, _ = functional.batch_norm_forward(x, ones, 0 * ones, epsilon=epsilon)
    difference = x[0] - x[1]
    expected = difference / np.sqrt(difference**2 + 4 * epsilon)
    np.testing.assert_allclose(y, [expected, -expected], atol=1e-9)


@law
@given(batches(largest=100), epsilons, seeds, st.floats(-1e3, 1e3))
def test_a_shift_of_a_feature_changes_nothing(x, epsilon, seed, shift):
    _, _, _, y, cache, *gradients = passes(x, epsilon, seed)
    _, _, _, shifted_y, shifted, *others = passes(x + shift, epsilon, seed)
    np.testing.assert_allclose(shifted_y, y, atol=1e-7)
    np.testing.assert_allclose(shifted.mean, cache.mean + shift, atol=1e-9)
    for one, other in zip(others, gradients, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max() + 1e-7)


@law
@given(st.floats(0.01, 100), seeds, st.integers(4, 20))
def test_the_scale_of_the_weights_before_it_changes_nothing(scale, seed, rows):
    rng = np.random.default_rng(seed)
    inputs = rng.standard_normal((rows, 6))
    weight = rng.standard_normal((6, 3))
    gamma, beta = rng.normal(1, 0.2, (2, 3))
    dy = rng.standard_normal((rows, 3))

    def pull_back(weight):
        x, dense = functional.dense_forward(inputs, weight)
        y, cache = functional.batch_norm_forward(x, gamma, beta, epsilon=0)
        dx, *_ = functional.batch_norm_backward(dy, cache)
        return y, *functional.dense_backward(dx, dense)

    y, du, dweight, _ = pull_back(weight)
    scaled_y, scaled_du, scaled_dweight, _ = pull_back(scale * weight)
    np.testing.assert_allclose(scaled_y, y, atol=1e-9)
    np.testing.assert_allclose(scaled_du, du, atol=1e-8 * np.abs(du).max())
    size = np.abs(dweight).max()
    np.testing.assert_allclose(scaled_dweight * scale, dweight, atol=1e-8 * size)
    # So no column of the weights is pulled along itself.
    along = (weight * dweight).sum(0)
    assert (np.abs(along) <= 1e-9 * np.linalg.norm(weight, axis=0) * size).all()


# The books


def state_of(norm):
    return {name: array.copy() for name, array in norm.state.items()}


def assert_same_state(norm, before):
    for name, array in norm.state.items():
        np.testing.assert_array_equal(array, before[name])


def test_a_new_layer():
    norm = BatchNorm(3)
    assert norm.momentum == 0.99
    assert norm.epsilon == 1e-3
    np.testing.assert_array_equal(norm.gamma, [1, 1, 1])
    np.testing.assert_array_equal(norm.beta, [0, 0, 0])
    np.testing.assert_array_equal(norm.population_mean, [0, 0, 0])
    np.testing.assert_array_equal(norm.population_variance, [1, 1, 1])
    assert norm.dtype == np.float32
    assert list(norm.parameters) == list(norm.gradients) == ["gamma", "beta"]
    assert list(norm.state) == ["population_mean", "population_variance"]
    assert norm.batch_mean is None
    assert norm.batch_variance is None


@pytest.mark.parametrize(
    "text",
    [
        "BatchNorm(3)",
        "BatchNorm(3, momentum=0.9, epsilon=1e-05)",
        "BatchNorm(3, center=False, scale=False)",
        "BatchNorm(3, unbiased_population=True)",
    ],
)
def test_repr_is_what_makes_the_layer(text):
    assert repr(eval(text)) == text


@pytest.mark.parametrize("momentum", [0, 0.5, 0.99, 1])
def test_training_moves_the_population_by_the_stated_line(momentum, shape, dtype):
    norm = filled(make(shape, dtype), momentum=momentum)
    for seed in range(3):
        before = state_of(norm)
        norm.forward(make(shape, dtype, seed)["x"], training=True)
        for kind, batch in (("mean", norm.batch_mean), ("variance", norm.batch_variance)):
            expected = reference.update_population(
                before[f"population_{kind}"].astype(np.float64), batch, momentum=momentum
            )
            # What is shown in float32 is carried in float64.
            error = abs(norm.state[f"population_{kind}"] - expected).max()
            assert error <= np.finfo(dtype).eps * max(abs(expected).max(), abs(batch).max())
            assert norm.state[f"population_{kind}"].dtype == dtype


def test_a_thousand_updates_lose_no_digits_in_float32():
    rng, norm = np.random.default_rng(0), BatchNorm(20, momentum=0.999)
    mean, variance = np.zeros(20), np.ones(20)
    for _ in range(1000):
        norm.forward(rng.normal(3, 1, (4, 20)).astype(np.float32), training=True)
        mean = 0.999 * mean + (1 - 0.999) * norm.batch_mean
        variance = 0.999 * variance + (1 - 0.999) * norm.batch_variance
    assert np.abs(norm.population_mean / mean - 1).max() < 2e-7
    assert np.abs(norm.population_variance / variance - 1).max() < 2e-7


def test_a_converted_layer_shows_its_batch_statistics_in_its_type():
    norm = BatchNorm(3, dtype=np.float64)
    norm.forward(np.random.default_rng(0).normal(size=(5, 3)), training=True)
    other = norm.astype(np.float32)
    assert other.batch_mean.dtype == other.batch_variance.dtype == np.float32
    assert np.allclose(other.batch_mean, norm.batch_mean, rtol=1e-6)


@pytest.mark.parametrize("rows", [2, 60, 40_000])
def test_without_epsilon_a_constant_feature_is_beta_and_stops_the_gradient(rows, dtype):
    x = np.full((rows, 2), 0.1, dtype)
    dy, gamma, beta, zeros = upstream(x), *np.array([[3, 4], [1, 2], [0, 0]], dtype)
    y, cache = functional.batch_norm_forward(x, gamma, beta, epsilon=0)
    statistics = cache.mean, cache.variance
    np.testing.assert_array_equal(statistics, [x[0], zeros])
    np.testing.assert_array_equal(cache.x_hat, 0 * x)
    same = functional.batch_norm_inference(x, gamma, beta, *statistics, epsilon=0)
    np.testing.assert_array_equal(y, np.broadcast_to(beta, y.shape))
    np.testing.assert_array_equal(same, y)
    for dx, dgamma, _ in (
        functional.batch_norm_backward(dy, cache),
        functional.batch_norm_inference_backward(dy, x, gamma, *statistics, epsilon=0),
    ):
        np.testing.assert_array_equal(dx, 0 * x)
        np.testing.assert_array_equal(dgamma, zeros)


@pytest.mark.parametrize("shape", [(2, 5), (60, 5), (2, 3, 4, 5)], ids=str)
def test_unbiased_population_averages_the_sum_over_m_less_one(shape, dtype, assert_close):
    inputs = make(shape, dtype)
    norm = filled(inputs, momentum=0.9, unbiased_population=True)
    norm.forward(inputs["x"], training=True)
    axes = tuple(range(len(shape) - 1))
    expected = 0.9 * inputs["variance"] + 0.1 * inputs["x"].var(axes, ddof=1, dtype=np.float64)
    assert_close(norm.population_variance, expected)
    assert_close(norm.population_mean, 0.9 * inputs["mean"] + 0.1 * norm.batch_mean)
    # What normalizes the batch stays the biased one.
    assert_close(norm.batch_variance, inputs["x"].var(axes, dtype=np.float64))


@each_mode
def test_only_training_with_the_batch_moves_the_population(training, statistics):
    inputs = make()
    norm = filled(inputs)
    before = state_of(norm)
    y = norm.forward(inputs["x"], training, statistics)
    moved = any((norm.state[name] != before[name]).any() for name in before)
    assert moved == (training and statistics != "population")
    after = state_of(norm)
    norm.backward(upstream(y))
    assert_same_state(norm, after)


def test_the_batch_statistics_are_those_of_the_last_batch_in_training():
    norm, first, second = BatchNorm(5, dtype=np.float64), make(seed=1)["x"], make(seed=2)["x"]
    norm.forward(first, training=True)
    mean, variance = norm.batch_mean, norm.batch_variance
    norm.forward(second)
    norm.forward(second, training=True, statistics="population")
    np.testing.assert_array_equal(norm.batch_mean, mean)
    np.testing.assert_array_equal(norm.batch_variance, variance)
    norm.forward(second, training=True)
    np.testing.assert_allclose(norm.batch_mean, second.mean(0))
    np.testing.assert_allclose(norm.batch_variance, second.var(0))
    # They belong to whoever took them: the next pass does not write into them.
    np.testing.assert_allclose(mean, first.mean(0))
    np.testing.assert_allclose(variance, first.var(0))


def test_statistics_taken_from_one_batch_serve_inference_on_another():
    x, other = make(seed=1)["x"], make(seed=2)["x"]
    norm = BatchNorm(5, momentum=0, dtype=np.float64)
    y = norm.forward(x, training=True)
    np.testing.assert_allclose(norm.forward(x), y, atol=1e-12)
    assert np.abs(norm.forward(other) - norm.forward(other, statistics="batch")).max() > 0.1


def test_backward_with_population_statistics_is_of_the_pass_that_was_computed():
    inputs = make()
    norm = filled(inputs)
    dy = upstream(inputs["x"])
    norm.forward(inputs["x"])
    norm.population_mean, norm.population_variance = inputs["mean"] + 1, inputs["variance"] * 2
    norm.gamma = inputs["gamma"] * 3
    dx = norm.backward(dy)
    true = both_passes(reference, inputs, dy, of_batch=False)
    for one, expected in zip((dx, *norm.gradients.values()), true[1:], strict=True):
        np.testing.assert_allclose(one, expected, rtol=1e-12)


@pytest.mark.parametrize("name", ["gamma", "population_mean"])
def test_what_is_no_plain_array_is_not_assigned(name):
    norm = BatchNorm(3, dtype=np.float64)
    before = getattr(norm, name).copy()
    for value in (np.ma.masked_less(np.full(3, 2.0), 3), [2.0] * 3, 2.0, np.full(3, 2)):
        with pytest.raises(
            TypeError, match=f"^{name}: expected a .*: pass|^{name}: .*float64, got"
        ):
            setattr(norm, name, value)
    np.testing.assert_array_equal(getattr(norm, name), before)


@each_mode
@pytest.mark.parametrize(("center", "scale"), [(True, False), (False, True), (False, False)])
def test_without_beta_or_gamma(center, scale, training, statistics, dtype, assert_close):
    inputs = make(dtype=dtype)
    full = filled(inputs)
    part = BatchNorm(5, center=center, scale=scale, dtype=dtype)
    assert list(part.parameters) == ["gamma"] * scale + ["beta"] * center
    part.population_mean, part.population_variance = inputs["mean"], inputs["variance"]
    for name, used, neutral in (("gamma", scale, 1), ("beta", center, 0)):
        if used:
            setattr(part, name, inputs[name])
        else:
            full.parameters[name][...] = neutral
            assert getattr(part, name) is None
            with pytest.raises(AttributeError, match=rf"BatchNorm\(5.*\) has no {name}"):
                setattr(part, name, inputs[name])
    y = part.forward(inputs["x"], training, statistics)
    np.testing.assert_array_equal(y, full.forward(inputs["x"], training, statistics))
    np.testing.assert_array_equal(part.backward(upstream(y)), full.backward(upstream(y)))
    for name, gradient in part.gradients.items():
        np.testing.assert_array_equal(gradient, full.gradients[name])
    assert_same_state(part, full.state)


def test_a_batch_of_one_value_a_feature():
    norm = filled(make())
    before = state_of(norm)
    for x in (make()["x"][:1], make((1, 1, 1, 5))["x"]):
        with pytest.raises(ValueError, match="two values or more a feature") as caught:
            norm.forward(x, training=True)
        assert str(caught.value).startswith("BatchNorm(5): expected two values or more a feature")
        assert f"got {x.shape}" in str(caught.value)
        assert 'statistics="population"' in str(caught.value)
        np.testing.assert_array_equal(
            norm.forward(x, statistics="batch"), np.broadcast_to(norm.beta, x.shape)
        )
        np.testing.assert_array_equal(norm.backward(np.ones(x.shape)), 0)
        frozen = norm.forward(x, training=True, statistics="population")
        np.testing.assert_array_equal(frozen, norm.forward(x))
    assert_same_state(norm, before)
    norm.forward(make((1, 2, 1, 5))["x"], training=True)  # two places of one image are two values


BROKEN = {
    "NaN": np.nan,
    "inf": np.inf,
    "-inf": -np.inf,
    "too large to square": 1e200,
}


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
def test_a_batch_that_is_not_finite_is_refused_in_training_and_changes_nothing(value):
    inputs = make()
    norm, twin = filled(inputs), filled(inputs)
    broken = inputs["x"].copy()
    broken[3, 2] = value
    before = state_of(norm)

    with pytest.raises(ValueError, match=r"^BatchNorm\(5\): .*not finite"):
        norm.forward(broken, training=True)
    assert norm.batch_mean is None
    assert norm.batch_variance is None
    assert_same_state(norm, before)
    with pytest.raises(RuntimeError, match="backward without a forward pass"):
        norm.backward(upstream(broken))

    y = norm.forward(inputs["x"], training=True)
    twin.forward(inputs["x"], training=True)
    mean, variance, before = norm.batch_mean, norm.batch_variance, state_of(norm)
    with pytest.raises(ValueError, match=r"^BatchNorm\(5\): .*not finite"):
        norm.forward(broken, training=True)
    np.testing.assert_array_equal(norm.batch_mean, mean)
    np.testing.assert_array_equal(norm.batch_variance, variance)
    assert_same_state(norm, before)
    np.testing.assert_array_equal(norm.backward(upstream(y)), twin.backward(upstream(y)))
    np.testing.assert_array_equal(norm.gradients["gamma"], twin.gradients["gamma"])


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize(
    "mode",
    [{}, {"statistics": "batch"}, {"training": True, "statistics": "population"}],
    ids=["inference", "demonstration", "frozen"],
)
def test_elsewhere_it_passes_and_stays_in_its_feature(value, mode):
    inputs = make()
    norm = filled(inputs)
    before = state_of(norm)
    broken = inputs["x"].copy()
    broken[3, 2] = value
    y, expected = norm.forward(broken, **mode), norm.forward(inputs["x"], **mode)
    np.testing.assert_array_equal(np.delete(y, 2, axis=1), np.delete(expected, 2, axis=1))
    assert_same_state(norm, before)


@pytest.mark.parametrize("value", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("network", [False, True])
def test_with_the_batchs_own_statistics_its_feature_is_no_silent_beta(value, network):
    inputs = make()
    norm = filled(inputs)
    layer = Sequential([norm]) if network else norm
    inputs["x"][:, 2] = 0
    inputs["x"][3:5, 2] = value, -value
    y = layer.forward(inputs["x"], statistics="batch")[:, 2]
    # Also where only the variance is too large for the type.
    assert np.isnan(y).all()


@pytest.mark.parametrize("number", [0.5, np.float64(0.5), np.float32(0.5)], ids=repr)
def test_numpy_numbers_leave_the_layer_in_float32(number):
    x = make(dtype=np.float32)["x"]
    norm, plain = (
        BatchNorm(5, momentum=number, epsilon=number),
        BatchNorm(5, momentum=0.5, epsilon=0.5),
    )
    assert type(norm.momentum) is type(norm.epsilon) is float
    y = norm.forward(x, training=True)
    assert y.dtype == norm.backward(upstream(y)).dtype == np.float32
    np.testing.assert_array_equal(y, plain.forward(x, training=True))
    for array in (*norm.state.values(), *norm.gradients.values()):
        assert array.dtype == np.float32
    assert_same_state(norm, plain.state)


def test_copies_keep_the_settings_and_the_statistics():
    norm = BatchNorm(5, momentum=0.9, epsilon=0.01, unbiased_population=True)
    x = make(dtype=np.float32)["x"]
    norm.forward(x, training=True)
    for other in (copy.deepcopy(norm), pickle.loads(pickle.dumps(norm))):
        assert (other.momentum, other.epsilon, other.unbiased_population) == (0.9, 0.01, True)
        np.testing.assert_array_equal(other.batch_mean, norm.batch_mean)
        assert_same_state(other, norm.state)
        other.forward(x + 1, training=True)
        assert (other.population_mean != norm.population_mean).all()


# What is refused


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"features": 0}, ValueError, "features: expected at least 1, got 0"),
        ({"features": 2.0}, TypeError, "features: expected a whole number, got float 2.0"),
        ({"features": True}, TypeError, "features: expected a whole number, got bool True"),
        ({"momentum": -0.1}, ValueError, "momentum: expected a finite number at least 0, got -0.1"),
        ({"momentum": 1.5}, ValueError, "momentum: expected a number from 0 to 1, got 1.5"),
        ({"momentum": "0.9"}, TypeError, "momentum: expected a number, got str '0.9'"),
        ({"epsilon": -1e-3}, ValueError, "epsilon: expected a finite number at least 0"),
        ({"epsilon": np.nan}, ValueError, "epsilon: expected a finite number at least 0, got nan"),
        ({"epsilon": None}, TypeError, "epsilon: expected a number, got NoneType None"),
        ({"center": 1}, TypeError, "center: expected True or False, got int 1"),
        ({"scale": "no"}, TypeError, "scale: expected True or False"),
        ({"unbiased_population": 0}, TypeError, "unbiased_population: expected True or False"),
        ({"dtype": np.int64}, TypeError, "dtype: expected np.float32 or np.float64"),
        ({"dtype": np.float16}, TypeError, "dtype: expected np.float32 or np.float64"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=f"^{message}"):
        BatchNorm(**{"features": 5} | arguments)


def test_options_are_keywords():
    with pytest.raises(TypeError, match="positional"):
        BatchNorm(5, 0.9)


@each_mode
@pytest.mark.parametrize("shape", [(60, 99), (100, 60), (3, 100, 1)], ids=str)
def test_wrong_features_name_the_layer(shape, training, statistics):
    with pytest.raises(ValueError, match="expected") as caught:
        BatchNorm(100).forward(np.ones(shape, np.float32), training, statistics)
    axis = {(100, 60): 0, (3, 100, 1): 1}.get(shape)
    advice = f": if axis {axis} has the features, pass np.moveaxis(x, {axis}, -1)"
    assert str(caught.value) == (
        f"BatchNorm(100): expected (..., 100), got {shape}{'' if axis is None else advice}"
    )


def test_a_variance_below_zero_is_refused():
    inputs = make()
    inputs["variance"][2] = -0.5
    with pytest.raises(ValueError, match=r"^variance: expected at least 0, got -0\.5"):
        functional.batch_norm_inference(**inputs)
    del inputs["beta"]
    with pytest.raises(ValueError, match=r"^variance: expected at least 0, got -0\.5"):
        functional.batch_norm_inference_backward(np.ones((7, 5)), **inputs)


@pytest.mark.parametrize("rows", [60, 5000])
def test_inference_may_write_over_x_but_not_over_a_shifted_x(rows):
    inputs = make((rows, 50), np.float32)
    names = ("gamma", "beta", "mean", "variance")
    x, rest = inputs["x"], [inputs[name] for name in names]
    expected = functional.batch_norm_inference(x, *rest)
    room = np.empty((rows + 1, 50), np.float32)
    room[:-1] = x
    with pytest.raises(ValueError, match="out: overlaps"):
        functional.batch_norm_inference(room[:-1], *rest, out=room[1:])
    got = functional.batch_norm_inference(room[:-1], *rest, out=room[:-1])
    np.testing.assert_array_equal(got, expected)
