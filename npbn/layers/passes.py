"""A layer at work: what a plan runs, and what it must know of each pass."""

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from npbn._checks import Array


class Pass:
    """A layer at work on one shape, in one type and mode: an operation and the layer's arrays.

    Forward is ``operation.forward(xp, x, *inputs, y)``, backward ``operation.backward(xp, dy, dx,
    *gradients)`` (npbn/numerics/operation.py); y and dx are the plan's.

    Parameters
    ----------
    inputs : sequence
        The parameters, and what else forward takes.
    gradients : sequence of ndarray or None
        Where to write theirs.
    values : int
        Of an operation that has statistics, how many values each of them is of.
    momentum, correction : float or ndarray
        Of the running average that follows them::

            population = momentum * population + (1 - momentum) * correction * batch

    count : ndarray or None
        Counts the batches, by `batches` at a time. Where momentum is None, it is count / (count +
        batches): the population's are the mean of all.
    """

    is_readers = False

    def __init__(
        self,
        operation: Any,
        inputs: Sequence[Any] = (),
        gradients: Sequence[Array | None] = (),
        *,
        values: int = 0,
        momentum: float | Array | None = 1.0,
        correction: float | Array = 1.0,
        count: Array | None = None,
        batches: int = 1,
    ) -> None:
        self.operation = operation
        self._inputs, self._gradients = inputs, gradients
        self.values, self.momentum, self.correction = values, momentum, correction
        self.count, self.batches = count, batches
        self.y: Array | None = None
        self.dx: Array | None = None

    def arrays(self, direction: str, **between: Array | None) -> dict[str, Any]:
        """The arrays of a pass by name, for a tape: the operation's own, and what it is given."""
        function = getattr(self.operation, direction)
        given = self._inputs if direction == "forward" else self._gradients
        names = list(inspect.signature(function).parameters)[3 if direction == "backward" else 2 :]
        return {**between, **dict(zip(names, given, strict=False)), **self.operation.holds()}

    def given(self) -> list[Array]:
        """The layer's arrays."""
        return [
            each
            for each in (*self._inputs, *self._gradients, self.count)
            if isinstance(each, np.ndarray)
        ]

    def run(self, xp: Any, x: Array) -> Array:
        """Forward; returns y."""
        y = self.operation.forward(xp, x, *self._inputs, self.y)
        return y if self.operation.y_is_view else self.y  # type: ignore[return-value]

    def run_backward(self, xp: Any, dy: Array, dx: Array | None, wanted: bool) -> Array:
        """Backward; returns dx. wanted: whether anybody reads it."""
        view = self.operation.backward(xp, dy, dx, *self._gradients)
        return view if self.operation.dx_is_view else dx  # type: ignore[return-value]
