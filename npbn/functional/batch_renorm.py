"""Batch renormalization, fast: Ioffe 2017, Algorithm 1."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional.batch_norm import BatchNormInferenceOperation, BatchNormOperation
from npbn.numerics.constants import constant
from npbn.numerics.denormals import quiet
from npbn.numerics.operation import Operation, check_backward


@quiet()
def batch_renorm_corrections(
    x: Array,
    mean: Array,
    std: Array,
    *,
    r_max: float = 3.0,
    d_max: float = 5.0,
    epsilon: float = 1e-3,
) -> Array:
    """r and d, which lead from the batch's statistics to the population's.

    ::

        mean_B = sum(x) / m
        std_B  = sqrt(epsilon + sum((x - mean_B)^2) / m)
        r      = clip(std_B / std, 1 / r_max, r_max)
        d      = clip((mean_B - mean) / std, -d_max, d_max)

    with m the number of values per feature: Ioffe 2017, Algorithm 1. Where std is 0, r is 1 /
    r_max, and d 0.

    Parameters
    ----------
    x : (..., D) array, float32 or float64
    mean, std : (D,) array, of x's type
        The population's; std at least 0.
    r_max : float
        At least 1.
    d_max : float
        At least 0.
    epsilon : float

    Returns
    -------
    (2, D) array
        A new one: r, d = batch_renorm_corrections(...).

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape, or numbers out of range.
    """
    x = checks.batch("x", x)
    mean, std = (
        checks.vector(name, each, x.shape[-1], x) for name, each in (("mean", mean), ("std", std))
    )
    if (std < 0).any():
        raise ValueError(f"std: expected at least 0, got {std.min()}")
    limits = Limits(Limits.checked_r_max(r_max), checks.number("d_max", d_max, minimum=0.0))
    operation = BatchRenormTrainingOperation(
        x.shape, x.dtype, checks.epsilon(epsilon, x.dtype), limits
    )
    operation.measure(np, x)
    operation.correct(np, mean, std, np.zeros((), np.int64))
    return operation.corrections.astype(x.dtype)


@quiet()
def batch_renorm_forward(
    x: Array,
    gamma: Array,
    beta: Array,
    r: Array,
    d: Array,
    *,
    epsilon: float = 1e-3,
    out: Array | None = None,
) -> tuple[Array, BatchRenormOperation]:
    """Normalize x by the batch's statistics, correct that by r and d, then scale and shift.

    ::

        x_hat = (x - mean_B) / std_B * r + d
        y     = gamma * x_hat + beta

    Where r and d are not clipped, x_hat = (x - mean) / std, with the population's statistics, as in
    inference, which is batch_norm_inference(x, gamma, beta, mean, std**2, epsilon=0). Ioffe 2017,
    Algorithm 1. As exact as `batch_norm_forward`.

    Parameters
    ----------
    x : (..., D) array, float32 or float64
    gamma, beta : (D,) array, of x's type
    r, d : (D,) array, of x's type
        What `batch_renorm_corrections` gives. They are constants: no gradient goes through them.
    epsilon : float
    out : array like x, optional

    Returns
    -------
    y : array like x
    cache : BatchRenormOperation
        For `batch_renorm_backward`. cache.mean and cache.std (D,) are the batch's; a running
        average of both is the caller's.

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape.
    """
    x = checks.batch("x", x)
    vectors = {"gamma": gamma, "beta": beta, "r": r, "d": d}
    gamma, beta, r, d = (
        checks.vector(name, each, x.shape[-1], x) for name, each in vectors.items()
    )
    operation = BatchRenormOperation(x.shape, x.dtype, checks.epsilon(epsilon, x.dtype))
    y = checks.output(out, x.shape, x.dtype, (x, gamma, beta, r, d))
    operation.forward(np, x, gamma, beta, r, d, y)
    return y, operation


@quiet()
def batch_renorm_backward(
    dy: Array, cache: BatchRenormOperation, *, out: Array | None = None
) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta; r and d are constants.

    ::

        dbeta  = sum(dy)
        dgamma = sum(dy * x_hat)
        dx     = gamma * r / std_B * (dy - dbeta / m - x_bar * sum(dy * x_bar) / m)

    with x_bar = (x - mean_B) / std_B, and x_hat = x_bar * r + d: Ioffe 2017, section 3.

    Parameters
    ----------
    dy : (..., D) array like x
    cache : what `batch_renorm_forward` returned
    out : array for dx, optional

    Returns
    -------
    dx : (..., D) array
    dgamma, dbeta : (D,) array

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape.
    """
    dy, dx = check_backward("batch_renorm_forward", BatchRenormOperation, dy, cache, out)
    dgamma, dbeta = np.empty((2, dy.shape[-1]), dy.dtype)
    cache.with_own_scratch().backward(np, dy, dx, dgamma, dbeta)
    return dx, dgamma, dbeta


class Limits(NamedTuple):
    """r_max and d_max, and over how many batches they rise from 1 and 0, where they do nothing.

    Parameters
    ----------
    r_max, d_max : float
    plain_steps : int
        So many batches without them.
    r_steps, d_steps : int
        After so many they are reached.
    """

    r_max: float
    d_max: float
    plain_steps: int = 0
    r_steps: int = 0
    d_steps: int = 0

    def after(self, batches: int) -> tuple[float, float]:
        """Both, after so many batches."""
        r_share, d_share = self._share(batches, self.r_steps), self._share(batches, self.d_steps)
        return 1 + r_share * (self.r_max - 1), d_share * self.d_max

    def _share(self, batches: int, steps: int) -> float:
        """How much of the way is gone."""
        if batches >= steps:
            return 1.0
        if batches <= self.plain_steps:
            return 0.0
        return (batches - self.plain_steps) / (steps - self.plain_steps)

    @staticmethod
    def checked_r_max(value: float) -> float:
        """value as a Python float of at least 1."""
        result = checks.number("r_max", value, minimum=0.0)
        if result < 1:
            raise ValueError(f"r_max: expected at least 1, got {value}")
        return result


class _Renormalization(Operation):
    """Batch normalization with gamma * r for gamma, and gamma * d + beta for beta."""

    y_over_x = shows_infinity = True

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], epsilon: float) -> None:
        super().__init__(shape, dtype)
        features = shape[-1]
        self._normalized = BatchNormOperation.of(shape, dtype, epsilon)
        self._moments = np.empty(2 * features)
        self._normalized.keep_statistics_in(self._moments)
        self._epsilon = constant(epsilon, "d")
        self.keep_statistics_in(np.empty(2 * features))
        self._gamma_r, self._gamma_d_and_beta = np.empty((2, features), dtype)

    def keep_statistics_in(self, vector: Array) -> None:
        """Write mean and std into this vector (2 * D) of float64."""
        features = self.shape[-1]
        self._batch_mean, self._batch_std = vector[:features], vector[features:]

    def measure(self, xp: Any, x: Array) -> None:
        """Write the statistics."""
        self._normalized.measure(xp, x)
        mean, variance = self._moments.reshape(2, -1)
        xp.copyto(self._batch_mean, mean)
        xp.add(variance, self._epsilon, out=self._batch_std)
        xp.sqrt(self._batch_std, out=self._batch_std)

    def renormalize(self, xp: Any, gamma: Array, beta: Array, r: Array, d: Array, y: Array) -> None:
        """Write y of what was measured."""
        self._r, self._d = r, d
        xp.multiply(gamma, r, out=self._gamma_r)
        xp.multiply(gamma, d, out=self._gamma_d_and_beta)
        xp.add(self._gamma_d_and_beta, beta, out=self._gamma_d_and_beta)
        self._normalized.normalize(xp, self._gamma_r, self._gamma_d_and_beta, y)

    def prepare_backward(self) -> None:
        self._normalized = self._normalized.with_own_scratch()
        self._sum_normalized, self._sum, self._rest = np.empty((3, self.shape[-1]))

    def backward(self, xp: Any, dy: Array, dx: Array | None, dgamma: Array, dbeta: Array) -> None:
        self._normalized.backward(xp, dy, dx, self._sum_normalized, self._sum)
        xp.copyto(dbeta, self._sum)
        # sum(dy * (x_bar * r + d))
        xp.multiply(self._sum_normalized, self._r, out=self._sum_normalized)
        xp.multiply(self._sum, self._d, out=self._rest)
        xp.add(self._sum_normalized, self._rest, out=dgamma)

    @property
    def mean(self) -> Array:
        """The mean of the batch, (D,), a new array."""
        return self._batch_mean.astype(self.dtype)

    @property
    def std(self) -> Array:
        """sqrt(variance + epsilon) of the batch, (D,), a new array."""
        return self._batch_std.astype(self.dtype)

    @property
    def x_hat(self) -> Array:
        """The normalized x, corrected by r and d, (..., D), a new array."""
        return (self._normalized.x_hat * self._r + self._d).astype(self.dtype)


class BatchRenormOperation(_Renormalization):
    """With given r and d."""

    def forward(
        self, xp: Any, x: Array, gamma: Array, beta: Array, r: Array, d: Array, y: Array
    ) -> None:
        self.measure(xp, x)
        self.renormalize(xp, gamma, beta, r, d, y)


class BatchRenormTrainingOperation(_Renormalization):
    """With r and d of the batch's statistics and the population's.

    Parameters
    ----------
    held : (2, D) array, optional
        r and d to take instead; where they are 0, those of this batch are left there.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        epsilon: float,
        limits: Limits,
        held: Array | None = None,
    ) -> None:
        super().__init__(shape, dtype, epsilon)
        self._limits, self._held, self._divisor = limits, held, np.empty(shape[-1])
        self.corrections = np.empty((2, shape[-1]))
        self._r, self._d = self.corrections

    def forward(
        self,
        xp: Any,
        x: Array,
        gamma: Array,
        beta: Array,
        population_mean: Array,
        population_std: Array,
        population_batches: Array,
        y: Array,
    ) -> None:
        self.measure(xp, x)
        self.correct(xp, population_mean, population_std, population_batches)
        self.renormalize(xp, gamma, beta, self._r, self._d, y)

    def correct(
        self, xp: Any, population_mean: Array, population_std: Array, population_batches: Array
    ) -> None:
        """Write r and d of what was measured."""
        r, d, divisor, held = self._r, self._d, self._divisor, self._held
        if held is not None and held.any():
            xp.copyto(self.corrections, held)
            return
        r_max, d_max = self._limits.after(int(population_batches))
        xp.copyto(divisor, population_std)
        _replace_0(xp, divisor)
        xp.divide(self._batch_std, divisor, out=r)
        xp.clip(r, 1 / r_max, r_max, out=r)
        xp.subtract(self._batch_mean, population_mean, out=d)
        xp.divide(d, divisor, out=d)
        xp.clip(d, -d_max, d_max, out=d)
        if held is not None:
            xp.copyto(held, self.corrections)


class BatchRenormInferenceOperation(BatchNormInferenceOperation):
    """With the population's mean and standard deviation."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        super().__init__(shape, dtype, 0.0)

    def forward(
        self,
        xp: Any,
        x: Array,
        gamma: Array,
        beta: Array,
        population_mean: Array,
        population_std: Array,
        y: Array,
    ) -> None:
        super().forward(xp, x, gamma, beta, population_mean, population_std, y)

    def _take_spread(self, xp: Any, spread: Array) -> None:
        xp.copyto(self._std, spread)
        _replace_0(xp, self._std)


def _replace_0(xp: Any, std: Array) -> None:
    """A std of 0 becomes infinite: then what is divided by it is 0, as a constant x - mean is."""
    if not xp.all(std):
        xp.copyto(std, np.inf, where=xp.equal(std, 0))
