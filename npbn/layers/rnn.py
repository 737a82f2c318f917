"""The recurrent layer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn._checks import Array
from npbn.functional.rnn import RNNOperation
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode
from npbn.layers.recurrent_layer import RecurrentLayer


class RNN(RecurrentLayer):
    """The state of each step is made of x and of the state before it, which starts at 0.

    ::

        h_t = tanh(x_t @ input_weight + h_(t-1) @ recurrent_weight + bias)

    The gradients go back through all steps (the equations are with `reference.rnn_backward`).

    Parameters
    ----------
    in_features, units : int
        The sizes of the last axis of x (N, T, in_features) and of y.
    last_only : bool
        False: y is the state after each step, (N, T, units); True: after the last, (N, units).
    input_weight, recurrent_weight : ndarray or None
        The initial weights, copied; None draws the first from a normal distribution of standard
        deviation 1 / sqrt(in_features), and a random orthogonal matrix for the other (Saxe et al.
        2014).
    rng : numpy.random.Generator, int or None
        For that draw; an int is a seed, None fresh, not reproducible.
    dtype : np.float32, np.float64 or None
        None: the type of the weights given, else np.float32.

    Attributes
    ----------
    input_weight : ndarray, shape (in_features, units)
        A parameter.
    recurrent_weight : ndarray, shape (units, units)
        A parameter.
    bias : ndarray, shape (units,)
        A parameter, which starts at 0; there is one, where PyTorch has two that are added.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    Notes
    -----
    `forward` takes a mask (N, T), for sequences of unequal length.

    References
    ----------
    Elman 1990.
    """

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
        operation = RNNOperation(shape, dtype, weight_shape, self.last_only, mode.mask)
        return Pass(operation, list(own.values()), list(gradients.values()))
