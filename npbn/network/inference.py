"""Inference in blocks, whose arrays stay within some megabytes."""

import copy
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from npbn._checks import Array
from npbn.layers.layer import Layer
from npbn.layers.plan import Mode, Plan
from npbn.layers.readers import adapted, computing, runs_as_written

# Inference goes by blocks of rows whose activations stay in a CPU's cache, and in this many bytes
# where a row is large.
ROWS = 500
BYTES = 1 << 22


def blocks_through(
    layers: Sequence[Layer], images: Array, batch_size: int, mask: Array | None = None
) -> Iterator[tuple[Array, Array | None]]:
    """What becomes of the images, block by block, and the mask that is left of theirs.

    The next block may be written over the one before.
    """
    mode = Mode(False, "population", keeps=False)
    plan: Plan | None = None
    for start in range(0, len(images), batch_size):
        block = images[start : start + batch_size]
        if mask is not None:
            mode, plan = mode._replace(mask=mask[start : start + batch_size]), None
        if plan is None or plan.shapes[0] != block.shape:
            plan = Plan(layers, block.shape, block.dtype, mode, is_network=True)
        with computing():
            y = plan.forward(np, layers, block, None) if layers else block
        yield y, mode.behind(layers).mask


def known_shapes(layers: Sequence[Layer], shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The shape of x and of each layer's output, up to the first reader's layer, which decides it.

    ValueError, naming the layer, where a layer cannot take what comes.
    """
    shapes = [shape]
    for layer in layers:
        if runs_as_written(layer):
            break
        try:
            shapes.append(layer.output_shape(shapes[-1]))
        except ValueError as error:
            if str(error).startswith("layer ") or not layer._path:
                raise
            raise ValueError(f"layer {layer._path}, {error}") from None
    return shapes


def rows_at_a_time(layers: Sequence[Layer], images: Array, most: int = ROWS) -> int:
    """How many rows of images go through the layers at once. ValueError as `known_shapes`."""
    largest = max(math.prod(shape[1:]) for shape in known_shapes(layers, images.shape))
    return max(1, min(most, BYTES // (largest * images.itemsize)))


def first_not_finite(steps: Sequence[Layer], x: Array, **options: Any) -> str:
    """The first of its steps whose output in training is not finite; copies are run."""
    for layer in steps:
        where = layer._name
        broken = [name for name, value in layer.parameters.items() if not np.isfinite(value).all()]
        try:
            x = adapted(copy.deepcopy(layer).forward)(
                x, training=True, statistics="batch", **options
            )
        except ValueError:  # a batch norm refuses
            x = np.full_like(x, np.nan)
        if not np.isfinite(x).all():
            break
    note = f" (its {' and '.join(broken)} no longer finite)" if broken else ""
    return f"{where}{note}"
