"""Wrong gradients of the losses; dloss is the gradient of what is made of the loss, 1 mostly."""

import numpy as np

from npbn import reference
from npbn._checks import Array
from npbn.testing.mistake import Pieces, mistakes_of


def _cross_entropy_pieces(p: Pieces) -> None:
    p.classes = p.logits.shape[-1]
    p.softmax, p.one_hot = reference.softmax(p.logits), np.eye(p.classes)[p.labels]
    p.log_p = reference.log_softmax(p.logits)
    p.of_labels = (p.log_p * p.one_hot).sum(-1)


def _gradient(p: Pieces, probabilities: Array, one_hot: Array) -> Array:
    """dlogits with other probabilities, or other labels."""
    return p.dloss * (probabilities - one_hot) / p.rows


_mistake = mistakes_of("softmax_cross_entropy", _cross_entropy_pieces)
_CROSS_ENTROPY = (
    _mistake(
        "loss: a sum",
        "is a sum over the batch, not a mean",
        loss=lambda p: p.loss * p.rows,
    ),
    _mistake("loss: no sign", "lacks the minus before the logarithm", loss=lambda p: -p.loss),
    _mistake(
        "loss: a mean over the classes, too",
        "is divided by the number of classes, too: the mean is over the batch alone",
        loss=lambda p: p.loss / p.classes,
    ),
    _mistake(
        "loss: divided by the classes",
        "is divided by the number of classes, not by that of examples",
        loss=lambda p: p.loss * p.rows / p.classes,
    ),
    _mistake(
        "loss: N - 1",
        "is divided by N - 1, not by N",
        loss=lambda p: p.loss * p.rows / (p.rows - 1),
    ),
    _mistake("loss: half", "is half the loss: there is no factor 1/2", loss=lambda p: p.loss / 2),
    _mistake(
        "loss: no logarithm",
        "is the mean of -p at the labels: it lacks the logarithm",
        loss=lambda p: -np.exp(p.of_labels).mean(),
    ),
    _mistake(
        "loss: the logarithm of the mean",
        "is the logarithm of the mean of p at the labels, not the mean of the logarithms",
        loss=lambda p: -np.log(np.exp(p.of_labels).mean()),
    ),
    _mistake(
        "loss: another base",
        "has the logarithm to the base 2, not the natural one",
        loss=lambda p: p.loss / np.log(2),
    ),
    _mistake(
        "loss: the base 10",
        "has the logarithm to the base 10, not the natural one",
        loss=lambda p: p.loss / np.log(10),
    ),
    _mistake(
        "loss: the logit alone",
        "is the mean of -logits at the labels: it lacks the logarithm of the sum of exponentials",
        loss=lambda p: -(p.logits * p.one_hot).sum(-1).mean(),
    ),
    _mistake(
        "loss: all classes",
        "is the mean of -log(p) over all classes, not at the labels",
        loss=lambda p: -p.log_p.sum(-1).mean(),
    ),
    _mistake(
        "loss: the mean of all classes",
        "is the mean of -log(p) over all entries, not at the labels",
        loss=lambda p: -p.log_p.mean(),
    ),
    _mistake(
        "loss: softmax over the batch",
        "has softmax over the batch, not over the classes",
        loss=lambda p: -(reference.log_softmax(p.logits.T).T * p.one_hot).sum(-1).mean(),
    ),
    _mistake(
        "loss: softmax over everything",
        "has softmax over the batch and the classes, not over the classes of a row",
        loss=lambda p: (
            -(reference.log_softmax(p.logits.reshape(1, -1)).reshape(p.logits.shape) * p.one_hot)
            .sum(-1)
            .mean()
        ),
    ),
    _mistake(
        "loss: binary cross entropy",
        "has -log(1 - p) of the other classes, too, as for labels that do not exclude one another",
        loss=lambda p: -(p.of_labels + (np.log1p(-p.softmax) * (1 - p.one_hot)).sum(-1)).mean(),
    ),
    _mistake(
        "loss: the largest",
        "is that of the likeliest class, not of the label",
        loss=lambda p: -p.log_p.max(-1).mean(),
    ),
    _mistake(
        "loss: another row's labels",
        "has the labels of the row before",
        loss=lambda p: -(p.log_p * np.roll(p.one_hot, 1, 0)).sum(-1).mean(),
    ),
    _mistake(
        "loss: softmax twice",
        "takes softmax of what is softmax already",
        loss=lambda p: -(reference.log_softmax(p.softmax) * p.one_hot).sum(-1).mean(),
    ),
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
        "is 0 but at the labels, as where softmax's derivative is taken as p (1 - p): every logit "
        "is in the sum below the fraction",
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
        dlogits=lambda p: _gradient(p, p.softmax, np.roll(p.one_hot, 1, 0)),
    ),
    _mistake(
        "the class after the label",
        "has the 1 subtracted at the class after the label",
        dlogits=lambda p: _gradient(p, p.softmax, np.roll(p.one_hot, 1, 1)),
    ),
    _mistake(
        "the class before the label",
        "has the 1 subtracted at the class before the label",
        dlogits=lambda p: _gradient(p, p.softmax, np.roll(p.one_hot, -1, 1)),
    ),
    _mistake(
        "the likeliest class for the label",
        "has the 1 subtracted at the likeliest class, not at the label",
        dlogits=lambda p: _gradient(p, p.softmax, np.eye(p.classes)[p.logits.argmax(-1)]),
    ),
    _mistake(
        "the 1 added",
        "has the 1 added at each label, not subtracted",
        dlogits=lambda p: _gradient(p, p.softmax, -p.one_hot),
    ),
    _mistake(
        "the 1 after the division",
        "has the 1 subtracted after softmax was divided by N",
        dlogits=lambda p: p.dloss * (p.softmax / p.rows - p.one_hot),
    ),
    _mistake(
        "softmax not divided",
        "has softmax undivided, and only the 1 at each label divided by N",
        dlogits=lambda p: p.dloss * (p.softmax - p.one_hot / p.rows),
    ),
    _mistake(
        "the labels' columns in every row",
        "has 1 subtracted in every row in the columns of all labels: dlogits[:, labels], where "
        "dlogits[arange(N), labels] goes row by row",
        dlogits=lambda p: _gradient(p, p.softmax, p.one_hot.max(0)),
    ),
    _mistake(
        "1 subtracted from every class",
        "has 1 subtracted from the whole row, not at the label alone",
        dlogits=lambda p: _gradient(p, p.softmax, np.ones_like(p.softmax)),
    ),
    _mistake(
        "the exponentials for softmax",
        "has the exponentials, which are not divided by their sum, for softmax",
        dlogits=lambda p: _gradient(p, np.exp(p.logits), p.one_hot),
    ),
    _mistake(
        "the shifted exponentials for softmax",
        "has the exponentials of logits - max, which are not divided by their sum, for softmax",
        dlogits=lambda p: _gradient(
            p, np.exp(p.logits - p.logits.max(-1, keepdims=True)), p.one_hot
        ),
    ),
    _mistake(
        "the logarithm of softmax",
        "has the logarithm of softmax for softmax",
        dlogits=lambda p: _gradient(p, p.log_p, p.one_hot),
    ),
    _mistake(
        "softmax over everything",
        "has softmax over the batch and the classes, not over the classes of a row",
        dlogits=lambda p: _gradient(
            p, reference.softmax(p.logits.reshape(1, -1)).reshape(p.logits.shape), p.one_hot
        ),
    ),
    _mistake(
        "through softmax once more",
        "goes through softmax once more: softmax - one_hot is the gradient by the logits",
        dlogits=lambda p: p.dloss / p.rows * _through_softmax(p.softmax, p.softmax - p.one_hot),
    ),
    _mistake(
        "times the loss",
        "is multiplied by the loss",
        dlogits=lambda p: p.dlogits * p.loss,
    ),
    _mistake(
        "without dloss",
        "lacks the factor dloss, the gradient of what is made of the loss",
        dlogits=lambda p: p.gradient,
    ),
)


def _through_softmax(p: Array, gradient: Array) -> Array:
    """The gradient by the logits, of that by their softmax."""
    return p * (gradient - (gradient * p).sum(-1, keepdims=True))


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
        "loss: a sum",
        "is a sum over the batch, not a mean",
        loss=lambda p: p.loss * p.rows,
    ),
    _mistake("loss: no sign", "lacks the minus", loss=lambda p: -p.loss),
    _mistake(
        "loss: of probabilities",
        "has the probabilities for their logarithms",
        loss=lambda p: -(np.exp(p.log_probabilities) * p.one_hot).sum(-1).mean(),
    ),
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
    _mistake("loss: no 1/2", "lacks the factor 1/2", loss=lambda p: 2 * p.loss),
    _mistake(
        "loss: a sum",
        "is a sum over the batch, not a mean",
        loss=lambda p: p.loss * p.examples,
    ),
    _mistake(
        "loss: a mean over the outputs, too",
        "is divided by the number of outputs, too: the mean is over the batch alone",
        loss=lambda p: p.loss / p.y.shape[-1],
    ),
    _mistake(
        "loss: the mean of squares",
        "is the mean of all squares, without a factor 1/2",
        loss=lambda p: (p.difference**2).mean(),
    ),
    _mistake(
        "loss: the root",
        "is the root of the loss",
        loss=lambda p: np.sqrt(p.loss),
    ),
    _mistake(
        "loss: the absolute error",
        "has absolute values for the squares",
        loss=lambda p: abs(p.difference).sum() / (2 * p.examples),
    ),
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
