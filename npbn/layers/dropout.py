"""Dropout as a layer: active in training only."""

from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array, Statistics
from npbn.functional import dropout as core
from npbn.layers.base import BuiltInLayer


class Dropout(BuiltInLayer):
    """A random share of the values is set to 0 in training; in inference y = x.

        y = x * factor, dx = dy * factor, where factor is 0, or 1 / (1 - rate) where a value is kept

    rate: the share that is set to 0, from 0 to below 1.
    rng: a numpy.random.Generator or a seed; None: fresh, not reproducible.
    Srivastava et al. 2014.
    """

    def __init__(self, rate: float, *, rng: np.random.Generator | int | None = None) -> None:
        super().__init__()
        self.rate = checks.number("rate", rate, minimum=0.0, below=1.0)
        self._rng = checks.generator(rng)

    def _forward(
        self, x: Array, training: bool, statistics: Statistics, out: Array | None, spare: Any
    ) -> tuple[Array, Any]:
        y = np.empty(x.shape, x.dtype) if out is None else out
        if training:
            return core._dropout_forward(x, self.rate, self._rng, y)
        np.copyto(y, x)
        return y, np.ones((), x.dtype)

    def _backward(
        self, dy: Array, cache: Any, input_gradient: bool, out: Array | None
    ) -> Array | None:
        return np.multiply(dy, cache, out=out) if input_gradient else None

    def __repr__(self) -> str:
        return f"Dropout({self.rate!r})"
