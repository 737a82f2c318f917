"""Is a derivation right, and if not, what is wrong? Two functions of one's own are checked."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn.numerics.read_only_mapping import ReadOnlyMapping
from npbn.testing.arguments import checked, names_of
from npbn.testing.explanations import Explanations
from npbn.testing.functions import Functions
from npbn.testing.like import Like
from npbn.testing.report import DerivationReport
from npbn.testing.truth import Truth


def check_derivation(
    forward: Callable[..., Any],
    backward: Callable[..., Any],
    *arrays: Any,
    like: str | None = None,
    seed: int = 0,
    **options: Any,
) -> DerivationReport:
    """Check a forward and a backward function of one's own, and name what is wrong.

    They are written as ::

        y, cache = forward(x, gamma, beta)
        dx, dgamma, dbeta = backward(dy, cache)

    with any number of arrays, and a gradient for each, in their order; labels, which are arrays of
    whole numbers, have none. Of a loss ::

        loss, cache = forward(logits, labels)
        dlogits = backward(dloss, cache)

    with a number dloss, the gradient of what is made of the loss; or ``backward(cache)``, where it
    is 1. What else the functions take is closed over: ``lambda x, w: conv(x, w, stride=2)``.

    The upstream gradient dy is drawn at random; one of ones hides most mistakes in batch
    normalization. The gradients are held against numeric derivatives of forward, whatever that
    computes. With ``like="batch_norm"``, or another operation of `npbn.reference`, forward is held
    against that, and what is wrong against the known wrong derivations of it, one or two at once.
    Without it the mistakes are known that one can make in any derivation. With and without it
    a report also says where the functions write into what they are given, depend on earlier calls,
    or draw random numbers.

    Parameters
    ----------
    forward, backward : function
        The two functions. They are called with copies of the arrays, as float64, and of others
        near them; a result of type float32 is held to its own digits.
    *arrays : ndarray
        What forward takes: float32 or float64, labels of whole numbers.
    like : str or None
        The operation. The arrays are its arguments, in its order, and gradients are named by them;
        gamma, say, may be (1, D) as well.
    seed : int
        For dy, and for the arrays of another call.
    **options
        The operation's own, ``stride=2`` say. Epsilon, stride and padding are found out from y
        where they are not given: one's own are no mistake.

    Returns
    -------
    DerivationReport
        ``bool(report)`` is the verdict; ``print(report)`` shows a table, and below it the mistakes.

    Raises
    ------
    ValueError
        For arrays that prove nothing (a batch of 1 or 2, gamma of ones, equal labels, constant
        columns), for what the operation cannot take, and for functions that return another number
        of values than they should.
    TypeError
        For arguments and results that are no arrays of float32 or float64.
    Exception
        What the functions raise themselves, with a note in which call.
    """
    seed = checks.integer("seed", seed, minimum=0)
    for name, function in (("forward", forward), ("backward", backward)):
        if not callable(function):
            raise TypeError(f"{name}: expected a function, got {function!r}")
    if like is None and options:
        raise TypeError(f"{next(iter(options))}: expected like= with it, whose option it is")
    operation = None if like is None else Like(like, len(arrays), options)
    names = names_of(forward, len(arrays)) if operation is None else operation.names
    given = checked(dict(zip(names, arrays, strict=True)))
    gradients: Sequence[str] = [f"d{name}" for name in names if given[name].dtype.kind == "f"]
    if operation is not None:
        gradients = operation.gradients
    result = "y" if operation is None else operation.result
    own = given if operation is None else operation.without_axes_of_one(given)
    shapes = {name: given[name].shape for name in own if own[name].shape != given[name].shape}
    functions = Functions(forward, backward, own, gradients, result, shapes)
    truth = Truth(functions, operation, np.random.default_rng(seed))
    explained = Explanations(truth).of_all()
    return DerivationReport(
        errors=ReadOnlyMapping(truth.errors),
        tolerances=ReadOnlyMapping(truth.tolerances),
        zeros=truth.zeros,
        mistakes=ReadOnlyMapping({name: each.keys for name, each in explained.items()}),
        explanations=ReadOnlyMapping({name: each.sentence for name, each in explained.items()}),
        given=ReadOnlyMapping(truth.main.given),
        expected=ReadOnlyMapping(truth.main.right),
        dy=truth.dy,
        epsilon=truth.options.get("epsilon"),
        description=_described(functions, operation, truth.options),
    )


def _described(functions: Functions, like: Like | None, found: Mapping[str, float]) -> str:
    arrays = ", ".join(f"{name} {array.shape}" for name, array in functions.given.items())
    description = f"forward and backward of {arrays}"
    if like is not None:
        options = [f"{name}={value!r}" for name, value in like.shown.items() if name not in found]
        options += [f"epsilon={value:.4g}" for value in found.values()]
        description += f", like {like.name}" + f"({', '.join(options)})" * bool(options)
    return description
