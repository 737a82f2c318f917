"""Ghost batch normalization: batch norm of one ghost batch after another, and PyTorch's too."""

import contextlib
import copy

import numpy as np
import pytest
from shared import frozen

from npbn import BatchNorm, Dense, GhostBatchNorm, ReLU, Sequential, functional, reference

# Batches and ghost sizes: that divide them, that leave a smaller last one, of one image each.
PAIRS = [((12, 5), 4), ((10, 5), 4), ((60, 100), 16), ((1030, 3), 128), ((4, 6, 3), 1)]
PAIRS += [((5, 3, 4, 2), 2), ((40_000, 2), 18_000)]
each_pair = pytest.mark.parametrize(("shape", "ghost_size"), PAIRS, ids=str)
MOMENTA = [0, 0.5, 0.99, 1, None]
each_momentum = pytest.mark.parametrize("momentum", MOMENTA)


def make(shape, dtype=np.float64, seed=0):
    """x, gamma, beta and dy; each row is far from the others, so that it matters where it is."""
    rng = np.random.default_rng(seed)
    x = rng.normal(3, 2, shape) + np.linspace(0, 5, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    gamma, beta = rng.uniform(0.5, 2, (2, shape[-1]))
    return [each.astype(dtype) for each in (x, gamma, beta, rng.standard_normal(shape))]


def layer(kind, gamma, beta, **settings):
    norm = kind(len(gamma), dtype=gamma.dtype, **settings)
    norm.gamma, norm.beta = gamma, beta
    norm.population_mean, norm.population_variance = beta, gamma
    return norm


def cut(array, ghost_size):
    return [array[start : start + ghost_size] for start in range(0, len(array), ghost_size)]


# What it computes


@each_pair
def test_the_readings_agree(shape, ghost_size, dtype, assert_close):
    x, gamma, beta, dy = make(shape, dtype)
    y, cache = functional.ghost_batch_norm_forward(x, gamma, beta, ghost_size=ghost_size)
    found = y, *functional.ghost_batch_norm_backward(dy, cache), cache.mean, cache.variance
    x, gamma, beta, dy = (each.astype(np.longdouble) for each in (x, gamma, beta, dy))
    y, true = reference.ghost_batch_norm_forward(x, gamma, beta, ghost_size=ghost_size)
    expected = y, *reference.ghost_batch_norm_backward(dy, true), true.mean, true.variance
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)
    assert cache.mean.shape == (-(-shape[0] // ghost_size), shape[-1])
    assert_close(cache.x_hat, (y - beta) / gamma)


@each_pair
def test_each_ghost_batch_is_what_batch_norm_makes_of_it(shape, ghost_size, dtype, assert_close):
    x, gamma, beta, dy = make(shape, dtype)
    y, cache = functional.ghost_batch_norm_forward(x, gamma, beta, ghost_size=ghost_size)
    dx, dgamma, dbeta = functional.ghost_batch_norm_backward(dy, cache)
    sums = np.zeros((2, shape[-1]))
    for place, parts in enumerate(zip(*(cut(a, ghost_size) for a in (x, y, dx, dy)), strict=True)):
        x_part, y_part, dx_part, dy_part = parts
        expected, own = functional.batch_norm_forward(x_part, gamma, beta)
        np.testing.assert_array_equal(y_part, expected)
        np.testing.assert_array_equal(cache.mean[place], own.mean)
        np.testing.assert_array_equal(cache.variance[place], own.variance)
        expected, *gradients = functional.batch_norm_backward(dy_part, own)
        np.testing.assert_array_equal(dx_part, expected)
        sums += gradients
    assert_close(dgamma, sums[0])
    assert_close(dbeta, sums[1])


@each_momentum
@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("more", [0, 100])
def test_with_one_ghost_batch_it_is_batch_norm_to_the_bit(shape, momentum, unbiased, more, dtype):
    settings = {"momentum": momentum, "unbiased_population": unbiased}
    x, gamma, beta, dy = make(shape, dtype)
    norm = layer(GhostBatchNorm, gamma, beta, ghost_size=len(x) + more, **settings)
    plain = layer(BatchNorm, gamma, beta, **settings)
    for seed in range(3):
        x, *_, dy = make(shape, dtype, seed)
        for each in ({"training": True}, {}, {"statistics": "batch"}):
            np.testing.assert_array_equal(norm.forward(x, **each), plain.forward(x, **each))
            np.testing.assert_array_equal(norm.backward(dy), plain.backward(dy))
            assert frozen(norm) == frozen(plain)
            np.testing.assert_array_equal(norm.batch_mean, plain.batch_mean)
            np.testing.assert_array_equal(norm.batch_variance, plain.batch_variance)


@pytest.mark.parametrize("momentum", [0.9, None])
@pytest.mark.parametrize(
    ("shape", "ghost_size"), [((12, 5), 4), ((11, 5), 4), ((6, 3, 4, 2), 2)], ids=str
)
def test_agrees_with_pytorchs_batch_norm_of_each_ghost_batch_in_turn(
    shape, ghost_size, momentum, dtype, assert_close
):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")
    x, gamma, beta, dy = make(shape, dtype)
    settings = {"ghost_size": ghost_size, "momentum": momentum, "unbiased_population": True}
    norm = layer(GhostBatchNorm, gamma, beta, **settings)
    kind = torch.nn.BatchNorm2d if len(shape) == 4 else torch.nn.BatchNorm1d
    name, own = np.dtype(dtype).name, None if momentum is None else 1 - momentum
    theirs = kind(shape[-1], eps=norm.epsilon, momentum=own, dtype=getattr(torch, name))
    with torch.no_grad():
        for array, values in (
            (theirs.weight, gamma),
            (theirs.bias, beta),
            (theirs.running_mean, beta),
            (theirs.running_var, gamma),
        ):
            array.copy_(torch.from_numpy(values))
    for seed in range(3):
        x, *_, dy = make(shape, dtype, seed)
        y = norm.forward(x, training=True)
        dx = norm.backward(dy)
        theirs.zero_grad()
        their_x = torch.from_numpy(x).requires_grad_()
        parts = torch.split(their_x.movedim(-1, 1), ghost_size)
        their_y = torch.cat([theirs(part) for part in parts]).movedim(1, -1)
        their_y.backward(torch.from_numpy(dy))
        assert_close(y, their_y.detach().numpy())
        assert_close(dx, their_x.grad.numpy())
        assert_close(norm.gradients["gamma"], theirs.weight.grad.numpy())
        assert_close(norm.gradients["beta"], theirs.bias.grad.numpy())
        assert_close(norm.population_mean, theirs.running_mean.numpy())
        assert_close(norm.population_variance, theirs.running_var.numpy())
    if momentum is None:
        assert norm.state["population_batches"] == theirs.num_batches_tracked.item()
    theirs.eval()
    expected = theirs(torch.from_numpy(x).movedim(-1, 1)).movedim(1, -1).detach().numpy()
    assert_close(norm.forward(x), expected)


# The population


@each_momentum
@each_pair
@pytest.mark.parametrize("unbiased", [False, True])
def test_the_population_takes_one_step_for_each_ghost_batch_in_order(
    shape, ghost_size, momentum, unbiased, dtype
):
    x, gamma, beta, _ = make(shape, dtype)
    settings = {"ghost_size": ghost_size, "momentum": momentum, "unbiased_population": unbiased}
    norm = layer(GhostBatchNorm, gamma, beta, **settings)
    mean, variance, steps = beta.astype(np.float64), gamma.astype(np.float64), 0
    for rows in (len(x), 2 * ghost_size, len(x)):
        norm.forward(x[:rows], training=True)
        for part in cut(x[:rows].astype(np.float64), ghost_size):
            axes, m = tuple(range(x.ndim - 1)), part.size // part.shape[-1]
            own = steps / (steps + 1) if momentum is None else momentum
            batch = part.var(axes) * (m / (m - 1) if unbiased else 1)
            mean = reference.update_population(mean, part.mean(axes), momentum=own)
            variance = reference.update_population(variance, batch, momentum=own)
            steps += 1
        tolerance = {"rtol": 20 * np.finfo(dtype).eps}
        np.testing.assert_allclose(norm.population_mean, mean, **tolerance)
        np.testing.assert_allclose(norm.population_variance, variance, **tolerance)
    assert norm.state.get("population_batches", steps) == steps


def test_the_statistics_of_the_last_batch_are_what_the_population_follows():
    x, gamma, beta, _ = make((12, 5))
    norm = layer(GhostBatchNorm, gamma, beta, ghost_size=4, momentum=0.5)
    norm.forward(x, training=True)
    weights = np.array([1, 2, 4]) / 7
    for shown, of_ghosts in (
        (norm.batch_mean, [part.mean(0) for part in cut(x, 4)]),
        (norm.batch_variance, [part.var(0) for part in cut(x, 4)]),
    ):
        np.testing.assert_allclose(shown, weights @ of_ghosts)
    np.testing.assert_allclose(norm.population_mean, beta / 8 + norm.batch_mean * 7 / 8)


def test_a_thousand_updates_lose_no_digits_in_float32():
    rng, norm = np.random.default_rng(0), GhostBatchNorm(20, ghost_size=4, momentum=0.999)
    mean = np.zeros(20)
    for _ in range(250):
        x = rng.normal(3, 1, (16, 20)).astype(np.float32)
        norm.forward(x, training=True)
        for part in cut(x.astype(np.float64), 4):
            mean = 0.999 * mean + (1 - 0.999) * part.mean(0)
    assert np.abs(norm.population_mean / mean - 1).max() < 1e-7


def test_exact_statistics_are_those_of_all_rows():
    x, gamma, beta, _ = make((12, 5))
    norms = (layer(GhostBatchNorm, gamma, beta, ghost_size=5), layer(BatchNorm, gamma, beta))
    networks = [Sequential([norm]) for norm in norms]
    for each in networks:
        each.recompute_population(x)
    assert frozen(networks[0].state) == frozen(networks[1].state)
    np.testing.assert_array_equal(networks[0].forward(x), networks[1].forward(x))


# Which rows count


def test_another_order_of_the_ghost_batches_gives_the_same_y_and_another_population():
    x, gamma, beta, dy = make((12, 5))
    norm, other = (layer(GhostBatchNorm, gamma, beta, ghost_size=4) for _ in range(2))
    order = np.r_[8:12, 0:4, 4:8]
    y, y_other = norm.forward(x, training=True), other.forward(x[order], training=True)
    np.testing.assert_array_equal(y_other, y[order])
    np.testing.assert_array_equal(other.backward(dy[order]), norm.backward(dy)[order])
    assert np.abs(norm.population_mean - other.population_mean).max() > 1e-3


def test_rows_of_one_ghost_batch_do_not_reach_another():
    x, gamma, beta, dy = make((12, 5))
    norm = layer(GhostBatchNorm, gamma, beta, ghost_size=4)
    y, dx = norm.forward(x, training=True), norm.backward(dy)
    changed = x.copy()
    changed[5] += 1
    y_changed, dx_changed = norm.forward(changed, training=True), norm.backward(dy)
    for one, other in ((y, y_changed), (dx, dx_changed)):
        moved = (one != other).any(1)
        assert moved[4:8].all()
        assert not moved[:4].any()
        assert not moved[8:].any()


def test_its_setting_may_be_changed_later():
    x, gamma, beta, _ = make((12, 5))
    norm = layer(GhostBatchNorm, gamma, beta, ghost_size=4)
    network = Sequential([norm, Dense(5, 5, rng=0, dtype=np.float64), ReLU()])
    before = network.forward(x, training=True)
    norm.ghost_size = 3
    other = copy.deepcopy(network)
    after = network.forward(x, training=True)
    assert not np.allclose(before, after)
    np.testing.assert_array_equal(other.forward(x, training=True), after)


@pytest.mark.parametrize("mode", [{"training": True}, {"statistics": "batch"}, {}], ids=str)
def test_a_mask_leaves_rows_out_of_their_ghost_batches(mode, dtype, assert_close):
    x, gamma, beta, dy = make((7, 6, 3), dtype)
    mask = np.arange(6) < np.array([4, 0, 6, 2, 0, 0, 3])[:, np.newaxis]
    norm = layer(GhostBatchNorm, gamma, beta, ghost_size=2, momentum=0.5)
    plain = layer(BatchNorm, gamma, beta, momentum=0.5)
    y, dx = norm.forward(x, **mode, mask=mask), norm.backward(dy)
    assert not y[~mask].any()
    assert not dx[~mask].any()
    sums = np.zeros((2, 3))
    # Of the third ghost batch nothing is left, and so it moves no population.
    for rows in (slice(0, 2), slice(2, 4), slice(6, 7)):
        kept = mask[rows]
        np.testing.assert_array_equal(y[rows][kept], plain.forward(x[rows][kept], **mode))
        np.testing.assert_array_equal(dx[rows][kept], plain.backward(dy[rows][kept]))
        sums += list(plain.gradients.values())
    for gradient, total in zip(norm.gradients.values(), sums, strict=True):
        assert_close(gradient, total)
    for name, array in norm.state.items():
        assert_close(array, plain.state[name])


# What is refused


@pytest.mark.parametrize(
    ("shape", "mask"), [((9, 5), None), ((1, 5), None), ((8, 5), [1] * 5 + [0, 0, 0])], ids=str
)
def test_a_ghost_batch_of_one_value_is_refused_in_training(shape, mask):
    x, gamma, beta, _ = make(shape)
    norm = layer(GhostBatchNorm, gamma, beta, ghost_size=4)
    before, mask = frozen(norm), mask and np.array(mask, bool)
    with pytest.raises(ValueError, match="expected two values or more a feature") as caught:
        norm.forward(x, training=True, mask=mask)
    assert str(caught.value).startswith("GhostBatchNorm(5, ghost_size=4): expected two values")
    assert f"got {shape}" in str(caught.value)
    assert 'statistics="population"' in str(caught.value)
    assert frozen(norm) == before
    y = norm.forward(x, statistics="batch", mask=mask)
    np.testing.assert_array_equal(y[[4 if mask is not None else -1]], [beta])
    assert frozen(norm) == before


def test_one_image_is_many_values():
    x, gamma, beta, _ = make((3, 2, 2, 4))
    norm = layer(GhostBatchNorm, gamma, beta, ghost_size=2)
    assert np.isfinite(norm.forward(x, training=True)).all()
    norm.ghost_size = 1
    y = norm.forward(x, training=True)
    np.testing.assert_allclose(((y - beta) / gamma).mean((1, 2)), 0, atol=1e-12)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
@pytest.mark.parametrize("row", [0, 5, 11])
@pytest.mark.parametrize("momentum", MOMENTA)
def test_a_ghost_batch_that_is_not_finite_moves_nothing(value, row, momentum):
    x, gamma, beta, _ = make((12, 5))
    norm = layer(GhostBatchNorm, gamma, beta, ghost_size=4, momentum=momentum)
    network = Sequential([copy.deepcopy(norm)])
    before = frozen(norm)
    x[row, 2] = value
    with pytest.raises(ValueError, match="not finite"):
        norm.forward(x, training=True)
    # A network takes a batch that is finite, and of one that is not says so.
    with contextlib.suppress(ValueError):
        network.forward(x, training=True)
    assert frozen(norm) == frozen(network.layers[0]) == before
    assert norm.batch_mean is None


@pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "4"])
def test_a_wrong_ghost_size_is_refused(value):
    x, gamma, beta, _ = make((12, 5))
    norm = GhostBatchNorm(5, ghost_size=4)
    for call in (
        lambda: GhostBatchNorm(5, ghost_size=value),
        lambda: setattr(norm, "ghost_size", value),
        lambda: functional.ghost_batch_norm_forward(x, gamma, beta, ghost_size=value),
    ):
        with pytest.raises((TypeError, ValueError), match=r"^ghost_size: expected"):
            call()
    assert norm.ghost_size == 4


def test_its_name_elsewhere_leads_here():
    with pytest.raises(TypeError, match="no argument 'virtual_batch_size': write ghost_size="):
        GhostBatchNorm(5, virtual_batch_size=4)


@pytest.mark.parametrize(
    "text",
    [
        "GhostBatchNorm(5, ghost_size=4)",
        "GhostBatchNorm(5, ghost_size=4, momentum=None, epsilon=0.1, frozen=True)",
    ],
)
def test_repr_is_what_makes_the_layer(text):
    assert repr(eval(text)) == text


def test_a_file_may_be_loaded_with_another_ghost_size(tmp_path):
    x, gamma, beta, _ = make((12, 5), np.float32)
    networks = [Sequential([layer(GhostBatchNorm, gamma, beta, ghost_size=k)]) for k in (4, 6)]
    networks[0].forward(x, training=True)
    networks[0].save(tmp_path / "network.npz")
    with pytest.warns(UserWarning, match="ghost_size"):
        networks[1].load(tmp_path / "network.npz")
    np.testing.assert_array_equal(networks[1].forward(x), networks[0].forward(x))
