"""Layer, group and instance norm: PyTorch agrees, their laws hold, and float32 keeps its digits."""

import numpy as np
import pytest
from exactness import BOUNDS, two_norm
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import memory_of

from npbn import GroupNorm, InstanceNorm, LayerNorm, functional, reference
from npbn.numerics import grouped_normalization

OPERATIONS = ("layer_norm", "group_norm", "instance_norm")
LAYERS = {
    "layer_norm": LayerNorm,
    "group_norm": lambda features, **options: GroupNorm(1, features, **options),
    "instance_norm": InstanceNorm,
}
each_operation = pytest.mark.parametrize("operation", OPERATIONS)


def options_of(operation, shape, groups=None):
    """The arguments beside the arrays."""
    if operation != "group_norm":
        return {}
    features = shape[-1]
    return {"groups": groups or next(n for n in (4, 3, 2, 1) if features % n == 0)}


def vectors(shape, dtype, seed=0):
    rng = np.random.default_rng(seed)
    gamma = rng.uniform(0.5, 1.5, shape[-1]).astype(dtype)
    return gamma, rng.standard_normal(shape[-1]).astype(dtype)


def both_passes(operation, x, gamma, beta, dy, room=functional, **options):
    y, cache = getattr(room, f"{operation}_forward")(x, gamma, beta, **options)
    return y, *getattr(room, f"{operation}_backward")(dy, cache)


def in_groups(operation, values, groups=1):
    """(examples, groups, values of one): what has a mean of its own lies on the last axis."""
    features = values.shape[-1]
    if operation == "layer_norm":
        return values.reshape(-1, 1, features)
    groups = features if operation == "instance_norm" else groups
    own = features // groups
    return np.moveaxis(values.reshape(len(values), -1, groups, own), 2, 1).reshape(
        len(values), groups, -1
    )


# PyTorch


def pytorchs(operation, x, gamma, beta, dy, groups=1, epsilon=1e-5):
    """y and the gradients, the channels last."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    last = -1 if operation == "layer_norm" else 1
    # In another layout its instance_norm of (1, C, 1, 2) has a wrong gradient (2.13).
    x, dy = (np.ascontiguousarray(np.moveaxis(each, -1, last)) for each in (x, dy))
    x, gamma, beta = (torch.tensor(each, requires_grad=True) for each in (x, gamma, beta))
    if operation == "layer_norm":
        y = torch.nn.functional.layer_norm(x, x.shape[-1:], gamma, beta, eps=epsilon)
    elif operation == "group_norm":
        y = torch.nn.functional.group_norm(x, groups, gamma, beta, eps=epsilon)
    else:
        y = torch.nn.functional.instance_norm(x, weight=gamma, bias=beta, eps=epsilon)
    y.backward(torch.tensor(dy))
    y, dx, *vectors = (each.detach().numpy() for each in (y, x.grad, gamma.grad, beta.grad))
    return [np.moveaxis(y, last, -1), np.moveaxis(dx, last, -1), *vectors]


@settings(max_examples=30)
@given(st.data())
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@each_operation
def test_pytorch_agrees(operation, dtype, data):
    groups = data.draw(st.integers(1, 4)) if operation == "group_norm" else 1
    # Of one value PyTorch's layer norm keeps a rounding error, over std.
    own = data.draw(st.integers(2 if operation == "layer_norm" else 1, 5))
    least = 1 if operation == "instance_norm" else 0
    places = data.draw(st.lists(st.integers(1, 5), min_size=least, max_size=3))
    if operation != "layer_norm" and groups * own * np.prod(places) in (1, own * groups):
        places = [*places, 2]  # PyTorch refuses groups of one value
    shape = (data.draw(st.integers(1, 4)), *places, groups * own)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x, dy = rng.standard_normal((2, *shape)).astype(dtype)
    epsilon = data.draw(st.sampled_from([1e-5, 1e-3, 0.1]))
    arrays = x, *vectors(shape, dtype), dy
    options = {"groups": groups} if operation == "group_norm" else {}
    found = both_passes(operation, *arrays, epsilon=epsilon, **options)
    expected = pytorchs(operation, *arrays, epsilon=epsilon, **options)
    # Where two values are a hundredth apart, 1 / std is 100, and PyTorch's rounding too.
    limit = 2e-4 if dtype == np.float32 else 1e-9
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=limit, atol=limit * max(1, abs(other).max()))


@pytest.mark.parametrize(
    "shape", [(60, 100), (2, 96, 80, 24), (700, 5, 40), (3, 4001, 20)], ids=str
)
@each_operation
def test_pytorch_agrees_where_all_is_taken_in_parts(operation, shape):
    if operation == "instance_norm" and len(shape) == 2:
        return
    x, dy = np.random.default_rng(0).standard_normal((2, *shape))
    options = options_of(operation, shape)
    arrays = x, *vectors(shape, np.float64), dy
    found, expected = (
        both_passes(operation, *arrays, **options),
        pytorchs(operation, *arrays, **options),
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


# Exactness


def assert_keeps_its_digits(operation, x, dy, epsilon=1e-5):
    """Each group's y and dx, and each channel's dgamma and dbeta, by itself."""
    options = options_of(operation, x.shape)
    gamma, beta = vectors(x.shape, np.float32)[0], np.zeros(x.shape[-1], np.float32)
    found = both_passes(operation, x, gamma, beta, dy, epsilon=epsilon, **options)
    x, dy, gamma, beta = (each.astype(np.longdouble) for each in (x, dy, gamma, beta))
    options |= {"epsilon": np.longdouble(epsilon)}
    expected = both_passes(operation, x, gamma, beta, dy, reference, **options)
    # The sizes of what is added up.
    x_hat = both_passes(operation, x, gamma / gamma, beta, dy, reference, **options)[0]
    groups = options.get("groups", 1)
    deviations = in_groups(operation, x, groups)
    variance = deviations.var(-1, keepdims=True)
    std = np.sqrt(variance + np.longdouble(epsilon))
    rows = -1, x.shape[-1]
    sizes = (
        abs(in_groups(operation, expected[0], groups)).max(-1, keepdims=True),
        abs(in_groups(operation, gamma * dy, groups) / std).max(-1, keepdims=True),
        np.maximum(abs(expected[2]), two_norm((dy * x_hat).reshape(rows))),
        np.maximum(abs(expected[3]), two_norm(dy.reshape(rows))),
    )
    for name, one, other, size in zip(BOUNDS, found, expected, sizes, strict=True):
        error = abs(one - other)
        if error.ndim > 1:
            error = in_groups(operation, error, groups)
        assert (error / np.maximum(size, np.finfo(np.float32).tiny)).max() <= BOUNDS[name], name


# Some are taken in parts: several examples at a time, or some places of one.
SHAPES = [(60, 100), (5, 6, 5), (1025, 2, 3), (4, 14, 14, 16), (3, 64, 33, 24), (1, 40_001, 4)]


@pytest.mark.parametrize("mean", [0, 1, -1e3, 1e6])
@pytest.mark.parametrize("std", [1e-30, 1, 1e30])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@each_operation
def test_float32_far_from_0_and_of_any_size_keeps_its_digits(operation, shape, std, mean):
    rng = np.random.default_rng(0)
    x = (std * (rng.standard_normal(shape) + mean)).astype(np.float32)
    dy = (rng.standard_normal(shape) * np.clip(std, 1e-6, 1e6)).astype(np.float32)
    assert_keeps_its_digits(operation, x, dy)


@pytest.mark.parametrize("mean", [1, 1e4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@each_operation
def test_sums_of_two_values_and_one_sided_gradients_keep_their_digits(operation, shape, mean):
    rng = np.random.default_rng(0)
    x = np.where(rng.random(shape) < 0.1, 0.7, 0.1).astype(np.float32)
    assert_keeps_its_digits(operation, x, (rng.standard_normal(shape) + mean).astype(np.float32))


@each_operation
def test_parts_that_are_not_like_the_first_keep_their_digits(operation):
    # The first part is constant, the second lies elsewhere.
    x = np.random.default_rng(0).standard_normal((1, 40_000, 4)).astype(np.float32)
    x[:, : grouped_normalization.ROOM // 4] = 1e6
    x[:, 36_000:] -= 1e4
    assert_keeps_its_digits(operation, x, x[:, ::-1] / np.float32(1e6))


@pytest.mark.parametrize("mean", [1e6, 1e12])
@pytest.mark.parametrize("shape", [(60, 100), (4, 14, 14, 16), (1, 40_001, 4)], ids=str)
@each_operation
def test_float64_far_from_0_is_off_by_rounding_alone(operation, shape, mean):
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, *shape))
    x += mean
    arrays, options = (*vectors(shape, np.float64), dy), options_of(operation, shape)
    found = both_passes(operation, x, *arrays, **options)
    # Of x - mean, which is exact: the oracle has three digits more, not twelve.
    exact = [each.astype(np.longdouble) for each in (x - mean, *arrays)]
    expected = both_passes(operation, *exact, reference, **options)
    for one, other in zip(found, expected, strict=True):
        assert abs(one - other).max() <= 4e-15 * abs(other).max()


# Laws


SMALL_SHAPES = [(7, 6), (4, 6, 4), (2, 3, 5, 6)]


def make(shape, dtype=np.float64, seed=0):
    x, dy = np.random.default_rng(seed).standard_normal((2, *shape)).astype(dtype)
    return x, *vectors(shape, dtype), dy


@pytest.mark.parametrize("shape", SMALL_SHAPES, ids=str)
@each_operation
def test_what_is_added_to_all_values_of_a_group_does_not_matter(operation, shape):
    x, *rest = make(shape)
    options = options_of(operation, shape, 2)
    expected = both_passes(operation, x, *rest, **options)
    for shift in (8.0, -1024.0):
        for one, other in zip(
            both_passes(operation, x + shift, *rest, **options), expected, strict=True
        ):
            np.testing.assert_allclose(one, other, atol=1e-11)
    dx = in_groups(operation, expected[1], 2)
    np.testing.assert_allclose(dx.sum(-1), 0, atol=1e-13)


@pytest.mark.parametrize("shape", SMALL_SHAPES, ids=str)
@each_operation
def test_without_epsilon_the_size_of_a_group_does_not_matter(operation, shape):
    if operation == "instance_norm" and len(shape) == 2:
        return
    x, gamma, beta, dy = make(shape)
    options = options_of(operation, shape, 2) | {"epsilon": 0}
    y, dx, dgamma, dbeta = both_passes(operation, x, gamma, beta, dy, **options)
    for factor in (8.0, 1e-120, 1e120):
        found = both_passes(operation, factor * x, gamma, beta, dy, **options)
        for one, other in zip(found, (y, dx / factor, dgamma, dbeta), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12 * abs(other).max())
    y = both_passes(operation, x, np.ones_like(gamma), 0 * beta, dy, **options)[0]
    np.testing.assert_allclose(in_groups(operation, y, 2).mean(-1), 0, atol=1e-14)
    np.testing.assert_allclose(in_groups(operation, y, 2).var(-1), 1)
    # So the gradient has no part along x.
    along = in_groups(operation, dx * x, 2).sum(-1)
    np.testing.assert_allclose(along, 0, atol=1e-13)


@pytest.mark.parametrize("shape", [(7, 4), (4, 6, 4), (2, 3, 5, 6), (2, 96, 80, 24)], ids=str)
def test_group_norm_is_layer_norm_and_instance_norm_at_its_ends(shape, dtype):
    x, gamma, beta, dy = make(shape, dtype)
    one_each = both_passes("group_norm", x, gamma, beta, dy, groups=shape[-1])
    expected = both_passes("instance_norm", x, gamma, beta, dy)
    for found, other in zip(one_each, expected, strict=True):
        np.testing.assert_array_equal(found, other)
    # With one group: layer norm of a whole example, gamma and beta repeated at each place.
    places = x[0].size // shape[-1]
    y, dx, dgamma, dbeta = both_passes("group_norm", x, gamma, beta, dy, groups=1)
    rows = len(x), -1
    others = both_passes(
        "layer_norm",
        x.reshape(rows),
        np.tile(gamma, places),
        np.tile(beta, places),
        dy.reshape(rows),
    )
    limit = 30 * np.finfo(dtype).eps
    for found, other in zip((y, dx), others, strict=False):
        np.testing.assert_allclose(found.reshape(rows), other, rtol=limit, atol=limit)
    for found, other in zip((dgamma, dbeta), others[2:], strict=True):
        total = other.astype(np.float64).reshape(places, -1).sum(0)
        np.testing.assert_allclose(
            found, total, rtol=1e-4 if dtype == np.float32 else 1e-9, atol=limit * places
        )


@pytest.mark.parametrize("shape", [(7, 4), (5, 6, 4), (17, 700, 20), (3, 40_001, 4)], ids=str)
@each_operation
def test_an_example_alone_decides_its_output(operation, shape):
    x, gamma, beta, dy = make(shape)
    options = options_of(operation, shape, 2)
    y, dx, *_ = both_passes(operation, x, gamma, beta, dy, **options)
    for n in range(len(x)):
        own = both_passes(operation, x[n : n + 1], gamma, beta, dy[n : n + 1], **options)
        for one, other in zip(own, (y, dx), strict=False):
            np.testing.assert_allclose(one[0], other[n], rtol=1e-13, atol=1e-13)


# What has no deviation, or none that is finite


CONSTANT = [(3, 4), (2, 5, 4), (2, 40_001, 4)]


@pytest.mark.parametrize("value", [0.1, 0, -3e30, 1e-40])
@pytest.mark.parametrize("shape", CONSTANT, ids=str)
@each_operation
def test_a_constant_group_becomes_beta_and_its_dx_is_0(operation, shape, value, dtype):
    x, gamma, beta, dy = make(shape, dtype)
    x[0] = value
    for epsilon in (0, 1e-5):
        options = options_of(operation, shape, 2) | {"epsilon": epsilon}
        y, dx, dgamma, _ = both_passes(operation, x, gamma, beta, dy, **options)
        np.testing.assert_array_equal(y[0], np.broadcast_to(beta, x[0].shape))
        assert np.isfinite(y).all()
        assert np.isfinite(dx).all()
        assert np.isfinite(dgamma).all()
        if not epsilon:
            assert not dx[0].any()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("shape", CONSTANT, ids=str)
@each_operation
def test_what_is_not_finite_shows_in_its_group_alone(operation, shape, value, dtype):
    x, gamma, beta, dy = make(shape, dtype)
    place = (1,) * (len(shape) - 1) + (2,)
    x[place] = value
    options = options_of(operation, shape, 2)
    y, dx, *_ = both_passes(operation, x, gamma, beta, dy, **options)
    wrong = np.isnan(in_groups(operation, np.where(np.isfinite(x), 0, np.nan), 2)).any(-1)
    for found in (y, dx):
        shown = np.isnan(in_groups(operation, found, 2))
        np.testing.assert_array_equal(shown, np.broadcast_to(wrong[..., np.newaxis], shown.shape))


@each_operation
def test_squares_that_float64_cannot_hold_make_nan_not_beta(operation):
    x = np.array([[[1e200, 1.0], [2, 4]], [[1, 2], [3, 5]]])
    options = options_of(operation, x.shape, 1)
    y, *_ = both_passes(operation, x, np.ones(2), np.zeros(2), x / 2, **options)
    assert np.isnan(y[0, 0, 0])
    assert np.isfinite(y[1]).all()


@pytest.mark.parametrize("shape", [(3, 4), (3, 1, 4), (5000, 1, 1, 9)], ids=str)
def test_instance_norm_of_one_place_is_beta(shape, dtype):
    x, gamma, beta, dy = make(shape, dtype)
    y, dx, dgamma, dbeta = both_passes("instance_norm", x, gamma, beta, dy)
    np.testing.assert_array_equal(y, np.broadcast_to(beta, shape))
    assert not dx.any()
    assert not dgamma.any()
    np.testing.assert_allclose(dbeta, dy.reshape(-1, shape[-1]).sum(0), rtol=1e-4, atol=1e-5)
    for training in (True, False):
        layer = InstanceNorm(shape[-1], dtype=dtype)
        assert not layer.forward(x, training=training).any()
        assert not layer.backward(dy).any()


# Memory, and what a cache shows


@each_operation
def test_room_is_for_some_values_at_a_time(operation):
    x, gamma, beta, dy = make((80, 64, 64, 16), np.float32)
    options = options_of(operation, x.shape)
    forward = getattr(functional, f"{operation}_forward")
    backward = getattr(functional, f"{operation}_backward")
    caches = []
    room = 6 * 8 * grouped_normalization.ROOM + (x.nbytes // 2 if operation == "layer_norm" else 0)
    _, most = memory_of(lambda: caches.append(forward(x, gamma, beta, **options)))
    assert most < x.nbytes + room
    _, most = memory_of(lambda: backward(dy, caches[0][1]))
    assert most < x.nbytes + room


def test_the_cache_of_layer_norm_has_its_rows_statistics(dtype):
    x, gamma, beta, _ = make((4, 3, 50), dtype)
    _, cache = functional.layer_norm_forward(x, gamma, beta, epsilon=0.1)
    for found, expected in (
        (cache.mean, x.mean(-1, keepdims=True)),
        (cache.inverse_std, 1 / np.sqrt(x.var(-1, keepdims=True) + 0.1)),
    ):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
        found[...] = 7
    assert not (cache.mean == 7).any()
    # The mean of float64 with the digits that its sum lost.
    x = np.full((1, 30_001), 0.1)
    _, cache = functional.layer_norm_forward(x, np.ones(30_001), np.zeros(30_001))
    assert cache.mean[0, 0] == 0.1


# The layers


@each_operation
def test_a_layer_starts_with_a_gamma_of_ones_and_a_beta_of_zeros(operation):
    norm = LAYERS[operation](4)
    assert norm.dtype == np.float32
    assert norm.epsilon == 1e-5
    np.testing.assert_array_equal(norm.gamma, np.ones(4))
    np.testing.assert_array_equal(norm.beta, np.zeros(4))
    assert not norm.state
    without = LAYERS[operation](4, center=False, scale=False)
    assert without.gamma is without.beta is None
    x = make((3, 5, 4), np.float32)[0]
    np.testing.assert_array_equal(without.forward(x), norm.forward(x))


@pytest.mark.parametrize(
    "shown",
    [
        "LayerNorm(5)",
        "LayerNorm(5, epsilon=0.1)",
        "GroupNorm(2, 6)",
        "GroupNorm(3, 6, epsilon=0.001, center=False)",
        "InstanceNorm(5, scale=False)",
        "InstanceNorm(5, epsilon=0.0, center=False, scale=False)",
    ],
)
def test_a_layer_shows_what_one_types(shown):
    assert repr(eval(shown)) == shown


@each_operation
def test_every_mode_is_the_same(operation, mode):
    x, *_, dy = make((3, 5, 4), np.float32)
    layer, twin = LAYERS[operation](4), LAYERS[operation](4)
    np.testing.assert_array_equal(layer.forward(x, **mode), twin.forward(x))
    np.testing.assert_array_equal(layer.backward(dy), twin.backward(dy))


@each_operation
def test_epsilon_is_checked_wherever_it_is_set(operation):
    make_layer = LAYERS[operation]
    for value, message in ((-1, "at least 0"), (1e-50, "or at least 1.17549e-38 in float32")):
        with pytest.raises(ValueError, match=f"^epsilon: expected .*{message}"):
            make_layer(2, epsilon=value)
        norm = make_layer(2)
        with pytest.raises(ValueError, match=f"^epsilon: expected .*{message}"):
            norm.epsilon = value
        assert norm.epsilon == 1e-5
    with pytest.raises(ValueError, match="in float32, got 1e-50"):
        make_layer(2, epsilon=1e-50, dtype=np.float64).astype(np.float32)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"features": 0}, ValueError, "features: expected at least 1, got 0"),
        ({"features": 4.0}, TypeError, "features: expected a whole number, got float 4.0"),
        ({"groups": 0}, ValueError, "groups: expected at least 1, got 0"),
        ({"groups": 3}, ValueError, "groups: expected a divisor of the 4 channels, got 3"),
        ({"groups": 2.0}, TypeError, "groups: expected a whole number, got float 2.0"),
        ({"epsilon": "0"}, TypeError, "epsilon: expected a number, got str '0'"),
        ({"center": 1}, TypeError, "center: expected True or False, got int 1"),
        ({"scale": None}, TypeError, "scale: expected True or False"),
        ({"dtype": int}, TypeError, "dtype: expected np.float32 or np.float64"),
    ],
)
def test_wrong_arguments_are_refused(arguments, error, message):
    for kind in (GroupNorm, LayerNorm, InstanceNorm):
        given = {"features": 4} | arguments
        if kind is GroupNorm:
            given = {"groups": 2} | given
        elif "groups" in given:
            continue
        with pytest.raises(error, match=f"^{message}"):
            kind(**given)


def test_groups_that_do_not_divide_are_refused():
    x, gamma, beta, _ = make((2, 3, 4))
    with pytest.raises(ValueError, match=r"^groups: expected a divisor of the 4 channels"):
        functional.group_norm_forward(x, gamma, beta, groups=3)
