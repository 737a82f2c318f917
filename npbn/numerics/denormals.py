"""Products without denormal numbers, which cost many CPUs five times the time and more."""

import threading
from functools import partial
from typing import Any

import numpy as np

from npbn._checks import Array


class _Underflows(threading.local):
    """Called by NumPy when a result was below the smallest normal number."""

    seen = False

    def __call__(self, *_: Any) -> None:
        self.seen = True


_underflows = _Underflows()

# No warnings: infinities and NaN show in the results. Underflows are noted: a with statement for a
# whole step, or for a public function.
quiet = partial(np.errstate, all="ignore", under="call", call=_underflows)


def multiply(xp: Any, a: Array, b: Array, out: Array) -> None:
    """out = a * b, with 0 for what would be below the smallest normal number; within `quiet`.

    The CPU's own underflow flag tells whether there is anything to do; looking at every number
    would take 6 us at (60, 100). It is not raised for exact products, of powers of two say.
    """
    _underflows.seen = False
    xp.multiply(a, b, out=out)
    if _underflows.seen:
        flush(xp, out)


def flush(xp: Any, x: Array) -> None:
    """Set the denormal numbers in x to 0."""
    usual = xp.greater_equal(xp.absolute(x), np.finfo(x.dtype).tiny)
    xp.multiply(x, usual, out=x)
