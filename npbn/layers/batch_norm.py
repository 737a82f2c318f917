"""Batch normalization as a layer: gamma, beta and the population statistics."""

import inspect
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array, Statistics
from npbn.functional import batch_norm as core
from npbn.layers.base import ArrayAttribute, BuiltInLayer


class PopulationCache(NamedTuple):
    """What the backward pass needs of a forward pass with population statistics."""

    x: Array
    gamma: Array
    mean: Array
    variance: Array


class BatchNorm(BuiltInLayer):
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
    0, and population_variance (D,), at 1. After a forward pass in training batch_mean and
    batch_variance (D,), the biased one, are the batch's.

    A forward pass in training refuses, as a ValueError, a batch with one value a feature (its
    variance is 0 whatever the value), and one that is not finite, or whose variance is not.
    Ioffe & Szegedy 2015, Algorithms 1 and 2.
    """

    gamma = ArrayAttribute("_parameters", "The scale, (features,); None without.")
    beta = ArrayAttribute("_parameters", "The shift, (features,); None without.")
    population_mean = ArrayAttribute("_state", "The running average of the mean, (features,).")
    population_variance = ArrayAttribute("_state", "That of the variance, (features,).")

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
        self.momentum = checks.number("momentum", momentum, minimum=0.0)
        if self.momentum > 1:
            raise ValueError(f"momentum: expected a number from 0 to 1, got {momentum}")
        self.epsilon = checks.number("epsilon", epsilon, minimum=0.0)
        self.center = checks.flag("center", center)
        self.scale = checks.flag("scale", scale)
        self.unbiased_population = checks.flag("unbiased_population", unbiased_population)
        kind = checks.float_dtype("dtype", dtype)
        ones, zeros = np.ones(self.features, kind), np.zeros(self.features, kind)
        parameters = {}
        if self.scale:
            parameters["gamma"] = ones
        if self.center:
            parameters["beta"] = zeros
        super().__init__(parameters, {"population_mean": zeros, "population_variance": ones})
        self.batch_mean: Array | None = None
        self.batch_variance: Array | None = None
        self._values = 0

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the parameters and of the population statistics."""
        return self._state["population_mean"].dtype

    def forward(
        self,
        x: Array,
        training: bool = False,
        statistics: Statistics | None = None,
        *,
        out: Array | None = None,
    ) -> Array:
        """y from x; as `Layer.forward`, and in training the population statistics follow the
        batch's.

        training=True, statistics=None or "batch": the usual step, the only one that moves them.
        training=False, statistics=None or "population": inference.
        training=False, statistics="batch": the batch's statistics, of any batch; of one value y =
        beta. training=True, statistics="population": frozen, as in inference; nothing moves.
        """
        before = vars(self).copy()
        y = super().forward(x, training, statistics, out=out)
        if training and checks.mode(training, statistics) == "batch":
            # Where the mean is not finite, the variance is not either.
            if np.isfinite(self.batch_variance).all():  # type: ignore[arg-type]
                self._move_population()
            elif self._network is None or self._network() is None:
                vars(self).clear()
                vars(self).update(before)
                raise ValueError(
                    f"{self!r}: the batch, or its variance, is not finite, and would spoil the "
                    "population statistics: look at np.isfinite(x) and abs(x).max()"
                )
            else:
                y[...] = np.nan
        return y

    def _forward(
        self, x: Array, training: bool, statistics: Statistics, out: Array | None, spare: Any
    ) -> tuple[Array, Any]:
        if out is None:
            out = np.empty(x.shape, x.dtype)
        gamma, beta = self._scale_and_shift()
        if statistics == "population":
            mean, variance = self.population_mean.copy(), self.population_variance.copy()
            core._batch_norm_inference(x, gamma, beta, mean, variance, self.epsilon, out)
            return out, PopulationCache(x, gamma.copy(), mean, variance)
        reusable = isinstance(spare, core.BatchNormCache) and spare.centred.shape == x.shape
        centred = spare.centred if reusable else np.empty(x.shape, x.dtype)
        return out, core._batch_norm_forward(x, gamma, beta, self.epsilon, out, centred)

    def _backward(
        self, dy: Array, cache: Any, input_gradient: bool, out: Array | None
    ) -> Array | None:
        dx = np.empty(dy.shape, dy.dtype) if out is None else out
        if isinstance(cache, PopulationCache):
            dgamma, dbeta = core._batch_norm_inference_backward(dy, *cache, self.epsilon, dx)
        else:
            dgamma, dbeta = core._batch_norm_backward(dy, cache, dx)
        if self.scale:
            self._gradients["gamma"][...] = dgamma
        if self.center:
            self._gradients["beta"][...] = dbeta
        return dx if input_gradient else None

    def _remember(self, y: Array, cache: Any) -> None:
        super()._remember(y, cache)
        if isinstance(cache, core.BatchNormCache):
            self.batch_mean, self.batch_variance = cache.mean, cache.variance
            self._values = y.size // self.features

    def _move_population(self) -> None:
        """population = momentum * population + (1 - momentum) * batch"""
        new = 1 - self.momentum
        batch_mean, batch_variance = self.batch_mean, self.batch_variance
        assert batch_mean is not None
        assert batch_variance is not None
        mean, variance = self.population_mean, self.population_variance
        mean *= self.momentum
        mean += new * batch_mean
        if self.unbiased_population:
            new *= self._values / (self._values - 1)
        variance *= self.momentum
        variance += new * batch_variance

    def _scale_and_shift(self) -> tuple[Array, Array]:
        """gamma and beta, or the 1 and 0 that stand for one that is left out."""
        gamma, beta = self.gamma, self.beta
        if gamma is None:
            gamma = np.ones(self.features, self.dtype)
        if beta is None:
            beta = np.zeros(self.features, self.dtype)
        return gamma, beta

    def _check_input(self, x: Array, training: bool, statistics: Statistics) -> None:
        super()._check_input(x, training, statistics)
        self._check_values(x.shape, training, statistics)

    def _check_values(self, shape: tuple[int, ...], training: bool, statistics: Statistics) -> None:
        if training and statistics == "batch" and all(size == 1 for size in shape[:-1]):
            raise ValueError(
                f"{self!r}: expected two values or more a feature in training, got {shape}: the "
                'variance of one value is 0; pass more rows, or statistics="population"'
            )

    def _output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        self._expect_features(shape, self.features)
        return shape

    def __repr__(self) -> str:
        settings = [str(self.features)]
        for name, parameter in inspect.signature(BatchNorm).parameters.items():
            if name not in ("features", "dtype") and getattr(self, name) != parameter.default:
                settings.append(f"{name}={getattr(self, name)!r}")
        return f"{type(self).__name__}({', '.join(settings)})"
