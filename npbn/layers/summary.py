"""What the layers of a network have in common, and a table of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn.layers.base import Layer


def size(layer: Layer) -> int:
    """How many numbers a layer's parameters are."""
    return sum(value.size for value in layer.parameters.values())


def checked(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers, if a network can be made of them; else a TypeError or ValueError."""
    layers = checks.items("layers", layers, "layers")
    if not layers:
        raise ValueError("layers: expected one layer or more, got none")
    for place, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            hint = f": write {layer.__name__}(...)" if isinstance(layer, type) else ""
            raise TypeError(f"layers[{place}]: expected a Layer, got {layer!r}{hint}")
        owner = layer._network() if layer._network is not None else None
        if owner is not None or any(layer is other for other in layers[:place]):
            raise ValueError(
                f"layers[{place}]: {layer!r} is used twice, or in another network; a layer "
                "belongs to one network: make another, or use copy.deepcopy(layer)"
            )
    return tuple(layers)


def table(layers: Sequence[Layer]) -> str:
    """One line a layer: its place, what it is, the shape of its output, how many parameters."""
    features = "?"
    rows = [("", "layer", "output shape", "parameters")]
    for place, layer in enumerate(layers):
        known = getattr(layer, "out_features", getattr(layer, "features", None))
        if known is not None:
            features = str(known)
        elif not layer.__module__.startswith("npbn."):
            features = "?"
        rows.append((str(place), repr(layer), f"(N, {features})", f"{size(layer):,}"))
    a, b, c, d = (max(len(row[column]) for row in rows) for column in range(4))
    lines = [f"{w:>{a}}  {x:<{b}}  {y:<{c}}  {z:>{d}}" for w, x, y, z in rows]
    dtype = next((layer.dtype for layer in layers if layer.dtype is not None), "no type")
    return "\n".join([*lines, f"{sum(map(size, layers)):,} parameters, {dtype}"])


def common_dtype(layers: Sequence[Layer]) -> np.dtype[Any] | None:
    """The type of all their parameters; None without any. TypeError if they differ."""
    common = None
    for place, layer in enumerate(layers):
        if layer.dtype is not None and common is not None and layer.dtype != common:
            raise TypeError(
                f"layers[{place}]: {layer!r} holds {layer.dtype}, the layers before it {common}: "
                f"use one type, say layer.astype(np.{common})"
            )
        common = common if layer.dtype is None else layer.dtype
    return common
