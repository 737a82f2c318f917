"""An operation on the rows that a mask keeps."""

from typing import Any

import numpy as np

from npbn._checks import Array
from npbn.numerics.operation import Operation, put_back, writable


class MaskedOperation(Operation):
    """The rows that are kept are the operation's whole batch; y and dx are 0 in the others.

    Parameters
    ----------
    inner : Operation
        For (rows that are kept, features).
    mask : array of bools
        Of the shape of x but for the last axis.
    """

    def __init__(self, inner: Any, mask: Array, features: int, dtype: np.dtype[Any]) -> None:
        super().__init__((*mask.shape, features), dtype)
        self._inner = inner
        self._kept = np.flatnonzero(mask)
        rows = len(self._kept)
        # For each row its place among those that are kept; a row of zeros lies behind them.
        self._places = np.full(mask.size, rows)
        self._places[self._kept] = np.arange(rows)
        self._x, self._result = np.empty((rows, features), dtype), self._with_zeros()

    def _with_zeros(self) -> Array:
        result = np.empty((len(self._kept) + 1, self.shape[-1]), self.dtype)
        result[-1] = 0
        return result

    def keep_statistics_in(self, vector: Array) -> None:
        """Write the statistics into this vector."""
        self._inner.keep_statistics_in(vector)

    def forward(self, xp: Any, x: Array, *inputs_and_y: Array) -> None:
        *inputs, y = inputs_and_y
        xp.take(x.reshape(-1, self.shape[-1]), self._kept, axis=0, out=self._x)
        self._inner.forward(xp, self._x, *inputs, self._result[:-1])
        self._spread(xp, self._result, y)

    def prepare_backward(self) -> None:
        self._inner = self._inner.with_own_scratch()
        self._dy, self._dresult = np.empty_like(self._x), self._with_zeros()

    def backward(self, xp: Any, dy: Array, dx: Array | None, *gradients: Array) -> None:
        xp.take(dy.reshape(-1, self.shape[-1]), self._kept, axis=0, out=self._dy)
        self._inner.backward(xp, self._dy, None if dx is None else self._dresult[:-1], *gradients)
        if dx is not None:
            self._spread(xp, self._dresult, dx)

    def _spread(self, xp: Any, result: Array, out: Array) -> None:
        written = writable(out)
        xp.take(result, self._places, axis=0, out=written.reshape(-1, self.shape[-1]))
        put_back(xp, written, out)

    @property
    def mean(self) -> Array:
        """The mean of the rows that are kept, (D,), a new array."""
        return np.asarray(self._inner.mean)

    @property
    def variance(self) -> Array:
        """Their biased variance, (D,), a new array."""
        return np.asarray(self._inner.variance)

    @property
    def x_hat(self) -> Array:
        """The normalized x, 0 where it is masked, (..., D), a new array."""
        x_hat = np.zeros(self.shape, self.dtype)
        x_hat.reshape(-1, self.shape[-1])[self._kept] = self._inner.x_hat
        return x_hat
