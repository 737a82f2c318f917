"""Wrong batch renormalizations."""

from typing import Any

import numpy as np

from npbn.testing.mistake import Pieces, mistakes_of


def _pieces(p: Pieces) -> None:
    """x_bar is normalized by the batch's statistics alone; mean and std are the population's."""
    p.axes = tuple(range(p.x.ndim - 1))
    p.batch_mean, p.variance = p.x.mean(p.axes), p.x.var(p.axes)
    p.batch_std = np.sqrt(p.variance + p.epsilon)
    p.x_bar = (p.x - p.batch_mean) / p.batch_std
    p.x_hat = p.x_bar * p.r + p.d
    p.std = p.batch_std / p.r
    p.mean = p.batch_mean - p.d * p.std


def _dx(p: Pieces, **replaced: Any) -> Any:
    """dx, with some of its pieces replaced."""
    pieces = vars(p) | replaced
    dy, x_bar = pieces["dy"], pieces["x_bar"]
    mean_dy = pieces.get("mean_dy", dy.mean(p.axes))
    mean_product = pieces.get("mean_product", (dy * x_bar).mean(p.axes))
    scale = p.gamma * pieces["r"] / pieces["batch_std"]
    return scale * (dy - mean_dy - x_bar * mean_product)


_mistake = mistakes_of("batch_renorm", _pieces)
MISTAKES = (
    _mistake(
        "r and d are differentiated",
        "equals dy * gamma / std, with the population's std: r and d are constants, although they "
        "are computed of x",
        dx=lambda p: p.dy * p.gamma / p.std,
    ),
    _mistake(
        "r is differentiated",
        "lacks the term of the variance, as if r, a constant, took it back",
        dx=lambda p: _dx(p, mean_product=0.0),
    ),
    _mistake(
        "d is differentiated",
        "lacks the term of the mean, as if d, a constant, took it back",
        dx=lambda p: _dx(p, mean_dy=0.0),
    ),
    _mistake(
        "no r",
        "lacks the factor r: it is batch normalization's",
        dx=lambda p: p.dx / p.r,
    ),
    _mistake("r twice", "has the factor r twice", dx=lambda p: p.dx * p.r),
    _mistake("divided by r", "is divided by r, not multiplied", dx=lambda p: p.dx / p.r**2),
    _mistake(
        "x_hat for x_bar",
        "has x_hat, which r and d have changed, where x is normalized by the batch alone",
        dx=lambda p: _dx(p, x_bar=p.x_hat),
    ),
    _mistake(
        "x_hat in the sum",
        "sums dy * x_hat, dgamma that is, where it is dy * (x - mean_B) / std_B",
        dx=lambda p: _dx(p, mean_product=(p.dy * p.x_hat).mean(p.axes)),
    ),
    _mistake(
        "d added",
        "has d added to it: a constant that is added has no derivative",
        dx=lambda p: p.dx + p.d,
    ),
    _mistake("no gamma", "lacks the factor gamma", dx=lambda p: p.dx / p.gamma),
    _mistake(
        "no epsilon",
        "lacks epsilon, which y has under the root",
        dx=lambda p: _dx(
            p,
            batch_std=np.sqrt(p.variance),
            x_bar=(p.x - p.batch_mean) / np.sqrt(p.variance),
        ),
    ),
    _mistake(
        "dgamma of x_bar",
        "sums dy * (x - mean_B) / std_B, without r and d: it is batch normalization's",
        dgamma=lambda p: (p.dy * p.x_bar).sum(p.axes),
    ),
    _mistake(
        "dgamma without d",
        "lacks d in x_hat",
        dgamma=lambda p: (p.dy * p.x_bar * p.r).sum(p.axes),
    ),
    _mistake(
        "dgamma without r",
        "lacks r in x_hat",
        dgamma=lambda p: (p.dy * (p.x_bar + p.d)).sum(p.axes),
    ),
    _mistake(
        "dgamma of r times d",
        "has r * (x_bar + d) for x_bar * r + d",
        dgamma=lambda p: (p.dy * (p.x_bar + p.d) * p.r).sum(p.axes),
    ),
    _mistake(
        "dbeta with r",
        "has a factor r: beta is added after it",
        dbeta=lambda p: p.dbeta * p.r,
    ),
    _mistake(
        "dbeta with d",
        "has d added to each example's part",
        dbeta=lambda p: (p.dy + p.d).sum(p.axes),
    ),
    # A forward pass that is not the one that the equations give.
    _mistake(
        "y of batch norm",
        "lacks r and d: that is batch normalization",
        y=lambda p: p.gamma * p.x_bar + p.beta,
    ),
    _mistake(
        "y: r times d",
        "has r * (x_bar + d) for x_bar * r + d",
        y=lambda p: p.gamma * (p.x_bar + p.d) * p.r + p.beta,
    ),
    _mistake(
        "y: d unscaled",
        "adds d after gamma, not before it",
        y=lambda p: p.gamma * p.x_bar * p.r + p.d + p.beta,
    ),
    _mistake("y: minus d", "subtracts d", y=lambda p: p.gamma * (p.x_bar * p.r - p.d) + p.beta),
    _mistake(
        "y: divided by r",
        "is divided by r, not multiplied",
        y=lambda p: p.gamma * (p.x_bar / p.r + p.d) + p.beta,
    ),
)
