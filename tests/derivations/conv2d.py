"""Ten wrong and three right derivations of convolution: x (N, H, W, C), weight (h, w, C, out)."""

from functools import partial

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from derivations import derivation

conv2d = partial(derivation, "conv2d", options={"padding": "valid"})


@conv2d(y="the kernel is flipped, as in mathematics; deep learning's convolution is a correlation")
def kernel_flipped():
    def forward(x, weight, bias):
        h, w, _, out = weight.shape
        N, H, W, _ = x.shape
        flipped = weight[::-1, ::-1]
        y = np.zeros((N, H - h + 1, W - w + 1, out))
        for i in range(H - h + 1):
            for j in range(W - w + 1):
                patch = x[:, i : i + h, j : j + w]
                y[:, i, j] = np.tensordot(patch, flipped, axes=3) + bias
        return y, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        h, w = weight.shape[:2]
        flipped = weight[::-1, ::-1]
        dx, dflipped = np.zeros_like(x), np.zeros_like(weight)
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                d = dy[:, i, j]
                dx[:, i : i + h, j : j + w] += np.tensordot(d, flipped, axes=(1, 3))
                dflipped += np.tensordot(x[:, i : i + h, j : j + w], d, axes=(0, 0))
        return dx, dflipped[::-1, ::-1], dy.sum(axis=(0, 1, 2))

    return forward, backward


@conv2d(dx="the kernel must be flipped in the full convolution of dy, and is not")
def kernel_not_flipped_in_backward():
    def forward(x, weight, bias):
        h, w = weight.shape[:2]
        windows = sliding_window_view(x, (h, w), axis=(1, 2))
        return np.einsum("nijcab,abco->nijo", windows, weight) + bias, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        h, w = weight.shape[:2]
        dweight = np.einsum("nijcab,nijo->abco", sliding_window_view(x, (h, w), axis=(1, 2)), dy)
        padded = np.pad(dy, ((0, 0), (h - 1, h - 1), (w - 1, w - 1), (0, 0)))
        windows = sliding_window_view(padded, (h, w), axis=(1, 2))
        dx = np.einsum("nijoab,abco->nijc", windows, weight)
        return dx, dweight, dy.sum((0, 1, 2))

    return forward, backward


@conv2d(dx="overlapping windows overwrite each other's share where they should add")
def windows_overwrite_dx():
    def forward(x, weight, bias):
        N, H, W, _ = x.shape
        h, w, _, out = weight.shape
        y = np.zeros((N, H - h + 1, W - w + 1, out))
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                for o in range(out):
                    window = x[:, i : i + h, j : j + w, :]
                    y[:, i, j, o] = np.sum(window * weight[..., o], axis=(1, 2, 3)) + bias[o]
        return y, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        h, w = weight.shape[:2]
        dx, dweight = np.zeros_like(x), np.zeros_like(weight)
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                window = x[:, i : i + h, j : j + w, :]
                dx[:, i : i + h, j : j + w, :] = np.einsum("no,abco->nabc", dy[:, i, j], weight)
                dweight += np.einsum("nabc,no->abco", window, dy[:, i, j])
        return dx, dweight, dy.sum(axis=(0, 1, 2))

    return forward, backward


@conv2d(dbias="not summed over the last axis of the image: has the shape (W, out)")
def dbias_keeps_an_axis():
    def forward(x, weight, bias):
        h, w = weight.shape[:2]
        H, W = x.shape[1] - h + 1, x.shape[2] - w + 1
        y = sum(x[:, a : a + H, b : b + W] @ weight[a, b] for a in range(h) for b in range(w))
        return y + bias, (x, weight, H, W)

    def backward(dy, cache):
        x, weight, H, W = cache
        dx, dweight = np.zeros_like(x), np.zeros_like(weight)
        for a in range(weight.shape[0]):
            for b in range(weight.shape[1]):
                dx[:, a : a + H, b : b + W] += dy @ weight[a, b].T
                dweight[a, b] = np.einsum("nijc,nijo->co", x[:, a : a + H, b : b + W], dy)
        return dx, dweight, dy.sum(axis=(0, 1))

    return forward, backward


@conv2d(dweight="averaged over the batch, not summed")
def kernel_gradient_averaged():
    def forward(x, weight, bias):
        windows = sliding_window_view(x, weight.shape[:2], axis=(1, 2))
        y = np.tensordot(windows, weight, axes=((3, 4, 5), (2, 0, 1))) + bias
        return y, (windows, x.shape, weight)

    def backward(dy, cache):
        windows, shape, weight = cache
        N = len(dy)
        dweight = np.einsum("nijcab,nijo->abco", windows, dy) / N
        dx = np.zeros(shape)
        for a, b in np.ndindex(weight.shape[:2]):
            dx[:, a : a + dy.shape[1], b : b + dy.shape[2]] += dy @ weight[a, b].T
        return dx, dweight, dy.sum((0, 1, 2))

    return forward, backward


@conv2d(dweight="flipped: the kernel lies upside down and mirrored")
def kernel_gradient_flipped():
    def forward(x, weight, bias):
        h, w = weight.shape[:2]
        windows = sliding_window_view(x, (h, w), axis=(1, 2))
        return np.einsum("nijcab,abco->nijo", windows, weight) + bias, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        h, w = weight.shape[:2]
        rotated = np.rot90(weight, 2)
        padded = np.pad(dy, ((0, 0), (h - 1, h - 1), (w - 1, w - 1), (0, 0)))
        dx = np.einsum("nijoab,abco->nijc", sliding_window_view(padded, (h, w), (1, 2)), rotated)
        dweight = np.einsum("nijcab,nijo->abco", sliding_window_view(x, (h, w), (1, 2)), dy)
        return dx, np.rot90(dweight, 2), dy.sum((0, 1, 2))

    return forward, backward


@conv2d(
    y="the bias is added at every place of the kernel, not once a window",
    dbias="the own forward adds the bias at every place of the kernel",
)
def bias_at_every_place():
    def forward(x, weight, bias):
        N, H, W, _ = x.shape
        h, w, _, out = weight.shape
        y = np.zeros((N, H - h + 1, W - w + 1, out))
        for i in range(h):
            for j in range(w):
                y += x[:, i : i + H - h + 1, j : j + W - w + 1] @ weight[i, j] + bias
        return y, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        dx, dweight = np.zeros_like(x), np.zeros_like(weight)
        for i, j in np.ndindex(weight.shape[:2]):
            at = np.s_[:, i : i + dy.shape[1], j : j + dy.shape[2]]
            dx[at] += dy @ weight[i, j].T
            dweight[i, j] = np.tensordot(x[at], dy, axes=((0, 1, 2), (0, 1, 2)))
        return dx, dweight, dy.sum(axis=(0, 1, 2))

    return forward, backward


@conv2d(
    shape=(3, 5, 4, 2, 3, 3, 4),
    dx="rows and columns of the kernel are exchanged, which a square kernel hides",
)
def kernel_axes_exchanged():
    def forward(x, weight, bias):
        h, w = weight.shape[:2]
        windows = sliding_window_view(x, (h, w), axis=(1, 2))
        return np.einsum("nijcab,abco->nijo", windows, weight) + bias, (windows, x, weight)

    def backward(dy, cache):
        windows, x, weight = cache
        H, W = dy.shape[1:3]
        dx = np.zeros_like(x)
        for i in range(weight.shape[0]):
            for j in range(weight.shape[1]):
                dx[:, i : i + H, j : j + W] += np.einsum("nhwo,co->nhwc", dy, weight[j, i])
        return dx, np.einsum("nijcab,nijo->abco", windows, dy), dy.sum((0, 1, 2))

    return forward, backward


@derivation(
    "conv2d",
    options={"padding": 1},
    shape=(3, 5, 4, 2, 3, 3, 4),
    dx="the padding is not cut off again: has the shape of the padded x",
)
def padding_not_cut_off():
    def forward(x, weight, bias):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        N, H, W, _ = padded.shape
        h, w, _, out = weight.shape
        y = np.empty((N, H - h + 1, W - w + 1, out))
        for i in range(H - h + 1):
            for j in range(W - w + 1):
                y[:, i, j] = np.tensordot(padded[:, i : i + h, j : j + w], weight, axes=3) + bias
        return y, (padded, weight)

    def backward(dy, cache):
        padded, weight = cache
        h, w = weight.shape[:2]
        dpadded, dweight = np.zeros_like(padded), np.zeros_like(weight)
        for i in range(dy.shape[1]):
            for j in range(dy.shape[2]):
                at = np.s_[:, i : i + h, j : j + w]
                dpadded[at] += np.tensordot(dy[:, i, j], weight, axes=(1, 3))
                dweight += np.tensordot(padded[at], dy[:, i, j], axes=(0, 0))
        return dpadded, dweight, dy.sum((0, 1, 2))

    return forward, backward


@conv2d(
    y="the columns hold (C, h, w), the flattened weight (h, w, C): the wrong ones are multiplied"
)
def columns_in_another_order():
    def im2col(x, h, w):
        windows = sliding_window_view(x, (h, w), axis=(1, 2))
        return windows.reshape(-1, x.shape[3] * h * w)

    def forward(x, weight, bias):
        N, H, W, _ = x.shape
        h, w, _, out = weight.shape
        col = im2col(x, h, w)
        y = col @ weight.reshape(-1, out) + bias
        return y.reshape(N, H - h + 1, W - w + 1, out), (x.shape, col, weight)

    def backward(dy, cache):
        shape, col, weight = cache
        h, w, C, out = weight.shape
        d = dy.reshape(-1, out)
        dweight = (col.T @ d).reshape(weight.shape)
        dcol = (d @ weight.reshape(-1, out).T).reshape(*dy.shape[:3], C, h, w)
        dx = np.zeros(shape)
        for i in range(h):
            for j in range(w):
                dx[:, i : i + dy.shape[1], j : j + dy.shape[2]] += dcol[..., i, j]
        return dx, dweight, d.sum(0)

    return forward, backward


@conv2d()
def seven_loops():
    def forward(x, weight, bias):
        N, H, W, C = x.shape
        h, w, _, out = weight.shape
        y = np.zeros((N, H - h + 1, W - w + 1, out))
        for n, i, j, o in np.ndindex(*y.shape):
            y[n, i, j, o] = bias[o]
            for a, b in np.ndindex(h, w):
                for c in range(C):
                    y[n, i, j, o] += x[n, i + a, j + b, c] * weight[a, b, c, o]
        return y, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        h, w, C, out = weight.shape
        dx, dweight, dbias = np.zeros_like(x), np.zeros_like(weight), np.zeros(out)
        for n, i, j, o in np.ndindex(*dy.shape):
            dbias[o] += dy[n, i, j, o]
            for a, b, c in np.ndindex(h, w, C):
                dx[n, i + a, j + b, c] += dy[n, i, j, o] * weight[a, b, c, o]
                dweight[a, b, c, o] += dy[n, i, j, o] * x[n, i + a, j + b, c]
        return dx, dweight, dbias

    return forward, backward


@conv2d()
def full_convolution_backward():
    def correlate(x, weight):
        windows = sliding_window_view(x, weight.shape[:2], axis=(1, 2))
        return np.einsum("nijcab,abco->nijo", windows, weight)

    def forward(x, weight, bias):
        return correlate(x, weight) + bias, (x, weight)

    def backward(dy, cache):
        x, weight = cache
        h, w = weight.shape[:2]
        around = np.pad(dy, ((0, 0), (h - 1, h - 1), (w - 1, w - 1), (0, 0)))
        dx = correlate(around, weight[::-1, ::-1].swapaxes(2, 3))
        dweight = correlate(x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3))
        return dx, dweight.transpose(1, 2, 0, 3), dy.sum((0, 1, 2))

    return forward, backward


@derivation("conv2d", options={"padding": 1}, shape=(3, 5, 4, 2, 3, 3, 4))
def columns_with_padding():
    def forward(x, weight, bias):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        h, w, C, out = weight.shape
        windows = sliding_window_view(padded, (h, w), axis=(1, 2))
        col = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, h * w * C)
        y = (col @ weight.reshape(-1, out) + bias).reshape(*windows.shape[:3], out)
        return y, (col, padded.shape, weight)

    def backward(dy, cache):
        col, shape, weight = cache
        h, w, C, out = weight.shape
        d = dy.reshape(-1, out)
        dweight = (col.T @ d).reshape(weight.shape)
        dcol = (d @ weight.reshape(-1, out).T).reshape(*dy.shape[:3], h, w, C)
        dpadded = np.zeros(shape)
        for i in range(h):
            for j in range(w):
                dpadded[:, i : i + dy.shape[1], j : j + dy.shape[2]] += dcol[:, :, :, i, j]
        return dpadded[:, 1:-1, 1:-1], dweight, d.sum(0)

    return forward, backward
