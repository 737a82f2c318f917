"""What is wrong with a result: known mistakes, or else what the difference looks like."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from npbn._checks import Array
from npbn.testing.mistake import Mistake, Pieces, Wrong

# No mistake changes y, but what is made of it.
Changes = tuple[Mapping[str, Wrong], ...]


@dataclasses.dataclass(frozen=True)
class Look:
    """One run of a derivation: the right pieces, and what was given, by name."""

    pieces: Pieces
    given: Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What explains a wrong result to rounding, and in words; no keys where nothing known does."""

    keys: tuple[str, ...]
    sentence: str


def explain(
    name: str,
    looks: Sequence[Look],
    mistakes: Iterable[Mistake],
    rounding: float,
    bases: Sequence[Changes] = ((),),
) -> tuple[Mistake, ...] | None:
    """The mistake, or the two, with which every look's result is what was given.

    rounding: the largest difference, over the largest value given, that is none. bases: changes
    that were made before, those of a wrong forward pass say.
    """
    own = [each for each in mistakes if name in each.results]
    for base in bases:
        search = _Search(name, looks, rounding, base)
        singles = [each for each in own if search.is_made_by(each)]
        if singles:
            return (_best(singles, looks[0].given[name]),)
    for base in bases:
        search = _Search(name, looks, rounding, base)
        usable = [each for each in own if search.can_be_made(each)]
        for first, second in itertools.permutations(usable, 2):
            if search.may_follow(first, second) and search.is_made_by(first, second):
                return first, second
    return None


def _best(mistakes: Sequence[Mistake], given: Array) -> Mistake:
    """Of those that make the same numbers the first; what is 0 to the bit was never computed."""
    if not np.any(given):
        for each in mistakes:
            if each.key.endswith("is 0"):
                return each
    return min(mistakes, key=lambda each: each.key.endswith("is 0"))


class _Search:
    """What mistakes make of a result, after some changes."""

    def __init__(self, name: str, looks: Sequence[Look], rounding: float, base: Changes) -> None:
        self._name, self._looks, self._rounding, self._base = name, looks, rounding, base
        self._order: dict[str, int] = {}

    def is_made_by(self, *mistakes: Mistake) -> bool:
        """Whether they make what was given, in each look."""
        return all(self._explains(look, mistakes) for look in self._looks)

    def can_be_made(self, mistake: Mistake) -> bool:
        """Whether there is such a mistake for arrays of these shapes."""
        return self._made(self._looks[0], (mistake,)) is not None

    def may_follow(self, first: Mistake, second: Mistake) -> bool:
        """Whether both in this order are something else than one of them, or the other order."""
        shared = first.changes.keys() & second.changes.keys()
        place = self._order.setdefault
        earlier = place(first.key, len(self._order)) < place(second.key, len(self._order))
        return earlier or bool(shared)

    def _explains(self, look: Look, mistakes: Sequence[Mistake]) -> bool:
        made, given = self._made(look, mistakes), look.given[self._name]
        if made is None or made.shape != given.shape:
            return False
        return is_close(made, given, self._rounding)

    def _made(self, look: Look, mistakes: Sequence[Mistake]) -> Array | None:
        changed = look.pieces.changed(*self._base, *(each.changes for each in mistakes))
        with np.errstate(all="ignore"):
            try:
                return np.asarray(getattr(changed, self._name))
            except Exception:  # what cannot be made of these arrays; see `Mistake.wrong`
                return None


def is_close(made: Array, given: Array, rounding: float) -> bool:
    """Whether two arrays are the same to rounding, where both have numbers."""
    known = np.isfinite(made)
    if not known.any():
        return False
    with np.errstate(all="ignore"):
        scale = float(np.max(np.abs(given[known])))
        difference = float(np.max(np.abs(made - given)[known]))
    return difference <= rounding * scale or difference == 0.0


# What an unknown difference looks like


def likeness(given: Array, true: Array, x_hat: Array | None, numbers: Mapping[str, float]) -> str:
    """What the difference of a wrong result looks like; NaN where the true one is not known.

    x_hat: the normalized values, where there are any. numbers: what a factor may be, by name.
    """
    known = np.isfinite(true)
    if not np.isfinite(given).all():
        return "has NaN or infinity in it"
    scale = float(np.max(np.abs(true[known]), initial=0.0))
    difference = np.where(known, given - true, np.nan)
    wrong = np.abs(difference) > 1e-6 * scale
    if ratio := _ratio(given[known], true[known]):
        return f"is {_number(ratio, numbers)} times the true one throughout: a factor"
    if given.ndim > 1:
        columns = given.reshape(-1, given.shape[-1]).T, true.reshape(-1, given.shape[-1]).T
        ratios = [
            _ratio(g[np.isfinite(t)], t[np.isfinite(t)]) for g, t in zip(*columns, strict=True)
        ]
        if all(ratio is not None for ratio in ratios):
            shown = ", ".join(f"{ratio:.4g}" for ratio in ratios[:4])
            more = ", ..." if len(ratios) > 4 else ""
            return (
                f"is the true one times a number a column ({shown}{more}): a factor that each "
                "feature has of its own, such as gamma or std"
            )
        if pattern := _pattern(difference, x_hat, scale):
            return pattern
    places = np.argwhere(wrong)
    return _where(places, wrong.shape, int(known.sum()))


def _ratio(given: Array, true: Array) -> float | None:
    """The number that true is multiplied by, if it is one."""
    square = float(np.vdot(true, true))
    if true.size < 1 or not square:
        return None
    ratio = float(np.vdot(true, given)) / square
    rest = float(np.max(np.abs(given - ratio * true)))
    return ratio if rest <= 1e-6 * abs(ratio) * float(np.max(np.abs(true))) else None


def _number(ratio: float, numbers: Mapping[str, float]) -> str:
    for name, number in numbers.items():
        for shown, value in ((name, number), (f"1/({name})", 1 / number if number else np.nan)):
            if abs(ratio - value) <= 1e-6 * abs(value):
                return f"{shown} = {value:.6g}"
    return f"{ratio:.6g}"


def _pattern(difference: Array, x_hat: Array | None, scale: float) -> str | None:
    """Whether the difference is the same in every row, or goes with x_hat, or is both."""
    rows = difference.reshape(-1, difference.shape[-1])
    known = np.isfinite(rows)
    if known.sum(0).min() < 4:
        return None

    def fits(*terms: Array) -> bool:
        worst = 0.0
        for column in range(rows.shape[1]):
            here = known[:, column]
            basis = np.stack([term[here, column] for term in terms], 1)
            found, *_ = np.linalg.lstsq(basis, rows[here, column], rcond=None)
            worst = max(worst, float(np.max(np.abs(rows[here, column] - basis @ found))))
        return worst <= 1e-5 * scale

    ones = np.ones_like(rows)
    if fits(ones):
        return "differs by the same in every row: a term of the mean"
    if x_hat is not None:
        normalized = np.broadcast_to(x_hat, difference.shape).reshape(rows.shape)
        if fits(normalized):
            return "differs in proportion to x_hat: a term of the variance"
        if known.sum(0).min() > 4 and fits(ones, normalized):
            return (
                "differs by a number a column and a multiple of x_hat: terms of the mean and of "
                "the variance"
            )
    return None


def _where(places: Array, shape: tuple[int, ...], known: int) -> str:
    """In how many places it differs, and in which rows or columns, if not in all."""
    if not len(places):
        return "differs by little more than rounding"
    for axis, name in ((0, "row"), (len(shape) - 1, "column")):
        found = np.unique(places[:, axis]) if len(shape) > 1 else []
        if 0 < len(found) <= min(3, shape[axis] - 1):
            return f"differs in {name} {', '.join(map(str, found))} alone"
    return f"differs in {len(places)} of {known} places"


def first_place(given: Array, true: Array, scale: float) -> tuple[int, ...] | None:
    """The first place where it shows."""
    with np.errstate(all="ignore"):
        wrong = ~(np.abs(given - true) <= 1e-6 * scale) & ~np.isnan(true)
    places = np.argwhere(wrong)
    return tuple(map(int, places[0])) if len(places) else None


# A result that has not the shape that it should have


def misshapen(
    name: str, given: Array, true: Array, others: Mapping[str, Array], rounding: float
) -> Explanation | None:
    """What explains a result of another shape than the true one's; others: the other true ones."""
    shapes = f"its shape is {given.shape}, not {true.shape}"
    for other, values in others.items():
        if given.shape == values.shape and is_close(values, given, rounding):
            sentence = f"is {other}: return the gradients in the order of forward's arguments"
            return Explanation((f"{name} is {other}",), sentence)
    for key, sentence, mended in mended_shapes(name, given, true):
        if is_close(true, mended, rounding):
            return Explanation((key,), f"{sentence}: {shapes}")
    if not given.ndim and is_close(true.sum(), given, rounding):
        return Explanation(
            (f"{name} is one number",), f"is summed over everything, one number: {shapes}"
        )
    return None


def mended_shapes(name: str, given: Array, true: Array) -> Iterable[tuple[str, str, Array]]:
    """What may have gone wrong with the shape: a key, a sentence, and the result without it."""
    if given.ndim > 1 and given.T.shape == true.shape:
        yield f"{name} is transposed", "is transposed", given.T
    elif given.size == true.size and given.ndim != true.ndim:
        sentence = "has an axis too many" if given.ndim > true.ndim else "lacks an axis"
        yield f"{name} has other axes", sentence, given.reshape(true.shape)
    extra = given.ndim - true.ndim
    if extra > 0 and given.shape[extra:] == true.shape and given.size > true.size:
        sentence = "is not summed over the batch, in which every example adds its own"
        yield f"{name} is not summed", sentence, given.sum(tuple(range(extra)))
