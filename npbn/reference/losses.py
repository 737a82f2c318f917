"""Losses: a number for the whole batch, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def softmax(logits: Array) -> Array:
    """probabilities = exp(logits) / sum(exp(logits)), over the last axis.

    The largest logit of a row is subtracted first; the result is the same and no exponential
    overflows.
    """
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)


def log_softmax(logits: Array) -> Array:
    """log_p = logits - log(sum(exp(logits))), over the last axis.

    The largest logit of a row is subtracted first, as for softmax.
    """
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


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

    logits (..., classes), labels (...) integers, N in all. Returns the loss, dlogits (..., classes)
    and, if they are asked for, log(p). The options are those of negative_log_likelihood, with
    which, written as its composition with log_softmax, the gradient is
    dlogits = dlog_p - p * sum(dlog_p).
    """
    log_p = log_softmax(logits)
    loss, dlog_p = negative_log_likelihood(
        log_p,
        labels,
        class_weights=class_weights,
        label_smoothing=label_smoothing,
        ignored_label=ignored_label,
        reduction=reduction,
    )
    dlogits = dlog_p - softmax(logits) * dlog_p.sum(-1, keepdims=True)
    return (loss, dlogits, log_p) if return_log_probabilities else (loss, dlogits)


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

    with w the class weights and s the label smoothing. log_probabilities (..., classes), labels
    (...) integers. Rows of the ignored label have no target: they are in no sum. reduction: "mean";
    "sum", not divided; "none": the losses (...), and each one's own gradient.
    """
    classes, dtype = log_probabilities.shape[-1], log_probabilities.dtype
    weights = np.ones(classes, dtype) if class_weights is None else class_weights
    labels = labels[..., np.newaxis]
    # No label is None: then every row counts.
    counted = (labels != ignored_label).astype(dtype)
    one_hot = counted * (labels == np.arange(classes))
    target = weights * ((1 - label_smoothing) * one_hot + label_smoothing / classes * counted)
    losses = -(target * log_probabilities).sum(-1)
    if reduction == "none":
        return losses, -target
    # Where no row counts, 0 / 1.
    total = (weights * one_hot).sum() or 1 if reduction == "mean" else 1
    return losses.sum() / total, -target / total


def squared_error(y: Array, target: Array) -> tuple[float, Array]:
    """Half the sum of squares, as a mean over the batch, and its gradient.

    ::

        loss = sum((y - target)^2) / (2 N)
        dy   = (y - target) / N

    y and target (N, ...). Returns the loss and dy, shaped like y.
    """
    difference = y - target
    return (difference**2).sum() / (2 * len(y)), difference / len(y)
