"""RMSProp: the direction is the gradient over its usual size."""

import math

import numpy as np

from npbn._checks import Array, number
from npbn.optimizers.base import LearningRate, Optimizer


class RMSProp(Optimizer):
    """Every parameter's gradient over its usual size, a root mean square that forgets.

        mean_square = rho * mean_square + (1 - rho) * gradient**2        from 0
        direction = gradient / (sqrt(mean_square) + epsilon)

    Kept is the sum square_sum = mean_square / (1 - rho), which saves a pass. Epsilon, 1e-30 at
    least, stands outside the root, as in PyTorch; in Keras 3 inside, where 1e-7 does far more.
    Source: Tieleman and Hinton, lecture 6.5, Coursera, 2012; not centred, no momentum.
    """

    def __init__(
        self,
        learning_rate: LearningRate,
        *,
        rho: float = 0.9,
        epsilon: float = 1e-7,
        weight_decay: float = 0.0,
        max_norm: float | None = None,
    ) -> None:
        self.rho = number("rho", rho, minimum=0, below=1)
        self.epsilon = number("epsilon", epsilon, minimum=1e-30)
        super().__init__(learning_rate, weight_decay, max_norm, ("square_sum",))

    def _direction(self, gradient: Array) -> tuple[Array, float]:
        square_sum = self._state["square_sum"]
        square_sum *= self.rho
        square_sum += np.square(gradient, out=self._work)
        scale = math.sqrt(1 / (1 - self.rho))
        root = np.sqrt(square_sum, out=self._work)
        root += self.epsilon * scale
        return np.divide(gradient, root, out=self._work), scale
