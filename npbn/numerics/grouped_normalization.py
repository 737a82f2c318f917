"""Each example's groups of channels normalized: what layer, group and instance norm share."""

from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import numpy as np

from npbn._checks import Array
from npbn.numerics.constants import constant
from npbn.numerics.operation import Operation, put_back, writable
from npbn.numerics.sums import all_finite
from npbn.numerics.tape import named, repeated

# So many values are taken at a time, 1 MB. Of images (28, 28, 32) a pass takes 1.3 times the time
# with a fourth, for there is one alone in a call, and as long with twice as many.
ROOM = 1 << 17
# Vectors that go with rows are repeated up to so many values: 5.3 instead of 7 us for 784 rows of
# 32. Of fewer rows than so many they are not, as to repeat them would take as long.
WIDE, FEW_ROWS = 1024, 8
# Places of an example that is too large come in multiples of so many, which can be folded.
MULTIPLE = 64
# What is repeated so.
_BESIDE = ("means", "remainders", "scales", "slopes", "shifts")


class GroupedNormalization(Operation):
    """x as (examples, places, groups, channels of one): a mean and variance an example and group.

    ::

        x_hat = (x - mean) / std, std = sqrt(variance + epsilon)       y = gamma * x_hat + beta
        dx    = (dx_hat - mean(dx_hat) - x_hat * mean(dx_hat * x_hat)) / std, dx_hat = dy * gamma

    In float64, some examples at a time, or some places of one, which stay in cache: so of a float32
    array no digit is lost, no square overflows. Where all fit in, backward does without x.

    Parameters
    ----------
    places : bool
        Whether all axes between the first and the last are places of an example; else each of them
        is an example of one place.
    """

    y_over_x = dx_over_dy = shows_infinity = True

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        epsilon: float,
        *,
        groups: int = 1,
        places: bool = True,
    ) -> None:
        super().__init__(shape, dtype)
        self._features = features = shape[-1]
        examples = shape[0] if places else prod(shape[:-1])
        self._places = prod(shape[1:-1]) if places else 1
        self._groups, self._own = groups, features // groups
        self._by_place = (examples, self._places, features)
        at_once = max(1, min(examples, ROOM // (self._places * features)))
        self._mean, self._remainder, self._inverse_std = np.zeros((3, examples, groups, 1))
        self._some: list[_Some] = []
        for start in range(0, examples, at_once):
            some = slice(start, min(start + at_once, examples))
            if not self._some or some.stop - start < at_once:
                parts = _parts(some.stop - start, self._places, groups, self._own)
            statistics = self._mean[some], self._remainder[some], self._inverse_std[some]
            self._some.append(_Some(some, some.stop - start, parts, *statistics))
        # Whether backward needs x again: forward's room was too small to keep all of it.
        self.reads_x = self._again = len(self._some) * len(parts) > 1
        self._at_once, self._most = at_once, max(part.size for part in self._some[0].parts)
        self._size = constant(float(self._places * self._own), "d")
        self._first_size = constant(float(self._some[0].parts[0].places * self._own), "d")
        self._one, self._epsilon = constant(1.0, "d"), constant(epsilon, "d")
        self._ones = constant(1.0, "d", max(self._own, at_once))
        # What rounding leaves of a float64 mean, in which nothing is more exact.
        self._has_remainder = dtype == np.float64
        self._room = np.empty((2, self._most))
        self._views = self._views_of(self._room)
        self._exact_gamma = np.empty((groups, self._own))
        if self._places > 1:
            self._betas = np.empty((1, 1, self._some[0].parts[0].width), dtype)
        self._make_small_arrays()

    def _make_small_arrays(self) -> None:
        each = self._at_once, self._groups
        self._part_sum, self._scale = np.empty((*each, 1)), np.empty((*each, self._own))
        self._columns = np.empty((self._at_once, 1, self._features))
        if self._places > 1:
            widest = max(part.width for some in self._some for part in some.parts)
            self._wide = np.empty((len(_BESIDE), self._at_once * widest))

    def forward(self, xp: Any, x: Array, gamma: Array, beta: Array, y: Array) -> None:
        self._x = x
        # As one type goes with another NumPy takes twice the time and more.
        xp.copyto(self._exact_gamma, gamma.reshape(self._exact_gamma.shape))
        betas = beta.reshape(self._exact_gamma.shape)
        if self._places > 1:
            repeats = self._betas.reshape(-1, *self._exact_gamma.shape)
            xp.copyto(repeats, betas)
            betas = self._betas
        written = writable(y)
        for some, given, out in self._each(xp, x, written):
            measure = self._measure if len(some.parts) == 1 else self._measure_parts
            measure(xp, some, given)
            self._invert(xp, some.inverse_std)
            scale = self._scale[: some.number]
            xp.multiply(some.inverse_std, self._exact_gamma, out=scale)
            scales = self._beside(xp, "scales", some, scale)
            for part in repeated(xp, some.parts):
                values, result = self._views[part][0], part.of(out)
                if len(some.parts) > 1:
                    self._centre(xp, some, part, given, values)
                xp.multiply(values, part.beside(scales), out=result)
                xp.add(result, part.beside(betas), out=result)
        put_back(xp, written, y)

    def prepare_backward(self) -> None:
        self._make_small_arrays()
        each = self._at_once, self._groups
        # Centred values, where forward has not kept them; dy; products.
        self._backward_room = np.empty((3 if self._again else 2, self._most))
        self._backward_views = self._views_of(self._backward_room)
        if not self._again:
            for part, views in self._backward_views.items():
                views.insert(0, self._views[part][0])
        if self._places > 1:
            self._sum_dy, self._sum_products = np.empty((2, *each, self._own))
        self._slope, self._means = np.empty((*each, 1)), np.empty((2, *each, 1))
        self._mean_dy, self._mean_product = self._means
        self._total_dy, self._total_products, self._total = np.empty((3, self._features))

    def backward(self, xp: Any, dy: Array, dx: Array | None, dgamma: Array, dbeta: Array) -> None:
        written = dy if dx is None else writable(dx)  # only read where nobody wants dx
        for some, x, given, out in self._each(xp, self._x, dy, written):
            sum_dy, sum_products = self._add_up(xp, some, x, given)
            xp.multiply(sum_products, some.inverse_std, out=sum_products)
            self._add_examples(xp, some, sum_dy, self._total_dy)
            self._add_examples(xp, some, sum_products, self._total_products)
            if dx is not None:
                self._average(xp, some, sum_dy, sum_products)
                if self._places == 1:
                    self._write_dx_of_one_place(xp, some, out)
                else:
                    self._write_dx(xp, some, x, given, out)
        xp.copyto(dgamma, self._total_products)
        xp.copyto(dbeta, self._total_dy)
        if dx is not None:
            put_back(xp, written, dx)

    def _each(self, xp: Any, *arrays: Array) -> Iterator[tuple[Any, ...]]:
        """Some examples at a time, and what the arrays have of them: (examples, places, D)."""
        by_place = [each.reshape(self._by_place) for each in arrays]
        for some in repeated(xp, self._some):
            named(xp, mean=some.mean, remainder=some.remainder, inverse_std=some.inverse_std)
            yield some, *(each[some.examples] for each in by_place)

    # Forward

    def _measure(self, xp: Any, some: "_Some", given: Array) -> None:
        """Mean and variance of examples that the room has as a whole, and then has centred."""
        (part,) = some.parts
        values, squares = self._views[part]
        named(xp, values=values, squares=squares)
        xp.copyto(values, part.of(given))
        self._sum(xp, part, values, some.mean)
        xp.divide(some.mean, self._size, out=some.mean)
        xp.subtract(values, self._beside(xp, "means", some, some.mean), out=values)
        if self._has_remainder:
            self._sum(xp, part, values, some.remainder)
            xp.divide(some.remainder, self._size, out=some.remainder)
            remainders = self._beside(xp, "remainders", some, some.remainder)
            xp.subtract(values, remainders, out=values)
        xp.multiply(values, values, out=squares)
        self._sum(xp, part, squares, some.inverse_std)
        xp.divide(some.inverse_std, self._size, out=some.inverse_std)

    def _measure_parts(self, xp: Any, some: "_Some", given: Array) -> None:
        """The same of an example in parts, about the first one's mean.

        That is no further from the mean than std times the root of the number of parts. So the
        variance is not below 0: of a constant group all sums are exact, and it is 0.
        """
        mean, remainder, variance = some.mean, some.remainder, some.inverse_std
        part, part_sum = some.parts[0], self._part_sum[: some.number]
        values, squares = self._views[part]
        named(xp, values=values, squares=squares)
        xp.copyto(values, part.of(given))
        self._sum(xp, part, values, mean)
        xp.divide(mean, self._first_size, out=mean)
        xp.copyto(remainder, 0.0)
        xp.copyto(variance, 0.0)
        means = self._beside(xp, "means", some, mean)
        for part in repeated(xp, some.parts):
            values, squares = self._views[part]
            xp.copyto(values, part.of(given))
            xp.subtract(values, part.beside(means), out=values)
            self._sum(xp, part, values, part_sum)
            xp.add(remainder, part_sum, out=remainder)
            xp.multiply(values, values, out=squares)
            self._sum(xp, part, squares, part_sum)
            xp.add(variance, part_sum, out=variance)
        xp.divide(remainder, self._size, out=remainder)
        xp.divide(variance, self._size, out=variance)
        xp.multiply(remainder, remainder, out=part_sum)
        xp.subtract(variance, part_sum, out=variance)
        if not self._has_remainder:
            xp.add(mean, remainder, out=mean)
        self._put_beside(xp, some)

    def _invert(self, xp: Any, variance: Array) -> None:
        """1 / std in the place of the variance; 0 where std is 0: then y is beta, and dx is 0."""
        xp.add(variance, self._epsilon, out=variance)
        if not all_finite(xp, variance.reshape(-1)):
            # Too large for float64: 0 would make y = beta.
            xp.copyto(variance, np.nan, where=xp.isinf(variance))
        xp.sqrt(variance, out=variance)
        if not self._epsilon:
            xp.copyto(variance, np.inf, where=xp.equal(variance, 0))
        xp.divide(self._one, variance, out=variance)

    # Backward

    def _add_up(self, xp: Any, some: "_Some", x: Array, given: Array) -> tuple[Array, Array]:
        """The sums over the places of dy and of dy * (x - mean), (examples, groups, channels)."""
        if self._again:
            self._put_beside(xp, some)
        if self._places == 1:
            return self._multiplied(xp, some, some.parts[0], x, given)
        totals = self._sum_dy[: some.number], self._sum_products[: some.number]
        if len(some.parts) == 1:
            for array, total in zip(
                self._multiplied(xp, some, some.parts[0], x, given), totals, strict=True
            ):
                self._sum_places(xp, some.parts[0], array, total)
            return totals
        sums = self._scale[: some.number]
        for total in totals:
            xp.copyto(total, 0.0)
        for part in repeated(xp, some.parts):
            for array, total in zip(
                self._multiplied(xp, some, part, x, given), totals, strict=True
            ):
                self._sum_places(xp, part, array, sums)
                xp.add(total, sums, out=total)
        return totals

    def _multiplied(
        self, xp: Any, some: "_Some", part: "_Part", x: Array, given: Array
    ) -> tuple[Array, Array]:
        """dy and dy * (x - mean)."""
        centred, factors, products = self._backward_views[part]
        named(xp, centred=centred, factors=factors, products=products)
        if self._again:
            self._centre(xp, some, part, x, centred)
        xp.copyto(factors, part.of(given))
        xp.multiply(factors, centred, out=products)
        return factors, products

    def _add_examples(self, xp: Any, some: "_Some", sums: Array, total: Array) -> None:
        is_first, rows = some.examples.start == 0, sums.reshape(some.number, -1)
        xp.dot(self._ones[: some.number], rows, out=total if is_first else self._total)
        if not is_first:
            xp.add(total, self._total, out=total)

    def _average(self, xp: Any, some: "_Some", sum_dy: Array, sum_products: Array) -> None:
        """The means of dx_hat and of dx_hat * x_hat; the sums are multiplied by gamma."""
        means = self._means[:, : some.number]
        for sums, mean in ((sum_dy, self._mean_dy), (sum_products, self._mean_product)):
            xp.multiply(sums, self._exact_gamma, out=sums)
            self._sum_channels(xp, sums, mean[: some.number])
        xp.divide(means, self._size, out=means)

    def _write_dx_of_one_place(self, xp: Any, some: "_Some", out: Array) -> None:
        """dx, where `_average` has left dx_hat in the place of dy: 0 where a group is one value."""
        (part,) = some.parts
        centred, dx_hat, products = self._backward_views[part]
        mean_dy, mean_product, slope = (
            each[: some.number] for each in (self._mean_dy, self._mean_product, self._slope)
        )
        xp.multiply(mean_product, some.inverse_std, out=slope)
        xp.multiply(centred, slope, out=products)
        xp.add(products, mean_dy, out=products)
        xp.subtract(dx_hat, products, out=products)
        xp.multiply(products, some.inverse_std, out=part.of(out))

    def _write_dx(self, xp: Any, some: "_Some", x: Array, given: Array, out: Array) -> None:
        """dx = scale * dy - (slope * (x - mean) + shift)."""
        shift, mean_product, slope, scale = (
            each[: some.number]
            for each in (self._mean_dy, self._mean_product, self._slope, self._scale)
        )
        xp.multiply(mean_product, some.inverse_std, out=slope)
        xp.multiply(slope, some.inverse_std, out=slope)
        xp.multiply(shift, some.inverse_std, out=shift)
        xp.multiply(some.inverse_std, self._exact_gamma, out=scale)
        scales = self._beside(xp, "scales", some, scale)
        slopes = self._beside(xp, "slopes", some, slope)
        shifts = self._beside(xp, "shifts", some, shift)
        for part in repeated(xp, some.parts):
            centred, factors, products = self._backward_views[part]
            if len(some.parts) > 1:
                self._centre(xp, some, part, x, centred)
                xp.copyto(factors, part.of(given))
            xp.multiply(centred, part.beside(slopes), out=products)
            xp.add(products, part.beside(shifts), out=products)
            xp.multiply(factors, part.beside(scales), out=factors)
            xp.subtract(factors, products, out=part.of(out))

    # Both

    def _centre(self, xp: Any, some: "_Some", part: "_Part", given: Array, values: Array) -> None:
        """Writes x - mean of a part into the values; the statistics lie beside them."""
        xp.copyto(values, part.of(given))
        xp.subtract(values, part.beside(self._room_beside("means", some, some.mean)), out=values)
        if self._has_remainder:
            remainders = self._room_beside("remainders", some, some.remainder)
            xp.subtract(values, part.beside(remainders), out=values)

    def _views_of(self, room: Array) -> "dict[_Part, list[Array]]":
        """For each part the room's rows as its values lie."""
        parts = {part for some in self._some for part in some.parts}
        return {part: [row[: part.size].reshape(part.shape) for row in room] for part in parts}

    def _sum(self, xp: Any, part: "_Part", values: Array, out: Array) -> None:
        """Writes the sum of each group of each example, (examples, groups, 1)."""
        sums = values
        if self._places > 1:
            sums = out if self._own == 1 else self._columns[: len(out)]
            self._sum_places(xp, part, values, sums)
        if sums is not out:
            self._sum_channels(xp, sums, out)

    def _sum_places(self, xp: Any, part: "_Part", values: Array, out: Array) -> None:
        columns = out.reshape(len(out), 1, -1)
        named(xp, each_place=part.ones)
        xp.matmul(part.ones, values.reshape(part.columns), out=columns)

    def _sum_channels(self, xp: Any, sums: Array, out: Array) -> None:
        own = self._own
        xp.dot(sums.reshape(-1, own), self._ones[:own], out=out.reshape(-1))

    def _beside(self, xp: Any, name: str, some: "_Some", values: Array) -> Array:
        """Numbers of groups or channels as they go with the values: each channel's, repeated."""
        wide = self._room_beside(name, some, values)
        if self._places > 1:
            named(xp, **{name: wide})
            shape = some.number, -1, self._groups, self._own
            xp.copyto(wide.reshape(shape), values.reshape(-1, 1, *values.shape[-2:]))
        return wide

    def _put_beside(self, xp: Any, some: "_Some") -> None:
        self._beside(xp, "means", some, some.mean)
        if self._has_remainder:
            self._beside(xp, "remainders", some, some.remainder)

    def _room_beside(self, name: str, some: "_Some", values: Array) -> Array:
        if self._places == 1:
            return values
        flat, width = self._wide[_BESIDE.index(name)], some.parts[0].width
        return flat[: some.number * width].reshape(some.number, 1, width)


class _Some(NamedTuple):
    """Some examples: which, how many, their parts, and their statistics."""

    examples: slice
    number: int
    parts: "list[_Part]"
    mean: Array
    remainder: Array
    inverse_std: Array


class _Part:
    """Some places of some examples: several places folded into a row, or one of each example."""

    def __init__(
        self, examples: int, start: int, stop: int, groups: int, own: int, *, fold: int, alone: bool
    ) -> None:
        self._slice, features = slice(start, stop), groups * own
        self.places = stop - start
        self.size = examples * self.places * features
        self.columns = examples, self.places, features
        self.width = fold * features
        self.shape = (
            (examples, groups, own) if alone else (examples, self.places // fold, self.width)
        )
        self._alone = alone
        self.ones = constant(1.0, "d", self.places)[np.newaxis]

    def of(self, array: Array) -> Array:
        """Its values in (examples, places, features)."""
        return array[:, self._slice].reshape(self.shape)

    def beside(self, vectors: Array) -> Array:
        """What `_beside` made for the first part, as it goes with this one."""
        return vectors if self._alone else vectors[..., : self.width]


def _parts(examples: int, places: int, groups: int, own: int) -> list[_Part]:
    """All places of so many examples that they fit in, or some places at a time of one."""
    features = groups * own
    most = places if places * features <= ROOM else max(1, ROOM // features)
    if MULTIPLE < most < places:
        most -= most % MULTIPLE
    parts: list[_Part] = []
    for start in range(0, places, most):
        stop = min(start + most, places)
        fold = _fold(stop - start, features)
        if parts:
            widest = parts[0].width // features
            fold = max(
                each for each in range(1, fold + 1) if each <= widest and not (stop - start) % each
            )
        parts.append(_Part(examples, start, stop, groups, own, fold=fold, alone=places == 1))
    return parts


def _fold(places: int, features: int) -> int:
    """How many places are folded into one row: a divisor."""
    most = max(1, min(WIDE // features, places // FEW_ROWS))
    return max(each for each in range(1, most + 1) if places % each == 0)
