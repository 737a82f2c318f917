"""What every layer's operation says of arrays holds: which may be one, and which backward reads."""

import numpy as np
import pytest
from subjects import assert_all_equal, upstream, with_shapes

from npbn.layers.plan import Mode
from npbn.numerics.denormals import quiet
from npbn.numerics.tape import Tape

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
        dx = each.run_backward(np, dy, dx, True)
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
    if operation.y_over_x:
        # Where backward reads x, in prediction alone: y.
        found = both_passes(subject, shape, dtype, mode, y_over_x=True)[1]
        np.testing.assert_array_equal(found[0], expected[0])


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_pass_is_made_in_the_type_of_x(subject, mode, dtype):
    layer = subject.filled(dtype)
    each = layer.at_work(subject.batch(dtype).shape, np.dtype(dtype), mode)
    assert each.operation.dtype == dtype
    assert all(array.dtype == dtype for array in each.given() if array.dtype.kind == "f")


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


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_tape_has_every_call(subject, mode, dtype):
    layer, x = subject.filled(dtype), np.array(subject.batch(dtype))
    each = layer.at_work(x.shape, np.dtype(dtype), mode)
    each.y = np.full(layer.output_shape(x.shape), 7, dtype)
    dy, dx, tape = upstream(each.y), np.full_like(x, 7), Tape()
    with quiet():
        tape.block("forward", each.arrays("forward", x=x, y=each.y))
        found = run_again(tape, lambda: each.run(tape, x))
        if found:
            np.testing.assert_array_equal(found["y"], each.y)
        each.operation.prepare_backward()
        tape.block("backward", each.arrays("backward", dy=dy, dx=dx))
        found = run_again(tape, lambda: each.run_backward(tape, dy, dx, True))
        expected = {"dx": dx} | {f"d{name}": each for name, each in layer.gradients.items()}
        for name in expected if found else ():
            np.testing.assert_array_equal(found[name], expected[name])


def run_again(tape, call):
    """What the names of the tape's last block stand for, when the lines of a call were run."""
    call()
    block = tape.blocks[-1]
    names = {"np": np, **block.arrays}
    if block.runs:
        exec(block.source, names)
        return names
    return {}
