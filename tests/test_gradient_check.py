"""gradient_check passes what is right, finds what is wrong, and leaves everything as it was."""

import copy
from itertools import pairwise

import numpy as np
import pytest

from npbn import (
    BatchNorm,
    Dense,
    Dropout,
    Layer,
    LeakyReLU,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
    gradient_check,
)

MODES = {
    "training": {"training": True},
    "frozen": {"training": True, "statistics": "population"},
    "inference": {"training": False},
    "demonstration": {"training": False, "statistics": "batch"},
}
ACTIVATIONS = {
    "ReLU": ReLU,
    "LeakyReLU": LeakyReLU,
    "Sigmoid": Sigmoid,
    "Tanh": Tanh,
}
LAYERS = {
    "Dense": lambda: Dense(3, 4, rng=0),
    "Dense without bias": lambda: Dense(3, 4, use_bias=False, rng=0),
    "BatchNorm": lambda: BatchNorm(3),
    "BatchNorm, epsilon 1": lambda: BatchNorm(3, epsilon=1),
    "BatchNorm without beta": lambda: BatchNorm(3, center=False),
    "BatchNorm without gamma": lambda: BatchNorm(3, scale=False),
    "BatchNorm without either": lambda: BatchNorm(3, center=False, scale=False),
    "Dropout": lambda: Dropout(0.4, rng=0),
    **ACTIVATIONS,
}
each_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
each_layer = pytest.mark.parametrize("make_layer", LAYERS.values(), ids=LAYERS)
each_activation = pytest.mark.parametrize("activation", ACTIVATIONS.values(), ids=ACTIVATIONS)


def batch(shape=(6, 3), seed=1, dtype=np.float64):
    return np.random.default_rng(seed).normal(1, 2, shape).astype(dtype)


def labels(rows=6, classes=2, seed=2):
    return np.random.default_rng(seed).integers(classes, size=rows)


SIZES = (3, 4, 3, 2)


def network(norm=BatchNorm, activation=ReLU, sizes=SIZES, dtype=np.float32, seed=0):
    """The lesson's kind of network; norm None for none."""
    rng = np.random.default_rng(seed)
    layers = []
    for inner, outer in pairwise(sizes[:-1]):
        layers.append(Dense(inner, outer, use_bias=norm is None, rng=rng, dtype=dtype))
        layers += [] if norm is None else [norm(outer, dtype=dtype)]
        layers.append(activation())
    return Sequential([*layers, Dense(*sizes[-2:], rng=rng, dtype=dtype)])


def small_network(norm):
    """Of few numbers, and smooth: where a ReLU is 0 throughout, nothing before it can be wrong."""
    return network(norm, Tanh, sizes=(3, 2, 2, 2))


# What is right passes


@each_layer
@each_mode
def test_every_layer_passes(make_layer, mode):
    report = gradient_check(make_layer(), batch(), **mode)
    assert report, report
    assert report.largest_error < 1e-7
    assert next(iter(report.errors)) == "dx"
    assert len(report.errors) == 1 + len(make_layer().parameters)


@each_mode
@pytest.mark.parametrize("shape", [(2, 3, 2, 3), (3, 4, 3), (3, 3), (40, 3)], ids=str)
def test_batch_norm_passes_in_every_shape(shape, mode):
    report = gradient_check(BatchNorm(3), batch(shape), **mode)
    assert report, report


@pytest.mark.parametrize(
    ("activation", "mode"),
    [
        *((ReLU, mode) for mode in MODES.values()),
        *((each, {}) for each in (LeakyReLU, Sigmoid, Tanh)),
    ],
)
def test_every_network_passes(activation, mode):
    report = gradient_check(network(BatchNorm, activation), batch(), **mode)
    assert report, report
    assert report.largest_error < 1e-7
    assert not any(name.startswith("loss") for name in report.errors)


@each_activation
@pytest.mark.parametrize("norm", [None, BatchNorm], ids=["plain", "batch norm"])
def test_every_network_passes_with_a_loss(norm, activation):
    each = network(norm, activation, sizes=(3, 3, 2))
    report = gradient_check(each, batch(), labels())
    assert report, report
    assert report.largest_error < 1e-7
    arrays = ["dx", *(f"d({name})" for name in each.parameters)]
    assert list(report.errors) == arrays + [f"loss: {name}" for name in arrays]


@pytest.mark.parametrize("norm", [None, BatchNorm], ids=["plain", "batch norm"])
@pytest.mark.parametrize("seed", range(2))
def test_wider_networks_pass_whatever_their_weights(norm, seed):
    wide = network(norm, sizes=(6, 5, 4, 3), seed=seed)
    report = gradient_check(wide, batch((8, 6), seed), seed=seed)
    assert report, report
    assert report.largest_error < 1e-7


@pytest.mark.parametrize("mode", [MODES["frozen"], MODES["inference"]], ids=["frozen", "inference"])
def test_a_network_passes_with_a_loss_in_other_modes(mode):
    report = gradient_check(network(), batch(), labels(), **mode)
    assert report, report


@each_mode
def test_a_network_with_dropout_passes(mode):
    layers = [Dense(3, 5, rng=0), BatchNorm(5), ReLU(), Dropout(0.4, rng=1), Dense(5, 2, rng=2)]
    report = gradient_check(Sequential(layers), batch(), labels(), **mode)
    assert report, report


def test_a_nested_network_passes():
    nested = Sequential([network(sizes=(3, 4, 3)), Tanh(), network(sizes=(3, 4, 2), seed=1)])
    report = gradient_check(nested, batch())
    assert report, report


def test_a_network_with_feature_maps_passes():
    layers = [Dense(3, 4, rng=0), BatchNorm(4), ReLU(), Dense(4, 2, rng=1), BatchNorm(2), Tanh()]
    report = gradient_check(Sequential(layers), batch((2, 3, 2, 3)))
    assert report, report


@pytest.mark.parametrize("norm", [None, BatchNorm], ids=["plain", "batch norm"])
def test_the_network_of_the_lesson_passes(norm):
    lesson = network(norm, sizes=(784, 100, 100, 100, 10))
    images = np.random.default_rng(0).uniform(0, 1, (6, 784)).astype(np.float32)
    report = gradient_check(lesson, images)
    assert report, report
    assert report.largest_error < 1e-7


def test_a_large_array_is_checked_along_one_direction_too():
    class LastEntry(Dense):
        """A mistake in one gradient of ten thousand: hardly drawn, yet on the way."""

        def _backward(self, dy, cache, input_gradient, out):
            dx = super()._backward(dy, cache, input_gradient, out)
            self.gradients["weight"][-1, -1] += 1
            return dx

    assert gradient_check(Dense(100, 100, rng=0), batch((5, 100)))
    report = gradient_check(LastEntry(100, 100, rng=0), batch((5, 100)))
    assert wrong_names(report) == ["d(weight)"]


# What is wrong fails


class Wrong(BatchNorm):
    """Batch normalization whose backward pass puts the right pieces together wrongly."""

    def _backward(self, dy, cache, input_gradient, out):
        gamma, _ = self._scale_and_shift()
        axes = tuple(range(dy.ndim - 1))
        if not hasattr(cache, "x_hat"):  # population statistics
            std = np.sqrt(cache.variance + self.epsilon)
            x_hat = (cache.x - cache.mean) / std
        else:
            std, x_hat = cache.std, cache.x_hat
        right = super()._backward(dy, cache, True, None)
        self.m = dy.size // self.features
        self.mean_dy, self.mean_dy_x_hat = dy.mean(axes), (dy * x_hat).mean(axes)
        dx = self.dx(dy, right, x_hat, gamma, std)
        self.change(self.gradients)
        return dx

    def dx(self, dy, right, x_hat, gamma, std):
        return right

    def change(self, gradients):
        pass


class Zero(Wrong):
    def dx(self, dy, right, x_hat, gamma, std):
        return 0 * right


class NoMeanTerm(Wrong):
    def dx(self, dy, right, x_hat, gamma, std):
        return gamma / std * (dy - x_hat * self.mean_dy_x_hat)


class NoVarianceTerm(Wrong):
    def dx(self, dy, right, x_hat, gamma, std):
        return gamma / std * (dy - self.mean_dy)


class ConstantStatistics(Wrong):
    def dx(self, dy, right, x_hat, gamma, std):
        return gamma / std * dy


class GammaForgotten(Wrong):
    def dx(self, dy, right, x_hat, gamma, std):
        return right / gamma


class StdForgotten(Wrong):
    def dx(self, dy, right, x_hat, gamma, std):
        return right * std


class OneLessInTheVariance(Wrong):
    def dx(self, dy, right, x_hat, gamma, std):
        share = self.m / (self.m - 1)
        return gamma / std * (dy - self.mean_dy - share * x_hat * self.mean_dy_x_hat)


class OneLessInBoth(Wrong):
    def dx(self, dy, right, x_hat, gamma, std):
        share = self.m / (self.m - 1)
        return gamma / std * (dy - share * (self.mean_dy + x_hat * self.mean_dy_x_hat))


class VarianceTermDoubled(Wrong):
    def dx(self, dy, right, x_hat, gamma, std):
        return gamma / std * (dy - self.mean_dy - 2 * x_hat * self.mean_dy_x_hat)


class WrongSign(Wrong):
    def dx(self, dy, right, x_hat, gamma, std):
        return -right


class NotANumber(Wrong):
    def dx(self, dy, right, x_hat, gamma, std):
        right.flat[3] = np.nan
        return right


class DgammaZero(Wrong):
    def change(self, gradients):
        gradients["gamma"][...] = 0


class DgammaOfX(Wrong):
    def change(self, gradients):
        gradients["gamma"][...] += gradients["beta"]


class DgammaOneEntry(Wrong):
    def change(self, gradients):
        gradients["gamma"][-1] *= 1 + 1e-5


class DbetaMean(Wrong):
    def change(self, gradients):
        gradients["beta"][...] /= self.m


class DbetaNotANumber(Wrong):
    def change(self, gradients):
        gradients["beta"][0] = np.nan


class DbetaSwapped(Wrong):
    def change(self, gradients):
        gradients["beta"][...] = gradients["beta"][::-1].copy()


WRONG_DX = [
    Zero,
    NoMeanTerm,
    NoVarianceTerm,
    ConstantStatistics,
    GammaForgotten,
    StdForgotten,
    OneLessInTheVariance,
    OneLessInBoth,
    VarianceTermDoubled,
    WrongSign,
    NotANumber,
]
WRONG_DGAMMA = [DgammaZero, DgammaOfX, DgammaOneEntry]
WRONG_DBETA = [DbetaMean, DbetaNotANumber, DbetaSwapped]
each_wrong_dx = pytest.mark.parametrize("wrong", WRONG_DX)
each_wrong = pytest.mark.parametrize("wrong", [*WRONG_DX, *WRONG_DGAMMA, *WRONG_DBETA])


def wrong_names(report):
    return [name for name, error in report.errors.items() if not error <= report.tolerance]


def test_the_right_pieces_put_together_rightly_pass():
    for mode in MODES.values():
        assert gradient_check(Wrong(3), batch(), **mode)
    assert gradient_check(network(Wrong), batch())


@each_wrong
@pytest.mark.parametrize(
    ("mode", "shape"),
    [("training", (6, 3)), ("training", (2, 3, 1, 3)), ("demonstration", (4, 3))],
    ids=str,
)
def test_every_wrong_backward_fails_alone(wrong, mode, shape):
    report = gradient_check(wrong(3), batch(shape), **MODES[mode])
    assert not report
    assert not report.largest_error <= 1e-7
    if wrong in WRONG_DX:
        assert wrong_names(report) == ["dx"]
    else:
        assert wrong_names(report) == ["d(gamma)" if wrong in WRONG_DGAMMA else "d(beta)"]


@each_wrong
def test_every_wrong_backward_fails_in_a_network(wrong):
    names = set(wrong_names(gradient_check(small_network(wrong), batch((5, 3)))))
    if wrong in WRONG_DX:
        # All that lies before the second batch norm, and, but that two wrong signs make a right
        # one, what lies before the first.
        assert {"d(1.gamma)", "d(1.beta)", "d(3.weight)"} <= names
        assert ({"dx", "d(0.weight)"} <= names) == (wrong is not WrongSign)
    else:
        parameter = "gamma" if wrong in WRONG_DGAMMA else "beta"
        assert names == {f"d(1.{parameter})", f"d(4.{parameter})"}
    # The last layer does not depend on it.
    assert not {"d(6.weight)", "d(6.bias)"} & names


@pytest.mark.parametrize("wrong", [NoVarianceTerm, OneLessInTheVariance, DbetaMean])
def test_the_loss_finds_a_wrong_backward_too(wrong):
    names = wrong_names(gradient_check(small_network(wrong), batch(), labels()))
    found = {name.removeprefix("loss: ") for name in names if name.startswith("loss: ")}
    assert found == {name for name in names if not name.startswith("loss: ")} != set()


@pytest.mark.parametrize("wrong", [Zero, OneLessInTheVariance, WrongSign])
def test_one_wrong_layer_among_right_ones_is_found(wrong):
    layers = [Dense(3, 4, rng=0), BatchNorm(4), Tanh(), Dense(4, 3, rng=1), wrong(3)]
    names = wrong_names(gradient_check(Sequential(layers), batch()))
    assert "dx" in names
    assert "d(3.weight)" in names
    assert not {"d(4.gamma)", "d(4.beta)"} & set(names)


class BatchStatisticsAlways(BatchNorm):
    """Backward as in training, whatever the statistics of the forward pass were."""

    def backward(self, dy):
        cache = self._take_cache()
        if hasattr(cache, "x_hat"):
            return self._backward(dy, cache, True, None)
        x_hat = (cache.x - cache.x.mean(0)) / np.sqrt(cache.x.var(0) + self.epsilon)
        self.gradients["beta"][...] = dy.sum(0)
        self.gradients["gamma"][...] = (dy * x_hat).sum(0)
        scale = self.gamma / np.sqrt(cache.x.var(0) + self.epsilon)
        return scale * (dy - dy.mean(0) - x_hat * (dy * x_hat).mean(0))


class PopulationStatisticsAlways(BatchNorm):
    """Backward as in inference, whatever the statistics of the forward pass were."""

    def backward(self, dy):
        self._take_cache()
        self.gradients["beta"][...] = dy.sum(0)
        self.gradients["gamma"][...] = 0
        return dy * self.gamma / np.sqrt(self.population_variance + self.epsilon)


@pytest.mark.parametrize(
    "make_it", [lambda kind: kind(3), small_network], ids=["alone", "in a network"]
)
def test_a_backward_with_the_other_statistics_fails(make_it):
    x = batch()
    for mode in (MODES["training"], MODES["demonstration"]):
        assert gradient_check(make_it(BatchStatisticsAlways), x, **mode)
        assert not gradient_check(make_it(PopulationStatisticsAlways), x, **mode)
    for mode in (MODES["frozen"], MODES["inference"]):
        report = gradient_check(make_it(BatchStatisticsAlways), x, **mode)
        assert not report
        assert "dx" in wrong_names(report)


class DenseBiasForgotten(Dense):
    def _backward(self, dy, cache, input_gradient, out):
        dx = super()._backward(dy, cache, input_gradient, out)
        self.gradients["bias"][...] = 0
        return dx


class ReLUOfTheGradient(ReLU):
    def _backward(self, dy, cache, input_gradient, out):
        return np.maximum(dy, 0)


class DropoutWithoutScale(Dropout):
    def _backward(self, dy, cache, input_gradient, out):
        return dy * (cache > 0)


@pytest.mark.parametrize(
    "layer",
    [DenseBiasForgotten(3, 4, rng=0), ReLUOfTheGradient(), DropoutWithoutScale(0.4, rng=0)],
    ids=lambda layer: type(layer).__name__,
)
def test_other_layers_gone_wrong_fail(layer):
    assert not gradient_check(layer, batch())


def test_a_layer_of_ones_own_is_checked():
    class Square(Layer):
        def __init__(self, factor):
            super().__init__({"scale": np.full(3, 2.0)})
            self.factor = factor

        def forward(self, x):
            self._cache = x
            return x**2 * self.parameters["scale"]

        def backward(self, dy):
            x = self._take_cache()
            self.gradients["scale"][...] = (dy * x**2).sum(0)
            return self.factor * x * dy * self.parameters["scale"]

    assert gradient_check(Square(2), batch())
    assert wrong_names(gradient_check(Square(1.9), batch())) == ["dx"]
    right = Sequential([Dense(3, 3, rng=0, dtype=np.float64), Square(2)])
    assert gradient_check(right, batch())
    wrong = Sequential([Dense(3, 3, rng=0, dtype=np.float64), Square(1.9)])
    assert set(wrong_names(gradient_check(wrong, batch()))) == {"dx", "d(0.weight)", "d(0.bias)"}


class Negative(Layer):
    """A right layer without parameters, to be gone wrong."""

    def forward(self, x):
        self._cache = x
        return -x

    def backward(self, dy):
        self._take_cache()
        return -dy


class InPlace(Negative):
    def forward(self, x):
        self._cache = x
        return np.negative(x, out=x)


class NoResult(Negative):
    def backward(self, dy):
        self._take_cache()


class OtherShape(Negative):
    def backward(self, dy):
        return super().backward(dy)[0]


@pytest.mark.parametrize(
    ("layer", "error", "message"),
    [
        (InPlace(), ValueError, "read-only"),
        (NoResult(), TypeError, r"NoResult\(\): backward's result: .*None"),
        (OtherShape(), ValueError, r"OtherShape\(\): backward's result: .*\(6, 3\), got \(3,\)"),
    ],
    ids=["in place", "no result", "other shape"],
)
def test_a_layer_that_breaks_the_rules_is_refused(layer, error, message):
    assert gradient_check(Negative(), batch())
    with pytest.raises(error, match=message):
        gradient_check(layer, batch())


@pytest.mark.parametrize("adds", [True, False], ids=["added to", "forgotten"])
def test_a_gradient_that_is_not_overwritten_is_found(adds):
    class DenseByHalves(Dense):
        def backward(self, dy):
            before = self.gradients["bias"].copy()
            dx = super().backward(dy)
            self.gradients["bias"][...] = before + self.gradients["bias"] if adds else before
            return dx

    assert wrong_names(gradient_check(DenseByHalves(3, 4, rng=0), batch())) == ["d(bias)"]


class WeightOfTheFirstPass(Dense):
    def backward(self, dy):
        return dy @ self.first.T

    def forward(self, x):
        self.first = getattr(self, "first", self.weight.copy())
        self.gradients["bias"][...] = 0
        return x @ self.weight


def test_what_is_kept_of_an_earlier_pass_is_found():
    assert "dx" in wrong_names(gradient_check(WeightOfTheFirstPass(3, 4, rng=0), batch()))


# Why dy is random

HIDDEN_BY_ONES = [
    Zero,
    NoVarianceTerm,
    GammaForgotten,
    StdForgotten,
    OneLessInTheVariance,
    VarianceTermDoubled,
    WrongSign,
]


def error_with_ones(layer, x, h=1e-4):
    """The largest difference between dx and the derivative of sum(y), dy being all ones."""
    layer.forward(x, training=True)
    dx = layer.backward(np.ones(x.shape))
    numeric = np.empty(x.shape)
    for place in np.ndindex(x.shape):
        start, sums = x[place], []
        for step in (-h, h):
            x[place] = start + step
            sums.append(layer.forward(x, training=True).sum())
        x[place] = start
        numeric[place] = (sums[1] - sums[0]) / (2 * h)
    return np.abs(dx - numeric).max()


@each_wrong_dx
def test_an_upstream_gradient_of_ones_hides_most_mistakes(wrong):
    layer = wrong(3, dtype=np.float64)
    layer.gamma = np.linspace(0.5, 2, 3)
    error = error_with_ones(layer, batch())
    if wrong in HIDDEN_BY_ONES:
        assert error < 1e-9
        assert not gradient_check(layer, batch())
    else:
        assert not error < 1e-3


def test_ones_hide_a_wrong_dgamma_too():
    # sum(1 * x_hat) is 0 whatever x is: so is a dgamma that nobody computed.
    layer = DgammaZero(3, dtype=np.float64)
    x = batch()
    layer.forward(x, training=True)
    layer.backward(np.ones(x.shape))
    right = BatchNorm(3, dtype=np.float64)
    right.forward(x, training=True)
    right.backward(np.ones(x.shape))
    np.testing.assert_allclose(layer.gradients["gamma"], right.gradients["gamma"], atol=1e-13)
    assert not gradient_check(layer, x)


def test_gamma_1_hides_a_forgotten_gamma_and_so_it_is_moved():
    layer = GammaForgotten(3, dtype=np.float64)
    x, dy = batch(), np.random.default_rng(5).standard_normal((6, 3))
    layer.forward(x, training=True)
    dx = layer.backward(dy)
    right = BatchNorm(3, dtype=np.float64)
    right.forward(x, training=True)
    np.testing.assert_allclose(dx, right.backward(dy), atol=1e-15)
    assert (layer.gamma == 1).all()
    assert not gradient_check(layer, x)


# The layer is left as it was


def everything(layer):
    """Copies of all that a check could change."""
    return copy.deepcopy(
        {
            "parameters": dict(layer.parameters),
            "gradients": dict(layer.gradients),
            "state": dict(layer.state),
            "random": [each.bit_generator.state for each in layer.generators.values()],
        }
    )


def assert_same(before, after):
    assert before["random"] == after["random"]
    for kind in ("parameters", "gradients", "state"):
        assert before[kind].keys() == after[kind].keys()
        for name, array in before[kind].items():
            assert array.dtype == after[kind][name].dtype
            np.testing.assert_array_equal(array, after[kind][name])


UNTOUCHED = {
    **LAYERS,
    "network": lambda: network(sizes=(3, 3, 2)),
    "network with dropout": lambda: Sequential(
        [Dense(3, 3, rng=0), BatchNorm(3), Dropout(0.4, rng=1), Dense(3, 2, rng=2)]
    ),
}


@pytest.mark.parametrize("make_layer", UNTOUCHED.values(), ids=UNTOUCHED)
@pytest.mark.parametrize("mode", [MODES["training"], MODES["inference"]], ids=["training", ""])
def test_the_layer_is_left_as_it_was(make_layer, mode):
    layer, twin = make_layer(), make_layer()
    x = batch(dtype=np.float32)
    given = x.copy()
    for each in (layer, twin):
        y = each.forward(x, training=True)
        each.backward(np.ones_like(y))
        y = each.forward(x + 1, training=True)
    before = everything(layer)
    assert gradient_check(layer, x, **mode)
    assert_same(before, everything(layer))
    np.testing.assert_array_equal(x, given)
    # The pending backward pass is still that of the last forward pass.
    dy = np.random.default_rng(3).standard_normal(y.shape).astype(np.float32)
    layer.backward(dy)
    twin.backward(dy)
    assert_same(everything(layer), everything(twin))


def test_a_read_only_batch_will_do():
    x = batch()
    x.flags.writeable = False
    assert gradient_check(network(), x)


@pytest.mark.parametrize(
    "make_layer",
    [LAYERS["Dense"], LAYERS["BatchNorm"], UNTOUCHED["network"]],
    ids=["Dense", "BatchNorm", "network"],
)
def test_the_types_of_the_layer_and_of_x_do_not_matter(make_layer):
    single, double = make_layer(), make_layer().astype(np.float64)
    reports = [
        gradient_check(layer, batch(dtype=np.float32).astype(dtype))
        for layer, dtype in ((single, np.float32), (double, np.float32), (single, np.float64))
    ]
    assert all(reports)
    assert all(report.errors == reports[0].errors for report in reports)


# Kinks


@pytest.mark.parametrize("layer", [ReLU(), LeakyReLU(0.1)], ids=repr)
def test_values_at_a_kink_are_left_out_and_counted(layer):
    x = batch()
    places = [(0, 0), (3, 2), (5, 1)]
    for place in places:
        x[place] = 0
    report = gradient_check(layer, x)
    assert report, report
    assert report.kinks == {"dx": len(places)}
    assert "3 at a kink, left out" in str(report)
    assert "kink" not in str(gradient_check(layer, batch()))


def test_values_next_to_a_kink_are_not_left_out():
    for distance in (1e-2, 1e-3, 1e-4):
        x = batch()
        x[2, 1], x[4, 0] = distance, -distance
        report = gradient_check(ReLU(), x)
        assert report, report
        assert report.kinks == {"dx": 0}


@pytest.mark.parametrize("layer", [ReLU(), LeakyReLU(0.1)], ids=repr)
def test_nothing_but_kinks_does_not_pass(layer):
    report = gradient_check(layer, np.zeros((4, 3)))
    assert not report
    assert report.kinks == {"dx": 12}
    assert np.isnan(report.largest_error)
    assert "FAILED" in str(report)


def test_smooth_functions_have_no_kink_at_0():
    for layer in (Sigmoid(), Tanh(), Dense(3, 2, rng=0)):
        report = gradient_check(layer, np.zeros((4, 3)))
        assert report, report
        assert set(report.kinks.values()) == {0}


def test_a_wrong_gradient_beside_a_kink_is_found():
    x = batch()
    x[0, 0] = 0
    report = gradient_check(ReLUOfTheGradient(), x)
    assert not report
    assert report.kinks == {"dx": 1}


# Set-ups that prove nothing


@pytest.mark.parametrize("mode", [MODES["training"], MODES["demonstration"]], ids=str)
@pytest.mark.parametrize("shape", [(2, 3), (2, 1, 3), (1, 2, 1, 3)], ids=str)
@pytest.mark.parametrize(
    "make_layer",
    [
        lambda: BatchNorm(3),
        lambda: Sequential([Dense(3, 4, rng=0), BatchNorm(4), Tanh()]),
        lambda: Sequential([Sequential([BatchNorm(3), Tanh()])]),
        lambda: network(Wrong, sizes=(3, 4, 2)),
    ],
    ids=["layer", "network", "nested", "subclass"],
)
def test_two_values_a_feature_are_refused_with_the_reason(make_layer, shape, mode):
    layer = make_layer()
    with pytest.raises(ValueError, match=r"\): got two values a feature.*-1 and 1, whatever x is"):
        gradient_check(layer, batch(shape), **mode)


def test_one_value_a_feature_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"got one value a feature.*pass more rows \(8, say\)"):
        gradient_check(BatchNorm(3), batch((1, 3)), training=False, statistics="batch")


def test_two_values_will_do_for_other_layers_and_with_population_statistics():
    for training in (True, False):
        assert gradient_check(
            BatchNorm(3), batch((2, 3)), training=training, statistics="population"
        )
    assert gradient_check(ReLU(), batch((2, 3)))
    assert gradient_check(Dense(3, 2, rng=0), batch((1, 3)))


def test_of_two_values_nothing_reaches_x():
    layer = BatchNorm(3, epsilon=1e-12, dtype=np.float64)
    layer.forward(batch((2, 3)), training=True)
    dx = layer.backward(np.random.default_rng(0).standard_normal((2, 3)))
    assert np.abs(dx).max() < 1e-9


def dead_network():
    """No gradient comes through its ReLU."""
    dead = Sequential([Dense(3, 4, rng=0), ReLU(), Dense(4, 2, rng=1)])
    dead.layers[0].bias = np.full(4, -50, np.float32)
    return dead


def test_behind_a_dead_relu_nothing_is_called_checked():
    report = gradient_check(dead_network(), batch(), labels())
    arrays = ["dx", "d(0.weight)", "d(0.bias)", "d(2.weight)"]
    assert report.zeros == {*arrays, *(f"loss: {name}" for name in arrays)}
    assert report.largest_error < 1e-7
    assert not report
    lines = str(report).splitlines()
    for line in lines[1:-1]:
        unknown = line.split("  ")[1].strip() in report.zeros
        assert line.endswith("not checked: its true gradient is 0" if unknown else "ok")
    assert lines[-1].startswith("NOT CHECKED: no gradient reaches x; take another x")


def test_a_wrong_gradient_behind_a_dead_relu_is_still_wrong():
    dead = dead_network()
    dead = Sequential([NotZero(), *copy.deepcopy(dead.layers)])
    report = gradient_check(dead, batch())
    assert wrong_names(report) == ["dx"]
    assert "FAILED" in str(report)


class NotZero(Layer):
    def forward(self, x):
        return x

    def backward(self, dy):
        return dy + 1


@pytest.mark.parametrize("seed", range(5))
def test_a_bias_before_a_batch_norm_is_told_and_passes(seed):
    layers = [Dense(3, 4, rng=seed), BatchNorm(4), Sigmoid(), Dense(4, 2, rng=1)]
    report = gradient_check(Sequential(layers), batch(), seed=seed)
    assert report, report
    assert report.zeros == {"d(0.bias)"}
    assert str(report).count("not checked: its true gradient is 0") == 1


def test_of_an_x_of_zeros_the_weight_is_not_called_checked():
    report = gradient_check(Dense(3, 2, rng=0), np.zeros((4, 3)))
    assert report
    assert report.zeros == {"d(weight)"}


def test_what_is_small_beside_others_is_checked_nevertheless():
    x = 1e6 * batch()
    assert gradient_check(BatchNorm(3), x).zeros == frozenset()
    assert not gradient_check(WrongSign(3), x)


# The report


def test_the_report_is_a_table():
    report = gradient_check(network(), batch(), labels())
    lines = str(report).splitlines()
    assert "Sequential" in lines[0]
    assert "training=True, statistics='batch', x (6, 3), a random dy, and the loss" in lines[0]
    assert lines[-1] == "passed (tolerance 1e-07)"
    assert len(lines) == 2 + len(report.errors)
    for line, (name, error) in zip(lines[1:-1], report.errors.items(), strict=True):
        assert line.startswith(f"  {name} ")
        assert f"{error:.1e}" in line
        assert line.rstrip().endswith("ok")
    assert len({line.index("ok") for line in lines[1:-1]}) == 1
    assert list(report.errors)[:3] == ["dx", "d(0.weight)", "d(1.gamma)"]
    assert report.errors.keys() == report.kinks.keys()


def test_a_failed_report_says_what_is_wrong():
    report = gradient_check(DbetaMean(3), batch(), statistics="batch")
    lines = str(report).splitlines()
    assert ["WRONG" in line for line in lines[1:-1]] == [False, False, True]
    assert lines[-1] == "FAILED (tolerance 1e-07)"


def test_the_report_cannot_be_changed():
    report = gradient_check(ReLU(), batch())
    with pytest.raises(AttributeError):
        report.tolerance = 1.0
    with pytest.raises(TypeError):
        report.errors["dx"] = 0.0


def test_largest_error():
    report = gradient_check(network(), batch())
    assert type(report.largest_error) is float
    assert report.largest_error == max(report.errors.values())
    assert np.isnan(gradient_check(DbetaNotANumber(3), batch()).largest_error)
    assert gradient_check(Zero(3), batch()).largest_error == pytest.approx(1)


def test_the_tolerance_decides():
    report = gradient_check(BatchNorm(3), batch())
    assert report
    assert not gradient_check(BatchNorm(3), batch(), tolerance=report.largest_error / 2)
    slightly_wrong = gradient_check(DgammaOneEntry(3), batch())
    assert not slightly_wrong
    assert gradient_check(DgammaOneEntry(3), batch(), tolerance=1e-4)


def test_the_same_seed_makes_the_same_report():
    for layer, x in ((BatchNorm(3), batch()), (Dense(20, 9, rng=0), batch((5, 20)))):
        first, second, other = (gradient_check(layer, x, seed=seed) for seed in (4, 4, 5))
        assert str(first) == str(second)
        assert first.errors == second.errors
        assert first.errors != other.errors
        assert other


# What is refused


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"layer_or_network": ReLU}, TypeError, "expected a layer or a network"),
        ({"layer_or_network": None}, TypeError, "expected a layer or a network, got None"),
        ({"x": [[1.0] * 3]}, TypeError, r"x: .*np.asarray"),
        ({"x": np.ones((6, 3), int)}, TypeError, "x: expected float32 or float64, got int64"),
        ({"x": np.ones((6, 3), np.uint8)}, TypeError, "x: .*/ 255"),
        ({"x": np.ones((6, 5))}, ValueError, r"layer 0, Dense\(3, 4.*got \(6, 5\)"),
        ({"x": np.ones(3)}, ValueError, "x: expected two axes or more"),
        ({"x": np.ones((0, 3))}, ValueError, "x: expected at least one value"),
        ({"x": np.ones((1, 3))}, ValueError, "BatchNorm.*two values or more"),
        ({"x": np.full((6, 3), np.nan)}, ValueError, "x: expected finite values"),
        ({"labels": labels(7)}, ValueError, r"labels: expected shape \(6,\), got \(7,\)"),
        ({"labels": labels() + 1}, ValueError, "labels: expected classes 0 to 1, got 2"),
        ({"labels": np.eye(2)[labels()]}, ValueError, r"labels: .*argmax\(1\)"),
        ({"labels": [0] * 6}, TypeError, "labels: expected an integer array"),
        ({"training": 1}, TypeError, "training: expected True or False"),
        ({"statistics": "moving"}, ValueError, "statistics: expected 'batch' or 'population'"),
        ({"tolerance": 0}, ValueError, "tolerance: expected a finite number above 0"),
        ({"tolerance": "small"}, TypeError, "tolerance: expected a number"),
        ({"tolerance": np.nan}, ValueError, "tolerance: expected a finite number above 0"),
        ({"seed": -1}, ValueError, "seed: expected at least 0"),
        ({"seed": 0.5}, TypeError, "seed: expected a whole number"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments, error, message):
    given = {
        "layer_or_network": network(),
        "x": batch(),
        "labels": labels(),
    } | arguments
    with pytest.raises(error, match=message):
        gradient_check(**given)


def test_options_are_keywords():
    with pytest.raises(TypeError, match="positional"):
        gradient_check(network(), batch(), labels(), True)
