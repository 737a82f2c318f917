"""Wrong activation functions."""

import numpy as np

from npbn.testing.mistake import mistakes_of

_mistake = mistakes_of("relu")
_RELU = (
    _mistake(
        "the mask of dy",
        "is max(dy, 0): the mask is where x is above 0, not dy",
        dx=lambda p: np.maximum(p.dy, 0),
    ),
    _mistake("no mask", "equals dy, also where x is below 0", dx=lambda p: p.dy),
    _mistake("the mask alone", "is 1 where x > 0, without dy", dx=lambda p: 1.0 * (p.x > 0)),
    _mistake("the other half", "is dy where x < 0, not x > 0", dx=lambda p: p.dy * (p.x < 0)),
    _mistake("times x", "is dy * x where x > 0, not dy", dx=lambda p: p.dx * p.x),
    _mistake("-1 below 0", "is -dy where x < 0, not 0", dx=lambda p: p.dy * np.sign(p.x)),
)

_mistake = mistakes_of("leaky_relu")
_LEAKY_RELU = (
    _mistake("0 below 0", "is 0 where x < 0: ReLU's gradient", dx=lambda p: p.dy * (p.x > 0)),
    _mistake("the slope everywhere", "is slope * dy, also for x > 0", dx=lambda p: p.slope * p.dy),
    _mistake(
        "the slope above 0",
        "has slope where x > 0 and 1 below, not the other way round",
        dx=lambda p: np.where(p.x > 0, p.slope, 1) * p.dy,
    ),
    _mistake(
        "1 - slope",
        "has 1 - slope where x < 0, not slope",
        dx=lambda p: np.where(p.x > 0, 1, 1 - p.slope) * p.dy,
    ),
    _mistake(
        "the slope's sign",
        "has -slope where x < 0, not slope",
        dx=lambda p: np.where(p.x > 0, 1, -p.slope) * p.dy,
    ),
    _mistake(
        "1/slope",
        "is divided by slope where x < 0, not multiplied",
        dx=lambda p: np.where(p.x > 0, 1, 1 / p.slope) * p.dy,
    ),
    _mistake(
        "the mask of dy",
        "has slope where dy is below 0, not x",
        dx=lambda p: np.where(p.dy > 0, 1, p.slope) * p.dy,
    ),
)

_mistake = mistakes_of("sigmoid")
_SIGMOID = (
    _mistake("of x", "is dy * x * (1 - x), with x for y", dx=lambda p: p.dy * p.x * (1 - p.x)),
    _mistake("y alone", "lacks the factor 1 - y", dx=lambda p: p.dy * p.y),
    _mistake("1 - y alone", "lacks the factor y", dx=lambda p: p.dy * (1 - p.y)),
    _mistake("tanh's", "is dy * (1 - y^2), tanh's gradient", dx=lambda p: p.dy * (1 - p.y**2)),
    _mistake("y (1 + y)", "has 1 + y for 1 - y", dx=lambda p: p.dy * p.y * (1 + p.y)),
    _mistake("of dy", "is dy * (1 - dy), with dy for y", dx=lambda p: p.dy * (1 - p.dy)),
    _mistake("without dy", "is y * (1 - y), without dy", dx=lambda p: p.y * (1 - p.y)),
)

_mistake = mistakes_of("tanh")
_TANH = (
    _mistake("of x", "is dy * (1 - x^2), with x for y", dx=lambda p: p.dy * (1 - p.x**2)),
    _mistake("1 - y", "has y for its square", dx=lambda p: p.dy * (1 - p.y)),
    _mistake("1 + y^2", "has 1 + y^2 for 1 - y^2", dx=lambda p: p.dy * (1 + p.y**2)),
    _mistake(
        "the sigmoid's",
        "is dy * y * (1 - y), the sigmoid's gradient",
        dx=lambda p: p.dy * p.y * (1 - p.y),
    ),
    _mistake("(1 - y)^2", "has (1 - y)^2 for 1 - y^2", dx=lambda p: p.dy * (1 - p.y) ** 2),
    _mistake("without dy", "is 1 - y^2, without dy", dx=lambda p: 1 - p.y**2),
)

MISTAKES = (*_RELU, *_LEAKY_RELU, *_SIGMOID, *_TANH)
