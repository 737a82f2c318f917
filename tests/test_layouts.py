"""Every operation on few rows, at every width where the layout of the passes changes."""

import numpy as np
import pytest

from npbn import functional, reference
from npbn.numerics import blocks
from npbn.testing import CASES


def widths(rows, itemsize):
    """The widths from which on one more feature changes how so many rows are laid out."""
    block = blocks.BLOCK_BYTES // itemsize
    edges = {blocks.SMALL // rows, block // rows, block // 4, blocks.NARROW - 1}
    edges |= {blocks.WIDE // fold for fold in range(1, rows // 8 + 1)}
    edges = {edge for edge in edges if edge * rows <= 2 * block}
    return sorted({width for edge in edges for width in (edge, edge + 1)})


def make(name, rows, width, dtype):
    rng = np.random.default_rng(rows)
    if name != "dense":
        return CASES[name].inputs(rng, (rows, width), dtype)
    # Its outputs are what is summed over the rows.
    shapes = {"x": (rows, 2), "weight": (2, width), "bias": (width,)}
    return {each: rng.standard_normal(shape).astype(dtype) for each, shape in shapes.items()}


def both_passes(room, name, inputs):
    """All that the functions of a room return, but for caches."""
    name = CASES[name].name
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
        try:
            inputs = make(name, rows, width, dtype)
        except ValueError:
            continue  # a width that the operation does not take
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
