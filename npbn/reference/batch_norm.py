"""Batch normalization as the paper states it: Ioffe & Szegedy 2015."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class BatchNormCache(NamedTuple):
    """What the backward pass needs of the forward pass; every array is (..., D) or (D,)."""

    x: Array
    x_hat: Array
    mean: Array
    variance: Array
    gamma: Array
    epsilon: float
    mask: Array | None = None


def batch_norm_forward(
    x: Array, gamma: Array, beta: Array, *, epsilon: float = 1e-3, mask: Array | None = None
) -> tuple[Array, BatchNormCache]:
    """Normalize x over every axis but the last, then scale and shift.

    ::

        mean     = sum(x) / m
        variance = sum((x - mean)^2) / m
        x_hat    = (x - mean) / sqrt(variance + epsilon)
        y        = gamma * x_hat + beta

    x (..., D), gamma and beta (D,); m is the number of values per feature. Returns y, shaped like
    x, and the cache for batch_norm_backward. cache.variance is the biased one. mask, of the
    shape of x but for the last axis: where it is True lies the batch; elsewhere y and dx are 0.
    Algorithm 1 of the paper.
    """
    if mask is not None:
        y = np.zeros_like(x)
        y[mask], cache = batch_norm_forward(x[mask], gamma, beta, epsilon=epsilon)
        return y, cache._replace(mask=mask)
    axes = tuple(range(x.ndim - 1))
    mean = x.mean(axes)
    variance = ((x - mean) ** 2).mean(axes)
    x_hat = (x - mean) / np.sqrt(variance + epsilon)
    y = gamma * x_hat + beta
    return y, BatchNormCache(x, x_hat, mean, variance, gamma, epsilon)


def batch_norm_backward(dy: Array, cache: BatchNormCache) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta: the six formulas of the paper's section 3, in its order.

    ::

        dx_hat    = dy * gamma
        dvariance = sum(dx_hat * (x - mean)) * (-1/2) * (variance + epsilon)^(-3/2)
        dmean     = sum(dx_hat) * (-1 / sqrt(variance + epsilon))
                    + dvariance * sum(-2 (x - mean)) / m
        dx        = dx_hat / sqrt(variance + epsilon) + dvariance * 2 (x - mean) / m + dmean / m
        dgamma    = sum(dy * x_hat)
        dbeta     = sum(dy)

    dy (..., D) like x. Returns dx (..., D), dgamma (D,), dbeta (D,).
    """
    x, x_hat, mean, variance, gamma, epsilon, mask = cache
    if mask is not None:
        dx = np.zeros_like(dy)
        dx[mask], dgamma, dbeta = batch_norm_backward(dy[mask], cache._replace(mask=None))
        return dx, dgamma, dbeta
    axes = tuple(range(x.ndim - 1))
    m = x.size // x.shape[-1]
    std = np.sqrt(variance + epsilon)

    dx_hat = dy * gamma
    dvariance = (dx_hat * (x - mean)).sum(axes) * (-1 / 2) / std**3
    dmean = -dx_hat.sum(axes) / std + dvariance * (-2 * (x - mean)).sum(axes) / m
    dx = dx_hat / std + dvariance * 2 * (x - mean) / m + dmean / m
    dgamma = (dy * x_hat).sum(axes)
    dbeta = dy.sum(axes)
    return dx, dgamma, dbeta


def batch_norm_inference(
    x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, *, epsilon: float = 1e-3
) -> Array:
    """Normalize x with given statistics, those of the population.

    ::

        y = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    x (..., D), the others (D,). Returns y, shaped like x. Algorithm 2 of the paper.
    """
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


def batch_norm_inference_backward(
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    variance: Array,
    *,
    epsilon: float = 1e-3,
) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta where the statistics are constants.

    ::

        dx     = dy * gamma / sqrt(variance + epsilon)
        dgamma = sum(dy * (x - mean) / sqrt(variance + epsilon))
        dbeta  = sum(dy)

    dy and x (..., D), the others (D,). Returns dx (..., D), dgamma (D,), dbeta (D,).
    """
    axes = tuple(range(x.ndim - 1))
    std = np.sqrt(variance + epsilon)
    dx = dy * gamma / std
    dgamma = (dy * (x - mean) / std).sum(axes)
    dbeta = dy.sum(axes)
    return dx, dgamma, dbeta


def update_population(population: Array, batch: Array, *, momentum: float = 0.99) -> Array:
    """One step of a running average, of the mean or of the variance.

    ::

        population = momentum * population + (1 - momentum) * batch

    This is the momentum of Keras; PyTorch's is 1 - momentum. Both (D,); returns a new (D,).
    """
    return momentum * population + (1 - momentum) * batch


def merge_statistics(shards: Iterable[tuple[int, Array, Array]]) -> tuple[int, Array, Array]:
    """The statistics of a batch from those of its shards: synchronized batch normalization.

    ::

        count    = sum(count_i)
        mean     = sum(count_i * mean_i) / count
        variance = sum(count_i * (variance_i + (mean_i - mean)^2)) / count

    Forward, `batch_norm_inference` with these normalizes each shard;
    `synchronized_batch_norm_backward` goes back. Chan, Golub & LeVeque 1979, for any number of
    shards.

    Parameters
    ----------
    shards : iterable of (count, mean, variance)
        Of each the number of values per feature, at least 1, and the mean and the biased variance,
        both (D,). They may differ in size, and what was merged may be merged again.

    Returns
    -------
    count, mean, variance : int and two (D,) arrays
        The same three of all; of float32 in float64.
    """
    counts, means, variances = map(np.asarray, zip(*shards, strict=True))
    count = counts.sum()
    weights = counts[:, np.newaxis]
    mean = (weights * means).sum(0) / count
    variance = (weights * (variances + (means - mean) ** 2)).sum(0) / count
    return int(count), mean, variance


def synchronized_batch_norm_backward(
    dy: Array,
    x: Array,
    gamma: Array,
    count: int,
    mean: Array,
    variance: Array,
    dgamma: Array,
    dbeta: Array,
    *,
    epsilon: float = 1e-3,
) -> Array:
    """The gradient of one shard's x, from sums over all shards.

    ::

        dx = gamma / sqrt(variance + epsilon) * (dy - dbeta / count - x_hat * dgamma / count)

    with x_hat = (x - mean) / sqrt(variance + epsilon). Zhang et al. 2018; Peng et al. 2018.

    Parameters
    ----------
    dy, x : (..., D) array
        The shard's.
    gamma : (D,) array
    count : int
    mean, variance : (D,) array
        The merged ones.
    dgamma, dbeta : (D,) array
        sum(dy * x_hat) and sum(dy) over all shards: add up what `batch_norm_inference_backward`
        gives of each with the merged statistics.
    epsilon : float

    Returns
    -------
    dx : array like x
    """
    std = np.sqrt(variance + epsilon)
    x_hat = (x - mean) / std
    return gamma / std * (dy - dbeta / count - x_hat * dgamma / count)
