"""A recurrent layer, step by step, with one product for the inputs of all steps."""

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
def rnn_forward(
    x: Array,
    input_weight: Array,
    recurrent_weight: Array,
    bias: Array,
    *,
    last_only: bool = False,
    mask: Array | None = None,
    out: Array | None = None,
) -> tuple[Array, RNNOperation]:
    """The state h after each step, from h = 0.

    ::

        h_t = tanh(x_t @ input_weight + h_(t-1) @ recurrent_weight + bias)

    Elman 1990.

    Parameters
    ----------
    x : (N, T, D) array, float32 or float64
    input_weight, recurrent_weight, bias : (D, U), (U, U) and (U,) arrays, of x's type
    last_only : bool
    mask : (N, T) array of bools, optional
        Where it is False there is no step, x may be anything, and y is the state that is carried
        on.
    out : array like y, optional

    Returns
    -------
    y : (N, T, U) array, or with last_only (N, U)
        h_1 to h_T, or h_T.
    cache : RNNOperation
        It refers to the weights: change them after the backward pass.

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape.
    """
    x, input_weight, recurrent_weight, last_only, bias = checked(
        x, input_weight, recurrent_weight, 1, last_only, bias=(bias, 1)
    )
    operation = RNNOperation(x.shape, x.dtype, recurrent_weight.shape, last_only, mask)
    kept = (x, input_weight, recurrent_weight, bias)
    y = checks.output(out, operation.shape, x.dtype, kept)
    operation.forward(np, x, input_weight, recurrent_weight, bias, y)
    return y, operation


@quiet()
def rnn_backward(
    dy: Array, cache: RNNOperation, *, out: Array | None = None
) -> tuple[Array, Array, Array, Array]:
    """The gradients, back through time: from the last step to the first.

    ::

        dz                = (dy_t + dz_(t+1) @ recurrent_weight') * (1 - h_t^2)
        dx_t              = dz @ input_weight'
        dinput_weight     = sum over t of x_t' @ dz
        drecurrent_weight = sum over t of h_(t-1)' @ dz
        dbias             = sum over t and examples of dz

    Werbos 1990.

    Parameters
    ----------
    dy : array like y
    cache : what `rnn_forward` returned
    out : array for dx, optional

    Returns
    -------
    dx : (N, T, D) array
    dinput_weight, drecurrent_weight, dbias : (D, U), (U, U) and (U,) arrays

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape.

    Notes
    -----
    In float32 1 - h^2 is off by up to 3e-7, as h is rounded: of gradients that come through states
    next to -1 and 1 alone no digits are left.
    """
    return gradients_of("rnn_forward", RNNOperation, dy, cache, out)  # type: ignore[return-value]


class RNNOperation(Recurrent):
    """h_t = tanh(x_t @ input_weight + h_(t-1) @ recurrent_weight + bias)."""

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        weight_shape: tuple[int, ...],
        last_only: bool,
        mask: Array | None,
    ) -> None:
        super().__init__(shape, dtype, weight_shape, last_only, mask)
        self._one, self._all_terms = constant(1.0, dtype.char), self._over_time(self._units)
        self._steps = [
            Step(
                terms=self._all_terms[t],
                hidden_before=self._hidden_states[t],
                hidden=self._hidden_states[t + 1],
                masked=self._masked_at(t),
            )
            for t in range(self._length)
        ]

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
        self._begin(xp, x, input_weight, rows_of(self._all_terms))
        xp.add(self._all_terms, bias, out=self._all_terms)
        for step in repeated(xp, self._steps):
            xp.matmul(step.hidden_before, recurrent_weight, out=step.hidden)
            xp.add(step.hidden, step.terms, out=step.hidden)
            xp.tanh(step.hidden, out=step.hidden)
            if step.masked is not None:
                xp.copyto(step.hidden, step.hidden_before, where=step.masked)
        self._end(xp, y)

    def prepare_backward(self) -> None:
        super().prepare_backward()
        self._prepare_bias_gradient()
        self._slope = np.empty_like(self._dh)
        self._backward_steps = [
            Step(dy_t=self._dy_at(t), dz=self._all_dz[t], **vars(self._steps[t]))
            for t in reversed(range(self._length))
        ]

    def backward(
        self,
        xp: Any,
        dy: Array,
        dx: Array | None,
        dinput_weight: Array,
        drecurrent_weight: Array,
        dbias: Array,
    ) -> None:
        self._begin_backward(xp, dy)
        for step in repeated(xp, self._backward_steps):
            if step.dy_t is not None:
                xp.add(self._dh, step.dy_t, out=self._dh)
            xp.multiply(step.hidden, step.hidden, out=self._slope)
            xp.subtract(self._one, self._slope, out=self._slope)
            multiply(xp, self._dh, self._slope, out=step.dz)
            if step.masked is not None:
                xp.copyto(step.dz, 0, where=step.masked)
                xp.copyto(self._dh_after, self._dh)
            xp.matmul(step.dz, self.recurrent_weight.T, out=self._dh)
            if step.masked is not None:
                xp.copyto(self._dh, self._dh_after, where=step.masked)
        self._bias_gradient.write(xp, self._all_dz, dbias)
        rows = rows_of(self._all_dz)
        self._write_products(xp, rows, rows, dinput_weight, drecurrent_weight, dx)
