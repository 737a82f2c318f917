"""A recurrent layer: the state of every step is made of x and of the state before it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class RNNCache(NamedTuple):
    """What the backward pass needs of the forward pass; h has T + 1 states (N, U), h[0] = 0."""

    x: Array
    input_weight: Array
    recurrent_weight: Array
    h: list[Array]
    last_only: bool
    mask: Array


def rnn_forward(
    x: Array,
    input_weight: Array,
    recurrent_weight: Array,
    bias: Array,
    *,
    last_only: bool = False,
    mask: Array | None = None,
) -> tuple[Array, RNNCache]:
    """The state h after each step, from h = 0.

    ::

        h_t = tanh(x_t @ input_weight + h_(t-1) @ recurrent_weight + bias)

    x (N, T, D), input_weight (D, U), recurrent_weight (U, U), bias (U,). Returns y (N, T, U), which
    is h_1 to h_T, or with last_only h_T, (N, U), and the cache. mask (N, T): where it is False
    there is no step, and h stays as it was. Elman 1990.
    """
    examples, steps, _ = x.shape
    if mask is None:
        mask = np.ones((examples, steps), bool)
    x = np.where(mask[..., np.newaxis], x, 0)
    h = [np.zeros((examples, len(recurrent_weight)), x.dtype)]
    for t in range(steps):
        new = np.tanh(x[:, t] @ input_weight + h[t] @ recurrent_weight + bias)
        h.append(np.where(mask[:, t, np.newaxis], new, h[t]))
    y = h[-1] if last_only else np.stack(h[1:], 1)
    return y, RNNCache(x, input_weight, recurrent_weight, h, last_only, mask)


def rnn_backward(dy: Array, cache: RNNCache) -> tuple[Array, Array, Array, Array]:
    """The gradients, back through time: from the last step to the first.

    ::

        dh                = dy_t + what step t + 1 hands back
        dz                = dh * (1 - h_t^2)
        dx_t              = dz @ input_weight'
        dinput_weight     = sum over t of x_t' @ dz
        drecurrent_weight = sum over t of h_(t-1)' @ dz
        dbias             = sum over t and examples of dz
        handed back       = dz @ recurrent_weight'      a masked step hands dh itself back

    dy like y. Returns dx (N, T, D), dinput_weight (D, U), drecurrent_weight (U, U), dbias (U,).
    Werbos 1990.
    """
    x, input_weight, recurrent_weight, h, last_only, mask = cache
    dx = np.zeros_like(x)
    dinput_weight = np.zeros_like(input_weight)
    drecurrent_weight = np.zeros_like(recurrent_weight)
    dbias = np.zeros_like(recurrent_weight[0])
    handed_back = dy if last_only else np.zeros_like(h[0])
    for t in reversed(range(x.shape[1])):
        dh = handed_back if last_only else dy[:, t] + handed_back
        kept = mask[:, t, np.newaxis]
        dz = np.where(kept, dh * (1 - h[t + 1] ** 2), 0)
        dx[:, t] = dz @ input_weight.T
        dinput_weight += x[:, t].T @ dz
        drecurrent_weight += h[t].T @ dz
        dbias += dz.sum(0)
        handed_back = np.where(kept, dz @ recurrent_weight.T, dh)
    return dx, dinput_weight, drecurrent_weight, dbias
