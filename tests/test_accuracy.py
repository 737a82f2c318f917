"""float32 against the equations in longdouble: batch norm, its population statistics, sigmoid."""

import copy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from benchmarks import accuracy, timing
from benchmarks.results import Results
from npbn import SGD, BatchNorm, Dense, ReLU, Sequential, functional, lesson, reference

ROOT = Path(__file__).parents[1]
BOUNDS = {"y": 3e-7, "dx": 5e-7, "dgamma": 5e-7, "dbeta": 5e-7}
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
def test_of_a_constant_column_y_is_beta(rows, value):
    y, beta = assert_within_bounds(np.full((rows, 5), value))
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


@pytest.mark.parametrize("shape", [(60, 100), (64, 33), (48, 17), (200, 100), (1000, 33)], ids=str)
def test_columns_of_which_all_roundings_go_one_way_keep_their_digits(shape):
    rng = np.random.default_rng(0)
    for _ in range(10):
        one_value = np.full(shape, 0.7) * 10 ** rng.uniform(-2, 2, shape[1])
        one_value[rng.integers(shape[0])] *= 10 ** rng.uniform(0, 3, shape[1])
        for x in (one_value, (rng.random(shape) < 0.05) * 3.0 + 0.7, rng.random(shape) < 0.05):
            for column in np.split(x.astype(np.float32), shape[1], axis=1)[-5:]:
                assert_within_bounds(column)
            assert_within_bounds(x)


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


class TestNearTheEndsOfTheRange:
    """The largest and smallest numbers, whose squares, or shares of a mean, are out of range."""

    @staticmethod
    def assert_each_column_exact(x, epsilon, dtype=np.float32):
        limits, x = np.finfo(dtype), x.astype(dtype)
        rng = np.random.default_rng(1)
        gamma = rng.uniform(0.5, 1.5, x.shape[-1]).astype(dtype)
        beta, dy = np.zeros_like(gamma), rng.standard_normal(x.shape)
        # So that no dx is out of range itself.
        std = np.sqrt(x.astype(np.longdouble).var(0) + epsilon)
        dy = (dy * np.clip(std, 1e-6, 1e6)).astype(dtype)
        y, cache = functional.batch_norm_forward(x, gamma, beta, epsilon=epsilon)
        got = y, *functional.batch_norm_backward(dy, cache)
        exact = (each.astype(np.longdouble) for each in (x, gamma, beta, dy))
        x, gamma, beta, dy = exact
        true_y, true = reference.batch_norm_forward(x, gamma, beta, epsilon=np.longdouble(epsilon))
        trues = true_y, *reference.batch_norm_backward(dy, true)
        std = np.sqrt(true.variance + np.longdouble(epsilon))
        terms = (gamma * true.x_hat, gamma / std * dy, *map(norm, (dy * true.x_hat, dy)))
        share = limits.eps / np.finfo(np.float32).eps
        for name, a, b, term in zip(BOUNDS, got, trues, terms, strict=True):
            largest = np.maximum(abs(b).max(0), abs(term).max(0))
            error = abs(a - b).max(0)
            # Below the smallest normal number there are fewer digits.
            assert not (error > BOUNDS[name] * share * np.maximum(largest, limits.tiny)).any(), name
        error = abs(cache.mean - true.mean)
        assert not (error > 1e-6 * share * (abs(true.mean) + std) + limits.tiny).any()
        with np.errstate(over="ignore"):
            variance = true.variance.astype(dtype)
        np.testing.assert_allclose(cache.variance, variance, rtol=1e-6, atol=limits.tiny)

    @pytest.mark.parametrize("rows", [2, 60, 1000, 70000])
    @pytest.mark.parametrize("size", [1e-38, 1e-37, 1e-33, 1e-25, 1e-18, 1e18, 1e20, 1e30, 1e38])
    @pytest.mark.parametrize("epsilon", [0, 1e-30, 1e-3, 10])
    def test_columns_of_one_size(self, rows, size, epsilon):
        side = np.random.default_rng(0).uniform(-1, 1, (rows, 3)) + np.array([0, 0.5, 2])
        self.assert_each_column_exact(size * side, epsilon)

    @pytest.mark.parametrize("rows", [2, 60, 1000])
    @pytest.mark.parametrize("epsilon", [1e-30, 1e-3])
    def test_columns_of_every_size_side_by_side(self, rows, epsilon):
        sizes = np.array([0, 1e-38, 1e-20, 1e-3, 1, 1e10, 1e19, 1e38, 0])
        x = np.random.default_rng(0).uniform(-1, 1, (rows, 9)) * sizes
        x[:, -1] = 7
        self.assert_each_column_exact(x, epsilon)

    @pytest.mark.parametrize("size", [1e-307, 1e-200, 1e160, 1e307])
    def test_float64(self, size):
        x = np.random.default_rng(0).uniform(-1, 1, (60, 3)) + np.array([0, 0.5, 2])
        self.assert_each_column_exact(size * x, 1e-3, np.float64)

    @pytest.mark.parametrize("rows", [2, 60, 1000])
    def test_from_end_to_end_of_the_range(self, rows):
        x = np.linspace(-1, 1, 3 * rows).reshape(rows, 3) * float(np.finfo(np.float32).max)
        self.assert_each_column_exact(x, 1e-3)

    @pytest.mark.parametrize("size", [1e-24, -1e-24, 1e-30, -1e-30, 1e-36, -1e-44])
    def test_two_neighbouring_numbers(self, size):
        # Their mean is rounded to one of them.
        x = np.array([[size], [np.nextafter(np.float32(size), np.float32(0))]], np.float32)
        one = np.ones(1, np.float32)
        y, _ = functional.batch_norm_forward(x, one, 0 * one, epsilon=0)
        np.testing.assert_array_equal(y, np.sign(size) * np.array([[1], [-1]]))

    def test_a_variance_that_is_too_large_when_unbiased_is_refused(self):
        norm = BatchNorm(1, momentum=0.4, unbiased_population=True)
        x = np.array([[1.8e19], [-1.8e19]], np.float32)
        with pytest.raises(ValueError, match="or its variance, is not finite"):
            norm.forward(x, training=True)
        assert np.isnan(Sequential([norm]).forward(x, training=True)).all()
        assert norm.population_variance == 1

    def test_a_layer_of_its_own_gives_no_warning(self):
        norm = BatchNorm(1)
        norm.forward(np.array([[6e9], [-6e9]], np.float32), training=True)
        assert norm.population_variance == pytest.approx(0.01 * 3.6e19)

    def test_one_infinity_spoils_its_column_alone(self):
        x = np.random.default_rng(0).standard_normal((60, 3)).astype(np.float32)
        x[7, 1] = np.inf
        one = np.ones(3, np.float32)
        y, _ = functional.batch_norm_forward(x, one, one)
        np.testing.assert_array_equal(np.isnan(y), np.broadcast_to([False, True, False], y.shape))

    @pytest.mark.parametrize("size", [1e-35, 1e20])
    @pytest.mark.parametrize("before", [[], [Dense(3, 3, weight=np.eye(3, dtype=np.float32))]])
    def test_in_a_network_with_a_relu_behind(self, size, before):
        x = (size * np.random.default_rng(0).standard_normal((20, 3))).astype(np.float32)
        norm = BatchNorm(3, epsilon=0)
        expected = np.maximum(norm.forward(x, statistics="batch"), 0)
        network = Sequential([*copy.deepcopy(before), norm, ReLU()])
        y = network.forward(x, statistics="batch")
        np.testing.assert_allclose(y, expected, rtol=1e-6)
        assert (y > 1).any()

    def test_in_training_statistics_that_the_type_cannot_hold_are_refused(self):
        x = (1e20 * np.random.default_rng(0).standard_normal((20, 3))).astype(np.float32)
        norm = BatchNorm(3)
        with pytest.raises(ValueError, match="or its variance, is not finite"):
            norm.forward(x, training=True)
        assert np.isnan(Sequential([norm]).forward(x, training=True)).all()
        np.testing.assert_array_equal(norm.population_variance, 1)


def norm(x):
    return np.sqrt((x**2).sum(0))


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_and_its_gradient_are_exact_and_0_below_the_smallest_normal_number(dtype):
    x = np.array([[-np.inf, -800, -710, -100, -88, -87, -17, 0, 17, 87, 88, 100, 700, 800, np.inf]])
    y, cache = functional.sigmoid_forward(x.astype(dtype))
    dx = functional.sigmoid_backward(np.ones_like(y), cache)
    e = np.exp(-abs(x.astype(np.longdouble)))
    for got, true in ((y, np.where(x >= 0, 1, e) / (1 + e)), (dx, e / (1 + e) ** 2)):
        expected = np.where(true < np.finfo(dtype).tiny, 0, true).astype(np.float64)
        np.testing.assert_allclose(got, expected, rtol=3 * np.finfo(dtype).eps, atol=0)


def true_cross_entropy(logits, labels):
    """In longdouble, from the others' sum: p - 1 and log(p) lose all digits where p is nearly 1."""
    rows = np.arange(len(labels))
    z = logits.astype(np.longdouble)
    z -= z.max(1, keepdims=True)
    e = np.exp(z)
    likely = e[rows, labels].copy()
    e[rows, labels] = 0
    others = e.sum(1)
    losses = np.where(likely == 1, np.log1p(others), np.log(others + likely) - z[rows, labels])
    e[rows, labels] = -others
    return losses, e / ((others + likely) * len(labels))[:, np.newaxis]


class TestSoftmaxCrossEntropy:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("rows", [1, 60])
    @pytest.mark.parametrize("size", [0.01, 1, 20, 40, 85, 90, 700, 1e4])
    def test_exact_to_the_smallest_normal_number_and_0_below(self, size, rows, dtype):
        limits, rng = np.finfo(dtype), np.random.default_rng(0)
        # Half a digit of the difference of two logits is that share of the exponential.
        tolerance = limits.eps * (4 + min(size, -np.log(limits.tiny) / 2))
        for _ in range(50 if rows == 1 else 5):
            logits = (size * rng.choice([-1, 1, rng.random()], (rows, 4))).astype(dtype)
            labels = rng.integers(4, size=rows)
            loss, dlogits = functional.softmax_cross_entropy(logits, labels)
            losses, true = true_cross_entropy(logits, labels)
            losses, true = (np.where(abs(a) < limits.tiny, 0, a) for a in (losses, true))
            assert not abs(loss - losses.mean()) > tolerance * losses.mean()
            np.testing.assert_allclose(dlogits, true.astype(np.float64), rtol=tolerance, atol=0)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("others", [1, 1e4, -1e4])
    @pytest.mark.parametrize("sure", [5, 30, 80])
    def test_sure_and_right_it_still_knows_how_sure(self, sure, others, dtype):
        logits = np.array([[others + sure, others, others]], dtype)
        loss, dlogits = functional.softmax_cross_entropy(logits, np.array([0]))
        rest = 2 * np.exp(-np.float64(sure))
        assert loss == pytest.approx(np.log1p(rest), rel=3 * float(np.finfo(dtype).eps))
        np.testing.assert_allclose(
            dlogits[0] * (1 + rest), [-rest, rest / 2, rest / 2], rtol=4 * np.finfo(dtype).eps
        )


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
