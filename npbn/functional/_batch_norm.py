"""The arithmetic of batch normalization, on arrays that were checked.

Everything is done on (rows, D), block by block; the moments of the blocks are merged. What is
centred is kept for the backward pass: centring anew took 5 to 25 % longer.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from npbn._checks import Array
from npbn.functional._blocks import as_rows, constant, pieces, put_back
from npbn.functional._sums import all_finite, block_sums, merged
from npbn.functional.activations import _relu_backward, _relu_forward

SOME_ROWS = 4096
# The share of the variance that the square of what is left of the mean may have.
COARSE = 1 / 16
# Of a smaller variance squares, or their shares of a mean, may have been denormal.
_LEAST = {np.dtype(kind).char: np.finfo(kind).tiny / np.finfo(kind).eps for kind in "fd"}


class BatchNormCache(NamedTuple):
    """What the backward pass needs of the forward pass.

    values (..., D) is x less its mean, and what rounding left of the mean is `remainder` (D,):
    x_hat = (values - remainder) / std, also where the mean is far larger than the standard
    deviation. std is sqrt(variance + epsilon), scale is gamma / sqrt(variance + epsilon). mean and
    variance (D,) are the batch's, the variance the biased one. Where squares would leave the range
    of the type, a feature's values, remainder and std are all divided by one power of two.
    """

    values: Array
    mean: Array
    variance: Array
    remainder: Array
    std: Array
    scale: Array

    @property
    def x_hat(self) -> Array:
        """The normalized x, (..., D), a new array."""
        return (self.values - self.remainder) / self.std


def forward(
    x: Array,
    gamma: Array,
    beta: Array,
    epsilon: float,
    y: Array,
    centred: Array | None = None,
    rectify: bool = False,
) -> BatchNormCache:
    """Writes y, or max(y, 0) with rectify.

    centred: where to keep x less its mean; C-contiguous, may be x itself.
    """
    rows, out = as_rows(x), as_rows(y)
    values = as_rows(np.empty(x.shape, x.dtype) if centred is None else centred)
    mean, remainder, variance, usual = _moments(rows, values, out)
    std = np.sqrt(variance + constant(epsilon, x.dtype.char))
    scale = gamma / std
    # What rounding left of the mean rides in the shift, and costs no pass.
    shift = beta - scale * remainder
    _normalize(values, None, scale, shift, out, rectify)
    cache = BatchNormCache(values, mean + remainder, variance, remainder, std, scale)
    if not (usual and all_finite(variance)):
        # Of an x that was centred in place only that is left.
        source, taken = (values, mean) if centred is x else (rows, np.zeros_like(mean))
        small = (variance < _LEAST[x.dtype.char]) & _varies(values)
        for odd, given, gone in ((small, values, mean), (~np.isfinite(variance), source, taken)):
            if odd.any():
                _rescale(odd.nonzero()[0], given, gone, cache, gamma, beta, epsilon, out, rectify)
    put_back(out, y)
    return cache if x.ndim == 2 else cache._replace(values=values.reshape(x.shape))


def _varies(values: Array) -> Array:
    """Whether anything is left of a column once its mean is taken away, (D,)."""
    features = values.shape[1]
    tops = [np.maximum.reduce(part).reshape(-1, features) for (part,) in pieces((), values)]
    return np.concatenate(tops).max(0) > 0


def _rescale(
    columns: Array,
    x: Array,
    taken: Array,
    cache: BatchNormCache,
    gamma: Array,
    beta: Array,
    epsilon: float,
    y: Array,
    rectify: bool,
) -> None:
    """Normalize some columns anew, divided by a power of two; writes their y and cache.

    taken (D,): what was taken away from x before.
    """
    part, gamma, beta = np.take(x, columns, axis=1), gamma[columns], beta[columns]
    largest = np.abs(part).max(0)
    power = np.where(np.isfinite(largest), np.frexp(largest)[1], 0)
    # Not so small that the root of epsilon, divided likewise, overflows.
    power = np.maximum(power, np.finfo(x.dtype).minexp * 3 // 4)
    part, out = np.ldexp(part, -power), np.empty(part.shape, x.dtype)
    mean, remainder, variance, _ = _moments(part, part, out)
    root = x.dtype.type(math.sqrt(epsilon))
    std = np.hypot(np.sqrt(variance), np.ldexp(root, -power))
    scale = gamma / std
    _normalize(part, None, scale, beta - scale * remainder, out, rectify)
    y[:, columns] = out
    cache.values[:, columns] = part
    cache.mean[columns] = taken[columns] + np.ldexp(mean + remainder, power)
    cache.variance[columns] = np.ldexp(variance, 2 * power)
    cache.remainder[columns] = remainder
    cache.std[columns] = std
    cache.scale[columns] = gamma / np.hypot(np.ldexp(np.sqrt(variance), power), root)


def _moments(x: Array, centred: Array, scratch: Array) -> tuple[Array, Array, Array, bool]:
    """A mean, rounded, what is left of it, the variance, and whether no variance is small.

    centred: where to leave x - mean, may be x itself. scratch, C-contiguous and shaped like x, is
    written over.
    """
    kind = x.dtype.char
    least = constant(_LEAST[kind], kind)
    # Of many rows, those here and there are enough to centre by.
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
        moved = np.where(coarse, mean + remainder, mean)
        # x may be gone: go on from what is centred already. moved - mean is exact.
        x, center, mean = centred, moved - mean, moved
    return mean, remainder, variance, usual


def _spread(x: Array, center: Array, centred: Array, scratch: Array) -> tuple[Array, Array]:
    """Writes x - center; the means of it and of its square."""
    features, weight, sums = x.shape[1], 1 / len(x), []
    for part, out, centers in pieces((center,), x, centred):
        # All blocks are squared in one place, which stays in cache.
        room = scratch.reshape(-1)[: part.size].reshape(part.shape)
        np.subtract(part, centers, out=out)
        first = block_sums(out, features, weight)
        np.multiply(out, out, out=room)
        sums.append((first, block_sums(room, features, weight)))
    return merged(sums, x.dtype)


def inference(
    x: Array,
    gamma: Array,
    beta: Array,
    mean: Array,
    variance: Array,
    epsilon: float,
    y: Array,
    rectify: bool = False,
) -> Array:
    """Writes y, or max(y, 0) with rectify; it may be x itself."""
    rows, out = as_rows(x), as_rows(y)
    scale = gamma / np.sqrt(variance + constant(epsilon, x.dtype.char))
    # The mean first: in x * scale + (beta - mean * scale) both terms lose digits where |mean| >>
    # std.
    _normalize(rows, mean, scale, beta, out, rectify)
    put_back(out, y)
    return y


def _normalize(
    values: Array,
    center: Array | None,
    scale: Array,
    shift: Array,
    y: Array,
    rectify: bool = False,
) -> None:
    """y = (values - center) * scale + shift; with rectify, max(y, 0)."""
    vectors = (scale, shift) if center is None else (scale, shift, center)
    for part, out, scales, shifts, *centers in pieces(vectors, values, y):
        np.multiply(_centred(part, centers, out), scales, out=out)
        np.add(out, shifts, out=out)
        if rectify:
            _relu_forward(out, out)


def _centred(part: Array, centers: Sequence[Array], out: Array) -> Array:
    return np.subtract(part, centers[0], out=out) if centers else part


def backward(
    dy: Array, cache: BatchNormCache, dx: Array, dgamma: Array, dbeta: Array, y: Array | None = None
) -> None:
    """Writes dx, dgamma and dbeta.

    y: the output of a ReLU behind, whose gradient dy is; then dy is written over.
    """
    values, _, _, remainder, std, scale = cache
    values, rows, out = as_rows(values), as_rows(dy), as_rows(dx)
    total, products = _sums(rows, values, None, out, None if y is None else as_rows(y))
    products = products - total * remainder
    np.divide(products, std, out=dgamma)
    np.copyto(dbeta, total)
    # dx = scale * (dy - (slope * values + shift)): no array beside dx.
    size = constant(float(len(rows)), dy.dtype.char)
    slope = dgamma / std
    slope /= size
    shift = total / size
    shift -= slope * remainder
    shift = shift.astype(dy.dtype, copy=False)
    vectors = (slope, shift, scale)
    for given, part, each, slopes, shifts, scales in pieces(vectors, rows, values, out):
        np.multiply(part, slopes, out=each)
        np.add(each, shifts, out=each)
        np.subtract(given, each, out=each)
        np.multiply(each, scales, out=each)
    put_back(out, dx)


def _sums(
    dy: Array,
    values: Array,
    center: Array | None,
    scratch: Array,
    y: Array | None = None,
) -> tuple[Array, Array]:
    """The sums of dy and of dy * (values - center) over all rows; writes scratch."""
    features, sums = dy.shape[1], []
    vectors = () if center is None else (center,)
    outputs = () if y is None else (y,)
    for given, part, out, *rest in pieces(vectors, dy, values, scratch, *outputs):
        if outputs:
            _relu_backward(given, rest.pop(0), given)
        total = block_sums(given, features)
        np.multiply(given, _centred(part, rest, out), out=out)
        sums.append((total, block_sums(out, features)))
    # Not rounded yet: where dy has a mean, total * remainder takes digits from products.
    return merged(sums, np.dtype(np.float64))


def inference_backward(
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    variance: Array,
    epsilon: float,
    dx: Array,
    dgamma: Array,
    dbeta: Array,
    y: Array | None = None,
) -> None:
    """As backward, where mean and variance are constants."""
    rows, out = as_rows(dy), as_rows(dx)
    std = np.sqrt(variance + constant(epsilon, dy.dtype.char))
    total, products = _sums(rows, as_rows(x), mean, out, None if y is None else as_rows(y))
    np.divide(products, std, out=dgamma)
    np.copyto(dbeta, total)
    scale = gamma / std
    for given, each, scales in pieces((scale,), rows, out):
        np.multiply(given, scales, out=each)
    put_back(out, dx)
