"""What a check of gradients found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from npbn import _html
from npbn._checks import Array


@dataclasses.dataclass(frozen=True)
class Row:
    """A line of a report: of one array its error, the verdict, and what is said beside it."""

    name: str
    error: float
    verdict: str
    remark: str


class Report:
    """Rows, what is said below them, and a result, as text and in a notebook."""

    errors: Mapping[str, float]
    explanations: Mapping[str, str]
    description: str

    @property
    def largest_error(self) -> float:
        """The largest of errors; NaN if one is NaN."""
        return float(np.max(list(self.errors.values())))

    @property
    def rows(self) -> Sequence[Row]:
        """A row for each array."""
        return [self._row(name, error) for name, error in self.errors.items()]

    def _row(self, name: str, error: float) -> Row:
        raise NotImplementedError

    @property
    def remarks(self) -> Sequence[str]:
        """What is said below the rows: what the mistakes are."""
        return [f"{name}: {sentence}." for name, sentence in self.explanations.items()]

    @property
    def result(self) -> str:
        """Whether it passed."""
        raise NotImplementedError

    def __str__(self) -> str:
        return "\n".join([self.description, *_lines(self.rows), *self.remarks, self.result])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        rows = [
            (row.name, f"{row.error:.1e}", _shown(row.verdict), row.remark) for row in self.rows
        ]
        return _html.block(
            _html.table(("", "error", "", ""), rows, caption=self.description),
            *map(_html.paragraph, self.remarks),
            _html.paragraph(_html.strong(self.result)),
        )


def _shown(verdict: str) -> str:
    return _html.strong(verdict) if verdict == "WRONG" else verdict


def _lines(rows: Sequence[Row]) -> Iterable[str]:
    width = max(len(row.name) for row in rows)
    for row in rows:
        remark = f"   {row.remark}" if row.remark else ""
        yield f"  {row.name:<{width}}  {row.error:8.1e}  {row.verdict}{remark}"


def largest_difference(given: Array, true: Array) -> tuple[int, ...] | None:
    """Where two arrays differ most; None where nothing is known, or their shapes are not one."""
    if np.shape(given) != np.shape(true) or not np.ndim(true):
        return None
    with np.errstate(all="ignore"):
        difference = np.abs(given - true)
    difference[np.isnan(given) & ~np.isnan(true)] = np.inf
    if np.isnan(difference).all():
        return None
    return tuple(map(int, np.unravel_index(int(np.nanargmax(difference)), np.shape(true))))


def beside(given: Array, true: Array, place: tuple[int, ...] | None) -> str:
    """A wrong entry and what it should be."""
    if place is None:
        return ""
    return f"[{', '.join(map(str, place))}] is {given[place]:.6g}, not {true[place]:.6g}"


@dataclasses.dataclass(frozen=True, repr=False)
class GradientReport(Report):
    """What `gradient_check` found. ``bool(report)``: passed; ``str(report)``: a table.

    Attributes
    ----------
    errors : Mapping
        For each array its largest difference over its largest true value.
    kinks : Mapping
        For each array how many of its entries stand on a kink (ReLU at 0), where there is no
        derivative; they were left out.
    zeros : frozenset
        The arrays whose true gradient is 0 throughout (a bias before a batch norm, all that lies
        before a dead ReLU): a backward pass that says 0 is right there, and may be wrong
        elsewhere. Where dx is one of them no gradient came through, and the check is not passed.
    given : Mapping
        For each array what backward said, in float64.
    numeric : Mapping
        For each array the numeric derivatives. They are NaN where none was taken, as in a large
        array, of which some entries are drawn, and where there is none, on a kink.
    mistakes : Mapping
        For each wrong array the keys of the known mistakes that explain it, where the operation is
        known: of npbn's layers, and of any with the same parameters and the same y. Else empty.
    explanations : Mapping
        The same in words, or what the difference looks like; of a network what is wrong with its
        layers, each by itself.
    tolerance : float
        The largest error that passes.
    description : str
        What was checked.
    """

    errors: Mapping[str, float]
    kinks: Mapping[str, int]
    zeros: frozenset[str]
    tolerance: float
    description: str
    given: Mapping[str, Array] = dataclasses.field(compare=False)
    numeric: Mapping[str, Array] = dataclasses.field(compare=False)
    mistakes: Mapping[str, tuple[str, ...]]
    explanations: Mapping[str, str]

    @property
    def places(self) -> Mapping[str, tuple[int, ...] | None]:
        """For each array the entry whose difference is the largest, of those that were taken."""
        return {
            name: largest_difference(self.given[name], self.numeric[name]) for name in self.given
        }

    def _row(self, name: str, error: float) -> Row:
        remarks = []
        verdict = "ok" if error <= self.tolerance else "WRONG"
        if verdict == "ok" and name in self.zeros:
            verdict = "not checked: its true gradient is 0"
        if verdict == "WRONG" and name in self.given:
            given, numeric = self.given[name], self.numeric[name]
            remarks.append(beside(given, numeric, largest_difference(given, numeric)))
        if self.kinks[name]:
            remarks.append(f"{self.kinks[name]} at a kink, left out")
        return Row(name, error, verdict, "; ".join(filter(None, remarks)))

    @property
    def result(self) -> str:
        result = "passed" if self else "FAILED"
        if self._agrees and not self:
            result = "NOT CHECKED: no gradient reaches x; take another x or other weights"
        return f"{result} (tolerance {self.tolerance:g})"

    @property
    def _agrees(self) -> bool:
        return all(error <= self.tolerance for error in self.errors.values())

    def __bool__(self) -> bool:
        return self._agrees and not any(name.endswith("dx") for name in self.zeros)


@dataclasses.dataclass(frozen=True, repr=False)
class DerivationReport(Report):
    """What `check_derivation` found. ``bool(report)``: passed; ``str(report)``: a table.

    Attributes
    ----------
    errors : Mapping
        For each gradient, and y where it is known, its largest difference over its largest true
        value; infinity where the shapes are not the same.
    tolerances : Mapping
        For each of these the largest error that passes.
    zeros : frozenset
        The gradients that are 0 throughout: of these one that says 0 is right, and nothing else is
        known. Where the first one is, the check is not passed.
    mistakes : Mapping
        What is wrong -> the keys of the known mistakes that explain it, two where it took two at
        once; empty where none does. What is wrong is "y" ("loss"), a gradient, or what was written
        into: an argument, "dy" or "cache".
    explanations : Mapping
        The same in words.
    given : Mapping
        What forward and backward returned; an empty array for None.
    expected : Mapping
        What they should have. Where the operation is not known, some derivatives only are taken of
        a large array: the others are NaN.
    dy : ndarray
        The upstream gradient that was drawn.
    epsilon : float or None
        The one that was found in y, or given; None where the operation has none.
    description : str
        What was checked.
    """

    errors: Mapping[str, float]
    tolerances: Mapping[str, float]
    zeros: frozenset[str]
    mistakes: Mapping[str, tuple[str, ...]]
    explanations: Mapping[str, str]
    given: Mapping[str, Any] = dataclasses.field(compare=False)
    expected: Mapping[str, Array] = dataclasses.field(compare=False)
    dy: Array = dataclasses.field(compare=False)
    epsilon: float | None
    description: str

    @cached_property
    def places(self) -> Mapping[str, tuple[int, ...] | None]:
        """For each result the entry whose difference is the largest."""
        return {
            name: largest_difference(self.given[name], self.expected[name]) for name in self.errors
        }

    def _row(self, name: str, error: float) -> Row:
        if np.isnan(self.expected[name]).all():
            return Row(name, error, "not checked", "")
        if error <= self.tolerances[name]:
            is_0 = name in self.zeros
            return Row(name, error, "not checked: its true gradient is 0" if is_0 else "ok", "")
        given, expected, place = self.given[name], self.expected[name], self.places[name]
        if given.size and given.shape != expected.shape:
            return Row(name, error, "WRONG", f"its shape is {given.shape}, not {expected.shape}")
        remark = beside(given, expected, place)
        if np.isfinite(error) and self._is_right_at(name, place):
            remark = "with an x of another scale, or of fewer rows"
        return Row(name, error, "WRONG", remark)

    def _is_right_at(self, name: str, place: tuple[int, ...] | None) -> bool:
        if place is None:
            return False
        given, expected = self.given[name], self.expected[name]
        bound = self.tolerances[name] * float(np.nanmax(np.abs(expected)))
        return bool(np.abs(given[place] - expected[place]) <= bound)

    @property
    def result(self) -> str:
        if self._is_right and not self:
            first = next(name for name in self.errors if name in self.zeros)
            return f"NOT CHECKED: {first} is 0 whatever it is made of; take other numbers"
        return "passed" if self else "FAILED"

    @property
    def _is_right(self) -> bool:
        # An error of NaN, where nothing is known, is none that passes.
        small = (error <= self.tolerances[name] for name, error in self.errors.items())
        return not self.mistakes and all(small)

    def __bool__(self) -> bool:
        first = next(name for name in self.errors if name.startswith("d"))
        return self._is_right and first not in self.zeros
