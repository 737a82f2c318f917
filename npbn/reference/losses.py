"""Losses: a number for the whole batch, and its gradient."""

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


def softmax_cross_entropy(logits: Array, labels: Array) -> tuple[float, Array]:
    """The mean over the batch of -log(softmax(logits)[label]), and its gradient.

        loss    = -mean(log p[label])        with p = softmax(logits)
        dlogits = (p - one_hot(labels)) / N

    logits (N, classes), labels (N,) integers. Returns the loss and dlogits (N, classes).
    """
    rows = np.arange(len(labels))
    shifted = logits - logits.max(-1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    dlogits = softmax(logits)
    dlogits[rows, labels] -= 1
    return -log_p[rows, labels].mean(), dlogits / len(labels)


def squared_error(y: Array, target: Array) -> tuple[float, Array]:
    """Half the sum of squares, as a mean over the batch, and its gradient.

        loss = sum((y - target)^2) / (2 N)
        dy   = (y - target) / N

    y and target (N, ...). Returns the loss and dy, shaped like y.
    """
    difference = y - target
    return (difference**2).sum() / (2 * len(y)), difference / len(y)
