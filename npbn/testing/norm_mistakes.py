"""What one can get wrong of any normalization whose means are each example's own."""

from collections.abc import Callable
from typing import Any

import numpy as np

from npbn.testing.mistake import Mistake, Pieces, mistakes_of

Mean = Callable[[Pieces, Any], Any]


def pieces_with(mean: Mean) -> Callable[[Pieces], None]:
    """What adds the pieces of the equations; mean(p, values) has an axis for each of x's."""

    def add(p: Pieces) -> None:
        p.axes = tuple(range(p.x.ndim - 1))
        p.average = lambda values: mean(p, values)
        p.mean = p.average(p.x)
        p.centred = p.x - p.mean
        p.variance = p.average(p.centred**2)
        p.std = np.sqrt(p.variance + p.epsilon)
        p.x_hat = p.centred / p.std
        # How many values a mean is of.
        p.m = round(1 / float(p.average(_first(p.x)).flat[0]))
        if p.dy is not None:
            p.dx_hat = p.dy * p.gamma
            p.mean_term = p.average(p.dx_hat)
            p.variance_term = p.x_hat * p.average(p.dx_hat * p.x_hat)

    return add


def _first(x: Any) -> Any:
    one = np.zeros_like(x)
    one.flat[0] = 1
    return one


def y_with(p: Pieces, mean: Mean) -> Any:
    """y whose mean and variance are others."""
    centred = p.x - mean(p, p.x)
    return p.gamma * centred / np.sqrt(mean(p, centred**2) + p.epsilon) + p.beta


def dx_with(p: Pieces, mean: Mean) -> Any:
    """dx whose two means are others, of the right x_hat."""
    return (p.dx_hat - mean(p, p.dx_hat) - p.x_hat * mean(p, p.dx_hat * p.x_hat)) / p.std


def over_all_but_the_last(p: Pieces, values: Any) -> Any:
    """The mean of batch norm."""
    return values.mean(tuple(range(values.ndim - 1)), keepdims=True)


def mistakes_of_norm(
    operation: str, mean: Mean, over: str
) -> tuple[Callable[..., Mistake], list[Mistake]]:
    """A function that makes more of the operation's mistakes, and those that all norms have.

    Parameters
    ----------
    over : str
        What its means are over.
    """
    _mistake = mistakes_of(operation, pieces_with(mean))
    return _mistake, [
        _mistake(
            "no mean term",
            "lacks the term -mean(dx_hat) / std: the mean also depends on x",
            dx=lambda p: (p.dx_hat - p.variance_term) / p.std,
        ),
        _mistake(
            "no variance term",
            "lacks the term -x_hat * mean(dx_hat * x_hat) / std: the variance also depends on x",
            dx=lambda p: (p.dx_hat - p.mean_term) / p.std,
        ),
        _mistake(
            "statistics are constants",
            "equals dy * gamma / std, as if mean and variance did not depend on x",
            dx=lambda p: p.dx_hat / p.std,
        ),
        _mistake(
            "statistics alone",
            "lacks the term dy * gamma / std: x reaches y also by itself, not through mean and "
            "variance alone",
            dx=lambda p: -(p.mean_term + p.variance_term) / p.std,
        ),
        _mistake(
            "mean term's sign",
            "has the wrong sign before the term of the mean",
            dx=lambda p: (p.dx_hat + p.mean_term - p.variance_term) / p.std,
        ),
        _mistake(
            "variance term's sign",
            "has the wrong sign before the term of the variance",
            dx=lambda p: (p.dx_hat - p.mean_term + p.variance_term) / p.std,
        ),
        _mistake(
            "root without 1/2",
            "takes the term of the variance twice: the root's derivative has a factor 1/2",
            dx=lambda p: (p.dx_hat - p.mean_term - 2 * p.variance_term) / p.std,
        ),
        _mistake(
            "square without 2",
            "takes half the term of the variance: the square's derivative has a factor 2",
            dx=lambda p: (p.dx_hat - p.mean_term - p.variance_term / 2) / p.std,
        ),
        _mistake(
            "sums for means",
            f"has sums over {over}, not means",
            dx=lambda p: (p.dx_hat - p.m * (p.mean_term + p.variance_term)) / p.std,
        ),
        _mistake(
            "m - 1 in the variance",
            "divides the term of the variance by m - 1: the variance is a mean over m",
            dx=lambda p: (p.dx_hat - p.mean_term - p.variance_term * p.m / (p.m - 1)) / p.std,
        ),
        _mistake(
            "means over the batch",
            f"has means over the batch, as batch norm, not over {over}",
            dx=lambda p: dx_with(p, over_all_but_the_last),
        ),
        _mistake(
            "x for x_hat",
            "has x for x_hat in the term of the variance",
            dx=lambda p: (p.dx_hat - p.mean_term - p.x * p.average(p.dx_hat * p.x)) / p.std,
        ),
        _mistake(
            "x - mean for x_hat",
            "has x - mean for x_hat in the term of the variance",
            dx=lambda p: (
                (p.dx_hat - p.mean_term - p.centred * p.average(p.dx_hat * p.centred)) / p.std
            ),
        ),
        _mistake(
            "no gamma",
            "lacks the factor gamma",
            dx=lambda p: (p.dy - p.average(p.dy) - p.x_hat * p.average(p.dy * p.x_hat)) / p.std,
        ),
        _mistake(
            "no gamma in the means",
            "lacks the factor gamma in the means: they are of dx_hat, not of dy",
            dx=lambda p: (p.dx_hat - p.average(p.dy) - p.x_hat * p.average(p.dy * p.x_hat)) / p.std,
        ),
        _mistake("no std", "is not divided by std", dx=lambda p: p.dx * p.std),
        _mistake(
            "variance for std",
            "is divided by variance + epsilon, not by its root",
            dx=lambda p: p.dx / p.std,
        ),
        _mistake(
            "no epsilon",
            "lacks epsilon, which y has under the root",
            dx=lambda p: p.dx * p.std / np.sqrt(p.variance),
        ),
        _mistake("dx is dy", "equals dy", dx=lambda p: p.dy),
        _mistake(
            "dgamma of x",
            "sums dy * x, not dy * x_hat",
            dgamma=lambda p: (p.dy * p.x).sum(p.axes),
        ),
        _mistake(
            "dgamma of x - mean",
            "sums dy * (x - mean), not dy * x_hat",
            dgamma=lambda p: (p.dy * p.centred).sum(p.axes),
        ),
        _mistake(
            "dgamma of y",
            "sums dy * y, not dy * x_hat",
            dgamma=lambda p: (p.dy * p.y).sum(p.axes),
        ),
        _mistake(
            "dgamma is dbeta",
            "sums dy alone, which is dbeta",
            dgamma=lambda p: p.dy.sum(p.axes),
        ),
        _mistake(
            "dgamma of the last example",
            "is that of the last example: every example adds its own",
            dgamma=lambda p: (p.dy * p.x_hat)[-1:].sum(p.axes),
        ),
        _mistake(
            "dbeta with gamma",
            "has the factor gamma: beta is added after gamma",
            dbeta=lambda p: p.dx_hat.sum(p.axes),
        ),
        _mistake(
            "dbeta of the last example",
            "is that of the last example: every example adds its own",
            dbeta=lambda p: p.dy[-1:].sum(p.axes),
        ),
        _mistake(
            "y: over the batch",
            f"is normalized over the batch, as by batch norm, not over {over}",
            y=lambda p: y_with(p, over_all_but_the_last),
        ),
        _mistake(
            "y: not centred",
            "lacks -mean before it is divided by std",
            y=lambda p: p.gamma * p.x / p.std + p.beta,
        ),
        _mistake(
            "y: the root mean square",
            "is divided by the root mean square of x, not by that of x - mean",
            y=lambda p: p.gamma * p.centred / np.sqrt(p.average(p.x**2) + p.epsilon) + p.beta,
        ),
        _mistake(
            "y: m - 1",
            "has a variance over m - 1, not over m",
            y=lambda p: (
                p.gamma * p.centred / np.sqrt(p.variance * p.m / (p.m - 1) + p.epsilon) + p.beta
            ),
        ),
        _mistake(
            "y: no root",
            "is divided by variance + epsilon, not by its root",
            y=lambda p: p.gamma * p.x_hat / p.std + p.beta,
        ),
        _mistake(
            "y: epsilon outside the root",
            "adds epsilon to the root, not under it",
            y=lambda p: p.gamma * p.centred / (np.sqrt(p.variance) + p.epsilon) + p.beta,
        ),
        _mistake(
            "y: no epsilon",
            "lacks epsilon",
            y=lambda p: p.gamma * p.centred / np.sqrt(p.variance) + p.beta,
        ),
        _mistake("y: no beta", "lacks beta", y=lambda p: p.gamma * p.x_hat),
        _mistake(
            "y: beta before gamma",
            "has beta within the product with gamma",
            y=lambda p: p.gamma * (p.x_hat + p.beta),
        ),
    ]
