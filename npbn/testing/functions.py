"""A student's own forward and backward functions: called with care, and watched."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from npbn._checks import Array
from npbn.testing.comparison import Probe

Arrays = dict[str, Array]


class Functions(Probe):
    """forward and backward, and the arrays that they are called with.

    given: the arrays by name. shapes: those that they are called with, where these are others.
    gradients: what backward returns, "dx" ... result: what forward returns, "y" or "loss". conduct:
    what is wrong with how they behave: of what -> pairs of a key and a sentence. takes_dy: False
    where it is backward(cache), a loss's whose dloss is 1.
    """

    def __init__(
        self,
        forward: Callable[..., Any],
        backward: Callable[..., Any],
        given: Arrays,
        gradients: Iterable[str],
        result: str,
        shapes: Mapping[str, tuple[int, ...]],
    ) -> None:
        self._forward, self._backward = forward, backward
        self.given, self.gradients, self.result = given, tuple(gradients), result
        self._shapes = shapes
        self.arrays = {name: given[name.removeprefix("d")] for name in self.gradients}
        self.takes_dy = _takes_two(backward)
        self.conduct: dict[str, list[tuple[str, str]]] = {}

    def run(self, arrays: Arrays) -> tuple[Array, Any]:
        """y and the cache of some arrays, of which forward gets copies."""
        arrays = {
            name: array.reshape(self._shapes.get(name, array.shape))
            for name, array in arrays.items()
        }
        copies = {name: array.copy() for name, array in arrays.items()}
        returned = _called("forward", self._forward, copies.values(), copies)
        self._look_for_damage("forward", copies, arrays)
        return self._checked_forward(returned)

    def forward(self) -> Array:
        """y of the arrays as they are now."""
        return self.run(self.given)[0]

    def run_backward(self, dy: Array, cache: Any) -> Arrays:
        """The gradients; an empty array for one that is None."""
        upstream = f"d{self.result}"
        own = dy.copy() if dy.ndim else dy[()]
        kept = {"cache": list(_arrays_in(cache))}
        before = [array.copy() for array in kept["cache"]]
        arguments = (own, cache) if self.takes_dy else (cache,)
        returned = _called("backward", self._backward, arguments, {upstream: dy})
        self._look_for_damage("backward", {upstream: own}, {upstream: dy})
        if not all(map(_same, kept["cache"], before)):
            self._tell_damage("cache", "backward")
        values = self._checked_backward(returned)
        return {
            name: self._gradient(name, value)
            for name, value in zip(self.gradients, values, strict=True)
        }

    def draw(self, y: Array, rng: np.random.Generator) -> Array:
        """An upstream gradient; 1 where backward takes none."""
        if self.takes_dy:
            return np.asarray(rng.standard_normal(y.shape))
        if y.ndim:
            raise TypeError(
                "backward: expected two arguments, backward(dy, cache): one is enough for a loss "
                f"alone, and forward returned an array {y.shape}"
            )
        return np.ones(())

    def repeats(self, y: Array, rounding: float) -> bool:
        """Whether the same arrays give the same y once more."""
        again, _ = self.run(self.given)
        if alike(y, again, rounding):
            return True
        self.tell(
            self.result,
            "does not repeat",
            "does not repeat: the same arrays give another one, as where random numbers or an "
            "earlier call have a part in it",
        )
        return False

    def watch(self, dy: Array, gradients: Arrays, other: Arrays, rounding: float) -> None:
        """Tell what depends on other calls. other: the arrays of the call before the first one."""
        again, late = (self._once_more(dy, other, is_late) for is_late in (False, True))
        for name, first in gradients.items():
            if not alike(first, again[name], rounding):
                self.tell(
                    name,
                    "another one in a second call",
                    "is another one in a second call with the same arrays: begin with zeros, and "
                    "keep nothing of earlier calls",
                )
            elif not alike(first, late[name], rounding):
                self.tell(
                    name,
                    "not of its own cache",
                    "is made of what the last forward pass left, not of the cache that backward is "
                    "given: keep all that it needs in the cache",
                )

    def _once_more(self, dy: Array, other: Arrays, is_late: bool) -> Arrays:
        """The gradients in a second call; is_late: with another forward pass in between."""
        self.run(other)
        _, cache = self.run(self.given)
        # Where there is no cache, backward belongs to the last forward pass.
        if is_late and cache is not None:
            self.run(other)
        return self.run_backward(dy, cache)

    def tell(self, what: str, key: str, sentence: str) -> None:
        """Remember what is wrong, once."""
        told = self.conduct.setdefault(what, [])
        if (key, sentence) not in told:
            told.append((key, sentence))

    def has_few_digits(self, y: Array) -> bool:
        """Whether y has the digits of float32 alone, whatever its type: a tiny step is lost."""
        if y.dtype.itemsize < 8 or not y.size:
            return True
        first = next(iter(self.given))
        moved, _ = self.run(self.given | {first: self.given[first] * (1 + 2.0**-40)})
        return bool(moved.shape == y.shape and np.mean(moved != y) < 0.05)

    def _look_for_damage(
        self, by: str, now: Mapping[str, Any], before: Mapping[str, Array]
    ) -> None:
        for name, array in now.items():
            if not _same(array, before[name]):
                self._tell_damage(name, by)

    def _tell_damage(self, name: str, by: str) -> None:
        what = "copies of what is in it" if name == "cache" else "a copy"
        self.tell(
            name,
            f"{name} is written into",
            f"is written into by {by}, where the caller may still need it: work on {what}",
        )

    def _checked_forward(self, returned: Any) -> tuple[Array, Any]:
        name = self.result
        advice = f"end forward with `return {name}, cache`, all that backward needs in the cache"
        if not isinstance(returned, tuple | list):
            raise TypeError(
                f"forward: expected {name} and a cache, got {_kind(returned)}: {advice}"
            )
        if len(returned) != 2:
            raise ValueError(
                f"forward: expected {name} and a cache, got {len(returned)} values: {advice}, a "
                "tuple say"
            )
        return self._floats("forward", name, returned[0]), returned[1]

    def _checked_backward(self, returned: Any) -> Iterable[Any]:
        if len(self.gradients) == 1:
            is_alone = isinstance(returned, tuple | list) and len(returned) == 1
            return returned if is_alone else [returned]
        names = ", ".join(self.gradients)
        expected = f"expected {len(self.gradients)} gradients, {names}"
        if not isinstance(returned, tuple | list):
            raise TypeError(
                f"backward: {expected}, got {_kind(returned)}: end backward with `return {names}`"
            )
        if len(returned) != len(self.gradients):
            raise ValueError(
                f"backward: {expected}, one for each array that forward takes, got "
                f"{len(returned)}: end backward with `return {names}`"
            )
        return returned

    def _gradient(self, name: str, value: Any) -> Array:
        if value is None:
            self.tell(name, f"{name} is None", "is None: backward never computed it")
            return np.empty(0)
        array, own = self._floats("backward", name, value), name.removeprefix("d")
        is_as_given = array.shape == self._shapes.get(own)
        return array.reshape(self.given[own].shape) if is_as_given else array

    @staticmethod
    def _floats(by: str, name: str, value: Any) -> Array:
        try:
            array = np.array(value)
            if array.dtype.kind in "iub":
                array = array.astype(np.float64)
        except ValueError:  # lists of different lengths
            array = np.array(None)
        if array.dtype.kind != "f" or array.dtype.itemsize < 4:
            came = "..., a blank to fill in" if value is ... else _kind(value)
            raise TypeError(f"{by}: expected {name} as an array of float32 or float64, got {came}")
        return array


def alike(a: Array, b: Array, rounding: float) -> bool:
    """Whether both have the same shape and, to rounding, the same values, or none."""
    if a.shape != b.shape or (np.isfinite(a) != np.isfinite(b)).any():
        return False
    return not np.isfinite(a).any() or is_close(a, b, rounding)


def is_close(made: Array, given: Array, rounding: float) -> bool:
    """Whether given is made, to rounding, wherever that is a number."""
    known = np.isfinite(made)
    if not known.any():
        return False
    with np.errstate(all="ignore"):
        difference = float(np.max(np.abs(made - given)[known]))
        return np.isfinite(difference) and bool(
            difference <= rounding * float(np.max(np.abs(given[known])))
        )


def _takes_two(backward: Callable[..., Any]) -> bool:
    """Whether it is called backward(dy, cache), not backward(cache)."""
    try:
        parameters = inspect.signature(backward).parameters.values()
    except (TypeError, ValueError):  # a function written in C
        return True
    kinds = [each.kind for each in parameters]
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    takes = sum(kind in positional for kind in kinds)
    return takes != 1 or inspect.Parameter.VAR_POSITIONAL in kinds


def _called(
    name: str, function: Callable[..., Any], arguments: Iterable[Any], shown: Mapping[str, Array]
) -> Any:
    """What the function returns; an error of its own says in which call it was raised."""
    try:
        return function(*arguments)
    except Exception as error:
        given = ", ".join(f"{each} {array.shape}" for each, array in shown.items())
        error.add_note(f"in {name}, which check_derivation called with {given}")
        raise


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, np.ndarray):
        return f"an array {value.shape} of {value.dtype}"
    return f"a {type(value).__name__}"


def _same(a: Any, b: Any) -> bool:
    return np.array_equal(a, b, equal_nan=np.asarray(a).dtype.kind == "f")


def _arrays_in(value: Any, depth: int = 5) -> Iterable[Array]:
    """The arrays that a cache holds, in tuples, lists, dicts and attributes."""
    if isinstance(value, np.ndarray):
        yield value
        return
    if isinstance(value, Mapping):
        value = list(value.values())
    elif hasattr(value, "__dict__"):
        value = list(vars(value).values())
    if depth and isinstance(value, tuple | list):
        for each in value:
            yield from _arrays_in(each, depth - 1)
