"""Dropout as a layer: active in training only."""

from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional import dropout as core
from npbn.layers.layer import Layer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode


class Dropout(Layer):
    """A random share of the values is set to 0 in training; in inference y = x.

        y = x * factor, dx = dy * factor, where factor is 0, or 1 / (1 - rate) where a value is kept

    rate: the share that is set to 0, from 0 to below 1.
    rng: a numpy.random.Generator or a seed; None: fresh, not reproducible.
    Srivastava et al. 2014.
    """

    def __init__(self, rate: float, *, rng: np.random.Generator | int | None = None) -> None:
        super().__init__()
        self.rate = rate
        self._rng = checks.generator(rng)

    @checks.Setting
    def rate(self, value: float) -> float:
        """The share that is set to 0."""
        return checks.number("rate", value, minimum=0.0, below=1.0)

    def at_work(
        self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode, *, x_is_free: bool
    ) -> Pass:
        return DropoutPass(self.rate, self._rng) if mode.training else InactivePass()

    def __repr__(self) -> str:
        return f"Dropout({self.rate!r})"


class DropoutPass(Pass):
    draws = True

    def __init__(self, rate: float, rng: np.random.Generator) -> None:
        self._rate, self._rng = rate, rng

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        _, self._factor = core._dropout_forward(x, self._rate, self._rng, y)

    def backward(self, xp: Any, dy: Array, dx: Array | None) -> None:
        if dx is not None:
            xp.multiply(dy, self._factor, out=dx)


class InactivePass(Pass):
    """y = x, dx = dy."""

    y_over_x = dx_over_dy = shows_infinity = True

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        if x is not y:
            xp.copyto(y, x)

    def backward(self, xp: Any, dy: Array, dx: Array | None) -> None:
        if dx is not None and dx is not dy:
            xp.copyto(dx, dy)
