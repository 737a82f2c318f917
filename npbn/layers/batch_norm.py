"""Batch normalization as a layer: gamma, beta and the population statistics."""

import inspect
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional import _batch_norm as core
from npbn.functional._sums import all_finite
from npbn.layers.layer import ArrayAttribute, Layer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode
from npbn.layers.running_average import RunningAverage, mean_and_variance


class BatchNorm(Layer):
    """Normalize each feature over all other axes, then scale and shift it.

        y = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    With the statistics of the batch (in training), dx = gamma / sqrt(variance + epsilon) *
    (dy - mean(dy) - x_hat * mean(dy * x_hat)); with those of the population (in inference) they are
    constants, and dx = dy * gamma / sqrt(variance + epsilon). Only a forward pass in training with
    the batch's statistics moves the population's:

        population = momentum * population + (1 - momentum) * batch

    This momentum is that of Keras; PyTorch's is 1 - momentum.

    features: the size of the last axis of x, which may be (N, D), (N, H, W, C) or (N, T, D).
    momentum: from 0 to 1, the weight of the old population statistics.
    epsilon: added to the variance, under the root, in every mode.
    center, scale: False leaves beta or gamma out.
    unbiased_population: True averages sum((x - mean)^2) / (m - 1) into the population variance, as
        PyTorch does; False the batch's own variance, over m, as Keras does.
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
    _batch: list[Array] | None = None
    _batch_values = 0

    gamma = ArrayAttribute("parameters", "The scale, (features,); None without.")
    beta = ArrayAttribute("parameters", "The shift, (features,); None without.")
    population_mean = ArrayAttribute("state", "The running average of the mean, (features,).")
    population_variance = ArrayAttribute("state", "That of the variance, (features,).")

    def __init__(
        self,
        features: int,
        *,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        unbiased_population: bool = False,
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
        self.unbiased_population = unbiased_population

    @checks.Setting
    def momentum(self, value: float) -> float:
        """The weight of the old population statistics, from 0 to 1."""
        momentum = checks.number("momentum", value, minimum=0.0)
        if momentum > 1:
            raise ValueError(f"momentum: expected a number from 0 to 1, got {value}")
        return momentum

    @checks.Setting
    def epsilon(self, value: float) -> float:
        """What is added to the variance."""
        return checks.epsilon(value, self.dtype)

    @checks.Setting
    def unbiased_population(self, value: bool) -> bool:
        """Whether the population variance is over m - 1."""
        return checks.flag("unbiased_population", value)

    @property
    def batch_mean(self) -> Array | None:
        """The mean of the last batch whose statistics were used, (features,), a copy; else None."""
        return None if self._batch is None else self._batch[0].copy()

    @property
    def batch_variance(self) -> Array | None:
        """Its variance, the biased one, (features,), a copy; else None."""
        return None if self._batch is None else self._batch[1].copy()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the parameters and of the population statistics."""
        return self._running_average.shown.dtype

    def at_work(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode, *, x_is_free: bool
    ) -> Pass:
        if mode.statistics == "population":
            return PopulationPass(self)
        if mode.training and all(size == 1 for size in shape[:-1]):
            raise ValueError(
                f"{self!r}: expected two values or more a feature in training, got {shape}: the "
                'variance of one value is 0; pass more rows, or statistics="population"'
            )
        return BatchNormPass(self, shape, mode, None if x_is_free else np.empty(shape, dtype))

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
        if self._batch is not None:
            self._batch = [each.astype(dtype) for each in self._batch]

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


class BatchNormPass(Pass):
    """With the statistics of the batch."""

    shows_infinity = True
    _unwanted: Array | None = None

    def __init__(
        self, layer: BatchNorm, shape: tuple[int, ...], mode: Mode, centred: Array | None
    ) -> None:
        self._parameters = layer._scale_and_shift()
        self._gradients = layer._gradients_of_them()
        self._epsilon, self._momentum = layer.epsilon, layer.momentum
        self._values = values = math.prod(shape[:-1])
        self._factor = values / (values - 1) if layer.unbiased_population and values > 1 else 1.0
        self.average = layer._running_average if mode.moves_population else None
        self._centred = centred

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        centred = x if self._centred is None else self._centred
        self._cache = core.forward(x, *self._parameters, self._epsilon, y, centred)

    def backward(self, xp: Any, dy: Array, dx: Array | None) -> None:
        dx = self._scratch(dy) if dx is None else dx
        core.backward(dy, self._cache, dx, *self._gradients)

    def _scratch(self, dy: Array) -> Array:
        if self._unwanted is None:
            self._unwanted = np.empty_like(dy)
        return self._unwanted

    def remember(self, layer: Any) -> None:
        layer._batch = [self._cache.mean, self._cache.variance]
        layer._batch_values = self._values

    def is_finite(self) -> bool:
        variance = self._cache.variance
        return all_finite(variance if self._factor == 1 else variance * self._factor)

    def follow(self) -> None:
        if self.average is not None:
            mean, variance = self._cache.mean, self._cache.variance
            self.average.move(self._momentum, mean, variance, self._factor)


class PopulationPass(BatchNormPass):
    """With the statistics of the population, which are constants."""

    def __init__(self, layer: BatchNorm) -> None:
        self._gamma, self._beta = layer._scale_and_shift()
        self._gradients = layer._gradients_of_them()
        self._population, self._epsilon = layer._running_average.state.values(), layer.epsilon

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        self._x = x
        self._mean, self._variance = (each.copy() for each in self._population)
        core.inference(x, self._gamma, self._beta, self._mean, self._variance, self._epsilon, y)

    def backward(self, xp: Any, dy: Array, dx: Array | None) -> None:
        dx = self._scratch(dy) if dx is None else dx
        core.inference_backward(
            dy,
            self._x,
            self._gamma,
            self._mean,
            self._variance,
            self._epsilon,
            dx,
            *self._gradients,
        )

    def remember(self, layer: Any) -> None:
        pass

    def is_finite(self) -> bool:
        return True

    def follow(self) -> None:
        pass
