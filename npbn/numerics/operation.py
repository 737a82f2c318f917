"""What all operations at work have in common."""

from typing import Any, Self

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array


class Workspace:
    """What holds arrays to work in, which go by the names of its attributes."""

    def holds(self) -> dict[str, Any]:
        """All that it holds by name, and what the workspaces in it hold."""
        found = dict(vars(self))
        for each in vars(self).values():
            if isinstance(each, Workspace):
                found = each.holds() | found
        return found

    def arrays(self) -> list[Array]:
        """All arrays that it holds, and the workspaces in it."""
        found: list[Array] = []
        for each in vars(self).values():
            if isinstance(each, Workspace):
                found += each.arrays()
            elif isinstance(each, np.ndarray):
                found.append(each)
        return found


class Operation(Workspace):
    """An operation at work on one shape and type: it makes its arrays once.

    xp is NumPy, or a tape that makes its calls and writes them down. x and the parameters are read
    again by backward: they must stay as they are until then.

    Parameters
    ----------
    shape : tuple of int
        That of x, and of y where the operation does not say otherwise.
    dtype : dtype
    """

    # Whether y may be x itself, whether backward reads x or y, and whether dx may be dy itself.
    y_over_x = reads_x = reads_y = dx_over_dy = False
    # Whether forward returns a view of x as y, and backward one of dy as dx: they write nothing.
    y_is_view = dx_is_view = False
    # Whether x is needed again where another operation ends what this one begins; that one has this
    # one as `begin`.
    begins = ends = False
    # Whether an infinity or NaN in x makes one in y; whether forward moves a generator.
    shows_infinity = draws = False

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        self.x_shape = self.shape = shape
        self.dtype = dtype

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """forward(xp, x, ..., y) writes y."""
        raise NotImplementedError

    def prepare_backward(self) -> None:
        """Make the arrays that backward writes over."""

    def backward(self, *args: Any, **kwargs: Any) -> Any:
        """backward(xp, dy, dx, ...) writes dx, unless it is None, and the parameters' gradients."""
        raise NotImplementedError

    def with_own_scratch(self) -> Self:
        """The same forward pass, with arrays of its own to work in: one for each backward pass."""
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        twin.prepare_backward()
        return twin


def check_backward(
    source: str, kind: type[Operation] | tuple[type[Operation], ...], dy: Any, cache: Any, out: Any
) -> tuple[Array, Array]:
    """dy, and where to write dx; source: the function that returned the cache."""
    if not isinstance(cache, kind):
        raise TypeError(f"cache: expected what {source} returned, got {type(cache).__name__}")
    dy = checks.upstream(dy, cache)
    return dy, checks.output(out, cache.x_shape, cache.dtype, (dy, *cache.arrays()))


def writable(out: Array) -> Array:
    """out, or where it is not contiguous an array to be copied into it."""
    return out if out.flags.c_contiguous else np.empty(out.shape, out.dtype)


def put_back(xp: Any, written: Array, out: Array) -> None:
    """Copy what `writable` gave into out, if that is another array."""
    if written is not out:
        xp.copyto(out, written)
