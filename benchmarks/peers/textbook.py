"""NumPy as courses and textbooks write it: one expression a formula, in the arrays' own type.

Batch norm goes through its graph backward stage by stage. That is how the course and the book do it
that most learners read (Stanford's CS231n; Saito, Deep Learning from Scratch).
"""

from types import SimpleNamespace

import numpy as np


def dense_forward(x, w, b):
    """x W + b."""
    out = x.dot(w)
    return out if b is None else out + b, (x, w, b)


def dense_backward(dout, cache):
    """With dx, which nobody needs of the first layer."""
    x, w, b = cache
    return dout.dot(w.T), x.T.dot(dout), None if b is None else np.sum(dout, axis=0)


def relu_forward(x):
    """max(0, x)."""
    return np.maximum(0, x), x


def relu_backward(dout, x):
    """0 where x is."""
    return dout * (x > 0)


def batch_norm_forward(x, gamma, beta, *, epsilon):
    """The batch's statistics, x normalized by them, scaled and shifted; x (..., D) as (N, D)."""
    x = x.reshape(-1, x.shape[-1])
    mean = x.mean(axis=0)
    xc = x - mean
    var = np.mean(xc**2, axis=0)
    std = np.sqrt(var + epsilon)
    xn = xc / std
    out = gamma * xn + beta
    return out, SimpleNamespace(mean=mean, variance=var, gamma=gamma, xc=xc, std=std, xn=xn)


def batch_norm_backward(dout, cache):
    """Back through the same stages."""
    xc, std = cache.xc, cache.std
    dout = dout.reshape(xc.shape)
    n = dout.shape[0]
    dbeta = dout.sum(axis=0)
    dgamma = np.sum(cache.xn * dout, axis=0)
    dxn = cache.gamma * dout
    dxc = dxn / std
    dstd = -np.sum((dxn * xc) / (std * std), axis=0)
    dvar = 0.5 * dstd / std
    dxc += (2.0 / n) * xc * dvar
    dmu = np.sum(dxc, axis=0)
    dx = dxc - dmu / n
    return dx, dgamma, dbeta


def batch_norm_inference(x, gamma, beta, mean, variance, *, epsilon):
    """With given statistics."""
    xn = (x - mean) / np.sqrt(variance + epsilon)
    return gamma * xn + beta


def softmax_cross_entropy(x, y):
    """The mean cross entropy and its gradient."""
    shifted = x - np.max(x, axis=1, keepdims=True)
    log_probs = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
    n = x.shape[0]
    loss = -np.sum(log_probs[np.arange(n), y]) / n
    dx = np.exp(log_probs)
    dx[np.arange(n), y] -= 1
    dx /= n
    return loss, dx
