"""The operation that a derivation is held against, as `npbn.reference` states it."""

import difflib
import inspect
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npbn import reference
from npbn._checks import Array
from npbn.testing.cases import CASES
from npbn.testing.mistake import Mistake, Pieces, right

KNOWN = tuple(dict.fromkeys(case.name for case in CASES.values() if case.gradients))
"""The operations that have a gradient."""


# What students take for the options of convolution and pooling.
_WINDOWS: Mapping[str, Sequence[Any]] = {"stride": (1, 2, 3), "padding": ("same", "valid", 1, 2)}


def parameters_of(name: str) -> tuple[list[inspect.Parameter], list[inspect.Parameter]]:
    """What an operation of `npbn.reference` takes: its arguments, and its options."""
    parameters = inspect.signature(CASES[name].function(reference)).parameters.values()
    return (
        [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD],
        [each for each in parameters if each.kind is each.KEYWORD_ONLY],
    )


class Like:
    """An operation, its arguments and options.

    names: of the arrays, in order. gradients: of what backward returns. result: of what forward
    returns. given: the options by name; shown: and those that were found out; options: and the
    others, as `npbn.reference` has them. finds_epsilon: whether one was not given. has_kinks: as of
    its case.
    """

    def __init__(self, name: str, count: int, options: Mapping[str, Any]) -> None:
        if name not in KNOWN:
            close = difflib.get_close_matches(str(name), KNOWN, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(sorted(KNOWN))}"
            raise ValueError(f"like: expected an operation of npbn.reference, got {name!r}: {hint}")
        self.name, case = name, CASES[name]
        arguments, known_options = parameters_of(name)
        self._arguments = tuple(each.name for each in arguments)
        needed = sum(each.default is each.empty for each in arguments)
        if not needed <= count <= len(arguments):
            raise ValueError(
                f"like={name!r}: expected the arrays {', '.join(self._arguments)}, got {count}"
            )
        self.names = self._arguments[:count]
        self.gradients = tuple(g for g in case.gradients if g.removeprefix("d") in self.names)
        self.result = "loss" if case.is_loss else "y"
        defaults = {each.name: each.default for each in known_options}
        for option in options:
            if option not in defaults:
                known = ", ".join(defaults) or "none"
                raise TypeError(f"{option}: expected an option of {name} ({known})")
        self.given, self.options = dict(options), defaults | dict(options)
        self.shown = dict(options)
        self.finds_epsilon = "epsilon" in self.options and "epsilon" not in options
        self.has_kinks = case.has_kinks
        for option, value in self.options.items():
            if value is inspect.Parameter.empty:
                raise TypeError(f"like={name!r}: expected the option {option}, {option}=... say")

    def without_axes_of_one(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """The arrays without the first axes that parameters do not have: gamma (1, D), say."""
        case, (_, *parameters) = CASES[self.name], arrays
        example = case.inputs(np.random.default_rng(0), case.shapes[0], np.float64)
        found = dict(arrays)
        for name in parameters:
            array = arrays[name]
            extra = array.ndim - np.ndim(example.get(name, array))
            if extra > 0 and array.shape[:extra] == (1,) * extra:
                found[name] = array.reshape(array.shape[extra:])
        return found

    def check(self, arrays: Mapping[str, Array]) -> None:
        """ValueError where it cannot be made of such arrays, with the options that it has."""
        try:
            self.result_of(arrays)
        except Exception as error:  # whatever NumPy raises
            given = [f"{name} {array.shape}" for name, array in arrays.items()]
            given += [f"{name}={value!r}" for name, value in self.shown.items()]
            raise ValueError(
                f"like={self.name!r}: cannot take {', '.join(given)}: {error}"
            ) from error

    def find_windows(self, arrays: Mapping[str, Array], y: Array) -> None:
        """Find stride and padding out, where they were not given: those that make y, or its shape.

        Without any that do, they stay as `npbn.reference` has them.
        """
        names = [name for name in _WINDOWS if name in self.options and name not in self.given]
        if not names:
            return
        choices = itertools.product(*((self.options[name], *_WINDOWS[name]) for name in names))
        ways = [dict(zip(names, values, strict=True)) for values in choices]
        errors = [self._error(arrays, y, way) for way in ways]
        # Where nothing makes y itself, those of `npbn.reference` will do that make its shape.
        way = 0 if min(errors) > 1e-4 and errors[0] < np.inf else int(np.argmin(errors))
        for name, value in ways[way].items() if errors[way] < np.inf else ():
            if value != self.options[name]:
                self.options[name] = self.shown[name] = value

    def _error(self, arrays: Mapping[str, Array], y: Array, options: Mapping[str, Any]) -> float:
        try:
            made = self.result_of(arrays, **options)
        except Exception:  # the kernel is larger than the image; see `check`
            return np.inf
        if made.shape != y.shape or not np.isfinite(made).all():
            return np.inf
        return float(np.max(np.abs(made - y)) / (np.max(np.abs(made)) or 1.0))

    @property
    def mistakes(self) -> Sequence[Mistake]:
        """The known ones, of all cases of the operation."""
        # Some thousand functions, which `import npbn` would make for those who never ask.
        from npbn.testing.mistakes import MISTAKES

        keys = [key for key, case in CASES.items() if case.name == self.name]
        return [each for key in keys for each in MISTAKES[key]]

    def right(self, arrays: Mapping[str, Array], dy: Array | None = None, **options: Any) -> Pieces:
        """What `reference` makes of such arrays."""
        given = {name: arrays.get(name) for name in self._arguments}
        options = self.options | options
        # What is None is left out, as for the cases: mistakes ask for what is there.
        given |= {name: value for name, value in options.items() if value is not None}
        with np.errstate(all="ignore"):
            return right(self.name, given, dy)

    def result_of(self, arrays: Mapping[str, Array], **options: Any) -> Array:
        """The right y, or loss."""
        return np.asarray(getattr(self.right(arrays, **options), self.result))

    def result_with_epsilon(self, arrays: Mapping[str, Array], epsilon: float) -> Array:
        """The right y with an epsilon."""
        return self.result_of(arrays, epsilon=epsilon)

    def pieces(
        self,
        arrays: Mapping[str, Array],
        dy: Array | None,
        earlier: Mapping[str, Array],
        **options: Any,
    ) -> Pieces:
        """All that its mistakes are made of; earlier: the arrays of an earlier call."""
        pieces = self.right(arrays, dy, **options)
        pieces.earlier = self.right(earlier, **options)
        for add in dict.fromkeys(each.add_pieces for each in self.mistakes):
            for each in (pieces, pieces.earlier):
                try:
                    if add is not None:
                        add(each)
                except Exception:  # another case's pieces; see `Mistake.wrong`
                    break
        return pieces
