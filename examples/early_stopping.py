"""Early stopping, by a callback of ten lines.

`fit` calls it after each sample with the network and the History. It keeps the best network so far,
and ends the run when the validation loss has not improved for so many samples.
"""

import copy

from npbn import SGD, BatchNorm, Dense, ReLU, Sequential, datasets, fit


class EarlyStopping:
    """Ends a run whose validation loss has not fallen for `patience` samples; `best` is kept."""

    def __init__(self, patience):
        self.patience, self.best, self.at = patience, None, 0

    def __call__(self, network, history):
        losses = history.validation_losses
        if losses[-1] == min(losses):
            self.best, self.at = copy.deepcopy(network), len(losses)
        return len(losses) - self.at >= self.patience


def main():
    digits = datasets.load_mnist_5k()
    images, labels = digits.train
    few = images[:1000], labels[:1000]  # of which a network soon knows more than is of use
    layers = [Dense(784, 100, use_bias=False, rng=0), BatchNorm(100), ReLU()]
    network = Sequential([*layers, Dense(100, 10, rng=1)])
    stopping = EarlyStopping(patience=10)
    history = fit(
        network,
        few,
        digits.validation,
        optimizer=SGD(0.1),
        epochs=100,
        sample_every=10,
        sample_training=1000,
        callback=stopping,
    )
    history.plot().savefig("early_stopping.png", dpi=100)
    print(history)
    print(f"test loss where it ended:  {network.evaluate(*digits.test).loss:.4f}")
    print(f"test loss of the best one: {stopping.best.evaluate(*digits.test).loss:.4f}")
    print(stopping.best.evaluate(*digits.test))


if __name__ == "__main__":
    main()
