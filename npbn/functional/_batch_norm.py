"""The arithmetic of batch normalization, on arrays that were checked.

Everything is done on (rows, D), block by block; the moments of the blocks are merged. What is
centred is kept for the backward pass: centring anew took 5 to 25 % longer.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from npbn._checks import Array
from npbn.functional._blocks import FEW_ROWS, as_rows, constant, pieces, put_back
from npbn.functional._moments import LEAST, digits, moments, varies
from npbn.functional._sums import all_finite, block_sums, merged
from npbn.functional.activations import _relu_backward, _relu_forward


class BatchNormCache(NamedTuple):
    """What the backward pass needs of the forward pass.

    values (..., D) is x less its mean, and what rounding left of the mean is `remainder` (D,):
    x_hat = (values - remainder) / std, also where the mean is far larger than the standard
    deviation; of many rows it is float64, or in dgamma sum(dy) * remainder would lose digits. std
    is sqrt(variance + epsilon), scale is gamma / sqrt(variance + epsilon). mean and variance (D,)
    are the batch's, the variance the biased one. Where squares would leave the range of the type, a
    feature's values, remainder and std are all divided by one power of two.
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
        return (self.values - self.remainder.astype(self.std.dtype)) / self.std


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
    mean, remainder, variance, usual = moments(rows, values, out)
    std = np.sqrt(variance + constant(epsilon, x.dtype.char))
    scale = gamma / std
    # What rounding left of the mean rides in the shift, and costs no pass.
    shift = (beta - scale * remainder).astype(x.dtype, copy=False)
    _normalize(values, None, scale, shift, out, rectify)
    whole = (mean + remainder).astype(x.dtype, copy=False)
    cache = BatchNormCache(values, whole, variance, remainder, std, scale)
    if not (usual and all_finite(variance)):
        # Of an x that was centred in place only that is left.
        source, taken = (values, mean) if centred is x else (rows, np.zeros_like(mean))
        small = (variance < LEAST[x.dtype.char]) & varies(values)
        for odd, given, gone in ((small, values, mean), (~np.isfinite(variance), source, taken)):
            if odd.any():
                _rescale(odd.nonzero()[0], given, gone, cache, gamma, beta, epsilon, out, rectify)
    put_back(out, y)
    return cache if x.ndim == 2 else cache._replace(values=values.reshape(x.shape))


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
    mean, remainder, variance, _ = moments(part, part, out)
    root = x.dtype.type(math.sqrt(epsilon))
    # Of a constant column, where any will do, not one by which gamma cannot be divided.
    std = np.where(
        variance == 0, x.dtype.type(1), np.hypot(np.sqrt(variance), np.ldexp(root, -power))
    )
    scale = gamma / std
    shift = (beta - scale * remainder).astype(x.dtype, copy=False)
    _normalize(part, None, scale, shift, out, rectify)
    y[:, columns] = out
    cache.values[:, columns] = part
    cache.mean[columns] = taken[columns] + np.ldexp(mean + remainder, power)
    cache.variance[columns] = np.ldexp(variance, 2 * power)
    cache.remainder[columns] = remainder
    cache.std[columns] = std
    cache.scale[columns] = gamma / np.hypot(np.ldexp(np.sqrt(variance), power), root)


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
    outputs = None if y is None else as_rows(y)
    offset = _offset(rows, outputs)
    total, products = _sums(rows, values, None, out, outputs, offset)
    products = products - total * remainder
    if offset is not None:
        total = total + len(rows) * offset.astype(np.float64)
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


def _offset(dy: Array, y: Array | None) -> Array | None:
    """About the mean of dy, of many rows, in columns where it is no accident; None if in none.

    dgamma does not change when dy is shifted, as the x_hat sum to 0. But their sum in float32 is
    off by 1e-8 a row, where they take few values, and times the mean of dy that is no longer small.
    """
    if len(dy) <= FEW_ROWS:
        return None
    step = max(1, min(32, len(dy) // 64))
    some = dy[::step]
    if y is not None:
        some = some * (y[::step] > 0)
    weights = constant(1 / len(some), dy.dtype.char, len(some))
    mean = weights.dot(some)
    clear = mean * mean > weights.dot(some * some) * constant(16 / len(some), dy.dtype.char)
    return np.where(clear, mean, constant(0.0, dy.dtype.char)) if clear.any() else None


def _sums(
    dy: Array,
    values: Array,
    center: Array | None,
    scratch: Array,
    y: Array | None = None,
    offset: Array | None = None,
) -> tuple[Array, Array]:
    """The sums of dy - offset and of (dy - offset) * (values - center); writes scratch."""
    features, sums = dy.shape[1], []
    # One of them at most is there.
    vectors = tuple(each for each in (center, offset) if each is not None)
    outputs = () if y is None else (y,)
    for given, part, out, *rest in pieces(vectors, dy, values, scratch, *outputs):
        if outputs:
            _relu_backward(given, rest.pop(0), given)
        if offset is None:
            total = block_sums(given, features)
            np.multiply(given, _centred(part, rest, out), out=out)
        else:
            total = block_sums(np.subtract(given, rest[0], out=out), features)
            np.multiply(out, part, out=out)
        sums.append((total, block_sums(out, features)))
    # Where dy has a mean, total * remainder takes digits from products.
    return merged(sums, digits(dy))


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
