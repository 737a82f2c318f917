"""Masked steps count in no statistic and get no gradient: as if they were not there."""

import numpy as np
import pytest

from npbn import (
    BatchNorm,
    BatchRenorm,
    Dense,
    GhostBatchNorm,
    Layer,
    ReLU,
    Sequential,
    functional,
    gradient_check,
    reference,
)

MODES = [
    {"training": True},
    {"training": True, "statistics": "population"},
    {"training": False},
    {"training": False, "statistics": "batch"},
]
each_mode = pytest.mark.parametrize("mode", MODES, ids=str)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def sequences(shape=(5, 7, 3), dtype=np.float32, seed=0):
    """x, dy and a mask of that many sequences, steps and features."""
    rng = np.random.default_rng(seed)
    x, dy = rng.normal(2, 3, (2, *shape)).astype(dtype)
    mask = np.arange(shape[1]) < rng.integers(1, shape[1], shape[0])[:, np.newaxis]
    return x, dy, mask


def parameters(dtype=np.float32):
    return np.random.default_rng(1).uniform(0.5, 2, (2, 3)).astype(dtype)


def norm(**settings):
    layer = BatchNorm(3, momentum=0.5, **settings)
    for array in (*layer.parameters.values(), *layer.state.values()):
        array[...] = np.random.default_rng(2).uniform(0.5, 2, array.shape)
    return layer


@each_dtype
@pytest.mark.parametrize("shape", [(5, 7, 3), (40, 600, 3)], ids=["small", "large"])
def test_the_readings_agree_and_are_those_of_the_kept_rows(dtype, shape):
    x, dy, mask = sequences(shape, dtype)
    gamma, beta = parameters(dtype)
    rows, rows_cache = functional.batch_norm_forward(x[mask], gamma, beta)
    dx_rows, *gradients = functional.batch_norm_backward(dy[mask], rows_cache)
    for room in (functional, reference):
        y, cache = room.batch_norm_forward(x, gamma, beta, mask=mask)
        dx, *own = room.batch_norm_backward(dy, cache)
        tolerance = {"rtol": 1e-4, "atol": 1e-4 if dtype == np.float32 else 1e-10}
        for found, expected in ((y, rows), (dx, dx_rows)):
            np.testing.assert_allclose(found[mask], expected, **tolerance)
            assert not found[~mask].any()
        for found, expected in zip(own, gradients, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-4)
        np.testing.assert_allclose(cache.mean, rows_cache.mean, rtol=1e-5)
        np.testing.assert_allclose(cache.variance, rows_cache.variance, rtol=1e-5)


def test_the_fast_one_gives_the_bits_of_the_kept_rows_and_may_be_used_again():
    x, dy, mask = sequences()
    gamma, beta = parameters()
    rows, rows_cache = functional.batch_norm_forward(x[mask], gamma, beta)
    expected = functional.batch_norm_backward(dy[mask], rows_cache)
    out = np.full_like(x, 9)
    y, cache = functional.batch_norm_forward(x, gamma, beta, mask=mask, out=out)
    assert y is out
    assert np.array_equal(y[mask], rows)
    assert np.array_equal(cache.x_hat[mask], rows_cache.x_hat)
    for _ in range(2):
        dx, *gradients = functional.batch_norm_backward(dy, cache)
        assert np.array_equal(dx[mask], expected[0])
        assert np.array_equal(gradients, expected[1:])


@each_mode
def test_a_layer_does_as_if_the_masked_steps_were_not_there(mode):
    x, dy, mask = sequences()
    layer, plain = norm(), norm()
    y, rows = layer.forward(x, **mode, mask=mask), plain.forward(x[mask], **mode)
    dx, dx_rows = layer.backward(dy), plain.backward(dy[mask])
    for found, expected in ((y, rows), (dx, dx_rows)):
        assert np.array_equal(found[mask], expected)
        assert not found[~mask].any()
    for kind in ("gradients", "state"):
        for name, array in getattr(layer, kind).items():
            np.testing.assert_array_equal(array, getattr(plain, kind)[name])


@each_mode
@pytest.mark.parametrize("settings", [{"unbiased_population": True}, {"frozen": True}], ids=str)
def test_its_settings_hold_for_the_kept_rows(mode, settings):
    x, _, mask = sequences()
    layer, plain = norm(**settings), norm(**settings)
    assert np.array_equal(layer.forward(x, **mode, mask=mask)[mask], plain.forward(x[mask], **mode))
    for name, array in layer.state.items():
        np.testing.assert_array_equal(array, plain.state[name])


@each_mode
def test_what_lies_in_masked_steps_may_be_anything(mode):
    x, dy, mask = sequences()
    layer = norm()
    expected = layer.forward(x, **mode, mask=mask), layer.backward(dy)
    x[~mask], dy[~mask] = np.nan, np.inf
    layer = norm()
    found = layer.forward(x, **mode, mask=mask), layer.backward(dy)
    assert np.array_equal(found, expected)


@each_mode
def test_a_network_hands_the_mask_to_the_layers_that_take_it(mode):
    seen = []

    class Told(Layer):
        def forward(self, x, mask=None):
            seen.append(mask)
            return x

        def backward(self, dy):
            return dy

    def network(*more):
        return Sequential(
            [Dense(3, 3, rng=0), Sequential([norm(), ReLU()]), *more, Dense(3, 2, rng=1)]
        )

    x, _, mask = sequences()
    masked, plain = network(Told()), network()
    for seed in range(3):  # another mask each time
        x, _, mask = sequences(seed=seed)
        y, rows = masked.forward(x, **mode, mask=mask), plain.forward(x[mask], **mode)
        np.testing.assert_allclose(y[mask], rows, rtol=1e-4, atol=1e-5)
        assert seen[-1] is mask
        masked.backward(y * mask[..., np.newaxis])
        plain.backward(rows)
        np.testing.assert_allclose(
            masked.gradient_vector, plain.gradient_vector, rtol=1e-3, atol=1e-3
        )
    for name, array in masked.state.items():
        np.testing.assert_allclose(array, plain.state[name], rtol=1e-4)
    masked.forward(x, **mode)
    assert seen[-1] is None


@each_mode
def test_the_gradient_is_that_of_forward(mode):
    x, _, mask = sequences(dtype=np.float64)

    class Masked(Layer):
        def __init__(self):
            super().__init__()
            self.norm = norm()

        def forward(self, x, training=False, statistics=None):
            return self.norm.forward(x, training, statistics, mask=mask)

        def backward(self, dy):
            return self.norm.backward(dy)

    assert gradient_check(Masked(), x, **mode)


def test_another_mask_is_refused():
    x, _, mask = sequences()
    for wrong, error, message in (
        (mask.astype(int), TypeError, "mask: expected an array of bools, got int64: pass"),
        (mask[:, :-1], ValueError, r"mask: expected shape \(5, 7\), got \(5, 6\)"),
        (mask.T, ValueError, r"mask: expected shape \(5, 7\), got \(7, 5\): pass mask.T"),
        (mask.sum(1), TypeError, r"got int64: pass np.arange\(steps\) < np.asarray\(lengths\)"),
        (np.zeros_like(mask), ValueError, "mask: expected one True at least, got none"),
    ):
        for call in (
            lambda wrong: functional.batch_norm_forward(x, *parameters(), mask=wrong),
            lambda wrong: norm().forward(x, training=True, mask=wrong),
            lambda wrong: Sequential([ReLU(), norm()]).forward(x, mask=wrong),
        ):
            with pytest.raises(error, match=message):
                call(wrong)
    with pytest.raises(TypeError, match="mask: expected an array of bools, got int 5"):
        Sequential([ReLU()]).forward(x, mask=5)
    alone = np.zeros_like(mask)
    alone[0, 0] = True
    with pytest.raises(ValueError, match="two values or more a feature"):
        norm().forward(x, training=True, mask=alone)


@pytest.mark.parametrize(
    "kind", [BatchNorm, BatchRenorm, lambda features: GhostBatchNorm(features, ghost_size=4)]
)
@pytest.mark.parametrize("batch_size", [1000, 2])
def test_exact_statistics_are_those_of_the_kept_rows(kind, batch_size):
    x, _, mask = sequences()
    x[~mask] = np.nan
    masked, plain = ([Dense(3, 3, rng=0), norm(), ReLU(), kind(3)] for _ in range(2))
    masked, plain = Sequential(masked), Sequential(plain)
    masked.recompute_population(x, mask=mask, batch_size=batch_size)
    plain.recompute_population(x[mask])
    for name, array in masked.state.items():
        np.testing.assert_allclose(array, plain.state[name], rtol=1e-5, atol=1e-6)


def test_exact_statistics_refuse_a_mask_that_does_not_fit():
    x, _, mask = sequences()
    network = Sequential([Dense(3, 3, rng=0), norm()])
    for wrong, error, message in (
        (mask[:3], ValueError, r"^mask: expected shape \(5, 7\), got \(3, 7\)"),
        (mask[:, 1:], ValueError, r"^layer 1, mask: expected shape \(5, 7\), got \(5, 6\)"),
        (mask.astype(int), TypeError, "^mask: expected an array of bools"),
        (np.zeros_like(mask), ValueError, "^mask: expected one True at least"),
    ):
        with pytest.raises(error, match=message):
            network.recompute_population(x, mask=wrong)
