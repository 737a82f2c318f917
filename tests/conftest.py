"""What the tests of the operations share: their inputs' shapes, types and layouts, their oracle."""

import numpy as np
import pytest
from hypothesis import settings
from shared import MODES, memory_mapped

# A machine with other work to do is no failure.
settings.register_profile("npbn", deadline=None)
settings.load_profile("npbn")

# Few rows; many narrow ones, which the sums over the rows take in blocks; images; sequences.
SHAPES = [(7, 5), (60, 100), (1025, 3), (5000, 2), (2, 3, 4, 5), (4, 6, 3), (3, 700, 2)]


# A float array, made so that its values lie in memory in another way, or cannot be written.
LAYOUTS = {
    "Fortran": lambda a: np.asfortranarray(a),
    "every other row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "every other column": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "backwards": lambda a: a[::-1, ..., ::-1].copy()[::-1, ..., ::-1],
    "first axes swapped": lambda a: a.swapaxes(0, 1).copy().swapaxes(0, 1),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "memory-mapped": memory_mapped,
}

# Arrays like a given one, to write into.
OUTS = {
    "new": lambda a: np.full(a.shape, 7, a.dtype),
    "Fortran": lambda a: np.full(a.shape, 7, a.dtype, order="F"),
    "axes swapped": lambda a: np.full(a.swapaxes(0, 1).shape, 7, a.dtype).swapaxes(0, 1),
    "strided": lambda a: np.full((*a.shape[:-1], 2 * a.shape[-1]), 7, a.dtype)[..., ::2],
}


@pytest.fixture(params=[np.float32, np.float64], ids=["float32", "float64"])
def dtype(request):
    """Both float types."""
    return request.param


@pytest.fixture(params=SHAPES, ids=str)
def shape(request):
    """Shapes of a batch, the features last."""
    return request.param


@pytest.fixture(params=MODES.values(), ids=MODES)
def mode(request):
    """The arguments of forward in each mode."""
    return request.param


@pytest.fixture(params=LAYOUTS.values(), ids=LAYOUTS)
def laid_out(request):
    """Functions that copy an array into another layout."""
    return request.param


@pytest.fixture(params=OUTS.values(), ids=OUTS)
def make_out(request):
    """Functions that make an array like a given one, to write into."""
    return request.param


@pytest.fixture(scope="session")
def exact():
    """A function that turns all float arrays among its values into longdouble, for the oracle."""

    def convert(value):
        if isinstance(value, dict):
            return {name: convert(each) for name, each in value.items()}
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            return value.astype(np.longdouble)
        return value

    return convert


@pytest.fixture(scope="session")
def assert_close():
    """A function that holds an array against the oracle's.

    An error is the largest difference over the largest true value, in units of the type's eps.
    """

    def check(actual, expected, *, units=40):
        expected = np.asarray(expected)
        assert actual.shape == expected.shape
        largest = max(np.abs(expected).max(), np.finfo(actual.dtype).tiny)
        error = np.abs(actual - expected).max() / largest
        assert error <= units * np.finfo(actual.dtype).eps

    return check
