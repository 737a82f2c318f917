"""A student's own forward and backward functions: called with care, and watched."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from npbn._checks import Array
from npbn.testing.comparison import Probe

Arrays = dict[str, Array]


class Functions(Probe):
    """forward and backward, the arrays that they are called with, and which have a gradient.

    What forward is given, and what backward is given, are copies. damaged: the name of what was
    written into -> the function that did.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        given: Arrays,
        gradients: Iterable[str],
        result: str,
    ) -> None:
        self._forward, self._backward = forward, backward
        self.given, self.gradients, self.result = given, tuple(gradients), result
        self.arrays = {name: given[name.removeprefix("d")] for name in self.gradients}
        self.takes_dy = _takes_two(backward)
        self.damaged: dict[str, str] = {}
        self.is_coarse = False

    def run(self, arrays: Mapping[str, Array]) -> tuple[Array, Any]:
        """y and the cache of some arrays."""
        copies = {name: array.copy() for name, array in arrays.items()}
        returned = _called("forward", self._forward, copies.values(), copies)
        y, cache = self._checked_forward(returned)
        self.find_damage("forward", copies, arrays)
        return y, cache

    def run_backward(self, dy: Array, cache: Any) -> list[Any]:
        """What backward returns, a value for each array that has a gradient."""
        own = dy.copy() if dy.ndim else dy[()]
        kept = _arrays_in(cache)
        before = [array.copy() for array in kept]
        arguments = (own, cache) if self.takes_dy else (cache,)
        returned = _called("backward", self._backward, arguments, {f"d{self.result}": dy})
        self.find_damage("backward", {f"d{self.result}": own}, {f"d{self.result}": dy})
        if not all(map(_same, kept, before)):
            self.damaged.setdefault("cache", "backward")
        return self._checked_backward(returned)

    def find_damage(self, by: str, now: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        """Remember which of the arrays are no longer what they were."""
        for name, array in now.items():
            if not _same(array, before[name]):
                self.damaged.setdefault(name, by)

    def forward(self) -> Array:
        """y of the arrays as they are now."""
        return self.run(self.given)[0]

    def _checked_forward(self, returned: Any) -> tuple[Array, Any]:
        name = self.result
        if not isinstance(returned, tuple | list):
            raise TypeError(
                f"forward: expected {name} and a cache, got {_kind(returned)}: end forward with "
                f"`return {name}, cache`, whatever backward needs in the cache"
            )
        if len(returned) != 2:
            raise ValueError(
                f"forward: expected {name} and a cache, got {len(returned)} values: put all that "
                f"backward needs into one, `return {name}, (a, b, c)`"
            )
        y, cache = returned
        array = np.asarray(y)
        if array.dtype.kind not in "fiub":
            raise TypeError(
                f"forward: expected {name}, an array or a number, got {_kind(y)}: end forward with "
                f"`return {name}, cache`"
            )
        if array.dtype.kind != "f":
            array = array.astype(np.float64)
        return array.copy(), cache

    def _checked_backward(self, returned: Any) -> list[Any]:
        names = ", ".join(self.gradients)
        if len(self.gradients) == 1 and not isinstance(returned, tuple | list):
            return [returned]
        if not isinstance(returned, tuple | list):
            raise TypeError(
                f"backward: expected {len(self.gradients)} gradients, {names}, got "
                f"{_kind(returned)}: end backward with `return {names}`"
            )
        if len(returned) != len(self.gradients):
            raise ValueError(
                f"backward: expected {len(self.gradients)} gradient"
                f"{'s' * (len(self.gradients) > 1)}, {names}, got {len(returned)}: end backward "
                f"with `return {names}`"
            )
        return list(returned)


def _takes_two(backward: Callable[..., Any]) -> bool:
    """Whether it is called backward(dy, cache), not backward(cache)."""
    try:
        parameters = inspect.signature(backward).parameters.values()
    except (TypeError, ValueError):
        return True
    positional = [each for each in parameters if each.kind in (0, 1)]
    return len(positional) != 1 or any(each.kind is each.VAR_POSITIONAL for each in parameters)


def _called(
    name: str, function: Callable[..., Any], arguments: Iterable[Any], shown: Mapping[str, Any]
) -> Any:
    """What the function returns; an error of its own says in which call it was."""
    try:
        return function(*arguments)
    except Exception as error:
        given = ", ".join(f"{each} {array.dtype} {array.shape}" for each, array in shown.items())
        error.add_note(f"check_derivation called {name} with {given}, and this is what it raised")
        raise


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"one array {value.shape}"
    return f"a {type(value).__name__}"


def _same(a: Any, b: Any) -> bool:
    return np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f")


def _arrays_in(value: Any, depth: int = 4) -> list[Array]:
    """The arrays that a cache holds, in tuples, lists, dicts and attributes."""
    if isinstance(value, np.ndarray):
        return [value]
    if not depth:
        return []
    if isinstance(value, Mapping):
        value = list(value.values())
    elif hasattr(value, "__dict__"):
        value = list(vars(value).values())
    if isinstance(value, tuple | list):
        return [array for each in value for array in _arrays_in(each, depth - 1)]
    return []
