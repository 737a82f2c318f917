"""What the layers of a network have in common, and a table of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn import _html
from npbn.layers.layer import Layer
from npbn.layers.readers import runs_as_written, within
from npbn.numerics import read_only_mapping

_HEADER = ("", "layer", "output shape", "parameters")


def size(layer: Layer) -> int:
    """How many numbers a layer's parameters are."""
    return sum(value.size for value in layer.parameters.values())


def checked(layers: Sequence[Layer]) -> tuple[Layer, ...]:
    """The layers, if a network can be made of them; else a TypeError or ValueError."""
    layers = checks.items("layers", layers, "layers", single=Layer)
    if not layers:
        raise ValueError("layers: expected one layer or more, got none")
    known: set[int] = set()
    for place, layer in enumerate(layers):
        if not isinstance(layer, Layer):
            hint = f": write {layer.__name__}(...)" if isinstance(layer, type) else ""
            raise TypeError(f"layers[{place}]: expected a Layer, got {layer!r}{hint}")
        for each in within([layer]):
            owner = None if each._owner is None else each._owner()
            if id(each) in known or (owner is not None and id(owner) not in known):
                raise ValueError(
                    f"layers[{place}]: {each!r} is used twice, or in another network; a layer "
                    "belongs to one network: make another, or use copy.deepcopy(layer)"
                )
            known.add(id(each))
    return tuple(layers)


def common_dtype(layers: Sequence[Layer]) -> np.dtype[Any] | None:
    """The type of all their parameters; None without any. TypeError if they differ."""
    common = None
    for place, outer in enumerate(layers):
        for layer in within([outer]):
            if layer.dtype is not None and common is not None and layer.dtype != common:
                raise TypeError(
                    f"layers[{place}]: {outer!r} holds {layer.dtype}, the layers before it "
                    f"{common}: use one type, say layer.astype(np.{common}), or np.ones(5, "
                    f"np.{common}) and the like where its arrays are made"
                )
            common = common if layer.dtype is None else layer.dtype
    return common


def table(network: Layer) -> str:
    """One line a layer: its place, what it is, the shape of its output, how many parameters."""
    rows = [(*row, f"{count:,}") for *row, count in _rows(network, _first_shape(network), "")[0]]
    rows.insert(0, _HEADER)
    a, b, c, d = (max(len(row[column]) for row in rows) for column in range(4))
    lines = [f"{w:>{a}}  {x:<{b}}  {y:<{c}}  {z:>{d}}" for w, x, y, z in rows]
    return "\n".join([*lines, _total(network)])


def html_table(network: Layer) -> str:
    """The same in HTML, and behind it the arrays."""
    rows = [
        (name, _html.code(text), shape, count)
        for name, text, shape, count in _rows(network, _first_shape(network), "")[0]
    ]
    arrays = {**network.parameters, **network.state}
    return _html.block(
        _html.table(_HEADER, rows),
        _html.paragraph(_total(network)),
        *(
            [_html.details("parameters and state", read_only_mapping.table(arrays))]
            if arrays
            else []
        ),
    )


def _total(network: Layer) -> str:
    dtype = "no type" if network.dtype is None else network.dtype
    return f"{size(network):,} parameters, {dtype}"


def _first_shape(network: Layer) -> tuple[str, ...]:
    """That of x: of as many axes as the first layer takes that takes so many alone."""
    for layer in network._leaves:
        if runs_as_written(layer):
            break
        if layer._takes_axes is not None:
            return "N", *["?"] * (layer._takes_axes - 1)
    return "N", "?"


def _rows(outer: Layer, shape: Any, prefix: str) -> tuple[list[tuple[Any, ...]], Any]:
    """Those of the layers within, and the shape that comes of the given one, as far as known."""
    rows: list[tuple[Any, ...]] = []
    for key, layer in outer._layers_within().items():
        name, text = f"{prefix}{key}", repr(layer)
        if shape is not None:
            is_list = layer._leaves != (layer,) and not runs_as_written(layer)
            below, result = _rows(layer, shape if is_list else None, f"{name}.")
            text = f"{type(layer).__name__}([...])" if is_list else text
            shape = result if is_list else _next_shape(layer, shape)
        else:
            below, _ = _rows(layer, None, f"{name}.")
        shown = "" if shape is None else f"({', '.join(map(str, shape))})"
        rows += [(name, text, shown, size(layer)), *below]
    return rows, shape


def _next_shape(layer: Layer, shape: tuple[Any, ...]) -> tuple[Any, ...]:
    """The shape of its output, as far as it is known."""
    if runs_as_written(layer):
        return "N", "?"
    if layer._takes_axes is not None and len(shape) != layer._takes_axes:
        shape = ("N", *["?"] * (layer._takes_axes - 1))
    if layer._takes_features is not None:
        shape = (*shape[:-1], layer._takes_features)
    return layer.output_shape(shape)
