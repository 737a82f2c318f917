"""Group normalization, fast: Wu & He 2018."""

from __future__ import annotations

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.denormals import quiet
from npbn.numerics.grouped_normalization import GroupedNormalization
from npbn.numerics.operation import check_backward


@quiet()
def group_norm_forward(
    x: Array,
    gamma: Array,
    beta: Array,
    *,
    groups: int,
    epsilon: float = 1e-5,
    out: Array | None = None,
) -> tuple[Array, GroupNormOperation]:
    """Normalize each example over all places and the channels of a group, then scale and shift.

    ::

        mean     = sum(x) / m                   over the places and the channels of the group
        variance = sum((x - mean)^2) / m
        y        = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    with m the number of places times D / groups: Wu & He 2018, equations 1, 2, 6 and 7.

    Parameters
    ----------
    x : (N, ..., D) array, float32 or float64
    gamma, beta : (D,) array, of x's type
    groups : int
        It divides D.
    epsilon : float
    out : array like x, optional

    Returns
    -------
    y : array like x
    cache : GroupNormOperation
        It refers to x: leave it as it is until the backward pass.

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape, or other groups.

    Notes
    -----
    A group with an infinity or NaN makes y NaN throughout the group; a constant one becomes beta,
    also without epsilon. Any other is exact to rounding: of float32 however large or small it is,
    of float64 where its variance is from 1e-290 to 1e300.
    """
    x = checks.batch("x", x)
    gamma = checks.vector("gamma", gamma, x.shape[-1], x)
    beta = checks.vector("beta", beta, x.shape[-1], x)
    groups = checks.groups(groups, x.shape[-1])
    epsilon = checks.epsilon(epsilon, x.dtype)
    operation = GroupNormOperation(x.shape, x.dtype, epsilon, groups=groups)
    y = checks.output(out, x.shape, x.dtype, (x, gamma, beta))
    operation.forward(np, x, gamma, beta, y)
    return y, operation


@quiet()
def group_norm_backward(
    dy: Array, cache: GroupNormOperation, *, out: Array | None = None
) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta.

    ::

        dx_hat = dy * gamma
        dx     = (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat)) / std
        dgamma = sum(dy * x_hat)
        dbeta  = sum(dy)

    with x_hat = (x - mean) / std, std = sqrt(variance + epsilon); the means are over the places and
    the channels of a group, the sums over examples and places.

    Parameters
    ----------
    dy : (N, ..., D) array like x
    cache : what `group_norm_forward` returned
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
    dy, dx = check_backward("group_norm_forward", GroupNormOperation, dy, cache, out)
    dgamma, dbeta = np.empty((2, dy.shape[-1]), dy.dtype)
    cache.with_own_scratch().backward(np, dy, dx, dgamma, dbeta)
    return dx, dgamma, dbeta


class GroupNormOperation(GroupedNormalization):
    """All axes between the first and the last are places."""
