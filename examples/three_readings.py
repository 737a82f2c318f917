"""Batch normalization three times, each time with less hidden, as in the lesson.

1. The layer: BatchNorm does it all.
2. The function: npbn.functional normalizes, and the running averages are kept by hand.
3. The bare equations: nothing but NumPy.

Each is a NeuralNet with its own fully_connected. They train to the same losses: the three readings
are one operation.
"""

import numpy as np

from npbn import SGD, Dense, Layer, ReLU, datasets, fit, functional
from npbn.lesson import NeuralNet, initial_weights

EPSILON = 1e-3
MOMENTUM = 0.99


class WithLayer(NeuralNet):
    """1. As it comes: fully_connected uses BatchNorm."""


class FunctionalBatchNorm(Layer):
    """2. The function does the mathematics; this layer keeps the books."""

    def __init__(self, features):
        super().__init__(
            parameters={"gamma": np.ones(features), "beta": np.zeros(features)},
            state={"mean": np.zeros(features), "variance": np.ones(features)},
        )

    def forward(self, x, training=False):
        gamma, beta = self.parameters["gamma"], self.parameters["beta"]
        mean, variance = self.state["mean"], self.state["variance"]
        if not training:
            return functional.batch_norm_inference(x, gamma, beta, mean, variance, epsilon=EPSILON)
        y, self._cache = functional.batch_norm_forward(x, gamma, beta, epsilon=EPSILON)
        mean[...] = MOMENTUM * mean + (1 - MOMENTUM) * self._cache.mean
        variance[...] = MOMENTUM * variance + (1 - MOMENTUM) * self._cache.variance
        return y

    def backward(self, dy):
        dx, dgamma, dbeta = functional.batch_norm_backward(dy, self._take_cache())
        self.gradients["gamma"][...] = dgamma
        self.gradients["beta"][...] = dbeta
        return dx


class BareBatchNorm(FunctionalBatchNorm):
    """3. The same books, and the equations written out."""

    def forward(self, x, training=False):
        gamma, beta = self.parameters["gamma"], self.parameters["beta"]
        mean, variance = self.state["mean"], self.state["variance"]
        if training:
            batch_mean = x.mean(0)
            batch_variance = ((x - batch_mean) ** 2).mean(0)
            mean[...] = MOMENTUM * mean + (1 - MOMENTUM) * batch_mean
            variance[...] = MOMENTUM * variance + (1 - MOMENTUM) * batch_variance
            mean, variance = batch_mean, batch_variance
        std = np.sqrt(variance + EPSILON)
        x_hat = (x - mean) / std
        self._cache = x_hat, std
        return gamma * x_hat + beta

    def backward(self, dy):
        x_hat, std = self._take_cache()
        dgamma = (dy * x_hat).sum(0)
        dbeta = dy.sum(0)
        self.gradients["gamma"][...] = dgamma
        self.gradients["beta"][...] = dbeta
        # The mean and the variance depend on x too: hence the last two terms.
        return self.parameters["gamma"] / std * (dy - dbeta / len(dy) - x_hat * dgamma / len(dy))


class WithFunction(NeuralNet):
    """A hidden layer with the second reading."""

    def fully_connected(self, initial_weights, activation_fn=None):
        if not activation_fn:
            return super().fully_connected(initial_weights)
        dense = Dense(*initial_weights.shape, use_bias=False, weight=initial_weights)
        return [dense, FunctionalBatchNorm(initial_weights.shape[1]), activation_fn()]


class WithEquations(NeuralNet):
    """A hidden layer with the third reading."""

    def fully_connected(self, initial_weights, activation_fn=None):
        if not activation_fn:
            return super().fully_connected(initial_weights)
        dense = Dense(*initial_weights.shape, use_bias=False, weight=initial_weights)
        return [dense, BareBatchNorm(initial_weights.shape[1]), activation_fn()]


def main():
    data = datasets.load_mnist_5k()
    train = (data.train[0].astype(np.float64), data.train[1])
    validation = (data.validation[0].astype(np.float64), data.validation[1])
    weights = [weight.astype(np.float64) for weight in initial_weights(False, seed=0)]

    histories = {}
    for kind in (WithLayer, WithFunction, WithEquations):
        net = kind(weights, ReLU, True)
        histories[kind.__name__] = history = fit(
            net.network, train, validation, optimizer=SGD(0.1), steps=200, sample_every=50
        )
        accuracy = history.final_validation_accuracy
        print(f"{kind.__name__:14} last loss {history.losses[-1]:.12f}, validation {accuracy:.3f}")

    losses = np.array([history.losses for history in histories.values()])
    largest = np.abs(losses - losses[0]).max()
    print(f"largest difference between any two losses of the same step: {largest:.1e}")
    return float(largest)


if __name__ == "__main__":
    main()
