"""How a kernel does what is no single NumPy call, so that a tape can write it down."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np


def repeated(xp: Any, items: Iterable[Any]) -> Iterable[Any]:
    """The items of a loop, of which a tape writes the first round down, and how often it runs."""
    return items if xp is np else xp.repeated(items)


def outside(xp: Any, function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A function that is not NumPy's, which a tape writes down as one call of that name."""
    return function if xp is np else xp.outside(function, name)
