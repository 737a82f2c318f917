"""Wrong batch normalizations, with the batch's statistics and with those of the population."""

from typing import Any

import numpy as np

from npbn.testing.mistake import Pieces, Wrong, mistakes_of, right
from npbn.testing.norm_mistakes import mistakes_of_norm
from npbn.testing.norm_steps import (
    Mean,
    over_all,
    over_all_but_the_last,
    over_the_last,
    pieces_with,
)

# Where the means of two terms are taken over the wrong axes


def _in_both(mean: Mean) -> dict[str, Wrong]:
    return {"mean_term": _mean_term(mean), "variance_term": _variance_term(mean)}


def _mean_term(mean: Mean) -> Wrong:
    return lambda p: -mean(p, p.dx_hat) / p.std


def _variance_term(mean: Mean) -> Wrong:
    return lambda p: -p.x_hat * mean(p, p.dx_hat * p.x_hat) / p.std


def _sums_over_the_features(p: Pieces, values: Any) -> Any:
    return values.sum(-1, keepdims=True) / p.m


def _sums_over_all(p: Pieces, values: Any) -> Any:
    return values.sum() / p.m


def _over_the_images(p: Pieces, values: Any) -> Any:
    return values.mean(0)


_mistake, _ALL = mistakes_of_norm(
    "batch_norm",
    over_all_but_the_last,
    "the batch",
    whose="the batch's ",
    mean_term="-gamma / std * dbeta / m",
    variance_term="-gamma / std * x_hat * dgamma / m",
)
_dx = mistakes_of("batch_norm", pieces_with(over_all_but_the_last), results=("dx",))
_y = mistakes_of("batch_norm", pieces_with(over_all_but_the_last), results=("y",))
_BATCH_NORM = (
    *_ALL,
    _dx(
        "features for m",
        "divides the terms of mean and variance by the number of features, not of values a feature",
        mean_term=lambda p: p.mean_term * p.m / p.x.shape[-1],
        variance_term=lambda p: p.variance_term * p.m / p.x.shape[-1],
    ),
    _dx(
        "sums over the features",
        "sums over the features, not over the batch",
        **_in_both(_sums_over_the_features),
    ),
    _dx(
        "means over the features",
        "has means over the features, not over the batch, as layer normalization",
        **_in_both(over_the_last),
    ),
    _dx(
        "sums over the features, too",
        "sums over the features as well: each feature has a mean and a variance of its own",
        **_in_both(_sums_over_all),
    ),
    _dx(
        "means over the features, too",
        "has means over all values: each feature has a mean and a variance of its own",
        **_in_both(over_all),
    ),
    _dx(
        "the rows' means along the columns in the mean term",
        "has the mean of each row in the term of the mean, and laid along the columns: with as "
        "many rows as features nothing complains",
        shape=(5, 5),
        mean_term=lambda p: -p.dx_hat.mean(-1) / p.std,
    ),
    _dx(
        "the rows' means along the columns",
        "has the means of each row in the terms of mean and variance, and laid along the columns: "
        "with as many rows as features nothing complains",
        shape=(5, 5),
        mean_term=lambda p: -p.dx_hat.mean(-1) / p.std,
        variance_term=lambda p: -p.x_hat * (p.dx_hat * p.x_hat).mean(-1) / p.std,
    ),
    _dx(
        "mean term with the sum of everything",
        "has the sum of dy over everything in the term of the mean: each feature has its own dbeta",
        mean_term=lambda p: -p.gamma / p.std * p.dy.sum() / p.m,
    ),
    _dx(
        "mean term over the features",
        "has a mean over the features in the term of the mean, not over the batch",
        mean_term=_mean_term(over_the_last),
    ),
    _dx(
        "variance term over the features",
        "has a mean over the features in the term of the variance, not over the batch",
        variance_term=_variance_term(over_the_last),
    ),
    *(
        _y(
            f"y: a running average, momentum {momentum}, from {start}",
            f"is normalized with running averages after one step (momentum {momentum}, the "
            f"variance from {start}), not with the batch's mean and variance",
            std=lambda p, share=1 - momentum, start=start: np.sqrt(
                (1 - share) * start + share * p.variance + p.epsilon
            ),
            x_hat=lambda p, share=1 - momentum: (p.x - share * p.mean) / p.std,
        )
        for momentum in (0.9, 0.99, 0.999, 0.1)
        for start in (0, 1)
    ),
    _y(
        "y: over the features",
        "is normalized over the features, not over the batch: that is layer normalization",
        average=lambda p: lambda values: over_the_last(p, values),
    ),
)

# The same in feature maps (N, H, W, C), where more can be wrong

_MAP = (2, 2, 2, 3)
_mistake = mistakes_of("batch_norm", pieces_with(over_all_but_the_last), shape=_MAP)
_dx = mistakes_of("batch_norm", pieces_with(over_all_but_the_last), shape=_MAP, results=("dx",))
_y = mistakes_of("batch_norm", pieces_with(over_all_but_the_last), shape=_MAP, results=("y",))
_FEATURE_MAPS = (
    _dx(
        "maps: N for m",
        "divides the terms of mean and variance by N, not by N * H * W",
        mean_term=lambda p: p.mean_term * p.m / len(p.x),
        variance_term=lambda p: p.variance_term * p.m / len(p.x),
    ),
    _dx(
        "maps: means over N",
        "has means over the images alone, not over their rows and columns too",
        **_in_both(_over_the_images),
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
    _y(
        "y: maps: over N",
        "is normalized over the images alone, each pixel by itself",
        average=lambda p: lambda values: _over_the_images(p, values),
    ),
)

# Batch normalization with the statistics of the population, which are constants


def _inference_pieces(p: Pieces) -> None:
    p.axes, p.std = tuple(range(p.x.ndim - 1)), np.sqrt(p.variance + p.epsilon)
    p.batch_mean, p.batch_std = p.x.mean(p.axes), np.sqrt(p.x.var(p.axes) + p.epsilon)
    if p.dy is not None:
        inputs = {name: getattr(p, name) for name in ("x", "gamma", "beta", "epsilon")}
        p.in_training = right("batch_norm", inputs, p.dy)


def _y_with(p: Pieces, **replaced: Any) -> Any:
    """y, with some of its pieces replaced."""
    mean, std = (replaced.get(name, getattr(p, name)) for name in ("mean", "std"))
    return p.gamma * (p.x - mean) / std + p.beta


_mistake = mistakes_of("batch_norm_inference", _inference_pieces)
_INFERENCE = (
    _mistake(
        "y: the batch's statistics",
        "is normalized with the batch's mean and variance, not with the population's",
        y=lambda p: _y_with(p, mean=p.batch_mean, std=p.batch_std),
    ),
    _mistake(
        "y: the batch's mean",
        "has the batch's mean, not the population's",
        y=lambda p: _y_with(p, mean=p.batch_mean),
    ),
    _mistake(
        "y: the batch's variance",
        "has the batch's variance, not the population's",
        y=lambda p: _y_with(p, std=p.batch_std),
    ),
    _mistake(
        "y: no root",
        "is divided by variance + epsilon, not by its root",
        y=lambda p: _y_with(p, std=p.std**2),
    ),
    _mistake("y: no std", "is not divided by std", y=lambda p: _y_with(p, std=1)),
    _mistake(
        "y: no epsilon",
        "lacks epsilon under the root, which training has",
        y=lambda p: _y_with(p, std=np.sqrt(p.variance)),
    ),
    _mistake(
        "y: epsilon outside the root",
        "adds epsilon to the root of the variance, not under it",
        y=lambda p: _y_with(p, std=np.sqrt(p.variance) + p.epsilon),
    ),
    _mistake(
        "y: not centred",
        "lacks -mean before it is divided by std",
        y=lambda p: _y_with(p, mean=0),
    ),
    _mistake(
        "y: the mean alone over std",
        "has the mean alone divided by std, not x - mean: brackets are missing",
        y=lambda p: p.gamma * (p.x - p.mean / p.std) + p.beta,
    ),
    _mistake("y: no gamma", "lacks gamma", y=lambda p: (p.x - p.mean) / p.std + p.beta),
    _mistake("y: no beta", "lacks beta", y=lambda p: p.gamma * (p.x - p.mean) / p.std),
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
