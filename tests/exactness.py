"""How far batch norm is off in each column, and how far it may be."""

import numpy as np

from npbn import functional, reference

BOUNDS = {"y": 3e-7, "dx": 5e-7, "dgamma": 5e-7, "dbeta": 5e-7}


def column_errors(x, epsilon, dy_mean=0, dtype=np.float32):
    """Each quantity's error, of its worst column by itself; the cache, and a true one."""
    rng, x = np.random.default_rng(1), x.astype(dtype)
    gamma = rng.uniform(0.5, 1.5, x.shape[-1]).astype(dtype)
    beta, dy = np.zeros_like(gamma), rng.standard_normal(x.shape) + dy_mean
    # So that no dx is out of range itself.
    std = np.sqrt(x.astype(np.longdouble).var(0) + epsilon)
    dy = (dy * np.clip(std, 1e-6, 1e6)).astype(dtype)
    y, cache = functional.batch_norm_forward(x, gamma, beta, epsilon=float(epsilon))
    got = y, *functional.batch_norm_backward(dy, cache)
    x, gamma, beta, dy = (each.astype(np.longdouble) for each in (x, gamma, beta, dy))
    y, true = reference.batch_norm_forward(x, gamma, beta, epsilon=np.longdouble(epsilon))
    trues = y, *reference.batch_norm_backward(dy, true)
    std = np.sqrt(true.variance + np.longdouble(epsilon))
    terms = gamma * true.x_hat, gamma / std * dy, two_norm(dy * true.x_hat), two_norm(dy)
    errors = {}
    for name, a, b, term in zip(BOUNDS, got, trues, terms, strict=True):
        largest = np.maximum(np.atleast_2d(abs(b)).max(0), np.atleast_2d(abs(term)).max(0))
        # Below the smallest normal number there are fewer digits.
        largest = np.maximum(largest, np.finfo(dtype).tiny)
        errors[name] = float((np.atleast_2d(abs(a - b)).max(0) / largest).max())
    return errors, cache, true


def two_norm(x):
    return np.sqrt((x**2).sum(0))
