"""Batch normalization three times, each time with less hidden, as in the lesson.

1. The layer: npbn's BatchNorm does it all. NeuralNet uses it as it comes.
2. The function: npbn.functional normalizes, and the running averages are kept by hand.
3. The bare equations: nothing but NumPy.

The second and the third are a NeuralNet with a fully_connected of its own. All three train to the
same losses: they are one operation.
"""

import numpy as np

from npbn import SGD, Dense, Layer, ReLU, datasets, fit, functional
from npbn.lesson import NeuralNet, initial_weights

EPSILON = 1e-3
MOMENTUM = 0.99


class WithLayer(NeuralNet):
    """1. A hidden layer is a product without a bias, BatchNorm, and an activation."""


class FunctionalBatchNorm(Layer):
    """2. Functions do the mathematics; this layer keeps the books."""

    def __init__(self, features, dtype):
        ones, zeros = np.ones(features, dtype), np.zeros(features, dtype)
        super().__init__(
            parameters={"gamma": ones, "beta": zeros},
            state={"population_mean": zeros, "population_variance": ones},
        )

    def forward(self, x, training=False, statistics=None):
        gamma, beta = self.parameters["gamma"], self.parameters["beta"]
        mean, variance = self.state["population_mean"], self.state["population_variance"]
        if statistics == "population" or (statistics is None and not training):
            # What backward needs where the statistics are constants.
            self.cache = x, gamma.copy(), mean.copy(), variance.copy()
            return functional.batch_norm_inference(x, gamma, beta, mean, variance, epsilon=EPSILON)
        y, self.cache = functional.batch_norm_forward(x, gamma, beta, epsilon=EPSILON)
        if training:
            mean[...] = MOMENTUM * mean + (1 - MOMENTUM) * self.cache.mean
            variance[...] = MOMENTUM * variance + (1 - MOMENTUM) * self.cache.variance
        return y

    def backward(self, dy):
        cache = self.take_cache()
        if hasattr(cache, "x_hat"):
            dx, dgamma, dbeta = functional.batch_norm_backward(dy, cache)
        else:
            dx, dgamma, dbeta = functional.batch_norm_inference_backward(
                dy, *cache, epsilon=EPSILON
            )
        self.gradients["gamma"][...] = dgamma
        self.gradients["beta"][...] = dbeta
        return dx


class BareBatchNorm(FunctionalBatchNorm):
    """3. The same books, and the equations written out."""

    def forward(self, x, training=False, statistics=None):
        gamma, beta = self.parameters["gamma"], self.parameters["beta"]
        mean, variance = self.state["population_mean"], self.state["population_variance"]
        of_the_batch = statistics == "batch" or (statistics is None and training)
        if of_the_batch:
            batch_mean = x.mean(0)
            batch_variance = ((x - batch_mean) ** 2).mean(0)
            if training:
                mean[...] = MOMENTUM * mean + (1 - MOMENTUM) * batch_mean
                variance[...] = MOMENTUM * variance + (1 - MOMENTUM) * batch_variance
            mean, variance = batch_mean, batch_variance
        std = np.sqrt(variance + EPSILON)
        x_hat = (x - mean) / std
        self.cache = x_hat, std, of_the_batch
        return gamma * x_hat + beta

    def backward(self, dy):
        x_hat, std, of_the_batch = self.take_cache()
        dgamma = (dy * x_hat).sum(0)
        dbeta = dy.sum(0)
        self.gradients["gamma"][...] = dgamma
        self.gradients["beta"][...] = dbeta
        if of_the_batch:
            # The batch's mean and variance depend on x too.
            dy = dy - dbeta / len(dy) - x_hat * dgamma / len(dy)
        return self.parameters["gamma"] / std * dy


class WithFunction(NeuralNet):
    """A hidden layer with the second reading."""

    batch_norm = FunctionalBatchNorm

    def fully_connected(self, initial_weights, activation_fn=None):
        if not (self.use_batch_norm and activation_fn):
            return super().fully_connected(initial_weights, activation_fn)
        in_features, out_features = initial_weights.shape
        return [
            Dense(in_features, out_features, use_bias=False, weight=initial_weights),
            self.batch_norm(out_features, initial_weights.dtype),
            activation_fn(),
        ]


class WithEquations(WithFunction):
    """A hidden layer with the third reading."""

    batch_norm = BareBatchNorm


def main():
    data = datasets.load_mnist_5k()
    train = (data.train[0].astype(np.float64), data.train[1])
    validation = (data.validation[0].astype(np.float64), data.validation[1])
    weights = [weight.astype(np.float64) for weight in initial_weights(False, seed=0)]

    histories = {}
    for kind in (WithLayer, WithFunction, WithEquations):
        net = kind(weights, ReLU, True)
        print(f"training {kind.__name__}", flush=True)
        histories[kind.__name__] = history = fit(
            net.network, train, validation, optimizer=SGD(0.1), steps=200, sample_every=50
        )
        accuracy = history.final_validation_accuracy
        print(f"{kind.__name__:14} last loss {history.losses[-1]:.12f}, validation {accuracy:.3f}")

    losses = np.array([history.losses for history in histories.values()])
    largest = np.abs(losses - losses[0]).max()
    print(f"largest difference between any two losses of the same step: {largest:.1e}")


if __name__ == "__main__":
    main()
