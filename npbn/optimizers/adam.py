"""Adam: the direction is the mean gradient over its usual size."""

from __future__ import annotations

import math
from typing import Any

from npbn._checks import Array, Setting, number
from npbn.optimizers.base import Optimizer
from npbn.optimizers.piecewise import Piece, follow
from npbn.optimizers.settings import LearningRate


class Adam(Optimizer):
    """The mean gradient over its usual size, both from means that forget.

    ::

        mean = beta_1 * mean + (1 - beta_1) * gradient                   from 0
        mean_square = beta_2 * mean_square + (1 - beta_2) * gradient**2  from 0
        direction = mean / (1 - beta_1**(t + 1))
                    / (sqrt(mean_square / (1 - beta_2**(t + 1))) + epsilon)

    The divisors undo the start from 0. So it is for every gradient whose square the type holds; a
    larger one, above 1.8e19 in float32, leaves NaN behind: the loss shows it. Epsilon stands
    outside the root of the corrected mean, as in the paper and PyTorch; Keras adds it before the
    correction.

    Parameters
    ----------
    learning_rate, weight_decay, max_norm
        As for `Optimizer`.
    beta_1, beta_2 : float, from 0 to below 1
    epsilon : float, at least 1e-30

    References
    ----------
    Kingma and Ba, Adam, 2015, Algorithm 1 (whose t is this t + 1).
    """

    @Setting
    def beta_1(self, value: Any) -> Any:
        """How much of the mean stays."""
        return number("beta_1", value, minimum=0, below=1)

    @Setting
    def beta_2(self, value: Any) -> Any:
        """How much of the mean square stays."""
        return number("beta_2", value, minimum=0, below=1)

    @Setting
    def epsilon(self, value: Any) -> Any:
        """What is added to the root of the corrected mean square."""
        return number("epsilon", value, minimum=1e-30)

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        super().__init__(learning_rate, weight_decay, max_norm)

    def _names(self) -> tuple[str, ...]:
        return ("mean", "mean_square")

    def _direction(self, xp: Any, piece: Piece, gradient: Array) -> tuple[Array, float]:
        follow(xp, piece.mean, self.beta_1, gradient, work=piece.work)
        xp.square(gradient, out=piece.work)
        follow(xp, piece.mean_square, self.beta_2, piece.work, work=piece.work)

        t = self._iterations
        correction = math.sqrt(1 - self.beta_2 ** (t + 1))
        xp.sqrt(piece.mean_square, out=piece.work)
        xp.add(piece.work, self.epsilon * correction, out=piece.work)
        xp.divide(piece.mean, piece.work, out=piece.work)
        return piece.work, correction / (1 - self.beta_1 ** (t + 1))
