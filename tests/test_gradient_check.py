"""gradient_check passes what is right, finds what is wrong, and leaves everything as it was."""

import copy
from itertools import pairwise

import numpy as np
import pytest
from html_tables import check_is_plain
from shared import MODES, frozen

from npbn import Sequential, gradient_check, reference
from npbn.layers import (
    BatchNorm,
    BatchNormLSTM,
    Dense,
    Dropout,
    GhostBatchNorm,
    Layer,
    LeakyReLU,
    ReLU,
    Sigmoid,
    Tanh,
)


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


def wrong_names(report):
    return [name for name, error in report.errors.items() if not error <= report.tolerance]


# What is right passes


@pytest.mark.parametrize("norm", [None, BatchNorm], ids=["plain", "batch norm"])
def test_a_network_passes_with_a_loss_and_without(norm, mode):
    each = network(norm, sizes=(3, 3, 2))
    report = gradient_check(each, batch(), labels(), **mode)
    assert report, report
    assert report.largest_error < 1e-7
    arrays = ["dx", *(f"d({name})" for name in each.parameters)]
    assert list(report.errors) == arrays + [f"loss: {name}" for name in arrays]
    assert list(gradient_check(each, batch(), **mode).errors) == arrays


class Counted(Tanh):
    """Says how many forward passes there were."""

    passes = 0

    def forward(self, x):
        Counted.passes += 1
        return super().forward(x)


@pytest.mark.parametrize("norm", [None, BatchNorm], ids=["plain", "batch norm"])
def test_the_network_of_the_lesson_passes_by_two_forward_passes_a_derivative(norm):
    layers = network(norm, sizes=(784, 100, 100, 100, 10)).layers
    lesson = Sequential([*copy.deepcopy(layers), Counted()])
    images = np.random.default_rng(0).uniform(0, 1, (16, 784)).astype(np.float32)
    Counted.passes = 0
    report = gradient_check(lesson, images, labels(16, 10))
    assert report, report
    assert report.largest_error < 1e-7
    derivatives = sum(min(61, array.size) for array in (images, *lesson.parameters.values()))
    assert Counted.passes < 2.1 * derivatives


@pytest.mark.parametrize("progress", [True, False])
def test_a_check_that_takes_long_shows_how_far_it_is(progress, monkeypatch):
    shown = []

    class Bar:
        def __init__(self, total, **options):
            shown.append([total, 0, options["enabled"], options["delay"]])

        def update(self, n=1):
            shown[-1][1] += n

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: None  # noqa: E731

    monkeypatch.setattr("npbn.testing.comparison.progress_bar", Bar)
    each = network()
    assert gradient_check(each, batch(), labels(), progress=progress)
    looks = 3 * (18 + each.parameter_vector.size)
    assert shown == [[looks, looks, progress, 2.0]]


def test_labels_may_have_more_axes():
    each, x = small_network(BatchNorm), batch((4, 3, 3))
    report = gradient_check(each, x, labels((4, 3)))
    assert report
    assert "loss: dx" in report.errors
    with pytest.raises(ValueError, match=r"^labels: expected shape \(4, 3\), got \(4,\)"):
        gradient_check(each, x, labels(4))


def test_a_large_array_is_checked_along_one_direction_too():
    class LastEntry(Dense):
        """A mistake in one gradient of ten thousand: hardly drawn, yet on the way."""

        def backward(self, dy):
            dx = super().backward(dy)
            self.gradients["weight"][-1, -1] += 1
            return dx

    assert gradient_check(Dense(100, 100, rng=0), batch((5, 100)))
    report = gradient_check(LastEntry(100, 100, rng=0), batch((5, 100)))
    assert wrong_names(report) == ["d(weight)"]


# What is wrong fails


class Equations(Layer):
    """Batch normalization made of npbn.reference; its backward pass goes by `always`, if given."""

    def __init__(self, features, *, always=None, dtype=np.float64):
        ones, numbers = np.ones(features, dtype), np.linspace(1, 2, features).astype(dtype)
        super().__init__(
            {"gamma": ones, "beta": 0 * ones},
            {"population_mean": -numbers, "population_variance": numbers},
        )
        self.always = always

    def forward(self, x, training=False, statistics=None):
        self.statistics = statistics or ("batch" if training else "population")
        self.x, self.gamma = x.copy(), self.parameters["gamma"].copy()
        both = self.gamma, self.parameters["beta"]
        y, self.cache = reference.batch_norm_forward(x, *both)
        if self.statistics == "population":
            y = reference.batch_norm_inference(x, *both, *self.state.values())
        return y

    def backward(self, dy):
        if (self.always or self.statistics) == "batch":
            gradients = reference.batch_norm_backward(dy, self.cache)
        else:
            gradients = reference.batch_norm_inference_backward(
                dy, self.x, self.gamma, *self.state.values()
            )
        dx, self.gradients["gamma"][...], self.gradients["beta"][...] = gradients
        return self.changed(dx)

    def changed(self, dx):
        return dx


class WrongSign(Equations):
    def changed(self, dx):
        return -dx


class DbetaMean(Equations):
    def changed(self, dx):
        self.gradients["beta"][...] /= len(dx)
        return dx


class SlightlyWrong(Equations):
    def changed(self, dx):
        self.gradients["gamma"][-1] *= 1 + 1e-5
        return dx


def test_the_equations_pass():
    for mode in MODES.values():
        assert gradient_check(Equations(3), batch(), **mode)
    assert gradient_check(network(Equations, dtype=np.float64), batch())


@pytest.mark.parametrize("wrong", [WrongSign, DbetaMean])
def test_the_loss_finds_a_wrong_backward_too(wrong):
    names = wrong_names(gradient_check(small_network(wrong), batch(), labels()))
    found = {name.removeprefix("loss: ") for name in names if name.startswith("loss: ")}
    assert found == {name for name in names if not name.startswith("loss: ")} != set()
    # The last layer does not depend on it.
    assert not {"d(6.weight)", "d(6.bias)"} & found


@pytest.mark.parametrize("make_it", [lambda kind: kind(3), small_network], ids=["alone", "network"])
def test_a_backward_with_the_other_statistics_fails(make_it):
    def always(statistics):
        return make_it(lambda features, **dtype: Equations(features, always=statistics, **dtype))

    for name, mode in MODES.items():
        used = "batch" if name in ("training", "demonstration") else "population"
        other = "population" if used == "batch" else "batch"
        assert gradient_check(always(used), batch(), **mode)
        assert "dx" in wrong_names(gradient_check(always(other), batch(), **mode))


class ReLUOfTheGradient(ReLU):
    def backward(self, dy):
        super().backward(dy)
        return np.maximum(dy, 0)


def test_a_layer_of_ones_own_is_checked():
    class Square(Layer):
        def __init__(self, factor):
            super().__init__({"scale": np.full(3, 2.0)})
            self.factor = factor

        def forward(self, x):
            self.x = x
            return x**2 * self.parameters["scale"]

        def backward(self, dy):
            x = self.x
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
        return -x

    def backward(self, dy):
        return -dy


class InPlace(Negative):
    def forward(self, x):
        return np.negative(x, out=x)


class NoResult(Negative):
    def backward(self, dy):
        pass


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


# The layer is left as it was


UNTOUCHED = {
    "Dense": lambda: Dense(3, 4, rng=0),
    "BatchNorm": lambda: BatchNorm(3),
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
    before = frozen(layer)
    assert gradient_check(layer, x, **mode)
    assert before == frozen(layer)
    np.testing.assert_array_equal(x, given)
    # The pending backward pass is still that of the last forward pass.
    dy = np.random.default_rng(3).standard_normal(y.shape).astype(np.float32)
    layer.backward(dy)
    twin.backward(dy)
    assert frozen(layer) == frozen(twin)


def test_any_layout_of_a_batch_will_do(laid_out):
    x = laid_out(batch((6, 2, 3)))
    x.flags.writeable = False
    report = gradient_check(Dense(3, 2, rng=0), x)
    assert report, report


@pytest.mark.parametrize("make_layer", list(UNTOUCHED.values())[:3], ids=list(UNTOUCHED)[:3])
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


def test_a_kink_is_told_where_its_gradient_is_said_to_lie_between_both_sides():
    class Absolute(Layer):
        def forward(self, x):
            self.sign = np.sign(x)
            return abs(x)

        def backward(self, dy):
            return dy * self.sign

    x = batch()
    x[0, 0] = x[4, 2] = 0
    report = gradient_check(Absolute(), x)
    assert report, report
    assert report.kinks == {"dx": 2}


def test_a_wrong_gradient_beside_a_kink_is_found():
    x = batch()
    x[0, 0] = 0
    report = gradient_check(ReLUOfTheGradient(), x)
    assert not report
    assert report.kinks == {"dx": 1}


# Set-ups that prove nothing


class Subclass(BatchNorm):
    def backward(self, dy):
        return super().backward(dy)


@pytest.mark.parametrize("mode", [MODES["training"], MODES["demonstration"]], ids=str)
@pytest.mark.parametrize("shape", [(2, 3), (2, 1, 3), (1, 2, 1, 3)], ids=str)
@pytest.mark.parametrize(
    "make_layer",
    [
        lambda: BatchNorm(3),
        lambda: Sequential([Dense(3, 4, rng=0), BatchNorm(4), Tanh()]),
        lambda: Sequential([Sequential([BatchNorm(3), Tanh()])]),
        lambda: network(Subclass, sizes=(3, 4, 2)),
    ],
    ids=["layer", "network", "nested", "subclass"],
)
def test_two_values_a_feature_are_refused_with_the_reason(make_layer, shape, mode):
    layer = make_layer()
    with pytest.raises(ValueError, match=r"\): got two values a feature.*-1 and 1, whatever x is"):
        gradient_check(layer, batch(shape), **mode)


@pytest.mark.parametrize(
    ("make_layer", "shape"),
    [
        (lambda: BatchNormLSTM(3, 4, steps=5, rng=0), (2, 5, 3)),
        (lambda: GhostBatchNorm(3, ghost_size=2), (6, 3)),
    ],
    ids=["a step's", "a ghost batch's"],
)
def test_two_values_a_statistic_are_refused_also_where_x_has_more(make_layer, shape):
    with pytest.raises(ValueError, match=r"\): got two values a feature"):
        gradient_check(make_layer(), batch(shape))
    assert gradient_check(make_layer(), batch((9, *shape[1:])), statistics="population")


def test_one_value_a_feature_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"got one value a feature.*pass more rows \(8, say\)"):
        gradient_check(BatchNorm(3), batch((1, 3)), training=False, statistics="batch")
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
    assert ["WRONG" in line for line in lines[1:4]] == [False, False, True]
    assert lines[4].startswith("d(beta): is too small by the factor m")
    assert lines[5:] == ["FAILED (tolerance 1e-07)"]


def test_the_report_cannot_be_changed():
    report = gradient_check(ReLU(), batch())
    with pytest.raises(AttributeError):
        report.tolerance = 1.0
    with pytest.raises(TypeError):
        report.errors["dx"] = 0.0


def test_the_report_keeps_what_was_given_and_the_derivatives():
    report = gradient_check(network(), batch(), labels())
    assert list(report.given) == list(report.numeric) == list(report.errors)
    for name, numeric in report.numeric.items():
        assert np.isfinite(numeric).all()
        np.testing.assert_allclose(report.given[name], numeric, atol=1e-6)
        assert numeric.dtype == np.float64
    assert report.given["dx"].shape == (6, 3)
    assert report.given["d(0.weight)"].shape == (3, 4)


def test_derivatives_that_were_not_taken_are_nan():
    report = gradient_check(Dense(100, 100, rng=0), batch((5, 100)))
    assert np.isfinite(report.numeric["d(weight)"]).sum() == 60
    assert np.isfinite(report.given["d(weight)"]).all()
    assert np.isfinite(report.numeric["d(bias)"]).sum() == 60
    x = batch()
    x[0, 1] = 0
    kinked = gradient_check(ReLU(), x)
    assert np.argwhere(np.isnan(kinked.numeric["dx"])).tolist() == [[0, 1]]
    assert gradient_check(Sigmoid(), x).numeric.keys() == {"dx"}


def test_the_report_says_where_the_largest_error_is():
    class OneEntry(BatchNorm):
        def backward(self, dy):
            dx = super().backward(dy)
            self.gradients["gamma"][1] += 2
            dx[4, 2] += 1
            return dx

    report = gradient_check(OneEntry(3), batch())
    assert report.places["dx"] == (4, 2)
    assert report.places["d(gamma)"] == (1,)
    given, numeric = report.given["dx"][4, 2], report.numeric["dx"][4, 2]
    assert given - numeric == pytest.approx(1)
    lines = str(report).splitlines()
    assert lines[1].endswith(f"WRONG   [4, 2] is {given:.6g}, not {numeric:.6g}")
    assert lines[3].endswith("ok")


def test_what_is_wrong_with_a_layer_of_a_known_operation_is_named():
    report = gradient_check(DbetaMean(3), batch(), statistics="batch")
    assert report.mistakes == {"d(beta)": ("dbeta is a mean",)}
    assert "d(beta): is too small by the factor m: sum over the batch" in str(report)
    assert gradient_check(Equations(3), batch()).mistakes == {}
    report = gradient_check(Equations(3, always="batch"), batch(), **MODES["inference"])
    assert report.mistakes["dx"] == ("dx of the batch's statistics",)


class NoMeanTerm(BatchNorm):
    def backward(self, dy):
        dx = super().backward(dy)
        return dx - dx.mean(0) + dy.mean(0) * self.gamma / np.sqrt(self.batch_variance + 1e-3)


class TheMaskOfDy(ReLU):
    def backward(self, dy):
        super().backward(dy)
        return np.maximum(dy, 0)


class Transposed(Dense):
    def backward(self, dy):
        dx = super().backward(dy)
        self.gradients["weight"][...] = self.gradients["weight"].T.copy()
        return dx


@pytest.mark.parametrize(
    ("layer", "mistakes"),
    [
        (NoMeanTerm(3), {"dx": ("no mean term",)}),
        (TheMaskOfDy(), {"dx": ("the mask of dy",)}),
        (Transposed(3, 3, rng=0), {"d(weight)": ("dweight is transposed",)}),
        (NoMeanTerm(3, center=False), {"dx": ("no mean term",)}),
        (WrongSign(3), {"dx": ("dx's sign",)}),
    ],
    ids=repr,
)
def test_mistakes_of_layers_are_named(layer, mistakes):
    report = gradient_check(layer, batch())
    assert report.mistakes == mistakes
    assert report.explanations.keys() == mistakes.keys()


def test_a_layer_of_an_unknown_operation_is_described():
    class Cube(Layer):
        def forward(self, x):
            self.x = x
            return x**3

        def backward(self, dy):
            return 1.5 * dy * 3 * self.x**2

    report = gradient_check(Cube(), batch())
    assert report.mistakes == {"dx": ()}
    assert "dx: is 1.5 times the true one throughout: a factor" in str(report)


def test_in_a_network_the_wrong_layer_is_named():
    report = gradient_check(small_network(WrongSign), batch(), labels())
    assert all(keys == () for keys in report.mistakes.values())
    assert list(report.explanations) == [f"layer {place}, {WrongSign(2)!r}: dx" for place in (1, 4)]
    assert f"layer 1, {WrongSign(2)!r}: dx: has the opposite sign" in str(report)
    report = gradient_check(small_network(DbetaMean), batch())
    assert report.mistakes == dict.fromkeys(("d(1.beta)", "d(4.beta)"), ("dbeta is a mean",))


def test_a_notebook_shows_a_table():
    report = gradient_check(DbetaMean(3), batch())
    shown = report._repr_html_()
    check_is_plain(shown)
    for text in ("d(beta)", "WRONG", "FAILED (tolerance 1e-07)", "is too small by the factor m"):
        assert text in shown

    class Named(Negative):
        def __repr__(self):
            return "<script>alert(1)</script>"

    shown = gradient_check(Named(), batch())._repr_html_()
    check_is_plain(shown)
    assert "&lt;script&gt;" in shown


def test_largest_error():
    report = gradient_check(network(), batch())
    assert type(report.largest_error) is float
    assert report.largest_error == max(report.errors.values())
    assert gradient_check(WrongSign(3), batch()).largest_error == pytest.approx(2)


def test_the_tolerance_decides():
    for tolerance in (1e-4, 1e-7, 1e-10):
        assert gradient_check(BatchNorm(3), batch(), tolerance=tolerance)
        slightly_wrong = gradient_check(SlightlyWrong(3), batch(), tolerance=tolerance)
        assert bool(slightly_wrong) is (tolerance > 1e-5)
    assert not gradient_check(BatchNorm(3), batch(), tolerance=1e-17)


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
        ({"layer_or_network": ReLU}, TypeError, r"expected a layer .*: write ReLU\(\.\.\.\)$"),
        ({"layer_or_network": None}, TypeError, "expected a layer or a network, got None"),
        ({"x": [[1.0] * 3]}, TypeError, r"x: .*np.asarray"),
        ({"x": np.ones((6, 3), int)}, TypeError, "x: expected float32 or float64, got int64"),
        ({"x": np.ones((6, 5))}, ValueError, r"layer 0, Dense\(3, 4.*got \(6, 5\)"),
        ({"x": np.ones((1, 3))}, ValueError, "BatchNorm.*two values or more"),
        ({"x": np.full((6, 3), np.nan)}, ValueError, "x: expected finite values"),
        ({"labels": labels(7)}, ValueError, r"labels: expected shape \(6,\), got \(7,\)"),
        ({"labels": labels() + 1}, ValueError, "labels: expected classes 0 to 1, got 2"),
        ({"labels": np.eye(2)[labels()]}, ValueError, r"labels: .*argmax\(1\)"),
        ({"training": 1}, TypeError, "training: expected True or False"),
        ({"statistics": "moving"}, ValueError, "statistics: expected 'batch' or 'population'"),
        ({"tolerance": 0}, ValueError, "tolerance: expected a finite number above 0"),
        ({"tolerance": "small"}, TypeError, "tolerance: expected a number"),
        ({"seed": -1}, ValueError, "seed: expected at least 0"),
        ({"progress": 1}, TypeError, "progress: expected True or False"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(arguments, error, message):
    given = {"layer_or_network": network(), "x": batch(), "labels": labels()} | arguments
    with pytest.raises(error, match=message):
        gradient_check(**given)


def test_options_are_keywords():
    with pytest.raises(TypeError, match="positional"):
        gradient_check(network(), batch(), labels(), True)


# Of a layer that does not repeat


class Random(Layer):
    """A right derivation, of numbers that nobody can draw again."""

    def forward(self, x, training=False):
        self.cache = self.draw(x.shape) if training else np.ones(x.shape)
        return x * self.cache

    def backward(self, dy):
        return dy * self.take_cache()

    @staticmethod
    def draw(shape):
        return np.random.default_rng().random(shape)


class Counting(Random):
    """The same, of how often it was called."""

    calls = 0

    def draw(self, shape):
        self.calls += 1
        return np.full(shape, self.calls)


class Repeating(Random):
    """The same, as it is meant to be."""

    def __init__(self):
        super().__init__()
        self.rng = np.random.default_rng(0)

    def draw(self, shape):
        return self.rng.random(shape)


@pytest.mark.parametrize("kind", [Random, Counting])
def test_a_layer_that_does_not_repeat_is_told_with_how_to_draw(kind):
    advice = r"forward does not repeat, .*self\.rng = np\.random\.default_rng\(0\)"
    with pytest.raises(ValueError, match=rf"^{kind.__name__}\(\): {advice}"):
        gradient_check(kind(), batch())
    layers = [Dense(3, 4, rng=0), Tanh(), kind(), Dense(4, 2, rng=1)]
    for labelled in ((), (labels(),)):
        with pytest.raises(ValueError, match=rf"^layer 2, {kind.__name__}\(\): {advice}"):
            gradient_check(Sequential(layers), batch(), *labelled)
        layers = [copy.deepcopy(each) for each in layers]


def test_what_it_advises_passes_and_so_does_a_mode_without_draws():
    assert gradient_check(Repeating(), batch())
    assert gradient_check(Sequential([Dense(3, 4, rng=0), Repeating()]), batch())
    assert gradient_check(Random(), batch(), training=False)


class Rescaled(Layer):
    """y = x * r; r, of x and of a state that follows it, is a constant to backward, or not."""

    def __init__(self, holds, is_right=True):
        super().__init__(state={"std": np.ones(3)})
        self.holds, self.is_right, self.held, self.is_held = holds, is_right, None, False

    def hold_constants(self):
        self.is_held = self.holds

    def forward(self, x, training=False):
        std = x.std(0)
        r = std / self.state["std"] if self.held is None else self.held
        if self.is_held:
            self.held = r
        if training:
            self.state["std"][...] = (self.state["std"] + std) / 2
        self.cache = r, x, std
        return x * r

    def backward(self, dy):
        r, x, std = self.take_cache()
        if self.is_right:
            return dy * r
        x_hat = (x - x.mean(0)) / std
        return dy * r + r / std * x_hat * (dy * x).mean(0)


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a network"])
@pytest.mark.parametrize(("holds", "is_right"), [(True, True), (True, False), (False, True)])
def test_a_state_is_set_back_and_constants_are_held(holds, is_right, inside):
    layer = Rescaled(holds, is_right)
    checked = Sequential([Tanh(), layer, Dense(3, 2, rng=0)]) if inside else layer
    report = gradient_check(checked, batch())
    assert bool(report) == (holds and is_right), report
    assert (layer.state["std"] == 1).all()
    assert layer.held is None


def test_what_is_not_held_is_differentiated():
    assert gradient_check(Rescaled(holds=False, is_right=False), batch())


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a network"])
def test_a_readers_layer_is_checked_under_the_callers_error_settings(inside):
    class Log(Layer):
        def forward(self, x):
            self.cache = x
            return np.log(x)

        def backward(self, dy):
            return dy / self.take_cache()

    layer = Sequential([Dense(3, 4, rng=0), Log()]) if inside else Log()
    with np.errstate(all="raise"), pytest.raises(FloatingPointError, match="log"):
        gradient_check(layer, batch())
    with pytest.warns(RuntimeWarning, match="invalid value encountered in log"):
        gradient_check(layer, batch())


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6, 1e10])
def test_a_small_error_is_found_whatever_the_scale_of_x(scale):
    x = scale * np.random.default_rng(0).standard_normal((8, 4))

    class Slightly(BatchNorm):
        def backward(self, dy, *, input_gradient=True):
            return super().backward(dy) * (1 + 1e-6)

    assert gradient_check(BatchNorm(4), x)
    report = gradient_check(Slightly(4), x)
    assert report.errors["dx"] == pytest.approx(1e-6, rel=0.1)


def test_infinity_is_like_no_mistake_in_a_layer():
    class Infinite(BatchNorm):
        def backward(self, dy, *, input_gradient=True):
            return np.full_like(super().backward(dy), np.inf)

    report = gradient_check(Infinite(4), np.random.default_rng(0).standard_normal((8, 4)))
    assert report.mistakes == {"dx": ()}
    assert "NaN or infinity" in report.explanations["dx"]
