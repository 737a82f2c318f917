"""Dropout: a random share of the values is set to 0 in training (Srivastava et al. 2014)."""

from __future__ import annotations

from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.constants import constant
from npbn.numerics.denormals import quiet
from npbn.numerics.operation import Operation, check_backward
from npbn.numerics.tape import outside


class DropoutOperation(Operation):
    """y = x * factor, where factor is 0, or 1 / (1 - rate) where a value is kept."""

    y_over_x = dx_over_dy = draws = True

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], rate: float) -> None:
        super().__init__(shape, dtype)
        self._drawn, self._factor = np.empty(shape, np.float32), np.empty(shape, dtype)
        self._kept = np.empty(shape, bool)
        self._rate, self._keep = constant(rate, "f"), constant(1 - rate, dtype.char)

    @property
    def factor(self) -> Array:
        """What each value was multiplied with, a new array."""
        return self._factor.copy()

    @property
    def mask(self) -> Array:
        """Which values were kept, a new array of bools."""
        return self._factor != 0

    def forward(self, xp: Any, x: Array, generator: np.random.Generator, y: Array) -> None:
        outside(xp, generator.random, "random")(dtype=np.float32, out=self._drawn)
        xp.greater_equal(self._drawn, self._rate, out=self._kept)
        self.keep(xp, x, self._kept, y)

    def keep(self, xp: Any, x: Array, kept: Array, y: Array) -> None:
        """Forward with what is kept instead of a draw."""
        xp.divide(kept, self._keep, out=self._factor)
        xp.multiply(x, self._factor, out=y)

    def backward(self, xp: Any, dy: Array, dx: Array) -> None:
        xp.multiply(dy, self._factor, out=dx)


class IdentityOperation(Operation):
    """y = x; dx = dy: dropout outside of training."""

    y_over_x = dx_over_dy = shows_infinity = True

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        """Writes y."""
        if y is not x:
            xp.copyto(y, x)

    def backward(self, xp: Any, dy: Array, dx: Array | None) -> None:
        """Writes dx, unless it is None."""
        if dx is not None and dx is not dy:
            xp.copyto(dx, dy)


@quiet()
def dropout_forward(
    x: Array,
    *,
    rate: float,
    rng: np.random.Generator | int | None = None,
    mask: Array | None = None,
    out: Array | None = None,
) -> tuple[Array, DropoutOperation]:
    """y = x / (1 - rate) where kept, else 0; each value is kept with probability 1 - rate.

    The division keeps the mean, so that inference needs no dropout at all.

    Parameters
    ----------
    x : (..., D) array, float32 or float64
    rate : float
        From 0 to below 1.
    rng : Generator or int, optional
        What draws, or a seed. None: fresh, not reproducible.
    mask : array of bools like x, optional
        True where a value is kept, instead of a draw.
    out : array like x, optional

    Returns
    -------
    y : array like x
    cache : DropoutOperation
        cache.factor is that of each value, 0 or 1 / (1 - rate), cache.mask which were kept.

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, range or shape, or both rng and mask.
    """
    x = checks.batch("x", x)
    rate = checks.number("rate", rate, minimum=0.0, below=1.0)
    if mask is not None:
        mask = checks.mask("mask", mask, x.shape)
        if rng is not None:
            raise ValueError("rng: nothing to draw where a mask is given: pass one of them")
    generator = checks.generator(rng)
    y = checks.output(out, x.shape, x.dtype, () if mask is None else (mask,))
    operation = DropoutOperation(x.shape, x.dtype, rate)
    if mask is None:
        operation.forward(np, x, generator, y)
    else:
        operation.keep(np, x, mask, y)
    return y, operation


@quiet()
def dropout_backward(dy: Array, cache: DropoutOperation, *, out: Array | None = None) -> Array:
    """dx = dy times the factor of each value.

    Parameters
    ----------
    dy : array like x
    cache : what `dropout_forward` returned
    out : array like x, optional

    Returns
    -------
    dx : array like x

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape than the forward pass.
    """
    dy, dx = check_backward("dropout_forward", DropoutOperation, dy, cache, out)
    cache.backward(np, dy, dx)
    return dx
