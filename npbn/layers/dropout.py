"""Dropout as a layer: active in training only."""

from __future__ import annotations

from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn.functional.dropout import DropoutOperation, IdentityOperation
from npbn.layers.layer import Layer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode


class Dropout(Layer):
    """A random share of the values is set to 0 in training; in inference y = x.

    ::

        y = x * factor, dx = dy * factor, where factor is 0, or 1 / (1 - rate) where a value is kept

    Parameters
    ----------
    rate : float
        The share that is set to 0, from 0 to below 1.
    rng : numpy.random.Generator, int or None
        An int is a seed, None fresh, not reproducible.

    References
    ----------
    Srivastava et al. 2014.
    """

    _training_only = ("rate",)

    def __init__(self, rate: float, *, rng: np.random.Generator | int | None = None) -> None:
        super().__init__()
        self.rate = rate
        self._rng = checks.generator(rng)

    @checks.Setting
    def rate(self, value: float) -> float:
        """The share that is set to 0."""
        return checks.number("rate", value, minimum=0.0, below=1.0)

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        if not mode.training:
            return Pass(IdentityOperation(shape, dtype))
        return Pass(DropoutOperation(shape, dtype, self.rate), (self._rng,))

    def __repr__(self) -> str:
        return f"Dropout({self.rate!r})"
