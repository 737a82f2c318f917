"""What one can get wrong in a derivation, as a function of the right pieces."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from npbn import reference
from npbn._checks import Array
from npbn.testing.case import Inputs, Shape
from npbn.testing.cases import CASES

Wrong = Callable[[Any], Any]


class Pieces:
    """What a derivation is made of: the inputs, dy, what lies between, and the results.

    given: by name, as they are. steps: by name a function of the pieces, made when it is asked for;
    an operation's file adds its own, `p.steps |= {...}`. What it adds as attributes is given.
    """

    steps: dict[str, Wrong]
    changes: Sequence[Mapping[str, Wrong]]

    def __init__(self, given: Mapping[str, Any], steps: Mapping[str, Wrong]) -> None:
        vars(self).update(given, steps=dict(steps), changes=())

    def __getattr__(self, name: str) -> Any:
        steps = vars(self).get("steps", {})
        if name not in steps:
            raise AttributeError(name)
        vars(self)[name] = steps[name](self)
        for each in self.changes:
            if name in each:
                vars(self)[name] = each[name](self)
        return vars(self)[name]

    def __setattr__(self, name: str, value: Any) -> None:
        vars(self)[name] = value

    def changed(self, *changes: Mapping[str, Wrong]) -> "Pieces":
        """The same derivation with some of its steps changed, one after the other.

        A change is a function of the pieces; the step's own value is still what it was before. What
        is made of a changed step follows it.
        """
        given = {name: value for name, value in vars(self).items() if name not in self.steps}
        other = Pieces(given, self.steps)
        other.changes = (*self.changes, *changes)
        return other

    def without(self, step: str) -> "Pieces":
        """The same pieces without one of them; who asks for it gets an AttributeError."""
        other = self.changed()
        del other.steps[step]
        return other


AddPieces = Callable[[Pieces], None]


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A wrong derivation of an operation.

    The file ``npbn/testing/mistakes/<stem>.py``, named like the operation's own files, has a tuple
    MISTAKES of these, made by `mistakes_of(operation)`; nothing else lists it.

    Attributes
    ----------
    operation : str
        Of which it is a mistake.
    key : str
        Its name among the operation's mistakes.
    sentence : str
        What is wrong, to be read after the names of the results: ``str(mistake)`` is "dx: equals
        the true gradient without ...".
    results : tuple of str
        The names of the results that are wrong: "y" or "loss", "dx", "dgamma" ...
    changes : Mapping
        The name of a result, or of a step on the way to it -> a function of the pieces that makes
        it: of the inputs, dy, the true y and gradients under their own names, rows (the number of
        values a feature), and what the operation's file adds.
    add_pieces : function or None
        Adds the operation's own pieces; where there is no dy, those of the forward pass.
    shape : tuple of int or None
        A shape of the first argument in which it shows; None: the first of the case.
    of_an_earlier_batch : bool
        Whether it also needs pieces.earlier, those of an earlier call's inputs.
    has_other_shape : bool
        Whether what it makes has not the shape that it should have.
    """

    operation: str
    key: str
    sentence: str
    results: tuple[str, ...]
    changes: Mapping[str, Wrong]
    add_pieces: AddPieces | None = None
    shape: Shape | None = None
    of_an_earlier_batch: bool = False
    has_other_shape: bool = False

    @property
    def is_forward(self) -> bool:
        """Whether y, or the loss, is wrong, and not a gradient."""
        return not all(name.startswith("d") for name in self.results)

    def __str__(self) -> str:
        return f"{', '.join(self.results)}: {self.sentence}."

    def wrong(
        self, inputs: Inputs, dy: Array | None = None, earlier: Inputs | None = None
    ) -> dict[str, Any]:
        """The wrong results, by name, of such inputs and upstream gradient.

        dy may be missing where only y is wrong; for a loss it is the gradient of what is made of
        it. earlier: the inputs of an earlier call. What the mistake cannot be made of (a weight
        that is not square, say) is whatever error NumPy raises.
        """
        pieces = right(self.operation, inputs, dy)
        pieces.earlier = None if earlier is None else right(self.operation, earlier)
        for each in (pieces, pieces.earlier):
            if self.add_pieces is not None and each is not None:
                self.add_pieces(each)
        made = pieces.changed(self.changes)
        return {name: getattr(made, name) for name in self.results}


def right(operation: str, inputs: Inputs, dy: Array | None = None) -> Pieces:
    """The inputs and what `reference` makes of them; gradients where dy is given."""
    case = CASES[operation]
    # A generator draws the same numbers for everyone who asks.
    own = copy.deepcopy(inputs)
    first = next(iter(own.values()))
    y, cache = case.forward(reference, own)
    results = {"loss" if case.is_loss else "y": y}
    if case.is_loss:
        gradients: tuple[Array, ...] = (cache,) if dy is None else (dy * cache,)
        also = {"gradient": cache, "dloss": dy}
    else:
        gradients = () if dy is None else case.backward(reference, dy, cache, own)
        also = {"dy": dy}
    results |= zip(case.gradients, gradients, strict=False)
    given = copy.deepcopy(inputs) | also | {"rows": first.size // first.shape[-1]} | results
    return Pieces(given, {name: always(value) for name, value in results.items()})


def always(value: Any) -> Wrong:
    """A step that is not made of others."""
    return lambda pieces: value


def mistakes_of(
    operation: str, add_pieces: AddPieces | None = None, **shared: Any
) -> Callable[..., Mistake]:
    """A function mistake(key, sentence, *, shape=None, dx=function, ...) -> one of the operation's.

    Where steps are changed, and not results alone, results=("dx",) says what is wrong. shared: what
    all of them have in common, shape say.
    """

    def mistake(key: str, sentence: str, **given: Any) -> Mistake:
        fields = {field.name for field in dataclasses.fields(Mistake)}
        changes = {name: value for name, value in given.items() if name not in fields}
        options = {"results": tuple(changes), **shared}
        options |= {name: value for name, value in given.items() if name in fields}
        return Mistake(operation, key, sentence, changes=changes, add_pieces=add_pieces, **options)

    return mistake


def in_any_gradient(operation: str) -> Iterator[Mistake]:
    """What one can get wrong whatever the operation is."""
    case = CASES[operation]
    return in_gradients(operation, case.gradients, case.parameters)


def in_gradients(
    operation: str, gradients: Sequence[str], parameters: Sequence[str]
) -> Iterator[Mistake]:
    """What one can get wrong in gradients; parameters: of what they are sums over the batch."""
    mistake = mistakes_of(operation)

    def changed(name: str, change: Callable[[Array, int], Array]) -> Mapping[str, Wrong]:
        return {name: lambda p: change(getattr(p, name), p.rows)}

    for name in gradients:
        yield mistake(
            f"{name}'s sign",
            "has the opposite sign of the true gradient",
            **changed(name, lambda gradient, rows: -gradient),
        )
        yield mistake(
            f"{name} is 0",
            "is 0 throughout: it was never computed",
            **changed(name, lambda gradient, rows: np.zeros_like(gradient)),
        )
        yield mistake(
            f"{name} twice",
            "is twice the true gradient",
            **changed(name, lambda gradient, rows: 2 * gradient),
        )
        yield mistake(
            f"{name} by half",
            "is half the true gradient",
            **changed(name, lambda gradient, rows: gradient / 2),
        )
    for parameter in parameters:
        yield mistake(
            f"d{parameter} is a mean",
            "is too small by the factor m: sum over the batch, do not average",
            **changed(f"d{parameter}", lambda gradient, rows: gradient / rows),
        )
        yield mistake(
            f"d{parameter} times m",
            "is too large by the factor m: sum over the batch, once",
            **changed(f"d{parameter}", lambda gradient, rows: gradient * rows),
        )
