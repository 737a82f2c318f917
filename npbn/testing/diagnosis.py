"""What is wrong with a result: it is held against the known mistakes, one or two at once."""

import contextlib
import dataclasses
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from npbn._checks import Array
from npbn.testing.functions import Arrays, is_close
from npbn.testing.mistake import Mistake, Pieces, Wrong

# The changes that mistakes make, one mistake after the other.
Changes = tuple[Mapping[str, Wrong], ...]

# Of so many values pairs of mistakes are tried, too: some thousands of pairs.
MOST_VALUES = 20_000


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What explains a wrong result, by its keys and in words; no keys where nothing known does."""

    keys: tuple[str, ...]
    sentence: str

    def and_also(self, other: "Explanation") -> "Explanation":
        """Both."""
        return Explanation(self.keys + other.keys, f"{self.sentence}, and {other.sentence}")


@dataclasses.dataclass(frozen=True)
class Look:
    """One run of a derivation: the pieces of the right one, and what was given, by name."""

    pieces: Pieces
    given: Mapping[str, Array]


@dataclasses.dataclass(frozen=True)
class Diagnosis:
    """Of runs of one derivation, and of mistakes that one can make in it.

    rounding: the name of a result -> the largest difference, over the largest value, that is none.
    """

    looks: Sequence[Look]
    mistakes: Sequence[Mistake]
    rounding: Callable[[str], float]

    def explain(self, name: str, bases: Sequence[Changes] = ((),)) -> Explanation | None:
        """What explains a result; None where nothing known does.

        bases: changes that were made before, those of a wrong forward pass say.
        """
        given, true = self.looks[0].given[name], np.asarray(getattr(self.looks[0].pieces, name))
        if given.shape != true.shape:
            return self._explain_shape(name, given, true)
        return self.named(self.find(name, bases))

    def find(self, name: str, bases: Sequence[Changes] = ((),)) -> list[tuple[Mistake, ...]]:
        """The mistakes, or else the pair, that make what was given in every look.

        Where several mistakes make the same numbers, the likeliest comes first.
        """
        return self.singles(name, bases) or self.pairs(name, bases)

    def singles(self, name: str, bases: Sequence[Changes] = ((),)) -> list[tuple[Mistake, ...]]:
        """The mistakes that each make what was given."""
        for base in bases:
            found = [each for each in self._own(name) if self._makes(name, base, each)]
            if found:
                return [(each,) for each in self._likely(name, found)]
        return []

    def pairs(self, name: str, bases: Sequence[Changes] = ((),)) -> list[tuple[Mistake, ...]]:
        """The first two mistakes that together make what was given."""
        given = self.looks[0].given[name]
        if given.size > MOST_VALUES or not np.isfinite(given).all():
            return []
        pairs = (self._pairs(name, base) for base in bases)
        return list(itertools.islice(itertools.chain.from_iterable(pairs), 1))

    def named(self, found: Sequence[tuple[Mistake, ...]]) -> Explanation | None:
        """The likeliest in words, and a second one that makes the same numbers."""
        if not found:
            return None
        each = [", and ".join(mistake.sentence for mistake in together) for together in found]
        sentence = "; or it ".join(list(dict.fromkeys(each))[:2])
        # Where a sentence speaks of m, it says what that is.
        pieces = self.looks[0].pieces
        m = np.asarray(getattr(pieces, "m", pieces.rows))
        if re.search(r"\bm\b", sentence) and not m.ndim:
            sentence += f" (m is {m})"
        return Explanation(tuple(mistake.key for mistake in found[0]), sentence)

    def made(self, name: str, look: Look, *changes: Mapping[str, Wrong]) -> Array | None:
        """A result after some changes; None where these arrays do not allow them."""
        with np.errstate(all="ignore"):
            try:
                return np.asarray(getattr(look.pieces.changed(*changes), name))
            except Exception:  # whatever NumPy raises; see `Mistake.wrong`
                return None

    def is_made(self, name: str, *changes: Mapping[str, Wrong]) -> bool:
        """Whether the changes make what was given, in every look."""
        for look in self.looks:
            made, given = self.made(name, look, *changes), look.given[name]
            if made is None or made.shape != given.shape:
                return False
            if not is_close(made, given, self.rounding(name)):
                return False
        return True

    def _makes(self, name: str, base: Changes, *mistakes: Mistake) -> bool:
        return self.is_made(name, *base, *(each.changes for each in mistakes))

    def _likely(self, name: str, mistakes: Sequence[Mistake]) -> Sequence[Mistake]:
        """What is 0 to the bit was never computed; and what was, is something else."""
        is_0 = not np.any(self.looks[0].given[name])
        likely = [each for each in mistakes if each.key.endswith(" is 0") is is_0]
        return likely or mistakes

    def _own(self, name: str) -> list[Mistake]:
        return [each for each in self.mistakes if name in each.results]

    def _pairs(self, name: str, base: Changes) -> Iterator[tuple[Mistake, ...]]:
        first, possible = self.looks[0], []
        for each in self._own(name):
            made = self.made(name, first, *base, each.changes)
            if made is not None and made.shape == first.given[name].shape:
                possible.append(each)
        anew = {each.key: self._steps_made_anew(each) for each in possible}
        for one, two in itertools.combinations(possible, 2):
            shared = one.changes.keys() & two.changes.keys()
            # The order counts where both change the same step; the second is to build on the first.
            for pair in [(one, two), (two, one)] if shared else [(one, two)]:
                if not shared & anew[pair[1].key] and self._makes(name, base, *pair):
                    yield pair

    def _steps_made_anew(self, mistake: Mistake) -> set[str]:
        """The steps that a mistake changes whatever they were before."""
        found = set()
        for step, change in mistake.changes.items():
            with contextlib.suppress(Exception), np.errstate(all="ignore"):
                change(self.looks[0].pieces.without(step))
                found.add(step)
        return found

    # A result that has not the shape that it should have

    def _explain_shape(self, name: str, given: Array, true: Array) -> Explanation | None:
        known = self.named(self.find(name)) or misshapen(name, given, true, self.rounding(name))
        if known is not None:
            return known
        for key, sentence, mended in mended_shapes(name, given, true):
            look = dataclasses.replace(self.looks[0], given={name: mended})
            known = dataclasses.replace(self, looks=[look]).explain(name)
            if known is not None:
                return Explanation((key,), sentence).and_also(known)
        return None


def misshapen(name: str, given: Array, true: Array, rounding: float) -> Explanation | None:
    """What explains a result that has not the shape of the true one, but its values."""
    for key, sentence, mended in mended_shapes(name, given, true):
        if is_close(true, mended, rounding):
            return Explanation((key,), sentence)
    if not given.ndim and is_close(true.sum(), given, rounding):
        sentence = f"is summed over everything: it is one number, not {true.shape}"
        return Explanation((f"{name} is one number",), sentence)
    return None


def mended_shapes(name: str, given: Array, true: Array) -> Iterator[tuple[str, str, Array]]:
    """What may have gone wrong with the shape: a key, a sentence, and the result without it."""
    shapes = f": its shape is {given.shape}, not {true.shape}"
    if given.ndim > 1 and given.T.shape == true.shape:
        yield f"{name} is transposed", "is transposed" + shapes, given.T
    elif given.size == true.size and given.ndim != true.ndim:
        sentence = "has an axis too many" if given.ndim > true.ndim else "lacks an axis"
        yield f"{name} has other axes", sentence + shapes, given.reshape(true.shape)
    extra = given.ndim - true.ndim
    if extra > 0 and given.shape[extra:] == true.shape and given.size > true.size:
        sentence = "is not summed over all axes, of which every entry adds its own"
        yield f"{name} is not summed", sentence + shapes, given.sum(tuple(range(extra)))


def exchanged(name: str, given: Array, others: Arrays, rounding: float) -> Explanation | None:
    """Whether a result is another one, of another shape than its own; others: the true ones."""
    for other, values in others.items():
        if given.shape == values.shape and is_close(values, given, rounding):
            return Explanation(
                (f"{name} is {other}",),
                f"is {other}: return the gradients in the order of forward's arguments",
            )
    return None
