"""What a wrong backward pass of a layer is, where its y is that of a known operation."""

import inspect
from collections.abc import Iterator, Mapping

import numpy as np

from npbn import reference
from npbn._checks import Array
from npbn.layers import Layer
from npbn.testing.cases import CASES
from npbn.testing.diagnosis import Diagnosis, Explanation, Look
from npbn.testing.epsilon import solved
from npbn.testing.functions import Arrays, is_close
from npbn.testing.like import KNOWN, Like

ROUNDING = 1e-9


def explained(
    layer: Layer,
    arrays: Mapping[str, Array],
    earlier: Mapping[str, Array],
    y: Array,
    dy: Array,
    given: Mapping[str, Array],
) -> dict[str, Explanation]:
    """Of each array what explains what was given; nothing where no operation has this y.

    arrays, earlier: x under the name "x", and the parameters, of this pass and of another one
    before. given: of wrong arrays what backward said, under the names "dx" and "dgamma".
    """
    for like, own, before, options in _operations(layer, arrays, earlier, y):
        pieces = like.pieces(own, dy, before, **options)
        diagnosis = Diagnosis([Look(pieces, given)], like.mistakes, lambda name: ROUNDING)
        found = {name: diagnosis.explain(name) for name in given}
        return {name: each for name, each in found.items() if each is not None}
    return {}


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
    parameters = inspect.signature(CASES[name].function(reference)).parameters.values()
    arguments = [each for each in parameters if each.kind is each.POSITIONAL_OR_KEYWORD]
    options = {
        each.name: getattr(layer, each.name)
        for each in parameters
        if each.kind is each.KEYWORD_ONLY and hasattr(layer, each.name)
    }
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
