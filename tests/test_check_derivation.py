"""check_derivation passes what is right, finds what is wrong, and says what it is."""

import re
import warnings

import numpy as np
import pytest
from html_tables import check_is_plain

import npbn
from npbn import check_derivation, reference
from npbn.testing import DerivationReport

# Batch normalization as students write it


def arrays(shape=(12, 5), seed=0, dtype=np.float64):
    """x, gamma and beta."""
    rng = np.random.default_rng(seed)
    features = shape[-1]
    x = rng.normal(2, 3, shape)
    return [
        each.astype(dtype)
        for each in (x, rng.uniform(0.5, 1.5, features), rng.standard_normal(features))
    ]


def forward(x, gamma, beta, epsilon=1e-5):
    mean, variance = x.mean(0), x.var(0)
    std = np.sqrt(variance + epsilon)
    x_hat = (x - mean) / std
    return gamma * x_hat + beta, (x_hat, std, gamma)


def backward(dy, cache):
    x_hat, std, gamma = cache
    m = len(dy)
    dgamma, dbeta = (dy * x_hat).sum(0), dy.sum(0)
    return gamma / std * (dy - dbeta / m - x_hat * dgamma / m), dgamma, dbeta


def check(forward=forward, backward=backward, given=None, **options):
    given = arrays() if given is None else given
    return check_derivation(forward, backward, *given, **{"like": "batch_norm", **options})


def changed(change, of=backward):
    """A backward function whose gradients are changed: change(dy, cache, dx, dgamma, dbeta)."""
    return lambda dy, cache: change(dy, cache, *of(dy, cache))


# What is right passes


def step_by_step(dy, cache):
    """The graph of the forward pass, backwards, one node at a time."""
    x_hat, std, gamma = cache
    m, centred = len(dy), x_hat * std
    dbeta, dgamma = dy.sum(0), (dy * x_hat).sum(0)
    dx_hat = dy * gamma
    dcentred = dx_hat / std
    dinverse = (dx_hat * centred).sum(0)
    dstd = -dinverse / std**2
    dvariance = dstd / (2 * std)
    dcentred = dcentred + 2 * centred * dvariance / m
    return dcentred - dcentred.sum(0) / m, dgamma, dbeta


def in_loops(dy, cache):
    x_hat, std, gamma = cache
    m, features = dy.shape
    dx, dgamma, dbeta = np.zeros_like(dy), [0.0] * features, [0.0] * features
    for j in range(features):
        for i in range(m):
            dgamma[j] += dy[i, j] * x_hat[i, j]
            dbeta[j] += dy[i, j]
        for i in range(m):
            rest = dy[i, j] - dbeta[j] / m - x_hat[i, j] * dgamma[j] / m
            dx[i, j] = gamma[j] / std[j] * rest
    return dx, np.array(dgamma), np.array(dbeta)


def by_einsum(dy, cache):
    x_hat, std, gamma = cache
    share = np.eye(len(dy)) - 1 / len(dy)
    projected = share - np.einsum("ni,mi->nmi", x_hat, x_hat).transpose(2, 0, 1) / len(dy)
    dx = np.einsum("inm,mi->ni", projected, dy) * gamma / std
    return dx, np.einsum("ni,ni->i", dy, x_hat), np.einsum("ni->i", dy)


RIGHT = {
    "simplified": backward,
    "step by step": step_by_step,
    "in loops": in_loops,
    "by einsum": by_einsum,
}


@pytest.mark.parametrize("way", RIGHT.values(), ids=RIGHT)
@pytest.mark.parametrize("like", ["batch_norm", None])
def test_a_right_derivation_passes(way, like):
    report = check(backward=way, like=like)
    assert report, report
    assert dict(report.mistakes) == {}
    assert list(report.errors) == (["y"] if like else []) + ["dx", "dgamma", "dbeta"]
    assert report.largest_error < 1e-7
    assert str(report).endswith("passed")


def as_float32(function):
    def single(*given):
        return function(*(each.astype(np.float32) for each in given))

    return single


@pytest.mark.parametrize("like", ["batch_norm", None])
@pytest.mark.parametrize("shape", [(12, 5), (60, 10)], ids=str)
def test_float32_within_passes_with_its_own_digits(shape, like):
    def back(dy, cache):
        return backward(dy.astype(np.float32), cache)

    assert check(as_float32(forward), back, arrays(shape), like=like)

    # Also where the digits are gone, and the type is float64 again.
    def hidden(*given):
        y, cache = as_float32(forward)(*given)
        return y.astype(np.float64), cache

    assert check(hidden, backward, arrays(shape), like=like)
    report = check(
        as_float32(forward), changed(lambda dy, c, dx, dg, db: (dx, 1.02 * dg, db), back)
    )
    assert list(report.mistakes) == ["dgamma"]


def test_float32_is_named_too():
    def back(dy, cache):
        x_hat, std, gamma = cache
        dgamma, dbeta = (dy * x_hat).sum(0), dy.mean(0)
        dx = gamma / std * (dy - dy.mean(0) - x_hat * dgamma / (len(dy) - 1))
        return dx.astype(np.float32), dgamma.astype(np.float32), dbeta.astype(np.float32)

    report = check(as_float32(forward), back)
    assert report.mistakes == {"dx": ("m - 1 in the variance",), "dbeta": ("dbeta is a mean",)}


def test_arrays_of_float32_will_do():
    assert check(given=arrays(dtype=np.float32))


def test_the_arrays_stay_as_they_are():
    given = arrays()
    for each in given:
        each.flags.writeable = False
    before = [each.copy() for each in given]
    assert check(given=given)
    for each, old in zip(given, before, strict=True):
        np.testing.assert_array_equal(each, old)


def test_the_same_seed_makes_the_same_report():
    one, two, other = (check(seed=seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.dy, two.dy)
    assert str(one) == str(two)
    assert (one.dy != other.dy).all()
    for name in ("y", "dx", "dgamma", "dbeta"):
        np.testing.assert_array_equal(one.given[name], two.given[name])


def test_feature_maps_pass():
    def of_maps(x, gamma, beta):
        y, cache = forward(x.reshape(-1, x.shape[-1]), gamma, beta)
        return y.reshape(x.shape), cache

    def back(dy, cache):
        dx, *others = backward(dy.reshape(-1, dy.shape[-1]), cache)
        return dx.reshape(dy.shape), *others

    for like in ("batch_norm", None):
        assert check(of_maps, back, arrays((2, 3, 4, 5)), like=like)


# The three of the issue, to the letter


def test_it_says_what_is_wrong_in_words():
    def back(dy, cache):
        x_hat, std, gamma = cache
        m, dgamma, dbeta = len(dy), (dy * x_hat).sum(0), dy.sum(0)
        return gamma / std * (dy - x_hat * dgamma / m), dgamma / m, dbeta

    def too_wide(x, gamma, beta):
        std = np.sqrt(x.var(0, ddof=1) + 1e-5)
        x_hat = (x - x.mean(0)) / std
        return gamma * x_hat + beta, (x_hat, std, gamma)

    report = check(backward=back, given=arrays((60, 10)))
    assert report.mistakes == {"dx": ("no mean term",), "dgamma": ("dgamma is a mean",)}
    shown = str(report)
    assert (
        "dx: equals the true gradient without the term -gamma / std * dbeta / m: the batch's"
        in shown
    )
    assert "dgamma: is too small by the factor m: sum over the batch, do not average" in shown
    assert "(m is 60)" in shown
    assert shown.endswith("FAILED")
    assert not report
    report = check(too_wide)
    assert report.mistakes["y"] == ("y: m - 1",)
    assert "y: has the batch's variance over m - 1, not over m" in str(report)


# Two at once


def parts(dy, cache):
    """The three terms of dx."""
    x_hat, std, gamma = cache
    dx_hat = dy * gamma
    mean, product = dx_hat.mean(0), (dx_hat * x_hat).mean(0)
    return dx_hat / std, -mean / std, -x_hat * product / std


PAIRS = {
    ("no mean term", "m - 1 in the variance"): lambda d, m, v, p: d + v * 12 / 11,
    ("mean term's sign", "no variance term"): lambda d, m, v, p: d - m,
    ("no variance term", "m - 1 in the mean"): lambda d, m, v, p: d + m * 12 / 11,
    ("root without 1/2", "no gamma in the mean term"): lambda d, m, v, p: d + p + 2 * v,
    ("no mean term", "dx's sign"): lambda d, m, v, p: -(d + v),
    ("no variance term", "dx twice"): lambda d, m, v, p: 2 * (d + m),
    ("statistics are constants", "no std"): lambda d, m, v, p: d * p[1],
    ("m - 1 in the mean", "variance term's sign"): lambda d, m, v, p: d + m * 12 / 11 - v,
}


@pytest.mark.parametrize("pair", list(PAIRS)[:3] + list(PAIRS)[4:6] + list(PAIRS)[7:], ids=str)
def test_two_mistakes_at_once_are_named(pair):
    def back(dy, cache):
        _, dgamma, dbeta = backward(dy, cache)
        return PAIRS[pair](*parts(dy, cache), None), dgamma, dbeta

    report = check(backward=back)
    assert set(report.mistakes) == {"dx"}
    assert set(report.mistakes["dx"]) == set(pair)
    assert ", and " in report.explanations["dx"]


def test_a_factor_of_each_feature_and_another_mistake_are_named():
    def no_std(dy, cache):
        x_hat, _, gamma = cache
        return (dy - dy.mean(0)) * gamma, (dy * x_hat * gamma).mean(0), dy.sum(0)

    report = check(backward=no_std)
    assert set(report.mistakes["dx"]) == {"no variance term", "no std"}
    assert set(report.mistakes["dgamma"]) == {"dgamma of y - beta", "dgamma is a mean"}
    assert set(report.mistakes) == {"dx", "dgamma"}


def test_each_result_has_its_own_mistakes():
    report = check(
        lambda *given: (forward(*given)[0] - given[2], forward(*given)[1]),
        changed(lambda dy, cache, dx, dgamma, dbeta: (-dx, dbeta, dgamma)),
    )
    assert report.mistakes["y"] == ("y: no beta",)
    assert report.mistakes["dx"] == ("dx's sign",)
    assert report.mistakes["dgamma"] == ("dgamma is dbeta",)
    assert report.mistakes["dbeta"] == ("dbeta is dgamma",)
    assert list(report.mistakes) == ["y", "dx", "dgamma", "dbeta"]


# Epsilon


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 1e-8, 1e-12, 3e-7, 0.1, 2.0])
def test_an_epsilon_of_ones_own_is_found_out(epsilon):
    report = check(lambda *given: forward(*given, epsilon))
    assert report, report
    assert report.epsilon == pytest.approx(epsilon, rel=1e-6)
    assert f"epsilon={epsilon:.4g}" in str(report)


def test_an_epsilon_that_is_given_is_the_right_one():
    assert check(epsilon=1e-5)
    report = check(epsilon=1e-3)
    assert report.mistakes["y"] == ("y: another epsilon",)
    assert "has epsilon 1e-05, not 0.001" in str(report)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 1e-8])
def test_an_epsilon_outside_the_root_is_found_however_small(epsilon):
    def outside(x, gamma, beta):
        std = x.std(0) + epsilon
        x_hat = (x - x.mean(0)) / std
        return gamma * x_hat + beta, (x_hat, std, gamma)

    assert check(outside).mistakes["y"] == ("y: epsilon outside the root",)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5, 1e-8])
def test_a_backward_pass_without_epsilon_is_found_however_small_it_is(epsilon):
    def own(x, gamma, beta):
        y, (x_hat, _, gamma) = forward(x, gamma, beta, epsilon)
        return y, (x_hat, x.std(0), gamma)

    report = check(own)
    assert report.mistakes == {"dx": ("no epsilon in the factor",)}
    if epsilon < 1e-5:
        assert "with an x of another scale" in str(report)


def test_another_epsilon_in_the_backward_pass_is_found():
    def own(x, gamma, beta):
        y, (x_hat, _, gamma) = forward(x, gamma, beta, 1e-5)
        return y, (x_hat, np.sqrt(x.var(0) + 1e-3), gamma)

    report = check(own)
    assert report.mistakes == {"dx": ("dx: another epsilon",)}
    assert "dx: has epsilon 0.001, not 1e-05" in str(report)


def test_no_epsilon_is_a_mistake_but_where_it_is_given():
    def without(x, gamma, beta):
        return forward(x, gamma, beta, 0.0)

    assert check(without).mistakes["y"] == ("y: no epsilon",)
    assert check(without, epsilon=0.0)


# A wrong forward pass


def uncentred(x, gamma, beta):
    std = np.sqrt((x**2).mean(0) + 1e-5)
    return gamma * x / std + beta, (x / std, std, gamma)


def test_a_backward_pass_that_follows_a_wrong_forward_pass_is_right():
    def follows(dy, cache):
        x_hat, std, gamma = cache
        dgamma = (dy * x_hat).sum(0)
        return gamma / std * (dy - x_hat * dgamma / len(dy)), dgamma, dy.sum(0)

    report = check(uncentred, follows)
    assert set(report.mistakes) == {"y"}
    assert check(uncentred, follows, like=None)


def test_a_backward_pass_of_the_right_forward_pass_is_told():
    def too_wide(x, gamma, beta):
        _, cache = forward(x, gamma, beta)
        std = np.sqrt(x.var(0, ddof=1) + 1e-5)
        return gamma * (x - x.mean(0)) / std + beta, cache

    report = check(too_wide)
    assert report.mistakes == {
        "y": ("y: m - 1",),
        "dx": ("of the right y",),
        "dgamma": ("of the right y",),
    }
    assert "dx: belongs to another forward pass: it is right once y is." in str(report)


def test_beside_an_unknown_y_gradients_of_the_right_one_are_told_whatever_their_epsilon():
    report = check(lambda *given: (forward(*given)[0] ** 3, forward(*given)[1]))
    assert report.mistakes == {"y": ()} | dict.fromkeys(
        ("dx", "dgamma", "dbeta"), ("of the right y",)
    )


def test_a_mistake_is_named_beside_a_wrong_forward_pass():
    report = check(
        lambda *given: (forward(*given)[0] - given[2], forward(*given)[1]),
        changed(lambda dy, cache, dx, dgamma, dbeta: (parts(dy, cache)[0], dgamma, dbeta)),
    )
    assert report.mistakes["dx"] == ("statistics are constants",)


# Shapes and values that are none


def shaped(change):
    return check(backward=changed(change), given=arrays((12, 5)))


def test_what_is_not_summed_is_told():
    report = shaped(lambda dy, cache, dx, dgamma, dbeta: (dx, dy * cache[0], dy))
    assert report.mistakes == {
        "dgamma": ("dgamma is not summed",),
        "dbeta": ("dbeta is not summed",),
    }
    assert report.errors["dgamma"] == np.inf
    assert "its shape is (12, 5), not (5,)" in str(report)


def test_a_wrong_axis_is_told():
    report = shaped(lambda dy, cache, dx, dgamma, dbeta: (dx, (dy * cache[0]).sum(1), dy.sum(1)))
    assert report.mistakes["dgamma"] == ("dgamma over the features",)
    assert report.mistakes["dbeta"] == ("dbeta over the features",)


def test_axes_that_were_kept_are_told():
    report = shaped(lambda dy, cache, dx, dgamma, dbeta: (dx, dgamma[np.newaxis], dbeta))
    assert report.mistakes == {"dgamma": ("dgamma has other axes",)}


def test_a_sum_over_everything_is_told():
    report = shaped(lambda dy, cache, dx, dgamma, dbeta: (dx, dgamma, dy.sum()))
    assert report.mistakes == {"dbeta": ("dbeta is one number",)}


def test_a_transposed_gradient_is_told():
    report = shaped(lambda dy, cache, dx, dgamma, dbeta: (dx.T, dgamma, dbeta))
    assert report.mistakes == {"dx": ("dx is transposed",)}


def test_a_wrong_shape_and_another_mistake_are_told():
    report = shaped(lambda dy, cache, dx, dgamma, dbeta: (dx, dgamma, dy * cache[2]))
    assert report.mistakes == {"dbeta": ("dbeta is not summed", "dbeta with gamma")}


def test_gradients_in_another_order_are_told():
    report = shaped(lambda dy, cache, dx, dgamma, dbeta: (dgamma, dx, dbeta))
    assert report.mistakes == {"dx": ("dx is dgamma",), "dgamma": ("dgamma is dx",)}
    assert "return the gradients in the order of forward's arguments" in str(report)


def test_a_gradient_that_is_none_is_told():
    report = shaped(lambda dy, cache, dx, dgamma, dbeta: (dx, None, dbeta))
    assert report.mistakes == {"dgamma": ("dgamma is None",)}


def test_zeros_are_told_from_what_cancels():
    report = shaped(lambda dy, cache, dx, dgamma, dbeta: (0 * dx, dgamma, dbeta))
    assert report.mistakes == {"dx": ("dx is 0",)}
    report = shaped(lambda dy, cache, dx, dgamma, dbeta: (dx, cache[0].sum(0), dbeta))
    assert report.mistakes["dgamma"] != ("dgamma is 0",)


def test_nan_is_told():
    report = shaped(lambda dy, cache, dx, dgamma, dbeta: (dx * np.nan, dgamma, dbeta))
    assert report.mistakes == {"dx": ()}
    assert "has NaN or infinity in it" in str(report)
    for like in ("batch_norm", None):
        report = check(lambda *given: (forward(*given)[0] * np.nan, forward(*given)[1]), like=like)
        assert not report


def test_a_wrong_shape_that_nothing_explains_is_told():
    report = shaped(lambda dy, cache, dx, dgamma, dbeta: (dx, dgamma[:3], dbeta))
    assert report.mistakes == {"dgamma": ()}
    assert "dgamma: has the shape (3,), not (5,)" in str(report)


@pytest.mark.parametrize("like", ["batch_norm", None])
def test_y_of_another_shape_is_told(like):
    report = check(
        lambda *given: (forward(*given)[0].T, forward(*given)[1]),
        lambda dy, cache: backward(dy.T, cache),
        like=like,
    )
    if like is None:
        assert report
    else:
        assert report.mistakes == {"y": ("y is transposed",)}


# How the functions behave


def in_place(dy, cache):
    dx, dgamma, dbeta = backward(dy, cache)
    dy *= 2
    return dx, dgamma, dbeta


def damages_cache(dy, cache):
    result = backward(dy, cache)
    cache[0][...] = 0
    return result


def damages_x(x, gamma, beta):
    x -= x.mean(0)
    return forward(x, gamma, beta)


@pytest.mark.parametrize(
    ("functions", "what"),
    [
        ({"backward": in_place}, "dy"),
        ({"backward": damages_cache}, "cache"),
        ({"forward": damages_x}, "x"),
    ],
    ids=["dy", "cache", "x"],
)
@pytest.mark.parametrize("like", ["batch_norm", None])
def test_what_is_written_into_is_told(functions, what, like):
    report = check(**functions, like=like)
    assert report.mistakes == {what: (f"{what} is written into",)}
    assert f"{what}: is written into by {next(iter(functions))}" in str(report)


def test_a_gradient_of_a_spoilt_dy_is_named_as_well():
    def back(dy, cache):
        x_hat, std, gamma = cache
        dy *= gamma
        dx = (dy - dy.mean(0) - x_hat * (dy * x_hat).mean(0)) / std
        return dx, (dy * x_hat).sum(0), dy.sum(0)

    report = check(backward=back)
    assert report.mistakes == {
        "dgamma": ("dgamma of y - beta",),
        "dbeta": ("dbeta with gamma",),
        "dy": ("dy is written into",),
    }


class Kept:
    """Functions that keep things between their calls."""

    def __init__(self):
        self.cache = self.before = None
        self.dgamma = 0

    def forward(self, x, gamma, beta):
        y, self.cache = forward(x, gamma, beta)
        return y, "see the object"

    def backward(self, dy, cache):
        return backward(dy, self.cache)

    def keeps_statistics(self, x, gamma, beta):
        if self.before is None:
            self.before = x.mean(0), np.sqrt(x.var(0) + 1e-5)
        mean, std = self.before
        x_hat = (x - mean) / std
        return gamma * x_hat + beta, (x_hat, std, gamma)

    def last_statistics(self, x, gamma, beta):
        y, cache = forward(x, gamma, beta)
        before = cache[1] if self.before is None else self.before
        self.before = cache[1]
        return y, (cache[0], before, gamma)

    def adds(self, dy, cache):
        dx, dgamma, dbeta = backward(dy, cache)
        self.dgamma = self.dgamma + dgamma
        return dx, self.dgamma, dbeta


def test_a_cache_that_is_not_its_own_is_told():
    kept = Kept()
    for like in ("batch_norm", None):
        report = check(kept.forward, kept.backward, like=like)
        assert report.mistakes == dict.fromkeys(("dx", "dgamma"), ("not of its own cache",))


def test_functions_without_a_cache_are_checked_one_after_the_other():
    kept = Kept()
    assert check(lambda *given: (kept.forward(*given)[0], None), kept.backward)


def test_an_earlier_batchs_statistics_are_told():
    report = check(Kept().keeps_statistics)
    assert report.mistakes["y"] == ("y: an earlier batch's statistics",)
    assert not check(Kept().keeps_statistics, like=None)
    report = check(Kept().last_statistics)
    assert report.mistakes == {"dx": ("an earlier batch's std",)}


def test_gradients_that_add_up_are_told():
    for like in ("batch_norm", None):
        report = check(backward=Kept().adds, like=like)
        assert report.mistakes == {"dgamma": ("another one in a second call",)}


def test_a_forward_pass_that_does_not_repeat_is_told():
    rng = np.random.default_rng(0)

    def random(x, gamma, beta):
        y, cache = forward(x, gamma, beta)
        return y + 0.1 * rng.standard_normal(y.shape), cache

    for like in ("batch_norm", None):
        report = check(random, like=like)
        assert not report
        assert "does not repeat" in report.mistakes["y"]
        assert "y: does not repeat: the same arrays give another one" in str(report)


# What is refused, and what passes through


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda *given: forward(*given)[0], TypeError, "forward: expected y and a cache, got an a"),
        (lambda *given: None, TypeError, "forward: expected y and a cache, got None: end forward"),
        (lambda *given: (1, 2, 3), ValueError, "forward: expected y and a cache, got 3 values"),
        (
            lambda *given: ("y", 2),
            TypeError,
            "forward: expected y as an array of float32 or float64, got a str",
        ),
        (lambda *given: (None, 2), TypeError, "forward: expected y as an array .*, got None"),
        (lambda *given: ([[1], [1, 2]], 2), TypeError, "forward: expected y as an array .* a list"),
    ],
)
def test_what_forward_may_not_return_is_refused(function, error, message):
    with pytest.raises(error, match=message):
        check(function)


@pytest.mark.parametrize(
    ("function", "error", "message"),
    [
        (lambda dy, cache: dy, TypeError, "backward: expected 3 gradients, dx, dgamma, dbeta, got"),
        (
            lambda dy, cache: None,
            TypeError,
            "got None: end backward with `return dx, dgamma, dbeta`",
        ),
        (lambda dy, cache: (dy, dy), ValueError, "expected 3 gradients, .*, got 2: end backward"),
        (
            lambda dy, cache: (dy, "a", dy),
            TypeError,
            "expected dgamma as an array of float32 or float64, got a s",
        ),
        (lambda cache: cache, TypeError, "backward: expected two arguments, backward"),
    ],
)
def test_what_backward_may_not_return_is_refused(function, error, message):
    with pytest.raises(error, match=message):
        check(backward=function)


def test_an_error_of_ones_own_passes_through_with_a_note():
    def divides(x, gamma, beta):
        raise ZeroDivisionError("mine")

    def misses(dy, cache):
        return dy @ np.ones((2, 2))

    with pytest.raises(ZeroDivisionError, match="mine") as caught:
        check(divides)
    assert caught.value.__notes__ == [
        "in forward, which check_derivation called with x (12, 5), gamma (5,), beta (5,)"
    ]
    with pytest.raises(ValueError, match="matmul") as caught:
        check(backward=misses)
    assert caught.value.__notes__ == ["in backward, which check_derivation called with dy (12, 5)"]


def refused(name, value, place):
    given = arrays()
    given[place] = value
    return name, given


ROWS = arrays()[0]
REFUSED = {
    "a batch of 1": (
        [ROWS[:1], *arrays()[1:]],
        r"x: got a batch of 1, \(1, 5\): .* pass more rows",
    ),
    "a batch of 2": (
        [ROWS[:2], *arrays()[1:]],
        r"x: got a batch of 2, \(2, 5\): .*-1 and 1 of two",
    ),
    "one image": ([ROWS.reshape(1, 3, 4, 5), *arrays()[1:]], "x: got a batch of 1, .*the same"),
    "a constant column": (
        [np.where(np.arange(5) == 3, 7, ROWS), *arrays()[1:]],
        "x: column 3 is 7 throughout: its variance is 0",
    ),
    "gamma of ones": ([ROWS, np.ones(5), arrays()[2]], "gamma: is 1 throughout, .*rng.uniform"),
    "beta of zeros": ([ROWS, arrays()[1], np.zeros(5)], "beta: is 0 throughout"),
    "NaN": ([ROWS, arrays()[1], np.full(5, np.nan)], "beta: expected finite numbers, got NaN"),
    "nothing": ([ROWS[:0], *arrays()[1:]], r"x: expected finite numbers, got the empty shape \(0"),
}


@pytest.mark.parametrize(("given", "message"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("like", ["batch_norm", None])
def test_arrays_that_prove_nothing_are_refused_with_the_reason(given, message, like):
    with pytest.raises(ValueError, match=message):
        check(given=given, like=like)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"like": "batchnorm"}, ValueError, "like: .*got 'batchnorm': did you mean 'batch_norm'?"),
        ({"like": "nothing"}, ValueError, "it has average_pool, .*batch_norm"),
        (
            {"like": "dense", "epsilon": 1},
            TypeError,
            r"epsilon: expected an option of dense \(none\)",
        ),
        ({"like": None, "epsilon": 1}, TypeError, "epsilon: expected like= with it"),
        ({"like": "group_norm"}, TypeError, "like='group_norm': expected the option groups"),
        ({"like": "tanh"}, ValueError, "like='tanh': expected the arrays x, got 3"),
        ({"seed": -1}, ValueError, "seed: expected at least 0"),
        ({"backward": None}, TypeError, "backward: expected a function, got None"),
        ({"given": [[[1.0, 2.0]]]}, TypeError, "x: expected float"),
    ],
    ids=str,
)
def test_wrong_arguments_are_refused(options, error, message):
    if options.get("given"):
        options = options | {"given": [np.ones((4, 2), int), *arrays()[1:]]}
    with pytest.raises(error, match=message):
        check(**options)


def test_arrays_are_needed():
    with pytest.raises(TypeError, match="expected the arrays that forward takes, got none"):
        check_derivation(forward, backward)


def test_where_no_gradient_reaches_x_nothing_is_called_checked():
    def dead(x, weight):
        return np.maximum(x @ weight - 1000, 0), (x, weight)

    def backward(dy, cache):
        return tuple(np.zeros_like(each) for each in cache)

    x = arrays()[0]
    report = check_derivation(dead, backward, x, np.random.default_rng(0).normal(size=(5, 3)))
    assert not report
    assert report.mistakes == {}
    assert "not checked: its true gradient is 0" in str(report)
    assert str(report).endswith("NOT CHECKED: dx is 0 whatever it is made of; take other numbers")


def test_of_as_many_rows_as_features_a_wrong_divisor_is_found():
    def back(dy, cache):
        x_hat, std, gamma = cache
        features, dgamma, dbeta = dy.shape[1], (dy * x_hat).sum(0), dy.sum(0)
        dx = gamma / std * (dy - dbeta / features - x_hat * dgamma / features)
        return dx, dgamma, dbeta

    report = check(backward=back, given=arrays((6, 6)))
    assert report.mistakes == {"dx": ("features for m",)}
    assert check(given=arrays((6, 6)))

    def of_one_size(x, gamma, beta):
        assert x.shape == (6, 6)
        return forward(x, gamma, beta)

    assert check(of_one_size, given=arrays((6, 6)))


def test_means_of_two_values_are_refused():
    x, gamma, beta = arrays((8, 2))
    with pytest.raises(ValueError, match=r"x: layer_norm takes means of 2 values, \(8, 2\)"):
        check_derivation(
            reference.layer_norm_forward,
            reference.layer_norm_backward,
            x,
            gamma,
            beta,
            like="layer_norm",
        )


def test_both_conventions_at_a_kink_are_right():
    x = arrays()[0]
    x[3, 2] = 0

    def forward(x):
        return np.maximum(x, 0), x

    for back in (lambda dy, x: dy * (x > 0), lambda dy, x: dy * (x >= 0)):
        assert check_derivation(forward, back, x, like="relu")
    report = check_derivation(forward, lambda dy, x: dy, x, like="relu")
    assert report.mistakes == {"dx": ("no mask",)}


# What no known mistake explains


def unknown(change):
    report = check(backward=changed(change))
    assert set(report.mistakes.values()) == {()}
    return report.explanations["dx"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda dx, x_hat: dx * 1.7, "is 1.7 times the true one throughout: a factor"),
        (
            lambda dx, x_hat: dx * np.arange(2, 7),
            "times a number a column, 2, 3, 4, 5, ...: a factor",
        ),
        (lambda dx, x_hat: dx + np.arange(1, 6), "by the same in every row: a term of the mean"),
        (lambda dx, x_hat: dx + 0.3 * x_hat, "in proportion to x_hat: a term of the variance"),
        (lambda dx, x_hat: dx + 0.3 * x_hat + 1, "the terms of mean and variance"),
        (lambda dx, x_hat: dx + (np.arange(12) == 4)[:, None], "differs in row 4 alone"),
        (lambda dx, x_hat: dx * (1 + (np.arange(5) == 2)), "differs in column 2 alone"),
        (lambda dx, x_hat: dx + 0.1 * dx**2, "differs in 60 of 60 places, first at [0, 0]"),
    ],
)
def test_an_unknown_difference_is_described(change, words):
    def changes(dy, cache, dx, dgamma, dbeta):
        return change(dx, cache[0]), dgamma, dbeta

    words_found = unknown(changes)
    assert words_found.startswith("no known mistake explains it; it ")
    assert words in words_found
    report = check(backward=changed(changes), like=None)
    if "mean" not in words and "variance" not in words:
        assert words in report.explanations["dx"]


def test_factors_are_named():
    def scaled(dy, cache, dx, dgamma, dbeta):
        return dx * len(dy), dgamma * cache[2], dbeta / cache[2]

    report = check(backward=changed(scaled), like=None)
    assert "is the true one times m = 12" in report.explanations["dx"]
    assert "is the true one times gamma" in report.explanations["dgamma"]
    assert "is the true one times 1/gamma" in report.explanations["dbeta"]


def test_the_largest_error_has_its_place():
    def spoils(dy, cache, dx, dgamma, dbeta):
        dx[7, 3] += 1
        return dx, dgamma, dbeta

    for like in ("batch_norm", None):
        report = check(backward=changed(spoils), like=like)
        assert report.places["dx"] == (7, 3)
        given, expected = report.given["dx"][7, 3], report.expected["dx"][7, 3]
        assert given - expected == pytest.approx(1)
        assert f"[7, 3] is {given:.6g}, not {expected:.6g}" in str(report)


# Losses, and other operations


def cross_entropy(logits, labels):
    shifted = logits - logits.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return -log_p[np.arange(len(labels)), labels].mean(), (np.exp(log_p), labels)


def cross_entropy_backward(dloss, cache):
    p, labels = cache
    dlogits = p.copy()
    dlogits[np.arange(len(labels)), labels] -= 1
    return dloss * dlogits / len(labels)


LOGITS = 2 * np.random.default_rng(0).standard_normal((9, 4)), np.arange(9) % 4


@pytest.mark.parametrize("like", ["softmax_cross_entropy", None])
@pytest.mark.parametrize(
    "way",
    [cross_entropy_backward, lambda cache: cross_entropy_backward(1, cache)],
    ids=["dloss", "no dloss"],
)
def test_a_loss_passes(way, like):
    report = check_derivation(cross_entropy, way, *LOGITS, like=like)
    assert report, report
    assert list(report.errors) == (["loss"] if like else []) + ["dlogits"]


def test_a_loss_that_returns_its_gradient_is_one_line():
    def times(dloss, dlogits):
        return dloss * dlogits

    assert check_derivation(
        reference.softmax_cross_entropy, times, *LOGITS, like="softmax_cross_entropy"
    )


def test_a_wrong_loss_is_named():
    def a_sum(logits, labels):
        loss, cache = cross_entropy(logits, labels)
        return loss * len(labels), cache

    report = check_derivation(a_sum, cross_entropy_backward, *LOGITS, like="softmax_cross_entropy")
    assert report.mistakes == {"loss": ("loss: a sum",), "dlogits": ("of the right loss",)}
    report = check_derivation(
        cross_entropy,
        lambda dloss, cache: cross_entropy_backward(1, cache) * 9,
        *LOGITS,
        like="softmax_cross_entropy",
    )
    assert set(report.mistakes["dlogits"]) == {"no 1/N", "without dloss"}


def test_options_are_the_operations_own():
    rng = np.random.default_rng(0)
    given = rng.standard_normal((2, 5, 6, 2)), rng.standard_normal((3, 2, 2, 4))

    def forward(x, weight):
        return reference.conv2d_forward(x, weight, stride=2, padding=1)

    def backward(dy, cache):
        return reference.conv2d_backward(dy, cache)[:2]

    report = check_derivation(forward, backward, *given, like="conv2d", stride=2, padding=1)
    assert report, report
    assert "like conv2d(stride=2, padding=1)" in str(report)
    assert list(report.errors) == ["y", "dx", "dweight"]
    report = check_derivation(forward, backward, *given, like="conv2d", stride=1)
    assert report.mistakes == {"y": ()}
    assert "y: has the shape (2, 3, 4, 4), not (2, 5, 6, 4)" in str(report)


@pytest.mark.parametrize(
    "options",
    [
        {"stride": 2, "padding": 1},
        {"padding": "valid"},
        {"stride": 3},
        {"stride": 2, "padding": "valid"},
        {"padding": 2},
    ],
    ids=str,
)
def test_stride_and_padding_of_ones_own_are_found_out(options):
    rng = np.random.default_rng(0)
    given = [rng.standard_normal(shape) for shape in ((2, 6, 6, 2), (3, 3, 2, 4), (4,))]

    def forward(*given):
        return reference.conv2d_forward(*given, **options)

    report = check_derivation(forward, reference.conv2d_backward, *given, like="conv2d")
    assert report, report
    assert all(f"{name}={value!r}" in str(report) for name, value in options.items())

    def without_bias(*given):
        y, cache = forward(*given)
        return y - given[-1], cache

    report = check_derivation(without_bias, reference.conv2d_backward, *given, like="conv2d")
    assert report.mistakes["y"] == ("y: no bias",)


def test_without_like_arrays_have_the_names_of_forwards_arguments():
    def forward(images, scale):
        return images * scale, (images, scale)

    def backward(dy, cache):
        images, scale = cache
        return dy * scale, (dy * images).sum()

    given = arrays()[0], np.array(2.5)
    assert list(check_derivation(forward, backward, *given).errors) == ["dimages", "dscale"]
    shown = check_derivation(lambda *all: forward(*all), backward, *given)
    assert list(shown.errors) == ["dx", "darray_1"]


def test_a_kink_is_left_out():
    def forward(x):
        return np.maximum(x, 0), x

    x = arrays()[0]
    x[3, 2] = x[5, 1] = 0
    report = check_derivation(forward, lambda dy, x: dy * (x > 0), x)
    assert report, report
    assert np.isnan(report.expected["dx"][[3, 5], [2, 1]]).all()
    assert np.isnan(report.expected["dx"]).sum() == 2
    assert check_derivation(forward, lambda dy, x: dy * (x > 0), x, like="relu")


def test_of_large_arrays_some_entries_are_differentiated():
    def forward(x, weight):
        return x @ weight, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        return dy @ weight.T, x.T @ dy

    rng = np.random.default_rng(0)
    given = rng.standard_normal((50, 40)), rng.standard_normal((40, 30))
    report = check_derivation(forward, backward, *given)
    assert report
    assert np.isfinite(report.expected["dx"]).sum() == 60

    def one_wrong(dy, cache):
        dx, dweight = backward(dy, cache)
        dx[-1, -1] += 1
        return dx, dweight

    assert not check_derivation(forward, one_wrong, *given)


# The report


def wrong_report():
    return check(backward=changed(lambda dy, cache, dx, dgamma, dbeta: (-dx, dgamma, dbeta)))


def test_the_report_is_a_table():
    lines = str(wrong_report()).splitlines()
    assert lines[0] == (
        "forward and backward of x (12, 5), gamma (5,), beta (5,), like batch_norm(epsilon=1e-05)"
    )
    assert [line.split()[0] for line in lines[1:5]] == ["y", "dx", "dgamma", "dbeta"]
    assert [line.split()[2] for line in lines[1:5]] == ["ok", "WRONG", "ok", "ok"]
    assert lines[5:] == ["dx: has the opposite sign of the true gradient.", "FAILED"]


def test_the_report_cannot_be_changed():
    report = wrong_report()
    assert isinstance(report, DerivationReport)
    with pytest.raises(AttributeError):
        report.epsilon = 1.0
    with pytest.raises(TypeError):
        report.mistakes["dx"] = ()


def test_a_notebook_shows_a_table():
    shown = wrong_report()._repr_html_()
    check_is_plain(shown)
    assert "WRONG" in shown
    assert "dx: has the opposite sign of the true gradient." in shown
    assert "FAILED" in shown
    assert "passed" in check()._repr_html_()


def test_names_are_escaped_in_a_notebook():
    def forward(x):
        return x * 2, None

    forward.__signature__ = None
    report = check_derivation(lambda x: (2 * x, None), lambda dy, cache: 3 * dy, arrays()[0])
    shown = report._repr_html_()
    assert re.search(r"<(?!/?(table|thead|tbody|tr|td|th|caption|p|div|strong)\b)", shown) is None


def test_it_is_among_the_public_names():
    assert npbn.check_derivation is check_derivation
    assert "check_derivation" in npbn.__all__


def test_it_gives_no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not check(uncentred)
        assert check()


# Units, places and shapes in which a right derivation is right, and a wrong one wrong


@pytest.mark.parametrize("like", ["batch_norm", None])
@pytest.mark.parametrize(("mean", "scale"), [(1e6, 1), (1e4, 1e-2), (0, 1e-6), (0, 1e10)])
def test_x_may_have_any_mean_and_scale(like, mean, scale):
    x, gamma, beta = arrays()
    given = [mean + scale * (x - 2), gamma, beta]
    assert check(given=given, like=like), check(given=given, like=like)


@pytest.mark.parametrize("like", ["batch_norm", None])
@pytest.mark.parametrize("scale", [1e-3, 1e3, 1e6, 1e10])
@pytest.mark.parametrize("wrong", range(3))
def test_a_small_error_is_found_whatever_the_scale_of_x(like, scale, wrong):
    def back(dy, cache):
        gradients = list(backward(dy, cache))
        gradients[wrong] = gradients[wrong] * (1 + 1e-6)
        return gradients

    x, gamma, beta = arrays()
    report = check(backward=back, given=[scale * x, gamma, beta], like=like)
    name = list(report.errors)[wrong - 3]
    assert report.errors[name] == pytest.approx(1e-6, rel=0.1)
    assert list(report.explanations) == [name]


def test_numbers_that_are_nearly_equal_have_derivatives():
    x, gamma, beta = arrays()
    assert check(given=[x, 1 + 1e-9 * gamma, 1e-8 * beta], like=None)


def test_parameters_may_be_rows():
    x, gamma, beta = arrays()

    def keeping(dy, cache):
        dx, dgamma, dbeta = backward(dy, cache)
        return dx, dgamma[np.newaxis], dbeta[np.newaxis]

    def averaging(dy, cache):
        dx, dgamma, dbeta = keeping(dy, cache)
        return dx, dgamma, dbeta / len(dy)

    rows = [x, gamma[np.newaxis], beta[np.newaxis]]
    assert check(backward=keeping, given=rows)
    assert check(backward=averaging, given=rows).mistakes == {"dbeta": ("dbeta is a mean",)}


@pytest.mark.parametrize("like", ["batch_norm", None])
def test_infinity_is_like_no_mistake(like):
    report = check(backward=changed(lambda dy, c, dx, dg, db: (dx, dg * np.inf, db)), like=like)
    (wrong,) = report.explanations
    assert report.mistakes[wrong] == ()
    assert "NaN or infinity" in report.explanations[wrong]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_of_an_unknown_y_that_is_no_number_nothing_is_differentiated(value):
    def spoilt(*given):
        y, cache = forward(*given)
        y[1, 2] = value
        return y, cache

    report = check(spoilt, like=None)
    assert not report
    assert "NaN or infinity" in report.explanations["y"]
    assert {row.verdict for row in report.rows} == {"not checked"}


def test_an_empty_y_is_told():
    def empty(*given):
        return np.zeros((0, 5)), given

    def back(dy, cache):
        return tuple(map(np.zeros_like, cache))

    assert "(0, 5)" in check(empty, back).explanations["y"]
    assert not check(empty, back, like=None)


def test_what_the_operation_cannot_take_is_refused():
    def grouped(x, gamma, beta):
        return forward(x, gamma, beta)

    with pytest.raises(ValueError, match=r"group_norm.*cannot take x \(12, 5\).*groups=3"):
        check(grouped, like="group_norm", groups=3)
    with pytest.raises(ValueError, match=r"tanh.*cannot take x \(\)"):
        check_derivation(
            lambda x: (np.tanh(x), x), lambda dy, x: dy / np.cosh(x) ** 2, 0.3, like="tanh"
        )


def test_half_precision_is_refused():
    with pytest.raises(TypeError, match=r"float32 or float64, got an array .* of float16"):
        check(lambda *given: (forward(*given)[0].astype(np.float16), None))


def test_equal_labels_are_refused():
    with pytest.raises(ValueError, match="labels: is 1 throughout"):
        check_derivation(
            cross_entropy,
            cross_entropy_backward,
            arrays()[0],
            np.ones(12, int),
            like="softmax_cross_entropy",
        )


def test_of_as_many_classes_as_rows_a_loss_over_the_classes_is_found():
    def over_classes(logits, labels):
        loss, cache = cross_entropy(logits, labels)
        return loss * len(logits) / logits.shape[1], cache

    given = arrays((5, 5))[0], np.array([0, 3, 1, 2, 2])
    report = check_derivation(
        over_classes, cross_entropy_backward, *given, like="softmax_cross_entropy"
    )
    assert report.mistakes == {"loss": ("loss: divided by the classes",)}
    assert check_derivation(
        cross_entropy, cross_entropy_backward, *given, like="softmax_cross_entropy"
    )
