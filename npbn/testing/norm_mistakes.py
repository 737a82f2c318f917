"""What one can get wrong of any normalization, whatever its means are over."""

from collections.abc import Callable
from typing import Any

import numpy as np

from npbn.testing.mistake import Mistake, Pieces, Wrong, mistakes_of
from npbn.testing.norm_steps import (
    TERMS,
    Mean,
    dx_with,
    over_all,
    over_all_but_the_last,
    pieces_with,
    y_with,
)


def mistakes_of_norm(
    operation: str,
    mean: Mean,
    over: str,
    *,
    whose: str = "the ",
    mean_term: str = "-mean(dx_hat) / std",
    variance_term: str = "-x_hat * mean(dx_hat * x_hat) / std",
) -> tuple[Callable[..., Mistake], list[Mistake]]:
    """A function that makes more of the operation's mistakes, and those that all norms have.

    Parameters
    ----------
    over : str
        What its means are over.
    whose : str
        Whose these are, "the batch's " say.
    mean_term, variance_term : str
        What dx has of each.
    """
    add = pieces_with(mean)
    _mistake = mistakes_of(operation, add)
    _dx, _y = (mistakes_of(operation, add, results=(name,)) for name in ("dx", "y"))
    return _mistake, [
        _dx(
            "no mean term",
            f"equals the true gradient without the term {mean_term}: {whose}mean also depends on x",
            mean_term=_0,
        ),
        _dx(
            "no variance term",
            f"equals the true gradient without the term {variance_term}: {whose}variance also "
            "depends on x",
            variance_term=_0,
        ),
        _dx(
            "statistics are constants",
            f"equals dy * gamma / std, as if {whose}mean and variance did not depend on x",
            mean_term=_0,
            variance_term=_0,
        ),
        _dx(
            "statistics alone",
            "lacks the term dy * gamma / std: x reaches y also by itself, not through mean and "
            "variance alone",
            direct=_0,
        ),
        *_signs_and_powers(_dx),
        *_missing_factors(_dx),
        *_gammas(_dx),
        *_centrings(_dx),
        *_divisors(_dx, over, whose),
        *_scales(_dx, whose),
        *_of_gamma(_mistake),
        *_of_beta(_mistake),
        *_forward(_y, over, whose),
        *_of_an_earlier_batch(_mistake, _dx, _y),
    ]


def _signs_and_powers(_dx: Callable[..., Mistake]) -> list[Mistake]:
    return [
        _dx(
            "mean term's sign",
            "has the wrong sign before the term of the mean",
            mean_term=lambda p: -p.mean_term,
        ),
        _dx(
            "variance term's sign",
            "has the wrong sign before the term of the variance",
            variance_term=lambda p: -p.variance_term,
        ),
        _dx(
            "direct term's sign",
            "has the wrong sign before dy * gamma / std, which x itself brings",
            direct=lambda p: -p.direct,
        ),
        _dx(
            "root without 1/2",
            "takes the term of the variance twice: the root's derivative has a factor 1/2",
            variance_term=lambda p: 2 * p.variance_term,
        ),
        _dx(
            "square without 2",
            "takes half the term of the variance: the square's derivative has a factor 2",
            variance_term=lambda p: p.variance_term / 2,
        ),
        _dx(
            "mean term twice",
            "takes the term of the mean twice",
            mean_term=lambda p: 2 * p.mean_term,
        ),
        _dx(
            "exponent -1/2",
            "has the term of the variance too large by the factor variance + epsilon: x - mean "
            "for x_hat, or (variance + epsilon)^(-1/2) for ^(-3/2)",
            variance_term=lambda p: p.variance_term * p.std**2,
        ),
        _dx(
            "exponent -1",
            "has the term of the variance too large by the factor std: x - mean for one x_hat, or "
            "(variance + epsilon)^(-1) for ^(-3/2)",
            variance_term=lambda p: p.variance_term * p.std,
        ),
        _dx(
            "exponent -2",
            "has the term of the variance too small by the factor std: it is divided by std once "
            "too often, or has (variance + epsilon)^(-2) for ^(-3/2)",
            variance_term=lambda p: p.variance_term / p.std,
        ),
        _dx(
            "exponent -5/2",
            "has the term of the variance too small by the factor variance + epsilon: it has "
            "(variance + epsilon)^(-5/2) for ^(-3/2)",
            variance_term=lambda p: p.variance_term / p.std**2,
        ),
        _dx(
            "exponent 3/2",
            "multiplies the term of the variance by std where it divides: (variance + "
            "epsilon)^(3/2) for ^(-3/2)",
            variance_term=lambda p: p.variance_term * p.std**6,
        ),
        _dx(
            "mean term without std",
            "does not divide the term of the mean by std",
            mean_term=lambda p: p.mean_term * p.std,
        ),
        _dx(
            "mean term over the variance",
            "divides the term of the mean by variance + epsilon, not by its root",
            mean_term=lambda p: p.mean_term / p.std,
        ),
        _dx(
            "direct term without std",
            "does not divide dy * gamma by std, only the terms of mean and variance",
            direct=lambda p: p.direct * p.std,
        ),
        _dx(
            "direct term over the variance",
            "divides dy * gamma by variance + epsilon, not by its root",
            direct=lambda p: p.direct / p.std,
        ),
        _dx(
            "both terms without std",
            "does not divide the terms of mean and variance by std, only dy * gamma",
            mean_term=lambda p: p.mean_term * p.std,
            variance_term=lambda p: p.variance_term * p.std,
        ),
    ]


def _missing_factors(_dx: Callable[..., Mistake]) -> list[Mistake]:
    """What is left where a sum, or dy, is left out of dx = gamma / std * (dy - ...)."""
    return [
        _dx(
            "no dgamma in the variance term",
            "subtracts x_hat / m without its factor dgamma",
            variance_term=lambda p: -p.gamma * p.x_hat / (p.std * p.m),
        ),
        _dx(
            "x_hat alone in the variance term",
            "subtracts x_hat without its factor dgamma / m",
            variance_term=lambda p: -p.gamma * p.x_hat / p.std,
        ),
        _dx(
            "no dbeta in the mean term",
            "subtracts 1 / m where it should subtract dbeta / m",
            mean_term=lambda p: -p.gamma / (p.std * p.m),
        ),
        _dx(
            "1 for dbeta / m in the mean term",
            "subtracts 1 where it should subtract dbeta / m",
            mean_term=lambda p: -p.gamma / p.std,
        ),
        _dx(
            "no dy in the direct term",
            "has 1 for dy where x itself comes in",
            direct=lambda p: p.gamma / p.std,
        ),
    ]


def _gammas(_dx: Callable[..., Mistake]) -> list[Mistake]:
    def of(upstream: Wrong, *terms: str) -> dict[str, Wrong]:
        """The terms as they are of another array than dx_hat."""
        return {name: _of(TERMS[name], upstream) for name in terms}

    def with_dy(*terms: str) -> dict[str, Wrong]:
        return of(lambda p: p.dy, *terms)

    def with_gamma_twice(*terms: str) -> dict[str, Wrong]:
        return of(lambda p: p.dx_hat * p.gamma, *terms)

    return [
        _dx("no gamma", "lacks the factor gamma", dx_hat=lambda p: p.dy),
        _dx("gamma twice", "has the factor gamma twice", dx_hat=lambda p: p.dx_hat * p.gamma),
        _dx(
            "divided by gamma",
            "is divided by gamma, not multiplied",
            dx_hat=lambda p: p.dy / p.gamma,
        ),
        _dx(
            "no gamma in the means",
            "lacks the factor gamma in the terms of mean and variance: they are means of dx_hat, "
            "not of dy",
            **with_dy("mean_term", "variance_term"),
        ),
        _dx(
            "no gamma in the mean term",
            "lacks the factor gamma in the term of the mean: it is a mean of dx_hat, not of dy",
            **with_dy("mean_term"),
        ),
        _dx(
            "no gamma in the variance term",
            "lacks the factor gamma in the term of the variance: it has a mean of dx_hat, not of "
            "dy",
            **with_dy("variance_term"),
        ),
        _dx(
            "no gamma in the direct term",
            "lacks the factor gamma in dy * gamma / std, which x itself brings",
            **with_dy("direct"),
        ),
        _dx(
            "gamma twice in the means",
            "has the factor gamma twice in the terms of mean and variance",
            **with_gamma_twice("mean_term", "variance_term"),
        ),
        _dx(
            "gamma twice in the mean term",
            "has the factor gamma twice in the term of the mean",
            **with_gamma_twice("mean_term"),
        ),
        _dx(
            "gamma twice in the variance term",
            "has the factor gamma twice in the term of the variance",
            **with_gamma_twice("variance_term"),
        ),
    ]


def _centrings(_dx: Callable[..., Mistake]) -> list[Mistake]:
    def variance_term(at_the_end: Wrong, in_the_sum: Wrong) -> Wrong:
        return lambda p: -at_the_end(p) * p.average(p.dx_hat * in_the_sum(p)) / p.std

    def x_hat(p: Any) -> Any:
        return p.x_hat

    def x(p: Any) -> Any:
        return p.x

    def not_centred(p: Any) -> Any:
        return p.x / p.std

    return [
        _dx(
            "not centred",
            "has x for x - mean in the term of the variance",
            variance_term=variance_term(not_centred, not_centred),
        ),
        _dx(
            "not centred at the end",
            "has x for x - mean where the variance's term is put together",
            variance_term=variance_term(not_centred, x_hat),
        ),
        _dx(
            "not centred in the sum",
            "has x for x - mean where the variance's derivative is summed",
            variance_term=variance_term(x_hat, not_centred),
        ),
        _dx(
            "x for x_hat",
            "has x for x_hat in the term of the variance",
            variance_term=variance_term(x, x),
        ),
        _dx(
            "x for x_hat at the end",
            "has x for x_hat where the variance's term is put together",
            variance_term=variance_term(x, x_hat),
        ),
        _dx(
            "x for x_hat in the sum",
            "has x for x_hat where the variance's derivative is summed",
            variance_term=variance_term(x_hat, x),
        ),
        _dx(
            "y for x_hat",
            "has y for x_hat in the term of the variance",
            variance_term=variance_term(lambda p: p.y, lambda p: p.y),
        ),
        _dx(
            "no x_hat at the end",
            "lacks the factor x_hat where the variance's term is put together",
            variance_term=variance_term(lambda p: np.ones_like(p.x), x_hat),
        ),
        _dx(
            "no x_hat in the sum",
            "lacks the factor x_hat where the variance's derivative is summed",
            variance_term=variance_term(x_hat, lambda p: np.ones_like(p.x)),
        ),
        _dx(
            "centred twice",
            "subtracts the mean twice: x_hat is that of an x that is centred already",
            x_hat=_centred_twice,
        ),
        _dx(
            "the two sums are exchanged",
            "has the sum of dx_hat * x_hat in the term of the mean, and that of dx_hat in the term "
            "of the variance",
            mean_term=lambda p: -p.average(p.dx_hat * p.x_hat) / p.std,
            variance_term=variance_term(x_hat, lambda p: np.ones_like(p.x)),
        ),
    ]


def _divisors(_dx: Callable[..., Mistake], over: str, whose: str) -> list[Mistake]:
    def terms(factor: Wrong, *names: str) -> dict[str, Wrong]:
        return {name: _times(name, factor) for name in names}

    both = ("mean_term", "variance_term")
    return [
        _dx(
            "m - 1 in the variance",
            f"divides the term of the variance by m - 1: {whose}variance is a mean over m",
            **terms(_bessel, "variance_term"),
        ),
        _dx(
            "m - 1 in the mean",
            "divides the term of the mean by m - 1, not by m",
            **terms(_bessel, "mean_term"),
        ),
        _dx(
            "m - 1 in both",
            "divides the terms of mean and variance by m - 1, not by m",
            **terms(_bessel, *both),
        ),
        _dx("sums for means", f"has sums over {over}, not means", **terms(lambda p: p.m, *both)),
        _dx(
            "a sum in the mean term",
            f"has a sum over {over} in the term of the mean, not a mean",
            **terms(lambda p: p.m, "mean_term"),
        ),
        _dx(
            "a sum in the variance term",
            f"has a sum over {over} in the term of the variance, not a mean",
            **terms(lambda p: p.m, "variance_term"),
        ),
        _dx(
            "m twice",
            "divides the terms of mean and variance by m twice",
            **terms(lambda p: 1 / p.m, *both),
        ),
        _dx(
            "m twice in the mean term",
            "divides the term of the mean by m twice",
            **terms(lambda p: 1 / p.m, "mean_term"),
        ),
        _dx(
            "m twice in the variance term",
            "divides the term of the variance by m twice",
            **terms(lambda p: 1 / p.m, "variance_term"),
        ),
        _dx("divided by m", "is divided by m: each x is one value", dx=lambda p: p.dx / p.m),
        _dx("times m", "is not divided by m at the end", dx=lambda p: p.dx * p.m),
    ]


def _scales(_dx: Callable[..., Mistake], whose: str) -> list[Mistake]:
    return [
        _dx("no std", "is not divided by std", dx=lambda p: p.dx * p.std),
        _dx(
            "variance for std",
            "is divided by variance + epsilon, not by its root",
            dx=lambda p: p.dx / p.std,
        ),
        _dx("times std", "is multiplied by std, not divided", dx=lambda p: p.dx * p.std**2),
        _dx("no epsilon", "lacks epsilon, which y has under the root", std=_std_without_epsilon),
        _dx(
            "no epsilon in the factor",
            "lacks epsilon in the factor 1 / std, which y has under the root",
            dx=lambda p: p.dx * p.std / _std_without_epsilon(p),
        ),
        _dx(
            "epsilon outside the root",
            "adds epsilon to the root of the variance, not under it",
            std=_std_with_epsilon_outside,
        ),
        _dx(
            "epsilon outside the root in the factor",
            "adds epsilon to the root of the variance, not under it, in the factor 1 / std",
            dx=lambda p: p.dx * p.std / _std_with_epsilon_outside(p),
        ),
        _dx(
            "std of m - 1",
            f"takes the std of {whose}variance over m - 1; y has that over m",
            std=_std_of_m_minus_1,
        ),
        _dx(
            "std of m - 1 in the factor",
            f"takes the std of {whose}variance over m - 1 in the factor 1 / std; y has that over m",
            dx=lambda p: p.dx * p.std / _std_of_m_minus_1(p),
        ),
        _dx("dx is dy", "equals dy", dx=lambda p: p.dy),
    ]


def _of_gamma(_mistake: Callable[..., Mistake]) -> list[Mistake]:
    return [
        _mistake(
            "dgamma of x - mean",
            "is not divided by std: it sums dy * (x - mean), not dy * x_hat",
            dgamma=lambda p: (p.dy * p.centred).sum(p.axes),
        ),
        _mistake(
            "dgamma over the variance",
            "is divided by std twice: it sums dy * (x - mean) / (variance + epsilon), not dy * "
            "x_hat",
            dgamma=lambda p: (p.dy * p.x_hat / p.std).sum(p.axes),
        ),
        _mistake(
            "dgamma of x",
            "sums dy * x, not dy * x_hat",
            dgamma=lambda p: (p.dy * p.x).sum(p.axes),
        ),
        _mistake(
            "dgamma of x / std",
            "sums dy * x / std, not dy * x_hat: x - mean is divided by std",
            dgamma=lambda p: (p.dy * p.x / p.std).sum(p.axes),
        ),
        _mistake(
            "dgamma centred twice",
            "subtracts the mean twice: x_hat is that of an x that is centred already",
            dgamma=lambda p: (p.dy * _centred_twice(p)).sum(p.axes),
        ),
        _mistake(
            "dgamma of y",
            "sums dy * y, not dy * x_hat",
            dgamma=lambda p: (p.dy * p.y).sum(p.axes),
        ),
        _mistake(
            "dgamma of y - beta",
            "has a factor gamma: it is the derivative by gamma",
            dgamma=lambda p: p.dgamma * p.gamma,
        ),
        _mistake(
            "dgamma is dbeta",
            "equals dbeta: it lacks the factor x_hat, or the two are returned in the other order",
            dgamma=lambda p: p.dbeta,
        ),
        _mistake(
            "dgamma with dbeta",
            "has dbeta added to it",
            dgamma=lambda p: p.dgamma + p.dbeta,
        ),
        _mistake(
            "dgamma without dy",
            "sums x_hat alone: it lacks the factor dy",
            dgamma=lambda p: np.broadcast_to(p.x_hat, p.x.shape).sum(p.axes),
        ),
        _mistake(
            "dgamma of squares",
            "sums dy * x_hat^2, not dy * x_hat",
            dgamma=lambda p: (p.dy * p.x_hat**2).sum(p.axes),
        ),
        _mistake(
            "dgamma without epsilon",
            "lacks epsilon, which y has under the root",
            dgamma=lambda p: (p.dy * p.centred / _std_without_epsilon(p)).sum(p.axes),
        ),
        _mistake(
            "dgamma with epsilon outside the root",
            "adds epsilon to the root of the variance, not under it",
            dgamma=lambda p: (p.dy * p.centred / _std_with_epsilon_outside(p)).sum(p.axes),
        ),
        _mistake(
            "dgamma with std of m - 1",
            "takes the std of the variance over m - 1; y has that over m",
            dgamma=lambda p: (p.dy * p.centred / _std_of_m_minus_1(p)).sum(p.axes),
        ),
        _mistake(
            "dgamma of dx",
            "sums dx * x_hat, not dy * x_hat",
            dgamma=lambda p: (p.dx * p.x_hat).sum(p.axes),
        ),
        _mistake(
            "dgamma of the last example",
            "is that of the last example: every example adds its own",
            dgamma=lambda p: (p.dy * p.x_hat)[-1:].sum(p.axes),
        ),
        _mistake(
            "dgamma of the first example",
            "is that of the first example: every example adds its own",
            dgamma=lambda p: (p.dy * p.x_hat)[:1].sum(p.axes),
        ),
        _mistake(
            "dgamma over the features",
            "is summed over the features, not over the batch",
            has_other_shape=True,
            dgamma=lambda p: (p.dy * p.x_hat).sum(-1),
        ),
    ]


def _of_beta(_mistake: Callable[..., Mistake]) -> list[Mistake]:
    return [
        _mistake(
            "dbeta with gamma",
            "has a factor gamma: beta is added after the scaling",
            dbeta=lambda p: p.dbeta * p.gamma,
        ),
        _mistake(
            "dbeta is dgamma",
            "equals dgamma: beta is added, x_hat plays no part, or the two are returned in the "
            "other order",
            dbeta=lambda p: p.dgamma,
        ),
        _mistake(
            "dbeta / std",
            "is divided by std: beta is added after the division",
            dbeta=lambda p: (p.dy / p.std).sum(p.axes),
        ),
        _mistake(
            "dbeta of y",
            "sums dy * y: beta is added, and y plays no part",
            dbeta=lambda p: (p.dy * p.y).sum(p.axes),
        ),
        _mistake(
            "dbeta of x",
            "sums dy * x: beta is added, and x plays no part",
            dbeta=lambda p: (p.dy * p.x).sum(p.axes),
        ),
        _mistake(
            "dbeta times beta",
            "has a factor beta: it is the derivative by beta",
            dbeta=lambda p: p.dbeta * p.beta,
        ),
        _mistake(
            "dbeta without dy",
            "counts the values, as if dy were 1",
            dbeta=lambda p: np.full_like(p.beta, p.rows),
        ),
        _mistake(
            "dbeta reversed", "has its entries in the wrong order", dbeta=lambda p: p.dbeta[::-1]
        ),
        _mistake(
            "dbeta of the last example",
            "is that of the last example: every example adds its own",
            dbeta=lambda p: p.dy[-1:].sum(p.axes),
        ),
        _mistake(
            "dbeta of the first example",
            "is that of the first example: every example adds its own",
            dbeta=lambda p: p.dy[:1].sum(p.axes),
        ),
        _mistake(
            "dbeta over the features",
            "is summed over the features, not over the batch",
            has_other_shape=True,
            dbeta=lambda p: p.dy.sum(-1),
        ),
    ]


def _forward(_y: Callable[..., Mistake], over: str, whose: str) -> list[Mistake]:
    return [
        _y(
            "y: not centred",
            "lacks -mean before it is divided by std",
            x_hat=lambda p: p.x / p.std,
        ),
        _y(
            "y: no mean",
            "is x over its root mean square: the mean is never subtracted",
            mean=_0,
        ),
        _y(
            "y: mean added",
            "has the mean added to x, not subtracted",
            x_hat=lambda p: (p.x + p.mean) / p.std,
        ),
        _y("y: no std", "is not divided by std", x_hat=lambda p: p.centred),
        _y("y: times std", "is multiplied by std, not divided", x_hat=lambda p: p.centred * p.std),
        _y(
            "y: the root mean square",
            "is divided by the root mean square of x, not by that of x - mean",
            variance=lambda p: p.average(p.x**2),
        ),
        _y(
            "y: m - 1",
            f"has {whose}variance over m - 1, not over m",
            std=_std_of_m_minus_1,
        ),
        _y(
            "y: a sum in the variance",
            "has the sum of squares for the variance, not their mean",
            variance=lambda p: p.variance * p.m,
        ),
        _y(
            "y: no square in the variance",
            "has the mean absolute deviation for the std",
            std=lambda p: p.average(abs(p.centred)) + p.epsilon,
        ),
        _y(
            "y: no root",
            "is divided by variance + epsilon, not by its root",
            std=lambda p: p.variance + p.epsilon,
        ),
        _y(
            "y: epsilon outside the root",
            "adds epsilon to the root of the variance, not under it",
            std=_std_with_epsilon_outside,
        ),
        _y(
            "y: epsilon subtracted",
            "subtracts epsilon from the variance",
            std=lambda p: np.sqrt(p.variance - p.epsilon),
        ),
        _y(
            "y: no epsilon",
            "lacks epsilon under the root: where all values are the same, it divides by 0",
            std=_std_without_epsilon,
        ),
        _y("y: no beta", "lacks beta", y=lambda p: p.gamma * p.x_hat),
        _y("y: beta subtracted", "has beta subtracted", y=lambda p: p.gamma * p.x_hat - p.beta),
        _y("y: no gamma", "lacks gamma", y=lambda p: p.x_hat + p.beta),
        _y("y: x_hat", "lacks gamma and beta", y=lambda p: p.x_hat),
        _y("y: divided by gamma", "is divided by gamma", y=lambda p: p.x_hat / p.gamma + p.beta),
        _y(
            "y: gamma and beta exchanged",
            "has gamma and beta exchanged",
            y=lambda p: p.beta * p.x_hat + p.gamma,
        ),
        _y(
            "y: beta before gamma",
            "adds beta before the scaling, not after it",
            y=lambda p: p.gamma * (p.x_hat + p.beta),
        ),
        _y(
            "y: one mean and variance",
            f"has one mean and one variance of all values, not those over {over}",
            average=lambda p: lambda values: over_all(p, values),
        ),
        _y(
            "y: one variance",
            f"has one variance of all values, not that over {over}",
            variance=lambda p: over_all(p, p.centred**2),
        ),
        _y(
            "y: one mean",
            f"has one mean of all values, not that over {over}",
            centred=lambda p: p.x - p.x.mean(),
            variance=lambda p: p.average((p.x - p.mean) ** 2),
        ),
        _y(
            "y: one mean in the variance, too",
            f"has one mean of all values, also in the variance, not that over {over}",
            mean=lambda p: p.x.mean(keepdims=True),
        ),
        _y(
            "y: std for the variance",
            "has the std under the root, not the variance",
            std=lambda p: np.sqrt(np.sqrt(p.variance) + p.epsilon),
        ),
        _y(
            "y: the mean alone over std",
            "has the mean alone divided by std, not x - mean: brackets are missing",
            x_hat=lambda p: p.x - p.mean / p.std,
        ),
        _y(
            "y: variance of all values",
            f"has the variance of all values about their one mean, not that over {over}",
            variance=lambda p: p.x.var(keepdims=True),
        ),
    ]


def _of_an_earlier_batch(
    _mistake: Callable[..., Mistake], _dx: Callable[..., Mistake], _y: Callable[..., Mistake]
) -> list[Mistake]:
    earlier: dict[str, Any] = {"of_an_earlier_batch": True}
    return [
        _dx(
            "an earlier batch's statistics",
            "uses mean and variance of an earlier batch",
            mean=lambda p: p.earlier.mean,
            std=lambda p: p.earlier.std,
            **earlier,
        ),
        _dx(
            "an earlier batch's std",
            "uses the std of an earlier batch",
            dx=lambda p: p.dx * p.std / p.earlier.std,
            **earlier,
        ),
        _dx(
            "an earlier batch's x_hat",
            "uses the x_hat of an earlier batch",
            x_hat=lambda p: p.earlier.x_hat,
            **earlier,
        ),
        _dx(
            "an earlier batch's x_hat and std",
            "uses x_hat and std of an earlier batch",
            x_hat=lambda p: p.earlier.x_hat,
            std=lambda p: p.earlier.std,
            **earlier,
        ),
        _mistake(
            "dgamma of an earlier batch's statistics",
            "uses mean and variance of an earlier batch",
            dgamma=lambda p: (p.dy * (p.x - p.earlier.mean) / p.earlier.std).sum(p.axes),
            **earlier,
        ),
        _mistake(
            "dgamma of an earlier batch's x_hat",
            "uses the x_hat of an earlier batch",
            dgamma=lambda p: (p.dy * p.earlier.x_hat).sum(p.axes),
            **earlier,
        ),
        _y(
            "y: an earlier batch's statistics",
            "uses mean and variance of an earlier batch",
            mean=lambda p: p.earlier.mean,
            std=lambda p: p.earlier.std,
            **earlier,
        ),
        _y(
            "y: an earlier batch's mean",
            "uses the mean of an earlier batch",
            x_hat=lambda p: (p.x - p.earlier.mean) / p.std,
            **earlier,
        ),
        _y(
            "y: an earlier batch's std",
            "uses the std of an earlier batch",
            std=lambda p: p.earlier.std,
            **earlier,
        ),
    ]


def means_over_the_batch(_mistake: Callable[..., Mistake], over: str) -> list[Mistake]:
    """Mistakes of what has means of each example: those that batch norm has."""
    return [
        _mistake(
            "means over the batch",
            f"has means over the batch, as batch norm, not over {over}",
            dx=lambda p: dx_with(p, over_all_but_the_last),
        ),
        _mistake(
            "rows for m",
            f"divides the terms of mean and variance by the number of rows, not of {over}",
            results=("dx",),
            **{
                name: _times(name, lambda p: p.m / len(p.x))
                for name in ("mean_term", "variance_term")
            },
        ),
        _mistake(
            "y: over the batch",
            f"is normalized over the batch, as by batch norm, not over {over}",
            y=lambda p: y_with(p, over_all_but_the_last),
        ),
    ]


def _0(p: Pieces) -> float:
    return 0.0


def _centred_twice(p: Pieces) -> Any:
    return (p.centred - p.mean) / p.std


def _bessel(p: Pieces) -> Any:
    return p.m / (p.m - 1)


def _times(name: str, factor: Wrong) -> Wrong:
    return lambda p: getattr(p, name) * factor(p)


def _of(term: Callable[[Any, Any], Any], upstream: Wrong) -> Wrong:
    return lambda p: term(p, upstream(p))


def _std_without_epsilon(p: Pieces) -> Any:
    return np.sqrt(p.variance)


def _std_with_epsilon_outside(p: Pieces) -> Any:
    return np.sqrt(p.variance) + p.epsilon


def _std_of_m_minus_1(p: Pieces) -> Any:
    return np.sqrt(p.variance * _bessel(p) + p.epsilon)
