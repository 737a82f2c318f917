"""Wrong batch normalizations, with the batch's statistics and with those of the population."""

from typing import Any

import numpy as np

from npbn.testing.mistake import Pieces, mistakes_of, right

# Batch normalization, in the terms of the paper's section 3


def _pieces(p: Pieces) -> None:
    p.axes = tuple(range(p.x.ndim - 1))
    p.mean, p.variance = p.x.mean(p.axes), p.x.var(p.axes)
    p.std, p.centred = np.sqrt(p.variance + p.epsilon), p.x - p.mean
    p.x_hat = p.centred / p.std
    if p.dy is not None:
        p.dx_hat = p.dy * p.gamma
        p.dvariance = (p.dx_hat * p.centred).sum(p.axes) * (-1 / 2) / p.std**3
        p.dmean = -p.dx_hat.sum(p.axes) / p.std


def _paper(p: Pieces, **replaced: Any) -> Any:
    """dx as the paper puts it together, with some of its pieces replaced."""
    pieces = {"m": p.rows, "m_mean": replaced.get("m", p.rows)} | vars(p) | replaced
    dx_hat, std, centred, dvariance, dmean, m, m_mean = (
        pieces[name] for name in ("dx_hat", "std", "centred", "dvariance", "dmean", "m", "m_mean")
    )
    return dx_hat / std + dvariance * 2 * centred / m + dmean / m_mean


def _chain(p: Pieces, std: Any, **replaced: Any) -> Any:
    """dx where the whole chain has another std: its dvariance and dmean follow it."""
    dx_hat, centred = replaced.get("dx_hat", p.dx_hat), replaced.get("centred", p.centred)
    dvariance = (dx_hat * centred).sum(p.axes) * (-1 / 2) / std**3
    return _paper(p, std=std, dvariance=dvariance, dmean=-dx_hat.sum(p.axes) / std, **replaced)


def _over(p: Pieces, axes: Any, **options: Any) -> Any:
    """dx whose sums go over other axes than all but the last."""
    dvariance = (p.dx_hat * p.centred).sum(axes, **options) * (-1 / 2) / p.std**3
    return _paper(p, dvariance=dvariance, dmean=-p.dx_hat.sum(axes, **options) / p.std)


_mistake = mistakes_of("batch_norm", _pieces)
_BATCH_NORM = (
    _mistake(
        "no mean term",
        "equals the true gradient without the term -gamma / std * dbeta / m: the batch's mean also "
        "depends on x",
        dx=lambda p: _paper(p, dmean=0),
    ),
    _mistake(
        "no variance term",
        "equals the true gradient without the term -gamma / std * x_hat * dgamma / m: the batch's "
        "variance also depends on x",
        dx=lambda p: _paper(p, dvariance=0),
    ),
    _mistake(
        "statistics are constants",
        "equals dy * gamma / std, as if the batch's mean and variance did not depend on x",
        dx=lambda p: p.dx_hat / p.std,
    ),
    _mistake(
        "statistics alone",
        "lacks the term dy * gamma / std: x reaches y also by itself, not through mean and "
        "variance alone",
        dx=lambda p: p.dx - p.dx_hat / p.std,
    ),
    _mistake(
        "mean term's sign",
        "has the wrong sign before the term of the mean",
        dx=lambda p: _paper(p, dmean=-p.dmean),
    ),
    _mistake(
        "variance term's sign",
        "has the wrong sign before the term of the variance",
        dx=lambda p: _paper(p, dvariance=-p.dvariance),
    ),
    _mistake(
        "dvariance without 1/2",
        "takes the term of the variance twice: the root's derivative has a factor 1/2",
        dx=lambda p: _paper(p, dvariance=2 * p.dvariance),
    ),
    _mistake(
        "square without 2",
        "takes half the term of the variance: the square's derivative has a factor 2",
        dx=lambda p: _paper(p, dvariance=p.dvariance / 2),
    ),
    _mistake(
        "exponent -1/2",
        "has (variance + epsilon)^(-1/2) in dvariance, not ^(-3/2)",
        dx=lambda p: _paper(p, dvariance=p.dvariance * p.std**2),
    ),
    _mistake(
        "exponent -1",
        "has (variance + epsilon)^(-1) in dvariance, not ^(-3/2)",
        dx=lambda p: _paper(p, dvariance=p.dvariance * p.std),
    ),
    _mistake("no gamma", "lacks the factor gamma", dx=lambda p: p.dx / p.gamma),
    _mistake("gamma twice", "has the factor gamma twice", dx=lambda p: p.dx * p.gamma),
    _mistake(
        "no gamma in the statistics",
        "lacks the factor gamma in dmean and dvariance: they are sums of dx_hat, not of dy",
        dx=lambda p: _paper(p, dvariance=p.dvariance / p.gamma, dmean=p.dmean / p.gamma),
    ),
    _mistake("no std", "is not divided by std", dx=lambda p: p.dx * p.std),
    _mistake(
        "variance for std",
        "is divided by variance + epsilon, not by its root",
        dx=lambda p: p.dx / p.std,
    ),
    _mistake(
        "m - 1 in the variance",
        "divides the term of the variance by m - 1: the batch's variance is a mean over m",
        dx=lambda p: _paper(p, m=p.rows - 1, m_mean=p.rows),
    ),
    _mistake(
        "m - 1 in the mean",
        "divides the term of the mean by m - 1, not by m",
        dx=lambda p: _paper(p, m_mean=p.rows - 1),
    ),
    _mistake(
        "m - 1 in both",
        "divides the terms of mean and variance by m - 1, not by m",
        dx=lambda p: _paper(p, m=p.rows - 1),
    ),
    _mistake(
        "no division by m",
        "does not divide the terms of mean and variance by m",
        dx=lambda p: _paper(p, m=1),
    ),
    _mistake(
        "features for m",
        "divides the terms of mean and variance by the number of features, not of values a feature",
        dx=lambda p: _paper(p, m=p.x.shape[-1]),
    ),
    _mistake(
        "no epsilon",
        "lacks epsilon, which y has under the root",
        dx=lambda p: _chain(p, np.sqrt(p.variance)),
    ),
    _mistake(
        "epsilon outside the root",
        "adds epsilon to the root of the variance, not under it",
        dx=lambda p: _chain(p, np.sqrt(p.variance) + p.epsilon),
    ),
    _mistake(
        "std of m - 1",
        "takes the std of the variance over m - 1; y has that over m",
        dx=lambda p: _chain(p, np.sqrt(p.variance * p.rows / (p.rows - 1) + p.epsilon)),
    ),
    _mistake(
        "not centred",
        "has x for x - mean",
        dx=lambda p: _paper(
            p, centred=p.x, dvariance=(p.dx_hat * p.x).sum(p.axes) * (-1 / 2) / p.std**3
        ),
    ),
    _mistake(
        "not centred at the end",
        "has x for x - mean where the variance's term is put together",
        dx=lambda p: _paper(p, centred=p.x),
    ),
    _mistake(
        "dy for dx_hat",
        "has dy for dx_hat = dy * gamma throughout",
        dx=lambda p: _chain(p, p.std, dx_hat=p.dy),
    ),
    _mistake(
        "sums over the features",
        "sums over the features, not over the batch",
        dx=lambda p: _over(p, -1, keepdims=True),
    ),
    _mistake(
        "means for sums",
        "divides by m twice: dmean and dvariance are sums, not means",
        dx=lambda p: _paper(p, dvariance=p.dvariance / p.rows, dmean=p.dmean / p.rows),
    ),
    _mistake(
        "an earlier batch's statistics",
        "uses mean and variance of an earlier batch",
        dx=lambda p: _chain(p, p.earlier.std, centred=p.x - p.earlier.mean),
        of_an_earlier_batch=True,
    ),
    _mistake(
        "an earlier batch's std",
        "uses the std of an earlier batch",
        dx=lambda p: p.dx * p.std / p.earlier.std,
        of_an_earlier_batch=True,
    ),
    _mistake("dx is dy", "equals dy", dx=lambda p: p.dy),
    _mistake(
        "dgamma of x - mean",
        "is not divided by std: y = gamma * x_hat + beta, with x_hat = (x - mean) / std",
        dgamma=lambda p: (p.dy * p.centred).sum(p.axes),
    ),
    _mistake(
        "dgamma of x",
        "sums dy * x, not dy * x_hat",
        dgamma=lambda p: (p.dy * p.x).sum(p.axes),
    ),
    _mistake(
        "dgamma of y",
        "sums dy * y, not dy * x_hat",
        dgamma=lambda p: (p.dy * p.y).sum(p.axes),
    ),
    _mistake(
        "dgamma of x_hat + 1",
        "has dbeta added to it",
        dgamma=lambda p: p.dgamma + p.dbeta,
    ),
    _mistake(
        "dgamma with gamma",
        "has a factor gamma: it is the derivative by gamma",
        dgamma=lambda p: p.dgamma * p.gamma,
    ),
    _mistake("dgamma is dbeta", "equals dbeta", dgamma=lambda p: p.dbeta),
    _mistake(
        "dgamma without epsilon",
        "lacks epsilon, which y has under the root",
        dgamma=lambda p: p.dgamma * p.std / np.sqrt(p.variance),
    ),
    _mistake(
        "dgamma of an earlier batch's statistics",
        "uses mean and variance of an earlier batch",
        dgamma=lambda p: (p.dy * (p.x - p.earlier.mean) / p.earlier.std).sum(p.axes),
        of_an_earlier_batch=True,
    ),
    _mistake(
        "dbeta with gamma",
        "has a factor gamma: beta is added after the scaling",
        dbeta=lambda p: p.dbeta * p.gamma,
    ),
    _mistake("dbeta is dgamma", "equals dgamma", dbeta=lambda p: p.dgamma),
    _mistake(
        "dbeta reversed",
        "has its entries in the wrong order",
        dbeta=lambda p: p.dbeta[::-1],
    ),
    # A forward pass that is not the one that the equations give.
    _mistake(
        "y: epsilon outside the root",
        "adds epsilon to the root of the variance, not under it",
        y=lambda p: p.gamma * p.centred / (np.sqrt(p.variance) + p.epsilon) + p.beta,
    ),
    _mistake(
        "y: no epsilon",
        "lacks epsilon under the root",
        y=lambda p: p.gamma * p.centred / np.sqrt(p.variance) + p.beta,
    ),
    _mistake(
        "y: std of m - 1",
        "has the variance over m - 1; the batch's is over m",
        y=lambda p: (
            p.gamma * p.centred / np.sqrt(p.variance * p.rows / (p.rows - 1) + p.epsilon) + p.beta
        ),
    ),
    _mistake(
        "y: variance for std",
        "is divided by variance + epsilon, not by its root",
        y=lambda p: p.gamma * p.centred / (p.variance + p.epsilon) + p.beta,
    ),
    _mistake(
        "y: beta is scaled",
        "adds beta before the scaling, not after it",
        y=lambda p: p.gamma * (p.x_hat + p.beta),
    ),
    _mistake("y: no mean", "has x for x - mean", y=lambda p: p.gamma * p.x / p.std + p.beta),
    _mistake(
        "y: an earlier batch's statistics",
        "uses mean and variance of an earlier batch",
        y=lambda p: p.gamma * (p.x - p.earlier.mean) / p.earlier.std + p.beta,
        of_an_earlier_batch=True,
    ),
    _mistake(
        "y: over the features",
        "is normalized over the features, not over the batch: that is layer normalization",
        y=lambda p: (
            p.gamma * (p.x - p.x.mean(-1, keepdims=True)) / p.x.std(-1, keepdims=True) + p.beta
        ),
    ),
)

# The same in feature maps (N, H, W, C), where more can be wrong

_mistake = mistakes_of("batch_norm", _pieces, shape=(2, 2, 2, 3))
_FEATURE_MAPS = (
    _mistake(
        "maps: N for m",
        "divides the terms of mean and variance by N, not by N * H * W",
        dx=lambda p: _paper(p, m=len(p.x)),
    ),
    _mistake(
        "maps: sums over N",
        "sums over the images alone, not over their rows and columns too",
        dx=lambda p: _over(p, 0),
    ),
    _mistake(
        "maps: dgamma of a pixel",
        "sums over the images at their first pixel alone",
        dgamma=lambda p: (p.dy * p.x_hat).sum(0)[0, 0],
    ),
    _mistake(
        "maps: dbeta of a pixel",
        "sums over the images at their first pixel alone",
        dbeta=lambda p: p.dy.sum(0)[0, 0],
    ),
    _mistake(
        "maps: dbeta of an image",
        "sums over the first image alone",
        dbeta=lambda p: p.dy[0].sum((0, 1)),
    ),
)

# Batch normalization with the statistics of the population, which are constants


def _inference_pieces(p: Pieces) -> None:
    p.axes, p.std = tuple(range(p.x.ndim - 1)), np.sqrt(p.variance + p.epsilon)
    if p.dy is not None:
        inputs = {name: getattr(p, name) for name in ("x", "gamma", "beta", "epsilon")}
        p.in_training = right("batch_norm", inputs, p.dy)


_mistake = mistakes_of("batch_norm_inference", _inference_pieces)
_INFERENCE = (
    _mistake(
        "dx of the batch's statistics",
        "is the gradient of batch normalization in training; the population's statistics are "
        "constants",
        dx=lambda p: p.in_training.dx,
    ),
    _mistake(
        "the batch's std",
        "is divided by the batch's std, not by the population's",
        dx=lambda p: p.dx * p.std / np.sqrt(p.x.var(p.axes) + p.epsilon),
    ),
    _mistake("no gamma", "lacks the factor gamma", dx=lambda p: p.dx / p.gamma),
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
    _mistake(
        "epsilon outside the root",
        "adds epsilon to the root of the variance, not under it",
        dx=lambda p: p.dx * p.std / (np.sqrt(p.variance) + p.epsilon),
    ),
    _mistake(
        "the mean is subtracted",
        "has a term of the mean: the population's mean does not depend on x",
        dx=lambda p: p.dx - p.dx.mean(p.axes),
    ),
    _mistake(
        "dgamma of the batch's statistics",
        "is normalized with the batch's statistics, not with the population's",
        dgamma=lambda p: p.in_training.dgamma,
    ),
    _mistake(
        "dgamma of x / std",
        "has x for x - mean",
        dgamma=lambda p: (p.dy * p.x / p.std).sum(p.axes),
    ),
    _mistake(
        "dgamma of x - mean",
        "is not divided by std: y = gamma * x_hat + beta, with x_hat = (x - mean) / std",
        dgamma=lambda p: (p.dy * (p.x - p.mean)).sum(p.axes),
    ),
    _mistake("dbeta / std", "is divided by std", dbeta=lambda p: p.dbeta / p.std),
)

MISTAKES = (*_BATCH_NORM, *_FEATURE_MAPS, *_INFERENCE)
