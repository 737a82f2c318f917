"""Wrong long short-term memories."""

from typing import Any

import numpy as np

from npbn import reference
from npbn.testing.mistake import Pieces, mistakes_of


def _given(p: Pieces, **changed: Any) -> dict[str, Any]:
    names = ("x", "input_weight", "recurrent_weight", "bias")
    given = {name: getattr(p, name) for name in names}
    return given | {"last_only": getattr(p, "last_only", False)} | changed


def _y(p: Pieces, **changed: Any) -> Any:
    return reference.lstm_forward(**_given(p, **changed))[0]


def _in_order(p: Pieces, order: str) -> dict[str, Any]:
    """The weights, as one reads them who takes the gates to be in another order."""
    columns = np.concatenate([np.arange(3) + 3 * "ifgo".index(gate) for gate in order])
    names = ("input_weight", "recurrent_weight", "bias")
    return {name: getattr(p, name)[..., columns] for name in names}


def _back(p: Pieces, wrong: str = "") -> tuple[Any, ...]:
    """The gradients, with one thing wrong in the derivation."""
    _, cache = reference.lstm_forward(**_given(p))
    h, c, is_last = cache.h, cache.c, getattr(p, "last_only", False)
    dx = np.zeros_like(p.x)
    gradients = [np.zeros_like(each) for each in (p.input_weight, p.recurrent_weight, p.bias)]
    dh_back, dc_back = p.dy if is_last else np.zeros_like(h[0]), np.zeros_like(c[0])
    for t in reversed(range(p.x.shape[1])):
        i, f, g, o = cache.gates[t]
        dh = dh_back if is_last else p.dy[:, t] + dh_back
        tanh_c = np.tanh(c[t + 1])
        slope = 1 if wrong == "no slope of tanh(c)" else 1 - tanh_c**2
        dc = dc_back + dh * slope * (1 if wrong == "no o in dc" else o)
        if wrong == "no dh in dc":
            dc = dc_back + 0 * dh
        kept = c[t + 1] if wrong == "c_t for c_(t-1)" else c[t]
        dz_i, dz_f = dc * g * i * (1 - i), dc * kept * f * (1 - f)
        if wrong == "no gradient of f":
            dz_f = 0 * dz_f
        slope_g = g * (1 - g) if wrong == "a sigmoid's slope for g" else 1 - g**2
        dz_g, dz_o = dc * i * slope_g, dh * tanh_c * o * (1 - o)
        if wrong == "c for tanh(c) in o":
            dz_o = dh * c[t + 1] * o * (1 - o)
        if wrong == "i and g are exchanged":
            dz_i, dz_g = dc * i * i * (1 - i), dc * g * slope_g
        dz = np.concatenate([dz_i, dz_f, dz_g, dz_o], 1)
        dx[:, t] = dz @ p.input_weight.T
        gradients[0] += p.x[:, t].T @ dz
        gradients[1] += h[t + 1 if wrong == "h_t for h_(t-1)" else t].T @ dz
        gradients[2] += dz.sum(0)
        dh_back = dz @ p.recurrent_weight.T * (wrong != "dh is not handed back")
        dc_back = dc * (1 if wrong == "no f in dc" else f) * (wrong != "dc is not handed back")
    return dx, *gradients


_NAMES = ("dx", "dinput_weight", "drecurrent_weight", "dbias")


def _wrong(wrong: str, *names: str) -> dict[str, Any]:
    """Those of the gradients that are to be wrong."""

    def of(place: int) -> Any:
        return lambda p: _back(p, wrong)[place]

    return {name: of(_NAMES.index(name)) for name in names or _NAMES}


_mistake = mistakes_of("lstm")
_ALL = (
    _mistake(
        "y: the gates in the order i, f, o, g",
        "has the gates in the order i, f, o, g: here they are i, f, g, o",
        y=lambda p: _y(p, **_in_order(p, "ifog")),
    ),
    _mistake(
        "y: the gates in the order i, o, f, g",
        "has the gates in the order i, o, f, g, as ONNX has them: here they are i, f, g, o",
        y=lambda p: _y(p, **_in_order(p, "iofg")),
    ),
    _mistake(
        "y: nothing is forgotten",
        "has f = 1 throughout",
        y=lambda p: _y(p, bias=p.bias + 1e9 * (np.arange(12) // 3 == 1)),
    ),
    _mistake(
        "y: the forget gate has a bias of 1 besides",
        "has 1 added to the forget gate's bias: the bias that is given has it already",
        y=lambda p: _y(p, bias=p.bias + (np.arange(12) // 3 == 1)),
    ),
    _mistake(
        "y: no tanh of the cell",
        "is o * c, not o * tanh(c)",
        y=lambda p: np.arctanh(p.y / _outs(p)) * _outs(p),
    ),
    _mistake(
        "y: time runs backwards",
        "reads the sequence from its end",
        y=lambda p: _y(p, x=p.x[:, ::-1]),
    ),
    _mistake(
        "no gradient of the forget gate",
        "has no gradient of f, as if it were a constant",
        **_wrong("no gradient of f"),
    ),
    _mistake(
        "dc is not handed back",
        "does not carry dc to the step before: the cell is what remembers",
        **_wrong("dc is not handed back"),
    ),
    _mistake(
        "dh is not handed back",
        "does not carry dh to the step before: all gates see the state",
        **_wrong("dh is not handed back"),
    ),
    _mistake(
        "no f in what is handed back",
        "hands dc back as it is: f of the cell before is in c",
        **_wrong("no f in dc"),
    ),
    _mistake(
        "no slope of tanh(c)",
        "lacks the derivative of tanh(c), 1 - tanh(c)^2",
        **_wrong("no slope of tanh(c)"),
    ),
    _mistake("no o in dc", "lacks o in dc: h is o * tanh(c)", **_wrong("no o in dc")),
    _mistake(
        "a sigmoid's slope for g",
        "has g * (1 - g), a sigmoid's derivative: g is a tanh",
        **_wrong("a sigmoid's slope for g"),
    ),
    _mistake(
        "the cell after for the cell before",
        "has c_t in the forget gate's gradient, not c_(t-1)",
        **_wrong("c_t for c_(t-1)"),
    ),
    _mistake(
        "the cell for its tanh",
        "has c_t in the gradient of o, not tanh(c_t)",
        **_wrong("c for tanh(c) in o"),
    ),
    _mistake(
        "i and g are exchanged",
        "has i where g belongs, and g where i does: dz_i has g, dz_g has i",
        **_wrong("i and g are exchanged"),
    ),
    _mistake(
        "the state after for the state before",
        "has h_t, not the h_(t-1) that the weight was multiplied by",
        **_wrong("h_t for h_(t-1)", "drecurrent_weight"),
    ),
    _mistake(
        "dbias is a mean over time",
        "is divided by the number of steps: the bias is added at every one",
        dbias=lambda p: p.dbias / p.x.shape[1],
    ),
)

_mistake = mistakes_of("lstm, of the last step")
_OF_THE_LAST = (
    _mistake(
        "y: the cell",
        "is the cell, not the state that it shows",
        y=lambda p: reference.lstm_forward(**_given(p))[1].c[-1],
    ),
    _mistake(
        "y: the first step",
        "is the first step's state, not the last one's",
        y=lambda p: _y(p, last_only=False)[:, 0],
    ),
    _mistake(
        "dc is not handed back",
        "does not carry dc to the step before: the cell is what remembers",
        **_wrong("dc is not handed back"),
    ),
)


def _outs(p: Any) -> Any:
    """o of each step."""
    gates = reference.lstm_forward(**_given(p))[1].gates
    return np.stack([o for _, _, _, o in gates], 1)


MISTAKES = (*_ALL, *_OF_THE_LAST)
