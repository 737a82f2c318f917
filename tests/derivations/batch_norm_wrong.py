"""Forty wrong derivations of batch norm over the rows of x (N, D)."""

from functools import partial
from types import SimpleNamespace

import numpy as np

from derivations import derivation

batch_norm = partial(derivation, "batch_norm", options={"epsilon": 1e-5})
batch_norm_keras = partial(derivation, "batch_norm", options={"epsilon": 1e-3})
batch_norm_tiny = partial(derivation, "batch_norm", options={"epsilon": 1e-8})


# One mistake: terms of dx


@batch_norm(dx="lacks the mean's term: mu depends on x too")
def mean_detached():
    def forward(x, gamma, beta, eps=1e-5):
        N = x.shape[0]
        mu = 1.0 / N * np.sum(x, axis=0)
        xmu = x - mu
        sq = xmu**2
        var = 1.0 / N * np.sum(sq, axis=0)
        sqrtvar = np.sqrt(var + eps)
        ivar = 1.0 / sqrtvar
        xhat = xmu * ivar
        out = gamma * xhat + beta
        return out, (xhat, gamma, xmu, ivar, sqrtvar)

    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar = cache
        N, D = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        divar = np.sum(dxhat * xmu, axis=0)
        dxmu1 = dxhat * ivar
        dsqrtvar = -1.0 / sqrtvar**2 * divar
        dvar = 0.5 / sqrtvar * dsqrtvar
        dsq = 1.0 / N * np.ones((N, D)) * dvar
        dxmu2 = 2 * xmu * dsq
        dx = dxmu1 + dxmu2
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm(dx="lacks the variance's term: the variance depends on x too")
def variance_detached():
    def forward(x, gamma, beta):
        x_hat = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        return gamma * x_hat + beta, {"x": x, "x_hat": x_hat, "gamma": gamma}

    def backward(dy, cache):
        std = np.sqrt(cache["x"].var(0) + 1e-5)
        dx = cache["gamma"] / std * (dy - dy.mean(0))
        return dx, (dy * cache["x_hat"]).sum(0), dy.sum(0)

    return forward, backward


@batch_norm(dx="the variance's term is twice too large: d(v^-1/2)/dv has a factor 1/2")
def half_of_the_power_lost():
    def forward(x, gamma, beta):
        mean = np.mean(x, axis=0)
        var = np.mean((x - mean) ** 2, axis=0)
        inv_std = (var + 1e-5) ** -0.5
        x_norm = (x - mean) * inv_std
        return x_norm * gamma + beta, (x, mean, inv_std, x_norm, gamma)

    def backward(dy, cache):
        x, mean, inv_std, x_norm, gamma = cache
        m = len(x)
        dx_norm = dy * gamma
        dvar = np.sum(dx_norm * (x - mean) * -1.0 * inv_std**3, axis=0)
        dmean = np.sum(dx_norm * -inv_std, axis=0) + dvar * np.mean(-2.0 * (x - mean), axis=0)
        dx = dx_norm * inv_std + dvar * 2.0 * (x - mean) / m + dmean / m
        return dx, np.sum(dy * x_norm, axis=0), np.sum(dy, axis=0)

    return forward, backward


@batch_norm(dx="the variance's term has the power -1/2 where the derivative has -3/2")
def power_minus_half_kept():
    def forward(x, gamma, beta):
        epsilon = 1e-5
        mean = x.mean(axis=0, keepdims=True)
        variance = x.var(axis=0, keepdims=True)
        x_hat = (x - mean) / np.sqrt(variance + epsilon)
        return gamma * x_hat + beta, (x, mean, variance + epsilon, x_hat, gamma)

    def backward(dy, cache):
        x, mean, v, x_hat, gamma = cache
        m = x.shape[0]
        dx_hat = dy * gamma
        dv = (dx_hat * (x - mean) * (-0.5) * v ** (-0.5)).sum(axis=0, keepdims=True)
        dmean = (dx_hat * -1 / np.sqrt(v)).sum(axis=0, keepdims=True)
        dx = dx_hat / np.sqrt(v) + dv * 2 * (x - mean) / m + dmean / m
        return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)

    return forward, backward


@batch_norm(dx="the variance's term is half as large as it should be: d(x^2)/dx = 2x")
def two_of_the_square_forgotten():
    def forward(x, gamma, beta):
        mu = x.mean(0)
        centred = x - mu
        v = (centred * centred).mean(0)
        s = np.sqrt(v + 1e-5)
        xhat = centred / s
        y = xhat * gamma + beta
        return y, SimpleNamespace(centred=centred, s=s, xhat=xhat, gamma=gamma)

    def backward(dy, c):
        n = dy.shape[0]
        dbeta = dy.sum(0)
        dgamma = (dy * c.xhat).sum(0)
        dxhat = dy * c.gamma
        dcentred = dxhat / c.s
        ds = -(dxhat * c.centred).sum(0) / c.s**2
        dv = ds / (2 * c.s)
        dcentred += dv * c.centred / n
        dx = dcentred - dcentred.sum(0) / n
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm_keras(dx="the variance's term is m times too large: the variance is a mean over m rows")
def variance_not_divided_by_m():
    eps = 1e-3

    def forward(x, gamma, beta):
        mu = np.mean(x, 0)
        var = np.var(x, 0)
        xn = (x - mu) / np.sqrt(var + eps)
        return gamma * xn + beta, (xn, mu, var, x, gamma)

    def backward(dout, cache):
        xn, mu, var, x, gamma = cache
        dxn = gamma * dout
        istd = 1 / np.sqrt(var + eps)
        dvar = np.sum(dxn * (x - mu), 0) * -0.5 * istd**3
        dmu = np.sum(-dxn * istd, 0)
        dx = dxn * istd + dvar * 2 * (x - mu) + dmu / x.shape[0]
        return dx, np.sum(xn * dout, 0), np.sum(dout, 0)

    return forward, backward


@batch_norm(dx="the mean's term is a sum where it should be a mean: m times too large")
def sum_in_place_of_the_mean():
    def forward(x, gamma, beta):
        mean, var = x.mean(0), x.var(0)
        std = np.sqrt(var + 1e-5)
        xhat = (x - mean) / std
        return gamma * xhat + beta, (xhat, std, gamma)

    def backward(dy, cache):
        xhat, std, gamma = cache
        g = dy * gamma
        dx = (g - g.sum(axis=0) - xhat * (g * xhat).mean(axis=0)) / std
        return dx, (dy * xhat).sum(axis=0), dy.sum(axis=0)

    return forward, backward


@batch_norm(dx="the variance's term has the wrong sign")
def variance_term_added():
    def forward(x, gamma, beta):
        m = len(x)
        mu = np.einsum("nd->d", x) / m
        var = np.einsum("nd,nd->d", x - mu, x - mu) / m
        r = 1 / np.sqrt(var + 1e-5)
        xhat = np.einsum("nd,d->nd", x - mu, r)
        return np.einsum("nd,d->nd", xhat, gamma) + beta, (xhat, r, gamma)

    def backward(dy, cache):
        xhat, r, gamma = cache
        m = len(dy)
        dbeta = np.einsum("nd->d", dy)
        dgamma = np.einsum("nd,nd->d", dy, xhat)
        dx = gamma * r / m * (m * dy - dbeta + np.einsum("nd,d->nd", xhat, dgamma))
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm(dx="x_hat is subtracted without its factor dgamma")
def simplified_without_dgamma():
    def forward(x, gamma, beta):
        mu = x.mean(axis=0)
        ivar = 1.0 / np.sqrt(x.var(axis=0) + 1e-5)
        xhat = (x - mu) * ivar
        return gamma * xhat + beta, (xhat, ivar, gamma)

    def backward(dout, cache):
        xhat, ivar, gamma = cache
        N = dout.shape[0]
        dbeta = dout.sum(axis=0)
        dgamma = (dout * xhat).sum(axis=0)
        dx = (gamma * ivar / N) * (N * dout - dbeta - xhat)
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm(dx="the means run over the features of a row, not over the batch")
def backward_means_over_features():
    def forward(x, gamma, beta):
        mean = x.mean(axis=0)
        std = np.sqrt(x.var(axis=0) + 1e-5)
        x_hat = (x - mean) / std
        return gamma * x_hat + beta, (x_hat, std, gamma)

    def backward(dy, cache):
        x_hat, std, gamma = cache
        dx_hat = dy * gamma
        a = np.mean(dx_hat, axis=1, keepdims=True)
        b = np.mean(dx_hat * x_hat, axis=1, keepdims=True)
        dx = (dx_hat - a - x_hat * b) / std
        return dx, np.sum(dy * x_hat, axis=0), np.sum(dy, axis=0)

    return forward, backward


@batch_norm(
    shape=(6, 6),
    dx="the mean's term is the rows' means, laid along the columns: with as many rows as features "
    "nothing complains",
)
def square_batch_broadcasts():
    def forward(x, gamma, beta):
        mu = np.mean(x, axis=0)
        std = np.sqrt(np.var(x, axis=0) + 1e-5)
        xhat = (x - mu) / std
        return gamma * xhat + beta, (xhat, std, gamma)

    def backward(dy, cache):
        xhat, std, gamma = cache
        dxhat = dy * gamma
        mean_part = np.mean(dxhat, axis=1)
        var_part = np.mean(dxhat * xhat, axis=0)
        dx = (dxhat - mean_part - xhat * var_part) / std
        return dx, np.sum(dy * xhat, axis=0), np.sum(dy, axis=0)

    return forward, backward


# One mistake: factors of dx


@batch_norm(dx="lacks the factor gamma: y = gamma * x_hat + beta")
def gamma_forgotten():
    class BatchNormalization:
        def __init__(self, gamma, beta):
            self.gamma = gamma
            self.beta = beta

        def forward(self, x):
            self.batch_size = x.shape[0]
            mu = x.mean(axis=0)
            self.xc = x - mu
            var = np.mean(self.xc**2, axis=0)
            self.std = np.sqrt(var + 10e-6)
            self.xn = self.xc / self.std
            return self.gamma * self.xn + self.beta

        def backward(self, dout):
            self.dbeta = dout.sum(axis=0)
            self.dgamma = np.sum(self.xn * dout, axis=0)
            dxn = dout
            dxc = dxn / self.std
            dstd = -np.sum((dxn * self.xc) / (self.std * self.std), axis=0)
            dvar = 0.5 * dstd / self.std
            dxc += (2.0 / self.batch_size) * self.xc * dvar
            dmu = np.sum(dxc, axis=0)
            return dxc - dmu / self.batch_size

    def forward(x, gamma, beta):
        layer = BatchNormalization(gamma, beta)
        return layer.forward(x), layer

    def backward(dy, layer):
        dx = layer.backward(dy)
        return dx, layer.dgamma, layer.dbeta

    return forward, backward


@batch_norm(dx="has the factor gamma twice")
def gamma_twice():
    def forward(x, gamma, beta):
        mu = x.mean(0)
        istd = 1 / np.sqrt(x.var(0) + 1e-5)
        xhat = (x - mu) * istd
        return gamma * xhat + beta, (xhat, istd, gamma)

    def backward(dy, cache):
        xhat, istd, gamma = cache
        m = dy.shape[0]
        dxhat = dy * gamma
        dx = gamma * istd / m * (m * dxhat - dxhat.sum(0) - xhat * (dxhat * xhat).sum(0))
        return dx, (dy * xhat).sum(0), dy.sum(0)

    return forward, backward


@batch_norm(dx="lacks the factor 1/std")
def std_forgotten():
    def forward(x, gamma, beta):
        x_hat = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
        return gamma * x_hat + beta, (x_hat, gamma)

    def backward(dy, cache):
        x_hat, gamma = cache
        dx_hat = dy * gamma
        dx = dx_hat - dx_hat.mean(0) - x_hat * (dx_hat * x_hat).mean(0)
        return dx, (dy * x_hat).sum(0), dy.sum(0)

    return forward, backward


@batch_norm(dx="divided by the variance, not by its root")
def divided_by_the_variance():
    def forward(X, gamma, beta):
        mean = X.mean(axis=0, keepdims=True)
        var = ((X - mean) ** 2).mean(axis=0, keepdims=True)
        var_eps = var + 1e-5
        X_hat = (X - mean) / np.sqrt(var_eps)
        return gamma * X_hat + beta, (X_hat, var_eps, gamma)

    def backward(dY, cache):
        X_hat, var_eps, gamma = cache
        m = dY.shape[0]
        dbeta = dY.sum(axis=0)
        dgamma = (dY * X_hat).sum(axis=0)
        dX = gamma * (dY - dbeta / m - X_hat * dgamma / m) / var_eps
        return dX, dgamma, dbeta

    return forward, backward


@batch_norm(dx="the variance's term lacks the factor gamma")
def gamma_missing_in_one_term():
    def forward(x, gamma, beta):
        mean = x.mean(0)
        std = (x.var(0) + 1e-5) ** 0.5
        z = (x - mean) / std
        return z * gamma + beta, (z, std, gamma)

    def backward(dy, cache):
        z, std, gamma = cache
        dz = dy * gamma
        dgamma = np.sum(dy * z, axis=0)
        dx = (dz - dz.mean(0) - z * dgamma / len(dy)) / std
        return dx, dgamma, np.sum(dy, axis=0)

    return forward, backward


@batch_norm_keras(dx="divided by the standard deviation without epsilon, unlike y")
def epsilon_forgotten_in_backward():
    def forward(x, gamma, beta):
        x_hat = (x - np.mean(x, axis=0)) / np.sqrt(np.var(x, axis=0) + 0.001)
        return gamma * x_hat + beta, (x, x_hat, gamma)

    def backward(dy, cache):
        x, x_hat, gamma = cache
        dx_hat = gamma * dy
        dx = dx_hat - np.mean(dx_hat, axis=0) - x_hat * np.mean(dx_hat * x_hat, axis=0)
        dx = dx / np.std(x, axis=0)
        return dx, np.sum(dy * x_hat, axis=0), np.sum(dy, axis=0)

    return forward, backward


# One mistake: dgamma and dbeta


@batch_norm(dgamma="multiplied by x, not by x_hat")
def dgamma_with_x():
    def forward(x, gamma, beta):
        mu, var = x.mean(axis=0), x.var(axis=0)
        x_hat = (x - mu) / np.sqrt(var + 1e-5)
        return gamma * x_hat + beta, (x, mu, var, gamma)

    def backward(dy, cache):
        x, mu, var, gamma = cache
        std = np.sqrt(var + 1e-5)
        x_hat = (x - mu) / std
        dgamma = np.sum(dy * x, axis=0)
        dbeta = np.sum(dy, axis=0)
        dx_hat = dy * gamma
        dx = (dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0)) / std
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm(dgamma="multiplied by y, not by x_hat")
def dgamma_with_y():
    def forward(x, gamma, beta):
        cache = {}
        cache["xc"] = x - x.mean(axis=0)
        cache["std"] = np.sqrt((cache["xc"] ** 2).mean(axis=0) + 1e-5)
        cache["out"] = gamma * cache["xc"] / cache["std"] + beta
        cache["gamma"] = gamma
        return cache["out"], cache

    def backward(dy, cache):
        n = dy.shape[0]
        dgamma = (dy * cache["out"]).sum(axis=0)
        dxn = dy * cache["gamma"]
        dxc = dxn / cache["std"]
        dstd = -(dxn * cache["xc"] / cache["std"] ** 2).sum(axis=0)
        dxc += cache["xc"] * dstd / cache["std"] / n
        return dxc - dxc.mean(axis=0), dgamma, dy.sum(axis=0)

    return forward, backward


@batch_norm(dbeta="averaged over the batch, not summed: m times too small")
def dbeta_averaged():
    def forward(x, gamma, beta):
        mu = x.mean(0)
        s = np.sqrt(((x - mu) ** 2).mean(0) + 1e-5)
        h = (x - mu) / s
        return gamma * h + beta, (h, s, gamma)

    def backward(dy, cache):
        h, s, gamma = cache
        dbeta = dy.mean(0)
        dgamma = (dy * h).sum(0)
        dx = gamma / s * (dy - dbeta - h * dgamma / len(dy))
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm(dgamma="is dbeta: the two are swapped", dbeta="is dgamma: the two are swapped")
def dgamma_and_dbeta_swapped():
    def forward(x, gamma, beta):
        mu = x.mean(0)
        istd = (x.var(0) + 1e-5) ** -0.5
        xhat = (x - mu) * istd
        return gamma * xhat + beta, (xhat, istd, gamma)

    def backward(dy, cache):
        xhat, istd, gamma = cache
        m = dy.shape[0]
        dgamma = dy.sum(0)
        dbeta = (dy * xhat).sum(0)
        dx = gamma * istd * (dy - dgamma / m - xhat * dbeta / m)
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm(
    dgamma="has the shape (1, D), gamma (D,)",
    dbeta="has the shape (1, D), beta (D,)",
)
def gradients_keep_a_dimension():
    def forward(x, gamma, beta):
        mean = x.mean(axis=0, keepdims=True)
        std = np.sqrt(x.var(axis=0, keepdims=True) + 1e-5)
        x_hat = (x - mean) / std
        return gamma * x_hat + beta, (x_hat, std, gamma)

    def backward(dy, cache):
        x_hat, std, gamma = cache
        n = dy.shape[0]
        dbeta = dy.sum(axis=0, keepdims=True)
        dgamma = (dy * x_hat).sum(axis=0, keepdims=True)
        dx = gamma / std / n * (n * dy - dbeta - x_hat * dgamma)
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm(dgamma="only the last row's share: the loop overwrites where it should add")
def loop_overwrites():
    def forward(x, gamma, beta):
        N, D = x.shape
        y, x_hat, std = np.zeros((N, D)), np.zeros((N, D)), np.zeros(D)
        for d in range(D):
            mean = sum(x[n, d] for n in range(N)) / N
            variance = sum((x[n, d] - mean) ** 2 for n in range(N)) / N
            std[d] = (variance + 1e-5) ** 0.5
            for n in range(N):
                x_hat[n, d] = (x[n, d] - mean) / std[d]
                y[n, d] = gamma[d] * x_hat[n, d] + beta[d]
        return y, (x_hat, std, gamma)

    def backward(dy, cache):
        x_hat, std, gamma = cache
        N, D = dy.shape
        dx, dgamma, dbeta = np.zeros((N, D)), np.zeros(D), np.zeros(D)
        for d in range(D):
            first = second = 0.0
            for n in range(N):
                dgamma[d] = dy[n, d] * x_hat[n, d]
                dbeta[d] += dy[n, d]
                first += gamma[d] * dy[n, d] / N
                second += gamma[d] * dy[n, d] * x_hat[n, d] / N
            for n in range(N):
                dx[n, d] = (gamma[d] * dy[n, d] - first - x_hat[n, d] * second) / std[d]
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm(dx="transposed: has the shape (D, N)")
def dx_transposed():
    def forward(x, gamma, beta):
        rows = x.T
        m = rows.shape[1]
        mu = rows.sum(1, keepdims=True) / m
        var = ((rows - mu) ** 2).sum(1, keepdims=True) / m
        rows_hat = (rows - mu) / np.sqrt(var + 1e-5)
        y = gamma[:, None] * rows_hat + beta[:, None]
        return y.T, (rows_hat, var, gamma)

    def backward(dy, cache):
        rows_hat, var, gamma = cache
        d = dy.T
        m = d.shape[1]
        dbeta = d.sum(1)
        dgamma = (d * rows_hat).sum(1)
        dx = d - dbeta[:, None] / m - rows_hat * dgamma[:, None] / m
        dx *= gamma[:, None] / np.sqrt(var + 1e-5)
        return dx, dgamma, dbeta

    return forward, backward


# One mistake: forward


@batch_norm(y="epsilon is added outside the root")
def epsilon_outside_the_root():
    def forward(x, gamma, beta, eps=1e-5):
        mu = x.mean(axis=0)
        xc = x - mu
        sigma = np.sqrt((xc**2).mean(axis=0))
        x_hat = xc / (sigma + eps)
        return gamma * x_hat + beta, (xc, sigma, x_hat, gamma, eps)

    def backward(dy, cache):
        xc, sigma, x_hat, gamma, eps = cache
        n = len(dy)
        dx_hat = dy * gamma
        dxc = dx_hat / (sigma + eps)
        dsigma = -(dx_hat * xc).sum(axis=0) / (sigma + eps) ** 2
        dvar = dsigma / (2 * sigma)
        dxc = dxc + 2 * xc * dvar / n
        dx = dxc - dxc.mean(axis=0)
        return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)

    return forward, backward


@batch_norm(
    y="the variance is divided by m - 1",
    dx="derived for a variance over m, while the own forward divides by m - 1",
)
def sample_variance():
    def forward(x, gamma, beta):
        mu = np.mean(x, axis=0)
        var = np.var(x, axis=0, ddof=1)
        x_hat = (x - mu) / np.sqrt(var + 1e-5)
        return gamma * x_hat + beta, (x_hat, var, gamma)

    def backward(dy, cache):
        x_hat, var, gamma = cache
        m = dy.shape[0]
        dbeta = np.sum(dy, axis=0)
        dgamma = np.sum(dy * x_hat, axis=0)
        dx = gamma / np.sqrt(var + 1e-5) / m * (m * dy - dbeta - x_hat * dgamma)
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm(y="the variance is divided by m - 1")
def sample_variance_all_through():
    def forward(x, gamma, beta):
        m = len(x)
        mu = x.sum(0) / m
        xc = x - mu
        var = (xc**2).sum(0) / (m - 1)
        ivar = 1 / np.sqrt(var + 1e-5)
        xhat = xc * ivar
        return gamma * xhat + beta, (xc, ivar, xhat, gamma)

    def backward(dy, cache):
        xc, ivar, xhat, gamma = cache
        m = len(dy)
        dxhat = gamma * dy
        dvar = -0.5 * ivar**3 * (dxhat * xc).sum(0)
        dxc = dxhat * ivar + 2 / (m - 1) * xc * dvar
        dx = dxc - dxc.sum(0) / m
        return dx, (dy * xhat).sum(0), dy.sum(0)

    return forward, backward


@batch_norm(y="each row is normalized over its features: that is layer norm")
def rows_normalized():
    def forward(x, gamma, beta):
        mean = x.mean(axis=1, keepdims=True)
        std = np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
        x_hat = (x - mean) / std
        return gamma * x_hat + beta, (x_hat, std, gamma)

    def backward(dy, cache):
        x_hat, std, gamma = cache
        dx_hat = dy * gamma
        dx = dx_hat - dx_hat.mean(axis=1, keepdims=True)
        dx -= x_hat * (dx_hat * x_hat).mean(axis=1, keepdims=True)
        return dx / std, (dy * x_hat).sum(axis=0), dy.sum(axis=0)

    return forward, backward


@batch_norm(
    y="normalized with the running averages, not with the batch's mean and variance",
    dx="derived for the batch's statistics, while the own forward takes the running averages",
)
def running_averages_in_training():
    def forward(X, gamma, beta, eps=1e-5, momentum=0.9):
        moving_mean = np.zeros(X.shape[1])
        moving_var = np.ones(X.shape[1])
        mean = X.mean(axis=0)
        var = ((X - mean) ** 2).mean(axis=0)
        moving_mean = momentum * moving_mean + (1.0 - momentum) * mean
        moving_var = momentum * moving_var + (1.0 - momentum) * var
        X_hat = (X - moving_mean) / np.sqrt(moving_var + eps)
        Y = gamma * X_hat + beta
        return Y, (X_hat, np.sqrt(moving_var + eps), gamma)

    def backward(dY, cache):
        X_hat, std, gamma = cache
        dX_hat = dY * gamma
        dX = (dX_hat - dX_hat.mean(axis=0) - X_hat * (dX_hat * X_hat).mean(axis=0)) / std
        return dX, (dY * X_hat).sum(axis=0), dY.sum(axis=0)

    return forward, backward


# One mistake: what is kept and what is overwritten


@batch_norm(
    dx="computed from x_hat and std of the first call, which are never renewed",
    dgamma="computed from x_hat of the first call, which is never renewed",
)
def first_call_kept():
    saved = {}

    def forward(x, gamma, beta):
        mu = x.mean(0)
        std = np.sqrt(x.var(0) + 1e-5)
        x_hat = (x - mu) / std
        if x.shape not in saved:
            saved[x.shape] = x_hat, std
        return gamma * x_hat + beta, (x.shape, gamma)

    def backward(dy, cache):
        shape, gamma = cache
        x_hat, std = saved[shape]
        dbeta = dy.sum(0)
        dgamma = (dy * x_hat).sum(0)
        dx = gamma / std * (dy - dbeta / len(dy) - x_hat * dgamma / len(dy))
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm(
    dgamma="the gradients of earlier calls are still in it",
    dbeta="the gradients of earlier calls are still in it",
)
def gradients_never_zeroed():
    grads = {"gamma": 0.0, "beta": 0.0}

    def forward(x, gamma, beta):
        xc = x - x.mean(0)
        std = np.sqrt((xc**2).mean(0) + 1e-5)
        return gamma * xc / std + beta, (xc / std, std, gamma)

    def backward(dy, cache):
        xn, std, gamma = cache
        grads["beta"] = grads["beta"] + dy.sum(0)
        grads["gamma"] = grads["gamma"] + (dy * xn).sum(0)
        dxn = dy * gamma
        dx = (dxn - dxn.mean(0) - xn * (dxn * xn).mean(0)) / std
        return dx, grads["gamma"], grads["beta"]

    return forward, backward


@batch_norm(
    dx="computed with y for x_hat: scaling and shifting overwrote the x_hat of the cache",
    dgamma="multiplied by y: scaling and shifting overwrote the x_hat of the cache",
)
def x_hat_overwritten_by_y():
    def forward(x, gamma, beta):
        x_hat = x - x.mean(axis=0)
        std = np.sqrt(np.mean(x_hat**2, axis=0) + 1e-5)
        x_hat /= std
        out = x_hat
        out *= gamma
        out += beta
        return out, (x_hat, std, gamma)

    def backward(dy, cache):
        x_hat, std, gamma = cache
        dbeta = dy.sum(axis=0)
        dgamma = (dy * x_hat).sum(axis=0)
        dx = gamma / std * (dy - dbeta / len(dy) - x_hat * dgamma / len(dy))
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm(
    dgamma="has the factor gamma: dy had become dx_hat by then",
    dbeta="has the factor gamma: dy had become dx_hat by then",
    dy="multiplied by gamma in place",
)
def dy_scaled_in_place():
    def forward(x, gamma, beta):
        mu = x.mean(0)
        std = np.sqrt(x.var(0) + 1e-5)
        xhat = (x - mu) / std
        return gamma * xhat + beta, (xhat, std, gamma)

    def backward(dy, cache):
        xhat, std, gamma = cache
        dy *= gamma
        dx = (dy - dy.mean(0) - xhat * (dy * xhat).mean(0)) / std
        dgamma = (dy * xhat).sum(0)
        dbeta = dy.sum(0)
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm_tiny(dy="dx is written into it: the caller's gradient is gone")
def dx_written_into_dy():
    def forward(x, gamma, beta):
        m = x.shape[0]
        mu = np.sum(x, 0) / m
        istd = 1 / np.sqrt(np.sum((x - mu) ** 2, 0) / m + 1e-8)
        xhat = (x - mu) * istd
        return xhat * gamma + beta, (xhat, istd, gamma)

    def backward(dy, cache):
        xhat, istd, gamma = cache
        m = dy.shape[0]
        dbeta = np.sum(dy, 0)
        dgamma = np.sum(dy * xhat, 0)
        dx = dy
        dx -= dbeta / m
        dx -= xhat * dgamma / m
        dx *= gamma * istd
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm(
    x="centred in place",
    dx="x was centred in place, and then the mean is subtracted from it again",
    dgamma="x was centred in place, and then the mean is subtracted from it again",
)
def x_centred_in_place():
    def forward(x, gamma, beta):
        mean = x.mean(axis=0)
        var = x.var(axis=0)
        xc = x
        xc -= mean
        y = gamma * xc / np.sqrt(var + 1e-5) + beta
        return y, (x, mean, var, gamma)

    def backward(dy, cache):
        x, mean, var, gamma = cache
        std = np.sqrt(var + 1e-5)
        x_hat = (x - mean) / std
        dx_hat = dy * gamma
        dx = (dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0)) / std
        return dx, np.sum(dy * x_hat, axis=0), np.sum(dy, axis=0)

    return forward, backward


# Two mistakes


@batch_norm(
    mistakes=2,
    dx="lacks the mean's and the variance's term: both depend on x",
)
def mean_and_variance_detached():
    def forward(x, gamma, beta):
        mean, std = x.mean(0), np.sqrt(x.var(0) + 1e-5)
        return gamma * (x - mean) / std + beta, (x, mean, std, gamma)

    def backward(dy, cache):
        x, mean, std, gamma = cache
        return gamma / std * dy, (dy * (x - mean) / std).sum(0), dy.sum(0)

    return forward, backward


@batch_norm(
    mistakes=2,
    dx="the mean's term has the wrong sign",
    dbeta="averaged over the batch, not summed",
)
def mean_term_added_and_dbeta_averaged():
    def forward(x, gamma, beta):
        mu = np.mean(x, axis=0)
        xmu = x - mu
        var = np.mean(xmu**2, axis=0)
        ivar = 1 / np.sqrt(var + 1e-5)
        xhat = xmu * ivar
        return gamma * xhat + beta, (xhat, gamma, xmu, ivar)

    def backward(dout, cache):
        xhat, gamma, xmu, ivar = cache
        N = len(dout)
        dbeta = np.mean(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        dvar = np.sum(dxhat * xmu, axis=0) * -0.5 * ivar**3
        dxmu = dxhat * ivar + 2 * xmu * dvar / N
        dmu = np.sum(dxmu, axis=0)
        dx = dxmu + dmu / N
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm(
    mistakes=2,
    y="the variance is divided by m - 1",
    dgamma="multiplied by x, not by x_hat",
)
def sample_variance_and_dgamma_with_x():
    def forward(x, gamma, beta):
        std = np.sqrt(x.var(0, ddof=1) + 1e-5)
        x_hat = (x - x.mean(0)) / std
        return gamma * x_hat + beta, {"x": x, "x_hat": x_hat, "std": std, "gamma": gamma}

    def backward(dy, c):
        m = len(dy)
        g = dy * c["gamma"]
        dx = (g - g.mean(0) - c["x_hat"] * (g * c["x_hat"]).sum(0) / (m - 1)) / c["std"]
        return dx, (dy * c["x"]).sum(0), dy.sum(0)

    return forward, backward


@batch_norm(
    mistakes=2,
    dx="lacks the factor gamma, and the variance's term is half as large as it should be",
)
def gamma_and_the_two_of_the_square_forgotten():
    def forward(x, gamma, beta):
        mu = x.mean(axis=0)
        var = x.var(axis=0)
        x_hat = (x - mu) / np.sqrt(var + 1e-5)
        return gamma * x_hat + beta, (x, mu, var, x_hat)

    def backward(dy, cache):
        x, mu, var, x_hat = cache
        m = x.shape[0]
        std_inv = 1.0 / np.sqrt(var + 1e-5)
        dvar = np.sum(dy * (x - mu), axis=0) * -0.5 * std_inv**3
        dmu = np.sum(dy * -std_inv, axis=0)
        dx = dy * std_inv + dvar * (x - mu) / m + dmu / m
        return dx, np.sum(dy * x_hat, axis=0), np.sum(dy, axis=0)

    return forward, backward


@batch_norm_keras(
    mistakes=2,
    y="epsilon is added outside the root",
    dgamma="is dbeta: the two are returned in the wrong order",
    dbeta="is dgamma: the two are returned in the wrong order",
)
def epsilon_outside_and_gradients_swapped():
    def forward(x, gamma, beta):
        mean = x.mean(0)
        sd = x.std(0)
        z = (x - mean) / (sd + 1e-3)
        return gamma * z + beta, (x - mean, sd, gamma)

    def backward(dy, cache):
        xc, sd, gamma = cache
        n = len(dy)
        s = sd + 1e-3
        dz = dy * gamma
        dsd = -(dz * xc).sum(0) / s**2
        dxc = dz / s + dsd * xc / (n * sd)
        dx = dxc - dxc.mean(0)
        dgamma = (dy * xc / s).sum(0)
        dbeta = dy.sum(0)
        return dx, dbeta, dgamma

    return forward, backward
