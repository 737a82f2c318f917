"""What the contract tests share: the cases with their shapes, inputs, upstream gradients."""

import numpy as np
import pytest

from npbn.testing import CASES

PAIRS = [case for case in CASES.values() if case.has_backward]
ALONE = [case for case in CASES.values() if not case.has_backward]


def each(cases, names="case"):
    """A test's parameter: the cases, or tuples (case, ...) of as many as names."""
    cases = list(cases)
    ids = [
        "-".join(str(getattr(value, "key", value)) for value in case)
        if isinstance(case, tuple)
        else case.key
        for case in cases
    ]
    return pytest.mark.parametrize(names, cases, ids=ids)


each_pair = each(PAIRS)


def with_shapes(cases, largest=np.inf):
    """Pairs (case, shape) for a parameter, of at most so many values."""
    return [(case, shape) for case in cases for shape in case.shapes if np.prod(shape) <= largest]


def make(case, shape=None, dtype=np.float64, seed=0):
    return case.inputs(np.random.default_rng(seed), shape or case.shapes[0], dtype)


def first(inputs):
    return next(iter(inputs))


def upstream(y, seed=1):
    return np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype)


def arrays_in(value):
    """All arrays in a cache, in arguments, in an object at work."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict | tuple | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(each)
    elif not callable(value):
        names = [*getattr(value, "__dict__", ()), *getattr(type(value), "__slots__", ())]
        yield from arrays_in([getattr(value, name, None) for name in names])


def takes(case, inputs, shape):
    """Whether the operation takes a first argument of a shape, the others as they are."""
    if len(shape) < 2 or 0 in shape:
        return False
    try:
        others = make(case, shape)
    except ValueError:
        return False
    wanted = {name: np.shape(value) for name, value in inputs.items()} | {first(inputs): shape}
    return {name: np.shape(value) for name, value in others.items()} == wanted


def over(array, shape):
    """An array of the given shape, all of whose values are the first one of another array."""
    return np.lib.stride_tricks.as_strided(array, shape, (0,) * len(shape))
