"""BatchNorm.like: each preset beside its original, over batches of training and in inference."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

from npbn import BatchNorm, Flatten, Sequential
from npbn.layers.presets import PRESETS

ROWS, FEATURES, BATCHES = 7, 4, 6


def over_m(x):
    return ((x - x.mean(0)) ** 2).sum(0) / len(x)


def over_m_less_1(x):
    return ((x - x.mean(0)) ** 2).sum(0) / (len(x) - 1)


@dataclass
class Original:
    """A layer as its own text has it: what it adds, starts at, divides by, and how it follows."""

    epsilon: float
    first: tuple[float, float]
    variance: Callable
    running_variance: Callable
    follow: Callable  # (old, new) -> the running average

    def __post_init__(self):
        self.mean, self.spread = (np.full(FEATURES, each) for each in self.first)

    def train(self, x, gamma, beta):
        self.mean = self.follow(self.mean, x.mean(0))
        self.spread = self.follow(self.spread, self.running_variance(x))
        return self.output(x, gamma, beta)

    def output(self, x, gamma, beta):
        return gamma * ((x - x.mean(0)) / np.sqrt(self.variance(x) + self.epsilon)) + beta

    def infer(self, x, gamma, beta):
        return gamma * ((x - self.mean) / np.sqrt(self.spread + self.epsilon)) + beta


# Of those that are written out somewhere, and of which there is no package to be installed.
ORIGINALS = {
    # The assignment's docstring: running_mean = momentum * running_mean + (1 - momentum) *
    # sample_mean; momentum 0.9, eps 1e-5, running averages from np.zeros.
    "cs231n": lambda: Original(
        1e-5, (0, 0), over_m, over_m, lambda old, new: 0.9 * old + 0.1 * new
    ),
    # std = np.sqrt(var + 10e-7), momentum 0.9, running averages from np.zeros.
    "deep_learning_from_scratch": lambda: Original(
        1e-6, (0, 0), over_m, over_m, lambda old, new: 0.9 * old + 0.1 * new
    ),
    # decay 0.9, eps 2e-5; avg_var takes adjust * var, adjust = m / (m - 1); avg_var from ones.
    "dezero": lambda: Original(
        2e-5, (0, 1), over_m, over_m_less_1, lambda old, new: 0.9 * old + 0.1 * new
    ),
    # x.var(0) of PyTorch is over m - 1, for both; running = (1 - 0.1) * running + 0.1 * batch.
    "makemore": lambda: Original(
        1e-5, (0, 1), over_m_less_1, over_m_less_1, lambda old, new: (1 - 0.1) * old + 0.1 * new
    ),
    # moving = (1 - momentum) * moving + momentum * batch, momentum 0.1, eps 1e-5, from ones.
    "d2l": lambda: Original(
        1e-5, (0, 1), over_m, over_m, lambda old, new: (1 - 0.1) * old + 0.1 * new
    ),
    # decay 0.99, epsilon 1e-3, tf.nn.moments; pop_mean from zeros, pop_variance from ones.
    "tensorflow_1": lambda: Original(
        1e-3, (0, 1), over_m, over_m, lambda old, new: old * 0.99 + new * (1 - 0.99)
    ),
}
each_original = pytest.mark.parametrize("origin", ORIGINALS)


def batches(shape=(ROWS, FEATURES)):
    rng = np.random.default_rng(0)
    for _ in range(BATCHES):
        yield 2 + 3 * rng.standard_normal(shape), rng.standard_normal(shape)


def drawn(layer):
    """gamma and beta that are not those that it starts with."""
    rng = np.random.default_rng(1)
    layer.gamma = rng.uniform(0.5, 2, FEATURES).astype(layer.dtype)
    layer.beta = rng.standard_normal(FEATURES).astype(layer.dtype)
    return layer.gamma.copy(), layer.beta.copy()


def gradients(output, dy, *arrays):
    """Those of sum(dy * output(...)), by complex steps, which are exact to rounding."""
    for place, array in enumerate(arrays):
        gradient = np.empty_like(array)
        for where in np.ndindex(array.shape):
            moved = [each.astype(complex) for each in arrays]
            moved[place][where] += 1e-20j
            gradient[where] = (dy * output(*moved)).sum().imag / 1e-20
        yield gradient


def check(actual, desired):
    np.testing.assert_allclose(actual, desired, rtol=1e-10, atol=1e-12)


def test_each_preset_has_an_original():
    assert set(PRESETS) == {*ORIGINALS, "pytorch", "keras"}


@each_original
def test_it_agrees_with_the_published_formula(origin):
    layer, original = BatchNorm.like(origin, FEATURES, dtype=np.float64), ORIGINALS[origin]()
    gamma, beta = drawn(layer)
    check(layer.population_variance, original.spread)
    for x, dy in batches():
        y = original.train(x, gamma, beta)
        if origin != "makemore":
            check(layer.forward(x, training=True), y)
            dx, dgamma, dbeta = gradients(original.output, dy, x, gamma, beta)
            check(layer.backward(dy), dx)
            check(layer.gradients["gamma"], dgamma)
            check(layer.gradients["beta"], dbeta)
        else:
            layer.forward(x, training=True)
        check(layer.population_mean, original.mean)
        check(layer.population_variance, original.spread)
        check(layer.forward(x), original.infer(x, gamma, beta))


def test_makemore_in_training_is_a_smaller_gamma_and_epsilon():
    share = (ROWS - 1) / ROWS
    layer = BatchNorm.like("makemore", FEATURES, epsilon=1e-5 * share, dtype=np.float64)
    original = ORIGINALS["makemore"]()
    gamma, beta = drawn(layer)
    layer.gamma = gamma * np.sqrt(share)
    for x, dy in batches():
        check(layer.forward(x, training=True), original.output(x, gamma, beta))
        dx, dgamma, dbeta = gradients(original.output, dy, x, gamma, beta)
        check(layer.backward(dy), dx)
        check(layer.gradients["gamma"] * np.sqrt(share), dgamma)
        check(layer.gradients["beta"], dbeta)


def test_deep_learning_from_scratch_has_statistics_a_pixel():
    # Its BatchNormalization reshapes (N, C, H, W) to (N, C * H * W) first.
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 2, 3, 4))
    flat = x.reshape(5, -1)
    wanted = (flat - flat.mean(0)) / np.sqrt(over_m(flat) + 10e-7)
    own = BatchNorm.like("deep_learning_from_scratch", 24, dtype=np.float64)
    y = Sequential([Flatten(), own]).forward(x.transpose(0, 2, 3, 1), training=True)
    check(y.reshape(5, 3, 4, 2).transpose(0, 3, 1, 2), wanted.reshape(x.shape))


@pytest.mark.parametrize("shape", [(ROWS, FEATURES), (3, 5, 2, FEATURES)], ids=["rows", "images"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_agrees_with_pytorch(shape, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    layer = BatchNorm.like("pytorch", FEATURES, dtype=dtype)
    gamma, beta = drawn(layer)
    kind = torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d
    theirs = kind(FEATURES, dtype=torch.from_numpy(gamma).dtype)
    with torch.no_grad():
        theirs.weight.copy_(torch.from_numpy(gamma))
        theirs.bias.copy_(torch.from_numpy(beta))

    def close(actual, desired):
        tolerance = 1e-10 if dtype == np.float64 else 2e-5
        desired = np.moveaxis(desired.detach().numpy(), 1, -1) if desired.ndim > 1 else desired
        np.testing.assert_allclose(actual, desired, rtol=tolerance, atol=tolerance)

    for x, dy in batches(shape):
        x, dy = x.astype(dtype), dy.astype(dtype)
        theirs.zero_grad()
        given = torch.from_numpy(np.moveaxis(x, -1, 1).copy()).requires_grad_()
        output = theirs.train()(given)
        output.backward(torch.from_numpy(np.moveaxis(dy, -1, 1).copy()))
        close(layer.forward(x, training=True), output)
        close(layer.backward(dy), given.grad)
        close(layer.gradients["gamma"], theirs.weight.grad)
        close(layer.gradients["beta"], theirs.bias.grad)
        close(layer.population_mean, theirs.running_mean)
        close(layer.population_variance, theirs.running_var)
        close(layer.forward(x), theirs.eval()(given))


@pytest.mark.parametrize("shape", [(ROWS, FEATURES), (3, 5, 2, FEATURES)], ids=["rows", "images"])
def test_it_agrees_with_keras(shape, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    keras = pytest.importorskip("keras", reason="Keras is not installed: pip install keras")
    if keras.backend.backend() != "torch":
        pytest.skip("Keras stands on another backend here")
    layer = BatchNorm.like("keras", FEATURES)
    gamma, beta = drawn(layer)
    theirs = keras.layers.BatchNormalization()
    theirs.build(shape)
    theirs.gamma.assign(gamma)
    theirs.beta.assign(beta)

    def close(actual, desired):
        np.testing.assert_allclose(actual, desired.detach().numpy(), rtol=2e-5, atol=2e-5)

    for x, dy in batches(shape):
        x, dy = x.astype(np.float32), dy.astype(np.float32)
        given = torch.from_numpy(x).requires_grad_()
        theirs.zero_grad()
        output = theirs(given, training=True)
        output.backward(torch.from_numpy(dy))
        close(layer.forward(x, training=True), output)
        close(layer.backward(dy), given.grad)
        close(layer.gradients["gamma"], theirs.gamma.value.grad)
        close(layer.gradients["beta"], theirs.beta.value.grad)
        close(layer.population_mean, theirs.moving_mean.value)
        close(layer.population_variance, theirs.moving_variance.value)
        close(layer.forward(x), theirs(given, training=False))


def test_settings_may_be_others():
    layer = BatchNorm.like("cs231n", 3, momentum=None, center=False, dtype=np.float64)
    assert repr(layer) == "BatchNorm(3, momentum=None, epsilon=1e-05, center=False)"
    assert layer.dtype == np.float64
    assert list(layer.population_variance) == [0, 0, 0]


def test_a_subclass_makes_its_own():
    class Own(BatchNorm):
        """A reader's."""

    assert type(Own.like("pytorch", 3)) is Own


@pytest.mark.parametrize("origin", ["torch", "PyTorch", 3, None])
def test_another_origin_is_refused_with_those_that_there_are(origin):
    with pytest.raises(ValueError, match=r"origin: expected 'cs231n' or .*, got") as refused:
        BatchNorm.like(origin, 3)
    assert all(repr(each) in str(refused.value) for each in PRESETS)


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="momentum"):
        BatchNorm.like("keras", 3, momentum=2)
    with pytest.raises(TypeError, match="eps"):
        BatchNorm.like("keras", 3, eps=1e-5)
