"""What explains each result that is wrong, in words."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from npbn._checks import Array
from npbn.testing.diagnosis import Changes, Diagnosis, Explanation, Look, exchanged, misshapen
from npbn.testing.functions import Arrays, is_close
from npbn.testing.likeness import described, first_place
from npbn.testing.mistake import Mistake, Pieces, in_gradients
from npbn.testing.own_epsilon import found_out, rounded, solved
from npbn.testing.truth import Run, Truth, error_of


class Explanations:
    """Of what a `Truth` calls wrong, and of how the functions behaved."""

    def __init__(self, truth: Truth) -> None:
        self._truth, self._like, self._result = truth, truth.like, truth.result
        parameters = [name.removeprefix("d") for name in truth.gradients[1:]]
        self._mistakes: Sequence[Mistake] = (
            list(in_gradients("", truth.gradients, parameters))
            if self._like is None or not truth.y_has_shape
            else self._like.mistakes
        )
        # A wrong forward pass by which y is explained.
        self._forward: Changes = ()

    def of_all(self) -> dict[str, Explanation]:
        """What is wrong -> what explains it."""
        truth, found = self._truth, dict[str, Explanation]()
        for name in truth.wrong:
            found[name] = self._of_y() if name == self._result else self._of_gradient(name)
        for name, told in truth.functions.conduct.items():
            known = found[name].keys if name in found else ()
            if any(each.of_an_earlier_batch for each in self._mistakes if each.key in known):
                continue
            keys, sentences = zip(*told, strict=True)
            conduct = Explanation(keys, "; ".join(sentences))
            found[name] = found[name].and_also(conduct) if known else conduct
        return found

    def _diagnosis(self, runs: Sequence[Run]) -> Diagnosis:
        looks = [Look(self._truth.pieces(run.arrays), run.given) for run in runs]
        if self._truth.fewer_rows is not None:
            run, dy = self._truth.fewer_rows
            looks = [Look(self._truth.pieces(run.arrays, dy), run.given)]
        return Diagnosis(looks, self._mistakes, lambda name: self._truth.bounds(name).rounding)

    # A wrong forward pass

    def _of_y(self) -> Explanation:
        truth, name = self._truth, self._result
        if not truth.y_has_shape:
            y, right = truth.main.given[name], truth.main.right[name]
            return misshapen(name, y, right, truth.bounds().rounding) or self._unknown(name)
        diagnosis = self._diagnosis(truth.runs)
        found = diagnosis.singles(name) or self._with_own_epsilon() or diagnosis.pairs(name)
        if found:
            self._forward = tuple(each.changes for each in found[0])
        return (
            diagnosis.named(found) or self._another_epsilon(name, truth.runs) or self._unknown(name)
        )

    def _with_own_epsilon(self) -> list[tuple[Mistake, ...]]:
        """A mistake in y beside an epsilon that is not known either."""
        if self._like is None or not self._like.finds_epsilon:
            return []
        for mistake in self._mistakes:
            if self._result in mistake.results:
                made = partial(self._made, self._result, mistake.changes)
                epsilon = self._epsilon_of_y(made)
                if epsilon is not None:
                    self._truth.take_epsilon(epsilon)
                    return [(mistake,)]
        return []

    def _made(self, name: str, changes: Any, arrays: Arrays, epsilon: float) -> Array:
        pieces = self._truth.pieces(arrays, epsilon=epsilon).changed(changes)
        return np.asarray(getattr(pieces, name))

    def _epsilon_of_y(self, made: Callable[[Arrays, float], Array]) -> float | None:
        """The epsilon with which made(arrays, epsilon) is y, if there is one."""
        truth, name = self._truth, self._result
        arrays, y, bound = truth.main.arrays, truth.main.given[name], truth.bounds().rounding
        try:
            epsilon = solved(partial(made, arrays), y)
            if not error_of(y, made(arrays, epsilon)) <= bound:
                return None
            epsilon, small = found_out(made, truth.y_of, arrays, y, None)
            looks = [(arrays, y)] + ([] if small is None else [(small, truth.y_of(small))])
            return self._fitting(epsilon, looks, made, bound)
        except Exception:  # whatever NumPy raises; see `Mistake.wrong`
            return None

    def _fitting(
        self,
        epsilon: float,
        looks: Sequence[tuple[Arrays, Array]],
        made: Callable[[Arrays, float], Array],
        bound: float,
    ) -> float | None:
        """An epsilon, rounded, if with it made(arrays, epsilon) is what each look has."""

        def error(value: float) -> float:
            return max(error_of(given, made(arrays, value)) for arrays, given in looks)

        epsilon = rounded(epsilon, error)
        return epsilon if error(epsilon) <= bound else None

    def _another_epsilon(self, name: str, runs: Sequence[Run]) -> Explanation | None:
        """A result that is right but for its epsilon."""
        like, right = self._like, self._truth.options.get("epsilon")
        given = self._truth.main.given[name]
        if like is None or right is None or given.shape != self._truth.main.right[name].shape:
            return None
        ways: list[Any] = [{}]
        if name == "dx" and "std" in self._truth.pieces(runs[0].arrays).steps:
            # Where x_hat is right, and the factor 1 / std is made anew.
            ways.append({"x_hat": lambda p: p.centred / np.sqrt(p.variance + right)})
        looks, bound = [(run.arrays, run.given[name]) for run in runs], self._truth.bounds(name)
        for changes in ways:
            made = partial(self._made, name, changes)
            epsilon = solved(partial(made, looks[-1][0]), looks[-1][1])
            if self._fitting(epsilon, looks, made, bound.rounding) is not None:
                sentence = f"has epsilon {epsilon:.4g}, not {right:.4g}"
                return Explanation((f"{name}: another epsilon",), sentence)
        return None

    # A wrong gradient

    def _of_gradient(self, name: str) -> Explanation:
        truth = self._truth
        given, right = truth.main.given[name], truth.main.right[name]
        if not given.size:
            return Explanation((), f"has the shape {given.shape}, not {right.shape}")
        runs = truth.runs if truth.y_is_right and name in truth.runs[-1].given else [truth.main]
        diagnosis = self._diagnosis(runs)
        bases: list[Changes] = [(), self._forward] if self._forward else [()]
        if not truth.y_is_right and (
            any(diagnosis.is_made(name, *base) for base in bases)
            or self._another_epsilon(name, runs)
        ):
            return Explanation(
                (f"of the right {self._result}",),
                f"belongs to another forward pass: it is right once {self._result} is",
            )
        found = diagnosis.explain(name, bases)
        if found is None and given.shape != right.shape:
            pieces = diagnosis.looks[0].pieces
            others = {other: getattr(pieces, other) for other in truth.gradients if other != name}
            found = exchanged(name, given, others, truth.bounds(name).rounding)
        return (
            found
            or self._another_epsilon(name, runs)
            or self._an_array_too_much(name)
            or self._unknown(name)
        )

    def _an_array_too_much(self, name: str) -> Explanation | None:
        """A multiple of one of the arrays that was added, as for weight decay."""
        truth = self._truth
        given, right = truth.main.given[name], truth.main.right[name]
        own = name.removeprefix("d")
        arrays = {own: truth.main.arrays[own]} | truth.main.arrays | {f"d{self._result}": truth.dy}
        for each, array in arrays.items():
            if not array.ndim or array.shape != given.shape or given.shape != right.shape:
                continue
            difference = given - right
            known = np.isfinite(difference)
            if not known.any():
                continue
            difference = difference[known]
            factor = float(np.vdot(array[known], difference) / np.vdot(array[known], array[known]))
            made = right + factor * array
            if factor and is_close(made, given, truth.bounds(name).rounding):
                sentence = f"has {factor:.4g} * {each} added to it"
                sentence += ", as for weight decay" * (each == own and name != truth.gradients[0])
                return Explanation((f"{name}: {each} is added",), sentence)
        return None

    # What no known mistake explains

    def _unknown(self, name: str) -> Explanation:
        truth = self._truth
        given, right = truth.main.given[name], truth.main.right[name]
        if given.shape != right.shape:
            return Explanation((), f"has the shape {given.shape}, not {right.shape}")
        pieces = truth.pieces(truth.main.arrays)
        x_hat = pieces.x_hat if "x_hat" in pieces.steps else None
        bound = truth.tolerances[name]
        looks_like = described(given, right, self._factors(pieces), x_hat, bound)
        place = first_place(given, right, bound)
        if place is None:
            other = "one row less" if truth.fewer_rows else "another scale"
            looks_like = f"is wrong where x has {other}"
        first = f", first at [{', '.join(map(str, place))}]" if place else ""
        return Explanation((), f"no known mistake explains it; it {looks_like}{first}")

    def _factors(self, pieces: Pieces) -> dict[str, Array]:
        """What a wrong result may be multiplied by."""
        arrays = self._truth.main.arrays
        first = next(iter(arrays.values()))
        rows = float(pieces.rows)
        numbers = {"m": rows, "m - 1": rows - 1, "(m - 1)/m": (rows - 1) / rows}
        numbers |= {"the batch's size": float(len(first)) if first.ndim else 1.0}
        numbers |= {"the number of features": float(first.shape[-1]) if first.ndim else 1.0}
        numbers |= {"-1": -1.0, "2": 2.0, "-2": -2.0}
        factors = {name: np.asarray(number) for name, number in numbers.items()}
        factors |= {name: array for name, array in arrays.items() if array.ndim == 1}
        if "std" in pieces.steps and np.size(pieces.std) == first.shape[-1]:
            factors |= {"std": pieces.std.reshape(-1), "std^2": pieces.std.reshape(-1) ** 2}
        return factors
