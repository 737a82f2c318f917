"""Batch normalization, fast: Ioffe & Szegedy 2015, Algorithms 1 and 2 and section 3."""

from typing import NamedTuple

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional._sums import column_means, column_sums


class BatchNormCache(NamedTuple):
    """What the backward pass needs of the forward pass.

    centred (..., D) is x less a rounded mean; what the rounding left of the mean is `remainder`
    (D,), so that x_hat = (centred - remainder) * inverse_std also where the mean is far larger than
    the standard deviation. scale is gamma * inverse_std. mean and variance (D,) are the batch's,
    the variance the biased one.
    """

    centred: Array
    mean: Array
    variance: Array
    remainder: Array
    inverse_std: Array
    scale: Array


def batch_norm_forward(
    x: Array, gamma: Array, beta: Array, *, epsilon: float = 1e-3, out: Array | None = None
) -> tuple[Array, BatchNormCache]:
    """Normalize x over every axis but the last, then scale and shift.

        mean     = sum(x) / m
        variance = sum((x - mean)^2) / m
        y        = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    x (..., D), float32 or float64; gamma and beta (D,), of x's type; m is the number of values a
    feature. Returns y, shaped like x, and the cache for batch_norm_backward; cache.variance is the
    biased one: the sum of squares over m, not m - 1. A running average of the statistics is the
    caller's: population = momentum * population + (1 - momentum) * batch.
    TypeError or ValueError for arrays of another type or shape. Ioffe & Szegedy 2015, Algorithm 1.
    """
    x, gamma, beta, epsilon = _checked(x, gamma, beta, epsilon)
    y = checks.output(out, x.shape, x.dtype, (gamma, beta))
    return y, _batch_norm_forward(x, gamma, beta, epsilon, y, np.empty(x.shape, x.dtype))


def batch_norm_backward(
    dy: Array, cache: BatchNormCache, *, out: Array | None = None
) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta, the paper's six formulas simplified to three.

        dbeta  = sum(dy)
        dgamma = sum(dy * x_hat)
        dx     = gamma / sqrt(variance + epsilon) * (dy - dbeta / m - x_hat * dgamma / m)

    dy (..., D) like x; the cache may be used again. Returns dx (..., D), dgamma (D,), dbeta (D,).
    TypeError or ValueError for a dy of another type or shape. Ioffe & Szegedy 2015, section 3.
    """
    if not isinstance(cache, BatchNormCache):
        raise TypeError(
            f"cache: expected what batch_norm_forward returned, got {type(cache).__name__}"
        )
    dy = checks.upstream(dy, cache.centred)
    dx = checks.output(out, dy.shape, dy.dtype, (dy, *cache))
    return dx, *_batch_norm_backward(dy, cache, dx)


def batch_norm_inference(
    x: Array,
    gamma: Array,
    beta: Array,
    mean: Array,
    variance: Array,
    *,
    epsilon: float = 1e-3,
    out: Array | None = None,
) -> Array:
    """Normalize x with given statistics, those of the population.

        y = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    x (..., D), float32 or float64; the others (D,), of x's type; variance at least 0. Returns y,
    shaped like x. TypeError or ValueError for arrays of another type or shape.
    Ioffe & Szegedy 2015, Algorithm 2.
    """
    x, gamma, beta, epsilon = _checked(x, gamma, beta, epsilon)
    mean, variance = _checked_statistics(x, mean, variance)
    y = checks.output(out, x.shape, x.dtype, (gamma, beta, mean, variance))
    return _batch_norm_inference(x, gamma, beta, mean, variance, epsilon, y)


def batch_norm_inference_backward(
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    variance: Array,
    *,
    epsilon: float = 1e-3,
    out: Array | None = None,
) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta where the statistics are constants.

        dx     = dy * gamma / sqrt(variance + epsilon)
        dgamma = sum(dy * (x - mean)) / sqrt(variance + epsilon)
        dbeta  = sum(dy)

    dy and x (..., D), the others (D,), all of one type. Returns dx (..., D), dgamma (D,), dbeta
    (D,). TypeError or ValueError for arrays of another type or shape.
    """
    x, gamma, _, epsilon = _checked(x, gamma, gamma, epsilon)
    mean, variance = _checked_statistics(x, mean, variance)
    dy = checks.upstream(dy, x)
    dx = checks.output(out, dy.shape, dy.dtype, (dy, x, gamma, mean, variance))
    return dx, *_batch_norm_inference_backward(dy, x, gamma, mean, variance, epsilon, dx)


def _checked(
    x: Array, gamma: Array, beta: Array, epsilon: float
) -> tuple[Array, Array, Array, float]:
    x = checks.batch("x", x)
    gamma = checks.vector("gamma", gamma, x.shape[-1], x)
    beta = checks.vector("beta", beta, x.shape[-1], x)
    return x, gamma, beta, checks.number("epsilon", epsilon, minimum=0.0)


def _checked_statistics(x: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
    mean = checks.vector("mean", mean, x.shape[-1], x)
    variance = checks.vector("variance", variance, x.shape[-1], x)
    if (variance < 0).any():
        raise ValueError(f"variance: expected at least 0, got {variance.min()}")
    return mean, variance


def _rows(x: Array) -> Array:
    return x if x.ndim == 2 else x.reshape(-1, x.shape[-1])


def _put_back(rows: Array, out: Array) -> None:
    """Copy rows, which were written, into out where `_rows(out)` could not be a view of it."""
    if out.ndim > 2 and not np.may_share_memory(rows, out):
        out[...] = rows.reshape(out.shape)


def _batch_norm_forward(
    x: Array, gamma: Array, beta: Array, epsilon: float, y: Array, centred: Array
) -> BatchNormCache:
    """Writes y and centred, both shaped like x; centred, C-contiguous, may be x itself."""
    shape, out = x.shape, y
    x, y, centred = _rows(x), _rows(y), _rows(centred)
    mean = column_means(x)
    np.subtract(x, mean, out=centred)
    remainder, variance, inverse_std, offset = _moments(centred, epsilon, y)
    if offset.dot(offset) > 1e-2:
        # The first mean was too coarse (|mean| >> std): centre again, then the remainder is tiny.
        np.subtract(centred, remainder, out=centred)
        mean = mean + remainder
        remainder, variance, inverse_std, offset = _moments(centred, epsilon, y)
    mean += remainder
    scale = gamma * inverse_std
    # y = scale * centred + (beta - gamma * offset): the rest of the mean rides in the shift.
    np.multiply(centred, scale, out=y)
    np.multiply(gamma, offset, out=offset)
    np.subtract(beta, offset, out=offset)
    np.add(y, offset, out=y)
    _put_back(y, out)
    return BatchNormCache(centred.reshape(shape), mean, variance, remainder, inverse_std, scale)


def _moments(centred: Array, epsilon: float, scratch: Array) -> tuple[Array, Array, Array, Array]:
    remainder = column_means(centred)
    np.multiply(centred, centred, out=scratch)
    variance = column_means(scratch)
    variance -= remainder * remainder
    # Rounding may leave less than 0 of a constant feature, whose root would be NaN.
    np.maximum(variance, 0, out=variance)
    inverse_std = np.sqrt(variance + epsilon)
    np.divide(1, inverse_std, out=inverse_std)
    return remainder, variance, inverse_std, remainder * inverse_std


def _batch_norm_backward(dy: Array, cache: BatchNormCache, dx: Array) -> tuple[Array, Array]:
    """Writes dx; returns dgamma and dbeta."""
    centred, _, _, remainder, inverse_std, scale = cache
    out = dx
    dy, dx, centred = _rows(dy), _rows(dx), _rows(centred)
    np.multiply(dy, centred, out=dx)
    dbeta = column_sums(dy)
    dgamma = column_sums(dx)
    dgamma -= remainder * dbeta
    dgamma *= inverse_std
    # dx = scale * (dy - (slope * centred + shift)), four passes and no array beside dx.
    slope = dgamma * inverse_std
    slope /= len(dy)
    shift = dbeta / len(dy)
    shift -= slope * remainder
    np.multiply(centred, slope, out=dx)
    np.add(dx, shift, out=dx)
    np.subtract(dy, dx, out=dx)
    np.multiply(dx, scale, out=dx)
    _put_back(dx, out)
    return dgamma, dbeta


def _batch_norm_inference(
    x: Array,
    gamma: Array,
    beta: Array,
    mean: Array,
    variance: Array,
    epsilon: float,
    y: Array,
) -> Array:
    """Writes and returns y, which may be x itself."""
    # The mean first: in x * scale + (beta - mean * scale) both terms lose digits where |mean| >>
    # std.
    np.subtract(x, mean, out=y)
    np.multiply(y, gamma / np.sqrt(variance + epsilon), out=y)
    np.add(y, beta, out=y)
    return y


def _batch_norm_inference_backward(
    dy: Array, x: Array, gamma: Array, mean: Array, variance: Array, epsilon: float, dx: Array
) -> tuple[Array, Array]:
    """Writes dx; returns dgamma and dbeta."""
    out = dx
    dy, x, dx = _rows(dy), _rows(x), _rows(dx)
    inverse_std = 1 / np.sqrt(variance + epsilon)
    np.subtract(x, mean, out=dx)
    np.multiply(dx, dy, out=dx)
    dgamma = column_sums(dx) * inverse_std
    dbeta = column_sums(dy)
    np.multiply(dy, gamma * inverse_std, out=dx)
    _put_back(dx, out)
    return dgamma, dbeta
