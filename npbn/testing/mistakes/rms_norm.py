"""Wrong RMS normalizations."""

from typing import Any

import numpy as np

from npbn.testing.mistake import Pieces, mistakes_of


def _mean(values: Any) -> Any:
    return values.mean(-1, keepdims=True)


def _pieces(p: Pieces) -> None:
    p.axes, p.features = tuple(range(p.x.ndim - 1)), p.x.shape[-1]
    p.mean_square = _mean(p.x**2)
    p.rms = np.sqrt(p.mean_square + p.epsilon)
    p.x_hat = p.x / p.rms
    if p.dy is not None:
        p.dx_hat = p.dy * p.gamma
        p.term = p.x_hat * _mean(p.dx_hat * p.x_hat)


_mistake = mistakes_of("rms_norm", _pieces)
MISTAKES = (
    _mistake(
        "rms is a constant",
        "equals dy * gamma / rms, as if rms did not depend on x",
        dx=lambda p: p.dx_hat / p.rms,
    ),
    _mistake(
        "rms alone",
        "lacks the term dy * gamma / rms: x reaches y also by itself, not through rms alone",
        dx=lambda p: -p.term / p.rms,
    ),
    _mistake(
        "the sign of rms's term",
        "has the wrong sign before the term of rms",
        dx=lambda p: (p.dx_hat + p.term) / p.rms,
    ),
    _mistake(
        "root without 1/2",
        "takes the term of rms twice: the root's derivative has a factor 1/2",
        dx=lambda p: (p.dx_hat - 2 * p.term) / p.rms,
    ),
    _mistake(
        "square without 2",
        "takes half the term of rms: the square's derivative has a factor 2",
        dx=lambda p: (p.dx_hat - p.term / 2) / p.rms,
    ),
    _mistake(
        "a sum for the mean",
        "has a sum over the features in the term of rms, not a mean",
        dx=lambda p: (p.dx_hat - p.features * p.term) / p.rms,
    ),
    _mistake(
        "a mean over the batch",
        "has a mean over the batch in the term of rms, not over the features",
        dx=lambda p: (p.dx_hat - p.x_hat * (p.dx_hat * p.x_hat).mean(p.axes)) / p.rms,
    ),
    _mistake(
        "x for x_hat",
        "has x for x_hat in the term of rms",
        dx=lambda p: (p.dx_hat - p.x * _mean(p.dx_hat * p.x)) / p.rms,
    ),
    _mistake(
        "the mean is subtracted too",
        "has the term of a mean, as in layer normalization: here nothing is centred",
        dx=lambda p: p.dx - _mean(p.dx_hat) / p.rms,
    ),
    _mistake(
        "no gamma",
        "lacks the factor gamma",
        dx=lambda p: (p.dy - p.x_hat * _mean(p.dy * p.x_hat)) / p.rms,
    ),
    _mistake(
        "no gamma in rms's term",
        "lacks the factor gamma in the term of rms: it is a mean of dx_hat * x_hat, not of dy",
        dx=lambda p: (p.dx_hat - p.x_hat * _mean(p.dy * p.x_hat)) / p.rms,
    ),
    _mistake(
        "gamma at the end",
        "has the factor gamma after the mean, where each row's mean has other gammas in it",
        dx=lambda p: p.gamma * (p.dy - p.x_hat * _mean(p.dy * p.x_hat)) / p.rms,
    ),
    _mistake("no rms", "is not divided by rms", dx=lambda p: p.dx * p.rms),
    _mistake(
        "the mean square for rms",
        "is divided by the mean square and epsilon, not by their root",
        dx=lambda p: p.dx / p.rms,
    ),
    _mistake(
        "no epsilon",
        "lacks epsilon, which y has under the root",
        dx=lambda p: p.dx * p.rms / np.sqrt(p.mean_square),
    ),
    _mistake("dx is dy", "equals dy", dx=lambda p: p.dy),
    _mistake(
        "dgamma of x",
        "sums dy * x, not dy * x_hat",
        dgamma=lambda p: (p.dy * p.x).sum(p.axes),
    ),
    _mistake(
        "dgamma of y",
        "has a factor gamma: it sums dy * x_hat, not dy * y",
        dgamma=lambda p: (p.dy * p.y).sum(p.axes),
    ),
    _mistake(
        "dgamma is dbeta",
        "sums dy alone, the gradient of what is added",
        dgamma=lambda p: p.dy.sum(p.axes),
    ),
    _mistake(
        "dgamma of the last row",
        "is that of the last row: every row adds its own",
        dgamma=lambda p: (p.dy * p.x_hat)[-1],
    ),
    _mistake(
        "y: over the batch",
        "has the mean over the batch, not over the features",
        y=lambda p: p.gamma * p.x / np.sqrt((p.x**2).mean(p.axes) + p.epsilon),
    ),
    _mistake(
        "y: centred",
        "is divided by the standard deviation, not by the root mean square",
        y=lambda p: p.gamma * p.x / np.sqrt(p.x.var(-1, keepdims=True) + p.epsilon),
    ),
    _mistake(
        "y: a norm for rms",
        "has the root of the sum of squares, not of their mean",
        y=lambda p: p.gamma * p.x / np.sqrt(p.features * p.mean_square + p.epsilon),
    ),
    _mistake(
        "y: epsilon outside the root",
        "adds epsilon to the root, not under it",
        y=lambda p: p.gamma * p.x / (np.sqrt(p.mean_square) + p.epsilon),
    ),
    _mistake("y: no epsilon", "lacks epsilon", y=lambda p: p.gamma * p.x / np.sqrt(p.mean_square)),
    _mistake("y: no root", "is not divided by the root", y=lambda p: p.gamma * p.x_hat / p.rms),
)
