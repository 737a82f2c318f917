"""What layers that normalize with statistics of the batch have in common."""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array, Statistics
from npbn.functional.batch_norm import BatchNormInferenceOperation
from npbn.layers.layer import ArrayAttribute
from npbn.layers.norm_layer import NormLayer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode
from npbn.layers.running_average import RunningAverage, mean_and_variance
from npbn.numerics.masked import MaskedOperation


class PopulationLayer(NormLayer):
    """gamma, beta, and a population's mean and another statistic, which follow the batches'.

    A layer says with what it normalizes: `_with_batch`, `_with_population`; how the statistics are
    exactly measured, `_measured`, and what x - mean is divided by, `_population_std`.
    """

    _running_average: RunningAverage
    _training_only: tuple[str, ...] = ("momentum",)

    population_mean = ArrayAttribute("state", "The running average of the mean, (features,).")

    def __init__(
        self,
        features: int,
        spread: str,
        *,
        momentum: float | None,
        epsilon: float,
        center: bool,
        scale: bool,
        frozen: bool,
        dtype: DTypeLike,
    ) -> None:
        # spread: the name of the second statistic. A docstring here, all who inherit would show.
        super().__init__(features, center, scale, dtype)
        kind = checks.float_dtype("dtype", dtype)
        ones, zeros = np.ones(self.features, kind), np.zeros(self.features, kind)
        self._running_average = RunningAverage({"population_mean": zeros, spread: ones})
        self.momentum, self.epsilon, self.frozen = momentum, epsilon, frozen

    @checks.Setting
    def momentum(self, value: float | None) -> float | None:
        """The weight of the old population statistics, from 0 to 1; None: the mean of all."""
        return None if value is None else checks.share("momentum", value)

    @checks.Setting
    def frozen(self, value: bool) -> bool:
        """Whether the population's statistics are used in every mode, and stay."""
        return checks.flag("frozen", value)

    def _changed(self) -> None:
        name, counts = "population_batches", self._counts_batches
        if counts != (name in self._state):
            self._state = {name: np.zeros((), np.int64)} if counts else {}
        super()._changed()

    @property
    def _counts_batches(self) -> bool:
        return self.momentum is None

    @property
    def _follows_batches(self) -> bool:
        return not self.frozen

    @property
    def batch_mean(self) -> Array | None:
        """The mean of the last batch whose statistics were used, (features,), a copy; else None."""
        return self._of_last_batch(0)

    @np.errstate(all="ignore")
    def _of_last_batch(self, row: int) -> Array | None:
        if self._batch is None:
            return None
        return self._batch.statistics.reshape(2, -1)[row].astype(self.dtype)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the parameters and of the population statistics."""
        return self._running_average.shown.dtype

    def forward(
        self,
        x: Array,
        training: bool = False,
        statistics: Statistics | None = None,
        *,
        mask: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """As `Layer.forward`, with a mask.

        Parameters
        ----------
        mask : ndarray of bool, of the shape of x but for the last axis, or None
            Where it is False, a step of a sequence that is none, x counts in no statistic and may
            be anything, y is 0, and no gradient comes from there or goes there.
        """
        return self._masked_forward(x, training, statistics, mask, out)

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        inputs, gradients = self._scale_and_shift(dtype), self._gradients_of_them(dtype)
        mask, batch = mode.mask, shape
        if mask is not None:
            batch = checks.kept_rows("mask", mask, shape[:-1]), shape[-1]

        def masked(operation: Any) -> Any:
            if mask is None:
                return operation
            return MaskedOperation(operation, mask, self.features, dtype)

        if mode.statistics == "population" or self.frozen:
            population = self._running_average.state.values()
            operation = self._with_population(batch, dtype)
            return Pass(masked(operation), (*inputs, *population), gradients)
        values = math.prod(batch[:-1])
        if mode.training and values == 1:
            raise ValueError(
                f"{self!r}: expected two values or more a feature in training, got {shape}: the "
                'variance of one value is 0; pass more rows, or statistics="population"'
            )
        options = {"values": values, "momentum": self.momentum}
        operation, more, own = self._with_batch(batch, dtype, shape, mode)
        return Pass(
            masked(operation),
            (*inputs, *more),
            gradients,
            count=self._state.get("population_batches"),
            **options | own,
        )

    @abstractmethod
    def _with_batch(
        self, batch: tuple[int, ...], dtype: np.dtype[Any], shape: tuple[int, ...], mode: Mode
    ) -> tuple[Any, tuple[Array, ...], dict[str, Any]]:
        """The operation for a batch, what it takes after gamma and beta, and options of its pass.

        batch: the shape of what a mask leaves of x. shape: that of x.
        """

    @abstractmethod
    def _with_population(self, batch: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        """The operation that takes the population's statistics after gamma and beta."""

    @abstractmethod
    def _measured(self, variance: Array, values: int) -> Array:
        """The second statistic of so many values of this biased variance."""

    @abstractmethod
    def _population_std(self) -> Array:
        """What inference divides x - mean by, in float64."""

    def affine(self) -> tuple[Array, Array]:
        gamma, beta = self._scale_and_shift(self.dtype)
        scale = gamma / self._population_std()
        return scale, beta - self.population_mean * scale

    def measure(self, inputs: Callable[[], Iterator[tuple[Array, Array | None]]]) -> None:
        mean, variance, count = mean_and_variance(
            (x if mask is None else x[mask]).reshape(-1, self.features) for x, mask in inputs()
        )
        if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
            raise ValueError("not finite")
        own_mean, spread = self._running_average.state.values()
        own_mean[...] = mean
        spread[...] = self._measured(variance, count)

    def __repr__(self) -> str:
        # A reader's subclass may take other arguments.
        own = next(kind for kind in type(self).__mro__ if kind.__module__.startswith("npbn."))
        parameters = inspect.signature(own).parameters.items()
        usual = {
            name: each.default for name, each in parameters if name not in ("features", "dtype")
        }
        return self._typed(self.features, **usual)


class VarianceLayer(PopulationLayer):
    """A PopulationLayer whose second statistic is the variance.

    ::

        y = gamma * (x - mean) / sqrt(variance + epsilon) + beta
    """

    _training_only: tuple[str, ...] = ("momentum", "unbiased_population")

    population_variance = ArrayAttribute(
        "state", "The running average of the variance, (features,)."
    )

    def __init__(self, features: int, *, unbiased_population: bool, **settings: Any) -> None:
        super().__init__(features, "population_variance", **settings)
        self.unbiased_population = unbiased_population

    @checks.Setting
    def unbiased_population(self, value: bool) -> bool:
        """Whether the population variance is over m - 1."""
        return checks.flag("unbiased_population", value)

    @property
    def batch_variance(self) -> Array | None:
        """The biased variance of the batch of `batch_mean`, (features,), a copy; else None."""
        return self._of_last_batch(1)

    def _with_population(
        self, batch: tuple[int, ...], dtype: np.dtype[Any]
    ) -> BatchNormInferenceOperation:
        return BatchNormInferenceOperation(batch, dtype, self.epsilon)

    def _measured(self, variance: Array, values: int) -> Array:
        return variance * self._correction(values)

    def _correction(self, values: int) -> float:
        """What the population's variance of so many values has for the biased one."""
        return values / max(values - 1, 1) if self.unbiased_population else 1.0

    def _population_std(self) -> Array:
        return np.sqrt(self.population_variance.astype(np.float64) + self.epsilon)
