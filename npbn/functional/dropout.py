"""Dropout: a random share of the values is set to 0 in training (Srivastava et al. 2014)."""

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array


@np.errstate(all="ignore")
def dropout_forward(
    x: Array,
    *,
    rate: float,
    rng: np.random.Generator | int | None = None,
    out: Array | None = None,
) -> tuple[Array, Array]:
    """y = x / (1 - rate) where kept, else 0; each value is kept with probability 1 - rate.

    x (..., D), float32 or float64; 0 <= rate < 1; rng a Generator or a seed (None: fresh, not
    reproducible). The division keeps the mean, so that inference needs no dropout at all. Returns y
    and the cache, which is the factor of each value, 0 or 1 / (1 - rate).
    TypeError or ValueError for arguments of another type, range or shape.
    """
    x = checks.batch("x", x)
    rate = checks.number("rate", rate, minimum=0.0, below=1.0)
    rng = checks.generator(rng)
    y = checks.output(out, x.shape, x.dtype)
    return _dropout_forward(x, rate, rng, y)


@np.errstate(all="ignore")
def dropout_backward(dy: Array, cache: Array, *, out: Array | None = None) -> Array:
    """dx = dy times the factor of each value.

    TypeError or ValueError for a dy of another type or shape than the forward pass.
    """
    factor = checks.float_array("cache", cache)
    dy = checks.upstream(dy, factor)
    return np.multiply(dy, factor, out=checks.output(out, dy.shape, dy.dtype, (dy, factor)))


def _dropout_forward(
    x: Array, rate: float, rng: np.random.Generator, y: Array
) -> tuple[Array, Array]:
    factor = (rng.random(x.shape, dtype=np.float32) >= rate).astype(x.dtype)
    factor /= 1 - rate
    return np.multiply(x, factor, out=y), factor
