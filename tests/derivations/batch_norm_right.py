"""Twenty right derivations of batch norm over the rows of x (N, D)."""

from functools import partial
from types import SimpleNamespace

import numpy as np
from scipy import stats

from derivations import derivation

batch_norm = partial(derivation, "batch_norm", options={"epsilon": 1e-5})


@batch_norm()
def step_by_step():
    def forward(x, gamma, beta, eps=1e-5):
        N = x.shape[0]
        mu = 1.0 / N * np.sum(x, axis=0)
        xmu = x - mu
        sq = xmu**2
        var = 1.0 / N * np.sum(sq, axis=0)
        sqrtvar = np.sqrt(var + eps)
        ivar = 1.0 / sqrtvar
        xhat = xmu * ivar
        gammax = gamma * xhat
        out = gammax + beta
        return out, (xhat, gamma, xmu, ivar, sqrtvar)

    def backward(dout, cache):
        xhat, gamma, xmu, ivar, sqrtvar = cache
        N, D = dout.shape
        dbeta = np.sum(dout, axis=0)
        dgamma = np.sum(dout * xhat, axis=0)
        dxhat = dout * gamma
        divar = np.sum(dxhat * xmu, axis=0)
        dxmu = dxhat * ivar
        dsqrtvar = -1.0 / sqrtvar**2 * divar
        dvar = 0.5 / sqrtvar * dsqrtvar
        dsq = 1.0 / N * np.ones((N, D)) * dvar
        dxmu = dxmu + 2 * xmu * dsq
        dmu = -1 * np.sum(dxmu, axis=0)
        dx = dxmu + 1.0 / N * np.ones((N, D)) * dmu
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm()
def simplified():
    def forward(x, gamma, beta):
        ivar = 1 / np.sqrt(x.var(0) + 1e-5)
        xhat = (x - x.mean(0)) * ivar
        return gamma * xhat + beta, (xhat, ivar, gamma)

    def backward(dy, cache):
        xhat, ivar, gamma = cache
        m = len(dy)
        dbeta, dgamma = dy.sum(0), (dy * xhat).sum(0)
        return gamma * ivar / m * (m * dy - dbeta - xhat * dgamma), dgamma, dbeta

    return forward, backward


@batch_norm()
def einsum_all_through():
    def forward(x, gamma, beta):
        m = len(x)
        mu = np.einsum("nd->d", x) / m
        xc = x - mu
        r = (np.einsum("nd,nd->d", xc, xc) / m + 1e-5) ** -0.5
        return np.einsum("nd,d,d->nd", xc, r, gamma) + beta, (xc, r, gamma)

    def backward(dy, cache):
        xc, r, gamma = cache
        m = len(dy)
        dbeta = np.einsum("nd->d", dy)
        dgamma = np.einsum("nd,nd,d->d", dy, xc, r)
        dx = np.einsum("nd,d,d->nd", dy, gamma, r) - gamma * r * dbeta / m
        dx -= np.einsum("nd,d,d,d->nd", xc, gamma, r**2, dgamma) / m
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm(single=True)
def in_float32():
    def forward(x, gamma, beta):
        x, gamma, beta = (a.astype(np.float32) for a in (x, gamma, beta))
        mean = x.mean(axis=0)
        std = np.sqrt(x.var(axis=0) + np.float32(1e-5))
        x_hat = (x - mean) / std
        return gamma * x_hat + beta, (x_hat, std, gamma)

    def backward(dy, cache):
        dy = dy.astype(np.float32)
        x_hat, std, gamma = cache
        dx_hat = dy * gamma
        dx = (dx_hat - dx_hat.mean(axis=0) - x_hat * (dx_hat * x_hat).mean(axis=0)) / std
        return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)

    return forward, backward


@batch_norm(single=True)
def cache_in_float32():
    def forward(x, gamma, beta):
        mean, var = x.mean(0), x.var(0)
        std = np.sqrt(var + 1e-5)
        x_hat = (x - mean) / std
        to_save = [a.astype("float32") for a in (x_hat, std, gamma)]
        return gamma * x_hat + beta, to_save

    def backward(dy, saved):
        x_hat, std, gamma = saved
        dbeta = dy.sum(0)
        dgamma = (dy * x_hat).sum(0)
        dx = gamma / std * (dy - dbeta / len(dy) - x_hat * dgamma / len(dy))
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm()
def loops_and_lists():
    def forward(x, gamma, beta):
        N, D = x.shape
        y = np.zeros((N, D))
        x_hat = np.zeros((N, D))
        stds = []
        for d in range(D):
            mean = sum(x[n, d] for n in range(N)) / N
            var = sum((x[n, d] - mean) ** 2 for n in range(N)) / N
            stds.append((var + 1e-5) ** 0.5)
            for n in range(N):
                x_hat[n, d] = (x[n, d] - mean) / stds[d]
                y[n, d] = gamma[d] * x_hat[n, d] + beta[d]
        return y, (x_hat, stds, gamma)

    def backward(dy, cache):
        x_hat, stds, gamma = cache
        N, D = dy.shape
        dgamma = [sum(dy[n, d] * x_hat[n, d] for n in range(N)) for d in range(D)]
        dbeta = [sum(dy[n, d] for n in range(N)) for d in range(D)]
        dx = [
            [
                gamma[d] / stds[d] * (dy[n, d] - dbeta[d] / N - x_hat[n, d] * dgamma[d] / N)
                for d in range(D)
            ]
            for n in range(N)
        ]
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm()
def welford():
    def forward(x, gamma, beta):
        mean = np.zeros(x.shape[1])
        squares = np.zeros(x.shape[1])
        for count, row in enumerate(x, start=1):
            delta = row - mean
            mean += delta / count
            squares += delta * (row - mean)
        std = np.sqrt(squares / len(x) + 1e-5)
        x_hat = (x - mean) / std
        return x_hat * gamma + beta, (x_hat, std, gamma)

    def backward(dy, cache):
        x_hat, std, gamma = cache
        dbeta = np.zeros_like(gamma)
        dgamma = np.zeros_like(gamma)
        for g, h in zip(dy, x_hat, strict=True):
            dbeta += g
            dgamma += g * h
        n = len(dy)
        dx = np.stack(
            [gamma / std * (g - dbeta / n - h * dgamma / n) for g, h in zip(dy, x_hat, strict=True)]
        )
        return dx, dgamma, dbeta

    return forward, backward


@derivation("batch_norm", options={"epsilon": 10e-7})
def class_of_its_own():
    class BatchNormalization:
        def __init__(self, gamma, beta):
            self.gamma = gamma
            self.beta = beta

        def forward(self, x):
            self.batch_size = x.shape[0]
            mu = x.mean(axis=0)
            self.xc = x - mu
            var = np.mean(self.xc**2, axis=0)
            self.std = np.sqrt(var + 10e-7)
            self.xn = self.xc / self.std
            return self.gamma * self.xn + self.beta

        def backward(self, dout):
            self.dbeta = dout.sum(axis=0)
            self.dgamma = np.sum(self.xn * dout, axis=0)
            dxn = self.gamma * dout
            dxc = dxn / self.std
            dstd = -np.sum(dxn * self.xc, axis=0) / self.std**2
            dvar = 0.5 * dstd / self.std
            dxc += 2.0 / self.batch_size * self.xc * dvar
            dmu = np.sum(dxc, axis=0)
            return dxc - dmu / self.batch_size

    def forward(x, gamma, beta):
        layer = BatchNormalization(gamma, beta)
        return layer.forward(x), layer

    def backward(dy, layer):
        return layer.backward(dy), layer.dgamma, layer.dbeta

    return forward, backward


@derivation("batch_norm", options={"epsilon": 1e-8})
def tiny_epsilon_and_dict():
    def forward(x, gamma, beta):
        cache = {"eps": 1e-8, "gamma": gamma}
        cache["mean"] = np.average(x, axis=0)
        cache["var"] = np.average((x - cache["mean"]) ** 2, axis=0)
        cache["x"] = x
        return gamma * (x - cache["mean"]) / np.sqrt(cache["var"] + cache["eps"]) + beta, cache

    def backward(dy, cache):
        x, mean, gamma = cache["x"], cache["mean"], cache["gamma"]
        v = cache["var"] + cache["eps"]
        m = x.shape[0]
        dx_hat = dy * gamma
        dvar = np.sum(dx_hat * (x - mean) * -0.5 * v**-1.5, axis=0)
        # The path from the mean through the variance is 0: the deviations sum to 0.
        dmean = np.sum(-dx_hat / np.sqrt(v), axis=0)
        dx = dx_hat / np.sqrt(v) + dvar * 2 * (x - mean) / m + dmean / m
        return dx, np.sum(dy * (x - mean) / np.sqrt(v), axis=0), np.sum(dy, axis=0)

    return forward, backward


@derivation("batch_norm", options={"epsilon": 1e-3})
def large_epsilon_and_namespace():
    def forward(x, gamma, beta):
        c = SimpleNamespace(x=x, gamma=gamma, mean=x.mean(0), var=x.var(0), eps=1e-3)
        c.std = np.sqrt(c.var + c.eps)
        return (x - c.mean) / c.std * gamma + beta, c

    def backward(dy, c):
        m = len(dy)
        dxh = dy * c.gamma
        dvar = (dxh * (c.x - c.mean)).sum(0) * (-1 / 2) * (c.var + c.eps) ** (-3 / 2)
        dmean = -(dxh / c.std).sum(0) + dvar * (-2 * (c.x - c.mean)).sum(0) / m
        dx = dxh / c.std + 2 * dvar * (c.x - c.mean) / m + dmean / m
        return [dx, (dy * (c.x - c.mean) / c.std).sum(0), dy.sum(0)]

    return forward, backward


@derivation("batch_norm", options={"epsilon": 1e-4})
def with_kept_dimensions():
    def forward(X, gamma, beta):
        gamma, beta = gamma.reshape(1, -1), beta.reshape(1, -1)
        mean = X.mean(axis=0, keepdims=True)
        var = ((X - mean) ** 2).mean(axis=0, keepdims=True)
        X_hat = (X - mean) / np.sqrt(var + 1e-4)
        return gamma * X_hat + beta, (X_hat, var, gamma)

    def backward(dY, cache):
        X_hat, var, gamma = cache
        dX_hat = dY * gamma
        dX = dX_hat - dX_hat.mean(axis=0, keepdims=True)
        dX = dX - X_hat * (dX_hat * X_hat).mean(axis=0, keepdims=True)
        dX = dX / np.sqrt(var + 1e-4)
        return dX, np.sum(dY * X_hat, axis=0), np.sum(dY, axis=0)

    return forward, backward


@batch_norm()
def centring_matrix():
    def forward(x, gamma, beta):
        m = len(x)
        H = np.eye(m) - np.ones((m, m)) / m
        Z = H @ x
        S = np.diag(1 / np.sqrt(np.diag(Z.T @ Z) / m + 1e-5))
        G = np.diag(gamma)
        return Z @ S @ G + np.outer(np.ones(m), beta), (H, Z, S, G)

    def backward(dy, cache):
        H, Z, S, G = cache
        m = len(dy)
        dZ = dy @ G @ S - Z @ S**3 @ np.diag(np.diag(Z.T @ dy @ G)) / m
        return H.T @ dZ, np.diag((Z @ S).T @ dy), dy.T @ np.ones(m)

    return forward, backward


@batch_norm()
def jacobian_of_each_column():
    def forward(x, gamma, beta):
        m, D = x.shape
        y = np.empty((m, D))
        jacobians, hats = [], []
        for d in range(D):
            xc = x[:, d] - x[:, d].mean()
            s = np.sqrt(xc @ xc / m + 1e-5)
            h = xc / s
            y[:, d] = gamma[d] * h + beta[d]
            hats.append(h)
            jacobians.append(gamma[d] / s * (np.eye(m) - 1 / m - np.outer(h, h) / m))
        return y, (jacobians, hats)

    def backward(dy, cache):
        jacobians, hats = cache
        D = dy.shape[1]
        dx = np.stack([jacobians[d].T @ dy[:, d] for d in range(D)], axis=1)
        dgamma = np.array([hats[d] @ dy[:, d] for d in range(D)])
        return dx, dgamma, np.ones(len(dy)) @ dy

    return forward, backward


@batch_norm()
def mean_of_squares():
    def forward(x, gamma, beta):
        mean = x.mean(0)
        square = (x * x).mean(0)
        var = square - mean * mean
        r = 1 / np.sqrt(var + 1e-5)
        return gamma * r * x + (beta - gamma * r * mean), (x, mean, r, gamma)

    def backward(dy, cache):
        x, mean, r, gamma = cache
        m = len(x)
        dbeta = dy.sum(0)
        dscale = (dy * x).sum(0) - dbeta * mean
        dr = gamma * dscale
        dvar = -0.5 * r**3 * dr
        dsquare = dvar
        dmean = -2 * mean * dvar - gamma * r * dbeta
        dx = gamma * r * dy + 2 * x * dsquare / m + dmean / m
        return dx, r * dscale, dbeta

    return forward, backward


@batch_norm()
def statistics_from_scipy():
    def forward(x, gamma, beta):
        about = stats.describe(x, axis=0)
        var = about.variance * (about.nobs - 1) / about.nobs
        xhat = (x - about.mean) / np.sqrt(var + 1e-5)
        return gamma * xhat + beta, (xhat, var, gamma)

    def backward(dy, cache):
        xhat, var, gamma = cache
        g = gamma * dy / np.sqrt(var + 1e-5)
        dx = g - np.mean(g, 0) - xhat * np.mean(g * xhat, 0)
        return dx, np.sum(dy * xhat, 0), np.sum(dy, 0)

    return forward, backward


@batch_norm()
def in_memory_of_its_own():
    def forward(x, gamma, beta):
        work = np.empty_like(x)
        np.subtract(x, x.mean(0), out=work)
        std = np.sqrt(np.mean(np.square(work), axis=0) + 1e-5)
        work /= std
        y = work * gamma
        y += beta
        return y, (work, std, gamma)

    def backward(dy, cache):
        x_hat, std, gamma = cache
        dbeta = dy.sum(0)
        dgamma = np.einsum("ij,ij->j", dy, x_hat)
        dx = dy.copy()
        dx -= dbeta / len(dy)
        dx -= x_hat * (dgamma / len(dy))
        dx *= gamma / std
        return dx, dgamma, dbeta

    return forward, backward


@batch_norm()
def projection():
    def forward(x, gamma, beta):
        m = len(x)
        xc = x - x.mean(0)
        length = np.sqrt((xc**2).sum(0) + m * 1e-5)
        direction = xc / length
        return gamma * np.sqrt(m) * direction + beta, (direction, length, gamma)

    def backward(dy, cache):
        direction, length, gamma = cache
        m = len(dy)
        left = dy - dy.mean(0)
        left = left - direction * (direction * left).sum(0)
        dx = gamma * np.sqrt(m) / length * left
        return dx, np.sqrt(m) * (direction * dy).sum(0), dy.sum(0)

    return forward, backward


@batch_norm()
def closures_as_a_tape():
    def forward(x, gamma, beta):
        m = len(x)
        tape = []
        centred = x - x.mean(0)
        tape.append(lambda d: d - d.mean(0))
        variance = (centred**2).mean(0)
        r = np.exp(-0.5 * np.log(variance + 1e-5))

        def through_division(d):
            dr = (d * centred).sum(0)
            return d * r + 2 / m * centred * (-0.5 * r / (variance + 1e-5) * dr)

        tape.append(through_division)
        x_hat = centred * r
        tape.append(lambda d: d * gamma)
        return gamma * x_hat + beta, (tape, x_hat)

    def backward(dy, cache):
        tape, x_hat = cache
        dx = dy
        for step in reversed(tape):
            dx = step(dx)
        return dx, (dy * x_hat).sum(0), dy.sum(0)

    return forward, backward


@batch_norm()
def features_first_inside():
    def forward(x, gamma, beta):
        a = x.T
        mu, var = a.mean(axis=1), a.var(axis=1)
        h = (a - mu[:, None]) / np.sqrt(var + 1e-5)[:, None]
        return (gamma[:, None] * h + beta[:, None]).T, (h, var, gamma)

    def backward(dy, cache):
        h, var, gamma = cache
        d = dy.T
        m = d.shape[1]
        dbeta, dgamma = d.sum(axis=1), (d * h).sum(axis=1)
        dx = d - (dbeta[:, None] + h * dgamma[:, None]) / m
        return (dx * (gamma / np.sqrt(var + 1e-5))[:, None]).T, dgamma, dbeta

    return forward, backward


@batch_norm()
def all_pairs_of_rows():
    def forward(x, gamma, beta):
        m = len(x)
        pairs = x[:, None] - x[None]
        var = (pairs**2).sum((0, 1)) / (2 * m * m)
        xc = pairs.mean(1)
        std = np.sqrt(var + 1e-5)
        return gamma * xc / std + beta, (pairs, xc, std, gamma)

    def backward(dy, cache):
        pairs, xc, std, gamma = cache
        m = len(dy)
        dbeta = dy.sum(0)
        dgamma = (dy * xc).sum(0) / std
        dvar = -gamma * dgamma / (2 * std**2)
        dpairs = (gamma / std * dy / m)[:, None] + dvar * pairs / m**2
        dx = dpairs.sum(1) - dpairs.sum(0)
        return dx, dgamma, dbeta

    return forward, backward
