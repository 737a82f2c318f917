"""A normalization in steps, whatever its means are over: what mistakes change one of."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from npbn.testing.mistake import Pieces, Wrong

Mean = Callable[[Pieces, Any], Any]


def _of_dx_hat(term: Callable[[Any, Any], Any]) -> Wrong:
    return lambda p: term(p, p.dx_hat)


# The three terms of dx: what comes by x itself, by the mean and by the variance.
TERMS: Mapping[str, Callable[[Any, Any], Any]] = {
    "direct": lambda p, dx_hat: dx_hat / p.std,
    "mean_term": lambda p, dx_hat: -p.average(dx_hat) / p.std,
    "variance_term": lambda p, dx_hat: -p.x_hat * p.average(dx_hat * p.x_hat) / p.std,
}
STEPS: Mapping[str, Wrong] = {
    "average": lambda p: lambda values: p.own_mean(p, values),
    "mean": lambda p: p.average(p.x),
    "centred": lambda p: p.x - p.mean,
    "variance": lambda p: p.average(p.centred**2),
    "std": lambda p: np.sqrt(p.variance + p.epsilon),
    "x_hat": lambda p: p.centred / p.std,
    "y": lambda p: p.gamma * p.x_hat + p.beta,
    "dx_hat": lambda p: p.dy * p.gamma,
    **{name: _of_dx_hat(term) for name, term in TERMS.items()},
    "dx": lambda p: p.direct + p.mean_term + p.variance_term,
    "dgamma": lambda p: (p.dy * p.x_hat).sum(p.axes),
    "dbeta": lambda p: p.dy.sum(p.axes),
}


def pieces_with(mean: Mean) -> Callable[[Pieces], None]:
    """What adds the pieces of the equations; mean(p, values) has an axis for each of x's."""

    def add(p: Pieces) -> None:
        p.axes, p.own_mean = tuple(range(p.x.ndim - 1)), mean
        # How many values a mean is of.
        p.m = round(1 / float(mean(p, _first(p.x)).flat[0]))
        p.steps |= STEPS

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


def over_the_last(p: Pieces, values: Any) -> Any:
    """The mean of layer norm."""
    return values.mean(-1, keepdims=True)


def over_all(p: Pieces, values: Any) -> Any:
    """One mean of all values."""
    return values.mean(keepdims=True)
