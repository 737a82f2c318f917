"""Gradient descent: the direction is the gradient, or what momentum makes of it."""

import numpy as np

from npbn._checks import Array, flag, number
from npbn.optimizers.base import LearningRate, Optimizer


class SGD(Optimizer):
    """Gradient descent, on request with momentum.

        direction = gradient                              without momentum, else
        velocity = momentum * velocity + gradient         from 0
        direction = velocity, or with nesterov: gradient + momentum * velocity

    Source: Sutskever et al., On the importance of initialization and momentum, 2013, in PyTorch's
    form. Keras keeps learning_rate * velocity: the same unless the rate changes on the way.

    >>> parameters, gradients = np.array([1.0, 2.0]), np.array([10.0, -10.0])
    >>> SGD(0.1).update(parameters, gradients)
    >>> parameters
    array([0., 3.])
    """

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        self.momentum = number("momentum", momentum, minimum=0, below=1)
        self.nesterov = flag("nesterov", nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov: expected a momentum above 0, got 0: pass momentum=0.9, say")
        super().__init__(
            learning_rate, weight_decay, max_norm, ("velocity",) if self.momentum else ()
        )

    def _direction(self, gradient: Array) -> tuple[Array, float]:
        if not self.momentum:
            return gradient, 1.0
        velocity = self._state["velocity"]
        velocity *= self.momentum
        velocity += gradient
        if not self.nesterov:
            return velocity, 1.0
        ahead = np.multiply(velocity, self.momentum, out=self._work)
        ahead += gradient
        return ahead, 1.0
