"""Batch normalization as a layer: gamma, beta and the population statistics."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional.batch_norm import BatchNormOperation
from npbn.layers.batch_norm_layers import VarianceLayer
from npbn.layers.plan import Mode
from npbn.layers.presets import PRESETS


class BatchNorm(VarianceLayer):
    """Normalize each feature over all other axes, then scale and shift it.

    ::

        y = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    With the statistics of the batch (in training)::

        dx = gamma / sqrt(variance + epsilon) * (dy - mean(dy) - x_hat * mean(dy * x_hat))

    With those of the population (in inference) they are constants::

        dx = dy * gamma / sqrt(variance + epsilon)

    Only a forward pass in training with the batch's statistics moves the population's::

        population = momentum * population + (1 - momentum) * batch

    Parameters
    ----------
    features : int
        The size of the last axis of x, which may be (N, D), (N, H, W, C) or (N, T, D).
    momentum : float or None
        From 0 to 1, the weight of the old population statistics. None: the mean of all batches,
        momentum = k / (k + 1) after k of them; k is `population_batches` in the state. This
        momentum is that of Keras. That of PyTorch's BatchNorm1d and BatchNorm2d is 1 - momentum:
        their 0.1 is 0.9 here.
    epsilon : float
        Added to the variance, under the root, in every mode.
    center, scale : bool
        False leaves beta or gamma out.
    unbiased_population : bool
        True averages sum((x - mean)^2) / (m - 1) into the population variance, as PyTorch does;
        False the batch's own variance, over m, as Keras does.
    frozen : bool
        True normalizes with the population's statistics in every mode, which then never move; gamma
        and beta are trained all the same.
    dtype : np.float32 or np.float64

    Attributes
    ----------
    gamma, beta : ndarray, shape (D,)
        The parameters, which start at 1 and at 0.
    population_mean, population_variance : ndarray, shape (D,)
        The state, which starts at 0 and at 1.
    batch_mean, batch_variance : ndarray, shape (D,), or None
        After a forward pass with the batch's statistics these, the variance being the biased one.

    Raises
    ------
    ValueError
        In a forward pass in training, for a batch with one value per feature, whose variance is 0
        whatever the value, and for one whose values or variance are not finite; the layer is left
        as it was.

    Notes
    -----
    Images (N, H, W, C) have one mean and one variance a channel, over axes (0, 1, 2): a kernel sees
    every place of an image, so its outputs share them. Two traps when one writes it by hand: over
    axis 0 alone there would be H * W * C means, one a pixel; and with keepdims=True they come out
    as (1, 1, 1, C), which no longer fits population statistics of (C,), though it broadcasts
    against x.

    In a network, values that overflow on the way make y NaN instead of an error, and no population
    statistics move. Inference takes any batch: an infinity or NaN shows in its place.

    References
    ----------
    Ioffe & Szegedy 2015, Algorithms 1 and 2.
    """

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
        super().__init__(
            features,
            momentum=momentum,
            epsilon=epsilon,
            center=center,
            scale=scale,
            unbiased_population=unbiased_population,
            frozen=frozen,
            dtype=dtype,
        )

    @classmethod
    def like(cls, origin: str, features: int, **settings: Any) -> Self:
        """Make one with the settings and start values that a course or framework has.

        What each origin calls its momentum, and how its layers are used, is in
        docs/coming_from.md. In inference, and in the population statistics, the layer agrees with
        its original; in training too, except with "makemore", which divides by the root of the
        batch's variance over m - 1: there y is npbn's times sqrt((m - 1) / m), with an epsilon
        that is (m - 1) / m as large.

        Parameters
        ----------
        origin : str
            "cs231n", "deep_learning_from_scratch", "dezero", "makemore", "d2l", "pytorch",
            "keras" or "tensorflow_1".
        features : int
            The size of the last axis of x.
        **settings
            Any setting of BatchNorm, instead of the origin's: ``dtype=np.float64``.

        Returns
        -------
        BatchNorm
            ``BatchNorm.like("pytorch", 100)`` is ``BatchNorm(100, momentum=0.9, epsilon=1e-05,
            unbiased_population=True)``.

        Raises
        ------
        ValueError, TypeError
            For an origin that there is not, with a list of those that there are; and as
            BatchNorm's constructor.
        """
        preset = PRESETS[checks.choice("origin", origin, tuple(PRESETS))]
        usual = {
            "momentum": preset.momentum,
            "epsilon": preset.epsilon,
            "unbiased_population": preset.unbiased_population,
        }
        layer = cls(features, **usual | settings)
        layer.population_variance[...] = preset.first_variance
        return layer

    def _with_batch(
        self, batch: tuple[int, ...], dtype: np.dtype[Any], shape: tuple[int, ...], mode: Mode
    ) -> tuple[BatchNormOperation, tuple[Array, ...], dict[str, Any]]:
        of_variance = self._correction(math.prod(batch[:-1]))
        correction = np.repeat([1.0, of_variance], self.features)
        operation = BatchNormOperation.of(batch, dtype, self.epsilon)
        return operation, (), {"correction": correction}
