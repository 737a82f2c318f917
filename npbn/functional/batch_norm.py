"""Batch normalization, fast: Ioffe & Szegedy 2015, Algorithms 1 and 2 and section 3."""

from math import prod
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.blocks import SMALL, Blocks
from npbn.numerics.constants import constant
from npbn.numerics.denormals import quiet
from npbn.numerics.masked import MaskedOperation
from npbn.numerics.operation import Operation, check_cache, put_back, writable
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
) -> "tuple[Array, BatchNormOperation | MaskedOperation]":
    """Normalize x over every axis but the last, then scale and shift.

        mean     = sum(x) / m
        variance = sum((x - mean)^2) / m
        y        = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    x (..., D), float32 or float64; gamma and beta (D,), of x's type; m is the number of values per
    feature. Returns y, shaped like x, and the cache for batch_norm_backward; cache.variance is the
    biased one: the sum of squares over m, not m - 1. A running average of the statistics is the
    caller's: population = momentum * population + (1 - momentum) * batch. A feature with an
    infinity or NaN in x makes y NaN throughout. A constant feature becomes beta, also without
    epsilon. Any other is exact to rounding: of a float32 x of at most 32,768 values however large
    or small it is (cache.variance may then be infinite although y is right); of a larger one, or of
    float64, where its variance is from 1e-30 to 1e38, or from 1e-290 to 1e300. A variance that the
    type of a large x cannot hold makes y NaN. mask: bools, of the shape of x but for the last axis:
    where it is False, a step of a sequence that is none, x counts in no statistic and may be
    anything, and y and dx are 0. TypeError or ValueError for arrays of another type or shape. Ioffe
    & Szegedy 2015, Algorithm 1.
    """
    x, gamma, beta, epsilon = _checked(x, gamma, beta, epsilon)
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
    dy: Array, cache: "BatchNormOperation | MaskedOperation", *, out: Array | None = None
) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta, the paper's six formulas simplified to three.

        dbeta  = sum(dy)
        dgamma = sum(dy * x_hat)
        dx     = gamma / sqrt(variance + epsilon) * (dy - dbeta / m - x_hat * dgamma / m)

    with x_hat = (x - mean) / sqrt(variance + epsilon). dy (..., D) like x; the cache may be used
    again. Returns dx (..., D), dgamma (D,), dbeta (D,). In float32 dgamma and dbeta are off by at
    most 5e-7 of their value or of the root of the sum of their terms' squares (dgamma of more than
    32,768 values: of that of dy), whichever is larger. TypeError or ValueError for a dy of another
    type or shape. Ioffe & Szegedy 2015, section 3.
    """
    check_cache(cache, (BatchNormOperation, MaskedOperation), "batch_norm_forward")
    dy = checks.upstream(dy, cache)
    dx = checks.output(out, dy.shape, dy.dtype, (dy, *cache.arrays()))
    dgamma, dbeta = np.empty(dy.shape[-1:], dy.dtype), np.empty(dy.shape[-1:], dy.dtype)
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

        y = gamma * (x - mean) / sqrt(variance + epsilon) + beta

    x (..., D), float32 or float64; the others (D,), of x's type; variance at least 0. Returns y,
    shaped like x. out may be x itself. Where variance + epsilon is 0, y is beta. TypeError or
    ValueError for arrays of another type or shape. Ioffe & Szegedy 2015, Algorithm 2.
    """
    x, gamma, beta, epsilon = _checked(x, gamma, beta, epsilon)
    mean, variance = _checked_statistics(x, mean, variance)
    # out may be x itself, not a shifted view of it: a block written would be another one's input.
    kept = (gamma, beta, mean, variance) if _is_same(x, out) else (x, gamma, beta, mean, variance)
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

        dx     = dy * gamma / sqrt(variance + epsilon)
        dgamma = sum(dy * (x - mean)) / sqrt(variance + epsilon)
        dbeta  = sum(dy)

    dy and x (..., D), the others (D,), all of one type. Returns dx (..., D), dgamma (D,), dbeta
    (D,). Where variance + epsilon is 0, dx and dgamma are 0. TypeError or ValueError for arrays of
    another type or shape.
    """
    # There is no beta here; gamma stands in for it.
    x, gamma, _, epsilon = _checked(x, gamma, gamma, epsilon)
    mean, variance = _checked_statistics(x, mean, variance)
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
    def of(shape: tuple[int, ...], dtype: np.dtype[Any], epsilon: float) -> "BatchNormOperation":
        """The one for arrays of this shape and type."""
        large = prod(shape) > SMALL
        return (LargeBatchNormOperation if large else BatchNormOperation)(shape, dtype, epsilon)

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], epsilon: float) -> None:
        self.shape, self._features, self.dtype = shape, shape[-1], dtype
        self._rows = prod(shape[:-1])
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
            self._refuse_infinity(xp)
        self._write_std(xp)
        xp.divide(self._deviations, self._std, out=self._deviations)
        xp.copyto(self._x_hat, self._deviations)
        xp.multiply(self._x_hat, gamma, out=y)
        xp.add(y, beta, out=y)
        xp.divide(gamma, self._std, out=self._scale)

    def _refuse_infinity(self, xp: Any) -> None:
        """A variance that is too large for float64 becomes NaN: its std would make y = beta."""
        if not all_finite(xp, self._variance):
            xp.copyto(self._variance, np.nan, where=xp.isinf(self._variance))

    def _write_std(self, xp: Any) -> None:
        """std = sqrt(variance + epsilon); infinite where it is 0: then y is beta, and dx is 0."""
        xp.add(self._variance, self._epsilon, out=self._std)
        xp.sqrt(self._std, out=self._std)
        if not self._epsilon:
            xp.copyto(self._std, np.inf, where=xp.equal(self._std, 0))

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
        self._blocks = Blocks(self.shape, self.dtype)
        self._centred = np.empty(self.shape, self.dtype)
        self._center, self._scale, self._shift = np.empty((3, self._features), self.dtype)
        self._square, self._limit = np.empty((2, self._features))
        self._is_over = np.empty(self._features, bool)

    def forward(self, xp: Any, x: Array, gamma: Array, beta: Array, y: Array) -> None:
        some = x.reshape(self._rows, self._features)[:: -(-self._rows // SOME_ROWS)]
        # Weights that are powers of two change nothing of what is constant, and nothing overflows.
        first = xp.dot(constant(1 / SOME_ROWS, x.dtype.char, len(some)), some)
        xp.multiply(first, SOME_ROWS / len(some), out=self._center)
        self._centre(xp, x)
        xp.multiply(self._variance, constant(COARSE, "d"), out=self._limit)
        xp.less_equal(self._square, self._limit, out=self._is_over)
        if 0 in self._is_over.tobytes():
            # Where |mean| >> std, where nothing varies, and where some rows are not like the
            # others, the first mean was too coarse.
            xp.copyto(self._center, self._mean)
            self._centre(xp, x)
        self._write_std(xp)
        xp.divide(gamma, self._std, out=self._scale)
        xp.multiply(self._scale, self._remainder, out=self._limit)
        xp.subtract(beta, self._limit, out=self._shift)
        written = writable(y)
        for centred, out, scale, shift in self._blocks.each(
            xp, self._centred, written, self._scale, self._shift
        ):
            xp.multiply(centred, scale, out=out)
            xp.add(out, shift, out=out)
        put_back(xp, written, y)

    def _centre(self, xp: Any, x: Array) -> None:
        """Writes x - center, and of that the mean, its square, and the variance."""
        kind = self.dtype.char
        sums, square_sums = (ColumnSums(self._blocks, kind, name) for name in ("x", "squares"))
        room = self._blocks.room("products", kind)
        for given, center, centred, squares in self._blocks.each(
            xp, x, self._center, self._centred, room
        ):
            xp.subtract(given, center, out=centred)
            sums.take(xp, centred)
            xp.multiply(centred, centred, out=squares)
            square_sums.take(xp, squares)
        sums.total(xp, self._remainder)
        square_sums.total(xp, self._variance)
        xp.divide(self._remainder, self._size, out=self._remainder)
        xp.divide(self._variance, self._size, out=self._variance)
        xp.add(self._center, self._remainder, out=self._mean)
        xp.multiply(self._remainder, self._remainder, out=self._square)
        xp.subtract(self._variance, self._square, out=self._variance)
        # Rounding may leave less than 0 of a constant feature, whose root would be NaN.
        xp.maximum(self._variance, constant(0.0, "d"), out=self._variance)
        self._refuse_infinity(xp)

    def prepare_backward(self) -> None:
        self._sum_dy, self._sum_products, self._limit, self._square = np.empty((4, self._features))
        self._slope, self._dy_shift = np.empty((2, self._features), self.dtype)
        self._is_over = np.empty(self._features, bool)

    def backward(self, xp: Any, dy: Array, dx: Array | None, dgamma: Array, dbeta: Array) -> None:
        self._add_up(xp, dy, self.dtype.char)
        if self.dtype == np.float32 and self._is_one_sided(xp, dy):
            self._add_up(xp, dy, "d")
        xp.copyto(dbeta, self._sum_dy)
        xp.divide(self._sum_products, self._std, out=self._sum_products)
        xp.copyto(dgamma, self._sum_products)
        if dx is None:
            return
        # dx = scale * (dy - (slope * centred + shift)): no array beside dx.
        xp.divide(self._sum_products, self._std, out=self._sum_products)
        xp.divide(self._sum_products, self._size, out=self._slope)
        xp.divide(self._sum_dy, self._size, out=self._sum_dy)
        xp.multiply(self._slope, self._remainder, out=self._limit)
        xp.subtract(self._sum_dy, self._limit, out=self._dy_shift)
        written = writable(dx)
        for given, centred, out, slope, shift, scale in self._blocks.each(
            xp, dy, self._centred, written, self._slope, self._dy_shift, self._scale
        ):
            xp.multiply(centred, slope, out=out)
            xp.add(out, shift, out=out)
            xp.subtract(given, out, out=out)
            xp.multiply(out, scale, out=out)
        put_back(xp, written, dx)

    def _add_up(self, xp: Any, dy: Array, kind: str) -> None:
        """Writes the sums of dy and of dy * (x - mean), whose products are of the given type."""
        blocks, exact = self._blocks, kind != self.dtype.char
        sums, product_sums, centred_sums = (
            ColumnSums(blocks, kind, name) for name in ("dy", "products", "centred")
        )
        room, products = blocks.room("dy", kind), blocks.room("products", kind)
        for given, centred, factor, product in blocks.each(xp, dy, self._centred, room, products):
            if exact:
                xp.copyto(factor, given)
                xp.copyto(product, centred)
                centred_sums.take(xp, product)
            xp.multiply(*((factor, product) if exact else (given, centred)), out=product)
            sums.take(xp, factor if exact else given)
            product_sums.take(xp, product)
        sums.total(xp, self._sum_dy)
        product_sums.total(xp, self._sum_products)
        # sum(dy * (x - mean)) = sum(dy * centred) - sum(dy) * remainder
        if exact:
            centred_sums.total(xp, self._square)
            xp.divide(self._square, self._size, out=self._square)
        xp.multiply(self._sum_dy, self._square if exact else self._remainder, out=self._square)
        xp.subtract(self._sum_products, self._square, out=self._sum_products)

    def _is_one_sided(self, xp: Any, dy: Array) -> bool:
        """Whether a column's sum of dy is too large for float32 products.

        If their roundings all go one way, as those of x that takes two values may, dgamma is off by
        up to 6e-8 * sum(dy); it may be by 5e-7 of the root of the sum of its terms' squares.
        """
        some = dy.reshape(self._rows, self._features)[:: -(-self._rows // SOME_DY)]
        squares = xp.dot(constant(1.0, dy.dtype.char, len(some)), xp.multiply(some, some))
        xp.multiply(squares, ONE_SIDED**2 * self._rows / len(some), out=self._limit)
        xp.multiply(self._sum_dy, self._sum_dy, out=self._square)
        xp.greater(self._square, self._limit, out=self._is_over)
        return 1 in self._is_over.tobytes()

    @property
    def x_hat(self) -> Array:
        """The normalized x, (..., D), a new array."""
        with quiet():
            return ((self._centred - self._remainder) / self._std).astype(self.dtype)


class BatchNormInferenceOperation(Operation):
    """With given statistics."""

    y_over_x = reads_x = shows_infinity = True

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], epsilon: float) -> None:
        self._blocks, self._epsilon = Blocks(shape, dtype), constant(epsilon, dtype.char)
        self._mean, self._std, self._scale = np.empty((3, shape[-1]), dtype)

    def take(self, xp: Any, x: Array, gamma: Array, mean: Array, variance: Array) -> None:
        """What backward needs."""
        self._x = x
        xp.copyto(self._mean, mean)
        xp.add(variance, self._epsilon, out=self._std)
        xp.sqrt(self._std, out=self._std)
        if not self._epsilon:
            xp.copyto(self._std, np.inf, where=xp.equal(self._std, 0))
        xp.divide(gamma, self._std, out=self._scale)

    def forward(
        self, xp: Any, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, y: Array
    ) -> None:
        self.take(xp, x, gamma, mean, variance)
        written = writable(y)
        for given, center, scale, shift, out in self._blocks.each(
            xp, x, self._mean, self._scale, beta, written
        ):
            # The mean first: in x * scale + (beta - mean * scale) both terms lose digits where
            # |mean| >> std.
            xp.subtract(given, center, out=out)
            xp.multiply(out, scale, out=out)
            xp.add(out, shift, out=out)
        put_back(xp, written, y)

    def prepare_backward(self) -> None:
        self._sum_dy, self._sum_products = np.empty((2, self._blocks.features))

    def backward(self, xp: Any, dy: Array, dx: Array | None, dgamma: Array, dbeta: Array) -> None:
        blocks = self._blocks
        sums, product_sums = (ColumnSums(blocks, "d", name) for name in ("dy", "products"))
        room, products = blocks.room("dy", "d"), blocks.room("products", "d")
        # In float64: nothing makes x - mean sum to 0 here.
        for given, each, center, factor, product in blocks.each(
            xp, dy, self._x, self._mean, room, products, kind="d"
        ):
            xp.copyto(factor, given)
            xp.copyto(product, each)
            xp.subtract(product, center, out=product)
            xp.multiply(factor, product, out=product)
            sums.take(xp, factor)
            product_sums.take(xp, product)
        sums.total(xp, self._sum_dy)
        product_sums.total(xp, self._sum_products)
        xp.copyto(dbeta, self._sum_dy)
        xp.divide(self._sum_products, self._std, out=dgamma)
        if dx is not None:
            written = writable(dx)
            for given, scale, out in blocks.each(xp, dy, self._scale, written):
                xp.multiply(given, scale, out=out)
            put_back(xp, written, dx)


def _is_same(x: Array, out: Array | None) -> bool:
    return isinstance(out, np.ndarray) and (
        x.__array_interface__["data"] == out.__array_interface__["data"]
        and x.strides == out.strides
    )


def _checked(
    x: Array, gamma: Array, beta: Array, epsilon: float
) -> tuple[Array, Array, Array, float]:
    x = checks.batch("x", x)
    gamma = checks.vector("gamma", gamma, x.shape[-1], x)
    beta = checks.vector("beta", beta, x.shape[-1], x)
    return x, gamma, beta, checks.epsilon(epsilon, x.dtype)


def _checked_statistics(x: Array, mean: Array, variance: Array) -> tuple[Array, Array]:
    mean = checks.vector("mean", mean, x.shape[-1], x)
    variance = checks.vector("variance", variance, x.shape[-1], x)
    if (variance < 0).any():
        raise ValueError(f"variance: expected at least 0, got {variance.min()}")
    return mean, variance
