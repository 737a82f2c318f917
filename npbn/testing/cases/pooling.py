"""Pooling of images."""

from typing import Any

import numpy as np

from npbn.layers import AvgPool2D, GlobalAvgPool2D, MaxPool2D
from npbn.testing.case import IMAGES, Case, Inputs, Shape, for_images, images


def _pooled(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return {"x": images(rng, shape, dtype, axes=None), "size": 2}


def _with_settings(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return {
        "x": images(rng, shape, dtype),
        "size": [3, 2],
        "stride": [2, 1],
        "padding": [[1, 1], [0, 1]],
        "dilation": [1, 2],
    }


def _with_padding(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return _with_settings(rng, shape, dtype) | {"count_padding": True}


CASES = (
    Case(
        "max_pool",
        _pooled,
        ("dx",),
        {
            "MaxPool2D": for_images(lambda rng, shape, dtype: MaxPool2D(2)),
            "MaxPool2D, overlapping": for_images(
                lambda rng, shape, dtype: MaxPool2D(3, stride=2, padding="same")
            ),
        },
        shapes=IMAGES,
        has_kinks=True,
    ),
    Case(
        "max_pool",
        _with_settings,
        ("dx",),
        shapes=IMAGES,
        has_kinks=True,
        variant="with settings",
    ),
    Case(
        "average_pool",
        _pooled,
        ("dx",),
        {
            "AvgPool2D": for_images(lambda rng, shape, dtype: AvgPool2D(2)),
            "AvgPool2D, overlapping": for_images(
                lambda rng, shape, dtype: AvgPool2D(3, stride=2, padding="same")
            ),
        },
        shapes=IMAGES,
    ),
    Case("average_pool", _with_padding, ("dx",), shapes=IMAGES, variant="with settings"),
    Case(
        "global_average_pool",
        lambda rng, shape, dtype: {"x": images(rng, shape, dtype, axes=None)},
        ("dx",),
        {"GlobalAvgPool2D": for_images(lambda rng, shape, dtype: GlobalAvgPool2D())},
        shapes=IMAGES,
    ),
)
