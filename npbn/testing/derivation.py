"""Is a derivation right, and if not, what is wrong with it? Two functions of one's own, checked."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.read_only_mapping import ReadOnlyMapping
from npbn.testing.comparison import compare
from npbn.testing.diagnosis import (
    Changes,
    Explanation,
    Look,
    explain,
    first_place,
    is_close,
    likeness,
    mended_shapes,
    misshapen,
)
from npbn.testing.functions import Arrays, Functions
from npbn.testing.like import Like, solve_epsilon
from npbn.testing.mistake import Mistake, Pieces, in_gradients
from npbn.testing.report import DerivationReport

# The largest errors that pass: of y, of gradients held against the operation's own, and of those
# held against numeric derivatives; and the largest difference to what a mistake makes.
_FINE = {"y": 1e-9, "gradient": 1e-7, "numeric": 1e-7, "rounding": 1e-9}
# The same of results that have the digits of float32.
_COARSE = {"y": 1e-4, "gradient": 1e-4, "numeric": 5e-3, "rounding": 2e-5}

# Of how many entries of an array numeric derivatives are taken.
ENTRIES = 1000


def check_derivation(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *arrays: Array,
    like: str | None = None,
    seed: int = 0,
    **options: Any,
) -> DerivationReport:
    """Check a forward and a backward function of one's own, and name what is wrong.

        y, cache = forward(x, gamma, beta)
        dx, dgamma, dbeta = backward(dy, cache)

    Any number of arrays, one gradient for each, in their order; arrays of whole numbers (labels)
    get none. Of a loss, loss, cache = forward(logits, labels) and dlogits = backward(dloss, cache),
    with dloss a number, the gradient of what is made of the loss; or backward(cache), where dloss
    is 1. What else the functions take is closed over, lambda x, w: conv(x, w, stride=2). dy is
    drawn at random: an all-ones dy hides most mistakes in batch normalization.

    The gradients are held against derivatives of forward. With like="batch_norm", or another
    operation of npbn.reference, y is held against that operation's, and what is wrong against known
    wrong derivations of it. Without, those mistakes are known that one can make in any of them.

    forward, backward: the two functions; they are called several times, with copies of the arrays
    as float64 and with arrays near them. arrays: float32 or float64, labels of integers. seed: for
    the random numbers. like: the operation, whose arguments the arrays are, in order; options: its
    options, stride=2 say; epsilon is found out from y where it is not given.

    Returns a DerivationReport: bool(report) is the verdict, print(report) a table with the
    mistakes. ValueError for arrays that prove nothing (a batch of 1 or 2, gamma of ones, constant
    columns), and for functions that return another number of values; TypeError where they return
    something else than arrays. An error of their own comes with a note that says in which call.
    """
    rng = np.random.default_rng(checks.integer("seed", seed, minimum=0))
    if like is None and options:
        raise TypeError(f"{next(iter(options))}: an option of an operation: name it with like=")
    for name, function in (("forward", forward), ("backward", backward)):
        if not callable(function):
            raise TypeError(f"{name}: expected a function, got {function!r}")
    operation = None if like is None else Like(like, len(arrays), options)
    names = _names(forward, len(arrays)) if operation is None else operation.names
    given = _checked(dict(zip(names, arrays, strict=True)))
    if operation is not None:
        gradients = operation.gradients
    else:
        gradients = tuple(f"d{name}" for name, each in given.items() if each.dtype.kind == "f")
    result = "y" if operation is None else operation.result
    functions = Functions(forward, backward, given, gradients, result)
    return _Check(functions, operation, rng).report()


class _Check:
    """One check: what is given, what should be, and what explains the difference."""

    def __init__(
        self, functions: Functions, operation: Like | None, rng: np.random.Generator
    ) -> None:
        self.functions, self.like, self.rng = functions, operation, rng
        self.result, self.gradients = functions.result, functions.gradients
        self.other = _near(functions.given, rng)
        self.epsilon: float | None = None
        self.structural: dict[str, list[Explanation]] = {}

    def report(self) -> DerivationReport:
        functions = self.functions
        functions.run(self.other)
        self.y, cache = functions.run(functions.given)
        functions.is_coarse = self._is_coarse()
        self.dy = self.draw(self.y)
        self.given: dict[str, Any] = {self.result: self.y}
        self.given |= zip(self.gradients, functions.run_backward(self.dy, cache), strict=True)
        repeats = self._watch()
        self.given = {name: self._as_array(name, each) for name, each in self.given.items()}
        self.expected: dict[str, Array] = {}
        self.errors: dict[str, float] = {}
        self.tolerances: dict[str, float] = {}
        self.pieces: Pieces | None = None
        self.scale = 1.0
        y_is_right = self._look_at_y()
        self._look_at_gradients(y_is_right, repeats)
        mistakes, explanations = self._explain(y_is_right)
        return DerivationReport(
            errors=ReadOnlyMapping(self.errors),
            tolerances=ReadOnlyMapping(self.tolerances),
            mistakes=ReadOnlyMapping(mistakes),
            explanations=ReadOnlyMapping(explanations),
            given=ReadOnlyMapping(self.given),
            expected=ReadOnlyMapping(self.expected),
            dy=self.dy,
            epsilon=self.epsilon,
            description=self._description(),
        )

    def draw(self, y: Array) -> Array:
        """An upstream gradient; 1 where backward takes none."""
        if not self.functions.takes_dy:
            if y.ndim:
                raise TypeError(
                    "backward: expected two arguments, backward(dy, cache); one is enough for a "
                    f"loss alone, and forward returned an array {y.shape}"
                )
            return np.ones(())
        return np.asarray(self.rng.standard_normal(y.shape))

    # How the functions behave

    def _watch(self) -> bool:
        """Find what depends on the calls before; whether forward repeats."""
        functions, bounds = self.functions, self._bounds()
        y, cache = functions.run(functions.given)
        repeats = y.shape == self.y.shape and is_close(self.y, y, bounds["rounding"])
        if not repeats:
            self._add(
                self.result,
                "does not repeat",
                "does not repeat: the same arrays give "
                "another one, as where it is made of random numbers or of an earlier call's",
            )
            return False
        functions.run(self.other)
        late = functions.run_backward(self.dy, cache)
        y, cache = functions.run(functions.given)
        again = functions.run_backward(self.dy, cache)
        for name, one, two in zip(self.gradients, late, again, strict=True):
            first = self.given[name]
            if first is None or one is None or two is None:
                continue
            if not _alike(first, two, bounds["rounding"]):
                self._add(
                    name,
                    "adds to an earlier call's",
                    "is another one in a second call with "
                    "the same dy and arrays: begin with zeros, and keep nothing of earlier "
                    "calls",
                )
            elif not _alike(first, one, bounds["rounding"]):
                self._add(
                    name,
                    "not of its own cache",
                    "is made of what the last forward pass "
                    "left, not of the cache that it is given: keep all of it in the cache",
                )
        return True

    def _add(self, name: str, key: str, sentence: str) -> None:
        self.structural.setdefault(name, []).append(Explanation((key,), sentence))

    def _as_array(self, name: str, value: Any) -> Any:
        if value is None:
            self._add(name, f"{name} is None", "is None: it was never returned")
            return np.asarray(np.nan)
        array = np.asarray(value)
        if array.dtype.kind not in "fiub":
            raise TypeError(
                f"backward: expected {name} as an array of floats, got a {type(value).__name__}"
                f"{f' of {array.dtype}' if isinstance(value, np.ndarray) else ''}"
            )
        return array.astype(np.promote_types(array.dtype, np.float32)).copy()

    def _is_coarse(self) -> bool:
        """Whether y has the digits of float32 alone, whatever its type."""
        if self.y.dtype.itemsize < 8:
            return True
        first, *_ = self.functions.given
        moved = dict(self.functions.given)
        moved[first] = moved[first] * (1 + 2.0**-40)
        y, _ = self.functions.run(moved)
        return bool(y.shape == self.y.shape and np.mean(y != self.y) < 0.05)

    def _bounds(self, *values: Any) -> Mapping[str, float]:
        coarse = self.functions.is_coarse
        coarse |= any(isinstance(each, np.ndarray) and each.dtype.itemsize < 8 for each in values)
        return _COARSE if coarse else _FINE

    # What should be

    def _look_at_y(self) -> bool:
        """Hold y against the operation's; True where there is none to hold it against."""
        self.arrays = [self.functions.given]
        self.ys = [self.y]
        if self.like is None:
            return True
        bound = self._bounds(self.y)["y"]
        self.expected[self.result] = self.like.y(self.functions.given)
        if self.y.shape != self.expected[self.result].shape:
            self.errors[self.result], self.tolerances[self.result] = np.inf, bound
            return False
        if self.like.has_epsilon:
            self._find_epsilon()
        errors = [_error(y, self.like.y(arrays, **self._own())) for y, arrays in self._each_y()]
        self.errors[self.result], self.tolerances[self.result] = float(np.max(errors)), bound
        is_right = bool(np.max(errors) <= bound)
        if is_right and self.like.finds_epsilon and not self.epsilon:
            # Nothing is added: where all values are the same, that divides by 0.
            self.epsilon, is_right = self.like.epsilon, False
            errors = [_error(y, self.like.y(each, **self._own())) for y, each in self._each_y()]
            self.errors[self.result] = float(np.max(errors))
        self.expected[self.result] = self.like.y(self.functions.given, **self._own())
        return is_right

    def _each_y(self) -> Sequence[tuple[Array, Arrays]]:
        return list(zip(self.ys, self.arrays, strict=True))

    def _own(self) -> dict[str, float]:
        return {} if self.epsilon is None else {"epsilon": self.epsilon}

    def _find_epsilon(self) -> None:
        """Find epsilon out, and look a second time at an x so small that it counts."""
        like, given = self.like, self.functions.given
        assert like is not None
        first = next(iter(given))
        spread = float(np.mean(given[first].reshape(-1, given[first].shape[-1]).var(0)))
        epsilon, small, y = like.epsilon, given, self.y
        for _ in range(3):
            if like.finds_epsilon:
                epsilon = solve_epsilon(lambda e, a=small: like.y(a, epsilon=e), y)
            self.scale = float(np.sqrt(min(1.0, max(epsilon / spread, 1e-14))))
            if self.scale > 0.03:
                break
            small = given | {first: given[first] * self.scale}
            y, _ = self.functions.run(small)
            if y.shape != self.y.shape or not np.isfinite(y).all():
                self.scale = 1.0
                break
        if self.scale <= 0.03:
            self.arrays.append(small)
            self.ys.append(y)
        self.epsilon = (
            _round_epsilon(epsilon, like, self._each_y()) if like.finds_epsilon else epsilon
        )

    def _look_at_gradients(self, y_is_right: bool, repeats: bool) -> None:
        functions, like = self.functions, self.like
        self.givens: list[Mapping[str, Any]] = [self.given]
        if like is not None and y_is_right and repeats:
            self.pieces = self._pieces(functions.given, self.dy)
            true = {name: getattr(self.pieces, name) for name in self.gradients}
            for arrays in self.arrays[1:]:
                y, cache = functions.run(arrays)
                found = functions.run_backward(self.dy, cache)
                given = {
                    name: np.asarray(each, np.float64) if each is not None else np.asarray(np.nan)
                    for name, each in zip(self.gradients, found, strict=True)
                }
                self.givens.append({self.result: y} | given)
        else:
            true = self._numeric(repeats)
        self.trues: list[Mapping[str, Array]] = [true]
        for arrays in self.arrays[1 : len(self.givens)]:
            pieces = self._pieces(arrays, self.dy)
            self.trues.append({name: getattr(pieces, name) for name in self.gradients})
        kind = "gradient" if like is not None and y_is_right and repeats else "numeric"
        for name in self.gradients:
            self.expected[name] = true[name]
            self.tolerances[name] = self._bounds(self.given[name])[kind]
            floor = 1e-4 * max(_largest(each) for each in true.values())
            self.errors[name] = max(
                _error(given[name], each[name], floor * (number == 0))
                for number, (given, each) in enumerate(zip(self.givens, self.trues, strict=True))
            )

    def _numeric(self, repeats: bool) -> Mapping[str, Array]:
        """Derivatives of forward as it is."""
        functions, dy = self.functions, self.dy
        if not repeats:
            nothing = {name: np.full(each.shape, np.nan) for name, each in functions.arrays.items()}
            return nothing
        claims = {
            name: self.given[name].astype(np.float64)
            if self.given[name].shape == array.shape
            else np.zeros(array.shape)
            for name, array in functions.arrays.items()
        }
        scalars = {"": lambda y: (float(np.vdot(y, dy)), dy)}
        bound = self._bounds()["numeric"]
        found = compare(functions, {"": claims}, scalars, bound, self.rng, True, ENTRIES)
        return {name: each.numeric for name, each in found.items()}

    def _pieces(self, arrays: Arrays, dy: Array) -> Pieces:
        if self.like is not None:
            return self.like.pieces(arrays, dy, self.other, **self._own())
        first = next(iter(arrays.values()))
        rows = first.size // first.shape[-1] if first.ndim > 1 else first.size
        true = {name: self.expected[name] for name in self.gradients}
        steps = {name: (lambda p, value=value: value) for name, value in true.items()}
        return Pieces({"rows": rows, "dy": dy} | arrays | true, steps)

    # What explains the difference

    def _explain(self, y_is_right: bool) -> tuple[dict[str, tuple[str, ...]], dict[str, str]]:
        found: dict[str, list[Explanation]] = {}
        if self.pieces is None:
            self.pieces = self._pieces(self.functions.given, self.dy)
        pieces = [self.pieces, *(self._pieces(a, self.dy) for a in self.arrays[1:])]
        parameters = [name.removeprefix("d") for name in self.gradients[1:]]
        known = tuple(in_gradients("", self.gradients, parameters))
        if self.like is not None:
            known = self.like.mistakes()
        base: Changes = ()
        if self.result in self.errors and not y_is_right:
            explanation, base = self._explain_y(pieces, known)
            found[self.result] = [explanation]
        for name in self.gradients:
            if not self.errors[name] <= self.tolerances[name]:
                found[name] = [self._explain_gradient(name, pieces, known, base)]
        for name, more in self.structural.items():
            told = found.get(name, [])
            found[name] = [each for each in told if each.keys] + more if more else told
        for name, by in self.functions.damaged.items():
            own = "a copy of it" if name != "cache" else "copies of what is in it"
            found[name] = [
                Explanation(
                    (f"{name} is written into",),
                    f"is written into by {by}: others read it again, so work on {own}",
                )
            ]
        mistakes = {
            name: tuple(key for each in several for key in each.keys)
            for name, several in found.items()
        }
        sentences = {
            name: "; ".join(each.sentence for each in several) for name, several in found.items()
        }
        return mistakes, sentences

    def _explain_y(
        self, pieces: Sequence[Pieces], known: Sequence[Mistake]
    ) -> tuple[Explanation, Changes]:
        name, like = self.result, self.like
        assert like is not None
        given, true = self.given[name], self.expected[name]
        rounding = self._bounds(given)["rounding"]
        if given.shape != true.shape:
            explanation = misshapen(name, given, true, {}, rounding)
            return explanation or _unknown_shape(given, true), ()
        looks = [Look(p, {name: y}) for p, y in zip(pieces, self.ys, strict=True)]
        mistakes = explain(name, looks, known, rounding)
        if mistakes is None and like.finds_epsilon:
            mistakes = self._explain_y_with_its_epsilon(pieces, known, rounding)
        if mistakes is not None:
            return self._named(mistakes), tuple(each.changes for each in mistakes)
        return self._unknown(name, pieces[0]), ()

    def _explain_y_with_its_epsilon(
        self, pieces: Sequence[Pieces], known: Sequence[Mistake], rounding: float
    ) -> tuple[Mistake, ...] | None:
        """A mistake in y whose epsilon is not known either."""
        name = self.result
        for mistake in known:
            if name not in mistake.results:
                continue

            def made(epsilon: float, look: int = -1, mistake: Mistake = mistake) -> Array:
                changed = pieces[look].changed(mistake.changes)
                changed.epsilon = epsilon
                return np.asarray(getattr(changed, name))

            try:
                epsilon = solve_epsilon(made, self.ys[-1])
                fits = all(
                    is_close(made(epsilon, look), y, rounding) for look, y in enumerate(self.ys)
                )
            except Exception:  # what cannot be made of these arrays; see `Mistake.wrong`
                continue
            if fits:
                self.epsilon = epsilon
                for each in pieces:
                    each.epsilon = epsilon
                return (mistake,)
        return None

    def _explain_gradient(
        self, name: str, pieces: Sequence[Pieces], known: Sequence[Mistake], base: Changes
    ) -> Explanation:
        given, true = self.given[name], self.expected[name]
        bounds = self._bounds(given)
        rounding = bounds["rounding"]
        if name in self.structural and any(
            k.keys[0].endswith("None") for k in self.structural[name]
        ):
            return Explanation((), "")
        held = true if self.like is None else getattr(pieces[0], name)
        near = rounding if self.like is not None else bounds["numeric"]
        if given.shape != held.shape:
            return self._explain_shape(name, pieces, known, near)
        looks = [
            Look(p, {name: np.asarray(g[name])}) for p, g in zip(pieces, self.givens, strict=False)
        ]
        if base or (
            self.like is not None
            and self.result in self.errors
            and not self.errors[self.result] <= self.tolerances[self.result]
        ):
            for changes in ((), base):
                made = getattr(pieces[0].changed(*changes), name)
                if is_close(np.asarray(made), given, rounding):
                    return Explanation(
                        (f"of the right {self.result}",),
                        f"belongs to another forward pass: it is right once {self.result} is",
                    )
        mistakes = explain(name, looks, known, near, ((), base) if base else ((),))
        return self._unknown(name, pieces[0]) if mistakes is None else self._named(mistakes)

    def _explain_shape(
        self, name: str, pieces: Sequence[Pieces], known: Sequence[Mistake], rounding: float
    ) -> Explanation:
        given = self.given[name]
        all_true = {each: np.asarray(getattr(pieces[0], each)) for each in self.gradients}
        true = all_true.pop(name)
        if explanation := misshapen(name, given, true, all_true, rounding):
            return explanation
        if mistakes := explain(name, [Look(pieces[0], {name: given})], known, rounding):
            return self._named(mistakes)
        for key, sentence, mended in mended_shapes(name, given, true):
            if mistakes := explain(name, [Look(pieces[0], {name: mended})], known, rounding):
                also = self._named(mistakes)
                return Explanation((key, *also.keys), f"{sentence}, and {also.sentence}")
        return _unknown_shape(given, true)

    def _named(self, mistakes: Sequence[Mistake]) -> Explanation:
        sentences = []
        for each in mistakes:
            sentence = each.sentence
            if re.search(r"\bm\b", sentence) and self.pieces is not None:
                m = getattr(self.pieces, "m", self.pieces.rows)
                sentence += f" (m is {m})" if np.ndim(m) == 0 else ""
            sentences.append(sentence)
        return Explanation(tuple(each.key for each in mistakes), ", and ".join(sentences))

    def _unknown(self, name: str, pieces: Pieces) -> Explanation:
        given, true = self.given[name], self.expected[name]
        first = next(iter(self.functions.given.values()))
        numbers = {"m": float(pieces.rows), "m - 1": pieces.rows - 1.0, "N": float(len(first))}
        numbers |= {"features": float(first.shape[-1]), "2": 2.0, "-1": -1.0}
        x_hat = None
        if self.like is not None and "x_hat" in pieces.steps:
            x_hat = pieces.x_hat
        looks_like = likeness(given, true, x_hat, numbers)
        place = first_place(given, true, _largest(true))
        where = f"; first at {list(place)}" if place else ""
        return Explanation((), f"no known mistake explains it: it {looks_like}{where}")

    def _description(self) -> str:
        shapes = ", ".join(f"{name} {each.shape}" for name, each in self.functions.given.items())
        what = "" if self.like is None else f", like {self.like.name}"
        if self.epsilon is not None:
            what += f" with epsilon {self.epsilon:.4g}"
        return f"forward and backward of {shapes}{what}, a random dy"


def _unknown_shape(given: Array, true: Array) -> Explanation:
    return Explanation((), f"has the shape {given.shape}, not {true.shape}")


def _alike(a: Any, b: Any, rounding: float) -> bool:
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and is_close(a, b, rounding)


def _largest(values: Array) -> float:
    known = np.abs(values[np.isfinite(values)])
    return float(np.max(known, initial=0.0))


def _error(given: Array, true: Array, floor: float = 0.0) -> float:
    """The largest difference over the largest true value; infinity for another shape."""
    if np.shape(given) != np.shape(true):
        return np.inf
    known = ~np.isnan(true)
    if not np.any(known):
        return np.nan
    with np.errstate(all="ignore"):
        difference = np.abs(given - true)[known]
        return float(np.max(difference)) / (max(_largest(true), floor) or 1.0)


def _round_epsilon(epsilon: float, like: Like, runs: Sequence[tuple[Array, Arrays]]) -> float:
    """The nearest number of few digits that makes y as well."""

    def error(value: float) -> float:
        return max(_error(y, like.y(arrays, epsilon=value)) for y, arrays in runs)

    for digits in range(1, 5):
        rounded = float(f"{epsilon:.{digits - 1}e}")
        if error(rounded) <= max(2 * error(epsilon), 1e-14):
            return rounded
    return epsilon


def _near(arrays: Arrays, rng: np.random.Generator) -> Arrays:
    """Other arrays of the same kind, for another call."""
    return {
        name: each * rng.uniform(0.5, 1.5, each.shape) if each.dtype.kind == "f" else each
        for name, each in arrays.items()
    }


def _names(forward: Callable[..., Any], count: int) -> tuple[str, ...]:
    """What the function calls its arguments."""
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        parameters = ()  # type: ignore[assignment]
    names = [each.name for each in parameters if each.kind in (0, 1)]
    names += ["x" if not place else f"array_{place}" for place in range(len(names), count)]
    return tuple(names[:count])


# Arrays that prove nothing


def _checked(arrays: Mapping[str, Any]) -> Arrays:
    """The arrays as float64, labels as they are; ValueError for those that prove nothing."""
    if not arrays:
        raise TypeError("check_derivation(forward, backward, *arrays): expected at least one array")
    checked: Arrays = {}
    for place, (name, value) in enumerate(arrays.items()):
        array = np.asarray(value)
        if array.dtype.kind in "iu" and place:
            checked[name] = array.copy()
            continue
        array = checks.float_array(name, array).astype(np.float64)
        if array.size == 0 or not np.isfinite(array).all():
            what = "an empty array" if array.size == 0 else "NaN or infinity"
            raise ValueError(f"{name}: expected finite numbers, got {what}")
        checked[name] = array
    first, *others = checked
    _check_batch(first, checked[first])
    for name in (first, *others):
        _check_varied(name, checked[name])
    return checked


def _check_batch(name: str, x: Array) -> None:
    if x.ndim < 2:
        return
    values = x.size // x.shape[-1]
    if values <= 2:
        raise ValueError(
            f"{name}: got {values} row{'s' * (values > 1)}, shape {x.shape}, of which batch "
            "statistics leave nothing, and a sum is hardly told from a mean: pass more rows, "
            f"rng.standard_normal((8, {x.shape[-1]})) say"
        )
    if len(x) == 1:
        raise ValueError(
            f"{name}: got a batch of one, shape {x.shape}, whose sum over the batch is its mean: "
            "pass more examples"
        )
    constant = np.flatnonzero((x == x[(0,) * (x.ndim - 1)]).all(tuple(range(x.ndim - 1))))
    if len(constant):
        raise ValueError(
            f"{name}: column {constant[0]} is {x.reshape(-1, x.shape[-1])[0, constant[0]]:g} "
            f"throughout: its variance is 0, and a wrong gradient may look right: pass random "
            f"numbers, rng.standard_normal({x.shape}) say"
        )


def _check_varied(name: str, array: Array) -> None:
    if array.dtype.kind != "f" or not (array == array.flat[0]).all():
        return
    value = array.flat[0]
    if array.size == 1 and value not in (0.0, 1.0):
        return
    raise ValueError(
        f"{name}: is {value:g} throughout, so that a wrong use of it may look right: pass numbers "
        f"that differ, rng.uniform(0.5, 1.5, {array.shape}) say"
    )
