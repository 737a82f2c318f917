"""Batch normalization as a layer: gamma, beta and the population statistics."""

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array, Statistics
from npbn.functional.batch_norm import BatchNormInferenceOperation, BatchNormOperation
from npbn.layers.layer import ArrayAttribute, Layer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode
from npbn.layers.running_average import RunningAverage, mean_and_variance
from npbn.numerics.masked import MaskedOperation


class BatchNorm(Layer):
    """Normalize each feature over all other axes, then scale and shift it.

        y = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    With the statistics of the batch (in training), dx = gamma / sqrt(variance + epsilon) *
    (dy - mean(dy) - x_hat * mean(dy * x_hat)); with those of the population (in inference) they are
    constants, and dx = dy * gamma / sqrt(variance + epsilon). Only a forward pass in training with
    the batch's statistics moves the population's:

        population = momentum * population + (1 - momentum) * batch

    Images (N, H, W, C) have one mean and one variance a channel, over axes (0, 1, 2): a kernel sees
    every place of an image, so its outputs share them. Two traps when one writes it by hand: over
    axis 0 alone there would be H * W * C means, one a pixel; and with keepdims=True they come out
    as (1, 1, 1, C), which no longer fits population statistics of (C,), though it broadcasts
    against x.

    This momentum is that of Keras. That of PyTorch's BatchNorm1d and BatchNorm2d is 1 - momentum:
    their 0.1 is 0.9 here.

    features: the size of the last axis of x, which may be (N, D), (N, H, W, C) or (N, T, D).
    momentum: from 0 to 1, the weight of the old population statistics. None: the mean of all
        batches, momentum = k / (k + 1) after k of them; k is population_batches in the state.
    epsilon: added to the variance, under the root, in every mode.
    center, scale: False leaves beta or gamma out.
    unbiased_population: True averages sum((x - mean)^2) / (m - 1) into the population variance, as
        PyTorch does; False the batch's own variance, over m, as Keras does.
    frozen: True normalizes with the population's statistics in every mode, which then never move;
        gamma and beta are trained all the same.
    dtype: np.float32 or np.float64.

    parameters: gamma (D,), which starts at 1, and beta (D,), at 0. state: population_mean (D,), at
    0, and population_variance (D,), at 1. After a forward pass with the batch's statistics
    batch_mean and batch_variance (D,), the biased one, are these.

    A forward pass in training is a ValueError for a batch with one value per feature, whose
    variance is 0 whatever the value, and for one whose values or variance are not finite; the layer
    is left as it was. In a network, values that overflow on the way make y NaN instead, and no
    population statistics move. Inference takes any batch: an infinity or NaN shows in its place.
    Ioffe & Szegedy 2015, Algorithms 1 and 2.
    """

    _running_average: RunningAverage
    _training_only = ("momentum", "unbiased_population")

    gamma = ArrayAttribute("parameters", "The scale, (features,); None without.")
    beta = ArrayAttribute("parameters", "The shift, (features,); None without.")
    population_mean = ArrayAttribute("state", "The running average of the mean, (features,).")
    population_variance = ArrayAttribute("state", "That of the variance, (features,).")

    def __init__(
        self,
        features: int,
        *,
        momentum: float | None = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        unbiased_population: bool = False,
        frozen: bool = False,
        dtype: DTypeLike = np.float32,
    ) -> None:
        self.features = checks.integer("features", features, minimum=1)
        kind = checks.float_dtype("dtype", dtype)
        self.center = checks.flag("center", center)
        self.scale = checks.flag("scale", scale)
        ones, zeros = np.ones(self.features, kind), np.zeros(self.features, kind)
        parameters = {}
        if self.scale:
            parameters["gamma"] = ones
        if self.center:
            parameters["beta"] = zeros
        super().__init__(parameters)
        self._running_average = RunningAverage(
            {"population_mean": zeros, "population_variance": ones}
        )
        self.momentum, self.epsilon = momentum, epsilon
        self.unbiased_population, self.frozen = unbiased_population, frozen

    @checks.Setting
    def momentum(self, value: float | None) -> float | None:
        """The weight of the old population statistics, from 0 to 1; None: the mean of all."""
        return None if value is None else checks.share("momentum", value)

    @checks.Setting
    def epsilon(self, value: float) -> float:
        """What is added to the variance."""
        return checks.epsilon(value, self.dtype)

    @checks.Setting
    def unbiased_population(self, value: bool) -> bool:
        """Whether the population variance is over m - 1."""
        return checks.flag("unbiased_population", value)

    @checks.Setting
    def frozen(self, value: bool) -> bool:
        """Whether the population's statistics are used in every mode, and stay."""
        return checks.flag("frozen", value)

    def _changed(self) -> None:
        name, counts = "population_batches", self.momentum is None
        if counts != (name in self._state):
            self._state = {name: np.zeros((), np.int64)} if counts else {}
        super()._changed()

    @property
    def _follows_batches(self) -> bool:
        return not self.frozen

    @property
    def batch_mean(self) -> Array | None:
        """The mean of the last batch whose statistics were used, (features,), a copy; else None."""
        return self._of_last_batch(0)

    @property
    def batch_variance(self) -> Array | None:
        """Its variance, the biased one, (features,), a copy; else None."""
        return self._of_last_batch(1)

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
        """As every layer's. mask: bools, of the shape of x but for the last axis.

        Where it is False, a step of a sequence that is none, x counts in no statistic and may be
        anything, y is 0, and no gradient comes from there or goes there.
        """
        return self._masked_forward(x, training, statistics, mask, out)

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        inputs, gradients = self._scale_and_shift(), self._gradients_of_them()
        mask, batch = mode.mask, shape
        if mask is not None:
            batch = checks.kept_rows("mask", mask, shape[:-1]), shape[-1]

        def masked(operation: Any) -> Any:
            if mask is None:
                return operation
            return MaskedOperation(operation, mask, self.features, dtype)

        if mode.statistics == "population" or self.frozen:
            population = self._running_average.state.values()
            operation = BatchNormInferenceOperation(batch, dtype, self.epsilon)
            return Pass(masked(operation), (*inputs, *population), gradients)
        values = math.prod(batch[:-1])
        if mode.training and values == 1:
            raise ValueError(
                f"{self!r}: expected two values or more a feature in training, got {shape}: the "
                'variance of one value is 0; pass more rows, or statistics="population"'
            )
        correction = np.ones((2, self.features))
        if self.unbiased_population:
            correction[1] = values / max(values - 1, 1)
        return Pass(
            masked(BatchNormOperation.of(batch, dtype, self.epsilon)),
            inputs,
            gradients,
            values=values,
            momentum=self.momentum or 0.0,
            count=self._state.get("population_batches"),
            correction=correction.reshape(-1),
        )

    @property
    def _takes_features(self) -> int:
        return self.features

    def affine(self) -> tuple[Array, Array]:
        gamma, beta = self._scale_and_shift()
        scale = gamma / np.sqrt(self.population_variance.astype(np.float64) + self.epsilon)
        return scale, beta - self.population_mean * scale

    def measure(self, inputs: Callable[[], Iterator[Array]]) -> None:
        mean, variance, count = mean_and_variance(x.reshape(-1, self.features) for x in inputs())
        if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
            raise ValueError("not finite")
        if self.unbiased_population:
            variance = variance * (count / max(count - 1, 1))
        self.population_mean[...] = mean
        self.population_variance[...] = variance

    def _convert(self, dtype: np.dtype[Any]) -> None:
        checks.epsilon(self.epsilon, dtype)
        super()._convert(dtype)

    def _scale_and_shift(self) -> tuple[Array, Array]:
        """gamma and beta, or the 1 and 0 that stand for one that is left out."""
        gamma, beta = self._parameters.get("gamma"), self._parameters.get("beta")
        if gamma is None:
            gamma = np.ones(self.features, self.dtype)
        if beta is None:
            beta = np.zeros(self.features, self.dtype)
        return gamma, beta

    def _gradients_of_them(self) -> tuple[Array, Array]:
        """Where to write theirs."""
        nobodys = np.empty((2, self.features), self.dtype)
        return self._gradients.get("gamma", nobodys[0]), self._gradients.get("beta", nobodys[1])

    def __repr__(self) -> str:
        settings = [str(self.features)]
        for name, parameter in inspect.signature(BatchNorm).parameters.items():
            if name not in ("features", "dtype") and getattr(self, name) != parameter.default:
                settings.append(f"{name}={getattr(self, name)!r}")
        return f"{type(self).__name__}({', '.join(settings)})"
