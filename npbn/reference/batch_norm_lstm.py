"""Recurrent batch normalization, as Cooijmans et al. 2016 state it: an LSTM normalized in time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from npbn.reference.batch_norm import (
    BatchNormCache,
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
    batch_norm_inference_backward,
)

Array = NDArray[Any]


class BatchNormLSTMCache(NamedTuple):
    """What the backward pass needs of the forward pass.

    h and c have T + 1 states (N, U), the first of them 0; gates has i, f, g, o (N, U) of each step,
    u the normalized cell, norms what the three normalizations of a step keep.
    """

    x: Array
    parameters: Mapping[str, Array]
    h: list[Array]
    c: list[Array]
    u: list[Array]
    gates: list[list[Array]]
    norms: list[list[Any]]
    last_only: bool
    mask: Array

    @property
    def statistics(self) -> dict[str, Array]:
        """Mean and variance of each step: of its inputs' sums (T, 4 * U), its states', its cell."""
        names = "input", "recurrent", "cell"
        return {
            f"{name}_{kind}": np.stack([getattr(norms[place], kind) for norms in self.norms])
            for place, name in enumerate(names)
            for kind in ("mean", "variance")
        }


def batch_norm_lstm_forward(
    x: Array,
    input_weight: Array,
    recurrent_weight: Array,
    bias: Array,
    input_gamma: Array,
    recurrent_gamma: Array,
    cell_gamma: Array,
    cell_beta: Array,
    *,
    epsilon: float = 1e-5,
    last_only: bool = False,
    mask: Array | None = None,
) -> tuple[Array, BatchNormLSTMCache]:
    """The state h after each step, from h = 0 and c = 0.

    ::

        z   = BN(x_t @ input_weight; input_gamma, 0)
              + BN(h_(t-1) @ recurrent_weight; recurrent_gamma, 0) + bias
        c_t = sigmoid(z_f) * c_(t-1) + sigmoid(z_i) * tanh(z_g)
        h_t = sigmoid(z_o) * tanh(BN(c_t; cell_gamma, cell_beta))

        BN(a; gamma, beta) = gamma * (a - mean) / sqrt(variance + epsilon) + beta

    BN is over the examples, at each step by itself. x (N, T, D), the others as for lstm_forward;
    input_gamma and recurrent_gamma (4 * U,), cell_gamma and cell_beta (U,). Returns y (N, T, U), or
    with last_only h_T, (N, U), and the cache. mask (N, T): where it is False there is no step;
    nothing counts in the statistics, and h and c stay as they were. Cooijmans et al. 2016,
    equations 6 to 8.
    """
    parameters = {
        "input_weight": input_weight,
        "recurrent_weight": recurrent_weight,
        "bias": bias,
        "input_gamma": input_gamma,
        "recurrent_gamma": recurrent_gamma,
        "cell_gamma": cell_gamma,
        "cell_beta": cell_beta,
    }

    def norm(name: str, t: int, a: Array, gamma: Array, beta: Array, kept: Array) -> Any:
        if not kept.any():
            nothing = np.zeros_like(gamma)
            return a, BatchNormCache(a, a, nothing, nothing, gamma, epsilon, kept)
        return batch_norm_forward(a, gamma, beta, epsilon=epsilon, mask=kept)

    return _forward(x, parameters, norm, last_only, mask)


def batch_norm_lstm_backward(dy: Array, cache: BatchNormLSTMCache) -> tuple[Array, ...]:
    """The gradients, back through time: as those of an LSTM, and through the normalizations.

    ::

        du = dh * o * (1 - tanh(u)^2),  dc = what step t + 1 hands back + BN's dx of du
        da_x, da_h = BN's dx of dz, each with its own statistics
        dx_t              = da_x @ input_weight'
        dinput_weight     = sum over t of x_t' @ da_x
        drecurrent_weight = sum over t of h_(t-1)' @ da_h
        dbias             = sum over t and examples of dz
        dinput_gamma, drecurrent_gamma = sum over t and examples of dz * a_hat
        dcell_gamma       = sum over t and examples of du * c_hat,  dcell_beta of du
        handed back       = da_h @ recurrent_weight' for dh, dc * f for dc

    The statistics of a step are its own, so nothing of them goes back in time. dy like y. Returns
    the gradients of x and of the seven parameters, in forward's order.
    """

    def back(dy: Array, norm: Any) -> tuple[Array, ...]:
        if not norm.mask.any():
            return np.zeros_like(dy), np.zeros_like(norm.gamma), np.zeros_like(norm.gamma)
        return batch_norm_backward(dy, norm)

    return _backward(dy, cache, back)


def batch_norm_lstm_inference_forward(
    x: Array,
    input_weight: Array,
    recurrent_weight: Array,
    bias: Array,
    input_gamma: Array,
    recurrent_gamma: Array,
    cell_gamma: Array,
    cell_beta: Array,
    input_mean: Array,
    input_variance: Array,
    recurrent_mean: Array,
    recurrent_variance: Array,
    cell_mean: Array,
    cell_variance: Array,
    *,
    epsilon: float = 1e-5,
    last_only: bool = False,
    mask: Array | None = None,
) -> tuple[Array, BatchNormLSTMCache]:
    """The same with given statistics, those of the population: a row for each step.

    input_mean, input_variance, recurrent_mean and recurrent_variance (S, 4 * U), cell_mean and
    cell_variance (S, U); steps beyond the S-th use the last row.
    """
    parameters = {
        "input_weight": input_weight,
        "recurrent_weight": recurrent_weight,
        "bias": bias,
        "input_gamma": input_gamma,
        "recurrent_gamma": recurrent_gamma,
        "cell_gamma": cell_gamma,
        "cell_beta": cell_beta,
    }
    statistics = {
        "input": (input_mean, input_variance),
        "recurrent": (recurrent_mean, recurrent_variance),
        "cell": (cell_mean, cell_variance),
    }

    def norm(name: str, t: int, a: Array, gamma: Array, beta: Array, kept: Array) -> Any:
        mean, variance = (rows[min(t, len(rows) - 1)] for rows in statistics[name])
        given = {"gamma": gamma, "mean": mean, "variance": variance, "epsilon": epsilon}
        return batch_norm_inference(a, beta=beta, **given), {"x": a, **given}

    return _forward(x, parameters, norm, last_only, mask)


def batch_norm_lstm_inference_backward(dy: Array, cache: BatchNormLSTMCache) -> tuple[Array, ...]:
    """The gradients where the statistics are constants; as batch_norm_lstm_backward otherwise."""
    return _backward(dy, cache, lambda dy, norm: batch_norm_inference_backward(dy, **norm))


def _forward(
    x: Array, parameters: Mapping[str, Array], norm: Any, last_only: bool, mask: Array | None
) -> tuple[Array, BatchNormLSTMCache]:
    """norm(name, t, a, gamma, beta, kept) -> the normalized a, and what its backward pass needs."""
    input_weight, recurrent_weight, bias, input_gamma, recurrent_gamma, cell_gamma, cell_beta = (
        parameters.values()
    )
    examples, steps, _ = x.shape
    if mask is None:
        mask = np.ones((examples, steps), bool)
    x = np.where(mask[..., np.newaxis], x, 0)
    h = [np.zeros((examples, len(recurrent_weight)), x.dtype)]
    c = [np.zeros_like(h[0])]
    u, gates, norms = [], [], []
    no_beta = np.zeros_like(bias)
    for t in range(steps):
        kept = mask[:, t]
        of_input, input_norm = norm("input", t, x[:, t] @ input_weight, input_gamma, no_beta, kept)
        of_state, recurrent_norm = norm(
            "recurrent", t, h[t] @ recurrent_weight, recurrent_gamma, no_beta, kept
        )
        z_i, z_f, z_g, z_o = np.split(of_input + of_state + bias, 4, axis=1)
        i, f, g, o = _sigmoid(z_i), _sigmoid(z_f), np.tanh(z_g), _sigmoid(z_o)
        new_c = f * c[t] + i * g
        new_u, cell_norm = norm("cell", t, new_c, cell_gamma, cell_beta, kept)
        new_h = o * np.tanh(new_u)
        c.append(np.where(kept[:, np.newaxis], new_c, c[t]))
        h.append(np.where(kept[:, np.newaxis], new_h, h[t]))
        u.append(new_u)
        gates.append([i, f, g, o])
        norms.append([input_norm, recurrent_norm, cell_norm])
    y = h[-1] if last_only else np.stack(h[1:], 1)
    return y, BatchNormLSTMCache(x, parameters, h, c, u, gates, norms, last_only, mask)


def _backward(dy: Array, cache: BatchNormLSTMCache, back: Any) -> tuple[Array, ...]:
    """back(dy, what a normalization kept) -> its dx, dgamma, dbeta."""
    x, parameters, h, c, u, gates, norms, last_only, mask = cache
    dx = np.zeros_like(x)
    d = {name: np.zeros_like(value) for name, value in parameters.items()}
    dh_back = dy if last_only else np.zeros_like(h[0])
    dc_back = np.zeros_like(c[0])
    for t in reversed(range(x.shape[1])):
        i, f, g, o = gates[t]
        input_norm, recurrent_norm, cell_norm = norms[t]
        kept = mask[:, t, np.newaxis]
        dh = dh_back if last_only else dy[:, t] + dh_back
        tanh_u = np.tanh(u[t])
        du = np.where(kept, dh * o * (1 - tanh_u**2), 0)
        dc_of_u, dcell_gamma, dcell_beta = back(du, cell_norm)
        dc = dc_back + dc_of_u
        dz_i = dc * g * i * (1 - i)
        dz_f = dc * c[t] * f * (1 - f)
        dz_g = dc * i * (1 - g**2)
        dz_o = dh * tanh_u * o * (1 - o)
        dz = np.where(kept, np.concatenate([dz_i, dz_f, dz_g, dz_o], 1), 0)
        da_x, dinput_gamma, _ = back(dz, input_norm)
        da_h, drecurrent_gamma, _ = back(dz, recurrent_norm)
        dx[:, t] = da_x @ parameters["input_weight"].T
        d["input_weight"] += x[:, t].T @ da_x
        d["recurrent_weight"] += h[t].T @ da_h
        d["bias"] += dz.sum(0)
        d["input_gamma"] += dinput_gamma
        d["recurrent_gamma"] += drecurrent_gamma
        d["cell_gamma"] += dcell_gamma
        d["cell_beta"] += dcell_beta
        dh_back = np.where(kept, da_h @ parameters["recurrent_weight"].T, dh)
        dc_back = np.where(kept, dc * f, dc_back)
    return dx, *d.values()


def _sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))
