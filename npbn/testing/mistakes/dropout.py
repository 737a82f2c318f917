"""Wrong dropouts."""

import copy

import numpy as np

from npbn.testing.mistake import Pieces, mistakes_of


def _pieces(p: Pieces) -> None:
    rng = np.random.default_rng(copy.deepcopy(p.rng))
    masks = [rng.random(p.x.shape, dtype=np.float32) >= p.rate for _ in range(2)]
    p.kept, p.drawn_again = masks
    p.share = 1 - p.rate


_mistake = mistakes_of("dropout", _pieces)
MISTAKES = (
    _mistake("no mask", "equals dy, also where x was dropped", dx=lambda p: p.dy),
    _mistake(
        "the scale everywhere",
        "is dy / (1 - rate), also where x was dropped",
        dx=lambda p: p.dy / p.share,
    ),
    _mistake("no scale", "is not divided by 1 - rate", dx=lambda p: p.dy * p.kept),
    _mistake(
        "scaled the wrong way",
        "is multiplied by 1 - rate, not divided",
        dx=lambda p: p.dy * p.kept * p.share,
    ),
    _mistake("scaled twice", "is divided by 1 - rate twice", dx=lambda p: p.dx / p.share),
    _mistake(
        "divided by the rate",
        "is divided by rate, not by 1 - rate",
        dx=lambda p: p.dy * p.kept / p.rate,
    ),
    _mistake(
        "the dropped ones",
        "is dy where x was dropped, not where it was kept",
        dx=lambda p: p.dy * ~p.kept / p.share,
    ),
    _mistake(
        "another mask",
        "has a mask that was drawn again, not that of the forward pass",
        dx=lambda p: p.dy * p.drawn_again / p.share,
    ),
)
