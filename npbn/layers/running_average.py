"""The running average of the batches' statistics."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from npbn._checks import Array
from npbn.functional._blocks import constant


class RunningAverage:
    """population = momentum * population + (1 - momentum) * batch, carried in float64.

    In float32 an average of 50,000 batches would be off by 3e-6. All statistics lie side by side in
    one vector: `shown` is what a layer shows of it, in its type, `carried` has all digits.
    """

    def __init__(self, start: Mapping[str, Array]) -> None:
        self._shapes = {name: value.shape for name, value in start.items()}
        self.shown = np.concatenate([value.reshape(-1) for value in start.values()])
        self.carried = self.shown.astype(np.float64)
        self._name()

    def _name(self) -> None:
        """state and digits: views of what is shown and carried, by name."""
        self.state: dict[str, Array] = {}
        self.digits: dict[str, Array] = {}
        start = 0
        for name, shape in self._shapes.items():
            place = slice(start, start := start + math.prod(shape))
            self.state[name] = self.shown[place].reshape(shape)
            self.digits[name] = self.carried[place].reshape(shape)

    def convert(self, dtype: np.dtype[Any]) -> None:
        """Show another type from now on."""
        self.shown = self.shown.astype(dtype)
        self._name()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Views come back from a copy as arrays of their own."""
        vars(self).update(state)
        self._name()

    def move(self, momentum: float, mean: Array, variance: Array, factor: float) -> None:
        """One batch more, the weight of whose variance is (1 - momentum) * factor."""
        carried, shown = self.carried.reshape(2, -1), self.shown.reshape(2, -1)
        # If someone has written into what is shown, go on from what was written.
        if carried.astype(shown.dtype).tobytes() != shown.tobytes():
            carried[...] = shown
        new, kind = 1 - momentum, shown.dtype.char
        carried *= constant(momentum, "d")
        carried[0] += constant(new, kind) * mean
        carried[1] += constant(new * factor, kind) * variance
        shown[...] = carried


@np.errstate(all="ignore")
def mean_and_variance(blocks: Iterable[Array]) -> tuple[Array, Array, int]:
    """Mean and biased variance (D,) of all rows of the blocks (rows, D), in float64; their number.

    Statistics of blocks merge exactly: Chan, Golub & LeVeque 1979.
    """
    count, mean, squares = 0, np.float64(0.0), np.float64(0.0)
    for block in blocks:
        rows = len(block)
        block_mean = block.mean(0, dtype=np.float64)
        difference = block_mean - mean
        squares = squares + ((block - block_mean) ** 2).sum(0)
        squares = squares + difference**2 * (count * rows / (count + rows))
        mean = mean + difference * (rows / (count + rows))
        count += rows
    return np.asarray(mean), np.asarray(squares / count), count
