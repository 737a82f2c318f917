"""What one can get wrong in a derivation, as a function of the right pieces."""

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from npbn import reference
from npbn._checks import Array
from npbn.testing.case import Inputs, Shape
from npbn.testing.cases import CASES

Pieces = Any
AddPieces = Callable[[Pieces], None]
Wrong = Callable[[Pieces], Any]


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A wrong derivation of an operation.

    The file npbn/testing/mistakes/<stem>.py, named like the operation's own files, has a tuple
    MISTAKES of these, made by `mistakes_of(operation)`; nothing else lists it.

    key: its name among the operation's mistakes.
    sentence: what is wrong, to be read after the names of the results: str(mistake) is
        "dx: equals the true gradient without ...".
    results: the name of each result that is wrong ("y" or "loss", "dx", "dgamma" ...) -> a function
        of the pieces that makes it: the inputs, dy, the true y and gradients under their own names,
        rows (the number of values a feature), and what the operation's file adds.
    add_pieces: adds the operation's own pieces; where there is no dy, those of the forward pass.
    shape: a shape of the first argument in which it shows; None: the first of the case.
    of_an_earlier_batch: whether it also needs pieces.earlier, those of an earlier call's inputs.
    """

    operation: str
    key: str
    sentence: str
    results: Mapping[str, Wrong]
    add_pieces: AddPieces | None = None
    shape: Shape | None = None
    of_an_earlier_batch: bool = False

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
        return {name: function(pieces) for name, function in self.results.items()}


def right(operation: str, inputs: Inputs, dy: Array | None = None) -> Pieces:
    """The inputs and what `reference` makes of them, as attributes; gradients where dy is given."""
    case = CASES[operation]
    # A generator draws the same numbers for everyone who asks.
    own = copy.deepcopy(inputs)
    first = next(iter(own.values()))
    pieces = SimpleNamespace(**copy.deepcopy(inputs), rows=first.size // first.shape[-1])
    y, cache = case.forward(reference, own)
    if case.is_loss:
        pieces.loss, pieces.gradient, pieces.dloss = y, cache, dy
        gradients: tuple[Array, ...] = (cache,) if dy is None else (dy * cache,)
    else:
        pieces.y, pieces.dy = y, dy
        gradients = () if dy is None else case.backward(reference, dy, cache, own)
    vars(pieces).update(zip(case.gradients, gradients, strict=False))
    return pieces


def mistakes_of(
    operation: str, add_pieces: AddPieces | None = None, **shared: Any
) -> Callable[..., Mistake]:
    """A function mistake(key, sentence, *, shape=None, dx=function, ...) -> one of the operation's.

    shared: what all of them have in common, shape say.
    """

    def mistake(key: str, sentence: str, **given: Any) -> Mistake:
        fields = {field.name for field in dataclasses.fields(Mistake)}
        options = shared | {name: value for name, value in given.items() if name in fields}
        results = {name: value for name, value in given.items() if name not in fields}
        return Mistake(operation, key, sentence, results, add_pieces, **options)

    return mistake


def in_any_gradient(operation: str) -> Iterator[Mistake]:
    """What one can get wrong whatever the operation is."""
    case, mistake = CASES[operation], mistakes_of(operation)

    def changed(name: str, change: Callable[[Array, int], Array]) -> Mapping[str, Wrong]:
        return {name: lambda p: change(getattr(p, name), p.rows)}

    for name in case.gradients:
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
    for parameter in case.parameters:
        yield mistake(
            f"d{parameter} is a mean",
            f"is a mean over the batch, not a sum: every example adds what {parameter} did in it",
            **changed(f"d{parameter}", lambda gradient, rows: gradient / rows),
        )
