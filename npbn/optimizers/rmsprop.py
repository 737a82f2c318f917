"""RMSProp: the direction is the gradient over its usual size."""

from __future__ import annotations

from typing import Any

from npbn._checks import Array, Setting, number
from npbn.optimizers.base import Optimizer
from npbn.optimizers.piecewise import Piece, follow
from npbn.optimizers.settings import LearningRate


class RMSProp(Optimizer):
    """Every parameter's gradient over its usual size, a root mean square that forgets.

    ::

        mean_square = rho * mean_square + (1 - rho) * gradient**2        from 0
        direction = gradient / (sqrt(mean_square) + epsilon)

    So it is for every gradient whose square the type holds; a larger one, above 1.8e19 in float32,
    leaves NaN behind: the loss shows it. Epsilon stands outside the root, as in PyTorch; in Keras 3
    inside, where 1e-7 does far more.

    Parameters
    ----------
    learning_rate, weight_decay, max_norm
        As for `Optimizer`.
    rho : float, from 0 to below 1
    epsilon : float, at least 1e-30

    References
    ----------
    Tieleman and Hinton, lecture 6.5, Coursera, 2012; not centred, no momentum.
    """

    @Setting
    def rho(self, value: Any) -> Any:
        """How much of the mean square stays."""
        return number("rho", value, minimum=0, below=1)

    @Setting
    def epsilon(self, value: Any) -> Any:
        """What is added to the root of the mean square."""
        return number("epsilon", value, minimum=1e-30)

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        rho: float = 0.9,
        epsilon: float = 1e-7,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        self.rho = rho
        self.epsilon = epsilon
        super().__init__(learning_rate, weight_decay, max_norm)

    def _names(self) -> tuple[str, ...]:
        return ("mean_square",)

    def _direction(self, xp: Any, piece: Piece, gradient: Array) -> tuple[Array, float]:
        xp.square(gradient, out=piece.work)
        follow(xp, piece.mean_square, self.rho, piece.work, work=piece.work)
        xp.sqrt(piece.mean_square, out=piece.work)
        xp.add(piece.work, self.epsilon, out=piece.work)
        xp.divide(gradient, piece.work, out=piece.work)
        return piece.work, 1.0
