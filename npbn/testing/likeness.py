"""What the difference of a wrong result looks like, where no known mistake explains it."""

from collections.abc import Iterator, Mapping

import numpy as np

from npbn._checks import Array


def described(
    given: Array,
    true: Array,
    factors: Mapping[str, Array],
    x_hat: Array | None,
    rounding: float,
) -> str:
    """A clause about given; true is NaN where it is not known.

    factors: what it may be multiplied by, or divided, by name: numbers, or one a feature. x_hat:
    the normalized values, where there are any. rounding: the largest difference that is none, over
    the largest true value.
    """
    if not np.isfinite(given).all():
        return "has NaN or infinity in it"
    known = np.isfinite(true)
    bound = rounding * float(np.max(np.abs(true[known]), initial=0.0))
    wrong = np.abs(given - true) > bound
    return (
        _some_lines(wrong)
        or _a_factor(given, true, factors, bound)
        or _a_term(given - true, x_hat, bound)
        or f"differs in {int(wrong.sum())} of {int(known.sum())} places"
    )


def first_place(given: Array, true: Array, rounding: float) -> tuple[int, ...] | None:
    """The first place where it shows."""
    bound = rounding * float(np.max(np.abs(true[np.isfinite(true)]), initial=0.0))
    wrong = ~(np.abs(given - true) <= bound) & ~np.isnan(true)
    places = np.argwhere(wrong)
    return tuple(map(int, places[0])) if len(places) else None


def _a_factor(given: Array, true: Array, factors: Mapping[str, Array], bound: float) -> str | None:
    """Whether given is true times a number, or times one a column."""
    known = np.isfinite(true)
    if not np.any(true[known]):
        return None
    for name, factor in _with_inverses(factors):
        if factor.ndim and (not true.ndim or factor.shape != true.shape[-1:]):
            continue
        if np.all(np.abs(given - factor * true)[known] <= bound * float(np.max(np.abs(factor)))):
            each = "" if factor.ndim else f" = {float(factor):.6g}"
            return f"is the true one times {name}{each}"
    ratio = _ratio(given[known], true[known], bound)
    if ratio is not None:
        return f"is {ratio:.6g} times the true one throughout: a factor"
    if true.ndim < 2:
        return None
    columns = zip(*(each.reshape(-1, true.shape[-1]).T for each in (given, true)), strict=True)
    ratios = [_ratio(g[np.isfinite(t)], t[np.isfinite(t)], bound) for g, t in columns]
    if any(each is None for each in ratios):
        return None
    shown = ", ".join(f"{each:.4g}" for each in ratios[:4]) + ", ..." * (len(ratios) > 4)
    return f"is the true one times a number a column, {shown}: a factor that each feature has"


def _with_inverses(factors: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
    for name, factor in factors.items():
        yield name, factor
        if np.all(factor):
            yield f"1/{name}" if name.isidentifier() else f"1/({name})", 1 / factor


def _ratio(given: Array, true: Array, bound: float) -> float | None:
    """The number that true is multiplied by, if it is one number."""
    square = float(np.vdot(true, true))
    if true.size < 2 or not square:
        return None
    ratio = float(np.vdot(true, given)) / square
    worst = float(np.max(np.abs(given - ratio * true)))
    return ratio if worst <= bound * max(abs(ratio), 1.0) else None


def _a_term(difference: Array, x_hat: Array | None, bound: float) -> str | None:
    """Whether it is the same in every row, or goes with x_hat, or is the sum of both."""
    if difference.ndim < 2:
        return None
    rows = difference.reshape(-1, difference.shape[-1])
    known = np.isfinite(rows)
    ones, least = np.ones_like(rows), int(known.sum(0).min())

    def is_made_of(*terms: Array) -> bool:
        if least <= len(terms) + 1:
            return False
        for column in range(rows.shape[1]):
            here = known[:, column]
            basis = np.stack([term[here, column] for term in terms], 1)
            parts = np.linalg.lstsq(basis, rows[here, column], rcond=None)[0]
            if not np.all(np.abs(rows[here, column] - basis @ parts) <= 10 * bound):
                return False
        return True

    if is_made_of(ones):
        return "differs by the same in every row" + ": a term of the mean" * (x_hat is not None)
    if x_hat is None:
        return None
    normalized = np.broadcast_to(x_hat, difference.shape).reshape(rows.shape)
    if is_made_of(normalized):
        return "differs in proportion to x_hat: a term of the variance"
    if is_made_of(ones, normalized):
        return (
            "differs by the same in every row and in proportion to x_hat: the terms of mean and "
            "variance"
        )
    return None


def _some_lines(wrong: Array) -> str | None:
    """Whether it differs in few rows or columns alone."""
    places = np.argwhere(wrong)
    for axis, name in ((0, "row"), (wrong.ndim - 1, "column")) if wrong.ndim > 1 else ():
        found = np.unique(places[:, axis])
        if 0 < len(found) <= min(3, wrong.shape[axis] - 1):
            return f"differs in {name}{'s' * (len(found) > 1)} {', '.join(map(str, found))} alone"
    return None
