"""Is a backward pass right? The gradient check, and its report."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from npbn import _checks as checks
from npbn import functional
from npbn._checks import Array, Statistics
from npbn._progress import ProgressBar, progress_bar
from npbn.layers import Layer
from npbn.layers.readers import adapted, within
from npbn.testing.derivatives import derivative_at_0, natural_size

# Entries of an array whose derivative is taken one by one; a larger array has this many drawn at
# random, and its derivative along one random direction through all entries beside them.
ENTRIES = 60

# With a kink among the entries of a direction it is halved, down to so many.
SMALLEST = 8

Direction = tuple[Array, Array]

__all__ = ["GradientReport", "gradient_check"]


@dataclasses.dataclass(frozen=True)
class GradientReport:
    """What `gradient_check` found. bool(report): passed; str(report): a table.

    errors: for each array its largest difference over its largest true value.
    kinks: for each array how many of its entries stand on a kink (ReLU at 0), where there is no
        derivative; they were left out.
    zeros: the arrays whose true gradient is 0 throughout (a bias before a batch norm, all that lies
        before a dead ReLU): of these a backward pass that says 0 is right, and nothing else is
        known. Where dx is one of them no gradient came through, and the check is not passed.
    """

    errors: Mapping[str, float]
    kinks: Mapping[str, int]
    zeros: frozenset[str]
    tolerance: float
    description: str

    @property
    def largest_error(self) -> float:
        """The largest of errors; NaN if one is NaN."""
        return float(np.max(list(self.errors.values())))

    @property
    def _agrees(self) -> bool:
        return all(error <= self.tolerance for error in self.errors.values())

    def __bool__(self) -> bool:
        return self._agrees and not any(name.endswith("dx") for name in self.zeros)

    def __str__(self) -> str:
        width = max(len(name) for name in self.errors)
        lines = [self.description]
        for name, error in self.errors.items():
            verdict = "ok" if error <= self.tolerance else "WRONG"
            if verdict == "ok" and name in self.zeros:
                verdict = "not checked: its true gradient is 0"
            kinks = f"   {self.kinks[name]} at a kink, left out" if self.kinks[name] else ""
            lines.append(f"  {name:<{width}}  {error:8.1e}  {verdict}{kinks}")
        result = "passed" if self else "FAILED"
        if self._agrees and not self:
            result = "NOT CHECKED: no gradient reaches x; take another x or other weights"
        lines.append(f"{result} (tolerance {self.tolerance:g})")
        return "\n".join(lines)


@np.errstate(all="ignore")
def gradient_check(
    layer_or_network: Layer,
    x: Array,
    labels: Array | None = None,
    *,
    training: bool = True,
    statistics: Statistics | None = None,
    tolerance: float = 1e-7,
    seed: int = 0,
    progress: bool = True,
) -> GradientReport:
    """Compare a backward pass with numeric derivatives of its forward pass.

        d/dt sum(dy * forward(x + t e))  =  sum(dx * e)        and so for every parameter

    The upstream gradient dy is random: an all-ones dy hides most mistakes in batch normalization,
    whose dx it makes 0. Arrays that are still constant (gamma 1, beta 0, population statistics) are
    moved off their values first. dx is always checked. All of it happens on a float64 copy; the
    layer is left as it was, and Dropout draws the same mask each time. With labels the gradient of
    the network's softmax cross entropy is checked as well. A forward pass with other values comes
    first, so that what a layer keeps of an earlier batch is found.

    x, labels: a batch as for forward, with three values or more a feature where a BatchNorm takes
    the batch's statistics: two become -1 and 1 whatever they are. training, statistics: the mode,
    as for forward. tolerance: the largest error that passes, an error being an array's largest
    difference over its largest true value. seed: for the random numbers. progress: whether a check
    that takes longer than two seconds shows a progress bar. Numeric derivatives are differences of
    two forward passes; where these do not clearly agree with what backward says, SciPy's, adaptive
    in order and step. Returns a GradientReport. TypeError or ValueError where
    forward would raise it, and for a batch that could prove nothing.
    """
    if not isinstance(layer_or_network, Layer):
        raise TypeError(f"expected a layer or a network, got {layer_or_network!r}")
    tolerance = checks.number("tolerance", tolerance, above=0.0)
    mode = checks.mode(training, statistics)
    rng = np.random.default_rng(checks.integer("seed", seed, minimum=0))
    x = np.array(checks.float_array("x", x), np.float64)
    layer = layer_or_network.astype(np.float64)
    _move_constants(layer, rng)
    probe = _Probe(layer, x, training, mode)
    y = probe.forward_elsewhere(rng)
    if mode == "batch":
        _check_values(layer)
    dy = rng.standard_normal(y.shape)
    scalars: dict[str, Scalar] = {"": lambda y: (float(np.vdot(y, dy)), dy)}
    if labels is not None:
        checks.labels(labels, len(x), y.shape[-1])
        scalars["loss: "] = lambda y: functional.softmax_cross_entropy(y, labels)
    found = _compare(probe, scalars, tolerance, rng, checks.flag("progress", progress))
    shown = "a random dy" if labels is None else "a random dy, and the loss"
    description = (
        f"{layer_or_network!r}, training={training}, statistics={mode!r}, x {x.shape}, {shown}"
    )
    return GradientReport(
        errors=MappingProxyType({name: each.error for name, each in found.items()}),
        kinks=MappingProxyType({name: each.kinks for name, each in found.items()}),
        # Where also a claim of 0 would have passed.
        zeros=frozenset(name for name, each in found.items() if each.size <= tolerance),
        tolerance=tolerance,
        description=description,
    )


def _check_values(layer: Layer) -> None:
    """ValueError for two values a feature, after a forward pass with the batch's statistics."""
    for each in within([layer]):
        if 0 < (values := _batch_values(each)) <= 2:
            came, left = ("one value", "0") if values == 1 else ("two values", "-1 and 1")
            raise ValueError(
                f"{each!r}: got {came} a feature, of which batch statistics leave {left}, whatever "
                "x is: no gradient reaches x and a wrong one may look right; pass more rows "
                '(8, say), or statistics="population"'
            )


def _batch_values(layer: Layer) -> int:
    """Of how many values a feature the last batch's statistics were; 0 where it takes none."""
    return 0 if layer._batch is None else layer._batch.values


class _Probe:
    """A layer, its input and its mode; every forward pass draws the same random numbers."""

    def __init__(self, layer: Layer, x: Array, training: bool, statistics: Statistics) -> None:
        self.x = x
        self.arrays = {"dx": x} | {f"d({name})": v for name, v in layer.parameters.items()}
        self._layer, self._forward, self._backward = (
            layer,
            partial(adapted(layer.forward), training=training, statistics=statistics),
            partial(adapted(layer.backward), input_gradient=True),
        )
        self._states = [(rng, rng.bit_generator.state) for rng in layer.generators.values()]

    def forward_elsewhere(self, rng: np.random.Generator) -> Array:
        """A pass with other values, of the same signs, which are back afterwards."""
        before = [array.copy() for array in self.arrays.values()]
        for array in self.arrays.values():
            array *= rng.uniform(0.8, 1.2, array.shape)
        y = self.forward()
        for array, old in zip(self.arrays.values(), before, strict=True):
            array[...] = old
        return y

    def forward(self) -> Array:
        for rng, state in self._states:
            rng.bit_generator.state = state
        # A view that cannot be written: a layer that works in place would change its caller's x.
        x = self.x.view()
        x.flags.writeable = False
        return np.array(self._forward(x))

    def along(self, flat: Array, direction: Direction, steps: Iterable[float]) -> Iterator[Array]:
        """y after each step of an array's values along a direction; they are back afterwards."""
        entries, signs = direction
        start, unit = flat[entries].copy(), signs / np.sqrt(len(signs))
        for step in steps:
            flat[entries] = start + step * unit
            yield self.forward()
        flat[entries] = start

    def backward(self, dy: Array) -> dict[str, Array]:
        # Gradients are overwritten, not added to, and none is forgotten.
        for value in self._layer.gradients.values():
            value[...] = np.nan
        dx = self._backward(dy.copy())
        name = f"{self._layer!r}: backward's result"
        checks.has_shape(name, checks.float_array(name, dx), self.x.shape)
        return {"dx": np.array(dx)} | {
            f"d({name})": value.copy() for name, value in self._layer.gradients.items()
        }


Scalar = Callable[[Array], tuple[float, Array]]


class _Found(NamedTuple):
    """Of one array: its error, its largest true value in the same measure, its kinks."""

    error: float
    size: float
    kinks: int


def _compare(
    probe: _Probe,
    scalars: Mapping[str, Scalar],
    tolerance: float,
    rng: np.random.Generator,
    progress: bool,
) -> dict[str, _Found]:
    """What was found of each array; scalars: the beginning of a name -> y -> number, gradient."""
    claims = {
        start: probe.backward(scalar(probe.forward())[1]) for start, scalar in scalars.items()
    }
    directions = {name: _directions(array, rng) for name, array in probe.arrays.items()}
    result = {}
    looks = (1 + len(scalars)) * sum(map(len, directions.values()))
    with progress_bar(looks, enabled=progress, unit="derivative", delay=2.0) as bar:
        glances = _glances(probe, directions, list(scalars.values()), bar)
        for place, (start, claimed) in enumerate(claims.items()):
            # An array whose true gradient is 0 (a bias before a batch norm) is measured by others.
            floor = 1e-4 * max(
                np.max(abs(each[place, 0]), initial=0.0) for each in glances.values()
            )
            for name, each in glances.items():
                slopes, jumps = each[place]
                own = np.array([_along(claimed[name], direction) for direction in directions[name]])
                scale = max(np.max(abs(slopes), initial=0.0), floor, np.finfo(float).tiny)
                # A glance is off by 1e-9 or so; where that is not clearly enough, look closely.
                clear = (abs(slopes - own) <= 0.1 * tolerance * scale) & (jumps <= 1e-3 * scale)
                pairs, kinks = list(zip(slopes[clear], own[clear], strict=True)), 0
                for direction, is_clear in zip(directions[name], clear, strict=True):
                    if not is_clear:
                        closely, skipped = _closely(
                            probe, probe.arrays[name], direction, scalars[start], claimed[name]
                        )
                        pairs += closely
                        kinks += skipped
                    bar.update()
                numeric, claim = np.array(pairs).reshape(-1, 2).T
                result[start + name] = _found(numeric, claim, kinks, floor)
    return result


def _found(numeric: Array, own: Array, kinks: int, floor: float) -> _Found:
    largest = np.max(np.abs(numeric), initial=0.0)
    scale = max(largest, floor, np.finfo(float).tiny)
    difference = np.max(np.abs(numeric - own), initial=0.0)
    known = 1.0 if len(numeric) else np.nan
    return _Found(float(known * difference / scale), float(known * largest / scale), kinks)


def _glances(
    probe: _Probe,
    directions: Mapping[str, list[Direction]],
    scalars: list[Scalar],
    bar: ProgressBar,
) -> dict[str, Array]:
    """For each array (scalars, 2, directions): a slope by two forward passes, and its jump at 0.

    All scalars are of the same passes: 2 a derivative, where a close look takes 15.
    """
    y = probe.forward()
    at_0 = np.array([scalar(y)[0] for scalar in scalars])
    glances = {}
    for name, own in directions.items():
        flat = probe.arrays[name].reshape(-1)
        step = 3e-5 * natural_size(flat)
        found = np.empty((len(scalars), 2, len(own)))
        for place, direction in enumerate(own):
            ahead, back = (
                np.array([scalar(y)[0] for scalar in scalars])
                for y in probe.along(flat, direction, (step, -step))
            )
            found[:, 0, place] = (ahead - back) / (2 * step)
            found[:, 1, place] = abs(ahead - 2 * at_0 + back) / step
            bar.update()
        glances[name] = found
    return glances


def _closely(
    probe: _Probe, array: Array, direction: Direction, scalar: Scalar, claimed: Array
) -> tuple[list[tuple[float, float]], int]:
    """Pairs of a derivative and what is claimed of it, and how many entries stand on a kink."""
    pairs, kinks, pending = [], 0, [direction]
    while pending:
        direction = pending.pop()
        derivative = _derivative(probe, array, direction, scalar)
        if derivative is not None:
            pairs.append((derivative, _along(claimed, direction)))
        elif len(direction[0]) > SMALLEST:
            # Somewhere among these entries is a kink: look at the two halves.
            entries, steps = direction
            half = len(entries) // 2
            pending += [(entries[:half], steps[:half]), (entries[half:], steps[half:])]
        else:
            kinks += len(direction[0])
    return pairs, kinks


def _directions(array: Array, rng: np.random.Generator) -> list[Direction]:
    """Pairs (entries, steps): single entries, and for a large array one step in all of them."""
    size = array.size
    if size <= ENTRIES:
        return [(np.array([entry]), np.ones(1)) for entry in range(size)]
    drawn = np.sort(rng.choice(size, ENTRIES, replace=False))
    everywhere = rng.permutation(size), rng.choice([-1.0, 1.0], size)
    return [everywhere, *((np.array([entry]), np.ones(1)) for entry in drawn)]


def _along(gradient: Array, direction: Direction) -> float:
    entries, steps = direction
    return float(gradient.reshape(-1)[entries] @ steps) / np.sqrt(len(steps))


def _derivative(probe: _Probe, array: Array, direction: Direction, scalar: Scalar) -> float | None:
    """The derivative at 0 along a direction; None on a kink."""
    flat = array.reshape(-1)

    def value(t: Array) -> Array:
        ys = probe.along(flat, direction, t.reshape(-1))
        return np.array([scalar(y)[0] for y in ys]).reshape(t.shape)

    return derivative_at_0(value, natural_size(flat))


def _move_constants(layer: Layer, rng: np.random.Generator) -> None:
    for array in (*layer.parameters.values(), *layer.state.values()):
        if array.size and array.dtype.kind == "f" and (array == array.flat[0]).all():
            if array.flat[0] == 0:
                array[...] = rng.uniform(0.1, 1.0, array.shape)
            else:
                array *= rng.uniform(0.5, 1.5, array.shape)
