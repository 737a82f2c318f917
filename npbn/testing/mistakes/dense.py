"""Wrong fully connected layers."""

import numpy as np

from npbn.testing.mistake import mistakes_of

# As many outputs as inputs: of its transpose nobody can tell the shape.
_SQUARE = (7, 2)

_mistake = mistakes_of("dense")
MISTAKES = (
    _mistake(
        "no transpose in dx",
        "is dy @ weight, not dy @ weight'",
        dx=lambda p: p.dy @ p.weight,
        shape=_SQUARE,
    ),
    _mistake(
        "dweight is transposed",
        "is dy' @ x, the transpose of the true gradient x' @ dy",
        dweight=lambda p: p.dweight.T,
        shape=_SQUARE,
    ),
    _mistake(
        "dweight of y",
        "is y' @ dy, not x' @ dy",
        dweight=lambda p: p.y.T @ p.dy,
        shape=_SQUARE,
    ),
    _mistake(
        "dweight of one example",
        "is that of the first example alone: the weight did something in every one",
        dweight=lambda p: np.outer(p.x[0], p.dy[0]),
    ),
    _mistake(
        "dbias of one example",
        "is that of the first example alone: the bias is added to every one",
        dbias=lambda p: p.dy[0],
    ),
    _mistake(
        "dbias over the outputs",
        "is summed over the outputs too: each has a bias of its own",
        dbias=lambda p: np.full_like(p.bias, p.dy.sum()),
    ),
    _mistake(
        "dbias of x",
        "sums x, not dy",
        dbias=lambda p: p.x.sum(0),
        shape=_SQUARE,
    ),
    _mistake(
        "the bias in dx",
        "has the bias added to it, which does not depend on x",
        dx=lambda p: p.dx + p.bias,
        shape=_SQUARE,
    ),
    _mistake(
        "dx is a mean",
        "is divided by the number of examples: each has an x of its own",
        dx=lambda p: p.dx / p.rows,
    ),
    _mistake(
        "an earlier weight",
        "uses the weight of an earlier call",
        dx=lambda p: p.dy @ p.earlier.weight.T,
        of_an_earlier_batch=True,
    ),
)
