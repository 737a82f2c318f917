"""Recurrent batch normalization: PyTorch by hand agrees, each step has statistics of its own."""

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_oracles import assert_near, mask_of, some_lengths, upstream

from npbn import (
    BatchNorm,
    BatchNormLSTM,
    Dense,
    Layer,
    Sequential,
    functional,
    gradient_check,
    reference,
)
from npbn.functional.batch_norm_lstm import STATISTICS
from npbn.testing import CASES

PARAMETERS = (
    "input_weight",
    "recurrent_weight",
    "bias",
    "input_gamma",
    "recurrent_gamma",
    "cell_gamma",
    "cell_beta",
)


def make(shape=(6, 5, 2), dtype=np.float64, seed=0, *, by_batch=True, last_only=False):
    name = "batch_norm_lstm" if by_batch else "batch_norm_lstm_inference"
    inputs = CASES[name].inputs(np.random.default_rng(seed), shape, dtype)
    return inputs | {"last_only": last_only}


def both_passes(room, inputs, dy):
    name = "batch_norm_lstm_inference" if "cell_mean" in inputs else "batch_norm_lstm"
    y, cache = getattr(room, f"{name}_forward")(**inputs)
    return y, *getattr(room, f"{name}_backward")(dy, cache)


def filled(inputs, steps=4, **options):
    """A layer with the parameters of inputs."""
    x = inputs["x"]
    options = {"epsilon": inputs["epsilon"], "momentum": 0.5} | options
    layer = BatchNormLSTM(
        x.shape[-1], len(inputs["recurrent_weight"]), steps=steps, dtype=x.dtype, **options
    )
    for name in PARAMETERS:
        setattr(layer, name, inputs[name])
    return layer


def by_hand(inputs, dy, mask=None):
    """y and the gradients by PyTorch's autograd, of a loop over the steps."""
    torch = pytest.importorskip("torch")
    x = torch.tensor(inputs["x"], requires_grad=True)
    given = {name: torch.tensor(inputs[name], requires_grad=True) for name in PARAMETERS}
    statistics = {name: torch.tensor(inputs[name]) for name in STATISTICS if name in inputs}
    examples, steps, _ = x.shape
    mask = torch.tensor(np.ones((examples, steps), bool) if mask is None else mask)

    def norm(name, a, t):
        if statistics:
            row = min(t, len(statistics["cell_mean"]) - 1)
            mean, variance = (statistics[f"{name}_{kind}"][row] for kind in ("mean", "variance"))
        else:
            kept = a[mask[:, t]]
            mean = kept.mean(0)
            variance = ((kept - mean) ** 2).mean(0)
        return given[f"{name}_gamma"] * (a - mean) / torch.sqrt(variance + inputs["epsilon"])

    h = c = torch.zeros(examples, len(inputs["recurrent_weight"]), dtype=x.dtype)
    ys = []
    for t in range(steps):
        if mask[:, t].any():
            z = norm("input", x[:, t] @ given["input_weight"], t) + given["bias"]
            z = z + norm("recurrent", h @ given["recurrent_weight"], t)
            z_i, z_f, z_g, z_o = z.chunk(4, 1)
            new_c = z_f.sigmoid() * c + z_i.sigmoid() * z_g.tanh()
            shown = norm("cell", new_c, t) + given["cell_beta"]
            new_h = z_o.sigmoid() * shown.tanh()
            kept = mask[:, t, None]
            h, c = torch.where(kept, new_h, h), torch.where(kept, new_c, c)
        ys.append(h)
    y = h if inputs["last_only"] else torch.stack(ys, 1)
    y.backward(torch.tensor(dy))
    found = [y, x.grad, *(each.grad for each in given.values())]
    return [each.detach().numpy() for each in found]


def shape_of_y(inputs):
    examples, steps, _ = inputs["x"].shape
    units = len(inputs["recurrent_weight"])
    return np.empty((examples, units) if inputs["last_only"] else (examples, steps, units))


# PyTorch and the readings


@pytest.mark.parametrize("by_batch", [True, False], ids=["batch", "population"])
@settings(max_examples=30)
@given(
    shape=st.tuples(st.integers(3, 9), st.integers(1, 8), st.integers(1, 5)),
    dtype=st.sampled_from([np.float32, np.float64]),
    last_only=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_the_readings_are_pytorchs_by_hand(by_batch, shape, dtype, last_only, masked, seed):
    inputs = make(shape, dtype, seed, by_batch=by_batch, last_only=last_only)
    dy = upstream(shape_of_y(inputs), seed).astype(dtype)
    mask = mask_of(some_lengths(*shape[:2], seed), shape[1]) if masked else None
    expected = by_hand(inputs, dy, mask)
    if masked:
        inputs["x"][~mask] = np.nan
    given = inputs | {"mask": mask}
    assert_near(both_passes(functional, given, dy), expected, dtype)
    if dtype == np.float64:
        assert_near(both_passes(reference, given, dy), expected, dtype)
    layer = filled(inputs, steps=3, last_only=last_only)
    if not by_batch:
        for name in STATISTICS:
            setattr(layer, f"population_{name}", inputs[name])
        layer.population_share[...] = 1
    statistics = "batch" if by_batch else "population"
    y = layer.forward(inputs["x"], statistics=statistics, mask=mask)
    assert_near((y, layer.backward(dy), *layer.gradients.values()), expected, dtype)


@pytest.mark.parametrize("statistics", ["batch", "population"])
@pytest.mark.parametrize("last_only", [False, True])
def test_the_gradient_is_that_of_a_masked_forward(statistics, last_only):
    inputs = make((7, 5, 2), last_only=last_only)
    mask = mask_of([5, 5, 5, 4, 4, 4, 3], 5)

    class Masked(Layer):
        def __init__(self):
            super().__init__()
            self.inner = filled(inputs, last_only=last_only)

        def forward(self, x, training=False, statistics=None):
            return self.inner.forward(x, training, statistics, mask=mask)

        def backward(self, dy):
            return self.inner.backward(dy)

    report = gradient_check(Masked(), inputs["x"], statistics=statistics)
    assert report, report


# Statistics of each step


def test_each_step_has_statistics_of_its_own_that_follow_the_batches():
    layer, expected = filled(make()), {}
    for name in STATISTICS:
        expected[name] = getattr(layer, f"population_{name}").copy()
    for seed in range(3):
        inputs = make(seed=seed)
        given = {name: inputs[name] for name in ("x", "epsilon")}
        given |= {name: getattr(layer, name) for name in PARAMETERS}
        _, cache = functional.batch_norm_lstm_forward(**given)
        _, true = reference.batch_norm_lstm_forward(**given)
        layer.forward(inputs["x"], training=True)
        for name in STATISTICS:
            np.testing.assert_allclose(
                cache.statistics[name], true.statistics[name], rtol=1e-11, atol=1e-14
            )
            # The layer keeps four of the five steps.
            expected[name] = 0.5 * expected[name] + 0.5 * cache.statistics[name][:4]
    for name, each in expected.items():
        np.testing.assert_allclose(getattr(layer, f"population_{name}"), each, rtol=1e-12)
        assert len({row.tobytes() for row in each[1:]}) == 3
    np.testing.assert_allclose(layer.population_share, 1 - 0.5**3)


@pytest.mark.parametrize("statistics", ["batch", "population"])
@pytest.mark.parametrize("training", [False, True])
def test_nothing_else_moves_them(training, statistics):
    layer, x = filled(make()), make()["x"]
    before = copy.deepcopy(dict(layer.state))
    layer.forward(x, training, statistics)
    moves = training and statistics == "batch"
    for name, each in layer.state.items():
        assert np.array_equal(each, before[name]) != moves


def test_a_shorter_sequence_leaves_the_statistics_of_later_steps():
    layer, x = filled(make()), make()["x"]
    layer.forward(x, training=True)
    before = copy.deepcopy(dict(layer.state))
    layer.forward(x[:, :2] + 1, training=True)
    for name, each in layer.state.items():
        assert np.array_equal(each[2:], before[name][2:])
        changed = [not np.array_equal(*rows) for rows in zip(each[:2], before[name], strict=False)]
        # The first state is 0 in every batch: of what it adds only the variance's start wears off.
        assert changed[1]


def test_a_longer_sequence_uses_the_last_steps_statistics():
    layer, x = filled(make(), steps=3), make((6, 9, 2))["x"]
    layer.forward(x[:, :3], training=True)
    longer = filled(make(), steps=9)
    for name, each in layer.state.items():
        longer.state[name][...] = np.concatenate([each, np.repeat(each[-1:], 6, 0)])
    assert np.array_equal(layer.forward(x), longer.forward(x))
    # And where more steps could be kept than any batch had.
    trained = filled(make(), steps=9)
    trained.forward(x[:, :3], training=True)
    assert np.array_equal(trained.population_share > 0, np.arange(9) < 3)
    assert np.array_equal(trained.forward(x), longer.forward(x))
    inputs = make()
    given = {name: inputs[name] for name in (*PARAMETERS, "epsilon")}
    for name in STATISTICS:
        given[name] = layer.state[f"population_{name}"]
    y, _ = reference.batch_norm_lstm_inference_forward(x, **given)
    np.testing.assert_allclose(layer.forward(x), y, rtol=1e-12, atol=1e-14)


def test_a_step_that_one_sequence_has_alone_moves_no_statistics():
    layer, x = filled(make()), make()["x"]
    mask = mask_of([4, 3, 3, 2, 2, 2], 5)
    before = copy.deepcopy(dict(layer.state))
    x[~mask] = np.inf
    y = layer.forward(x, training=True, mask=mask)
    assert np.isfinite(y).all()
    assert np.array_equal(layer.population_share, [0.5, 0.5, 0.5, 0])
    for name, each in layer.state.items():
        assert np.array_equal(each[3], before[name][3])
        assert not np.array_equal(each[2], before[name][2])
    terms = x[:3, 2] @ layer.input_weight
    np.testing.assert_allclose(layer.population_input_mean[2], 0.5 * terms.mean(0), rtol=1e-12)
    expected = 0.5 + 0.5 * terms.var(0)
    np.testing.assert_allclose(layer.population_input_variance[2], expected, rtol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
def test_unbiased_population_variances_are_over_n_minus_1_of_each_step(masked):
    x = make()["x"]
    mask = mask_of([4, 3, 3, 2, 2, 2], 5) if masked else None
    biased, unbiased = filled(make()), filled(make(), unbiased_population=True)
    before = copy.deepcopy(dict(biased.state))
    for layer in (biased, unbiased):
        layer.forward(x, training=True, mask=mask)
    n = np.array([6, 6, 3, 1] if masked else [6] * 4)[:, np.newaxis]
    for name, each in unbiased.state.items():
        factor = 1
        if name.endswith("variance"):
            # A step that one sequence has alone moves nothing.
            factor = np.where(n > 1, n / np.maximum(n - 1, 1), 1)
        moved = factor * (biased.state[name] - 0.5 * before[name]) + 0.5 * before[name]
        np.testing.assert_allclose(each, moved, rtol=1e-12)
    for layer in (biased, unbiased):
        Sequential([layer]).recompute_population(x)
    # The others depend on what these make of x.
    found, expected = unbiased.population_input_variance, biased.population_input_variance
    np.testing.assert_allclose(found, 6 / 5 * expected, rtol=1e-12)


def test_a_frozen_one_uses_the_populations_statistics_in_every_mode_and_keeps_them():
    inputs = make()
    x, mask = inputs["x"], mask_of([5, 5, 3, 3, 1, 1], 5)
    trained, frozen = filled(inputs), filled(inputs, frozen=True)
    trained.forward(x, training=True)
    for name, each in frozen.state.items():
        each[...] = trained.state[name]
    before = copy.deepcopy(dict(frozen.state))
    for options in ({}, {"mask": mask}):
        expected = trained.forward(x, statistics="population", **options)
        dx = trained.backward(expected)
        for mode in ({"training": True}, {}, {"statistics": "batch"}):
            np.testing.assert_array_equal(frozen.forward(x, **mode, **options), expected)
            np.testing.assert_array_equal(frozen.backward(expected), dx)
    # One sequence alone is enough, and what is not finite shows and moves nothing.
    frozen.forward(x[:1], training=True)
    assert np.isnan(frozen.forward(x + np.nan, training=True)).all()
    Sequential([frozen]).recompute_population(x)
    for name, each in frozen.state.items():
        np.testing.assert_array_equal(each, before[name])
    network = Sequential([frozen, Dense(2, 2, rng=0, dtype=np.float64)])
    network.forward(x, training=True)
    np.testing.assert_array_equal(frozen.population_cell_mean, before["population_cell_mean"])
    frozen.frozen = False
    network.forward(x, training=True)
    assert not np.array_equal(frozen.population_cell_mean, before["population_cell_mean"])


def test_one_sequence_alone_is_refused_in_training():
    layer, x = filled(make()), make()["x"]
    alone = np.zeros((6, 5), bool)
    alone[0] = True
    for options in ({"x": x[:1]}, {"x": x, "mask": alone}):
        with pytest.raises(ValueError, match=r"expected two sequences or more in training, got"):
            layer.forward(**options, training=True)
        assert np.isfinite(layer.forward(**options, statistics="batch")).all()
        layer.forward(**options)


def test_what_is_not_finite_moves_none_also_in_a_step_that_is_not_kept():
    layer, x = filled(make()), make()["x"]
    before = copy.deepcopy(dict(layer.state))
    wrong = x.copy()
    wrong[0, 4, 0] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        layer.forward(wrong, training=True)
    for name, each in layer.state.items():
        assert np.array_equal(each, before[name])
    layer.forward(x, training=True)
    assert not any(np.array_equal(each, before[name]) for name, each in layer.state.items())


def test_a_network_moves_all_statistics_or_none():
    """A layer behind it whose statistics are not finite holds those of this one back."""
    rng = np.random.default_rng(0)
    first = BatchNormLSTM(2, 3, steps=4, rng=rng)
    second = BatchNormLSTM(3, 3, steps=4, rng=rng)
    network = Sequential([first, Dense(3, 3, rng=rng), second])
    x = make(dtype=np.float32)["x"]
    network.forward(x, training=True)
    before = copy.deepcopy(dict(network.state))
    network.layers[1].weight[...] = 3e38
    for length in (5, 3):
        assert np.isnan(network.forward(x[:, :length], training=True)).all()
    for name, each in network.state.items():
        assert np.array_equal(each, before[name])
    # The plan's vector holds nothing of that pass, also of steps that a batch has not.
    network.layers[1].weight[...] = 1
    for length in (3, 5):
        assert np.isfinite(network.forward(x[:, :length], training=True)).all()
        assert not np.array_equal(second.population_share, before["2.population_share"])
        assert all(np.isfinite(each).all() for each in network.state.values())
        before = copy.deepcopy(dict(network.state))


# Exact statistics


@pytest.mark.parametrize("batch_size", [1000, 40])
def test_exact_statistics_are_those_of_the_whole_data_as_one_batch(batch_size):
    """So they are self-consistent: a step's come when the steps before it run with theirs."""
    x = make((100, 5, 2))["x"]
    layer = filled(make(), steps=5)
    network = Sequential([Dense(2, 2, rng=0, dtype=np.float64), layer])
    network.recompute_population(x, batch_size=batch_size)
    by_batch = network.forward(x, statistics="batch")
    np.testing.assert_allclose(network.forward(x), by_batch, rtol=1e-10, atol=1e-12)
    given = {name: getattr(layer, name) for name in PARAMETERS} | {"epsilon": layer.epsilon}
    _, true = reference.batch_norm_lstm_forward(network.layers[0].forward(x), **given)
    for name, each in true.statistics.items():
        np.testing.assert_allclose(
            getattr(layer, f"population_{name}"), each, rtol=1e-11, atol=1e-14
        )
    assert (layer.population_share == 1).all()


def test_two_of_them_are_exact_one_after_the_other():
    rng = np.random.default_rng(0)
    layers = [BatchNormLSTM(2, 3, steps=5, rng=rng, dtype=np.float64) for _ in range(2)]
    layers[1] = BatchNormLSTM(3, 2, steps=5, last_only=True, rng=rng, dtype=np.float64)
    network = Sequential(layers)
    x = make((50, 5, 2))["x"]
    network.recompute_population(x, batch_size=20)
    by_batch = network.forward(x, statistics="batch")
    np.testing.assert_allclose(network.forward(x), by_batch, rtol=1e-9, atol=1e-11)


def test_exact_statistics_of_shorter_and_longer_sequences():
    x = make((30, 6, 2))["x"]
    layer, short = filled(make(), steps=6), filled(make(), steps=4)
    layer.population_share[...] = 1
    for each in (layer, short):
        Sequential([each]).recompute_population(x[:, :4])
    assert np.array_equal(layer.population_share, [1, 1, 1, 1, 0, 0])
    np.testing.assert_array_equal(layer.forward(x), short.forward(x))
    again = filled(make(), steps=4)
    Sequential([again]).recompute_population(x)
    for name, each in again.state.items():
        np.testing.assert_array_equal(each, short.state[name])


@pytest.mark.parametrize("batch_size", [1000, 7])
def test_exact_statistics_of_masked_sequences_are_those_of_all_as_one_batch(batch_size):
    """Also behind another such layer, and of BatchNorm between the two."""
    rng = np.random.default_rng(0)
    first, second = (BatchNormLSTM(2, 2, steps=6, rng=rng, dtype=np.float64) for _ in range(2))
    network = Sequential([first, BatchNorm(2, dtype=np.float64), second])
    x = make((60, 6, 2))["x"]
    mask = np.arange(6) < rng.integers(1, 7, 60)[:, np.newaxis]
    x[~mask] = np.nan
    network.recompute_population(x, mask=mask, batch_size=batch_size)
    by_batch = network.forward(x, statistics="batch", mask=mask)
    np.testing.assert_allclose(network.forward(x, mask=mask), by_batch, rtol=1e-9, atol=1e-11)
    assert (first.population_share == 1).all()


def test_exact_statistics_of_a_step_that_one_sequence_has_alone_are_the_last_ones_before_it():
    x, layer, cut = make((30, 6, 2))["x"], filled(make(), steps=6), filled(make(), steps=4)
    mask = np.ones((30, 6), bool)
    mask[1:, 4:] = False
    Sequential([layer]).recompute_population(x, mask=mask)
    Sequential([cut]).recompute_population(x[:, :4])
    assert np.array_equal(layer.population_share, [1, 1, 1, 1, 0, 0])
    np.testing.assert_allclose(
        layer.forward(x, mask=mask), cut.forward(x, mask=mask), rtol=1e-12, atol=1e-14
    )


def test_what_is_not_finite_leaves_the_statistics_as_they_were():
    layer, x = filled(make()), make()["x"]
    before = copy.deepcopy(dict(layer.state))
    x[2, 3] = np.inf
    with pytest.raises(ValueError, match="not finite on the way to"):
        Sequential([layer]).recompute_population(x)
    for name, each in layer.state.items():
        np.testing.assert_array_equal(each, before[name])


# The layer, and the ends of the range


def test_it_starts_as_cooijmans_says():
    layer = BatchNormLSTM(3, 5, steps=7, rng=0)
    for name in ("input_gamma", "recurrent_gamma", "cell_gamma"):
        assert (getattr(layer, name) == np.float32(0.1)).all()
    assert not layer.cell_beta.any()
    assert layer.epsilon == 1e-5
    assert list(layer.parameters) == list(PARAMETERS)
    assert [each.shape for each in layer.state.values()] == [(7, 20)] * 4 + [(7, 5)] * 2 + [(7,)]
    assert repr(layer) == "BatchNormLSTM(3, 5, steps=7)"
    changed = BatchNormLSTM(3, 5, steps=2, last_only=True, momentum=0.9, epsilon=1e-3)
    text = "BatchNormLSTM(3, 5, steps=2, last_only=True, momentum=0.9, epsilon=0.001)"
    assert repr(changed) == text
    text = "BatchNormLSTM(3, 5, steps=2, unbiased_population=True, frozen=True)"
    assert repr(BatchNormLSTM(3, 5, steps=2, unbiased_population=True, frozen=True)) == text


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("steps", 0), ("steps", 1.5), ("momentum", 1.5), ("momentum", None), ("epsilon", -1)],
)
def test_wrong_settings_are_refused(name, wrong):
    with pytest.raises((TypeError, ValueError), match=rf"^{name}: expected"):
        BatchNormLSTM(3, 5, **{"steps": 2, name: wrong})


def test_the_scale_of_the_weights_does_not_matter():
    inputs = make()
    inputs["epsilon"] = 0.0
    y, _ = functional.batch_norm_lstm_forward(**inputs)
    for name in ("input_weight", "recurrent_weight"):
        inputs[name] = inputs[name] * 64
    np.testing.assert_allclose(functional.batch_norm_lstm_forward(**inputs)[0], y, rtol=1e-12)


def test_what_does_not_vary_is_normalized_to_0_also_without_epsilon(dtype):
    inputs = make(dtype=dtype)
    inputs["x"][...] = 0
    inputs["epsilon"] = 0.0
    y, cache = functional.batch_norm_lstm_forward(**inputs)
    assert np.isfinite(y).all()
    assert all(np.isfinite(each).all() for each in functional.batch_norm_lstm_backward(y, cache))
    assert (y == y[:1]).all()


@pytest.mark.parametrize("examples", [2, 6, 60, 300])
@pytest.mark.parametrize("value", [0.1, 100 / 3, "small"])
def test_without_epsilon_what_hardly_varies_makes_no_nan(examples, value, dtype):
    """Rounding of a mean, or a square that the type cannot hold, is not what varies."""
    inputs = make((examples, 3, 3), dtype)
    inputs["epsilon"] = 0.0
    if value == "small":
        inputs["x"] *= dtype(1e-20 if dtype == np.float32 else 1e-160)
    else:
        inputs["x"][...] = value
    dy = upstream(functional.batch_norm_lstm_forward(**inputs)[0])
    y, *gradients = both_passes(functional, inputs, dy)
    assert all(np.isfinite(each).all() for each in (y, *gradients))
    if value != "small":
        assert (y == y[:1]).all()


def test_a_variance_that_the_type_cannot_hold_makes_y_nan():
    inputs = make(dtype=np.float32)
    inputs["x"][0] *= np.float32(1e25)
    y, _ = functional.batch_norm_lstm_forward(**inputs)
    assert np.isnan(y).all()


def test_given_statistics_are_checked():
    inputs = make(by_batch=False)
    for name, wrong, message in (
        ("cell_variance", -inputs["cell_variance"], "expected at least 0, got -"),
        ("recurrent_mean", inputs["recurrent_mean"][:2], r"expected shape \(3, 8\), got \(2, 8\)"),
        ("input_mean", inputs["input_mean"][0], r"expected shape \(steps, 8\), got \(8,\)"),
    ):
        with pytest.raises(ValueError, match=rf"^{name}: {message}"):
            functional.batch_norm_lstm_inference_forward(**inputs | {name: wrong})


def test_a_step_is_printed_once_with_how_often_it_runs():
    network = Sequential([BatchNormLSTM(2, 3, steps=9, last_only=True, rng=0)])
    text = str(network.tape(make((6, 17, 2), np.float32)["x"], np.zeros(6, int)))
    assert "np.subtract(of_state, state_mean, out=of_state)" in text
    assert ", x 17" in text
    assert "array" not in text
    assert len(text.splitlines()) < 160
