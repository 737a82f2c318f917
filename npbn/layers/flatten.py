"""Flattening as a layer."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from npbn.functional.flatten import FlattenOperation
from npbn.layers.layer import Layer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode


class Flatten(Layer):
    """Each image as one row of features: (N, H, W, C) -> (N, H * W * C), a view.

    The last axis is the fastest, and dx is dy in x's shape::

        y[n, (h * W + w) * C + c] = x[n, h, w, c]
    """

    def __init__(self) -> None:
        super().__init__()

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        return Pass(FlattenOperation(shape, dtype))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        images, *rest = super().output_shape(shape)
        # To print a network whose images are of any size.
        known: Any = prod(rest) if all(isinstance(each, int) for each in rest) else "?"
        return images, known
