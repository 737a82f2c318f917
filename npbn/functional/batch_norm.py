"""Batch normalization, fast: Ioffe & Szegedy 2015, Algorithms 1 and 2 and section 3."""

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional import _batch_norm as core
from npbn.functional._batch_norm import BatchNormCache

# Infinities and NaN show in the results; a warning would only say so again with every batch.
_quiet = np.errstate(all="ignore")


@_quiet
def batch_norm_forward(
    x: Array, gamma: Array, beta: Array, *, epsilon: float = 1e-3, out: Array | None = None
) -> tuple[Array, BatchNormCache]:
    """Normalize x over every axis but the last, then scale and shift.

        mean     = sum(x) / m
        variance = sum((x - mean)^2) / m
        y        = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    x (..., D), float32 or float64; gamma and beta (D,), of x's type; m is the number of values per
    feature. Returns y, shaped like x, and the cache for batch_norm_backward; cache.variance is the
    biased one: the sum of squares over m, not m - 1. A running average of the statistics is the
    caller's: population = momentum * population + (1 - momentum) * batch. A feature with an
    infinity or NaN in x makes y NaN throughout. Any other is exact to rounding, however large its
    values; cache.variance may then be infinite although y is right. TypeError or ValueError for
    arrays of another type or shape. Ioffe & Szegedy 2015, Algorithm 1.
    """
    x, gamma, beta, epsilon = _checked(x, gamma, beta, epsilon)
    y = checks.output(out, x.shape, x.dtype, (x, gamma, beta))
    return y, core.forward(x, gamma, beta, epsilon, y)


@_quiet
def batch_norm_backward(
    dy: Array, cache: BatchNormCache, *, out: Array | None = None
) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta, the paper's six formulas simplified to three.

        dbeta  = sum(dy)
        dgamma = sum(dy * x_hat)
        dx     = gamma / sqrt(variance + epsilon) * (dy - dbeta / m - x_hat * dgamma / m)

    with x_hat = (x - mean) / sqrt(variance + epsilon). dy (..., D) like x; the cache may be used
    again. Returns dx (..., D), dgamma (D,), dbeta (D,). TypeError or ValueError for a dy of another
    type or shape. Ioffe & Szegedy 2015, section 3.
    """
    if not isinstance(cache, BatchNormCache):
        raise TypeError(
            f"cache: expected what batch_norm_forward returned, got {type(cache).__name__}"
        )
    dy = checks.upstream(dy, cache.values)
    dx = checks.output(out, dy.shape, dy.dtype, (dy, *cache))
    dgamma, dbeta = np.empty_like(cache.mean), np.empty_like(cache.mean)
    core.backward(dy, cache, dx, dgamma, dbeta)
    return dx, dgamma, dbeta


@_quiet
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
    shaped like x. out may be x itself. TypeError or ValueError for arrays of another type or shape.
    Ioffe & Szegedy 2015, Algorithm 2.
    """
    x, gamma, beta, epsilon = _checked(x, gamma, beta, epsilon)
    mean, variance = _checked_statistics(x, mean, variance)
    # out may be x itself, not a shifted view of it: a block written would be another one's input.
    kept = (gamma, beta, mean, variance) if _is_same(x, out) else (x, gamma, beta, mean, variance)
    y = checks.output(out, x.shape, x.dtype, kept)
    return core.inference(x, gamma, beta, mean, variance, epsilon, y)


@_quiet
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
    # There is no beta here; gamma stands in for it.
    x, gamma, _, epsilon = _checked(x, gamma, gamma, epsilon)
    mean, variance = _checked_statistics(x, mean, variance)
    dy = checks.upstream(dy, x)
    dx = checks.output(out, dy.shape, dy.dtype, (dy, x, gamma, mean, variance))
    dgamma, dbeta = np.empty_like(gamma), np.empty_like(gamma)
    core.inference_backward(dy, x, gamma, mean, variance, epsilon, dx, dgamma, dbeta)
    return dx, dgamma, dbeta


def _is_same(x: Array, out: Array | None) -> bool:
    return isinstance(out, np.ndarray) and (
        x.__array_interface__["data"] == out.__array_interface__["data"]
        and x.strides == out.strides
    )


def _checked(
    x: Array, gamma: Array, beta: Array, epsilon: float
) -> tuple[Array, Array, Array, float]:
    x = checks.batch("x", x)
    gamma = checks.vector("gamma", gamma, x.shape[-1], x)
    beta = checks.vector("beta", beta, x.shape[-1], x)
    return x, gamma, beta, checks.epsilon(epsilon, x.dtype)


def _checked_statistics(x: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
    mean = checks.vector("mean", mean, x.shape[-1], x)
    variance = checks.vector("variance", variance, x.shape[-1], x)
    if (variance < 0).any():
        raise ValueError(f"variance: expected at least 0, got {variance.min()}")
    return mean, variance
