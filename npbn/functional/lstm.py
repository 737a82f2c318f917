"""Long short-term memory, step by step: one product for all inputs, one exp for all gates."""

from __future__ import annotations

from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.constants import constant
from npbn.numerics.denormals import multiply, quiet
from npbn.numerics.recurrent import Recurrent, Step, checked, gradients_of, rows_of
from npbn.numerics.tape import repeated


@quiet()
def lstm_forward(
    x: Array,
    input_weight: Array,
    recurrent_weight: Array,
    bias: Array,
    *,
    last_only: bool = False,
    mask: Array | None = None,
    out: Array | None = None,
) -> tuple[Array, LSTMOperation]:
    """The state h after each step, from h = 0 and c = 0.

    ::

        z_i, z_f, z_g, z_o = x_t @ input_weight + h_(t-1) @ recurrent_weight + bias
        i, f, o, g = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o), tanh(z_g)
        c_t = f * c_(t-1) + i * g
        h_t = o * tanh(c_t)

    Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000.

    Parameters
    ----------
    x : (N, T, D) array, float32 or float64
    input_weight, recurrent_weight, bias : (D, 4 * U), (U, 4 * U) and (4 * U,) arrays, of x's type
        Their columns in the order i, f, g, o.
    last_only : bool
    mask : (N, T) array of bools, optional
        Where it is False there is no step, x may be anything, and y is the state that is carried
        on.
    out : array like y, optional

    Returns
    -------
    y : (N, T, U) array, or with last_only (N, U)
        h_1 to h_T, or h_T.
    cache : LSTMOperation
        It refers to the weights: change them after the backward pass. cache.cell has c_1 to c_T,
        (N, T, U).

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape.

    Notes
    -----
    A gate has its digits also where it is nearly closed.
    """
    x, input_weight, recurrent_weight, last_only, bias = checked(
        x, input_weight, recurrent_weight, 4, last_only, bias=(bias, 4)
    )
    operation = LSTMOperation(x.shape, x.dtype, recurrent_weight.shape, last_only, mask)
    kept = (x, input_weight, recurrent_weight, bias)
    y = checks.output(out, operation.shape, x.dtype, kept)
    operation.forward(np, x, input_weight, recurrent_weight, bias, y)
    return y, operation


@quiet()
def lstm_backward(
    dy: Array, cache: LSTMOperation, *, out: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """The gradients, back through time: from the last step to the first.

    ::

        dc   = dc_(t+1) * f_(t+1) + dh * o * (1 - tanh(c_t)^2),  dh = dy_t + dz_(t+1) @ R'
        dz_i = dc * g * i * (1 - i),         dz_f = dc * c_(t-1) * f * (1 - f)
        dz_g = dc * i * (1 - g^2),           dz_o = dh * tanh(c_t) * o * (1 - o)
        dx_t = dz @ input_weight',           dinput_weight     = sum over t of x_t' @ dz
        dbias = sum over t and N of dz,      drecurrent_weight = sum over t of h_(t-1)' @ dz

    with R the recurrent_weight.

    Parameters
    ----------
    dy : array like y
    cache : what `lstm_forward` returned
    out : array for dx, optional

    Returns
    -------
    dx : (N, T, D) array
    dinput_weight, drecurrent_weight, dbias : (D, 4 * U), (U, 4 * U) and (4 * U,) arrays

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape.
    """
    return gradients_of("lstm_forward", LSTMOperation, dy, cache, out)  # type: ignore[return-value]


class Gated(Recurrent):
    """What an LSTM does with the sums z of its four gates.

    The sums come as -z for i, f and o, and as z for g: `signs` has each column's. The one exp for
    all columns takes g's along for nothing, as three calls for the others' take 1.7 times the time.
    (1 + tanh(z / 2)) / 2 is sigmoid(z), too, and 4 of 15 us faster at (60, 400), but keeps no digit
    of a gate that is nearly closed, and of those are the gradients where all are closed or open.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        weight_shape: tuple[int, ...],
        last_only: bool,
        mask: Array | None,
    ) -> None:
        super().__init__(shape, dtype, weight_shape, last_only, mask)
        units = self._units
        self._one = constant(1.0, dtype.char)
        self._signs = np.repeat(np.array([-1, -1, 1, -1], dtype), units)
        self._all_gates = self._over_time(4 * units)
        self._cell_states, self._tanh_cells = self._states(), self._over_time(units)
        self._written, self._tanh_g = np.empty((2, self._examples, units), dtype)
        self._make_arrays()
        self._steps = [self._step(t) for t in range(self._length)]

    def _make_arrays(self) -> None:
        """What else forward writes into."""

    def _step(self, t: int) -> Step:
        i, f, g, o = np.split(self._all_gates[t], 4, axis=1)
        return Step(
            gates=self._all_gates[t],
            **{"i": i, "f": f, "g": g, "o": o},
            hidden_before=self._hidden_states[t],
            hidden=self._hidden_states[t + 1],
            cell_before=self._cell_states[t],
            cell=self._cell_states[t + 1],
            tanh_cell=self._tanh_cells[t],
            masked=self._masked_at(t),
        )

    def _open(self, xp: Any, step: Step) -> None:
        """The gates, from their signed sums, and the cell."""
        xp.tanh(step.g, out=self._tanh_g)
        xp.exp(step.gates, out=step.gates)
        xp.add(step.gates, self._one, out=step.gates)
        xp.divide(self._one, step.gates, out=step.gates)
        xp.copyto(step.g, self._tanh_g)
        xp.multiply(step.f, step.cell_before, out=step.cell)
        xp.multiply(step.i, step.g, out=self._written)
        xp.add(step.cell, self._written, out=step.cell)

    def _carry(self, xp: Any, step: Step) -> None:
        """A masked step leaves all as it was."""
        if step.masked is not None:
            xp.copyto(step.hidden, step.hidden_before, where=step.masked)
            xp.copyto(step.cell, step.cell_before, where=step.masked)

    @property
    def cell(self) -> Array:
        """The cell c after each step, (N, T, U), a new array."""
        return self._cell_states[1:].swapaxes(0, 1).copy()

    def prepare_backward(self) -> None:
        super().prepare_backward()
        self._make_scratch()
        self._backward_steps = [self._backward_step(t) for t in reversed(range(self._length))]

    def _make_scratch(self) -> None:
        """What backward writes into."""
        self._dc, self._work = np.empty_like(self._dh), np.empty_like(self._dh)
        self._slope = np.empty_like(self._all_gates[0])
        self._slope_g = np.split(self._slope, 4, axis=1)[2]
        self._turned_weight = np.empty((4 * self._units, self._units), self.dtype)
        if self._masked is not None:
            self._dc_after = np.empty_like(self._dc)

    def _backward_step(self, t: int) -> Step:
        dz_i, dz_f, dz_g, dz_o = np.split(self._dz_at(t), 4, axis=1)
        own = {"dz_i": dz_i, "dz_f": dz_f, "dz_g": dz_g, "dz_o": dz_o}
        return Step(dy_t=self._dy_at(t), dz=self._dz_at(t), **own, **vars(self._steps[t]))

    def _take_dh(self, xp: Any, step: Step) -> None:
        """dh of the step, with what dy has of it."""
        if step.dy_t is not None:
            xp.add(self._dh, step.dy_t, out=self._dh)
        if step.masked is not None:
            xp.copyto(self._dh_after, self._dh)
            xp.copyto(self._dc_after, self._dc)

    def _close(self, xp: Any, step: Step) -> None:
        """dz of the gates, and the gradient of the cell before, from dz_o and dc."""
        xp.multiply(self._dc, step.g, out=step.dz_i)
        xp.multiply(self._dc, step.cell_before, out=step.dz_f)
        xp.multiply(self._dc, step.i, out=step.dz_g)
        multiply(xp, self._dc, step.f, out=self._dc)
        # i * (1 - i), and so for f and o; of g it is 1 - g^2.
        xp.subtract(self._one, step.gates, out=self._slope)
        xp.multiply(self._slope, step.gates, out=self._slope)
        xp.multiply(step.g, step.g, out=self._slope_g)
        xp.subtract(self._one, self._slope_g, out=self._slope_g)
        multiply(xp, step.dz, self._slope, out=step.dz)
        if step.masked is not None:
            xp.copyto(step.dz, 0, where=step.masked)

    def _carry_back(self, xp: Any, step: Step) -> None:
        if step.masked is not None:
            xp.copyto(self._dh, self._dh_after, where=step.masked)
            xp.copyto(self._dc, self._dc_after, where=step.masked)


class LSTMOperation(Gated):
    """h_t = o * tanh(c_t)."""

    def _make_arrays(self) -> None:
        columns, dtype = self._columns, self.dtype
        self._all_terms = self._over_time(columns)
        self._signed_input = np.empty((self.x_shape[-1], columns), dtype)
        self._signed_recurrent = np.empty((self._units, columns), dtype)
        self._signed_bias = np.empty(columns, dtype)

    def _step(self, t: int) -> Step:
        return Step(terms=self._all_terms[t], **vars(super()._step(t)))

    def _make_scratch(self) -> None:
        super()._make_scratch()
        self._prepare_bias_gradient()

    def forward(
        self,
        xp: Any,
        x: Array,
        input_weight: Array,
        recurrent_weight: Array,
        bias: Array,
        y: Array,
    ) -> None:
        self.input_weight, self.recurrent_weight, self.bias = input_weight, recurrent_weight, bias
        xp.multiply(input_weight, self._signs, out=self._signed_input)
        xp.multiply(recurrent_weight, self._signs, out=self._signed_recurrent)
        xp.multiply(bias, self._signs, out=self._signed_bias)
        self._begin(xp, x, self._signed_input, rows_of(self._all_terms))
        xp.add(self._all_terms, self._signed_bias, out=self._all_terms)
        for step in repeated(xp, self._steps):
            xp.matmul(step.hidden_before, self._signed_recurrent, out=step.gates)
            xp.add(step.gates, step.terms, out=step.gates)
            self._open(xp, step)
            xp.tanh(step.cell, out=step.tanh_cell)
            xp.multiply(step.o, step.tanh_cell, out=step.hidden)
            self._carry(xp, step)
        self._end(xp, y)

    def backward(
        self,
        xp: Any,
        dy: Array,
        dx: Array | None,
        dinput_weight: Array,
        drecurrent_weight: Array,
        dbias: Array,
    ) -> None:
        xp.copyto(self._turned_weight, self.recurrent_weight.T)
        self._begin_backward(xp, dy)
        xp.copyto(self._dc, 0)
        for step in repeated(xp, self._backward_steps):
            self._take_dh(xp, step)
            xp.multiply(self._dh, step.tanh_cell, out=step.dz_o)
            # o * (1 - tanh(c)^2)
            xp.multiply(step.hidden, step.tanh_cell, out=self._work)
            xp.subtract(step.o, self._work, out=self._work)
            xp.multiply(self._work, self._dh, out=self._work)
            xp.add(self._dc, self._work, out=self._dc)
            self._close(xp, step)
            xp.matmul(step.dz, self._turned_weight, out=self._dh)
            self._carry_back(xp, step)
        self._bias_gradient.write(xp, self._all_dz, dbias)
        rows = rows_of(self._all_dz)
        self._write_products(xp, rows, rows, dinput_weight, drecurrent_weight, dx)
