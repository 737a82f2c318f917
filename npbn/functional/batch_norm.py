"""Batch normalization, fast: Ioffe & Szegedy 2015, Algorithms 1 and 2 and section 3."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.blocks import SMALL, Blocks
from npbn.numerics.constants import constant
from npbn.numerics.denormals import quiet
from npbn.numerics.masked import MaskedOperation
from npbn.numerics.operation import Operation, check_backward
from npbn.numerics.sums import ColumnSums, all_finite

# Of many rows the first mean is taken from at most so many.
SOME_ROWS = 256
# Centre again where the square of what is left of the mean is more than this share of the variance.
COARSE = 1 / 16
# A sum of dy that is so many times the root of its sum of squares, which some rows tell.
ONE_SIDED, SOME_DY = 8, 32


@quiet()
def batch_norm_forward(
    x: Array,
    gamma: Array,
    beta: Array,
    *,
    epsilon: float = 1e-3,
    mask: Array | None = None,
    out: Array | None = None,
) -> tuple[Array, BatchNormOperation | MaskedOperation]:
    """Normalize x over every axis but the last, then scale and shift.

    ::

        mean     = sum(x) / m
        variance = sum((x - mean)^2) / m
        y        = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    with m the number of values per feature: Ioffe & Szegedy 2015, Algorithm 1.

    Parameters
    ----------
    x : (..., D) array, float32 or float64
    gamma, beta : (D,) array, of x's type
    epsilon : float
    mask : array of bools, optional
        Of the shape of x but for the last axis: where it is False, a step of a sequence that is
        none, x counts in no statistic and may be anything, and y and dx are 0.
    out : array like x, optional

    Returns
    -------
    y : array like x
    cache : BatchNormOperation or MaskedOperation
        For `batch_norm_backward`. cache.mean and cache.variance are (D,), the latter the biased
        one: the sum of squares over m, not m - 1. A running average of both is the caller's:
        population = momentum * population + (1 - momentum) * batch.

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape.

    Notes
    -----
    A feature with an infinity or NaN in x makes y NaN throughout. A constant feature becomes beta,
    also without epsilon. Any other is exact to rounding: of a float32 x of at most 32,768 values
    however large or small it is (cache.variance may then be infinite although y is right); of a
    larger one, or of float64, where its variance is from 1e-30 to 1e38, or from 1e-290 to 1e300,
    and gamma / sqrt(variance + epsilon) no denormal number. A variance that the type of a large x
    cannot hold makes y NaN.
    """
    x, epsilon, gamma, beta = _checked(x, epsilon, gamma=gamma, beta=beta)
    y = checks.output(out, x.shape, x.dtype, (x, gamma, beta))
    operation: BatchNormOperation | MaskedOperation
    if mask is None:
        operation = BatchNormOperation.of(x.shape, x.dtype, epsilon)
    else:
        rows, features = checks.kept_rows("mask", mask, x.shape[:-1]), x.shape[-1]
        inner = BatchNormOperation.of((rows, features), x.dtype, epsilon)
        operation = MaskedOperation(inner, mask, features, x.dtype)
    operation.forward(np, x, gamma, beta, y)
    return y, operation


@quiet()
def batch_norm_backward(
    dy: Array, cache: BatchNormOperation | MaskedOperation, *, out: Array | None = None
) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta, the paper's six formulas simplified to three.

    ::

        dbeta  = sum(dy)
        dgamma = sum(dy * x_hat)
        dx     = gamma / sqrt(variance + epsilon) * (dy - dbeta / m - x_hat * dgamma / m)

    with x_hat = (x - mean) / sqrt(variance + epsilon): Ioffe & Szegedy 2015, section 3.

    Parameters
    ----------
    dy : (..., D) array like x
    cache : what `batch_norm_forward` returned
    out : array for dx, optional

    Returns
    -------
    dx : (..., D) array
    dgamma, dbeta : (D,) array

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape.

    Notes
    -----
    In float32 dgamma and dbeta are off by at most 5e-7 of their value or of the root of the sum of
    their terms' squares, whichever is larger. Of more than 32,768 values dgamma's is the root of
    dy's squares; and where dy, positive and negative, takes so few different values that roundings
    do not cancel, it is the sum of the terms' sizes. There a product dy * (x - mean) that float32
    cannot hold makes dgamma infinite or NaN.
    """
    dy, dx = check_backward(
        "batch_norm_forward", (BatchNormOperation, MaskedOperation), dy, cache, out
    )
    dgamma, dbeta = np.empty(dy.shape[-1], dy.dtype), np.empty(dy.shape[-1], dy.dtype)
    cache.with_own_scratch().backward(np, dy, dx, dgamma, dbeta)
    return dx, dgamma, dbeta


@quiet()
def batch_norm_inference(
    x: Array,
    gamma: Array,
    beta: Array,
    mean: Array,
    variance: Array,
    *,
    epsilon: float = 1e-3,
    out: Array | None = None,
) -> Array:
    """Normalize x with given statistics, those of the population.

    ::

        y = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    Ioffe & Szegedy 2015, Algorithm 2. Where variance + epsilon is 0, y is beta.

    Parameters
    ----------
    x : (..., D) array, float32 or float64
    gamma, beta, mean : (D,) array, of x's type
    variance : (D,) array, of x's type
        At least 0.
    epsilon : float
    out : array like x, optional
        It may be x itself.

    Returns
    -------
    y : array like x

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape.
    """
    vectors = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    x, epsilon, gamma, beta, mean, variance = _checked(x, epsilon, **vectors)
    # A shifted view of x is refused: a block written would be another one's input.
    is_x = getattr(out, "__array_interface__", None) == x.__array_interface__
    kept = (None if is_x else x, gamma, beta, mean, variance)
    y = checks.output(out, x.shape, x.dtype, kept)
    operation = BatchNormInferenceOperation(x.shape, x.dtype, epsilon)
    operation.forward(np, x, gamma, beta, mean, variance, y)
    return y


@quiet()
def batch_norm_inference_backward(
    dy: Array,
    x: Array,
    gamma: Array,
    mean: Array,
    variance: Array,
    *,
    epsilon: float = 1e-3,
    out: Array | None = None,
) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta where the statistics are constants.

    ::

        dx     = dy * gamma / sqrt(variance + epsilon)
        dgamma = sum(dy * (x - mean)) / sqrt(variance + epsilon)
        dbeta  = sum(dy)

    Where variance + epsilon is 0, dx and dgamma are 0.

    Parameters
    ----------
    dy, x : (..., D) array, float32 or float64
    gamma, mean, variance : (D,) array, of x's type
    epsilon : float
    out : array for dx, optional

    Returns
    -------
    dx : (..., D) array
    dgamma, dbeta : (D,) array

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape.
    """
    vectors = {"gamma": gamma, "mean": mean, "variance": variance}
    x, epsilon, gamma, mean, variance = _checked(x, epsilon, **vectors)
    dy = checks.upstream(dy, x)
    dx = checks.output(out, dy.shape, dy.dtype, (dy, x, gamma, mean, variance))
    dgamma, dbeta = np.empty_like(gamma), np.empty_like(gamma)
    operation = BatchNormInferenceOperation(x.shape, x.dtype, epsilon)
    operation.take(np, x, gamma, mean, variance)
    operation.prepare_backward()
    operation.backward(np, dy, dx, dgamma, dbeta)
    return dx, dgamma, dbeta


class BatchNormOperation(Operation):
    """In float64 up to x_hat: so of a float32 array no digit is lost, and no square overflows."""

    y_over_x = shows_infinity = True

    @staticmethod
    def of(shape: tuple[int, ...], dtype: np.dtype[Any], epsilon: float) -> BatchNormOperation:
        """The one for arrays of this shape and type."""
        large = prod(shape) > SMALL
        return (LargeBatchNormOperation if large else BatchNormOperation)(shape, dtype, epsilon)

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], epsilon: float) -> None:
        super().__init__(shape, dtype)
        self._rows, self._features = prod(shape[:-1]), shape[-1]
        self._size, self._epsilon = constant(float(self._rows), "d"), constant(epsilon, "d")
        self._mean, self._variance = np.empty(self._features), np.empty(self._features)
        self._std, self._remainder = np.empty(self._features), np.empty(self._features)
        self._make_arrays()

    def _make_arrays(self) -> None:
        rows, features = self._rows, self._features
        self._ones = constant(1.0, "d", rows)
        self._deviations, self._squares = np.empty(self.shape), np.empty(self.shape)
        self._deviation_rows = self._deviations.reshape(rows, features)
        self._square_rows = self._squares.reshape(rows, features)
        self._scale, self._x_hat = np.empty(features, self.dtype), np.empty(self.shape, self.dtype)

    def keep_statistics_in(self, vector: Array) -> None:
        """Write mean and variance into this vector (2 * D) of float64."""
        self._mean, self._variance = vector[: self._features], vector[self._features :]

    def forward(self, xp: Any, x: Array, gamma: Array, beta: Array, y: Array) -> None:
        self.measure(xp, x)
        self.normalize(xp, gamma, beta, y)

    def measure(self, xp: Any, x: Array) -> None:
        """Write the statistics, and keep x - mean."""
        xp.copyto(self._deviations, x)
        xp.dot(self._ones, self._deviation_rows, out=self._mean)
        xp.divide(self._mean, self._size, out=self._mean)
        xp.subtract(self._deviations, self._mean, out=self._deviations)
        if self.dtype == np.float64:
            # Once more, for what rounding left of the mean.
            xp.dot(self._ones, self._deviation_rows, out=self._remainder)
            xp.divide(self._remainder, self._size, out=self._remainder)
            xp.subtract(self._deviations, self._remainder, out=self._deviations)
            xp.add(self._mean, self._remainder, out=self._mean)
        xp.multiply(self._deviations, self._deviations, out=self._squares)
        xp.dot(self._ones, self._square_rows, out=self._variance)
        xp.divide(self._variance, self._size, out=self._variance)
        if self.dtype == np.float64:
            _refuse_infinity(xp, self._variance)
        _write_std(xp, self._variance, self._epsilon, self._std)

    def normalize(self, xp: Any, gamma: Array, beta: Array, y: Array) -> None:
        """Write y of what was measured."""
        xp.divide(self._deviations, self._std, out=self._deviations)
        xp.copyto(self._x_hat, self._deviations)
        xp.multiply(self._x_hat, gamma, out=y)
        xp.add(y, beta, out=y)
        xp.divide(gamma, self._std, out=self._scale)

    def prepare_backward(self) -> None:
        features = self._features
        self._dy, self._products = np.empty(self.shape), np.empty(self.shape)
        self._dy_rows = self._dy.reshape(self._rows, features)
        self._product_rows = self._products.reshape(self._rows, features)
        self._sums, self._means = np.empty((2, features)), np.empty((2, features), self.dtype)
        self._sum_dy, self._sum_products = self._sums
        self._mean_dy, self._mean_product = self._means

    def backward(self, xp: Any, dy: Array, dx: Array | None, dgamma: Array, dbeta: Array) -> None:
        xp.copyto(self._dy, dy)
        xp.multiply(self._dy, self._deviations, out=self._products)
        xp.dot(self._ones, self._dy_rows, out=self._sum_dy)
        xp.dot(self._ones, self._product_rows, out=self._sum_products)
        xp.copyto(dbeta, self._sum_dy)
        xp.copyto(dgamma, self._sum_products)
        if dx is not None:
            xp.divide(self._sums, self._size, out=self._means)
            xp.multiply(self._x_hat, self._mean_product, out=dx)
            xp.add(dx, self._mean_dy, out=dx)
            xp.subtract(dy, dx, out=dx)
            xp.multiply(dx, self._scale, out=dx)

    @property
    def x_hat(self) -> Array:
        """The normalized x, (..., D), a new array."""
        return self._x_hat.copy()

    @property
    def mean(self) -> Array:
        """The mean of the batch, (D,), a new array."""
        return self._mean.astype(self.dtype)

    @property
    def variance(self) -> Array:
        """The biased variance of the batch, (D,), a new array."""
        with quiet():
            return self._variance.astype(self.dtype)


class LargeBatchNormOperation(BatchNormOperation):
    """Block by block, in the array's own type.

    x is centred about a first mean, from some of the rows; what that leaves of the mean is
    `remainder`: x_hat = (centred - remainder) / std. It rides in the shift, and costs no pass.
    """

    def _make_arrays(self) -> None:
        self._centred = np.empty(self.shape, self.dtype)
        self._centred_blocks = Blocks.of(self.shape, self.dtype).split(self._centred)
        self._center = np.empty(self._features, self.dtype)
        self._scale_and_shift = np.empty((2, self._features), self.dtype)
        self._scale, self._shift = self._scale_and_shift
        self._moments = np.empty((2, self._features))
        self._remainder, self._mean_square = self._moments

    def measure(self, xp: Any, x: Array) -> None:
        some = self._some(x, SOME_ROWS)
        # Weights that are powers of two change nothing of what is constant, and nothing overflows.
        first = xp.dot(constant(1 / SOME_ROWS, self.dtype.char, len(some)), some)
        share = constant(SOME_ROWS / len(some), self.dtype.char)
        xp.multiply(first, share, out=self._center)
        if not self._centre(xp, x):
            # Where |mean| >> std, where nothing varies, and where some rows are not like the
            # others, the first mean was too coarse.
            xp.copyto(self._center, self._mean)
            self._centre(xp, x)
        _write_std(xp, self._variance, self._epsilon, self._std)

    def normalize(self, xp: Any, gamma: Array, beta: Array, y: Array) -> None:
        xp.divide(gamma, self._std, out=self._scale)
        xp.subtract(beta, xp.multiply(self._scale, self._remainder), out=self._shift)
        blocks = Blocks.of(self.shape, self.dtype)
        vectors = blocks.beside(xp, self._scale_and_shift)
        for centred, scale, shift, out in blocks.each(xp, self._centred_blocks, *vectors, out=y):
            xp.multiply(centred, scale, out=out)
            xp.add(out, shift, out=out)

    def _centre(self, xp: Any, x: Array) -> bool:
        """Writes x - center, its mean, and the variance; returns whether that mean is small."""
        blocks, kind = Blocks.of(self.shape, self.dtype), self.dtype.char
        sums, room = ColumnSums(blocks, kind, 2), blocks.room("products", kind)
        (centers,) = blocks.beside(xp, self._center[np.newaxis])
        for given, center, centred, squares in blocks.each(
            xp, x, centers, self._centred_blocks, room
        ):
            xp.subtract(given, center, out=centred)
            sums.take(xp, centred)
            xp.multiply(centred, centred, out=squares)
            sums.take(xp, squares)
        sums.total(xp, self._moments)
        xp.divide(self._moments, self._size, out=self._moments)
        xp.add(self._center, self._remainder, out=self._mean)
        square = xp.multiply(self._remainder, self._remainder)
        xp.subtract(self._mean_square, square, out=self._variance)
        # Rounding may leave less than 0 of a constant feature, whose root would be NaN.
        xp.maximum(self._variance, constant(0.0, "d"), out=self._variance)
        _refuse_infinity(xp, self._variance)
        limit = xp.multiply(self._variance, constant(COARSE, "d"))
        return 0 not in xp.less_equal(square, limit).tobytes()

    def _some(self, array: Array, most: int) -> Array:
        return array.reshape(self._rows, self._features)[:: -(-self._rows // most)]

    def prepare_backward(self) -> None:
        self._sums = np.empty((3, self._features))
        self._sum_dy, self._sum_products, self._sum_centred = self._sums
        self._of_dx = np.empty((3, self._features), self.dtype)
        self._slope, self._dy_shift, self._dy_scale = self._of_dx

    def backward(self, xp: Any, dy: Array, dx: Array | None, dgamma: Array, dbeta: Array) -> None:
        self._add_up(xp, dy)
        if self.dtype == np.float32 and self._is_one_sided(xp, dy):
            self._add_up_in_float64(xp, dy)
        xp.copyto(dbeta, self._sum_dy)
        xp.divide(self._sum_products, self._std, out=self._sum_products)
        xp.copyto(dgamma, self._sum_products)
        if dx is None:
            return
        # dx = scale * (dy - (slope * centred + shift)): no array beside dx.
        xp.divide(self._sum_products, self._std, out=self._sum_products)
        xp.divide(self._sum_products, self._size, out=self._slope)
        xp.divide(self._sum_dy, self._size, out=self._sum_dy)
        offset = xp.multiply(self._slope, self._remainder)
        xp.subtract(self._sum_dy, offset, out=self._dy_shift)
        xp.copyto(self._dy_scale, self._scale)
        blocks = Blocks.of(self.shape, self.dtype)
        vectors = blocks.beside(xp, self._of_dx)
        for given, centred, slope, shift, scale, out in blocks.each(
            xp, dy, self._centred_blocks, *vectors, out=dx
        ):
            xp.multiply(centred, slope, out=out)
            xp.add(out, shift, out=out)
            xp.subtract(given, out, out=out)
            xp.multiply(out, scale, out=out)

    def _add_up(self, xp: Any, dy: Array) -> None:
        """Writes the sums of dy and of dy * (x - mean)."""
        blocks, kind = Blocks.of(self.shape, self.dtype), self.dtype.char
        sums, room = ColumnSums(blocks, kind, 2), blocks.room("products", kind)
        for given, centred, product in blocks.each(xp, dy, self._centred_blocks, room):
            xp.multiply(given, centred, out=product)
            sums.take(xp, given)
            sums.take(xp, product)
        sums.total(xp, self._sums[:2])
        # sum(dy * (x - mean)) = sum(dy * centred) - sum(dy) * remainder
        left = xp.multiply(self._sum_dy, self._remainder)
        xp.subtract(self._sum_products, left, out=self._sum_products)

    def _add_up_in_float64(self, xp: Any, dy: Array) -> None:
        """The same, with the remainder, too, from sums in float64."""
        blocks = Blocks.of(self.shape, self.dtype)
        sums, *rooms = ColumnSums(blocks, "d", 3), blocks.room("dy", "d"), blocks.room("x", "d")
        for given, centred, factor, product in blocks.each(xp, dy, self._centred_blocks, *rooms):
            xp.copyto(factor, given)
            sums.take(xp, factor)
            xp.copyto(product, centred)
            xp.multiply(factor, product, out=factor)
            sums.take(xp, factor)
            sums.take(xp, product)
        sums.total(xp, self._sums)
        left = xp.divide(xp.multiply(self._sum_dy, self._sum_centred), self._size)
        xp.subtract(self._sum_products, left, out=self._sum_products)

    def _is_one_sided(self, xp: Any, dy: Array) -> bool:
        """Whether a column's sum of dy is too large for float32 products.

        If their roundings all go one way, as those of x that takes two values may, dgamma is off by
        up to 6e-8 * sum(dy); it may be by 5e-7 of the root of the sum of its terms' squares.
        """
        some = self._some(dy, SOME_DY)
        squares = xp.dot(constant(1.0, dy.dtype.char, len(some)), xp.multiply(some, some))
        share = constant(ONE_SIDED**2 * self._rows / len(some), dy.dtype.char)
        limit = xp.multiply(squares, share)
        return 1 in xp.greater(xp.multiply(self._sum_dy, self._sum_dy), limit).tobytes()

    @property
    def x_hat(self) -> Array:
        """The normalized x, (..., D), a new array."""
        with quiet():
            return ((self._centred - self._remainder) / self._std).astype(self.dtype)


class BatchNormInferenceOperation(Operation):
    """With given statistics."""

    y_over_x = reads_x = shows_infinity = True

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], epsilon: float) -> None:
        super().__init__(shape, dtype)
        self._epsilon = constant(epsilon, dtype.char)
        self._std, self._vectors = np.empty(shape[-1], dtype), np.empty((3, shape[-1]), dtype)
        self._mean, self._scale, self._shift = self._vectors

    def take(self, xp: Any, x: Array, gamma: Array, mean: Array, variance: Array) -> None:
        """What backward needs."""
        self._x = x
        xp.copyto(self._mean, mean)
        self._take_spread(xp, variance)
        xp.divide(gamma, self._std, out=self._scale)

    def _take_spread(self, xp: Any, spread: Array) -> None:
        """Write what x - mean is divided by."""
        _write_std(xp, spread, self._epsilon, self._std)

    def forward(
        self, xp: Any, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, y: Array
    ) -> None:
        self.take(xp, x, gamma, mean, variance)
        # The mean first: in x * scale + (beta - mean * scale) both terms lose digits where |mean|
        # >> std.
        xp.copyto(self._shift, beta)
        blocks = Blocks.of(self.shape, self.dtype)
        vectors = blocks.beside(xp, self._vectors)
        for given, center, scale, shift, out in blocks.each(xp, x, *vectors, out=y):
            xp.subtract(given, center, out=out)
            xp.multiply(out, scale, out=out)
            xp.add(out, shift, out=out)

    def prepare_backward(self) -> None:
        self._sums = np.empty((2, self.shape[-1]))
        self._sum_dy, self._sum_products = self._sums

    def backward(self, xp: Any, dy: Array, dx: Array | None, dgamma: Array, dbeta: Array) -> None:
        blocks = Blocks.of(self.shape, self.dtype)
        sums, *rooms = ColumnSums(blocks, "d", 2), blocks.room("dy", "d"), blocks.room("x", "d")
        # In float64: nothing makes x - mean sum to 0 here.
        (centers,) = blocks.beside(xp, self._vectors[:1], "d")
        for given, each, center, factor, product in blocks.each(xp, dy, self._x, centers, *rooms):
            xp.copyto(factor, given)
            sums.take(xp, factor)
            xp.copyto(product, each)
            xp.subtract(product, center, out=product)
            xp.multiply(factor, product, out=product)
            sums.take(xp, product)
        sums.total(xp, self._sums)
        xp.copyto(dbeta, self._sum_dy)
        xp.divide(self._sum_products, self._std, out=dgamma)
        if dx is not None:
            (scales,) = blocks.beside(xp, self._vectors[1:2])
            for given, scale, out in blocks.each(xp, dy, scales, out=dx):
                xp.multiply(given, scale, out=out)


def _checked(x: Any, epsilon: Any, **vectors: Any) -> tuple[Any, ...]:
    x = checks.batch("x", x)
    checked = [checks.vector(name, each, x.shape[-1], x) for name, each in vectors.items()]
    if "variance" in vectors and (checked[-1] < 0).any():
        raise ValueError(f"variance: expected at least 0, got {checked[-1].min()}")
    return x, checks.epsilon(epsilon, x.dtype), *checked


def _write_std(xp: Any, variance: Array, epsilon: Array, std: Array) -> None:
    """std = sqrt(variance + epsilon); infinite where it is 0: then y is beta, and dx is 0."""
    xp.add(variance, epsilon, out=std)
    xp.sqrt(std, out=std)
    if not epsilon:
        xp.copyto(std, np.inf, where=xp.equal(std, 0))


def _refuse_infinity(xp: Any, variance: Array) -> None:
    """A variance that is too large for float64 becomes NaN: its std would make y = beta."""
    if not all_finite(xp, variance):
        xp.copyto(variance, np.nan, where=xp.isinf(variance))
