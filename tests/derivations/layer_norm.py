"""Ten wrong and three right derivations of layer norm over the last axis of x (N, D)."""

from functools import partial

import numpy as np

from derivations import derivation

layer_norm = partial(derivation, "layer_norm", options={"epsilon": 1e-5})


@layer_norm(dx="the means run over the batch, as in batch norm, not over the features")
def backward_means_over_the_batch():
    def forward(x, gamma, beta):
        mean = x.mean(axis=-1, keepdims=True)
        std = np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
        x_hat = (x - mean) / std
        return gamma * x_hat + beta, (x_hat, std, gamma)

    def backward(dy, cache):
        x_hat, std, gamma = cache
        dx_hat = dy * gamma
        dx = (dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0)) / std
        return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)

    return forward, backward


@layer_norm(dx="gamma is taken out of the means, though it differs from feature to feature")
def gamma_taken_out():
    def forward(x, gamma, beta):
        mu = x.mean(1, keepdims=True)
        s = np.sqrt(x.var(1, keepdims=True) + 1e-5)
        h = (x - mu) / s
        return h * gamma + beta, (h, s, gamma)

    def backward(dy, cache):
        h, s, gamma = cache
        D = dy.shape[1]
        total = dy.sum(1, keepdims=True)
        along = (dy * h).sum(1, keepdims=True)
        dx = gamma / (D * s) * (D * dy - total - h * along)
        return dx, (dy * h).sum(0), dy.sum(0)

    return forward, backward


@layer_norm(dgamma="summed over the features of a row, not over the batch: has the shape (N,)")
def dgamma_over_the_features():
    def forward(x, gamma, beta):
        mean = np.mean(x, axis=-1, keepdims=True)
        var = np.var(x, axis=-1, keepdims=True)
        x_hat = (x - mean) / np.sqrt(var + 1e-5)
        return gamma * x_hat + beta, (x_hat, var, gamma)

    def backward(dy, cache):
        x_hat, var, gamma = cache
        dgamma = np.sum(dy * x_hat, axis=-1)
        dbeta = np.sum(dy, axis=0)
        g = dy * gamma
        dx = g - np.mean(g, axis=-1, keepdims=True)
        dx = dx - x_hat * np.mean(g * x_hat, axis=-1, keepdims=True)
        return dx / np.sqrt(var + 1e-5), dgamma, dbeta

    return forward, backward


@layer_norm(dgamma="multiplied by x, not by x_hat")
def layer_dgamma_with_x():
    def forward(x, gamma, beta):
        xc = x - x.mean(-1, keepdims=True)
        r = ((xc**2).mean(-1, keepdims=True) + 1e-5) ** -0.5
        return gamma * xc * r + beta, (x, xc * r, r, gamma)

    def backward(dy, cache):
        x, x_hat, r, gamma = cache
        g = gamma * dy
        dx = r * (g - g.mean(-1, keepdims=True) - x_hat * (g * x_hat).mean(-1, keepdims=True))
        return dx, np.einsum("nd,nd->d", dy, x), np.einsum("nd->d", dy)

    return forward, backward


@layer_norm(dx="lacks the mean's term: the mean depends on x too")
def layer_mean_detached():
    def forward(x, gamma, beta):
        N = x.shape[-1]
        mu = x.sum(-1, keepdims=True) / N
        xmu = x - mu
        var = (xmu**2).sum(-1, keepdims=True) / N
        ivar = 1 / np.sqrt(var + 1e-5)
        xhat = xmu * ivar
        return gamma * xhat + beta, (xhat, xmu, ivar, gamma)

    def backward(dout, cache):
        xhat, xmu, ivar, gamma = cache
        N = dout.shape[-1]
        dxhat = dout * gamma
        dvar = (dxhat * xmu).sum(-1, keepdims=True) * -0.5 * ivar**3
        dx = dxhat * ivar + dvar * 2 * xmu / N
        return dx, (dout * xhat).sum(0), dout.sum(0)

    return forward, backward


@layer_norm(
    y="the variance is divided by D - 1",
    dx="derived for a variance over D, while the own forward divides by D - 1",
)
def layer_sample_variance():
    def forward(x, gamma, beta):
        mean = x.mean(-1, keepdims=True)
        std = np.sqrt(x.var(-1, keepdims=True, ddof=1) + 1e-5)
        x_hat = (x - mean) / std
        return gamma * x_hat + beta, (x_hat, std, gamma)

    def backward(dy, cache):
        x_hat, std, gamma = cache
        d = dy * gamma
        dx = d - d.mean(-1, keepdims=True) - x_hat * (d * x_hat).mean(-1, keepdims=True)
        return dx / std, (dy * x_hat).sum(0), dy.sum(0)

    return forward, backward


@layer_norm(y="epsilon is added to the root, not to the variance")
def layer_epsilon_outside_the_root():
    def forward(x, gamma, beta, eps=1e-5):
        mean = x.mean(-1, keepdims=True)
        std = x.std(-1, keepdims=True)
        return gamma * (x - mean) / (std + eps) + beta, (x - mean, std, gamma, eps)

    def backward(dy, cache):
        xc, std, gamma, eps = cache
        D = dy.shape[-1]
        s = std + eps
        dh = dy * gamma
        dstd = -(dh * xc).sum(-1, keepdims=True) / s**2
        dxc = dh / s + dstd * xc / (D * std)
        dx = dxc - dxc.mean(-1, keepdims=True)
        return dx, (dy * xc / s).sum(0), dy.sum(0)

    return forward, backward


@layer_norm(dx="the terms are divided by the number of rows, not of features")
def divided_by_the_rows():
    def forward(x, gamma, beta):
        mu = x.mean(1, keepdims=True)
        var = x.var(1, keepdims=True)
        xhat = (x - mu) / np.sqrt(var + 1e-5)
        return gamma * xhat + beta, (xhat, var, gamma)

    def backward(dy, cache):
        xhat, var, gamma = cache
        N = dy.shape[0]
        g = dy * gamma
        total = g.sum(1, keepdims=True)
        along = (g * xhat).sum(1, keepdims=True)
        dx = (g - total / N - xhat * along / N) / np.sqrt(var + 1e-5)
        return dx, (dy * xhat).sum(0), dy.sum(0)

    return forward, backward


@layer_norm(
    dgamma="not summed over the batch: has the shape (N, D)",
    dbeta="not summed over the batch: has the shape (N, D)",
)
def never_summed():
    def forward(x, gamma, beta):
        s = np.sqrt(x.var(-1) + 1e-5)[:, None]
        h = (x - x.mean(-1)[:, None]) / s
        return gamma * h + beta, (h, s, gamma)

    def backward(dy, cache):
        h, s, gamma = cache
        dh = dy * gamma
        dx = (dh - dh.mean(-1)[:, None] - h * (dh * h).mean(-1)[:, None]) / s
        return dx, dy * h, dy

    return forward, backward


@layer_norm(
    y="the mean is not subtracted",
    dx="derived with the mean subtracted, while the own forward leaves it in",
)
def mean_never_subtracted():
    def forward(x, gamma, beta):
        std = np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + 1e-5)
        x_hat = x / std
        return gamma * x_hat + beta, (x_hat, std, gamma)

    def backward(dy, cache):
        x_hat, std, gamma = cache
        g = dy * gamma
        dx = g - g.mean(-1, keepdims=True) - x_hat * (g * x_hat).mean(-1, keepdims=True)
        return dx / std, (dy * x_hat).sum(0), dy.sum(0)

    return forward, backward


@layer_norm()
def layer_simplified():
    def forward(x, gamma, beta):
        mean = x.mean(-1, keepdims=True)
        std = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        x_hat = (x - mean) / std
        return gamma * x_hat + beta, (x_hat, std, gamma)

    def backward(dy, cache):
        x_hat, std, gamma = cache
        g = dy * gamma
        dx = g - g.mean(-1, keepdims=True) - x_hat * (g * x_hat).mean(-1, keepdims=True)
        return dx / std, (dy * x_hat).sum(0), dy.sum(0)

    return forward, backward


@derivation("layer_norm", options={"epsilon": 1e-3})
def layer_step_by_step():
    def forward(x, gamma, beta):
        D = x.shape[1]
        mean = np.sum(x, axis=1) / D
        xc = x - mean[:, np.newaxis]
        var = np.sum(xc**2, axis=1) / D
        std = np.sqrt(var + 1e-3)
        xn = xc / std[:, np.newaxis]
        return gamma * xn + beta, {"xc": xc, "std": std, "xn": xn, "gamma": gamma}

    def backward(dy, c):
        D = dy.shape[1]
        dxn = dy * c["gamma"]
        dstd = -np.sum(dxn * c["xc"], axis=1) / c["std"] ** 2
        dvar = dstd / (2 * c["std"])
        dxc = dxn / c["std"][:, np.newaxis] + 2 * c["xc"] * dvar[:, np.newaxis] / D
        dmean = -np.sum(dxc, axis=1)
        dx = dxc + dmean[:, np.newaxis] / D
        return dx, np.sum(dy * c["xn"], axis=0), np.sum(dy, axis=0)

    return forward, backward


@layer_norm()
def jacobian_of_each_row():
    def forward(x, gamma, beta):
        D = x.shape[1]
        rows, jacobians = [], []
        for row in x:
            centred = row - row.mean()
            s = np.sqrt(centred @ centred / D + 1e-5)
            h = centred / s
            rows.append(h)
            jacobians.append(np.diag(gamma) @ (np.eye(D) - 1 / D - np.outer(h, h) / D) / s)
        return gamma * np.array(rows) + beta, (np.array(rows), jacobians)

    def backward(dy, cache):
        x_hat, jacobians = cache
        dx = np.array([g @ J for g, J in zip(dy, jacobians, strict=True)])
        return dx, np.diag(dy.T @ x_hat), dy.sum(0)

    return forward, backward
