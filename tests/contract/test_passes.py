"""What every layer's operation says of arrays holds: which may be one, and which backward reads."""

import numpy as np
import pytest
from subjects import assert_all_equal, upstream, with_shapes

from npbn.layers.plan import Mode
from npbn.numerics.denormals import quiet

MODES = [Mode(True, "batch"), Mode(False, "batch"), Mode(False, "population")]


def both_passes(
    subject, shape, dtype, mode, *, y_over_x=False, dx_over_dy=False, spoil_y=False, spoil_x=False
):
    """y, dx and the gradients; with input_gradient=False no dx."""
    layer = subject.filled(dtype, shape)
    each = layer.at_work(shape, np.dtype(dtype), mode)
    x = np.array(subject.batch(dtype, shape))
    each.y = x if y_over_x else np.empty(layer.output_shape(shape), dtype)
    with quiet():
        kept = each.run(np, x).copy()
        dy = upstream(kept)
        given = dy.copy()
        for array, is_spoiled in ((each.y, spoil_y), (x, spoil_x)):
            if is_spoiled:
                array[...] = 7
        dx = dy if dx_over_dy else np.empty(shape, dtype)
        each.operation.prepare_backward()
        each.run_backward(np, dy, dx, True)
    if not dx_over_dy:
        np.testing.assert_array_equal(dy, given)
    return each.operation, [kept, dx, *layer.gradients.values()]


@pytest.mark.parametrize("mode", MODES, ids=str)
@with_shapes(100_000)
def test_an_operation_does_with_arrays_as_it_says(subject, shape, mode, dtype):
    operation, expected = both_passes(subject, shape, dtype, mode)
    promises = {
        "y_over_x": operation.y_over_x and not operation.reads_x,
        "dx_over_dy": operation.dx_over_dy,
        "spoil_y": not operation.reads_y,
        "spoil_x": not operation.reads_x,
    }
    for variant, holds in promises.items():
        if holds:
            assert_all_equal(
                both_passes(subject, shape, dtype, mode, **{variant: True})[1], expected
            )


@pytest.mark.parametrize("mode", MODES, ids=str)
@with_shapes(10_000)
def test_an_infinity_that_is_said_to_show_shows(subject, shape, mode):
    layer = subject.filled(np.float64, shape)
    each = layer.at_work(shape, np.dtype(np.float64), mode)
    x = np.array(subject.batch(np.float64, shape))
    x.flat[0] = np.inf
    each.y = np.empty(layer.output_shape(shape))
    with quiet():
        shown = not np.isfinite(each.run(np, x)).all()
    assert shown or not each.operation.shows_infinity
