"""Batch normalization as a layer: gamma, beta and the population statistics."""

import inspect
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array, Statistics
from npbn.functional import _batch_norm as core
from npbn.functional._batch_norm import BatchNormCache
from npbn.functional._blocks import constant
from npbn.functional._sums import all_finite
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
    0, and population_variance (D,), at 1. After a forward pass with the batch's statistics
    batch_mean and batch_variance (D,), the biased one, are these.

    A forward pass in training is a ValueError for a batch with one value per feature, whose
    variance is 0 whatever the value, and for one whose values or variance are not finite; the layer
    is left as it was. In a network, values that overflow on the way make y NaN instead, and no
    population statistics move. Inference takes any batch: an infinity or NaN shows in its place.
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
        kind = checks.float_dtype("dtype", dtype)
        self.epsilon = checks.epsilon(epsilon, kind)
        self.center = checks.flag("center", center)
        self.scale = checks.flag("scale", scale)
        self.unbiased_population = checks.flag("unbiased_population", unbiased_population)
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
        # The two averages in float64; population_mean and _variance show them in the layer's type.
        self._carried = np.array([zeros, ones], np.float64)
        self._tie()

    @property
    def _digits(self) -> Mapping[str, Array]:
        return {"population": self._carried}

    def _tie(self) -> None:
        """Lay the two population statistics side by side, so that one operation moves both."""
        self._shown = np.array(list(self._state.values()))
        self._state = dict(zip(self._state, self._shown, strict=True))
        self._carried_rows = tuple(self._carried)

    def _convert(self, dtype: np.dtype[Any]) -> None:
        checks.epsilon(self.epsilon, dtype)
        super()._convert(dtype)
        self._tie()
        if self.batch_mean is not None and self.batch_variance is not None:
            self.batch_mean = self.batch_mean.astype(dtype)
            self.batch_variance = self.batch_variance.astype(dtype)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Views of one array come back from a copy as arrays of their own."""
        vars(self).update(state)
        self._tie()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the parameters and of the population statistics."""
        return self._state["population_mean"].dtype

    @np.errstate(all="ignore")
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
        training=False, statistics="batch": the batch's statistics, of any batch; with one value per
        feature y = beta. training=True, statistics="population": frozen, as in inference; nothing
        moves.
        """
        if out is not None and training and checks.mode(training, statistics) == "batch":
            # Only a batch that is accepted is written.
            self._check_input(x, training, "batch")
            checks.output(out, x.shape, x.dtype, (x, *self._parameters.values()))
            np.copyto(out, self.forward(x, training, statistics))
            return out
        before = vars(self).copy()
        y = super().forward(x, training, statistics, out=out)
        if training and checks.mode(training, statistics) == "batch":
            if self._can_hold(self._cache, y):
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
        self,
        x: Array,
        training: bool,
        statistics: Statistics,
        out: Array | None,
        spare: Any,
        centred: Array | None = None,
        rectify: bool = False,
    ) -> tuple[Array, Any]:
        """centred: an array to write over, may be x. rectify: also do the work of a ReLU."""
        if out is None:
            out = np.empty(x.shape, x.dtype)
        gamma, beta = self._scale_and_shift()
        if statistics == "population":
            mean, variance = self.population_mean.copy(), self.population_variance.copy()
            core.inference(x, gamma, beta, mean, variance, self.epsilon, out, rectify)
            return out, PopulationCache(x, gamma.copy(), mean, variance)
        if centred is None and isinstance(spare, BatchNormCache) and spare.values.shape == x.shape:
            centred = spare.values
        return out, core.forward(x, gamma, beta, self.epsilon, out, centred, rectify)

    def _backward(
        self,
        dy: Array,
        cache: Any,
        input_gradient: bool,
        out: Array | None,
        rectified: Array | None = None,
    ) -> Array | None:
        """rectified: the output of a ReLU behind, whose gradient dy is; then dy is written over."""
        dx = np.empty(dy.shape, dy.dtype) if out is None else out
        dgamma, dbeta = self._gradients.get("gamma"), self._gradients.get("beta")
        if dgamma is None:
            dgamma = np.empty(self.features, dy.dtype)
        if dbeta is None:
            dbeta = np.empty(self.features, dy.dtype)
        if isinstance(cache, PopulationCache):
            core.inference_backward(dy, *cache, self.epsilon, dx, dgamma, dbeta, rectified)
        else:
            core.backward(dy, cache, dx, dgamma, dbeta, rectified)
        return dx if input_gradient else None

    def _remember(self, y: Array, cache: Any) -> None:
        super()._remember(y, cache)
        if isinstance(cache, BatchNormCache):
            self.batch_mean, self.batch_variance = cache.mean, cache.variance
            self._values = y.size // self.features

    def _can_hold(self, cache: BatchNormCache, y: Array) -> bool:
        """Whether the batch's statistics may go into the population's: the layer's type has them.

        Where the mean is not finite, the variance is not either.
        """
        variance = cache.variance
        if self.unbiased_population:
            values = y.size // self.features
            variance = variance * (values / (values - 1))
        return all_finite(variance)

    def _move_population(self) -> None:
        """population = momentum * population + (1 - momentum) * batch, carried in float64.

        In float32 an average of 50,000 batches would be off by 3e-6.
        """
        carried, shown = self._carried, self._shown
        # If someone has written into the state, go on from what was written.
        if carried.astype(shown.dtype).tobytes() != shown.tobytes():
            carried[...] = shown
        assert self.batch_mean is not None
        assert self.batch_variance is not None
        new, kind = 1 - self.momentum, shown.dtype.char
        mean, variance = self._carried_rows
        carried *= constant(self.momentum, "d")
        mean += constant(new, kind) * self.batch_mean
        if self.unbiased_population:
            new *= self._values / (self._values - 1)
        variance += constant(new, kind) * self.batch_variance
        shown[...] = carried

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
