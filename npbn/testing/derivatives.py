"""Numeric derivatives, adaptive in order and step, that tell a kink."""

from collections.abc import Callable, Mapping

import numpy as np

from npbn._checks import Array

Function = Callable[[Array], Array]
TINY = float(np.finfo(float).tiny)


def derivative_at_0(value: Function, size: float) -> float | None:
    """The derivative of a function of steps (n,) -> values (n,) at 0; None on a kink.

    What is inaccurate comes back as the best that was found.

    Parameters
    ----------
    size : float
        What counts as a large step.
    """
    from scipy.differentiate import derivative

    if _has_kink(value, size):
        return None
    best, smallest = np.nan, np.inf
    step = 1e-2 * max(size, 1.0)
    while step > 0.9e-6 * size:
        # A step that crosses a kink does not converge; a smaller one may stay on this side of it.
        found = derivative(
            value,
            0.0,
            initial_step=step,
            order=6,
            maxiter=3,
            tolerances={"atol": 1e-10, "rtol": 1e-9},
        )
        if found.success:
            return float(found.df)
        if found.error < smallest:
            best, smallest = float(found.df), float(found.error)
        step /= 10
    return best


def floors(slopes: Mapping[str, float], arrays: Mapping[str, Array]) -> dict[str, float]:
    """What a gradient that is 0 throughout is measured by: the others, in whatever units they are.

    slopes: the largest derivative by each array. Of an x of 1e6 it is small, and no less right.
    """
    sizes = {name: natural_size(arrays[name]) for name in slopes}
    by_size = max(slope * sizes[name] for name, slope in slopes.items())
    most = max(slopes.values())
    return {name: max(1e-4 * min(most, by_size / size), TINY) for name, size in sizes.items()}


def natural_size(array: Array) -> float:
    """What counts as a large change of an entry: the spread of the array, or else its size."""
    spread = float(np.std(array)) if array.size > 1 else 0.0
    size = float(np.sqrt(np.mean(array**2)))
    return min(max(spread, 1e-6 * size) if spread else size, size) or 1.0


def _has_kink(value: Function, size: float) -> bool:
    """Whether the slope jumps at 0: of a smooth function the jump would shrink with the step."""
    wide, narrow = 1e-5 * size, 1e-6 * size
    values = value(np.array([-wide, -narrow, 0.0, narrow, wide]))
    jump_narrow = abs(values[1] - 2 * values[2] + values[3]) / narrow
    jump_wide = abs(values[0] - 2 * values[2] + values[4]) / wide
    slope = abs(values[4] - values[0]) / (2 * wide)
    rounding = 1e3 * np.finfo(float).eps * np.max(np.abs(values)) / narrow
    return bool(jump_narrow > max(1e-6 * slope, rounding, 0.5 * jump_wide))
