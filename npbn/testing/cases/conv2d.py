"""Convolution over images."""

from typing import Any

import numpy as np

from npbn.layers import Conv2D
from npbn.testing.case import IMAGES, Case, Inputs, Shape, for_images, images, normal


def _conv2d(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    filters = shape[-1] // 2 + 1
    return {
        "x": images(rng, shape, dtype),
        "weight": normal(rng, (3, 3, shape[-1], filters), dtype),
        "bias": normal(rng, (filters,), dtype),
    }


def _with_settings(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    groups = 2 if shape[-1] % 2 == 0 else 1
    return {
        "x": images(rng, shape, dtype),
        "weight": normal(rng, (2, 3, shape[-1] // groups, 4), dtype),
        "bias": normal(rng, (4,), dtype),
        "stride": [2, 1],
        "padding": [[1, 0], [1, 2]],
        "dilation": [1, 2],
        "groups": groups,
    }


_GRADIENTS = ("dx", "dweight", "dbias")

CASES = (
    Case(
        "conv2d",
        _conv2d,
        _GRADIENTS,
        {
            "Conv2D": for_images(
                lambda rng, shape, dtype: Conv2D(shape[-1], 3, 3, rng=rng, dtype=dtype)
            ),
            "Conv2D without bias": for_images(
                lambda rng, shape, dtype: Conv2D(
                    shape[-1], 2, (3, 2), padding="valid", use_bias=False, rng=rng, dtype=dtype
                )
            ),
        },
        shapes=IMAGES,
        free_axes={"weight": 2},
    ),
    Case(
        "conv2d",
        _with_settings,
        _GRADIENTS,
        {
            "Conv2D with strides": for_images(
                lambda rng, shape, dtype: Conv2D(shape[-1], 2, 3, stride=2, rng=rng, dtype=dtype)
            ),
            "Conv2D of each channel": for_images(
                lambda rng, shape, dtype: Conv2D(
                    shape[-1], 2 * shape[-1], 2, groups=shape[-1], rng=rng, dtype=dtype
                )
            ),
        },
        shapes=IMAGES,
        free_axes={"weight": 2},
        variant="with settings",
    ),
)
