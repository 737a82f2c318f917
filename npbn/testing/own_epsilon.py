"""The epsilon of somebody else's forward pass, found in what it makes of an x."""

from collections.abc import Callable
from functools import partial

import numpy as np

from npbn._checks import Array
from npbn.testing.functions import Arrays

# Where the search begins.
_EPSILONS = (0.0, *(10.0**-n for n in range(20, -1, -1)))


def found_out(
    made: Callable[[Arrays, float], Array],
    forward: Callable[[Arrays], Array],
    arrays: Arrays,
    y: Array,
    epsilon: float | None,
) -> tuple[float, Arrays | None]:
    """The epsilon, and arrays to look at, too; None where forward cannot take them.

    Their x is so small that epsilon counts; or, where it does in the arrays as they are, so large
    that it does not. made: arrays and an epsilon -> y. forward: the one that is looked at, arrays
    -> y. epsilon: None for one that is to be found.
    """
    found, scale, scaled = epsilon or 0.0, 1.0, arrays
    while True:
        if epsilon is None:
            found = solved(partial(made, scaled), y)
        # A smaller one is none: 1e-18 is little beside 1e-9 squared.
        counts = _scale_where_it_counts(made, arrays, max(found, 1e-18))
        if counts >= scale and scale < 1:
            return found, scaled
        scale = counts if counts < 1 else 10.0
        scaled = _scaled(arrays, scale)
        y = forward(scaled)
        if y.shape != made(scaled, found).shape or not np.isfinite(y).all():
            return found, None
        if scale > 1:
            return found, scaled


def solved(made: Callable[[float], Array], y: Array) -> float:
    """The epsilon with which made(epsilon) comes closest to y: Gauss and Newton's method."""

    def distance(epsilon: float) -> float:
        with np.errstate(all="ignore"):
            found = float(np.linalg.norm((made(epsilon) - y).reshape(-1)))
        return found if np.isfinite(found) else np.inf

    best = min(_EPSILONS, key=distance)
    for _ in range(50 if best else 0):
        with np.errstate(all="ignore"):
            slope = (made(1.0001 * best) - made(0.9999 * best)) / (2e-4 * best)
            step = float(np.vdot(slope, y - made(best)) / np.vdot(slope, slope))
        # A whole step may be too long.
        steps = (best + step * share for share in (1.0, 0.5, 0.1, 0.01))
        better = (each for each in steps if each >= 0 and distance(each) < distance(best))
        new = next(better, None)
        if new is None:
            break
        best = new
    return best


def rounded(epsilon: float, error: Callable[[float], float]) -> float:
    """The number of fewest digits that is as good; error: how far off an epsilon is."""
    for digits in range(5):
        few = float(f"{epsilon:.{digits}e}")
        if error(few) <= max(2 * error(epsilon), 1e-14):
            return few
    return epsilon


def _scaled(arrays: Arrays, scale: float) -> Arrays:
    first = next(iter(arrays))
    return arrays | {first: scale * arrays[first]}


def _scale_where_it_counts(
    made: Callable[[Arrays, float], Array], arrays: Arrays, epsilon: float
) -> float:
    """How small x must be for epsilon to count; 1 where it does so, or where it never does."""
    for power in range(11):
        small = _scaled(arrays, 10.0**-power)
        with np.errstate(all="ignore"):
            once, twice = (made(small, n * epsilon) for n in (1, 2))
        if float(np.max(np.abs(twice - once))) > 0.05 * float(np.max(np.abs(once))):
            return 10.0**-power
    return 1.0
