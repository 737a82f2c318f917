"""Ten wrong and three right derivations of a fully connected layer on x (N, in)."""

from functools import partial

import numpy as np

from derivations import derivation

dense = partial(derivation, "dense")


@dense(
    shape=(7, 5, 5), dx="multiplied by the weight, not by its transpose: a square weight hides it"
)
def weight_not_transposed():
    def forward(x, weight, bias):
        return x @ weight + bias, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        return dy @ weight, x.T @ dy, dy.sum(axis=0)

    return forward, backward


@dense(dweight="transposed: has the shape (out, in)")
def dweight_transposed():
    def forward(x, weight, bias):
        y = np.dot(x, weight) + bias
        return y, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        dx = np.dot(dy, weight.T)
        dweight = np.dot(dy.T, x)
        dbias = np.sum(dy, axis=0)
        return dx, dweight, dbias

    return forward, backward


@dense(dweight="averaged over the batch, not summed")
def dweight_averaged():
    def forward(x, weight, bias):
        return x @ weight + bias, {"x": x, "weight": weight}

    def backward(dy, cache):
        m = dy.shape[0]
        dweight = 1 / m * cache["x"].T @ dy
        dbias = dy.sum(0)
        return dy @ cache["weight"].T, dweight, dbias

    return forward, backward


@dense(dbias="averaged over the batch, not summed")
def dbias_averaged():
    def forward(x, weight, bias):
        return np.einsum("ni,io->no", x, weight) + bias, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        dx = np.einsum("no,io->ni", dy, weight)
        dweight = np.einsum("ni,no->io", x, dy)
        return dx, dweight, np.mean(dy, axis=0)

    return forward, backward


@dense(dbias="summed over the outputs of a row, not over the batch: has the shape (N,)")
def dbias_over_the_wrong_axis():
    def forward(x, weight, bias):
        return x.dot(weight) + bias, (x, weight, bias)

    def backward(dy, cache):
        x, weight, _ = cache
        return dy.dot(weight.T), x.T.dot(dy), dy.sum(axis=1)

    return forward, backward


@dense(y="the bias is not added", dbias="y does not depend on the bias in the own forward")
def bias_forgotten():
    def forward(x, weight, bias):
        y = x @ weight
        return y, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        return dy @ weight.T, x.T @ dy, dy.sum(0)

    return forward, backward


@dense(dweight="has the wrong sign: the minus of gradient descent is no part of the gradient")
def descent_in_the_gradient():
    def forward(x, weight, bias):
        return x @ weight + bias, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        dweight = -x.T @ dy
        return dy @ weight.T, dweight, np.ones(len(dy)) @ dy

    return forward, backward


@dense(dweight="weight decay is added, which is no part of this operation")
def weight_decay_added():
    decay = 0.01

    def forward(x, weight, bias):
        return x @ weight + bias, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        dweight = x.T @ dy + decay * weight
        return dy @ weight.T, dweight, dy.sum(0)

    return forward, backward


@dense(
    dy="divided by the batch's size in place",
    dx="averaged over the batch: divided by m",
    dweight="averaged over the batch: divided by m",
    dbias="averaged over the batch: divided by m",
)
def everything_averaged_in_place():
    def forward(x, weight, bias):
        return x @ weight + bias, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        dy /= len(x)
        return dy @ weight.T, x.T @ dy, dy.sum(0)

    return forward, backward


@dense(dweight="only the last row's share: the loop overwrites where it should add")
def loop_overwrites_dweight():
    def forward(x, weight, bias):
        y = np.zeros((x.shape[0], weight.shape[1]))
        for n in range(x.shape[0]):
            for o in range(weight.shape[1]):
                y[n, o] = np.sum(x[n] * weight[:, o]) + bias[o]
        return y, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        dx, dweight, dbias = np.zeros_like(x), np.zeros_like(weight), np.zeros(dy.shape[1])
        for n in range(x.shape[0]):
            for o in range(dy.shape[1]):
                dx[n] += dy[n, o] * weight[:, o]
                dweight[:, o] = dy[n, o] * x[n]
                dbias[o] += dy[n, o]
        return dx, dweight, dbias

    return forward, backward


@dense()
def matrices():
    def forward(x, weight, bias):
        return x @ weight + bias, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        return dy @ weight.T, x.T @ dy, dy.sum(axis=0)

    return forward, backward


@dense()
def bias_as_a_row_of_the_weight():
    def forward(x, weight, bias):
        ones = np.ones((len(x), 1))
        extended = np.hstack([x, ones])
        stacked = np.vstack([weight, bias])
        return extended @ stacked, (extended, stacked)

    def backward(dy, cache):
        extended, stacked = cache
        dextended = np.tensordot(dy, stacked, axes=(1, 1))
        dstacked = np.tensordot(extended, dy, axes=(0, 0))
        return dextended[:, :-1], dstacked[:-1], dstacked[-1]

    return forward, backward


@dense()
def row_by_row():
    def forward(x, weight, bias):
        return np.array([weight.T @ row + bias for row in x]), (x, weight)

    def backward(dy, cache):
        x, weight = cache
        dweight = sum(np.outer(row, g) for row, g in zip(x, dy, strict=True))
        dx = [(weight @ g).tolist() for g in dy]
        return [dx, dweight, sum(dy)]

    return forward, backward
