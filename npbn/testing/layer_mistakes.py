"""What a wrong backward pass of a layer is, where its y is that of a known operation."""

from collections.abc import Iterator, Mapping

import numpy as np

from npbn._checks import Array
from npbn.layers import Layer
from npbn.network import Sequential
from npbn.testing.cases import CASES
from npbn.testing.comparison import LayerProbe
from npbn.testing.diagnosis import Diagnosis, Explanation, Look
from npbn.testing.functions import Arrays, is_close
from npbn.testing.like import KNOWN, Like, parameters_of
from npbn.testing.own_epsilon import solved

ROUNDING = 1e-9


def of_layer(
    layer: Layer, probe: LayerProbe, dy: Array, given: Mapping[str, Array]
) -> dict[str, Explanation]:
    """Of each array whose gradient is not its operation's, what explains it.

    probe: of the layer, after a pass elsewhere. given: what backward says, "dx", "d(gamma)" ...
    Nothing where no known operation has the layer's y, or no known mistake makes what was given.
    """
    arrays, earlier = (
        {_plain(name): array for name, array in each.items()}
        for each in (probe.arrays, probe.elsewhere)
    )
    own = {f"d{_plain(name)}": array for name, array in given.items()}
    for like, now, before, options in _operations(layer, arrays, earlier, probe.forward()):
        pieces = like.pieces(now, dy, before, **options)
        diagnosis = Diagnosis([Look(pieces, own)], like.mistakes, lambda name: ROUNDING)
        found = {
            name: diagnosis.explain(f"d{_plain(name)}")
            for name, array in given.items()
            if not is_close(getattr(pieces, f"d{_plain(name)}"), array, 10 * ROUNDING)
        }
        return {name: each for name, each in found.items() if each is not None}
    return {}


def of_network(
    network: Sequential, network_probe: LayerProbe, rng: np.random.Generator
) -> dict[str, Explanation]:
    """The same of its layers, each by itself, with a dy of its own.

    A parameter's gradient is called as in the network, "d(1.gamma)"; a layer's dx by the layer.
    """
    found, x = dict[str, Explanation](), network_probe.x
    for place, layer in enumerate(network.layers):
        probe = LayerProbe(layer, x, *network_probe.mode)
        probe.forward_elsewhere(rng)
        x = probe.forward()
        dy = rng.standard_normal(x.shape)
        for name, each in of_layer(layer, probe, dy, probe.backward(dy)).items():
            in_network = f"d({place}.{_plain(name)})"
            found[f"layer {place}, {layer!r}: dx" if name == "dx" else in_network] = each
    return found


def _plain(name: str) -> str:
    """The array of which "dx" or "d(gamma)" is the gradient."""
    return name.removeprefix("d").strip("()")


def _operations(
    layer: Layer, arrays: Mapping[str, Array], earlier: Mapping[str, Array], y: Array
) -> Iterator[tuple[Like, Arrays, Arrays, dict[str, float]]]:
    """Those whose y it is: with the arrays as they call them, of both passes, and an epsilon."""
    state = {name.removeprefix("population_"): each for name, each in layer.state.items()}
    for name in KNOWN:
        like = _like(name, layer)
        parameters = {"x", *CASES[name].parameters}
        if like is None or like.result != "y" or not set(arrays) <= parameters:
            continue
        try:
            own, before = (_completed(like, each, state) for each in (arrays, earlier))
            options = _epsilon(like, layer, own, y)
            with np.errstate(all="ignore"):
                found = like.result_of(own, **options)
        except Exception:  # whatever NumPy raises of arrays that are none of this operation's
            continue
        if found.shape == y.shape and is_close(found, y, ROUNDING):
            yield like, own, before, options


def _like(name: str, layer: Layer) -> Like | None:
    """An operation with a layer's options; None where it needs more."""
    arguments, known = parameters_of(name)
    options = {each.name: getattr(layer, each.name) for each in known if hasattr(layer, each.name)}
    try:
        return Like(name, len(arguments), options)
    except TypeError:
        return None


def _completed(like: Like, arrays: Mapping[str, Array], state: Mapping[str, Array]) -> Arrays:
    """The arrays that an operation takes; a layer without gamma or beta has those of 1 or 0."""
    features = arrays["x"].shape[-1]
    neutral = {"gamma": np.ones(features), "beta": np.zeros(features), "bias": None}
    return {
        name: found
        for name in like.names
        if (found := {**neutral, **state, **arrays}[name]) is not None
    }


def _epsilon(like: Like, layer: Layer, arrays: Arrays, y: Array) -> dict[str, float]:
    if not like.finds_epsilon:
        return {}
    return {"epsilon": solved(lambda value: like.result_with_epsilon(arrays, value), y)}
