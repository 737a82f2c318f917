"""Wrong fully connected layers."""

import numpy as np

from npbn.testing.mistake import mistakes_of

# As many outputs as inputs: of its transpose nobody can tell the shape.
_SQUARE = (7, 2)

_mistake = mistakes_of("dense")
MISTAKES = (
    _mistake("y: no bias", "lacks the bias", y=lambda p: p.y - p.bias),
    _mistake("y: the bias is subtracted", "has the bias subtracted", y=lambda p: p.y - 2 * p.bias),
    _mistake("y: the bias twice", "has the bias added twice", y=lambda p: p.y + p.bias),
    _mistake(
        "y: the weight is transposed",
        "is x @ weight' + bias, not x @ weight + bias",
        y=lambda p: p.x @ p.weight.T + p.bias,
        shape=_SQUARE,
    ),
    _mistake(
        "y: the bias before the weight",
        "is (x + bias) @ weight: the bias is added to the products",
        y=lambda p: (p.x + p.bias) @ p.weight,
        shape=_SQUARE,
    ),
    _mistake(
        "y: a mean over the inputs",
        "has the mean of the products over the inputs, not their sum",
        y=lambda p: (p.y - p.bias) / p.x.shape[-1] + p.bias,
    ),
    _mistake(
        "y: the bias of the first output",
        "has the first output's bias for all outputs",
        y=lambda p: p.y - p.bias + p.bias[0],
    ),
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
        "dweight of dx",
        "is x' @ dx, not x' @ dy",
        dweight=lambda p: p.x.T @ p.dx,
        shape=_SQUARE,
    ),
    _mistake(
        "dweight of x twice",
        "is x' @ x, not x' @ dy",
        dweight=lambda p: p.x.T @ p.x,
        shape=_SQUARE,
    ),
    _mistake(
        "dweight without x",
        "sums dy alone: each weight is multiplied by its input",
        dweight=lambda p: np.broadcast_to(p.dbias, p.weight.shape),
    ),
    _mistake(
        "dweight of the sum of x",
        "multiplies the sum of x by the sum of dy: it is a sum of products",
        dweight=lambda p: np.outer(p.x.sum(0), p.dbias),
    ),
    _mistake(
        "the weight in dweight",
        "has the weight added to it, as for weight decay",
        dweight=lambda p: p.dweight + p.weight,
    ),
    _mistake(
        "dweight of the last example",
        "is that of the last example alone: the weight did something in every one",
        dweight=lambda p: np.outer(p.x[-1], p.dy[-1]),
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
        "dbias of the last example",
        "is that of the last example alone: the bias is added to every one",
        dbias=lambda p: p.dy[-1],
    ),
    _mistake(
        "dbias of y",
        "sums y, not dy",
        dbias=lambda p: p.y.sum(0),
    ),
    _mistake(
        "dbias with the bias",
        "has a factor bias: the bias is added",
        dbias=lambda p: p.dbias * p.bias,
    ),
    _mistake(
        "dbias without dy",
        "counts the examples, as if dy were 1",
        dbias=lambda p: np.full_like(p.bias, p.rows),
    ),
    _mistake(
        "dbias over the wrong axis",
        "is summed over the outputs, not over the batch",
        has_other_shape=True,
        dbias=lambda p: p.dy.sum(-1),
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
    _mistake("dx is dy", "equals dy", dx=lambda p: p.dy, shape=_SQUARE),
    _mistake(
        "dx of y",
        "is y @ weight', not dy @ weight'",
        dx=lambda p: p.y @ p.weight.T,
    ),
    _mistake(
        "dx is a sum over the batch",
        "is the same in every row, summed over the batch: each example has an x of its own",
        dx=lambda p: np.broadcast_to(p.dx.sum(0), p.dx.shape),
    ),
    _mistake(
        "dx is divided by the outputs",
        "is divided by the number of outputs: every output adds what x did to it",
        dx=lambda p: p.dx / p.dy.shape[-1],
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
