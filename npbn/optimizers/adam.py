"""Adam: the direction is the mean gradient over its usual size."""

import math

import numpy as np

from npbn._checks import Array, number
from npbn.optimizers.base import LearningRate, Optimizer


class Adam(Optimizer):
    """The mean gradient over its usual size, both from means that forget.

        mean = beta_1 * mean + (1 - beta_1) * gradient                   from 0
        mean_square = beta_2 * mean_square + (1 - beta_2) * gradient**2  from 0
        direction = mean / (1 - beta_1**(t + 1))
                    / (sqrt(mean_square / (1 - beta_2**(t + 1))) + epsilon)

    The divisors undo the start from 0. Read as sums, gradient_sum = beta_1 * gradient_sum +
    gradient and square_sum alike, a mean is the sum over the sum of its weights, 1 + beta + ... +
    beta**t; kept are the sums, which saves two passes. Epsilon, 1e-30 at least, stands outside the
    root of the corrected mean, as in the paper and PyTorch; Keras adds it before the correction.
    Source: Kingma and Ba, Adam, 2015, Algorithm 1 (whose t is this t + 1).
    """

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
        self.beta_1 = number("beta_1", beta_1, minimum=0, below=1)
        self.beta_2 = number("beta_2", beta_2, minimum=0, below=1)
        self.epsilon = number("epsilon", epsilon, minimum=1e-30)
        super().__init__(learning_rate, weight_decay, max_norm, ("gradient_sum", "square_sum"))

    def _direction(self, gradient: Array) -> tuple[Array, float]:
        gradient_sum, square_sum = self._state["gradient_sum"], self._state["square_sum"]
        gradient_sum *= self.beta_1
        gradient_sum += gradient
        square_sum *= self.beta_2
        square_sum += np.square(gradient, out=self._work)

        weights_1 = _sum_of_weights(self.beta_1, self._iterations)
        scale = math.sqrt(_sum_of_weights(self.beta_2, self._iterations))
        root = np.sqrt(square_sum, out=self._work)
        root += self.epsilon * scale
        return np.divide(gradient_sum, root, out=self._work), scale / weights_1


def _sum_of_weights(beta: float, t: int) -> float:
    """1 + beta + ... + beta**t"""
    return (1 - beta ** (t + 1)) / (1 - beta)
