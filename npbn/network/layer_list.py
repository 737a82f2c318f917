"""What is made of a list of layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from npbn.layers.layer import Layer
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode, Plan
from npbn.layers.readers import runs_as_written
from npbn.layers.running_average import lay_side_by_side
from npbn.network.summary import checked, html_table


class LayerList(Layer):
    """A layer made of layers, which a network lays flat among its own."""

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = checked(layers)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers, in order."""
        return self._layers

    def __len__(self) -> int:
        return len(self._layers)

    def __getitem__(self, place: Any) -> Any:
        return self._layers[place]

    def __iter__(self) -> Iterator[Layer]:
        return iter(self._layers)

    def _layers_within(self) -> dict[str, Layer]:
        return {str(place): layer for place, layer in enumerate(self._layers)}

    def _pending_pass(self) -> tuple[Plan, int, int] | None:
        """A pass of its own, or its part of one of the network around it."""
        if self._pending is not None:
            return self._pending
        known = [each._pending for each in self._leaves if each._pending is not None]
        if not known:
            return None
        (plan, first, _), (_, _, end) = known[0], known[-1]
        is_whole = plan.is_network and end - first == len(self._leaves)
        return (plan, first, end) if is_whole and all(each[0] is plan for each in known) else None

    def _flat(self, name: str) -> tuple[Layer, ...]:
        """The `_leaves` or `_units` of its layers, one after another."""
        return tuple(
            each
            for layer in self._layers
            for each in ((layer,) if runs_as_written(layer) else getattr(layer, name))
        )

    def _lay_statistics(self) -> None:
        """The population statistics of all layers side by side, where one update moves them."""
        lay_side_by_side(
            [
                each._running_average
                for each in self._leaves
                if each._running_average is not None and not runs_as_written(each)
            ]
        )

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        """Not asked: its layers are run one after another."""
        raise TypeError(f"{self!r}: run its layers one after another")

    def __repr__(self) -> str:
        return f"{type(self).__name__}([{', '.join(map(repr, self._layers))}])"

    def _repr_html_(self) -> str:
        return html_table(self)
