"""The running average of the batches' statistics, and the statistics of a batch."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from npbn._checks import Array
from npbn.numerics.constants import constant


class RunningAverage:
    """A running average of the batches' statistics, carried in float64.

    ::

        population = momentum * population + (1 - momentum) * batch

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


def lay_side_by_side(averages: Sequence[RunningAverage]) -> None:
    """Move them into two vectors, so that one operation moves all."""
    if not averages:
        return
    shown = np.concatenate([each.shown for each in averages])
    carried = np.concatenate([each.carried for each in averages])
    start = 0
    for each in averages:
        place = slice(start, start := start + each.shown.size)
        each.shown, each.carried = shown[place], carried[place]
        each._name()


class _Counted(NamedTuple):
    """Where batches are counted, by so many a pass; whether a slice of the vector is their mean."""

    place: slice
    counter: Array
    batches: int
    is_mean: bool


class BatchStatistics:
    """The statistics of a batch, of all layers that have some, and the step of what follows them.

    Attributes
    ----------
    batch : ndarray
        A vector of float64, of which each pass writes its slice.
    """

    def __init__(self, averages: Sequence[RunningAverage]) -> None:
        size = sum(each.shown.size for each in averages)
        self.batch = np.zeros(size)
        self._momentum, self._weight, self._work = np.ones(size), np.zeros(size), np.empty(size)
        self._correction = np.ones(size)
        self._is_corrected = False
        self._counted: dict[int, _Counted] = {}
        self._shown = _joined([each.shown for each in averages])
        self._population = _joined([each.carried for each in averages])
        self._rounded = np.empty_like(self._shown)
        self._zeros = constant(0.0, self._shown.dtype.char, size)

    def set(
        self,
        place: slice,
        momentum: float | Array | None,
        correction: float | Array,
        count: Array | None = None,
        batches: int = 1,
    ) -> None:
        """How what follows a slice of the vector moves.

        Parameters
        ----------
        momentum : float, ndarray or None
            None: as the mean of all batches.
        count : ndarray or None
            Where these are counted, by so many at a time.
        """
        if count is not None:
            self._counted[place.start] = _Counted(place, count, batches, momentum is None)
        self._momentum[place] = 0.0 if momentum is None else momentum
        self._correction[place] = correction
        self._weight[place] = (1 - self._momentum[place]) * self._correction[place]
        self._is_corrected = bool((self._correction != 1).any())

    def arrays(self) -> dict[str, Any]:
        """What it holds by name, for a tape."""
        counts = (each.counter for each in self._counted.values())
        return vars(self) | {f"count_{place}": count for place, count in enumerate(counts, 1)}

    def is_finite(self, xp: Any) -> bool:
        """Whether the layers' type can hold them, corrected."""
        batch = self.batch
        if self._is_corrected:
            batch = xp.multiply(batch, self._correction, out=self._work)
        xp.copyto(self._rounded, batch)
        # An infinity times 0 is NaN.
        return not math.isnan(xp.dot(self._rounded, self._zeros))

    def follow(self, xp: Any, batch: Array) -> None:
        """Move the population's statistics by one batch's."""
        # If someone has written into what is shown, go on from what was written.
        xp.copyto(self._rounded, self._population)
        if self._rounded.tobytes() != self._shown.tobytes():
            xp.copyto(self._population, self._shown)
        for place, count, batches, is_mean in self._counted.values():
            if is_mean:
                before = max(0, int(count))
                share = batches / (before + batches)
                xp.copyto(self._momentum[place], before / (before + batches))
                xp.multiply(self._correction[place], share, out=self._weight[place])
            xp.add(count, batches, out=count)
        xp.multiply(self._population, self._momentum, out=self._population)
        xp.multiply(batch, self._weight, out=self._work)
        xp.add(self._population, self._work, out=self._population)
        xp.copyto(self._shown, self._population)


def _joined(vectors: Sequence[Array]) -> Array:
    """One view of vectors that lie side by side."""
    first, whole = vectors[0], vectors[0].base
    if len(vectors) == 1 or whole is None:
        return first
    address = first.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    start = address // first.itemsize
    return whole[start : start + sum(each.size for each in vectors)]


@np.errstate(all="ignore")
def mean_and_variance(blocks: Iterable[Array]) -> tuple[Array, Array, int]:
    """Mean and biased variance (D,) of all rows of the blocks (rows, D), in float64; their number.

    Statistics of blocks merge exactly: Chan, Golub & LeVeque 1979.
    """
    count, center = 0, None
    mean, squares = np.float64(0.0), np.float64(0.0)
    for block in blocks:
        if not len(block):  # all of it masked
            continue
        if center is None:
            # Of what is far from 0, differences of means keep their digits.
            center = block.mean(0, dtype=np.float64)
        rows, deviations = len(block), block - center
        block_mean = deviations.mean(0)
        difference = block_mean - mean
        squares = squares + ((deviations - block_mean) ** 2).sum(0)
        squares = squares + difference**2 * (count * rows / (count + rows))
        mean = mean + difference * (rows / (count + rows))
        count += rows
    assert center is not None
    return center + mean, np.asarray(squares / count), count
