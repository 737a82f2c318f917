"""Wrong poolings."""

import numpy as np

from npbn.testing.mistake import Pieces, mistakes_of


def _spread(p: Pieces) -> None:
    """What lies side by side in windows of 2 x 2, of images that these cover."""
    p.y_at = np.repeat(np.repeat(p.y, 2, 1), 2, 2)
    if p.dy is not None:
        p.dy_at = np.repeat(np.repeat(p.dy, 2, 1), 2, 2)


_mistake = mistakes_of("max_pool", _spread)
_MAX = (
    _mistake("y: the mean", "is the mean of the window, not its maximum", y=lambda p: _mean(p.x)),
    _mistake(
        "y: of absolute values",
        "is the largest absolute value",
        y=lambda p: -_windows(-abs(p.x)).min(-1),
    ),
    _mistake(
        "dx: to all pixels",
        "gives dy to every pixel of the window, not to the largest alone",
        dx=lambda p: p.dy_at,
    ),
    _mistake(
        "dx: shared",
        "shares dy among the pixels of the window: the others did not count",
        dx=lambda p: p.dy_at / 4,
    ),
    _mistake(
        "dx: to the first pixel",
        "gives dy to the first pixel of the window, not to the largest",
        dx=lambda p: p.dy_at * (np.indices(p.x.shape[1:])[:2] % 2 == 0).all(0),
    ),
    _mistake(
        "dx: the mask alone",
        "is 1 at the largest pixel, without dy",
        dx=lambda p: 1.0 * (p.x == p.y_at),
    ),
    _mistake("dx: times x", "is multiplied by x", dx=lambda p: p.dx * p.x),
)

_mistake = mistakes_of("max_pool, with settings")
_MAX_WITH_SETTINGS = (
    _mistake(
        "dx: the pixel after",
        "lies a pixel too far: the padding in front was not taken off",
        dx=lambda p: np.roll(p.dx, 1, axis=1),
    ),
    _mistake("dx: shared", "is divided by the size of the window", dx=lambda p: p.dx / 6),
)

_mistake = mistakes_of("average_pool", _spread)
_AVERAGE = (
    _mistake("y: a sum", "is the sum of the window, not its mean", y=lambda p: p.y * 4),
    _mistake(
        "y: the largest", "is the largest pixel of the window", y=lambda p: _windows(p.x).max(-1)
    ),
    _mistake(
        "dx: not divided",
        "is dy at every pixel: each counted for one of four",
        dx=lambda p: p.dy_at,
    ),
    _mistake(
        "dx: to the first pixel",
        "gives all of dy to the first pixel of the window",
        dx=lambda p: p.dy_at * (np.indices(p.x.shape[1:])[:2] % 2 == 0).all(0),
    ),
)

_mistake = mistakes_of("average_pool, with settings")
_AVERAGE_WITH_SETTINGS = (
    _mistake(
        "dx: divided twice", "is divided by the size of the window twice", dx=lambda p: p.dx / 6
    ),
    _mistake(
        "dx: the pixel after",
        "lies a pixel too far: the padding in front was not taken off",
        dx=lambda p: np.roll(p.dx, 1, axis=1),
    ),
)

_mistake = mistakes_of("global_average_pool")
_GLOBAL = (
    _mistake(
        "y: a sum",
        "is the sum over the pixels, not their mean",
        y=lambda p: p.x.sum((1, 2)),
    ),
    _mistake(
        "dx: not divided",
        "is dy at every pixel, not divided by their number",
        dx=lambda p: np.broadcast_to(p.dy[:, np.newaxis, np.newaxis], p.x.shape),
    ),
    _mistake(
        "dx: divided by the images",
        "is divided by the number of images too: each has an x of its own",
        dx=lambda p: p.dx / len(p.x),
    ),
)


def _windows(x: np.ndarray) -> np.ndarray:
    """(N, H, W, C) -> (N, H / 2, W / 2, C, 4)."""
    return np.stack([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)], -1)


def _mean(x: np.ndarray) -> np.ndarray:
    return _windows(x).mean(-1)


MISTAKES = (*_MAX, *_MAX_WITH_SETTINGS, *_AVERAGE, *_AVERAGE_WITH_SETTINGS, *_GLOBAL)
