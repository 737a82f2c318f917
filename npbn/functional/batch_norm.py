"""Batch normalization, fast: Ioffe & Szegedy 2015, Algorithms 1 and 2 and section 3."""

from math import isfinite, prod
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.blocks import SMALL, Blocks
from npbn.numerics.constants import constant
from npbn.numerics.denormals import quiet
from npbn.numerics.operation import Operation, put_back, writable
from npbn.numerics.sums import ColumnSums
from npbn.numerics.tape import repeated

# Of many rows the first mean is taken from at most so many.
SOME_ROWS = 256
# Centre again where the square of what is left of the mean is more than this share of the variance.
COARSE = 1 / 16
# A sum of dy that is so many times the root of its sum of squares, which some rows tell.
ONE_SIDED, SOME_DY = 8, 64


@quiet()
def batch_norm_forward(
    x: Array, gamma: Array, beta: Array, *, epsilon: float = 1e-3, out: Array | None = None
) -> "tuple[Array, _BatchStatistics]":
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
    type of a large x cannot hold makes y NaN. TypeError or ValueError for arrays of another type
    or shape. Ioffe & Szegedy 2015, Algorithm 1.
    """
    x, gamma, beta, epsilon = _checked(x, gamma, beta, epsilon)
    y = checks.output(out, x.shape, x.dtype, (x, gamma, beta))
    operation = batch_norm_operation(x.shape, x.dtype, epsilon)
    operation.forward(np, x, gamma, beta, y)
    return y, operation


@quiet()
def batch_norm_backward(
    dy: Array, cache: "_BatchStatistics", *, out: Array | None = None
) -> tuple[Array, Array, Array]:
    """The gradients of x, gamma and beta, the paper's six formulas simplified to three.

        dbeta  = sum(dy)
        dgamma = sum(dy * x_hat)
        dx     = gamma / sqrt(variance + epsilon) * (dy - dbeta / m - x_hat * dgamma / m)

    with x_hat = (x - mean) / sqrt(variance + epsilon). dy (..., D) like x; the cache may be used
    again. Returns dx (..., D), dgamma (D,), dbeta (D,). TypeError or ValueError for a dy of another
    type or shape. Ioffe & Szegedy 2015, section 3.
    """
    if not isinstance(cache, _BatchStatistics):
        raise TypeError(
            f"cache: expected what batch_norm_forward returned, got {type(cache).__name__}"
        )
    dy = checks.upstream(dy, cache.like)
    dx = checks.output(out, dy.shape, dy.dtype, (dy, cache.like))
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


def batch_norm_operation(
    shape: tuple[int, ...], dtype: np.dtype[Any], epsilon: float
) -> "_BatchStatistics":
    """Batch normalization at work on arrays of this shape and type."""
    small = prod(shape) <= SMALL
    return (BatchNormOperation if small else LargeBatchNormOperation)(shape, dtype, epsilon)


class _BatchStatistics(Operation):
    """What the two ways to work have in common: mean, variance and std (D,), in float64."""

    y_over_x = True

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], epsilon: float) -> None:
        self._shape, self._features, self._dtype = shape, shape[-1], dtype
        self._rows = prod(shape[:-1])
        self._size, self._epsilon = constant(float(self._rows), "d"), constant(epsilon, "d")
        self._mean, self._variance = np.empty(self._features), np.empty(self._features)
        self._std = np.empty(self._features)

    def keep_statistics_in(self, vector: Array) -> None:
        """Write mean and variance into this vector (2 * D) of float64."""
        self._mean, self._variance = vector[: self._features], vector[self._features :]

    def forward(self, xp: Any, x: Array, gamma: Array, beta: Array, y: Array) -> None:
        """Writes y."""
        raise NotImplementedError

    def backward(self, xp: Any, dy: Array, dx: Array | None, dgamma: Array, dbeta: Array) -> None:
        """Writes dx, unless it is None, dgamma and dbeta."""
        raise NotImplementedError

    @property
    def like(self) -> Array:
        """An array of x's shape and type, which backward needs."""
        raise NotImplementedError

    @property
    def x_hat(self) -> Array:
        """The normalized x, (..., D), a new array."""
        raise NotImplementedError

    @property
    def mean(self) -> Array:
        """The mean of the batch, (D,), a new array."""
        return self._mean.astype(self._dtype)

    @property
    def variance(self) -> Array:
        """The biased variance of the batch, (D,), a new array."""
        with quiet():
            return self._variance.astype(self._dtype)


class BatchNormOperation(_BatchStatistics):
    """Of a float32 array that is not large: in float64 up to x_hat, so nothing can be lost."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], epsilon: float) -> None:
        super().__init__(shape, dtype, epsilon)
        self._ones = constant(1.0, "d", self._rows)
        self._deviations, self._squares = np.empty(shape), np.empty(shape)
        self._scale, self._x_hat = np.empty(self._features, dtype), np.empty(shape, dtype)
        if dtype == np.float64:
            self._remainder = np.empty(self._features)
        self._deviation_rows = self._deviations.reshape(self._rows, self._features)
        self._square_rows = self._squares.reshape(self._rows, self._features)

    def forward(self, xp: Any, x: Array, gamma: Array, beta: Array, y: Array) -> None:
        """Writes y."""
        xp.copyto(self._deviations, x)
        xp.dot(self._ones, self._deviation_rows, out=self._mean)
        xp.divide(self._mean, self._size, out=self._mean)
        xp.subtract(self._deviations, self._mean, out=self._deviations)
        if self._dtype == np.float64:
            # Once more, for what rounding left of the mean.
            xp.dot(self._ones, self._deviation_rows, out=self._remainder)
            xp.divide(self._remainder, self._size, out=self._remainder)
            xp.subtract(self._deviations, self._remainder, out=self._deviations)
            xp.add(self._mean, self._remainder, out=self._mean)
        xp.multiply(self._deviations, self._deviations, out=self._squares)
        xp.dot(self._ones, self._square_rows, out=self._variance)
        xp.divide(self._variance, self._size, out=self._variance)
        if self._dtype == np.float64:
            _make_nan(xp, self._variance)
        xp.add(self._variance, self._epsilon, out=self._std)
        xp.sqrt(self._std, out=self._std)
        if not self._epsilon:
            _make_infinite(xp, self._std)
        xp.divide(self._deviations, self._std, out=self._deviations)
        xp.copyto(self._x_hat, self._deviations)
        xp.multiply(self._x_hat, gamma, out=y)
        xp.add(y, beta, out=y)
        xp.divide(gamma, self._std, out=self._scale)

    def prepare_backward(self) -> None:
        """Make the arrays that backward writes over."""
        features = self._features
        self._dy, self._products = np.empty(self._shape), np.empty(self._shape)
        self._dy_rows = self._dy.reshape(self._rows, features)
        self._product_rows = self._products.reshape(self._rows, features)
        self._sums, self._means = np.empty((2, features)), np.empty((2, features), self._dtype)
        self._sum_dy, self._sum_products = self._sums
        self._mean_dy, self._mean_product = self._means

    def backward(self, xp: Any, dy: Array, dx: Array | None, dgamma: Array, dbeta: Array) -> None:
        """Writes dx, unless it is None, dgamma and dbeta."""
        xp.copyto(self._dy, dy)
        xp.multiply(self._dy, self._deviations, out=self._products)
        xp.dot(self._ones, self._dy_rows, out=self._sum_dy)
        xp.dot(self._ones, self._product_rows, out=self._sum_products)
        xp.copyto(dbeta, self._sum_dy)
        xp.copyto(dgamma, self._sum_products)
        if dx is None:
            return
        xp.divide(self._sums, self._size, out=self._means)
        xp.multiply(self._x_hat, self._mean_product, out=dx)
        xp.add(dx, self._mean_dy, out=dx)
        xp.subtract(dy, dx, out=dx)
        xp.multiply(dx, self._scale, out=dx)

    @property
    def like(self) -> Array:
        """An array of x's shape and type, which backward needs."""
        return self._x_hat

    @property
    def x_hat(self) -> Array:
        """The normalized x, (..., D), a new array."""
        return self._x_hat.copy()


class LargeBatchNormOperation(_BatchStatistics):
    """Of a large array, or a float64 one: block by block, in the array's own type.

    x is centred about a first mean, from some of the rows; what that leaves of the mean is
    `remainder`: x_hat = (centred - remainder) / std. It rides in the shift, and costs no pass.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], epsilon: float) -> None:
        super().__init__(shape, dtype, epsilon)
        features, kind = self._features, dtype.char
        self._blocks = Blocks(shape, dtype)
        self._centred = np.empty(shape, dtype)
        self._remainder, self._square = np.empty(features), np.empty(features)
        self._scale, self._shift = np.empty(features), np.empty(features)
        self._is_fine = np.empty(features, bool)
        # Copies of a vector side by side, as many as rows are folded into one.
        self._centers, self._center = self._blocks.vector(kind)
        self._scales, self._each_scale = self._blocks.vector(kind)
        self._shifts, self._each_shift = self._blocks.vector(kind)

    def forward(self, xp: Any, x: Array, gamma: Array, beta: Array, y: Array) -> None:
        """Writes y."""
        out = writable(y)
        some = x.reshape(self._rows, self._features)[:: -(-self._rows // SOME_ROWS)]
        # Weights that are powers of two change nothing of what is constant, and nothing overflows.
        weights = constant(1 / SOME_ROWS, x.dtype.char, len(some))
        xp.copyto(self._mean, xp.dot(weights, some))
        xp.multiply(self._mean, SOME_ROWS / len(some), out=self._mean)
        xp.copyto(self._centers, self._mean)
        self._centre(xp, x)
        xp.multiply(self._variance, constant(COARSE, "d"), out=self._scale)
        xp.less_equal(self._square, self._scale, out=self._is_fine)
        if 0 in self._is_fine.tobytes():
            # Where |mean| >> std, where nothing varies, and where some rows are not like the
            # others, the first mean was too coarse.
            xp.add(self._centers[0], self._remainder, out=self._mean)
            xp.copyto(self._centers, self._mean)
            self._centre(xp, x)
        xp.add(self._centers[0], self._remainder, out=self._mean)
        xp.add(self._variance, self._epsilon, out=self._std)
        xp.sqrt(self._std, out=self._std)
        if not self._epsilon:
            _make_infinite(xp, self._std)
        xp.divide(gamma, self._std, out=self._scale)
        xp.multiply(self._scale, self._remainder, out=self._shift)
        xp.subtract(beta, self._shift, out=self._shift)
        xp.copyto(self._scales, self._scale)
        xp.copyto(self._shifts, self._shift)
        blocks = zip(
            self._blocks.of(self._centred),
            self._blocks.of(out),
            self._each_scale,
            self._each_shift,
            strict=True,
        )
        for centred, y_block, scale, shift in repeated(xp, blocks):
            xp.multiply(centred, scale, out=y_block)
            xp.add(y_block, shift, out=y_block)
        put_back(xp, out, y)

    def _centre(self, xp: Any, x: Array) -> None:
        """Writes x - center, the mean of that, and the variance."""
        of, kind = self._blocks.of, self._dtype.char
        sums, square_sums = (ColumnSums(self._blocks, kind, name) for name in ("dy", "products"))
        room = self._blocks.room("products", kind)
        blocks = zip(of(x), of(self._centred), room, self._center, strict=True)
        for x_block, centred, squares, center in repeated(xp, blocks):
            xp.subtract(x_block, center, out=centred)
            sums.take(xp, centred)
            xp.multiply(centred, centred, out=squares)
            square_sums.take(xp, squares)
        sums.total(xp, self._remainder)
        square_sums.total(xp, self._variance)
        xp.divide(self._remainder, self._size, out=self._remainder)
        xp.divide(self._variance, self._size, out=self._variance)
        xp.multiply(self._remainder, self._remainder, out=self._square)
        xp.subtract(self._variance, self._square, out=self._variance)
        # Rounding may leave less than 0 of a constant feature, whose root would be NaN.
        xp.maximum(self._variance, constant(0.0, "d"), out=self._variance)
        _make_nan(xp, self._variance)

    def prepare_backward(self) -> None:
        """Make the arrays that backward writes over."""
        kind = self._dtype.char
        self._sum_dy, self._sum_products = np.empty(self._features), np.empty(self._features)
        self._slope, self._shift = np.empty(self._features), np.empty(self._features)
        self._is_fine = np.empty(self._features, bool)
        self._slopes, self._each_slope = self._blocks.vector(kind)
        self._shifts, self._each_shift = self._blocks.vector(kind)

    def backward(self, xp: Any, dy: Array, dx: Array | None, dgamma: Array, dbeta: Array) -> None:
        """Writes dx, unless it is None, dgamma and dbeta."""
        of = self._blocks.of
        dy_blocks, centred_blocks = of(dy), of(self._centred)
        self._add_up(xp, dy_blocks, centred_blocks, dy.dtype.char)
        if dy.dtype == np.float32 and self._is_one_sided(xp, dy):
            self._add_up(xp, dy_blocks, centred_blocks, "d")
        xp.divide(self._sum_products, self._std, out=self._sum_products)
        xp.copyto(dbeta, self._sum_dy)
        xp.copyto(dgamma, self._sum_products)
        if dx is None:
            return
        # dx = scale * (dy - (slope * centred + shift)): no array beside dx.
        xp.divide(self._sum_products, self._std, out=self._slope)
        xp.divide(self._slope, self._size, out=self._slope)
        xp.divide(self._sum_dy, self._size, out=self._sum_dy)
        xp.multiply(self._slope, self._remainder, out=self._shift)
        xp.subtract(self._sum_dy, self._shift, out=self._shift)
        xp.copyto(self._slopes, self._slope)
        xp.copyto(self._shifts, self._shift)
        out = writable(dx)
        each = zip(
            dy_blocks,
            centred_blocks,
            of(out),
            self._each_slope,
            self._each_shift,
            self._each_scale,
            strict=True,
        )
        for dy_block, centred, dx_block, slope, shift, scale in repeated(xp, each):
            xp.multiply(centred, slope, out=dx_block)
            xp.add(dx_block, shift, out=dx_block)
            xp.subtract(dy_block, dx_block, out=dx_block)
            xp.multiply(dx_block, scale, out=dx_block)
        put_back(xp, out, dx)

    def _add_up(self, xp: Any, dy: list[Array], centred: list[Array], kind: str) -> None:
        """Writes the sums of dy and of dy * (x - mean), whose products are of the given type."""
        blocks, exact = self._blocks, kind != self._dtype.char
        sums, product_sums = (ColumnSums(blocks, kind, name) for name in ("dy", "products"))
        products = blocks.room("products", kind)
        exact_dy = blocks.room("dy", kind) if exact else dy
        each = zip(dy, centred, exact_dy, products, strict=True)
        for dy_block, centred_block, factor, product in repeated(xp, each):
            if exact:
                xp.copyto(factor, dy_block)
                xp.copyto(product, centred_block)
                xp.multiply(factor, product, out=product)
            else:
                xp.multiply(dy_block, centred_block, out=product)
            sums.take(xp, factor)
            product_sums.take(xp, product)
        sums.total(xp, self._sum_dy)
        product_sums.total(xp, self._sum_products)
        # What is left of the mean: sum(dy * (x - mean)) = sum(dy * centred) - sum(dy) * remainder.
        xp.multiply(self._sum_dy, self._remainder, out=self._shift)
        xp.subtract(self._sum_products, self._shift, out=self._sum_products)

    def _is_one_sided(self, xp: Any, dy: Array) -> bool:
        """Whether a column's sum of dy is too large for float32 products.

        If their roundings all go one way, as those of x that takes two values may, dgamma is off by
        up to 6e-8 * sum(dy); it may be by 5e-7 of the root of the sum of its terms' squares.
        """
        some = dy.reshape(self._rows, self._features)[:: -(-self._rows // SOME_DY)]
        squares = xp.dot(constant(1.0, dy.dtype.char, len(some)), xp.multiply(some, some))
        xp.multiply(squares, ONE_SIDED**2 * self._rows / len(some), out=self._slope)
        xp.multiply(self._sum_dy, self._sum_dy, out=self._shift)
        xp.greater(self._shift, self._slope, out=self._is_fine)
        return 1 in self._is_fine.tobytes()

    @property
    def like(self) -> Array:
        """An array of x's shape and type, which backward needs."""
        return self._centred

    @property
    def x_hat(self) -> Array:
        """The normalized x, (..., D), a new array."""
        with quiet():
            return ((self._centred - self._remainder) / self._std).astype(self._dtype)


class BatchNormInferenceOperation(Operation):
    """With given statistics."""

    y_over_x = True

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], epsilon: float) -> None:
        self._shape, self._dtype, features = shape, dtype, shape[-1]
        self._epsilon = constant(epsilon, dtype.char)
        self._blocks = Blocks(shape, dtype)
        self._std, self._scale = np.empty(features, dtype), np.empty(features, dtype)
        self._means, self._each_mean = self._blocks.vector(dtype.char)
        self._scales, self._each_scale = self._blocks.vector(dtype.char)
        self._shifts, self._each_shift = self._blocks.vector(dtype.char)

    def take(self, xp: Any, x: Array, gamma: Array, mean: Array, variance: Array) -> None:
        """What backward needs."""
        self._x, self._mean = x, mean
        xp.add(variance, self._epsilon, out=self._std)
        xp.sqrt(self._std, out=self._std)
        if not self._epsilon:
            _make_infinite(xp, self._std)
        xp.divide(gamma, self._std, out=self._scale)
        xp.copyto(self._scales, self._scale)

    def forward(
        self, xp: Any, x: Array, gamma: Array, beta: Array, mean: Array, variance: Array, y: Array
    ) -> None:
        """Writes y."""
        self.take(xp, x, gamma, mean, variance)
        xp.copyto(self._means, mean)
        xp.copyto(self._shifts, beta)
        out, of = writable(y), self._blocks.of
        vectors = self._each_mean, self._each_scale, self._each_shift
        for x_block, y_block, center, scale, shift in repeated(
            xp, zip(of(x), of(out), *vectors, strict=True)
        ):
            # The mean first: in x * scale + (beta - mean * scale) both terms lose digits where
            # |mean| >> std.
            xp.subtract(x_block, center, out=y_block)
            xp.multiply(y_block, scale, out=y_block)
            xp.add(y_block, shift, out=y_block)
        put_back(xp, out, y)

    def prepare_backward(self) -> None:
        """Make the arrays that backward writes over."""
        features = self._shape[-1]
        self._sum_dy, self._sum_products = np.empty(features), np.empty(features)
        self._exact_means, self._each_exact_mean = self._blocks.vector("d")

    def backward(self, xp: Any, dy: Array, dx: Array | None, dgamma: Array, dbeta: Array) -> None:
        """Writes dx, unless it is None, dgamma and dbeta."""
        of = self._blocks.of
        sums, product_sums = (ColumnSums(self._blocks, "d", name) for name in ("dy", "products"))
        xp.copyto(self._exact_means, self._mean)
        for dy_block, x_block, exact, products, center in repeated(
            xp,
            zip(
                of(dy),
                of(self._x),
                self._blocks.room("dy", "d"),
                self._blocks.room("products", "d"),
                self._each_exact_mean,
                strict=True,
            ),
        ):
            # In float64: nothing makes x - mean sum to 0 here.
            xp.copyto(exact, dy_block)
            xp.copyto(products, x_block)
            xp.subtract(products, center, out=products)
            xp.multiply(exact, products, out=products)
            sums.take(xp, exact)
            product_sums.take(xp, products)
        sums.total(xp, self._sum_dy)
        product_sums.total(xp, self._sum_products)
        xp.copyto(dbeta, self._sum_dy)
        xp.divide(self._sum_products, self._std, out=dgamma)
        if dx is None:
            return
        out = writable(dx)
        for dy_block, dx_block, scale in repeated(
            xp, zip(of(dy), of(out), self._each_scale, strict=True)
        ):
            xp.multiply(dy_block, scale, out=dx_block)
        put_back(xp, out, dx)


def _make_infinite(xp: Any, std: Array) -> None:
    """A std of 0 becomes infinite: y is beta there, and dx is 0."""
    xp.copyto(std, np.inf, where=xp.equal(std, constant(0.0, std.dtype.char)))


def _make_nan(xp: Any, variance: Array) -> None:
    """A variance that float64 cannot hold becomes NaN: so does y, which would be beta."""
    if not isfinite(xp.dot(variance, variance)):
        xp.copyto(variance, np.nan, where=xp.isinf(variance))


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
