"""Layers that begin with the same numbers, as from one seed."""

from collections.abc import Iterator, Sequence
from typing import Any

from npbn._checks import Array
from npbn.layers.layer import Layer

# Fewer equal values than that may be meant.
FEW = 16


def same_draws(layers: Sequence[Layer], told: Sequence[bool]) -> str | None:
    """What equal arrays and generators of different layers are called; None without any.

    Parameters
    ----------
    told : sequence of bool
        For each layer, whether it has already told of what is equal within it.
    """
    groups: dict[Any, dict[str, int]] = {}
    for place, layer in enumerate(layers):
        known: set[Any] = set()
        for name, key, identity in _draws(layer):
            if not (told[place] and key in known):
                groups.setdefault(key, {}).setdefault(
                    f"{place}.{name}".replace("._", "."), identity
                )
            known.add(key)
    texts = [" = ".join(each) for each in groups.values() if len(set(each.values())) > 1]
    return ", ".join(texts) or None


def _draws(layer: Layer) -> Iterator[tuple[str, Any, int]]:
    """Its arrays and generators: name, what is equal of those from one seed, which object it is."""
    for name, value in layer.parameters.items():
        if value.size >= FEW and _looks_drawn(value):
            yield name, (value.shape, value.tobytes()), id(value)
    for name, rng in layer.generators.items():
        source = rng.bit_generator
        yield name, repr(source.state), id(source)


def _looks_drawn(value: Array) -> bool:
    """Whether it takes more than two values: an LSTM's first bias has 0 and 1, in every LSTM."""
    others = value[value != value.flat[0]]
    return bool((others != others[:1]).any())
