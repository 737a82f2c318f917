"""Batch norms folded into the weights before them."""

from collections.abc import Sequence

import numpy as np

from npbn.layers.layer import Layer
from npbn.layers.readers import runs_as_written


@np.errstate(all="ignore")
def folded_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Copies of the layers, each affine one folded into the one directly before it, if that can be.

    ::

        y = scale * (x @ weight + bias) + shift  =  x @ (weight * scale) + (bias * scale + shift)
    """
    result: list[Layer] = []
    for layer in layers:
        affine = None if runs_as_written(layer) else layer.affine()
        before = result[-1] if result and not runs_as_written(result[-1]) else None
        folded = None if affine is None or before is None else before.scaled(*affine)
        if folded is None:
            result.append(layer._folded())
        else:
            result[-1] = folded
    return result
