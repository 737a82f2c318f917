"""A forward pass, layer by layer: what each one is given, and what it makes of it."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from npbn._checks import Array, Statistics
from npbn.layers.layer import Layer
from npbn.layers.plan import Mode, Plan
from npbn.layers.readers import computing


class LayerRun(NamedTuple):
    """A layer's part in a forward pass: its name in the network, what it got, what it made."""

    name: str
    layer: Layer
    x: Array
    y: Array


def watched_run(layers: Sequence[Layer], x: Array, statistics: Statistics) -> list[LayerRun]:
    """A pass in inference: each layer's part, in the order in which they end."""
    mode = Mode(False, statistics, keeps=False)
    plan = Plan(layers, x.shape, x.dtype, mode, is_network=True)
    arrays = [x.copy()]
    with computing():
        plan.forward(np, layers, x, None, watch=lambda y: arrays.append(y.copy()))
    runs: list[LayerRun] = []
    begun: list[Array] = []
    for layer, each, (x, y) in zip(layers, plan.passes, pairwise(arrays), strict=True):
        if each.operation is not None and each.operation.begins:
            begun.append(x)
            continue
        if each.operation is not None and each.operation.ends:
            block: Any = layer._owner
            layer, x = block(), begun.pop()
        runs.append(LayerRun(layer._name, layer, x, y))
    return runs
