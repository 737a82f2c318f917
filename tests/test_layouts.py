"""Every operation on few rows, at every width where the layout of the passes changes."""

import numpy as np
import pytest

from npbn import functional, reference
from npbn.functional import _blocks, _sums
from npbn.testing import CASES

# What the rules compare with a number of bytes, and with a number of values.
BYTES = (_blocks.SMALL_BYTES, _blocks.BLOCK_BYTES)
SIZES = (_sums.SMALL, 2 * _sums.SMALL)


def widths(rows, itemsize):
    """Each width from which on one more value a row, or of a few rows' sums, changes a rule."""
    sizes = [*SIZES, *(each // itemsize for each in BYTES)]
    edges = {size // count for size in sizes for count in {1, -(-rows // _sums.FEW_SUMS), rows}}
    edges |= {_blocks.WIDE // fold for fold in range(1, rows // 4)} | {_blocks.FEW_ROWS - 1}
    wide = max(SIZES) + 1
    return sorted({min(width, wide) for edge in edges for width in (edge, edge + 1) if width})


def make(name, rows, width, dtype):
    rng = np.random.default_rng(rows)
    if name != "dense":
        return CASES[name](rng, (rows, width), dtype)
    # Its outputs are what is summed over the rows.
    shapes = {"x": (rows, 2), "weight": (2, width), "bias": (width,)}
    return {each: rng.standard_normal(shape).astype(dtype) for each, shape in shapes.items()}


def both_passes(room, name, inputs):
    """All that the functions of a room return, but for caches."""
    if name == "batch_norm_inference":
        y = room.batch_norm_inference(**inputs)
        taken = {key: value for key, value in inputs.items() if key != "beta"}
        return y, *room.batch_norm_inference_backward(-y, **taken)
    if name in room.__all__:
        found = getattr(room, name)(**inputs)
        return found if isinstance(found, tuple) else (found,)
    y, cache = getattr(room, f"{name}_forward")(**inputs)
    gradients = getattr(room, f"{name}_backward")(np.cos(3 * y), cache)
    return y, *(gradients if isinstance(gradients, tuple) else (gradients,))


def assert_agree(name, rows, dtype):
    for width in widths(rows, np.dtype(dtype).itemsize):
        inputs = make(name, rows, width, dtype)
        exact = {
            key: value.astype(np.float64) if value_is_float(value) else value
            for key, value in inputs.items()
        }
        found = both_passes(functional, name, inputs)
        true = both_passes(reference, name, exact)
        for one, expected in zip(found, true, strict=True):
            largest = max(np.abs(expected).max(), 1e-30)
            error = np.abs(one - expected).max() / largest
            assert not error > 1000 * np.finfo(dtype).eps, (width, error)


def value_is_float(value):
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


FEW = (1, 2, 3, 12, 65)


@pytest.mark.parametrize(
    "rows",
    [each if each in FEW else pytest.param(each, marks=pytest.mark.slow) for each in range(1, 101)],
)
@pytest.mark.parametrize("name", CASES)
def test_few_rows_of_every_width(name, rows, dtype):
    assert_agree(name, rows, dtype)
