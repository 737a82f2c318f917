"""Mean and variance of a matrix's columns, exact to a few roundings, and the matrix centred."""

from typing import Any

import numpy as np

from npbn._checks import Array
from npbn.functional._blocks import FEW_ROWS, constant, pieces
from npbn.functional._sums import block_sums, merged

# Of more rows the first mean is taken from about this many of them.
SOME_ROWS = 4096
# Centre again where remainder^2 is more than this share of the variance.
COARSE = 1 / 16
# Where the variance is smaller, squares, or their shares of a mean, may have been denormal.
LEAST = {np.dtype(kind).char: np.finfo(kind).tiny / np.finfo(kind).eps for kind in "fd"}


def moments(x: Array, centred: Array, scratch: Array) -> tuple[Array, Array, Array, bool]:
    """Returns mean, remainder, variance, and whether all are as usual.

    The exact mean is mean + remainder; x - mean is left in `centred`, which may be x itself. Usual
    is a column that is centred well and has no variance below LEAST, which would have few digits.
    scratch, C-contiguous and shaped like x, is written over.
    """
    kind = x.dtype.char
    least = constant(LEAST[kind], kind)
    some = x if len(x) <= SOME_ROWS else x[:: -(-len(x) // SOME_ROWS)]
    mean = constant(1 / len(some), kind, len(some)).dot(some)
    center = mean
    for again in (True, False):
        remainder, variance = _spread(x, center, centred, scratch)
        square = remainder * remainder
        variance -= square
        # Rounding may leave less than 0 of a constant feature, whose root would be NaN.
        np.maximum(variance, constant(0.0, kind), out=variance)
        limit = variance * constant(COARSE, kind)
        # A zero among the bytes: 0.3 us, where .all() takes 1.4.
        usual = 0 not in (square + least <= limit).tobytes()
        if usual or not again:
            break
        coarse = ~(square <= limit) & np.isfinite(remainder)
        if not coarse.any():
            break
        # Where |mean| >> std, where nothing varies, and where some rows are not like the others,
        # the mean was too coarse: centre again.
        moved = np.where(coarse, mean + remainder, mean).astype(x.dtype, copy=False)
        # x may have been written over by what is centred: go on from that.
        x, center, mean = centred, moved - mean, moved
    return mean, remainder, variance.astype(x.dtype, copy=False), usual


def _spread(x: Array, center: Array, centred: Array, scratch: Array) -> tuple[Array, Array]:
    """Writes x - center; the means of it and of its square, of many rows in float64."""
    features, weight, sums = x.shape[1], 1 / len(x), []
    for part, out, centers in pieces((center,), x, centred):
        # All blocks are squared in one place, which stays in cache.
        room = scratch.reshape(-1)[: part.size].reshape(part.shape)
        np.subtract(part, centers, out=out)
        first = block_sums(out, features, weight)
        np.multiply(out, out, out=room)
        sums.append((first, block_sums(room, features, weight)))
    return merged(sums, digits(x))


def digits(x: Array) -> np.dtype[Any]:
    """The type to go on in with sums over the rows of x: of few, its own will do."""
    return x.dtype if len(x) <= FEW_ROWS else np.dtype(np.float64)


def varies(values: Array) -> Array:
    """Whether not all values of a column are the same, (D,)."""
    features, parts = values.shape[1], [part for (part,) in pieces((), values)]
    tops = [np.maximum.reduce(part).reshape(-1, features) for part in parts]
    bottoms = [np.minimum.reduce(part).reshape(-1, features) for part in parts]
    return np.concatenate(tops).max(0) > np.concatenate(bottoms).min(0)
