"""A layer at work: what a plan runs, and what it must know of each pass."""

from collections.abc import Sequence
from typing import Any

from npbn._checks import Array


class Pass:
    """A layer at work on one shape, in one type and mode: an operation and the layer's arrays.

    Forward is `operation.forward(xp, x, *inputs, y)`, backward `operation.backward(xp, dy, dx,
    *gradients)` (npbn/numerics/operation.py). y and dx are the plan's. xp is NumPy, or a tape that makes the same calls and
    writes them down.

    inputs: the parameters, and what else forward takes. gradients: where to write theirs.
    momentum, correction: of an operation that has statistics, those of the running average that
    follows them: population = momentum * population + (1 - momentum) * correction * batch; numbers,
    or arrays like the average.
    """

    is_readers = False

    def __init__(
        self,
        operation: Any,
        inputs: Sequence[Any] = (),
        gradients: Sequence[Array | None] = (),
        *,
        momentum: float | Array = 1.0,
        correction: float | Array = 1.0,
    ) -> None:
        self.operation = operation
        self._inputs, self._gradients = inputs, gradients
        self.momentum, self.correction = momentum, correction
        self.y: Array | None = None
        self.dx: Array | None = None

    def run(self, xp: Any, x: Array) -> Array:
        """Forward; returns y."""
        self.operation.forward(xp, x, *self._inputs, self.y)
        return self.y  # type: ignore[return-value]

    def run_backward(self, xp: Any, dy: Array, dx: Array | None, wanted: bool) -> Array:
        """Backward; returns dx. wanted: whether anybody reads it."""
        self.operation.backward(xp, dy, dx, *self._gradients)
        return dx  # type: ignore[return-value]
