"""A table of a network's layers."""

from collections.abc import Sequence

from npbn.layers.base import Layer


def size(layer: Layer) -> int:
    """How many numbers a layer's parameters are."""
    return sum(value.size for value in layer.parameters.values())


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
