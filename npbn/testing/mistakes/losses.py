"""Wrong gradients of the losses; dloss is the gradient of what is made of the loss, 1 mostly."""

import numpy as np

from npbn import reference
from npbn.testing.mistake import Pieces, mistakes_of


def _cross_entropy_pieces(p: Pieces) -> None:
    p.classes = p.logits.shape[-1]
    p.softmax, p.one_hot = reference.softmax(p.logits), np.eye(p.classes)[p.labels]


_mistake = mistakes_of("softmax_cross_entropy", _cross_entropy_pieces)
_CROSS_ENTROPY = (
    _mistake(
        "no 1/N",
        "is not divided by N: the loss is a mean over the batch",
        dlogits=lambda p: p.rows * p.dlogits,
    ),
    _mistake(
        "1/C",
        "is divided by the number of classes, not of examples",
        dlogits=lambda p: p.dlogits * p.rows / p.classes,
    ),
    _mistake(
        "1/(N C)",
        "is divided by the number of classes too: the loss is a mean over the batch alone",
        dlogits=lambda p: p.dlogits / p.classes,
    ),
    _mistake(
        "1/(N - 1)",
        "is divided by N - 1, not by N",
        dlogits=lambda p: p.dlogits * p.rows / (p.rows - 1),
    ),
    _mistake(
        "no one-hot labels",
        "is softmax / N: the 1 at each label is not subtracted",
        dlogits=lambda p: p.dloss * p.softmax / p.rows,
    ),
    _mistake(
        "only at the labels",
        "is 0 but at the labels: every logit is in the sum below the fraction",
        dlogits=lambda p: p.dlogits * p.one_hot,
    ),
    _mistake(
        "not at the labels", "is 0 at the labels", dlogits=lambda p: p.dlogits * (1 - p.one_hot)
    ),
    _mistake(
        "the logarithm's alone",
        "is -1/p at the labels, the gradient by the probabilities: softmax's is missing",
        dlogits=lambda p: -p.dloss * p.one_hot / p.softmax / p.rows,
    ),
    _mistake(
        "softmax over the batch",
        "has softmax over the batch, not over the classes",
        dlogits=lambda p: p.dloss * (reference.softmax(p.logits.T).T - p.one_hot) / p.rows,
    ),
    _mistake(
        "the logits for softmax",
        "has the logits for their softmax",
        dlogits=lambda p: p.dloss * (p.logits - p.one_hot) / p.rows,
    ),
    _mistake(
        "the sigmoid for softmax",
        "has the sigmoid for softmax",
        dlogits=lambda p: p.dloss * (1 / (1 + np.exp(-p.logits)) - p.one_hot) / p.rows,
    ),
    _mistake(
        "softmax's derivative once more",
        "has softmax's derivative p (1 - p) once more",
        dlogits=lambda p: p.dlogits * p.softmax * (1 - p.softmax),
    ),
    _mistake(
        "another row's labels",
        "has the labels of the row before",
        dlogits=lambda p: p.dloss * (p.softmax - np.roll(p.one_hot, 1, 0)) / p.rows,
    ),
    _mistake(
        "without dloss",
        "lacks the factor dloss, the gradient of what is made of the loss",
        dlogits=lambda p: p.gradient,
    ),
)


def _squared_error_pieces(p: Pieces) -> None:
    p.examples, p.difference = len(p.y), p.y - p.target


_mistake = mistakes_of("squared_error", _squared_error_pieces)
_SQUARED_ERROR = (
    _mistake(
        "no 1/N",
        "is not divided by N: the loss is a mean over the batch",
        dy=lambda p: p.examples * p.dy,
    ),
    _mistake("2", "is twice the true gradient: the loss has a factor 1/2", dy=lambda p: 2 * p.dy),
    _mistake(
        "1/2",
        "is half the true gradient: the square's derivative has a factor 2",
        dy=lambda p: p.dy / 2,
    ),
    _mistake(
        "1/(N D)",
        "is divided by the number of outputs too: the loss is a mean over the batch alone",
        dy=lambda p: p.dy / p.y.shape[-1],
    ),
    _mistake(
        "no target",
        "is y / N: the target is not subtracted",
        dy=lambda p: p.dloss * p.y / p.examples,
    ),
    _mistake("the absolute error", "has no sign: it is |y - target| / N", dy=lambda p: abs(p.dy)),
    _mistake(
        "the sign of the error",
        "is the sign of y - target: the gradient of the absolute error",
        dy=lambda p: p.dloss * np.sign(p.difference) / p.examples,
    ),
    _mistake(
        "squared",
        "is (y - target)^2 / N: the square was not differentiated",
        dy=lambda p: p.dloss * p.difference**2 / p.examples,
    ),
    _mistake(
        "without dloss",
        "lacks the factor dloss, the gradient of what is made of the loss",
        dy=lambda p: p.gradient,
    ),
)

MISTAKES = (*_CROSS_ENTROPY, *_SQUARED_ERROR)
