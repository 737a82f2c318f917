"""Gradient descent: the direction is the gradient, or what momentum makes of it."""

from __future__ import annotations

from typing import Any

from npbn._checks import Array, Setting, flag, number
from npbn.optimizers.base import Optimizer
from npbn.optimizers.piecewise import Piece
from npbn.optimizers.settings import LearningRate


class SGD(Optimizer):
    """Gradient descent, on request with momentum.

    ::

        direction = gradient                              without momentum, else
        velocity = momentum * velocity + gradient         from 0
        direction = velocity, or with nesterov: gradient + momentum * velocity

    Keras keeps learning_rate * velocity: the same unless the rate changes on the way.

    Parameters
    ----------
    learning_rate, weight_decay, max_norm
        As for `Optimizer`.
    momentum : float, from 0 to below 1
    nesterov : bool
        It needs a momentum above 0.

    References
    ----------
    Sutskever et al., On the importance of initialization and momentum, 2013, in PyTorch's form.

    Examples
    --------
    >>> import numpy as np
    >>> parameters, gradients = np.array([1.0, 2.0]), np.array([10.0, -10.0])
    >>> SGD(0.1).update(parameters, gradients)
    >>> parameters
    array([0., 3.])
    """

    @Setting
    def momentum(self, value: Any) -> float:
        """How much of the velocity stays."""
        momentum = number("momentum", value, minimum=0, below=1)
        _check_nesterov(vars(self).get("nesterov", False), momentum)
        return momentum

    @Setting
    def nesterov(self, value: Any) -> bool:
        """Whether the direction is where the velocity leads next."""
        nesterov = flag("nesterov", value)
        _check_nesterov(nesterov, self.momentum)
        return nesterov

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        self.momentum = momentum
        self.nesterov = nesterov
        super().__init__(learning_rate, weight_decay, max_norm)

    def _names(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()

    def _direction(self, xp: Any, piece: Piece, gradient: Array) -> tuple[Array, float]:
        if not self.momentum:
            return gradient, 1.0
        xp.multiply(piece.velocity, self.momentum, out=piece.velocity)
        xp.add(piece.velocity, gradient, out=piece.velocity)
        if not self.nesterov:
            return piece.velocity, 1.0
        xp.multiply(piece.velocity, self.momentum, out=piece.work)
        xp.add(gradient, piece.work, out=piece.work)
        return piece.work, 1.0


def _check_nesterov(nesterov: bool, momentum: float) -> None:
    if nesterov and not momentum:
        raise ValueError("nesterov: expected a momentum above 0, got 0: pass momentum=0.9, say")
