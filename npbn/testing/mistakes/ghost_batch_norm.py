"""Wrong ghost batch normalizations."""

from typing import Any

import numpy as np

from npbn.testing.mistake import Pieces, mistakes_of, right


def _pieces(p: Pieces) -> None:
    """The statistics as they go with each row, those of the whole batch, and of one ghost batch."""
    p.axes, p.m = tuple(range(p.x.ndim - 1)), np.empty_like(p.x)
    p.mean, p.variance = np.empty_like(p.x), np.empty_like(p.x)
    p.ghosts = [slice(start, start + p.ghost_size) for start in range(0, len(p.x), p.ghost_size)]
    for rows in p.ghosts:
        p.mean[rows], p.variance[rows] = p.x[rows].mean(p.axes), p.x[rows].var(p.axes)
        p.m[rows] = p.x[rows].size // p.x.shape[-1]
    p.std = np.sqrt(p.variance + p.epsilon)
    p.x_hat = (p.x - p.mean) / p.std
    p.whole_mean, p.whole_variance = p.x.mean(p.axes), p.x.var(p.axes)
    p.whole_std = np.sqrt(p.whole_variance + p.epsilon)
    if p.dy is not None:
        p.whole = right("batch_norm", _of_batch_norm(p), p.dy)


def _of_batch_norm(p: Pieces) -> dict[str, Any]:
    return {name: getattr(p, name) for name in ("x", "gamma", "beta", "epsilon")}


def _means(p: Pieces, values: Any) -> Any:
    """Means over each ghost batch, as they go with its rows."""
    means = np.empty_like(values)
    for rows in p.ghosts:
        means[rows] = values[rows].mean(p.axes)
    return means


def _dx(p: Pieces, **replaced: Any) -> Any:
    """dx, with some of its pieces replaced."""
    pieces = vars(p) | {"mean_dy": _means(p, p.dy), "share": 1.0} | replaced
    x_hat, std = pieces["x_hat"], pieces["std"]
    mean_product = pieces.get("mean_product", _means(p, p.dy * x_hat))
    terms = pieces["share"] * (pieces["mean_dy"] + x_hat * mean_product)
    return p.gamma / std * (p.dy - terms)


def _rolled(p: Pieces, values: Any) -> Any:
    """What goes with each row, of the ghost batch before it."""
    rolled = np.empty_like(values)
    for place, rows in enumerate(p.ghosts):
        rolled[rows] = values[p.ghosts[place - 1]][0]
    return rolled


_mistake = mistakes_of("ghost_batch_norm", _pieces)
MISTAKES = (
    _mistake(
        "dx of the whole batch",
        "is batch normalization's over the whole batch: each ghost batch has statistics of its own",
        dx=lambda p: p.whole.dx,
    ),
    _mistake(
        "means over the whole batch",
        "takes the means of dy and dy * x_hat over the whole batch, not over each ghost batch",
        dx=lambda p: _dx(p, mean_dy=p.dy.mean(p.axes), mean_product=(p.dy * p.x_hat).mean(p.axes)),
    ),
    _mistake(
        "m of the whole batch",
        "divides the sums over a ghost batch by the number of values in the whole batch",
        dx=lambda p: _dx(p, share=p.m / p.rows),
    ),
    _mistake(
        "ghost_size for m",
        "divides the sums over a ghost batch by ghost_size, not by its number of values: the last "
        "one is smaller",
        dx=lambda p: _dx(p, share=p.m / p.ghost_size),
    ),
    _mistake(
        "std of the whole batch",
        "is divided by the whole batch's std, not by each ghost batch's",
        dx=lambda p: _dx(p) * p.std / p.whole_std,
    ),
    _mistake(
        "another ghost's statistics",
        "uses mean and std of the ghost batch before: their buffers are shared",
        dx=lambda p: _dx(
            p, x_hat=(p.x - _rolled(p, p.mean)) / _rolled(p, p.std), std=_rolled(p, p.std)
        ),
    ),
    _mistake(
        "the first ghost alone",
        "is 0 but in the first ghost batch",
        dx=lambda p: np.concatenate([p.dx[p.ghosts[0]], 0 * p.dx[p.ghost_size :]]),
    ),
    _mistake(
        "statistics are constants",
        "equals dy * gamma / std, as if the ghost batches' mean and variance did not depend on x",
        dx=lambda p: p.dy * p.gamma / p.std,
    ),
    _mistake(
        "no mean term",
        "lacks the term of the mean",
        dx=lambda p: _dx(p, mean_dy=0.0),
    ),
    _mistake(
        "no variance term",
        "lacks the term of the variance",
        dx=lambda p: _dx(p, mean_product=0.0),
    ),
    _mistake("no gamma", "lacks the factor gamma", dx=lambda p: p.dx / p.gamma),
    _mistake(
        "no epsilon",
        "lacks epsilon, which y has under the root",
        dx=lambda p: _dx(p, std=np.sqrt(p.variance), x_hat=(p.x - p.mean) / np.sqrt(p.variance)),
    ),
    _mistake(
        "dgamma of the last ghost",
        "is the last ghost batch's alone: they are to be added",
        dgamma=lambda p: (p.dy * p.x_hat)[p.ghosts[-1]].sum(p.axes),
    ),
    _mistake(
        "dgamma is a mean over the ghosts",
        "is the mean of the ghost batches' gradients, not their sum",
        dgamma=lambda p: p.dgamma / len(p.ghosts),
    ),
    _mistake(
        "dgamma of the whole batch",
        "has x_hat of the whole batch's statistics",
        dgamma=lambda p: p.whole.dgamma,
    ),
    _mistake(
        "dgamma of x - mean",
        "is not divided by std",
        dgamma=lambda p: (p.dy * (p.x - p.mean)).sum(p.axes),
    ),
    _mistake(
        "dbeta of the first ghost",
        "is the first ghost batch's alone: they are to be added",
        dbeta=lambda p: p.dy[p.ghosts[0]].sum(p.axes),
    ),
    _mistake(
        "dbeta is a mean over the ghosts",
        "is the mean of the ghost batches' gradients, not their sum",
        dbeta=lambda p: p.dbeta / len(p.ghosts),
    ),
    # A forward pass that is not the one that the equations give.
    _mistake(
        "y of the whole batch",
        "is normalized over the whole batch: that is batch normalization",
        y=lambda p: p.gamma * (p.x - p.whole_mean) / p.whole_std + p.beta,
    ),
    _mistake(
        "y: the first ghost's statistics",
        "has the first ghost batch's mean and std in all of them",
        y=lambda p: p.gamma * (p.x - p.mean[0]) / p.std[0] + p.beta,
    ),
    _mistake(
        "y: std of the whole batch",
        "is centred in each ghost batch, but divided by the whole batch's std",
        y=lambda p: p.gamma * (p.x - p.mean) / p.whole_std + p.beta,
    ),
    _mistake(
        "y: std of m - 1",
        "has the variance over m - 1; a ghost batch's is over m",
        y=lambda p: (
            p.gamma * (p.x - p.mean) / np.sqrt(p.variance * p.m / (p.m - 1) + p.epsilon) + p.beta
        ),
    ),
)
