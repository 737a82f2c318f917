"""Batch norm in float32, and its population statistics, against the equations in longdouble."""

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from exactness import BOUNDS, column_errors
from threadpoolctl import threadpool_limits

from benchmarks import accuracy, timing
from benchmarks.results import Results
from npbn import SGD, BatchNorm, Dense, ReLU, Sequential, functional, lesson
from npbn.numerics.blocks import SMALL

ROOT = Path(__file__).parents[1]
EPSILON = 1e-3
RATIOS = (0, 0.5, 1, 2, 5, 10, 100, 1e3, 1e4, 1e5, 1e6)
SHAPES = (
    (2, 1),
    (2, 5),
    (3, 7),
    (10, 33),
    (60, 100),
    (64, 3),
    (65, 2),
    (129, 2),
    (200, 100),
    (1000, 33),
)
MORE_SHAPES = ((256, 512), (4097, 5), (8191, 1), (5000, 64), (60, 2048), (50176, 32), (65536, 64))


def errors_of(x, epsilon=EPSILON, dy_mean=0):
    """Each quantity's error, as benchmarks.accuracy defines it, and y, and beta."""
    x = x.astype(np.float32)
    rng = np.random.default_rng(1)
    gamma = rng.uniform(0.5, 1.5, x.shape[-1]).astype(np.float32)
    beta, dy = rng.standard_normal(x.shape[-1]), rng.standard_normal(x.shape)
    beta, dy = beta.astype(np.float32), (dy + dy_mean).astype(np.float32)
    y, cache = functional.batch_norm_forward(x, gamma, beta, epsilon=epsilon)
    got = y, *functional.batch_norm_backward(dy, cache)
    case = SimpleNamespace(x=x, gamma=gamma, beta=beta, dy=dy)
    true = accuracy.truth(case, np.longdouble(epsilon)).values()
    errors = [abs(a - b).max() / max(c, 1e-30) for a, (b, c) in zip(got, true, strict=True)]
    return dict(zip(BOUNDS, errors, strict=True)), y, beta


def assert_within_bounds(x, **settings):
    errors, y, beta = errors_of(x, **settings)
    for name, bound in BOUNDS.items():
        assert not errors[name] > bound, (name, float(errors[name]))
        assert np.isfinite(errors[name])
    return y, beta


def far_from_zero(shape, ratio):
    side = np.where(np.arange(shape[-1]) % 2, 1, -1)
    return 0.7 * (np.random.default_rng(0).standard_normal(shape) + ratio * side)


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_batch_norm_keeps_its_digits(shape, ratio):
    assert_within_bounds(far_from_zero(shape, ratio))


@pytest.mark.slow
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("shape", MORE_SHAPES, ids=str)
def test_batch_norm_keeps_its_digits_over_many_rows(shape, ratio):
    assert_within_bounds(far_from_zero(shape, ratio))


@pytest.mark.parametrize("shape", [(65536, 3), (300, 1024)], ids=str)
@pytest.mark.parametrize("ratio", [0, 3, 1e6])
def test_blocks_keep_their_digits(shape, ratio):
    assert_within_bounds(far_from_zero(shape, ratio))


MOST = float(np.finfo(np.float32).max)


@pytest.mark.parametrize("value", [0, 1, 0.1, 1e4 / 3, 1e9, -1e9, 3e38, MOST, -MOST, 1e-38])
@pytest.mark.parametrize("rows", [2, 10, 18, 60, 65, 1000, 20000])
@pytest.mark.parametrize("epsilon", [EPSILON, 1e-12])
def test_of_a_constant_column_y_is_beta(rows, value, epsilon):
    y, beta = assert_within_bounds(np.full((rows, 5), value), epsilon=epsilon)
    np.testing.assert_array_equal(y, np.broadcast_to(beta, y.shape))


UNUSUAL = {
    "one outlier": lambda x: np.where(np.arange(len(x)) == len(x) // 2, 1e4, 2.5)[:, None],
    "an outlier first": lambda x: np.where(np.arange(len(x)) == 0, 1e4, 2.5)[:, None],
    "an outlier far away": lambda x: 1e6 + 1e3 * (np.arange(len(x)) == len(x) - 1)[:, None],
    "sorted": lambda x: 10 * np.sort(x, axis=0),
    "sorted, far from 0": lambda x: 10 * np.sort(x, axis=0) + 1e5,
    "two clusters": lambda x: x + 1e3 * (np.arange(len(x)) % 2)[:, None],
    "one cluster after the other": lambda x: x + 1e3 * (np.arange(len(x)) < len(x) / 2)[:, None],
    "heavy tails": lambda x: np.exp(3 * x),
    "large": lambda x: 1e17 * x,
    "small": lambda x: 1e-20 * x,
}


@pytest.mark.parametrize("rows", [2, 60, 65, 1000, 20000])
@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_columns_keep_their_digits(name, rows):
    assert_within_bounds(UNUSUAL[name](np.random.default_rng(0).standard_normal((rows, 5))))


@pytest.mark.parametrize("mean", [1, 5, 100])
@pytest.mark.parametrize("shape", [(60, 100), (1000, 33), (65536, 4)], ids=str)
@pytest.mark.parametrize("ratio", [0, 100, 1e6])
@pytest.mark.parametrize("values", ["normal", "two"])
def test_an_upstream_gradient_far_from_0_costs_no_digits(shape, ratio, mean, values):
    x = far_from_zero(shape, ratio)
    if values == "two":
        # All roundings go one way.
        x = (np.random.default_rng(0).random(shape) < 0.1) + (x - x % 1)[:1]
    assert_within_bounds(x, dy_mean=mean)


@pytest.mark.parametrize("shape", [(60, 100), (60_000, 20)], ids=str)
@pytest.mark.parametrize("values", ["normal", "two"])
@pytest.mark.parametrize("mean", [0, 1, 1e6])
def test_inference_sums_the_gradients_without_loss(shape, values, mean):
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape) if values == "normal" else rng.integers(2, size=shape)
    x, dy = x.astype(np.float32), (rng.standard_normal(shape) + mean).astype(np.float32)
    gamma, mean, variance = (each.astype(np.float32) for each in (x[0], x.mean(0), x.var(0)))
    got = functional.batch_norm_inference_backward(dy, x, gamma, mean, variance)[1:]
    x, dy, mean, variance = (each.astype(np.longdouble) for each in (x, dy, mean, variance))
    for one, terms in zip(got, (dy * (x - mean) / np.sqrt(variance + EPSILON), dy), strict=True):
        true = terms.sum(0)
        error = abs(one - true) / np.maximum(abs(true), np.sqrt((terms**2).sum(0)))
        assert not error.max() > BOUNDS["dgamma"]


@pytest.mark.parametrize("shape", [(60, 1000), (5000, 100)], ids=str)
def test_of_a_sparse_dy_each_dgamma_keeps_its_digits(shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    ones, dy = np.ones(shape[1], np.float32), np.zeros_like(x)
    dy[7] = 1
    _, cache = functional.batch_norm_forward(x, ones, ones, epsilon=EPSILON)
    _, dgamma, _ = functional.batch_norm_backward(dy, cache)
    x = x.astype(np.longdouble)
    true = ((x - x.mean(0)) / np.sqrt(x.var(0) + EPSILON))[7]
    # Of a large array relative to dy: its only term may be nearly 0.
    least = 0 if x.size <= SMALL else 1
    assert not (abs(dgamma - true) / np.maximum(abs(true), least)).max() > BOUNDS["dgamma"]


@pytest.mark.parametrize("shape", [(1000, 40), (65536, 16)], ids=str)
@pytest.mark.parametrize("dy_is", ["nearly constant", "two values"])
def test_roundings_that_all_go_one_way(shape, dy_is):
    rng = np.random.default_rng(0)
    x = ((rng.random(shape) < 0.2) * rng.uniform(1, 3, shape[1])).astype(np.float32)
    dy = 0.5 + 1e-3 * rng.standard_normal(shape)
    if dy_is == "two values":
        dy = np.where(rng.random(shape) < 0.3, 0.7, -0.3)
    dy, ones = dy.astype(np.float32), np.ones(shape[1], np.float32)
    _, cache = functional.batch_norm_forward(x, ones, ones, epsilon=EPSILON)
    gradients = functional.batch_norm_backward(dy, cache)[1:]
    x, dy = x.astype(np.longdouble), dy.astype(np.longdouble)
    terms = dy * (x - x.mean(0)) / np.sqrt(x.var(0) + EPSILON), dy
    for got, each in zip(gradients, terms, strict=True):
        # Of two values of dy, positive and negative, the sum says nothing of how large they are.
        scale = abs(each).sum(0) if dy_is == "two values" else np.sqrt((dy**2).sum(0))
        assert not (abs(got - each.sum(0)) / np.maximum(abs(each.sum(0)), scale)).max() > 5e-7


COLUMNS = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "uniform": lambda rng, shape: rng.uniform(-1, 1, shape),
    "after a ReLU": lambda rng, shape: np.maximum(rng.standard_normal(shape), 0),
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "heavy tails": lambda rng, shape: rng.standard_t(2, size=shape),
    "sorted": lambda rng, shape: np.sort(rng.standard_normal(shape), axis=0),
    # Of these all roundings go one way.
    "two values": lambda rng, shape: (rng.random(shape) < rng.uniform(0, 0.5)) * 3.0,
    "one outlier": lambda rng, shape: np.where(
        np.arange(shape[0])[:, np.newaxis] == rng.integers(shape[0]),
        10 ** rng.uniform(0, 4, shape[1]),
        0.7,
    ),
}


@pytest.mark.parametrize("batches", [10, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", COLUMNS)
def test_each_column_of_any_data_keeps_its_digits(name, batches):
    rng = np.random.default_rng(0)
    for batch in range(batches):
        shape = int(2 ** rng.uniform(1, 13)), int(2 ** rng.uniform(0, 7))
        x = COLUMNS[name](rng, shape)
        if batch % 2:
            # Far from 0, on either side.
            x = x + 10 ** rng.uniform(-1, 6, shape[1]) * rng.choice([-1, 1], shape[1])
        x = x * 10 ** rng.uniform(-2, 2, shape[1])
        epsilon, dy_mean = rng.choice([1e-3, 1e-5, 1e-8]), rng.choice([0, 1, 10])
        errors, cache, true = column_errors(x, epsilon, dy_mean=dy_mean)
        size = abs(true.mean) + np.sqrt(true.variance + epsilon)
        assert not (abs(cache.mean - true.mean) / size).max() > 1e-7
        assert not (abs(cache.variance - true.variance) / (true.variance + epsilon)).max() > 1e-6
        for quantity, bound in BOUNDS.items():
            assert not errors[quantity] > bound, (quantity, errors[quantity], shape)


BIASES = {
    "one dead unit": [0.1, 3, 3, 30],
    "far from 0": [0.1, 1e4, 1e4, 1e4],
    "very far": [1.2e7, 1.2e7, -1.2e7, 3],
}


class TestInANetwork:
    """There batch norm centres a Dense's output in place."""

    @staticmethod
    def alone_and_in_a_network(x, dense):
        norm = BatchNorm(dense.out_features, momentum=0.0)
        alone = copy.deepcopy(norm)
        y = Sequential([dense, norm]).forward(x, training=True)
        np.testing.assert_array_equal(y, alone.forward(dense.forward(x), training=True))
        for name in ("batch_mean", "batch_variance", "population_mean", "population_variance"):
            np.testing.assert_array_equal(getattr(norm, name), getattr(alone, name))
        z = dense.forward(x).astype(np.float64)
        scale = np.maximum(abs(z).max(0), 1e-30)
        assert not (abs(norm.batch_mean - z.mean(0)) / scale).max() > 1e-7
        assert not (abs(norm.batch_variance - z.var(0)) / (z.var(0) + 1e-3)).max() > 1e-6

    @pytest.mark.parametrize("name", BIASES)
    @pytest.mark.parametrize("rows", [2, 60, 200])
    def test_columns_that_are_centred_again_spoil_no_others(self, name, rows):
        dense = Dense(5, 4, rng=0)
        dense.weight[:, 0] = 0
        dense.bias[...] = BIASES[name]
        x = np.random.default_rng(0).standard_normal((rows, 5)).astype(np.float32)
        self.alone_and_in_a_network(x, dense)

    @pytest.mark.parametrize("rows", [2, 60, 200])
    def test_identical_rows(self, rows):
        row = np.random.default_rng(0).standard_normal((1, 5)).astype(np.float32)
        dense = Dense(5, 64, rng=0)
        self.alone_and_in_a_network(np.repeat(row, rows, axis=0), dense)


@pytest.mark.parametrize("steps", [2_000, pytest.param(50_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("varying", [True, False])
def test_the_population_is_that_of_the_same_updates_in_float64(steps, varying):
    rng = np.random.default_rng(0)
    norm = BatchNorm(4)
    x = (rng.standard_normal((20, 4)) * [1, 0.01, 5, 1] + [100, 1e3, 0, -0.3]).astype(np.float32)
    mean, variance = np.zeros(4), np.ones(4)
    for _ in range(steps):
        if varying:
            x = rng.permuted(x, axis=0) + rng.standard_normal(4).astype(np.float32)
        norm.forward(x, training=True)
        mean = 0.99 * mean + 0.01 * norm.batch_mean.astype(np.float64)
        variance = 0.99 * variance + 0.01 * norm.batch_variance.astype(np.float64)
    assert (
        not (abs(norm.population_mean - mean) / np.maximum(abs(mean), variance**0.5)).max() > 1e-6
    )
    assert not (abs(norm.population_variance - variance) / variance).max() > 1e-6


@pytest.mark.slow
class TestTime:
    """What the digits cost where the data are far from 0, in interleaved turns."""

    def assert_at_most(self, bound, name, centred, far):
        tasks = {"centred": timing.Task(centred), "far": timing.Task(far)}
        with threadpool_limits(1):
            times = timing.measure(tasks, turns=41, seconds=0.02)
        ratio = timing.ratio(times["far"].wall, times["centred"].wall)
        print(f"\n{name}, data far from 0 / centred: {ratio:.3f}")
        assert not ratio > bound

    @pytest.mark.parametrize("ratio", [10, 1e3, 1e6])
    @pytest.mark.parametrize("shape", [(60, 100), (1024, 1024), (65536, 64)])
    def test_a_kernel_takes_at_most_30_percent_longer(self, shape, ratio):
        gamma, beta = np.ones(shape[1], np.float32), np.zeros(shape[1], np.float32)

        def both(x):
            def run():
                _, cache = functional.batch_norm_forward(x, gamma, beta)
                functional.batch_norm_backward(dy, cache)

            return run

        dy = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        centred, far = (far_from_zero(shape, each).astype(np.float32) for each in (0, ratio))
        name = f"{'x'.join(map(str, shape))}, |mean| / std {ratio:g}"
        self.assert_at_most(1.3, name, both(centred), both(far))

    def test_a_training_step_takes_at_most_5_percent_longer(self):
        rng = np.random.default_rng(0)
        images, labels = rng.random((60, 784), np.float32), rng.integers(10, size=60)

        def step(x):
            network = lesson.NeuralNet(lesson.initial_weights(False, 0), ReLU, True).network
            optimizer = SGD(0)

            def run():
                logits = network.forward(x, training=True)
                _, dlogits = functional.softmax_cross_entropy(logits, labels)
                network.backward(dlogits)
                optimizer.step(network)

            run()
            first = network.layers[1]
            assert (abs(first.batch_mean) > 100 * np.sqrt(first.batch_variance)).mean() == (
                0 if x is images else pytest.approx(1, abs=0.1)
            )
            return run

        self.assert_at_most(1.05, "training step", step(images), step(images + 1000))


class TestCommittedTable:
    results = Results.load(ROOT / "data/accuracy.json")

    def test_the_page_shows_the_file(self):
        page = (ROOT / "docs/accuracy.md").read_text(encoding="utf-8")
        assert accuracy.table(self.results).strip() in page

    def test_npbn_is_within_its_bounds_and_the_others_are_not(self):
        for record in self.results.find("accuracy", who="npbn"):
            assert not record.values[0] > BOUNDS[record.case["quantity"]]
        shapes = {tuple(each.case["shape"]) for each in self.results.find("accuracy")}
        others = {each.who for each in self.results.find("accuracy")} - {"npbn"}
        assert others == {"textbook NumPy", "PyTorch", "JAX jit"}
        for shape in shapes:
            own = accuracy.worst(self.results, list(shape), 1e4, "npbn")
            for who in others:
                assert accuracy.worst(self.results, list(shape), 1e4, who) > 1000 * own

    def test_it_says_with_which_versions(self):
        assert {"npbn", "numpy", "torch", "jax"} <= set(self.results.versions)

    def test_it_can_be_measured_and_drawn_again(self, tmp_path):
        results = accuracy.measure([(8, 3)], [0.0, 100.0], ["npbn", "textbook"])
        assert {each.who for each in results.find("accuracy")} == {"npbn", "textbook NumPy"}
        results.save(tmp_path / "errors.json")
        figure = tmp_path / "errors.png"
        arguments = [str(tmp_path / "errors.json"), "--show", "--figure", str(figure)]
        assert accuracy.main(arguments) == 0
        assert figure.stat().st_size > 10_000
