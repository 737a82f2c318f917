"""Batch renormalization: its readings and PyTorch's agree, its schedule, its r and d in checks."""

import copy

import numpy as np
import pytest
from shared import frozen

from npbn import (
    SGD,
    BatchNorm,
    BatchRenorm,
    Dense,
    ReLU,
    Sequential,
    fit,
    functional,
    gradient_check,
    reference,
)
from npbn.functional.batch_renorm import Limits

AT_ONCE = {"r_steps": 0, "d_steps": 0}


def make(shape=(7, 5), dtype=np.float64, seed=0):
    """x, gamma, beta, and the population's mean and std: some corrections are clipped, some not."""
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, shape)
    gamma, beta, mean, std = rng.uniform(0.5, 2.5, (4, shape[-1]))
    return [each.astype(dtype) for each in (x, gamma, beta, mean, std)]


def upstream(x, seed=100):
    return np.random.default_rng(seed).standard_normal(x.shape).astype(x.dtype)


def layer(gamma, beta, mean, std, **settings):
    norm = BatchRenorm(len(gamma), dtype=gamma.dtype, **settings)
    norm.gamma, norm.beta, norm.population_mean, norm.population_std = gamma, beta, mean, std
    return norm


def computed(room, x, gamma, beta, mean, std, dy, **limits):
    """r, d, y, dx, dgamma and dbeta by the functions of a room; the cache."""
    r, d = room.batch_renorm_corrections(x, mean, std, **limits)
    y, cache = room.batch_renorm_forward(x, gamma, beta, r, d)
    return [r, d, y, *room.batch_renorm_backward(dy, cache)], cache


# What it computes


LIMITS = [(3.0, 5.0), (1.2, 0.3), (1.0, 0.0), (1e6, 1e6)]


@pytest.mark.parametrize("limits", LIMITS, ids=str)
def test_the_readings_agree(shape, limits, dtype, assert_close):
    given = make(shape, dtype)
    given.append(upstream(given[0]))
    limits = dict(zip(("r_max", "d_max"), limits, strict=True))
    found, cache = computed(functional, *given, **limits)
    norm = layer(*given[1:5], **AT_ONCE, **limits)
    y, dx = norm.forward(given[0], training=True), norm.backward(given[-1])
    true, exact = computed(reference, *(each.astype(np.longdouble) for each in given), **limits)
    for one, expected in zip(found, true, strict=True):
        assert one.dtype == dtype
        assert_close(one, expected)
    of_layer = y, dx, *norm.gradients.values(), norm.batch_mean, norm.batch_std
    for one, expected in zip(of_layer, (*true[2:], exact.mean, exact.std), strict=True):
        assert one.dtype == dtype
        assert_close(one, expected)
    assert_close(cache.mean, exact.mean)
    assert_close(cache.std, exact.std)
    assert_close(cache.x_hat, (true[2] - given[2]) / given[1])


def test_its_corrections_are_clipped():
    x, _, _, mean, std = make((60, 5))
    std *= np.array([0.01, 100, 1, 1, 1])
    mean += np.array([0, 0, 1000, -1000, 0])
    r, d = functional.batch_renorm_corrections(x, mean, std, r_max=4.0, d_max=2.0)
    assert (r[0], r[1], d[2], d[3]) == (4, 1 / 4, -2, 2)
    np.testing.assert_allclose(r[4], np.sqrt(x[:, 4].var() + 1e-3) / std[4])
    np.testing.assert_allclose(d[4], (x[:, 4].mean() - mean[4]) / std[4])


def test_a_population_without_spread_corrects_towards_nothing():
    x, gamma, beta, mean, std = make()
    std[2] = 0
    r, d = functional.batch_renorm_corrections(x, mean, std, r_max=2.0)
    assert (r[2], d[2]) == (1 / 2, 0)
    norm = layer(gamma, beta, mean, std, **AT_ONCE, momentum=1)
    np.testing.assert_array_equal(norm.forward(x)[:, 2], beta[2])
    assert np.isfinite(norm.forward(x, training=True)).all()


@pytest.mark.parametrize(
    "settings", [{"r_max": 1, "d_max": 0} | AT_ONCE, {"r_max": 3, "d_max": 5}], ids=str
)
def test_without_corrections_it_is_batch_norm_to_the_bit(shape, settings, dtype):
    x, *given = make(shape, dtype)
    norm, plain = layer(*given, **settings), BatchNorm(shape[-1], dtype=dtype)
    plain.gamma, plain.beta, plain.population_mean = given[:3]
    for seed in range(3):
        x = make(shape, dtype, seed)[0]
        for mode in ({"training": True}, {"statistics": "batch"}):
            np.testing.assert_array_equal(norm.forward(x, **mode), plain.forward(x, **mode))
            np.testing.assert_array_equal(norm.backward(upstream(x)), plain.backward(upstream(x)))
            for name, gradient in norm.gradients.items():
                np.testing.assert_array_equal(gradient, plain.gradients[name])
        np.testing.assert_array_equal(norm.population_mean, plain.population_mean)


def test_where_nothing_is_clipped_training_computes_what_inference_does(shape, dtype, assert_close):
    x, *given = make(shape, dtype)
    norm = layer(*given, r_max=1e6, d_max=1e6, **AT_ONCE)
    expected = norm.forward(x)
    assert_close(norm.forward(x, training=True), expected)
    # But its gradient is a projection of dy, as batch norm's.
    dx = norm.backward(upstream(x))
    sums = dx.sum(tuple(range(dx.ndim - 1)), dtype=np.float64)
    assert abs(sums).max() <= 1e-5 * abs(dx).sum()


def test_inference_is_batch_norms_of_the_squared_std(shape, dtype, assert_close):
    x, gamma, beta, mean, std = make(shape, dtype)
    norm = layer(gamma, beta, mean, std)
    y, dx = norm.forward(x), norm.backward(upstream(x))
    statistics = {"mean": mean, "variance": std**2, "epsilon": 0.0}
    assert_close(y, functional.batch_norm_inference(x, gamma, beta, **statistics))
    expected = functional.batch_norm_inference_backward(upstream(x), x, gamma, **statistics)
    for one, other in zip((dx, *norm.gradients.values()), expected, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("momentum", [0.9, None])
@pytest.mark.parametrize("shape", [(7, 5), (60, 10), (2, 3, 4, 5)], ids=str)
def test_agrees_with_pytorch_that_detaches_r_and_d(shape, momentum, dtype, assert_close):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")
    x, *given = make(shape, dtype)
    norm = layer(*given, momentum=momentum, r_max=1.5, d_max=0.5, plain_steps=1, r_steps=3)
    norm.d_steps = 4
    gamma, beta, mean, std = (torch.from_numpy(each.copy()) for each in given)
    axes = tuple(range(len(shape) - 1))
    for step in range(6):
        x = make(shape, dtype, step)[0]
        y = norm.forward(x, training=True)
        dx = norm.backward(upstream(x))
        their_x, *parameters = (
            each.clone().requires_grad_() for each in (torch.from_numpy(x), gamma, beta)
        )
        batch_mean = their_x.mean(axes)
        batch_std = (their_x.var(axes, unbiased=False) + norm.epsilon).sqrt()
        r_max = 1 + 0.5 * min(max((step - 1) / 2, 0), 1)
        d_max = 0.5 * min(max((step - 1) / 3, 0), 1)
        r = (batch_std / std).clamp(1 / r_max, r_max).detach()
        d = ((batch_mean - mean) / std).clamp(-d_max, d_max).detach()
        their_y = parameters[0] * ((their_x - batch_mean) / batch_std * r + d) + parameters[1]
        their_y.backward(torch.from_numpy(upstream(x)))
        own = step / (step + 1) if momentum is None else momentum
        mean = own * mean + (1 - own) * batch_mean.detach()
        std = own * std + (1 - own) * batch_std.detach()
        assert_close(y, their_y.detach().numpy(), units=80)
        assert_close(dx, their_x.grad.numpy(), units=80)
        for each, gradient in zip(parameters, norm.gradients.values(), strict=True):
            assert_close(gradient, each.grad.numpy(), units=80)
        assert_close(norm.population_mean, mean.numpy())
        assert_close(norm.population_std, std.numpy())


@pytest.mark.parametrize("shape", [(60, 3), (40_000, 3)], ids=str)
@pytest.mark.parametrize("far", [0, 1e4])
def test_it_keeps_its_digits_far_from_0(shape, far, assert_close):
    rng = np.random.default_rng(0)
    x = (far + 0.1 * rng.standard_normal(shape)).astype(np.float32)
    gamma, beta, std = rng.uniform(0.5, 1.5, (3, 3)).astype(np.float32) / np.float32(10)
    given = [x, gamma, beta, np.full(3, far + 0.05, np.float32), std, upstream(x)]
    found, _ = computed(functional, *given)
    true, _ = computed(reference, *(each.astype(np.longdouble) for each in given))
    for one, expected in zip(found, true, strict=True):
        assert_close(one, expected, units=8)


# The population


@pytest.mark.parametrize("momentum", [0, 0.5, 0.99, 1])
def test_the_population_follows_mean_and_std_themselves(momentum, shape, dtype, assert_close):
    x, *given = make(shape, dtype)
    norm = layer(*given, momentum=momentum, epsilon=0.1)
    axes = tuple(range(len(shape) - 1))
    for seed in range(3):
        x = make(shape, dtype, seed)[0]
        before = {name: array.astype(np.float64) for name, array in norm.state.items()}
        norm.forward(x, training=True)
        batch_std = np.sqrt(x.var(axes, dtype=np.float64) + 0.1)
        for name, batch in (("mean", x.mean(axes, dtype=np.float64)), ("std", batch_std)):
            old = before[f"population_{name}"]
            expected = reference.update_population(old, batch, momentum=momentum)
            assert_close(norm.state[f"population_{name}"], expected)
        assert norm.state["population_batches"] == seed + 1


@pytest.mark.parametrize("settings", [{}, {"frozen": True}], ids=str)
@pytest.mark.parametrize("mode", [{}, {"training": True, "statistics": "population"}], ids=str)
def test_elsewhere_nothing_moves(mode, settings):
    x, *given = make()
    norm = layer(*given, **settings)
    before = frozen(norm.state)
    norm.forward(x, **mode)
    norm.forward(x, statistics="batch")
    if settings:
        norm.forward(x, training=True)
    assert frozen(norm.state) == before


def test_exact_statistics_are_those_of_all_rows():
    x, *given = make((50, 5))
    network = Sequential([layer(*given, epsilon=0.1)])
    network.forward(x, training=True)
    network.recompute_population(x, batch_size=7)
    norm = network.layers[0]
    np.testing.assert_allclose(norm.population_mean, x.mean(0))
    np.testing.assert_allclose(norm.population_std, np.sqrt(x.var(0) + 0.1))
    assert norm.state["population_batches"] == 1


@pytest.mark.parametrize("mode", [{"training": True}, {"statistics": "batch"}, {}], ids=str)
def test_a_mask_leaves_out_what_is_not_there(mode, dtype):
    x, *given = make((5, 7, 3), dtype)
    mask = np.arange(7) < np.array([4, 1, 7, 2, 3])[:, np.newaxis]
    norm, plain = layer(*given, **AT_ONCE), layer(*given, **AT_ONCE)
    y, rows = norm.forward(x, **mode, mask=mask), plain.forward(x[mask], **mode)
    dx, dx_rows = norm.backward(upstream(x)), plain.backward(upstream(x)[mask])
    for found, expected in ((y, rows), (dx, dx_rows)):
        np.testing.assert_array_equal(found[mask], expected)
        assert not found[~mask].any()
    assert frozen(norm) == frozen(plain)


def test_in_a_network_it_follows_the_population_as_it_is_at_each_step(dtype):
    _, *given = make((7, 5), dtype)
    norm, each = layer(*given, **AT_ONCE), Sequential([layer(*given, **AT_ONCE), ReLU()])
    for seed in range(4):
        x = make((7, 5), dtype, seed)[0]
        y = np.maximum(norm.forward(x, training=True), 0)
        np.testing.assert_array_equal(each.forward(x, training=True), y)
        if seed == 2:
            for one in (norm, each.layers[0]):
                one.population_std = given[-1]


# The schedule


@pytest.mark.parametrize(
    ("batches", "r_max", "d_max"),
    [
        (-1, 1, 0),
        (0, 1, 0),
        (5_000, 1, 0),
        (5_001, 1 + 2 / 35_000, 5 / 20_000),
        (15_000, 1 + 2 * 10 / 35, 2.5),
        (25_000, 1 + 2 * 20 / 35, 5),
        (39_999, 3 - 2 / 35_000, 5),
        (40_000, 3, 5),
        (10**9, 3, 5),
    ],
)
def test_the_limits_rise_as_the_paper_says(batches, r_max, d_max):
    norm = BatchRenorm(1, dtype=np.float64)
    limits = Limits(norm.r_max, norm.d_max, norm.plain_steps, norm.r_steps, norm.d_steps)
    np.testing.assert_allclose(limits.after(batches), (r_max, d_max), rtol=1e-12)
    # The population is so far away that both are at their limits.
    norm.population_mean[...], norm.population_std[...] = -1e6, 1e-3
    norm.state["population_batches"][...] = batches
    x = np.random.default_rng(0).standard_normal((9, 1))
    y = norm.forward(x, training=True)
    expected = (x - x.mean()) / np.sqrt(x.var() + 1e-3) * r_max + d_max
    np.testing.assert_allclose(y, expected, rtol=1e-9)


def test_r_steps_of_0_are_at_once_whatever_plain_steps_is():
    assert Limits(3, 5, 100, 0, 0).after(0) == (3, 5)
    assert Limits(3, 5, 100, 50, 100).after(50) == (3, 0)
    assert Limits(3, 5, 100, 50, 100).after(100) == (3, 5)


def network(**settings):
    rng = np.random.default_rng(0)
    norm = BatchRenorm(6, plain_steps=2, r_steps=9, d_steps=6, **settings)
    return Sequential([Dense(4, 6, rng=rng), norm, ReLU(), Dense(6, 3, rng=rng)])


@pytest.mark.parametrize("momentum", [0.9, None])
def test_training_that_resumes_goes_on_in_its_place(momentum, tmp_path):
    images = np.random.default_rng(1).standard_normal((60, 4)).astype(np.float32)
    data = images, np.arange(60) % 3
    options = {"batch_size": 6, "checkpoint_every": 2, "progress": False}
    whole, half, rest = (network(momentum=momentum) for _ in range(3))
    fit(whole, data, optimizer=SGD(0.1), steps=8, **options)
    options["checkpoint"] = tmp_path / "run.npz"
    fit(half, data, optimizer=SGD(0.1), steps=4, **options)
    fit(rest, data, optimizer=SGD(0.1), steps=8, resume=True, **options)
    assert frozen(rest.parameters, rest.state) == frozen(whole.parameters, whole.state)
    assert rest.state["1.population_batches"] == 8
    rest.save(tmp_path / "network.npz")
    other = network(momentum=momentum)
    other.load(tmp_path / "network.npz")
    assert other.state["1.population_batches"] == 8


def test_its_limits_may_be_set_between_steps():
    each, x = network(), np.random.default_rng(1).standard_normal((8, 4)).astype(np.float32)
    norm = each.layers[1]
    norm.r_steps = norm.d_steps = 0
    before = each.forward(x, training=True)
    norm.r_max, norm.d_max = 1, 0
    other = copy.deepcopy(each)
    after = each.forward(x, training=True)
    assert not np.allclose(before, after)
    np.testing.assert_array_equal(after, other.forward(x, training=True))


def test_a_file_may_be_loaded_with_another_schedule(tmp_path):
    one, other = network(), network(r_max=2, momentum=0.5)
    one.save(tmp_path / "network.npz")
    with pytest.warns(UserWarning, match="r_max"):
        other.load(tmp_path / "network.npz")


# r and d in a gradient check


@pytest.mark.parametrize("batches", [0, 4, 100])
@pytest.mark.parametrize("momentum", [0, 0.9, None])
def test_gradient_check_holds_r_and_d(batches, momentum):
    x = make((9, 5), seed=3)[0]
    norm = layer(*make()[1:], momentum=momentum, plain_steps=2, r_steps=8, d_steps=8)
    norm.state["population_batches"][...] = batches
    before = frozen(norm)
    each = Sequential([norm, ReLU(), Dense(5, 3, rng=0, dtype=np.float64)])
    for checked in (norm, each):
        for mode in ({"training": True}, {"training": False, "statistics": "batch"}):
            report = gradient_check(checked, x, **mode)
            assert report, report
    assert frozen(norm) == before
    # What was held was the copy's.
    if batches > norm.plain_steps:
        y = norm.forward(x, training=True)
        assert not np.allclose(norm.forward(x + 0.1, training=True), y)


def test_held_constants_stay_whatever_comes():
    x, *given = make((9, 5))
    norm = layer(*given, **AT_ONCE)
    norm.hold_constants()
    y = norm.forward(x, training=True)
    r, d = functional.batch_renorm_corrections(x, *given[2:])
    other = make((9, 5), seed=1)[0] * 3
    expected, _ = functional.batch_renorm_forward(other, *given[:2], r, d)
    np.testing.assert_array_equal(norm.forward(other, training=True), expected)
    np.testing.assert_array_equal(norm.forward(x), layer(*norm_arrays(norm)).forward(x))
    np.testing.assert_array_equal(norm.forward(x, training=True), y)


def norm_arrays(norm):
    return norm.gamma, norm.beta, norm.population_mean, norm.population_std


# What is refused, and what is said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("r_max", value) for value in (0.5, -1, np.nan, np.inf, None, "3", True)),
        *(("d_max", value) for value in (-0.5, np.nan, np.inf, None, "3")),
        *((f"{each}_steps", value) for each in ("plain", "r", "d") for value in (-1, 0.5, None)),
        ("momentum", 1.5),
        ("epsilon", -1),
    ],
)
def test_wrong_settings_are_refused(name, value):
    norm = BatchRenorm(5)
    before = repr(norm)
    for call in (lambda: BatchRenorm(5, **{name: value}), lambda: setattr(norm, name, value)):
        with pytest.raises((TypeError, ValueError), match=f"^{name}: expected"):
            call()
    assert repr(norm) == before
    if name in ("r_max", "d_max"):
        x, _, _, mean, std = make()
        with pytest.raises((TypeError, ValueError), match=f"^{name}: expected"):
            functional.batch_renorm_corrections(x, mean, std, **{name: value})


def test_a_negative_std_is_refused():
    x, _, _, mean, std = make()
    with pytest.raises(ValueError, match=r"^std: expected at least 0, got -"):
        functional.batch_renorm_corrections(x, mean, -std)


def test_a_batch_of_one_value_is_refused_in_training():
    x, *given = make((1, 5))
    norm = layer(*given)
    before = frozen(norm)
    with pytest.raises(ValueError, match=r"^BatchRenorm\(5\): expected two values or more"):
        norm.forward(x, training=True)
    assert frozen(norm) == before
    np.testing.assert_array_equal(norm.forward(x, statistics="batch")[0], given[1])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_a_batch_that_is_not_finite_moves_nothing(value):
    x, *given = make()
    norm = layer(*given, **AT_ONCE)
    before = frozen(norm)
    x[2, 3] = value
    with pytest.raises(ValueError, match=r"^BatchRenorm\(.*not finite"):
        norm.forward(x, training=True)
    assert frozen(norm) == before


@pytest.mark.parametrize(
    "text",
    ["BatchRenorm(5)", "BatchRenorm(5, momentum=None, r_max=2.0, plain_steps=0, center=False)"],
)
def test_repr_is_what_makes_the_layer(text):
    assert repr(eval(text)) == text


def test_the_names_of_others_lead_here():
    for name, own in (("rmax", "r_max"), ("dmax", "d_max"), ("eps", "epsilon")):
        with pytest.raises(TypeError, match=f"no argument '{name}': write {own}="):
            BatchRenorm(5, **{name: 1})
    with pytest.raises(AttributeError, match="no setting 'running_std', it is population_std"):
        BatchRenorm(5).running_std = np.ones(5)
    for name in ("population_variance", "unbiased_population"):
        with pytest.raises(AttributeError, match=f"BatchRenorm: no setting '{name}'"):
            setattr(BatchRenorm(5), name, 1)
