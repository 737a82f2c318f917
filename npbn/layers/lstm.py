"""Long short-term memory as a layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn._checks import Array
from npbn.functional.lstm import LSTMOperation
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode
from npbn.layers.recurrent_layer import RecurrentLayer


class LSTM(RecurrentLayer):
    """Long short-term memory: gates say what a cell takes in, keeps and shows; all starts at 0.

    ::

        z_i, z_f, z_g, z_o = x_t @ input_weight + h_(t-1) @ recurrent_weight + bias
        c_t = sigmoid(z_f) * c_(t-1) + sigmoid(z_i) * tanh(z_g)
        h_t = sigmoid(z_o) * tanh(c_t)

    The gradients go back through all steps (the equations are with `reference.lstm_backward`). The
    columns are in the order i, f, g, o, as those of Keras (i, f, c, o) and the rows of PyTorch's
    weights, which are these transposed.

    Parameters
    ----------
    in_features, units : int
        The sizes of the last axis of x (N, T, in_features) and of y.
    last_only : bool
        False: y is the state h after each step, (N, T, units); True: after the last, (N, units).
    input_weight, recurrent_weight : ndarray or None
        The initial weights, copied; None draws the first from a normal distribution of standard
        deviation 1 / sqrt(in_features), and a random orthogonal matrix for each gate of the other
        (Saxe et al. 2014).
    rng : numpy.random.Generator, int or None
        For that draw; an int is a seed, None fresh, not reproducible.
    dtype : np.float32, np.float64 or None
        None: the type of the weights given, else np.float32.

    Attributes
    ----------
    input_weight : ndarray, shape (in_features, 4 * units)
        A parameter.
    recurrent_weight : ndarray, shape (units, 4 * units)
        A parameter.
    bias : ndarray, shape (4 * units,)
        A parameter, which starts at 0, but at 1 for f, as with Keras: a cell begins by keeping what
        it has (Gers et al. 2000). There is one, where PyTorch has two that are added.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    Notes
    -----
    `forward` takes a mask (N, T), for sequences of unequal length.

    References
    ----------
    Hochreiter & Schmidhuber 1997.
    """

    _gates = 4

    def __init__(
        self,
        in_features: int,
        units: int,
        *,
        last_only: bool = False,
        input_weight: Array | None = None,
        recurrent_weight: Array | None = None,
        rng: np.random.Generator | int | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self._set_sizes(in_features, units)
        super().__init__(self._first_parameters(input_weight, recurrent_weight, rng, dtype))
        self.last_only = last_only

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        own, gradients = self._parameters, self._gradients
        weight_shape = own["recurrent_weight"].shape
        operation = LSTMOperation(shape, dtype, weight_shape, self.last_only, mode.mask)
        return Pass(operation, list(own.values()), list(gradients.values()))
