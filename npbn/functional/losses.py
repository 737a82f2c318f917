"""Losses: a number for the whole batch, and its gradient."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.at_hand import AtHand
from npbn.numerics.constants import constant
from npbn.numerics.denormals import flush, quiet
from npbn.numerics.operation import Operation


@quiet()
def softmax(logits: Array) -> Array:
    """probabilities = exp(logits) / sum(exp(logits)), over the last axis.

    Parameters
    ----------
    logits : (..., classes) array, float32 or float64

    Returns
    -------
    array like logits
        A probability below the smallest normal number is 0.

    Raises
    ------
    TypeError, ValueError
        For logits of another type or shape.

    Notes
    -----
    The largest logit of a row is subtracted first; the result is the same and no exponential
    overflows.
    """
    checks.batch("logits", logits)
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    exponentials /= exponentials.sum(-1, keepdims=True)
    flush(np, exponentials)
    return exponentials


@quiet()
def log_softmax(logits: Array) -> Array:
    """log(softmax(logits)), over the last axis, with no logarithm of 0.

    ::

        log_p   = logits - log(sum(exp(logits)))
        dlogits = dlog_p - softmax(logits) * sum(dlog_p)      is its backward pass

    Parameters
    ----------
    logits : (..., classes) array, float32 or float64

    Returns
    -------
    array like logits
        With its digits also where a probability is nearly 1.

    Raises
    ------
    TypeError, ValueError
        For logits of another type or shape.
    """
    checks.batch("logits", logits)
    largest = logits.argmax(-1, keepdims=True)
    log_p = logits - np.take_along_axis(logits, largest, -1)
    others = np.exp(log_p)
    # The largest one's exponential is 1, beside which small ones would lose their digits.
    np.put_along_axis(others, largest, 0, -1)
    log_p -= np.log1p(others.sum(-1, keepdims=True))
    flush(np, log_p)
    return log_p


@quiet()
def softmax_cross_entropy(
    logits: Array,
    labels: Array,
    *,
    class_weights: Array | None = None,
    label_smoothing: float = 0.0,
    ignored_label: int | None = None,
    reduction: str = "mean",
    return_log_probabilities: bool = False,
) -> tuple[Any, ...]:
    """The mean over all labels of -log(softmax(logits)[label]), and its gradient.

    ::

        loss    = -mean(log p[label])        with p = softmax(logits)
        dlogits = (p - one_hot(labels)) / N

    The same as `negative_log_likelihood` of `log_softmax`, whose options it has.

    Parameters
    ----------
    logits : (..., classes) array, float32 or float64
    labels : (...) array, of any integer type
        N in all, from 0 to classes - 1.
    class_weights, label_smoothing, ignored_label, reduction
        As for `negative_log_likelihood`.
    return_log_probabilities : bool
        Whether to return log_softmax(logits) too.

    Returns
    -------
    loss : float
    dlogits : (..., classes) array
    log_p : (..., classes) array, if asked for

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.

    Notes
    -----
    Loss and gradient keep their digits where p[label] is nearly 1; what would be below the smallest
    normal number is 0.
    """
    target = _target(
        "logits", logits, labels, class_weights, label_smoothing, ignored_label, reduction
    )
    wanted = checks.flag("return_log_probabilities", return_log_probabilities)
    dlogits: Array = np.empty(logits.shape, logits.dtype)
    rows, gradient = logits, dlogits
    if logits.ndim > 2:
        labels = labels.reshape(-1)
        rows, gradient = logits.reshape(len(labels), -1), dlogits.reshape(len(labels), -1)
    key = rows.shape, rows.dtype
    operation = _at_hand.take(key) or SoftmaxCrossEntropyOperation(*key)
    if target is None:
        loss: Any = operation.forward(np, rows, labels, gradient)
    else:
        operation.forward(np, rows, target.labels, gradient)
        losses, gradient = target.weighted(operation.losses_of_rows, len(rows) * gradient)
        if target.spread is not None:
            losses -= (target.spread * log_softmax(rows)).sum(-1)
            gradient += softmax(rows) * target.spread.sum(-1, keepdims=True) - target.spread
        loss, dlogits = target.reduced(losses, gradient)
    if operation.nbytes <= _at_hand.BYTES:
        _at_hand.put(key, operation)
    return (loss, dlogits, log_softmax(logits)) if wanted else (loss, dlogits)


@quiet()
def negative_log_likelihood(
    log_probabilities: Array,
    labels: Array,
    *,
    class_weights: Array | None = None,
    label_smoothing: float = 0.0,
    ignored_label: int | None = None,
    reduction: str = "mean",
) -> tuple[Any, Array]:
    """The mean over all labels of -log_probabilities[label], and its gradient.

    ::

        losses = -sum_c t_c log_p_c,    t_c = w_c ((1 - s) one_hot(label)_c + s / classes)
        loss   = sum(losses) / sum(w[label])
        dlog_p = -t / sum(w[label])

    with w the class weights, each 1 if not given, and s the label smoothing: so PyTorch has it.

    Parameters
    ----------
    log_probabilities : (..., classes) array, float32 or float64
    labels : (...) array, of any integer type
        N in all, from 0 to classes - 1.
    class_weights : (classes,) array, of the same type, optional
        0 or more.
    label_smoothing : float
        From 0 to below 1.
    ignored_label : int, optional
        Rows with this label count neither in the loss nor in N, and have no gradient; where no row
        counts, loss and gradient are 0.
    reduction : "mean", "sum" or "none"
        "sum" is not divided; "none": the losses themselves, (...), and each one's own gradient, -t.

    Returns
    -------
    loss : float
        Or the losses.
    dlog_p : (..., classes) array

    Raises
    ------
    TypeError, ValueError
        For arguments of another type, shape or range.
    """
    target = _target(
        "log_probabilities",
        log_probabilities,
        labels,
        class_weights,
        label_smoothing,
        ignored_label,
        reduction,
        always=True,
    )
    assert target is not None
    rows, at_label = log_probabilities, target.labels[:, np.newaxis]
    if rows.ndim > 2:
        rows = rows.reshape(len(at_label), -1)
    gradient = np.zeros_like(rows)
    np.put_along_axis(gradient, at_label, -1, 1)
    found = -np.take_along_axis(rows, at_label, 1)[:, 0]
    losses, gradient = target.weighted(found, gradient)
    if target.spread is not None:
        losses -= (target.spread * rows).sum(-1)
        gradient -= target.spread
    return target.reduced(losses, gradient)


@quiet()
def squared_error(y: Array, target: Array) -> tuple[float, Array]:
    """Half the sum of squares, as a mean over the batch, and its gradient.

    ::

        loss = sum((y - target)^2) / (2 N)
        dy   = (y - target) / N

    Parameters
    ----------
    y, target : (N, ...) array, float32 or float64, of one shape and type

    Returns
    -------
    loss : float
    dy : array like y

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape.
    """
    y = checks.batch("y", y)
    target = checks.float_array("target", target)
    checks.has_shape("target", target, y.shape)
    checks.same_dtype(y, target=target)
    dy = y - target
    loss = float(np.vdot(dy, dy)) / (2 * len(y))
    dy /= len(y)
    return loss, dy


class _Target(NamedTuple):
    """What is to be made likely: a label a row and, with label smoothing, all classes a little."""

    shape: tuple[int, ...]  # that of the labels, N in all
    labels: Array  # (N,), 0 where a row does not count
    weights: Array  # (N,), the label's class weight, 0 where a row does not count
    spread: Array | None  # (N, classes), w_c s / classes
    label_smoothing: float
    reduction: str

    def weighted(self, losses: Array, gradient: Array) -> tuple[Array, Array]:
        """The rows' losses and gradients by their weights, of which 0 beats an infinity."""
        weights = (1 - self.label_smoothing) * self.weights
        counted = np.zeros_like(losses)
        np.multiply(losses, weights, out=counted, where=weights > 0)
        return counted, gradient * weights[:, np.newaxis]

    def reduced(self, losses: Array, gradient: Array) -> tuple[Any, Array]:
        if len(self.shape) > 1:
            losses, gradient = losses.reshape(self.shape), gradient.reshape(*self.shape, -1)
        flush(np, gradient)
        if self.reduction == "none":
            return losses, gradient
        total = 1.0
        if self.reduction == "mean":
            total = float(self.weights.sum(dtype=np.float64)) or 1.0
            gradient /= total
            flush(np, gradient)
        return float(losses.sum(dtype=np.float64)) / total, gradient


def _target(
    name: str,
    scores: Array,
    labels: Array,
    class_weights: Array | None,
    label_smoothing: float,
    ignored_label: int | None,
    reduction: str,
    always: bool = False,
) -> _Target | None:
    """The target, all arguments being checked; None for the usual one, if not always."""
    checks.batch(name, scores)
    shape, classes = scores.shape[:-1], scores.shape[-1]
    smoothing = checks.number("label_smoothing", label_smoothing, minimum=0.0, below=1.0)
    checks.choice("reduction", reduction, ("mean", "sum", "none"))
    if ignored_label is not None:
        ignored_label = checks.integer("ignored_label", ignored_label)
    given = getattr(labels, "shape", None)
    if given != shape and given == (shape[0], *scores.shape[2:]):
        raise ValueError(
            f"labels: expected shape {shape}, got {given}: if axis 1 of {name} has the classes, "
            f"pass np.moveaxis({name}, 1, -1)"
        )
    checks.labels(labels, shape, classes, ignored=ignored_label)
    if len(shape) > 1:
        labels = labels.reshape(-1)
    if ignored_label is None:
        if not (always or smoothing or class_weights is not None or reduction != "mean"):
            return None
        counts = np.ones(len(labels), bool)
    else:
        counts = labels != ignored_label
    weights = np.ones(classes, scores.dtype)
    if class_weights is not None:
        weights = checks.vector("class_weights", class_weights, classes, weights)
        if not (np.isfinite(weights) & (weights >= 0)).all():
            raise ValueError(f"class_weights: expected finite values of at least 0, got {weights}")
    of_rows = counts.astype(scores.dtype)
    spread = of_rows[:, np.newaxis] * (smoothing / classes * weights) if smoothing else None
    labels = np.where(counts, labels, 0).astype(np.intp)
    return _Target(shape, labels, of_rows * weights[labels], spread, smoothing, reduction)


class SoftmaxCrossEntropyOperation(Operation):
    """The loss of logits (N, classes), and its gradient."""

    def __init__(self, shape: tuple[int, int], dtype: np.dtype[Any]) -> None:
        super().__init__(shape, dtype)
        (rows, classes), kind = shape, dtype.char
        self._starts, self._at_label = np.arange(rows) * classes, np.empty(rows, np.intp)
        self._columns, self._shifted = np.empty((classes, rows), dtype), np.empty(shape, dtype)
        self.nbytes = 2 * self._columns.nbytes
        each = np.empty((5, rows), dtype)
        self._largest, self._likely, self._others, self._total, self._losses = each
        self._largest_beside, self._total_beside = each[0, :, np.newaxis], each[3, :, np.newaxis]
        self._ones, self._rows = constant(1.0, kind, classes), constant(float(rows), kind)
        self._exact_losses, self._row_ones = np.empty(rows), constant(1.0, "d", rows)
        # The shifted logit from which on no gradient is denormal.
        self._smallest_usual = float(np.log(np.finfo(dtype).tiny) + np.log(rows * classes)) + 1

    def forward(self, xp: Any, logits: Array, labels: Array, dlogits: Array) -> float:
        """Writes dlogits, C-contiguous; returns the loss."""
        xp.add(self._starts, labels, out=self._at_label, dtype=np.intp, casting="unsafe")
        # Along the rows of a transposed copy: 1.9 us, not 3.7, for the largest of ten classes.
        xp.copyto(self._columns, logits.T)
        xp.max(self._columns, axis=0, out=self._largest)
        xp.subtract(logits, self._largest_beside, out=self._shifted)
        xp.exp(self._shifted, out=dlogits)
        # p - 1 and log(p) have no digits left where p is nearly 1; the sum of the others has all.
        xp.take(dlogits, self._at_label, out=self._likely, mode="clip")
        xp.put(dlogits, self._at_label, 0)
        xp.dot(dlogits, self._ones, out=self._others)
        xp.add(self._others, self._likely, out=self._total)
        xp.divide(self._others, self._likely, out=self._losses)
        xp.log1p(self._losses, out=self._losses)
        xp.multiply(self._total, self._rows, out=self._total)
        usual = xp.min(self._shifted) >= self._smallest_usual
        if not usual:
            # Of likely, too, digits may be lost: loss = log(others + likely) - shifted[label].
            xp.subtract(self._likely, constant(1.0, logits.dtype.char), out=self._losses)
            xp.add(self._losses, self._others, out=self._losses)
            xp.log1p(self._losses, out=self._losses)
            xp.subtract(self._losses, xp.take(self._shifted, self._at_label), out=self._losses)
            flush(xp, self._losses)
        xp.negative(self._others, out=self._others)
        xp.put(dlogits, self._at_label, self._others)
        xp.divide(dlogits, self._total_beside, out=dlogits)
        if not usual:
            flush(xp, dlogits)
        xp.copyto(self._exact_losses, self._losses)
        return float(xp.dot(self._exact_losses, self._row_ones)) / len(self._losses)

    @property
    def losses_of_rows(self) -> Array:
        """-log p[label] of each row of the last forward pass, (N,)."""
        return self._losses


class _AtHand(AtHand[SoftmaxCrossEntropyOperation]):
    """By shape and type: to make one takes as long as to run it."""

    BYTES = 1 << 26


_at_hand = _AtHand()
