"""Long short-term memory: a cell that gates write, keep and read."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class LSTMCache(NamedTuple):
    """What the backward pass needs of the forward pass.

    h and c have T + 1 states (N, U), the first of them 0; gates has i, f, g, o (N, U) of each
    step.
    """

    x: Array
    input_weight: Array
    recurrent_weight: Array
    h: list[Array]
    c: list[Array]
    gates: list[list[Array]]
    last_only: bool
    mask: Array


def lstm_forward(
    x: Array,
    input_weight: Array,
    recurrent_weight: Array,
    bias: Array,
    *,
    last_only: bool = False,
    mask: Array | None = None,
) -> tuple[Array, LSTMCache]:
    """The state h after each step, from h = 0 and c = 0.

    ::

        z_i, z_f, z_g, z_o = x_t @ input_weight + h_(t-1) @ recurrent_weight + bias
        i = sigmoid(z_i)    how much is written
        f = sigmoid(z_f)    how much is kept
        g = tanh(z_g)       what is written
        o = sigmoid(z_o)    how much is read
        c_t = f * c_(t-1) + i * g
        h_t = o * tanh(c_t)

    x (N, T, D), input_weight (D, 4 * U), recurrent_weight (U, 4 * U), bias (4 * U,), their columns
    in the order i, f, g, o. Returns y (N, T, U), which is h_1 to h_T, or with last_only h_T,
    (N, U), and the cache. mask (N, T): where it is False there is no step, and h and c stay as they
    were. Hochreiter & Schmidhuber 1997; the forget gate is of Gers, Schmidhuber & Cummins 2000.
    """
    examples, steps, _ = x.shape
    if mask is None:
        mask = np.ones((examples, steps), bool)
    x = np.where(mask[..., np.newaxis], x, 0)
    h = [np.zeros((examples, len(recurrent_weight)), x.dtype)]
    c = [np.zeros_like(h[0])]
    gates = []
    for t in range(steps):
        z = x[:, t] @ input_weight + h[t] @ recurrent_weight + bias
        z_i, z_f, z_g, z_o = np.split(z, 4, axis=1)
        i, f, g, o = _sigmoid(z_i), _sigmoid(z_f), np.tanh(z_g), _sigmoid(z_o)
        new_c = f * c[t] + i * g
        new_h = o * np.tanh(new_c)
        kept = mask[:, t, np.newaxis]
        c.append(np.where(kept, new_c, c[t]))
        h.append(np.where(kept, new_h, h[t]))
        gates.append([i, f, g, o])
    y = h[-1] if last_only else np.stack(h[1:], 1)
    return y, LSTMCache(x, input_weight, recurrent_weight, h, c, gates, last_only, mask)


def lstm_backward(dy: Array, cache: LSTMCache) -> tuple[Array, Array, Array, Array]:
    """The gradients, back through time: from the last step to the first.

    ::

        dh   = dy_t + what step t + 1 hands back
        dc   = what step t + 1 hands back + dh * o * (1 - tanh(c_t)^2)
        dz_i = dc * g * i * (1 - i)
        dz_f = dc * c_(t-1) * f * (1 - f)
        dz_g = dc * i * (1 - g^2)
        dz_o = dh * tanh(c_t) * o * (1 - o)
        dx_t              = dz @ input_weight'
        dinput_weight     = sum over t of x_t' @ dz
        drecurrent_weight = sum over t of h_(t-1)' @ dz
        dbias             = sum over t and examples of dz
        handed back       = dz @ recurrent_weight' for dh, dc * f for dc

    A masked step hands dh and dc themselves back. dy like y. Returns dx (N, T, D), dinput_weight
    (D, 4 * U), drecurrent_weight (U, 4 * U), dbias (4 * U,).
    """
    x, input_weight, recurrent_weight, h, c, gates, last_only, mask = cache
    dx = np.zeros_like(x)
    dinput_weight = np.zeros_like(input_weight)
    drecurrent_weight = np.zeros_like(recurrent_weight)
    dbias = np.zeros_like(recurrent_weight[0])
    dh_back = dy if last_only else np.zeros_like(h[0])
    dc_back = np.zeros_like(c[0])
    for t in reversed(range(x.shape[1])):
        i, f, g, o = gates[t]
        kept = mask[:, t, np.newaxis]
        dh = dh_back if last_only else dy[:, t] + dh_back
        tanh_c = np.tanh(c[t + 1])
        dc = dc_back + dh * o * (1 - tanh_c**2)
        dz_i = dc * g * i * (1 - i)
        dz_f = dc * c[t] * f * (1 - f)
        dz_g = dc * i * (1 - g**2)
        dz_o = dh * tanh_c * o * (1 - o)
        dz = np.where(kept, np.concatenate([dz_i, dz_f, dz_g, dz_o], 1), 0)
        dx[:, t] = dz @ input_weight.T
        dinput_weight += x[:, t].T @ dz
        drecurrent_weight += h[t].T @ dz
        dbias += dz.sum(0)
        dh_back = np.where(kept, dz @ recurrent_weight.T, dh)
        dc_back = np.where(kept, dc * f, dc_back)
    return dx, dinput_weight, drecurrent_weight, dbias


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))
