"""Batch renormalization as a layer: batch norm that trains on what inference computes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional.batch_renorm import (
    BatchRenormInferenceOperation,
    BatchRenormTrainingOperation,
    Limits,
)
from npbn.layers.batch_norm_layers import PopulationLayer
from npbn.layers.layer import ArrayAttribute
from npbn.layers.plan import Mode


class BatchRenorm(PopulationLayer):
    """Normalize with the batch's statistics, corrected towards the population's; scale and shift.

    ::

        r     = clip(std_B / std, 1 / r_max, r_max)
        d     = clip((mean_B - mean) / std, -d_max, d_max)
        x_hat = (x - mean_B) / std_B * r + d
        y     = gamma * x_hat + beta

    mean_B and std_B = sqrt(variance_B + epsilon) are the batch's, mean and std the population's as
    they were before it. Where nothing is clipped, x_hat = (x - mean) / std, which inference
    computes: a small batch, or one of few classes, trains the network that is used. r and d are
    constants to the backward pass::

        x_bar  = (x - mean_B) / std_B
        dx     = gamma * r / std_B * (dy - mean(dy) - x_bar * mean(dy * x_bar))
        dgamma = sum(dy * x_hat)
        dbeta  = sum(dy)

    In training the population follows, the standard deviation itself, not the variance, and epsilon
    is in it, so inference adds none::

        mean = momentum * mean + (1 - momentum) * mean_B
        std  = momentum * std + (1 - momentum) * std_B

    Parameters
    ----------
    features : int
        The size of the last axis of x, which may be (N, D), (N, H, W, C) or (N, T, D).
    momentum : float or None
        From 0 to 1, the weight of the old population statistics; 1 - alpha in the paper. None: the
        mean of all batches.
    epsilon : float
        Added to the batch's variance, under the root.
    r_max, d_max : float
        At least 1, and at least 0. With 1 and 0 it is batch normalization to the bit, but for the
        population.
    plain_steps, r_steps, d_steps : int
        Numbers of batches: for how many r_max is 1 and d_max 0, after how many they are reached.
    center, scale : bool
        False leaves beta or gamma out.
    frozen : bool
        True normalizes with the population's statistics in every mode, which then never move.
    dtype : np.float32 or np.float64

    Attributes
    ----------
    gamma, beta : ndarray, shape (D,)
        The parameters, which start at 1 and at 0.
    population_mean, population_std : ndarray, shape (D,)
        In the state; start at 0 and at 1. `population_batches`, a number, is there too.
    batch_mean, batch_std : ndarray, shape (D,), or None
        After a forward pass with the batch's statistics these.

    Raises
    ------
    ValueError
        In training, for a batch with one value per feature, and for one whose values or variance
        are not finite; the layer is left as it was.

    Notes
    -----
    r_max and d_max come in slowly, while the population is far behind: for plain_steps batches they
    are 1 and 0, and the layer is batch normalization; then they rise in a straight line, and are
    reached after r_steps and d_steps batches. The batches are counted by `population_batches` in
    the state, which is saved with it: training resumes in its place. The paper's numbers are the
    defaults; r_steps=0, d_steps=0 takes r_max and d_max at once. Each is a setting: a schedule of
    one's own sets r_max and d_max between steps.

    References
    ----------
    Ioffe 2017, Algorithm 1.
    """

    _training_only = ("momentum", "r_max", "d_max", "plain_steps", "r_steps", "d_steps")
    # r and d that every pass takes; 0 until one has left its own there.
    _held: Array | None = None

    population_std = ArrayAttribute(
        "state", "The running average of the standard deviation, (features,)."
    )

    def __init__(
        self,
        features: int,
        *,
        momentum: float | None = 0.99,
        epsilon: float = 1e-3,
        r_max: float = 3.0,
        d_max: float = 5.0,
        plain_steps: int = 5_000,
        r_steps: int = 40_000,
        d_steps: int = 25_000,
        center: bool = True,
        scale: bool = True,
        frozen: bool = False,
        dtype: DTypeLike = np.float32,
    ) -> None:
        super().__init__(
            features,
            "population_std",
            momentum=momentum,
            epsilon=epsilon,
            center=center,
            scale=scale,
            frozen=frozen,
            dtype=dtype,
        )
        self.r_max, self.d_max = r_max, d_max
        self.plain_steps, self.r_steps, self.d_steps = plain_steps, r_steps, d_steps

    @checks.Setting
    def r_max(self, value: float) -> float:
        """The largest r, at least 1, and 1 / the smallest."""
        return Limits.checked_r_max(value)

    @checks.Setting
    def d_max(self, value: float) -> float:
        """The largest d, at least 0."""
        return checks.number("d_max", value, minimum=0.0)

    @checks.Setting
    def plain_steps(self, value: int) -> int:
        """For how many batches it is batch normalization."""
        return checks.integer("plain_steps", value, minimum=0)

    @checks.Setting
    def r_steps(self, value: int) -> int:
        """After how many batches r_max is reached."""
        return checks.integer("r_steps", value, minimum=0)

    @checks.Setting
    def d_steps(self, value: int) -> int:
        """After how many batches d_max is reached."""
        return checks.integer("d_steps", value, minimum=0)

    @property
    def batch_std(self) -> Array | None:
        """sqrt(variance + epsilon) of the last batch whose statistics were used, (features,)."""
        return self._of_last_batch(1)

    def hold_constants(self) -> None:
        self._held = np.zeros((2, self.features))
        self._changed()

    @property
    def _counts_batches(self) -> bool:
        return True

    def _with_batch(
        self, batch: tuple[int, ...], dtype: np.dtype[Any], shape: tuple[int, ...], mode: Mode
    ) -> tuple[BatchRenormTrainingOperation, tuple[Array, ...], dict[str, Any]]:
        limits = Limits(self.r_max, self.d_max, self.plain_steps, self.r_steps, self.d_steps)
        operation = BatchRenormTrainingOperation(batch, dtype, self.epsilon, limits, self._held)
        population = self._running_average.state.values()
        return operation, (*population, self._state["population_batches"]), {}

    def _with_population(
        self, batch: tuple[int, ...], dtype: np.dtype[Any]
    ) -> BatchRenormInferenceOperation:
        return BatchRenormInferenceOperation(batch, dtype)

    def _measured(self, variance: Array, values: int) -> Array:
        return np.sqrt(variance + self.epsilon)

    def _population_std(self) -> Array:
        return self.population_std.astype(np.float64)
