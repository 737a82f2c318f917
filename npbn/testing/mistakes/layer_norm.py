"""Wrong layer normalizations."""

from typing import Any

from npbn.testing.mistake import Pieces
from npbn.testing.norm_mistakes import means_over_the_batch, mistakes_of_norm
from npbn.testing.norm_steps import dx_with, y_with


def _mean(p: Pieces, values: Any) -> Any:
    return values.mean(-1, keepdims=True)


def _of_an_example(p: Pieces, values: Any) -> Any:
    return values.mean(tuple(range(1, values.ndim)), keepdims=True)


_mistake, _ALL = mistakes_of_norm("layer_norm", _mean, "the features of a row")
MISTAKES = (
    *_ALL,
    *means_over_the_batch(_mistake, "the features of a row"),
    _mistake(
        "gamma at the end",
        "has the factor gamma after the means, where each row's mean has other gammas in it",
        dx=lambda p: (
            p.gamma * (p.dy - p.average(p.dy) - p.x_hat * p.average(p.dy * p.x_hat)) / p.std
        ),
    ),
    _mistake(
        "means over an example",
        "has means over the steps of a sequence, too: each step is a row by itself",
        shape=(3, 2, 4),
        dx=lambda p: dx_with(p, _of_an_example),
    ),
    _mistake(
        "dgamma of the last step",
        "is that of the last step: every step adds its own",
        shape=(3, 2, 4),
        dgamma=lambda p: (p.dy * p.x_hat)[:, -1].sum(0),
    ),
    _mistake(
        "y: over an example",
        "is normalized over the steps of a sequence, too: each step is a row by itself",
        shape=(3, 2, 4),
        y=lambda p: y_with(p, _of_an_example),
    ),
)
