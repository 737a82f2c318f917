"""Instance normalization, fast: Ulyanov, Vedaldi & Lempitsky 2016."""

from __future__ import annotations

from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.denormals import quiet
from npbn.numerics.grouped_normalization import GroupedNormalization
from npbn.numerics.operation import check_backward


@quiet()
def instance_norm_forward(
    x: Array, gamma: Array, beta: Array, *, epsilon: float = 1e-5, out: Array | None = None
) -> tuple[Array, InstanceNormOperation]:
    """Normalize each channel of each example over all places, then scale and shift each channel.

    ::

        mean     = sum(x) / m                   over every axis but the first and the last
        variance = sum((x - mean)^2) / m
        y        = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    with m the number of places: Ulyanov, Vedaldi & Lempitsky 2016, equation 4; gamma and beta are
    later. Where there is one place alone, as in x (N, D), y is beta, whatever x is.

    Parameters
    ----------
    x : (N, ..., D) array, float32 or float64
    gamma, beta : (D,) array, of x's type
    epsilon : float
    out : array like x, optional

    Returns
    -------
    y : array like x
    cache : InstanceNormOperation
        It refers to x: leave it as it is until the backward pass.

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape.

    Notes
    -----
    A channel of an example with an infinity or NaN makes y NaN throughout it; a constant one
    becomes beta, also without epsilon. Any other is exact to rounding: of float32 however large or
    small it is, of float64 where its variance is from 1e-290 to 1e300.
    """
    x = checks.batch("x", x)
    gamma = checks.vector("gamma", gamma, x.shape[-1], x)
    beta = checks.vector("beta", beta, x.shape[-1], x)
    operation = InstanceNormOperation(x.shape, x.dtype, checks.epsilon(epsilon, x.dtype))
    y = checks.output(out, x.shape, x.dtype, (x, gamma, beta))
    operation.forward(np, x, gamma, beta, y)
    return y, operation


@quiet()
def instance_norm_backward(
    dy: Array, cache: InstanceNormOperation, *, out: Array | None = None
) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta.

    ::

        dx_hat = dy * gamma
        dx     = (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat)) / std
        dgamma = sum(dy * x_hat)
        dbeta  = sum(dy)

    with x_hat = (x - mean) / std, std = sqrt(variance + epsilon); the means are over the places,
    the sums over examples and places.

    Parameters
    ----------
    dy : (N, ..., D) array like x
    cache : what `instance_norm_forward` returned
    out : array for dx, optional

    Returns
    -------
    dx : (N, ..., D) array
    dgamma, dbeta : (D,) array
        In float32 they are off by at most 5e-7 of their value or of the root of the sum of their
        terms' squares.

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape.
    """
    dy, dx = check_backward("instance_norm_forward", InstanceNormOperation, dy, cache, out)
    dgamma, dbeta = np.empty((2, dy.shape[-1]), dy.dtype)
    cache.with_own_scratch().backward(np, dy, dx, dgamma, dbeta)
    return dx, dgamma, dbeta


class InstanceNormOperation(GroupedNormalization):
    """Each channel is a group."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], epsilon: float) -> None:
        super().__init__(shape, dtype, epsilon, groups=shape[-1])
