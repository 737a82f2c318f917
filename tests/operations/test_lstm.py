"""Long short-term memory: its gates, its cell, its first bias; test_rnn.py has what it shares."""

import numpy as np
import pytest
from recurrent_oracles import mask_of, some_lengths

from npbn import LSTM, functional, reference
from npbn.testing import CASES

UNITS = 3


def make(shape=(4, 6, 2), dtype=np.float64, seed=0):
    return CASES["lstm"].inputs(np.random.default_rng(seed), shape, dtype)


def of_gate(name):
    place = "ifgo".index(name)
    return slice(UNITS * place, UNITS * (place + 1))


def pushed(inputs, **gates):
    """The inputs with gates that are always what is given: 0 or 1, for g -1 or 1."""
    inputs = {name: value.copy() for name, value in inputs.items()}
    for name, value in gates.items():
        inputs["bias"][of_gate(name)] += 1e3 if value == 1 else -1e3
    return inputs


def test_gates_are_where_they_are_said_to_be():
    inputs = make()
    # Nothing is shown.
    y, _ = functional.lstm_forward(**pushed(inputs, o=0))
    assert not y.any()
    # Nothing is written.
    y, cache = functional.lstm_forward(**pushed(inputs, i=0))
    assert not y.any()
    assert not cache.cell.any()
    # All is written, kept and shown: the cell counts the steps.
    y, cache = functional.lstm_forward(**pushed(inputs, i=1, f=1, g=1, o=1))
    np.testing.assert_allclose(cache.cell[0, :, 0], np.arange(1, 7))
    np.testing.assert_allclose(y[0, :, 0], np.tanh(np.arange(1, 7)))
    # Nothing is kept: the cell is what the step wrote.
    _, cache = functional.lstm_forward(**pushed(inputs, i=1, f=0, g=1))
    np.testing.assert_allclose(cache.cell, 1)


@pytest.mark.parametrize("masked", [False, True])
def test_the_cell_is_that_of_the_equations(masked):
    inputs = make()
    mask = mask_of(some_lengths(4, 6), 6) if masked else None
    _, cache = functional.lstm_forward(**inputs, mask=mask)
    _, expected = reference.lstm_forward(**inputs, mask=mask)
    np.testing.assert_allclose(cache.cell, np.stack(expected.c[1:], 1), rtol=1e-13)
    cell = cache.cell
    cell[...] = 7
    np.testing.assert_allclose(cache.cell, np.stack(expected.c[1:], 1), rtol=1e-13)


def test_with_nothing_forgotten_the_gradient_reaches_the_first_step():
    inputs = pushed(make((3, 200, 2)), f=1) | {"last_only": True}
    y, cache = functional.lstm_forward(**inputs)
    dx, *_ = functional.lstm_backward(np.ones_like(y), cache)
    assert abs(dx[:, 0]).max() > 1e-6
    forgotten = make((3, 200, 2)) | {"last_only": True}
    y, cache = functional.lstm_forward(**forgotten)
    dx_forgotten, *_ = functional.lstm_backward(np.ones_like(y), cache)
    assert abs(dx_forgotten[:, 0]).max() < 1e-20


def test_a_saturated_gate_is_0_or_1_and_makes_no_nan(dtype):
    inputs = make(dtype=dtype)
    inputs["x"] *= dtype(1e4)
    inputs["x"][0] *= dtype(1e20)
    y, cache = functional.lstm_forward(**inputs)
    assert np.isfinite(y).all()
    assert all(np.isfinite(each).all() for each in functional.lstm_backward(y, cache))
    expected, _ = reference.lstm_forward(**make(dtype=dtype))
    assert expected.shape == y.shape


def test_the_forget_gate_starts_open_as_with_keras():
    layer = LSTM(5, UNITS, rng=0)
    assert np.array_equal(layer.bias[of_gate("f")], np.ones(UNITS))
    assert layer.bias.sum() == UNITS
