"""Wrong gradients of the losses; dloss is the gradient of what is made of the loss, 1 mostly."""

import numpy as np

from npbn import reference
from npbn._checks import Array
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


def _target_pieces(p: Pieces) -> None:
    p.classes = p.class_weights.shape[0]
    p.counted = (p.labels != p.ignored_label)[:, np.newaxis]
    p.one_hot = p.counted * np.eye(p.classes)[p.labels]
    p.weighted = p.one_hot * p.class_weights
    p.total = p.weighted.sum()
    p.target = p.class_weights * (
        (1 - p.label_smoothing) * p.one_hot + p.label_smoothing / p.classes * p.counted
    )


def _weighted_pieces(p: Pieces) -> None:
    _target_pieces(p)
    p.softmax = reference.softmax(p.logits)


def _cross_entropy_of(p: Pieces, target: Array) -> Array:
    """The gradient for another target."""
    return p.dloss * (p.softmax * target.sum(1, keepdims=True) - target) / p.total


_mistake = mistakes_of("softmax_cross_entropy, with options", _weighted_pieces)
_WEIGHTED_CROSS_ENTROPY = (
    _mistake(
        "1/N",
        "is divided by N, not by the sum of the labels' weights",
        dlogits=lambda p: p.dlogits * p.total / p.rows,
    ),
    _mistake(
        "by the rows that count",
        "is divided by how many rows count, not by the sum of their labels' weights",
        dlogits=lambda p: p.dlogits * p.total / p.counted.sum(),
    ),
    _mistake(
        "the ignored rows count",
        "has the gradient of the ignored rows, too",
        dlogits=lambda p: (
            p.dlogits
            + p.dloss * (1 - p.counted) * (p.softmax - np.eye(p.classes)[p.labels]) / p.total
        ),
    ),
    _mistake(
        "smooth, but not weighted",
        "has class weights at the labels, but not in what label smoothing adds",
        dlogits=lambda p: _cross_entropy_of(
            p,
            (1 - p.label_smoothing) * p.weighted + p.label_smoothing / p.classes * p.counted,
        ),
    ),
    _mistake(
        "the label's weight for all",
        "has the label's class weight for every class in what label smoothing adds",
        dlogits=lambda p: _cross_entropy_of(
            p, p.target / p.class_weights * p.weighted.sum(1, keepdims=True)
        ),
    ),
    _mistake(
        "not smoothed",
        "is the one without label smoothing",
        dlogits=lambda p: _cross_entropy_of(p, p.weighted),
    ),
    _mistake(
        "smoothed over the others",
        "has label smoothing among the other classes alone",
        dlogits=lambda p: _cross_entropy_of(
            p,
            np.where(
                p.one_hot == 1,
                (1 - p.label_smoothing) * p.weighted,
                p.counted * p.class_weights * p.label_smoothing / (p.classes - 1),
            ),
        ),
    ),
    _mistake(
        "softmax unweighted",
        "lacks the target's sum, which is no longer 1, as the factor of softmax",
        dlogits=lambda p: p.dloss * (p.counted * p.softmax - p.target) / p.total,
    ),
)


def _likelihood_pieces(p: Pieces) -> None:
    p.classes = p.log_probabilities.shape[-1]
    p.one_hot = np.eye(p.classes)[p.labels]


_mistake = mistakes_of("negative_log_likelihood", _likelihood_pieces)
_LIKELIHOOD = (
    _mistake(
        "no 1/N",
        "is not divided by N: the loss is a mean over the batch",
        dlog_probabilities=lambda p: p.rows * p.dlog_probabilities,
    ),
    _mistake(
        "1/p",
        "is -1/p at the labels: that is the gradient by the probabilities, not by their logarithms",
        dlog_probabilities=lambda p: p.dlog_probabilities / np.exp(p.log_probabilities),
    ),
    _mistake(
        "softmax as well",
        "has softmax's part in it: that belongs to log_softmax",
        dlog_probabilities=lambda p: p.dloss * (np.exp(p.log_probabilities) - p.one_hot) / p.rows,
    ),
    _mistake(
        "another row's labels",
        "has the labels of the row before",
        dlog_probabilities=lambda p: -p.dloss * np.roll(p.one_hot, 1, 0) / p.rows,
    ),
)

_mistake = mistakes_of("negative_log_likelihood, with options", _target_pieces)
_WEIGHTED_LIKELIHOOD = (
    _mistake(
        "1/N",
        "is divided by N, not by the sum of the labels' weights",
        dlog_probabilities=lambda p: p.dlog_probabilities * p.total / p.rows,
    ),
    _mistake(
        "the ignored rows count",
        "has the gradient of the ignored rows, too",
        dlog_probabilities=lambda p: (
            p.dlog_probabilities - p.dloss * (1 - p.counted) * np.eye(p.classes)[p.labels] / p.total
        ),
    ),
    _mistake(
        "not smoothed",
        "is the one without label smoothing",
        dlog_probabilities=lambda p: -p.dloss * p.weighted / p.total,
    ),
    _mistake(
        "unweighted",
        "has no class weights",
        dlog_probabilities=lambda p: p.dlog_probabilities / p.class_weights,
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

MISTAKES = (
    *_CROSS_ENTROPY,
    *_WEIGHTED_CROSS_ENTROPY,
    *_LIKELIHOOD,
    *_WEIGHTED_LIKELIHOOD,
    *_SQUARED_ERROR,
)
