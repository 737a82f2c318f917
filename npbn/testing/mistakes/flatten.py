"""Wrong flattenings."""

import numpy as np

from npbn.testing.mistake import mistakes_of

_mistake = mistakes_of("flatten", shape=(2, 3, 3, 2))
MISTAKES = (
    _mistake(
        "y: channels first",
        "has the channels before the pixels: the last axis is the fastest",
        y=lambda p: np.moveaxis(p.x, -1, 1).reshape(p.y.shape),
    ),
    _mistake(
        "dx: channels first",
        "was cut as if the channels came before the pixels",
        dx=lambda p: np.moveaxis(p.dy.reshape(2, 2, 3, 3), 1, -1),
    ),
    _mistake(
        "dx: the rows of another image",
        "belongs to another image",
        dx=lambda p: np.roll(p.dx, 1, axis=0),
    ),
)
