"""What a derivation should give, by the operation's own equations or by numeric derivatives."""

import contextlib
import dataclasses
from functools import partial
from typing import NamedTuple

import numpy as np

from npbn._checks import Array
from npbn.testing.arguments import near
from npbn.testing.comparison import ENTRIES, compare
from npbn.testing.derivatives import floors, natural_size
from npbn.testing.diagnosis import mended_shapes
from npbn.testing.functions import Arrays, Functions
from npbn.testing.like import Like
from npbn.testing.mistake import Pieces, always
from npbn.testing.own_epsilon import found_out, rounded, solved

# Arrays of so many values in all are differentiated throughout.
ALL = 2000


class Bounds(NamedTuple):
    """The largest errors that pass, and the largest that is none between a result and a mistake's.

    y: of a forward pass. gradient: against the operation's own gradients. numeric: against
    derivatives of forward.
    """

    y: float
    gradient: float
    numeric: float
    rounding: float


DOUBLE, SINGLE = Bounds(1e-9, 1e-7, 1e-7, 1e-9), Bounds(1e-4, 1e-4, 5e-3, 2e-5)


@dataclasses.dataclass
class Run:
    """One run of the functions: the arrays, what they made of them by name, and what is right."""

    arrays: Arrays
    given: Arrays
    right: Arrays = dataclasses.field(default_factory=dict)


class Truth:
    """Runs of two functions, beside what is right.

    main: the run with the arrays as they are. runs: this one, and where the operation has an
    epsilon another one, with an x of another scale. dy: the upstream gradient. other: the
    arrays of the call before. errors, tolerances: of each result. y_is_right: whether y is the
    operation's, or there is none to hold it against; y_has_shape: whether its shape is. options:
    the epsilon that was found. fewer_rows: a run that shows what the others do not, and its dy.
    """

    def __init__(self, functions: Functions, like: Like | None, rng: np.random.Generator) -> None:
        self.functions, self.like, self._rng = functions, like, rng
        self.result, self.gradients = functions.result, functions.gradients
        self.options: dict[str, float] = {}
        self.errors: dict[str, float] = {}
        self.fewer_rows: tuple[Run, Array] | None = None
        self.tolerances: dict[str, float] = {}
        self.other = near(functions.given, rng)
        functions.run(self.other)
        y, cache = functions.run(functions.given)
        self.main = Run(functions.given, {self.result: y})
        self.runs = [self.main]
        functions.is_coarse = functions.has_few_digits(y)
        self.dy = functions.draw(y, rng)
        self.main.given |= functions.run_backward(self.dy, cache)
        rounding = self.bounds().rounding
        repeats = functions.repeats(y, rounding)
        if repeats:
            gradients = {name: self.main.given[name] for name in self.gradients}
            functions.watch(self.dy, gradients, self.other, rounding)
        self.y_is_right = self._look_at_y() and repeats
        self._look_at_gradients(repeats)

    @property
    def wrong(self) -> list[str]:
        """The results whose error is too large."""
        return [
            name
            for name, error in self.errors.items()
            if not error <= self.tolerances[name] and not np.isnan(self.main.right[name]).all()
        ]

    @property
    def zeros(self) -> frozenset[str]:
        """The gradients that are 0 throughout, beside the others."""
        return frozenset(
            name
            for name, floor in self._floors(self.main).items()
            if largest(self.main.right[name]) <= 1e4 * self.tolerances[name] * floor
        )

    def bounds(self, name: str | None = None) -> Bounds:
        """Those of a result, by its digits; of y where none is named."""
        is_single = self.main.given[name or self.result].dtype.itemsize < 8
        return SINGLE if self.functions.is_coarse or is_single else DOUBLE

    def take_epsilon(self, epsilon: float) -> None:
        """Hold y against what it is with another epsilon."""
        self.options = {"epsilon": epsilon}
        if self.like is not None:
            self.errors[self.result] = self._error_of_y(self.like)

    def pieces(self, arrays: Arrays, dy: Array | None = None, **options: float) -> Pieces:
        """What mistakes are made of; dy: another one than the check's."""
        dy = self.dy if dy is None else dy
        if self.like is not None and self.y_has_shape:
            return self.like.pieces(arrays, dy, self.other, **(self.options | options))
        first = next(iter(arrays.values()))
        right = {name: self.main.right[name] for name in self.gradients}
        rows = first.size // first.shape[-1] if first.ndim else 1
        steps = {name: always(value) for name, value in right.items()}
        return Pieces(arrays | right | {"rows": rows, "dy": dy}, steps)

    def _look_at_y(self) -> bool:
        like, name = self.like, self.result
        self.y_has_shape = True
        if like is None:
            if not np.isfinite(self.main.given[name]).all():
                self.functions.tell(name, "NaN", "has NaN or infinity in it: it has no derivative")
            return True
        bound = self.tolerances[name] = self.bounds().y
        like.find_windows(self.main.arrays, self.main.given[name])
        like.check(self.main.arrays)
        self.y_has_shape = self.dy.shape == like.result_of(self.main.arrays).shape
        self._check_means(like)
        if "epsilon" in like.options:
            self.options = {"epsilon": float(like.options["epsilon"])}
            if self.y_has_shape:
                self._find_epsilon(like)
            elif like.finds_epsilon:
                self._find_epsilon_in_another_shape(like)
        self.errors[name] = self._error_of_y(like)
        if not self.errors[name] <= bound and like.finds_epsilon and self.y_has_shape:
            self.take_epsilon(float(like.options["epsilon"]))
        return self.errors[name] <= bound

    def _check_means(self, like: Like) -> None:
        """ValueError where the means of a normalization are of two values."""
        m = np.asarray(getattr(like.pieces(self.main.arrays, None, self.other), "m", np.inf))
        if not m.ndim and m <= 2:
            first = like.names[0]
            raise ValueError(
                f"{first}: {like.name} takes means of {m} values, {self.main.arrays[first].shape}: "
                "two of them become -1 and 1, whatever they are, and a wrong gradient may look "
                "right: pass a larger one"
            )

    def _find_epsilon(self, like: Like) -> None:
        main, given = self.main, None if like.finds_epsilon else float(like.options["epsilon"])
        epsilon, small = found_out(
            like.result_with_epsilon, self.y_of, main.arrays, main.given[self.result], given
        )
        if small is not None:
            self.runs.append(Run(small, {self.result: self.y_of(small)}))
        if like.finds_epsilon:
            epsilon = rounded(epsilon, lambda value: self._error_of_y(like, epsilon=value))
            # Where nothing is added, epsilon was forgotten: equal values would be divided by 0.
            epsilon = epsilon or float(like.options["epsilon"])
        self.options = {"epsilon": epsilon}

    def _find_epsilon_in_another_shape(self, like: Like) -> None:
        y, right = self.main.given[self.result], like.result_of(self.main.arrays)
        for _, _, mended in mended_shapes(self.result, y, right):
            made = partial(like.result_with_epsilon, self.main.arrays)
            epsilon = solved(made, mended)
            if error_of(mended, made(epsilon)) <= self.bounds().y:
                self.options = {"epsilon": epsilon}

    def y_of(self, arrays: Arrays) -> Array:
        """What forward makes of other arrays, in the call after one with still other ones."""
        self.functions.run(self.other)
        return self.functions.run(arrays)[0]

    def _error_of_y(self, like: Like, **options: float) -> float:
        """How far off y is from what it should be, which each run then has beside it."""
        for run in self.runs:
            run.right[self.result] = like.result_of(run.arrays, **(self.options | options))
        return max(error_of(run.given[self.result], run.right[self.result]) for run in self.runs)

    def _look_at_gradients(self, repeats: bool) -> None:
        # Beside a kink an operation's own gradient is one of several.
        is_known = self.like is not None and self.y_is_right and not self.like.has_kinks
        if is_known:
            for run in self.runs[1:]:
                run.given |= self._gradients_of(run.arrays, self.dy)
            errors = self._errors_by_equations()
        elif repeats and np.isfinite(self.main.given[self.result]).all():
            errors = self._errors_by_derivatives()
        else:
            self.main.right |= {
                name: np.full(array.shape, np.nan) for name, array in self.functions.arrays.items()
            }
            errors = dict.fromkeys(self.gradients, np.nan)
        for name in self.gradients:
            bounds = self.bounds(name)
            has_shape = self.main.given[name].shape == self.main.right[name].shape
            self.tolerances[name] = bounds.gradient if is_known else self._numeric(name)
            self.errors[name] = errors[name] if has_shape else np.inf
        if is_known and not self.wrong:
            self._look_at_fewer_rows()

    def _look_at_fewer_rows(self) -> None:
        """Of as many rows as features nobody sees which number was divided by: take a row less."""
        (first, x), *_ = self.main.arrays.items()
        if x.ndim < 2 or len(x) != x.shape[-1]:
            return
        is_labels = {name: each.dtype.kind != "f" for name, each in self.main.arrays.items()}
        arrays = {
            name: each[:-1] if name == first or is_labels[name] else each
            for name, each in self.main.arrays.items()
        }
        # What raises an error, as functions for one batch size do, is not looked at.
        with contextlib.suppress(Exception):
            y, _ = self.functions.run(arrays)
            dy = self.functions.draw(y, self._rng)
            run = Run(arrays, {self.result: y} | self._gradients_of(arrays, dy))
            pieces = self.pieces(arrays, dy)
            run.right |= {name: getattr(pieces, name) for name in (self.result, *self.gradients)}
            errors = {name: error_of(run.given[name], run.right[name]) for name in run.right}
            self.errors = {name: max(self.errors[name], errors[name]) for name in self.errors}
            self.fewer_rows = (run, dy)

    def _gradients_of(self, arrays: Arrays, dy: Array) -> Arrays:
        self.functions.run(self.other)
        _, cache = self.functions.run(arrays)
        return self.functions.run_backward(dy, cache)

    def _errors_by_equations(self) -> dict[str, float]:
        """Hold the gradients against the operation's own, in every run."""
        for run in self.runs:
            pieces = self.pieces(run.arrays)
            run.right |= {name: getattr(pieces, name) for name in self.gradients}
        runs = [(run, self._floors(run)) for run in self.runs]
        return {
            name: max(error_of(run.given[name], run.right[name], by[name]) for run, by in runs)
            for name in self.gradients
        }

    def _floors(self, run: Run) -> dict[str, float]:
        arrays = {name: run.arrays[name.removeprefix("d")] for name in self.gradients}
        return floors({name: largest(run.right[name]) for name in self.gradients}, arrays)

    def _numeric(self, name: str) -> float:
        """The largest error that passes: of an array far from 0 small steps lose digits."""
        array = self.functions.arrays[name]
        return self.bounds(name).numeric * max(1.0, largest(array) / natural_size(array) / 3e3)

    def _errors_by_derivatives(self) -> dict[str, float]:
        """Hold the gradients against numeric derivatives, which are NaN where none was taken."""
        functions, arrays = self.functions, self.functions.arrays
        claims = {}
        for name, array in arrays.items():
            given = self.main.given[name].astype(np.float64)
            claims[name] = given if given.shape == array.shape else np.zeros(array.shape)
        scalars = {"": lambda y: (float(np.vdot(y, self.dy)), self.dy)}
        is_little = sum(array.size for array in arrays.values()) <= ALL
        entries, tolerance = ALL if is_little else ENTRIES, self.bounds().numeric
        found = compare(
            functions, {"": claims}, scalars, tolerance, self._rng, progress=True, entries=entries
        )
        self.main.right |= {name: each.numeric for name, each in found.items()}
        return {name: each.error for name, each in found.items()}


def largest(values: Array) -> float:
    """The largest absolute value, of those that are finite."""
    return float(np.max(np.abs(values[np.isfinite(values)]), initial=0.0))


def error_of(given: Array, right: Array, floor: float = 0.0) -> float:
    """The largest difference over the largest right value; infinity for another shape."""
    if given.shape != right.shape:
        return np.inf
    known = ~np.isnan(right)
    if not known.any():
        return np.nan
    with np.errstate(all="ignore"):
        difference = float(np.max(np.abs(given - right)[known]))
    return difference / (max(largest(right), floor) or 1.0)
