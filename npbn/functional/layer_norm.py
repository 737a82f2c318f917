"""Layer normalization, fast: Ba, Kiros & Hinton 2016."""

from __future__ import annotations

from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.denormals import quiet
from npbn.numerics.grouped_normalization import GroupedNormalization
from npbn.numerics.operation import check_backward


@quiet()
def layer_norm_forward(
    x: Array, gamma: Array, beta: Array, *, epsilon: float = 1e-5, out: Array | None = None
) -> tuple[Array, LayerNormOperation]:
    """Normalize each row over the last axis, then scale and shift each feature.

    ::

        mean     = sum(x) / D                   over the last axis
        variance = sum((x - mean)^2) / D
        y        = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    Ba, Kiros & Hinton 2016, equations 3 and 4, and the epsilon that all since have added.

    Parameters
    ----------
    x : (..., D) array, float32 or float64
    gamma, beta : (D,) array, of x's type
    epsilon : float
    out : array like x, optional

    Returns
    -------
    y : array like x
    cache : LayerNormOperation
        It refers to x: leave it as it is until the backward pass. cache.mean and cache.inverse_std,
        1 / sqrt(variance + epsilon), are (..., 1).

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape.

    Notes
    -----
    A row with an infinity or NaN makes y NaN throughout the row; a constant one becomes beta, also
    without epsilon. Any other is exact to rounding: of float32 however large or small it is, of
    float64 where its variance is from 1e-290 to 1e300.
    """
    x = checks.batch("x", x)
    gamma = checks.vector("gamma", gamma, x.shape[-1], x)
    beta = checks.vector("beta", beta, x.shape[-1], x)
    operation = LayerNormOperation(x.shape, x.dtype, checks.epsilon(epsilon, x.dtype))
    y = checks.output(out, x.shape, x.dtype, (x, gamma, beta))
    operation.forward(np, x, gamma, beta, y)
    return y, operation


@quiet()
def layer_norm_backward(
    dy: Array, cache: LayerNormOperation, *, out: Array | None = None
) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta.

    ::

        dx_hat = dy * gamma
        dx     = (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat)) / std
        dgamma = sum(dy * x_hat)
        dbeta  = sum(dy)

    with x_hat = (x - mean) / std, std = sqrt(variance + epsilon); the means are over the last axis,
    the sums over every axis but the last.

    Parameters
    ----------
    dy : (..., D) array like x
    cache : what `layer_norm_forward` returned
    out : array for dx, optional

    Returns
    -------
    dx : (..., D) array
    dgamma, dbeta : (D,) array
        In float32 they are off by at most 5e-7 of their value or of the root of the sum of their
        terms' squares.

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape.
    """
    dy, dx = check_backward("layer_norm_forward", LayerNormOperation, dy, cache, out)
    dgamma, dbeta = np.empty((2, dy.shape[-1]), dy.dtype)
    cache.with_own_scratch().backward(np, dy, dx, dgamma, dbeta)
    return dx, dgamma, dbeta


class LayerNormOperation(GroupedNormalization):
    """Each row is an example of one place and one group."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], epsilon: float) -> None:
        super().__init__(shape, dtype, epsilon, places=False)

    @property
    def mean(self) -> Array:
        """The mean of each row, (..., 1), a new array."""
        return self._of_rows(self._mean + self._remainder)

    @property
    def inverse_std(self) -> Array:
        """1 / sqrt(variance + epsilon) of each row, 0 for 1 / 0, (..., 1), a new array."""
        return self._of_rows(self._inverse_std)

    def _of_rows(self, values: Array) -> Array:
        with quiet():
            return values.reshape(*self.shape[:-1], 1).astype(self.dtype)
