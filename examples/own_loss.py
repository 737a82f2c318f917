"""A loss of one's own: Huber's, which outliers do not pull away as they do the squared error.

A loss is any function (outputs, targets) -> (loss, gradient). Its gradient is checked here as a
layer's is, by numeric derivatives; then a regression is trained on data of which one row in ten is
wrong, once with it and once with the squared error.
"""

import numpy as np

from npbn import SGD, Dense, Layer, Sequential, fit, functional, gradient_check


def huber(outputs, targets, delta=1.0):
    """(outputs - targets)^2 / 2 up to delta, straight on from there; the mean over the rows."""
    error = outputs - targets
    clipped = np.clip(error, -delta, delta)
    loss = np.sum(clipped * (error - clipped / 2)) / len(outputs)
    return float(loss), clipped / outputs.dtype.type(len(outputs))


class AsLayer(Layer):
    """A loss with its targets, as a layer whose output is the loss: what gradient_check takes."""

    def __init__(self, loss, targets):
        super().__init__()
        self.loss, self.targets = loss, targets

    def forward(self, x):
        loss, self.gradient = self.loss(x, self.targets.astype(x.dtype))
        return np.full((1, 1), loss, x.dtype)

    def backward(self, dy):
        return dy * self.gradient


def main():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 4))
    truth = x @ [[1.0], [-2.0], [0.5], [3.0]]
    targets = truth + 0.1 * rng.standard_normal(truth.shape)
    targets[::10] += 30  # wrong, and far away

    report = gradient_check(AsLayer(huber, targets[:8]), rng.standard_normal((8, 1)))
    print(report)

    for loss in (functional.squared_error, huber):
        network = Sequential([Dense(4, 1, rng=0, dtype=np.float64)])
        fit(network, (x, targets), optimizer=SGD(0.05), epochs=50, loss=loss, progress=False)
        off = np.abs(network.forward(x) - truth).mean()
        print(f"{loss.__name__:14} is off the truth by {off:.3f} on average")
    return report


if __name__ == "__main__":
    main()
