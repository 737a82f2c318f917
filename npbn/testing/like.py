"""The operation that a derivation is held against, as `npbn.reference` states it."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from npbn import reference
from npbn._checks import Array
from npbn.testing.cases import CASES
from npbn.testing.mistake import Mistake, Pieces, right
from npbn.testing.mistakes import MISTAKES

# Where backward is one function with forward, it is a loss.
KNOWN = tuple(dict.fromkeys(case.name for case in CASES.values() if case.gradients))

# What students take for epsilon, to begin the search with.
_EPSILONS = (0.0, *(10.0**-n for n in range(16, -1, -1)))


class Like:
    """An operation, its options, and how its arguments are called.

    names: of the arrays, in order. gradients: of what backward returns. options: as given.
    """

    def __init__(self, name: str, arrays: int, options: Mapping[str, Any]) -> None:
        if name not in KNOWN:
            close = difflib.get_close_matches(str(name), KNOWN, 1, 0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(KNOWN)}"
            raise ValueError(f"like: there is no {name!r} in npbn.reference: {hint}")
        self.name, self.options = name, dict(options)
        self.case = CASES[name]
        function = self.case.function(reference)
        parameters = inspect.signature(function).parameters.values()
        every = [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
        needed = sum(each.default is each.empty for each in every)
        self._positional = self.names = tuple(each.name for each in every)
        if not needed <= arrays <= len(every):
            raise ValueError(
                f"like={name!r}: expected the arrays {', '.join(self.names)}, got {arrays} arrays"
            )
        self.names = self.names[:arrays]
        self._defaults = {
            each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY
        }
        for option in options:
            if option not in self._defaults:
                known = ", ".join(self._defaults) or "none"
                raise TypeError(f"{option}: no option of {name}: its options are {known}")
        missing = [
            name
            for name, default in (self._defaults | self.options).items()
            if default is inspect.Parameter.empty
        ]
        if missing:
            raise TypeError(
                f"like={name!r}: expected the option {missing[0]} as well, as npbn.reference has it"
            )
        self.gradients = tuple(
            each for each in self.case.gradients if each.removeprefix("d") in self.names
        )
        self.result = "loss" if self.case.is_loss else "y"

    @property
    def finds_epsilon(self) -> bool:
        """Whether it has an epsilon that was not given."""
        return "epsilon" in self._defaults and "epsilon" not in self.options

    @property
    def has_epsilon(self) -> bool:
        """Whether it has an epsilon."""
        return "epsilon" in self._defaults

    @property
    def epsilon(self) -> float:
        """The one that was given, or that of `npbn.reference`."""
        return float((self._defaults | self.options)["epsilon"])

    def right(self, arrays: Mapping[str, Array], dy: Array | None = None, **options: Any) -> Pieces:
        """What `reference` makes of such arrays."""
        given = {name: arrays.get(name) for name in self._positional}
        return right(self.name, given | self._settings() | options, dy)

    def y(self, arrays: Mapping[str, Array], **options: Any) -> Array:
        """The operation's own result."""
        return np.asarray(getattr(self.right(arrays, **options), self.result))

    def pieces(
        self, arrays: Mapping[str, Array], dy: Array, earlier: Mapping[str, Array], **options: Any
    ) -> Pieces:
        """All that its mistakes are made of."""
        pieces, before = self.right(arrays, dy, **options), self.right(earlier, **options)
        pieces.earlier = before
        for add in {each.add_pieces for each in self.mistakes() if each.add_pieces is not None}:
            for each in (before, pieces):
                try:
                    add(each)
                except Exception:  # what cannot be made of these arrays; see `Mistake.wrong`
                    continue
        return pieces

    def mistakes(self) -> tuple[Mistake, ...]:
        """The known ones, of all cases of the operation."""
        return tuple(
            each for key, own in MISTAKES.items() if CASES[key].name == self.name for each in own
        )

    def _settings(self) -> dict[str, Any]:
        # What mistakes may ask for by name.
        return {
            name: value
            for name, value in (self._defaults | self.options).items()
            if value is not None
        }


def solve_epsilon(function: Callable[[float], Array], y: Array) -> float:
    """The epsilon with which function(epsilon) comes closest to y; 0 or more."""

    def distance(epsilon: float) -> float:
        with np.errstate(all="ignore"):
            found = float(np.linalg.norm((function(epsilon) - y).reshape(-1)))
        return found if np.isfinite(found) else np.inf

    best = min(_EPSILONS, key=distance)
    for _ in range(30):
        if not best:
            break
        step = 1e-4 * best
        with np.errstate(all="ignore"):
            slope = (function(best + step) - function(best - step)) / (2 * step)
            square = float(np.vdot(slope, slope))
            if not 0 < square < np.inf:
                break
            new = max(best + float(np.vdot(slope, y - function(best))) / square, 0.0)
        if not distance(new) < distance(best):
            break
        best = new
    return best
