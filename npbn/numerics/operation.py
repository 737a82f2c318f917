"""What all operations at work have in common."""

from typing import Any, Self

import numpy as np

from npbn._checks import Array


class Operation:
    """An operation at work on one shape and type: it makes its arrays once.

    `forward(xp, x, ..., y)` writes y; `backward(xp, dy, dx, ...)` writes dx, unless that is None,
    and the gradients of the parameters. xp is NumPy, or a tape that makes its calls and writes them
    down. x and the parameters are read again by backward: they must stay as they are until then.
    """

    # Whether y may be x itself, whether backward reads y, and whether dx may be dy itself.
    y_over_x = False
    reads_y = False
    dx_over_dy = False

    def prepare_backward(self) -> None:
        """Make the arrays that backward writes over."""

    def with_own_scratch(self) -> Self:
        """The same forward pass, with arrays of its own to work in: one for each backward pass."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin.prepare_backward()
        return twin


def writable(out: Array) -> Array:
    """out, or where it is not contiguous an array to be copied into it."""
    return out if out.flags.c_contiguous else np.empty(out.shape, out.dtype)


def put_back(xp: Any, written: Array, out: Array) -> None:
    """Copy what `writable` gave into out, if that is another array."""
    if written is not out:
        xp.copyto(out, written)
