"""Initial weights."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array


def normal_weights(
    sizes: Sequence[int], std: float | None, rng: np.random.Generator | int | None
) -> list[Array]:
    """Weights (in, out) between layers of the given sizes, float32, normal around 0.

    Parameters
    ----------
    std : float or None
        Their standard deviation; None: sqrt(2 / in) for each layer (He et al. 2015).
    """
    rng = checks.generator(rng)
    return [
        rng.normal(scale=np.sqrt(2 / n) if std is None else std, size=(n, m)).astype(np.float32)
        for n, m in pairwise(sizes)
    ]


def initial_weight(
    shape: tuple[int, ...],
    weight: Array | None,
    rng: np.random.Generator | int | None,
    dtype: DTypeLike | None,
    *,
    std: float | None = None,
    name: str = "weight",
) -> Array:
    """The weights given, checked, or drawn: (..., out), normal around 0.

    Parameters
    ----------
    dtype : np.float32, np.float64 or None
        None: that of the weights given, else float32.
    std : float or None
        Their standard deviation; None: sqrt(2 / n), where n numbers go into each output (He et al.
        2015).
    name : str
        What messages call them.
    """
    if weight is None:
        kind = np.dtype(np.float32) if dtype is None else checks.float_dtype("dtype", dtype)
        std = np.sqrt(2 / prod(shape[:-1])) if std is None else std
        return (checks.generator(rng).standard_normal(shape) * std).astype(kind)
    weight = checks.float_array(name, weight)
    checks.has_shape(name, weight, shape)
    return weight if dtype is None else weight.astype(checks.float_dtype("dtype", dtype))
