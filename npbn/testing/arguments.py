"""The arrays that a derivation is checked with: those that prove nothing are refused."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.testing.functions import Arrays


def checked(arrays: Mapping[str, Any]) -> Arrays:
    """Copies as float64, labels as they are; ValueError for what proves nothing."""
    if not arrays:
        raise TypeError("arrays: expected the arrays that forward takes, got none")
    first = next(iter(arrays))
    found: Arrays = {}
    for name, value in arrays.items():
        array = np.asarray(value)
        if array.dtype.kind in "iub" and array.size and name != first:
            found[name] = array.copy()
            continue
        array = checks.float_array(name, array)
        if not array.size or not np.isfinite(array).all():
            came = "NaN or infinity" if array.size else f"the empty shape {array.shape}"
            raise ValueError(f"{name}: expected finite numbers, got {came}")
        found[name] = np.array(array, np.float64, order="C")
    _check_batch(first, found[first])
    for name, array in found.items():
        _check_numbers(name, array)
    return found


def names_of(forward: Callable[..., Any], count: int) -> tuple[str, ...]:
    """What a function calls its first arguments; "x", "array_1" ... where it has no names."""
    try:
        parameters = list(inspect.signature(forward).parameters.values())
    except (TypeError, ValueError):  # a function written in C
        parameters = []
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [each.name for each in parameters if each.kind in kinds][:count]
    return (*names, *(f"array_{place}" if place else "x" for place in range(len(names), count)))


def near(arrays: Arrays, rng: np.random.Generator) -> Arrays:
    """Others, near these, for another call."""
    return {
        name: array * rng.uniform(0.5, 1.5, array.shape) if array.dtype.kind == "f" else array
        for name, array in arrays.items()
    }


def _check_batch(name: str, x: Array) -> None:
    if x.ndim < 2:
        return
    features, rows = x.shape[-1], x.reshape(-1, x.shape[-1])
    if len(rows) <= 2:
        raise ValueError(
            f"{name}: got a batch of {len(rows)}, {x.shape}: batch statistics make 0 of one value, "
            f"and -1 and 1 of two, whatever they are, and a wrong gradient may look right: pass "
            f"more rows, rng.standard_normal((8, {features})) say"
        )
    if len(x) == 1:
        raise ValueError(
            f"{name}: got a batch of 1, {x.shape}, over which a sum and a mean are the same: pass "
            f"more examples, rng.standard_normal({(4, *x.shape[1:])}) say"
        )
    constant = np.flatnonzero((rows == rows[0]).all(0))
    if len(constant):
        raise ValueError(
            f"{name}: column {constant[0]} is {rows[0, constant[0]]:g} throughout: its variance is "
            "0, and a wrong gradient may look right: leave such columns out, or pass "
            f"rng.standard_normal({x.shape})"
        )


def _check_numbers(name: str, array: Array) -> None:
    value = array.flat[0]
    is_float = array.dtype.kind == "f"
    if (array != value).any():
        return
    if array.size > 1 or (is_float and value in (0, 1)):
        draw = "uniform(0.5, 1.5" if is_float else f"integers(0, {value + 2:d}"
        raise ValueError(
            f"{name}: is {value:g} throughout, and where it is forgotten, nobody sees it: pass "
            f"numbers that differ, rng.{draw}, {array.shape}) say"
        )
