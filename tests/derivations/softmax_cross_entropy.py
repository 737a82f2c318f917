"""Ten wrong and three right derivations of the mean cross entropy of softmax(logits)."""

from functools import partial

import numpy as np
from scipy.special import logsumexp

from derivations import derivation

cross_entropy = partial(derivation, "softmax_cross_entropy")


@cross_entropy(dlogits="not divided by the number of rows, of which the loss is the mean")
def not_divided_by_the_rows():
    def forward(logits, labels):
        e = np.exp(logits - logits.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        loss = -np.mean(np.log(p[np.arange(len(labels)), labels]))
        return loss, (p, labels)

    def backward(dloss, cache):
        p, labels = cache
        dlogits = p.copy()
        dlogits[np.arange(len(labels)), labels] -= 1
        return dloss * dlogits

    return forward, backward


@cross_entropy(dlogits="has the wrong sign: p - t, not t - p")
def target_minus_probability():
    def forward(logits, labels):
        t = np.eye(logits.shape[1])[labels]
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return -(t * np.log(p)).sum() / len(t), (p, t)

    def backward(dloss, cache):
        p, t = cache
        return dloss * (t - p) / len(t)

    return forward, backward


@cross_entropy(
    loss="softmax runs over the rows, not over the classes",
    dlogits="p - t is derived for a softmax over the classes, the own one runs over the rows",
)
def softmax_over_the_rows():
    def softmax(x):
        e = np.exp(x - np.max(x, axis=0))
        return e / np.sum(e, axis=0)

    def forward(logits, labels):
        p = softmax(logits)
        n = labels.shape[0]
        return -np.sum(np.log(p[np.arange(n), labels])) / n, (p, labels)

    def backward(dloss, cache):
        p, labels = cache
        n = labels.shape[0]
        dx = p.copy()
        dx[np.arange(n), labels] -= 1
        return dx * dloss / n

    return forward, backward


@cross_entropy(dlogits="dloss is left out: right only where it is 1")
def dloss_left_out():
    def forward(logits, labels):
        shifted = logits - np.max(logits, axis=1, keepdims=True)
        log_p = shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True))
        return -log_p[range(len(labels)), labels].mean(), (np.exp(log_p), labels)

    def backward(dloss, cache):
        p, labels = cache
        dlogits = p.copy()
        dlogits[range(len(labels)), labels] -= 1.0
        return dlogits / len(labels)

    return forward, backward


@cross_entropy(dlogits="is the gradient of the probabilities: softmax is not gone through")
def stops_at_the_probabilities():
    def forward(logits, labels):
        e = np.exp(logits)
        p = e / e.sum(axis=1, keepdims=True)
        t = np.zeros_like(p)
        t[np.arange(len(labels)), labels] = 1
        return -np.sum(t * np.log(p)) / len(labels), (p, t)

    def backward(dloss, cache):
        p, t = cache
        return dloss * -(t / p) / p.shape[0]

    return forward, backward


@cross_entropy(
    dlogits="softmax's derivative is taken as p (1 - p): the other classes' share is lost"
)
def softmax_like_a_sigmoid():
    def forward(logits, labels):
        e = np.exp(logits - logits.max(-1, keepdims=True))
        p = e / e.sum(-1, keepdims=True)
        t = np.eye(p.shape[-1])[labels]
        loss = -np.mean(np.sum(t * np.log(p), axis=-1))
        return loss, (p, t)

    def backward(dloss, cache):
        p, t = cache
        dp = -t / p / len(t) * dloss
        return dp * p * (1 - p)

    return forward, backward


@cross_entropy(
    loss="softmax's sum runs over the whole batch: the axis is missing",
    dlogits="p - t is derived for a sum in each row, the own one runs over the whole batch",
)
def softmax_over_everything():
    def forward(logits, labels):
        e = np.exp(logits - logits.max())
        p = e / e.sum()
        n = len(labels)
        return -np.log(p[np.arange(n), labels]).mean(), (p, labels, n)

    def backward(dloss, cache):
        p, labels, n = cache
        d = p.copy()
        d[np.arange(n), labels] -= 1
        return d / n * dloss

    return forward, backward


@cross_entropy(
    loss="the mean runs over the classes, too: as many times too small as there are classes"
)
def mean_over_the_classes_too():
    def forward(logits, labels):
        log_p = logits - logsumexp(logits, axis=1, keepdims=True)
        t = np.eye(logits.shape[1])[labels]
        return np.mean(-t * log_p), (log_p, t)

    def backward(dloss, cache):
        log_p, t = cache
        return dloss * (np.exp(log_p) - t) / t.size

    return forward, backward


@cross_entropy(logits="the largest is subtracted in place")
def logits_shifted_in_place():
    def forward(logits, labels):
        logits -= logits.max(axis=1, keepdims=True)
        e = np.exp(logits)
        p = e / e.sum(axis=1, keepdims=True)
        rows = np.arange(len(labels))
        return -np.log(p[rows, labels]).mean(), (p, rows, labels)

    def backward(dloss, cache):
        p, rows, labels = cache
        d = p.copy()
        d[rows, labels] -= 1
        return d * (dloss / len(rows))

    return forward, backward


@cross_entropy(dlogits="1 is subtracted in every row, in the columns of all labels")
def labels_as_columns_of_every_row():
    def forward(logits, labels):
        z = logits - logits.max(axis=1, keepdims=True)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        correct = p[np.arange(len(labels)), labels]
        return np.mean(-np.log(correct)), (p, labels)

    def backward(dloss, cache):
        p, labels = cache
        grad = p.copy()
        grad[:, labels] -= 1
        return dloss * grad / len(labels)

    return forward, backward


@cross_entropy()
def probabilities_minus_targets():
    def forward(logits, labels):
        log_p = logits - logsumexp(logits, axis=1, keepdims=True)
        rows = np.arange(len(labels))
        return -log_p[rows, labels].mean(), (log_p, rows, labels)

    def backward(dloss, cache):
        log_p, rows, labels = cache
        d = np.exp(log_p)
        d[rows, labels] -= 1
        return dloss * d / len(rows)

    return forward, backward


@cross_entropy()
def whole_jacobian():
    def forward(logits, labels):
        e = np.exp(logits - logits.max(1, keepdims=True))
        p = e / e.sum(1, keepdims=True)
        t = np.eye(logits.shape[1])[labels]
        return -(t * np.log(p)).sum(1).mean(), (p, t)

    def backward(dloss, cache):
        p, t = cache
        dp = -dloss * t / p / len(t)
        rows = [(np.diag(q) - np.outer(q, q)) @ d for q, d in zip(p, dp, strict=True)]
        return np.array(rows)

    return forward, backward


@cross_entropy()
def loops():
    def forward(logits, labels):
        loss, probabilities = 0.0, []
        for row, label in zip(logits, labels, strict=True):
            exponentials = [np.exp(z - max(row)) for z in row]
            total = sum(exponentials)
            probabilities.append([e / total for e in exponentials])
            loss -= np.log(probabilities[-1][label]) / len(labels)
        return loss, (probabilities, labels)

    def backward(dloss, cache):
        probabilities, labels = cache
        n = len(labels)
        return [
            [dloss * (p - (k == label)) / n for k, p in enumerate(row)]
            for row, label in zip(probabilities, labels, strict=True)
        ]

    return forward, backward
