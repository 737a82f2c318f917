"""Wrong recurrent layers."""

from typing import Any

import numpy as np

from npbn import reference
from npbn.testing.mistake import Pieces, mistakes_of

# As many features as units: of a transpose nobody can tell the shape.
_SQUARE = (4, 4, 3)


def _given(p: Pieces, **changed: Any) -> dict[str, Any]:
    names = ("x", "input_weight", "recurrent_weight", "bias")
    given = {name: getattr(p, name) for name in names}
    return given | {"last_only": getattr(p, "last_only", False)} | changed


def _y(p: Pieces, **changed: Any) -> Any:
    return reference.rnn_forward(**_given(p, **changed))[0]


def _back(
    p: Pieces,
    *,
    slope: Any = lambda h: 1 - h**2,
    turn: Any = lambda weight: weight.T,
    steps: int | None = None,
    hand_back: bool = True,
) -> tuple[Any, ...]:
    """The gradients by another derivation: of the last steps alone, with another slope."""
    states = reference.rnn_forward(**_given(p, last_only=False))[0]
    length, before = p.x.shape[1], np.zeros_like(states[:, 0])
    dx, gradients = np.zeros_like(p.x), [np.zeros_like(each) for each in _weights(p)]
    dh_back = p.dy if getattr(p, "last_only", False) else np.zeros_like(before)
    for t in reversed(range(length)):
        dh = dh_back if getattr(p, "last_only", False) else p.dy[:, t] + dh_back
        h, h_before = states[:, t], states[:, t - 1] if t else before
        dz = dh * slope(h)
        dx[:, t] = dz @ p.input_weight.T
        gradients[0] += p.x[:, t].T @ dz
        gradients[1] += h_before.T @ dz
        gradients[2] += dz.sum(0)
        dh_back = dz @ turn(p.recurrent_weight) * hand_back
        if steps is not None and length - t >= steps:
            dh_back = 0 * dh_back
    return dx, *gradients


def _weights(p: Pieces) -> tuple[Any, ...]:
    return p.input_weight, p.recurrent_weight, p.bias


def _add_pieces(p: Pieces) -> None:
    if p.dy is not None:
        p.of_one_step = _back(p, hand_back=False)
        p.not_turned = _back(p, turn=lambda weight: weight)
        p.no_slope = _back(p, slope=np.ones_like)
        p.sigmoids_slope = _back(p, slope=lambda h: h * (1 - h))
        p.cut = _back(p, steps=2)


_mistake = mistakes_of("rnn", _add_pieces)
_ALL = (
    _mistake(
        "y: no state",
        "is made of x alone: the state before goes into each step",
        y=lambda p: np.tanh(p.x @ p.input_weight + p.bias),
    ),
    _mistake(
        "y: the recurrent weight is turned",
        "has h @ recurrent_weight', not h @ recurrent_weight",
        y=lambda p: _y(p, recurrent_weight=p.recurrent_weight.T),
    ),
    _mistake(
        "y: time runs backwards",
        "reads the sequence from its end",
        y=lambda p: _y(p, x=p.x[:, ::-1]),
    ),
    _mistake("y: no bias", "lacks the bias", y=lambda p: _y(p, bias=0 * p.bias)),
    _mistake(
        "nothing is handed back",
        "is that of each step by itself: what a step does to later ones counts, too",
        dx=lambda p: p.of_one_step[0],
        dinput_weight=lambda p: p.of_one_step[1],
        drecurrent_weight=lambda p: p.of_one_step[2],
        dbias=lambda p: p.of_one_step[3],
    ),
    _mistake(
        "no transpose in what is handed back",
        "hands dz @ recurrent_weight back, not dz @ recurrent_weight'",
        dx=lambda p: p.not_turned[0],
    ),
    _mistake(
        "no slope",
        "lacks the derivative of tanh, 1 - h^2",
        dx=lambda p: p.no_slope[0],
        drecurrent_weight=lambda p: p.no_slope[2],
    ),
    _mistake(
        "the sigmoid's slope",
        "has h * (1 - h), the sigmoid's derivative, not 1 - h^2",
        dx=lambda p: p.sigmoids_slope[0],
    ),
    _mistake(
        "cut off after two steps",
        "goes back two steps from the end, and no further",
        dx=lambda p: p.cut[0],
        drecurrent_weight=lambda p: p.cut[2],
    ),
    _mistake(
        "dinput_weight of the last step",
        "is that of the last step alone: the weight is used in every one",
        dinput_weight=lambda p: p.x[:, -1].T @ (p.dy[:, -1] * (1 - p.y[:, -1] ** 2)),
    ),
    _mistake(
        "drecurrent_weight of the state after",
        "has h_t, not the h_(t-1) that the weight was multiplied by",
        drecurrent_weight=lambda p: np.einsum(
            "ntu,ntv->uv", p.y, (p.dx @ np.linalg.pinv(p.input_weight.T))
        ),
        shape=_SQUARE,
    ),
    _mistake(
        "no transpose in dx",
        "is dz @ input_weight, not dz @ input_weight'",
        dx=lambda p: p.dx @ np.linalg.pinv(p.input_weight.T) @ p.input_weight,
        shape=_SQUARE,
    ),
    _mistake(
        "dbias is a mean over time",
        "is divided by the number of steps: the bias is added at every one",
        dbias=lambda p: p.dbias / p.x.shape[1],
    ),
)

_mistake = mistakes_of("rnn, of the last step", _add_pieces)
_OF_THE_LAST = (
    _mistake(
        "y: the first step",
        "is the first step's state, not the last one's",
        y=lambda p: _y(p, last_only=False)[:, 0],
    ),
    _mistake(
        "y: the mean",
        "is the mean of all states, not the last one",
        y=lambda p: _y(p, last_only=False).mean(1),
    ),
    _mistake(
        "dx of the last step",
        "is 0 before the last step: the state carries what was before",
        dx=lambda p: p.of_one_step[0],
    ),
    _mistake(
        "dy at every step",
        "adds dy at every step: y is the last one",
        dx=lambda p: _gradients_of_all(p)[0],
        dbias=lambda p: _gradients_of_all(p)[3],
    ),
)


def _gradients_of_all(p: Pieces) -> Any:
    y, cache = reference.rnn_forward(**_given(p, last_only=False))
    return reference.rnn_backward(np.repeat(p.dy[:, np.newaxis], y.shape[1], 1), cache)


MISTAKES = (*_ALL, *_OF_THE_LAST)
