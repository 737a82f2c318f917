"""Wrong recurrent batch normalizations."""

from collections.abc import Callable
from typing import Any

import numpy as np

from npbn.testing.mistake import Pieces, mistakes_of

_PARAMETERS = (
    "input_weight",
    "recurrent_weight",
    "bias",
    "input_gamma",
    "recurrent_gamma",
    "cell_gamma",
    "cell_beta",
)
_ALL = ("dx", *(f"d{name}" for name in _PARAMETERS))


def _sigmoid(z: Any) -> Any:
    return 1 / (1 + np.exp(-z))


def _statistics(p: Pieces, name: str, t: int, a: Any, wrong: str) -> tuple[Any, Any]:
    """Mean and standard deviation of one of the three values that are normalized at a step."""
    if hasattr(p, "cell_mean"):
        means, variances = getattr(p, f"{name}_mean"), getattr(p, f"{name}_variance")
        row = min(t, len(means) - 1)
        row = {
            "the first row": 0,
            "rows from the start again": t % len(means),
            "the row of the next step": min(t + 1, len(means) - 1),
        }.get(wrong, row)
        if wrong == "the variance for its root":
            return means[row], variances[row] + p.epsilon
        return means[row], np.sqrt(variances[row] + p.epsilon)
    if wrong == "over the units":
        std = np.sqrt(a.var(-1, keepdims=True) + p.epsilon)
        return a.mean(-1, keepdims=True), std
    if wrong == "shared over time" and name == "input":
        a = (p.x @ p.input_weight).reshape(-1, a.shape[-1])
    if wrong == "m - 1":
        return a.mean(0), np.sqrt(a.var(0, ddof=1) + p.epsilon)
    if wrong == "epsilon beside the root":
        return a.mean(0), a.std(0) + p.epsilon
    return a.mean(0), np.sqrt(a.var(0) + p.epsilon)


def _forward(p: Pieces, wrong: str = "") -> tuple[Any, list[dict[str, Any]]]:
    """y, and the values of each step, with one thing wrong."""
    h = c = np.zeros((len(p.x), len(p.recurrent_weight)))
    steps = []
    for t in range(p.x.shape[1]):
        own = {"h_before": h, "c_before": c}
        sums = {"input": p.x[:, t] @ p.input_weight, "recurrent": h @ p.recurrent_weight}
        z = p.bias
        if wrong == "the sum as one":
            both = sums["input"] + sums["recurrent"]
            mean, std = _statistics(p, "input", t, both, wrong)
            z = z + p.input_gamma * (both - mean) / std
        else:
            for name, a in sums.items():
                mean, std = _statistics(p, name, t, a, wrong)
                own[f"{name}_hat"], own[f"{name}_std"] = (a - mean) / std, std
                if wrong == f"{name} sums as they are":
                    own[f"{name}_hat"] = a
                z = z + getattr(p, f"{name}_gamma") * own[f"{name}_hat"]
        order = "ifog" if wrong == "the order i, f, o, g" else "ifgo"
        for gate, part in zip(order, np.split(z, 4, axis=1), strict=True):
            own[gate] = np.tanh(part) if gate == "g" else _sigmoid(part)
        c = own["f"] * c + own["i"] * own["g"]
        mean, std = _statistics(p, "cell", t, c, wrong)
        own["cell_hat"], own["cell_std"] = (c - mean) / std, std
        u = p.cell_gamma * own["cell_hat"] + p.cell_beta
        if wrong == "the cell as it is":
            u = c
        if wrong == "normalized within":
            c = u
        own["tanh_u"] = np.tanh(u)
        h = own["o"] * own["tanh_u"]
        steps.append(own | {"h": h})
    states = np.stack([own["h"] for own in steps], 1)
    return states[:, -1] if getattr(p, "last_only", False) else states, steps


def _backward(p: Pieces, wrong: str = "") -> dict[str, Any]:
    """The gradients by name, with one thing wrong."""
    _, steps = _forward(p)
    is_last, are_constants = getattr(p, "last_only", False), hasattr(p, "cell_mean")
    d = {f"d{name}": np.zeros_like(getattr(p, name)) for name in _PARAMETERS}
    d["dx"] = np.zeros_like(p.x)

    def back(name: str, dy: Any, own: dict[str, Any]) -> Any:
        hat = own[f"{name}_hat"]
        d[f"d{name}_gamma"] += (dy * hat).sum(0)
        d_hat = dy * (1 if wrong == "no gamma" else getattr(p, f"{name}_gamma"))
        own_statistics = wrong not in ("constants", f"constants of {name}")
        if (are_constants and wrong != "of the batch") or not own_statistics:
            return d_hat / own[f"{name}_std"]
        mean_product = (d_hat * hat).mean(0) * (wrong != "no variance term")
        mean = d_hat.mean(0) * (wrong != "no mean term")
        of_other = wrong == "the other's x_hat" and name == "input"
        of_variance = own["recurrent_hat"] if of_other else hat
        return (d_hat - mean - of_variance * mean_product) / own[f"{name}_std"]

    dh_back = p.dy if is_last else np.zeros_like(steps[0]["h"])
    dc_back = np.zeros_like(dh_back)
    for t in reversed(range(p.x.shape[1])):
        own = steps[t]
        i, f, g, o = (own[gate] for gate in "ifgo")
        dh = dh_back if is_last else p.dy[:, t] + dh_back
        du = dh * o * (1 - own["tanh_u"] ** 2)
        d["dcell_beta"] += du.sum(0)
        of_cell = back("cell", du, own)
        dc = dc_back + (du if wrong == "the cell's norm is left out" else of_cell)
        dz_f = dc * own["c_before"] * f * (1 - f) * (wrong != "no gradient of f")
        dz_i, dz_g = dc * g * i * (1 - i), dc * i * (1 - g**2)
        dz_o = dh * own["tanh_u"] * o * (1 - o)
        dz = np.concatenate([dz_i, dz_f, dz_g, dz_o], 1)
        d["dbias"] += dz.sum(0) * (2 if wrong == "a bias for each sum" else 1)
        da_x, da_h = back("input", dz, own), back("recurrent", dz, own)
        d["dx"][:, t] = da_x @ p.input_weight.T
        d["dinput_weight"] += p.x[:, t].T @ da_x
        d["drecurrent_weight"] += own["h_before"].T @ (dz if wrong == "dz for da_h" else da_h)
        dh_back = da_h @ p.recurrent_weight.T * (wrong != "dh is not handed back")
        dc_back = dc * f * (wrong != "dc is not handed back")
    return d


def _wrong(wrong: str, *names: str) -> dict[str, Callable[[Pieces], Any]]:
    """The gradients of these names, or all."""

    def of(name: str) -> Callable[[Pieces], Any]:
        return lambda p: _backward(p, wrong)[name]

    return {name: of(name) for name in names or _ALL}


def _y(wrong: str) -> dict[str, Callable[[Pieces], Any]]:
    return {"y": lambda p: _forward(p, wrong)[0]}


_mistake = mistakes_of("batch_norm_lstm")
_BY_BATCH = (
    _mistake(
        "y: statistics shared over time",
        "has one mean and variance for all steps: each step has its own",
        **_y("shared over time"),
    ),
    _mistake(
        "y: the sum is normalized as one",
        "normalizes the sum of both products: each has statistics and a gamma of its own",
        **_y("the sum as one"),
    ),
    _mistake(
        "y: what h adds is not normalized",
        "normalizes what x adds alone: what h adds has a normalization of its own",
        **_y("recurrent sums as they are"),
    ),
    _mistake(
        "y: what x adds is not normalized",
        "normalizes what h adds alone: what x adds has a normalization of its own",
        **_y("input sums as they are"),
    ),
    _mistake(
        "y: the cell is not normalized",
        "is o * tanh(c), not o * tanh(BN(c))",
        **_y("the cell as it is"),
    ),
    _mistake(
        "y: the cell is normalized within",
        "hands the normalized cell to the next step: what a cell remembers stays as it is",
        **_y("normalized within"),
    ),
    _mistake(
        "y: over the units",
        "has the mean over the units, as layer normalization has, not over the examples",
        **_y("over the units"),
    ),
    _mistake(
        "y: m - 1 in the variance",
        "divides the variance by the examples less one: that of the batch is over all",
        **_y("m - 1"),
    ),
    _mistake(
        "y: epsilon beside the root",
        "adds epsilon to the standard deviation, not to the variance",
        **_y("epsilon beside the root"),
    ),
    _mistake(
        "y: the gates in the order i, f, o, g",
        "has the gates in the order i, f, o, g: here they are i, f, g, o",
        **_y("the order i, f, o, g"),
    ),
    _mistake(
        "statistics are constants",
        "equals gamma / std * dz, as if the statistics did not depend on the batch",
        **_wrong("constants", "dx", "dinput_weight", "drecurrent_weight", "dbias"),
    ),
    _mistake(
        "statistics of what h adds are constants",
        "takes the mean and variance of what h adds for constants",
        **_wrong("constants of recurrent", "dx", "drecurrent_weight"),
    ),
    _mistake(
        "no variance term",
        "lacks a_hat * mean(dz * a_hat), what comes through the variance",
        **_wrong("no variance term", "dx", "dinput_weight", "drecurrent_weight"),
    ),
    _mistake(
        "no mean term",
        "lacks mean(dz), what comes through the mean",
        **_wrong("no mean term", "dx", "dinput_weight", "drecurrent_weight"),
    ),
    _mistake(
        "x_hat of the other sum",
        "has the normalized sums of h in the gradient of those of x: each has its own",
        **_wrong("the other's x_hat", "dx", "dinput_weight"),
    ),
    _mistake("no gamma", "lacks gamma", **_wrong("no gamma", "dx", "dinput_weight")),
    _mistake(
        "the cell's normalization is left out",
        "hands du to the cell as it is: the cell's own normalization lies between",
        **_wrong("the cell's norm is left out", "dx", "dbias", "dinput_gamma"),
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
        "dz for da in the recurrent weight",
        "is h' @ dz, not h' @ da: the normalization lies between",
        **_wrong("dz for da_h", "drecurrent_weight"),
    ),
    _mistake(
        "a bias for each sum",
        "counts dz twice, once for each sum: there is one bias for both",
        **_wrong("a bias for each sum", "dbias"),
    ),
    _mistake(
        "dinput_gamma is a mean over time",
        "is divided by the number of steps: gamma is used at every one",
        dinput_gamma=lambda p: p.dinput_gamma / p.x.shape[1],
    ),
)

_mistake = mistakes_of("batch_norm_lstm, of the last step")
_OF_THE_LAST = (
    _mistake(
        "y: the first step",
        "is the first step's state, not the last one's",
        y=lambda p: _forward(p)[1][0]["h"],
    ),
    _mistake(
        "dc is not handed back",
        "does not carry dc to the step before: the cell is what remembers",
        **_wrong("dc is not handed back", "dx", "dbias", "dinput_gamma"),
    ),
)

_mistake = mistakes_of("batch_norm_lstm_inference")
_BY_POPULATION = (
    _mistake(
        "y: the first step's statistics",
        "has the first step's statistics at every step: each has its own",
        **_y("the first row"),
    ),
    _mistake(
        "y: statistics from the start again",
        "begins again with the first row where the statistics end: the last one goes on",
        **_y("rows from the start again"),
    ),
    _mistake(
        "y: the next step's statistics",
        "has the statistics of the step after",
        **_y("the row of the next step"),
    ),
    _mistake(
        "y: the variance for its root",
        "divides by the variance, not by its root",
        **_y("the variance for its root"),
    ),
    _mistake(
        "gradients of a batch",
        "has the terms of mean and variance: here these are constants",
        **_wrong("of the batch", "dx", "dinput_weight", "drecurrent_weight"),
    ),
    _mistake(
        "dc is not handed back",
        "does not carry dc to the step before: the cell is what remembers",
        **_wrong("dc is not handed back"),
    ),
)

_mistake = mistakes_of("batch_norm_lstm_inference, of the last step")
_BY_POPULATION_OF_THE_LAST = (
    _mistake(
        "dh is not handed back",
        "does not carry dh to the step before: all gates see the state",
        **_wrong("dh is not handed back", "dx", "dbias", "dinput_gamma"),
    ),
)

MISTAKES = (*_BY_BATCH, *_OF_THE_LAST, *_BY_POPULATION, *_BY_POPULATION_OF_THE_LAST)
