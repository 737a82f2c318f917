"""What the tests of training share: a small problem, networks for it, and runs of a few steps."""

import os
import signal

import numpy as np

from npbn import SGD, BatchNorm, Dense, Dropout, LeakyReLU, ReLU, Sequential, fit


def digits(rows=100, seed=0, dtype=np.float32):
    """A small problem that can be learnt: the class is the largest of three sums of pixels."""
    rng = np.random.default_rng(seed)
    images = rng.random((rows, 6)).astype(dtype)
    return images, images.reshape(rows, 3, 2).sum(2).argmax(1)


def build(*, norm=True, dropout=False, dtype=np.float32):
    layers = [Dense(6, 16, use_bias=not norm, rng=0, dtype=dtype)]
    layers += [BatchNorm(16, dtype=dtype)] if norm else []
    layers += [ReLU()]
    layers += [Dropout(0.3, rng=5)] if dropout else []
    return Sequential([*layers, Dense(16, 3, rng=1, dtype=dtype)])


def run(network=None, *data, **options):
    """fit: of a small network, on the digits, for five steps, unless another is given."""
    options = {"optimizer": SGD(0.1), "steps": 5, **options}
    return fit(network or build(), *(data or (digits(),)), **options)


def exploding(last=6):
    """A network, and an optimizer with which its loss is not finite any more some steps later."""
    layers = [Dense(6, 16, rng=0), LeakyReLU(), Dense(16, 3, rng=1)]
    return Sequential(layers), SGD(lambda step: 0.1 if step < last else 1e25)


class Interrupting(SGD):
    """Sends Ctrl-C while the step `after` runs; otherwise as SGD(0.1)."""

    def __init__(self, after, presses=1):
        super().__init__(0.1)
        self.after, self.presses = after, presses

    def __repr__(self):
        return repr(SGD(0.1))

    def update(self, *args, **kwargs):
        super().update(*args, **kwargs)
        if self.iterations == self.after:
            for _ in range(self.presses):
                os.kill(os.getpid(), signal.SIGINT)
