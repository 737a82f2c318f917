"""What a backward pass says of each array, held against derivatives of the forward pass."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from npbn._checks import Array, Statistics
from npbn._progress import ProgressBar, progress_bar
from npbn.layers import Layer
from npbn.layers.readers import (
    adapted,
    checked_result,
    in_callers_context,
    locked,
    runs_as_written,
    told,
    within,
)
from npbn.testing.derivatives import derivative_at_0, floors, natural_size

# Entries of an array whose derivative is taken one by one; a larger array has this many drawn at
# random, and its derivative along one random direction through all entries beside them.
ENTRIES = 60

# With a kink among the entries of a direction it is halved, down to so many.
SMALLEST = 8

Direction = tuple[Array, Array]
Scalar = Callable[[Array], tuple[float, Array]]


class Probe:
    """A forward pass over arrays that are moved, each under the name of its gradient.

    is_coarse: whether y has the digits of float32 alone.
    """

    arrays: Mapping[str, Array]
    is_coarse = False

    def forward(self) -> Array:
        """y, which is the caller's."""
        raise NotImplementedError

    def along(self, name: str, direction: Direction, steps: Iterable[float]) -> list[Array]:
        """y after each step of an array along a direction; its values are back afterwards."""
        flat, (entries, signs), ys = self.arrays[name].reshape(-1), direction, []
        start, unit = flat[entries].copy(), signs / np.sqrt(len(signs))
        for step in steps:
            flat[entries] = start + step * unit
            ys.append(self.forward())
        flat[entries] = start
        return ys


class LayerProbe(Probe):
    """A layer, its input and its mode.

    Every forward pass draws the same random numbers, and finds the same state.
    """

    def __init__(self, layer: Layer, x: Array, training: bool, statistics: Statistics) -> None:
        self.x, self.mode = x, (training, statistics)
        self.arrays = {"dx": x} | {f"d({name})": v for name, v in layer.parameters.items()}
        self._layer = layer
        options = {"training": training, "statistics": statistics}
        self._forward = partial(self._call(layer, "forward"), **options)
        self._backward = partial(self._call(layer, "backward"), input_gradient=True)
        self._states = [(rng, rng.bit_generator.state) for rng in layer.generators.values()]
        self._state = [(array, array.copy()) for array in layer.state.values()]

    @staticmethod
    def _call(layer: Layer, direction: str) -> Callable[..., Array]:
        if runs_as_written(layer):
            return partial(in_callers_context, told(repr(layer), layer, direction))
        return adapted(getattr(layer, direction))

    def forward_elsewhere(self, rng: np.random.Generator) -> Array:
        """A pass with other values, of the same signs, which are back afterwards."""
        before = {name: array.copy() for name, array in self.arrays.items()}
        for array in self.arrays.values():
            array *= rng.uniform(0.8, 1.2, array.shape)
        self.elsewhere = {name: array.copy() for name, array in self.arrays.items()}
        y = self.forward()
        for name, old in before.items():
            self.arrays[name][...] = old
        return y

    def forward(self) -> Array:
        """y, which is the caller's."""
        for rng, state in self._states:
            rng.bit_generator.state = state
        for array, values in self._state:
            array[...] = values
        y = self._forward(locked(self.x))
        return np.array(checked_result(repr(self._layer), "forward", y, self.x))

    def hold_constants(self) -> None:
        """From the next forward pass on, what backward takes for constants stays."""
        for each in within([self._layer]):
            each.hold_constants()

    def repeats(self) -> bool:
        """Whether two passes on the same x give the same y."""
        y, again = self.forward(), self.forward()
        bound = 1e-9 * float(np.max(np.abs(y[np.isfinite(y)]), initial=0.0))
        return y.shape == again.shape and np.allclose(y, again, rtol=0, atol=bound, equal_nan=True)

    def backward(self, dy: Array) -> dict[str, Array]:
        """What backward says of each array."""
        # Gradients are overwritten, not added to, and none is forgotten.
        for value in self._layer.gradients.values():
            value[...] = np.nan
        dx = self._backward(dy.copy())
        checked_result(repr(self._layer), "backward", dx, self.x)
        return {"dx": np.array(dx)} | {
            f"d({name})": value.copy() for name, value in self._layer.gradients.items()
        }


class Found(NamedTuple):
    """Of one array: its error, its largest true value in the same measure, its kinks, and arrays.

    given: what backward says of it. numeric: the derivatives, NaN where none was taken.
    """

    error: float
    size: float
    kinks: int
    given: Array
    numeric: Array


def compare(
    probe: Probe,
    claims: Mapping[str, Mapping[str, Array]],
    scalars: Mapping[str, Scalar],
    tolerance: float,
    rng: np.random.Generator,
    progress: bool,
    entries: int = ENTRIES,
) -> dict[str, Found]:
    """What was found of each array.

    scalars: the beginning of a name -> y -> number, gradient. claims: the same -> what backward
    says of each of the probe's arrays. entries: of how many of an array's the derivative is taken.
    """
    directions = {name: _directions(array, rng, entries) for name, array in probe.arrays.items()}
    looks = (1 + len(scalars)) * sum(map(len, directions.values()))
    found = {}
    with progress_bar(looks, enabled=progress, unit="derivative", delay=2.0) as bar:
        glances = _glances(probe, directions, list(scalars.values()), bar)
        for place, (start, scalar) in enumerate(scalars.items()):
            # An array whose true gradient is 0 (a bias before a batch norm) is measured by others.
            largest = {name: _largest(each[place, 0]) for name, each in glances.items()}
            by_others = floors(largest, probe.arrays)
            for name, own in directions.items():
                (slopes, jumps), floor = glances[name][place], by_others[name]
                claim = claims[start][name]
                claimed = np.array([_along(claim, each) for each in own])
                clear = _is_clear(slopes, jumps, claimed, tolerance, floor) | probe.is_coarse
                numeric = np.full(claim.shape, np.nan)
                pairs, kinks = _Pairs(numeric), 0
                for each in np.flatnonzero(clear):
                    pairs.add(own[each], slopes[each], claimed[each])
                for each in np.flatnonzero(~clear):
                    kinks += _closely(probe, name, own[each], scalar, claim, pairs)
                found[start + name] = _found(pairs, kinks, floor, claim)
                bar.update(len(own))
    return found


class _Pairs:
    """Pairs of a derivative and what is claimed of it; those of single entries in an array, too."""

    def __init__(self, numeric: Array) -> None:
        self.numeric, self._pairs = numeric, list[tuple[float, float]]()

    def add(self, direction: Direction, derivative: float, claimed: float) -> None:
        """One more."""
        entries, signs = direction
        if len(entries) == 1:
            self.numeric.reshape(-1)[entries] = derivative * signs
        self._pairs.append((derivative, claimed))

    def both(self) -> Array:
        """The derivatives, and what is claimed."""
        return np.array(self._pairs).reshape(-1, 2).T


def _is_clear(slopes: Array, jumps: Array, claimed: Array, tolerance: float, floor: float) -> Array:
    """Where a glance, which is off by some 1e-9, will do: no kink, and a claim that is right.

    Where one claim is all too wrong, or NaN, an array is wrong: for the others a glance will do.
    """
    scale = max(_largest(slopes), floor)
    with np.errstate(invalid="ignore"):
        differences = abs(slopes - claimed)
    is_smooth, is_right = jumps <= 1e-3 * scale, differences <= 0.1 * tolerance * scale
    is_wrong = (is_smooth & ~(differences <= 1e-2 * scale)).any()
    return is_smooth & (is_right | is_wrong)


def _found(pairs: _Pairs, kinks: int, floor: float, claim: Array) -> Found:
    numeric, claimed = pairs.both()
    scale = max(_largest(numeric), floor) if numeric.size else np.nan
    error = _largest(numeric - claimed) / scale
    return Found(error, _largest(numeric) / scale, kinks, claim, pairs.numeric)


def _largest(values: Array) -> float:
    return float(np.max(np.abs(values), initial=0.0))


def _glances(
    probe: Probe,
    directions: Mapping[str, list[Direction]],
    scalars: list[Scalar],
    bar: ProgressBar,
) -> dict[str, Array]:
    """For each array (scalars, 2, directions): a slope by two forward passes, and its jump at 0.

    All scalars are of the same passes: 2 a derivative, where a close look takes 15. Where y is
    coarse they are 4, of steps so large that its rounding errors do not count.
    """
    y = probe.forward()
    at_0 = np.array([scalar(y)[0] for scalar in scalars])
    glances = {}
    for name, own in directions.items():
        step = (2e-2 if probe.is_coarse else 3e-5) * natural_size(probe.arrays[name])
        steps = (step, -step, 2 * step, -2 * step) if probe.is_coarse else (step, -step)
        found = np.empty((len(scalars), 2, len(own)))
        for place, direction in enumerate(own):
            ahead, back, *wide = (
                np.array([scalar(y)[0] for scalar in scalars])
                for y in probe.along(name, direction, steps)
            )
            found[:, 0, place] = (ahead - back) / (2 * step)
            if wide:
                found[:, 0, place] += (found[:, 0, place] - (wide[0] - wide[1]) / (4 * step)) / 3
            found[:, 1, place] = abs(ahead - 2 * at_0 + back) / step
            bar.update()
        glances[name] = found
    return glances


def _closely(
    probe: Probe, name: str, direction: Direction, scalar: Scalar, claimed: Array, pairs: _Pairs
) -> int:
    """Add a derivative and what is claimed of it; how many entries stand on a kink."""
    kinks, pending = 0, [direction]
    while pending:
        direction = pending.pop()
        derivative = _derivative(probe, name, direction, scalar)
        if derivative is not None:
            pairs.add(direction, derivative, _along(claimed, direction))
        elif len(direction[0]) > SMALLEST:
            # Somewhere among these entries is a kink: look at the two halves.
            entries, steps = direction
            half = len(entries) // 2
            pending += [(entries[:half], steps[:half]), (entries[half:], steps[half:])]
        else:
            kinks += len(direction[0])
    return kinks


def _directions(array: Array, rng: np.random.Generator, most: int) -> list[Direction]:
    """Pairs (entries, steps): single entries, and for a large array one step in all of them."""
    size = array.size
    if size <= most:
        return [(np.array([entry]), np.ones(1)) for entry in range(size)]
    drawn = np.sort(rng.choice(size, most, replace=False))
    everywhere = rng.permutation(size), rng.choice([-1.0, 1.0], size)
    return [everywhere, *((np.array([entry]), np.ones(1)) for entry in drawn)]


def _along(gradient: Array, direction: Direction) -> float:
    entries, steps = direction
    return float(gradient.reshape(-1)[entries] @ steps) / np.sqrt(len(steps))


def _derivative(probe: Probe, name: str, direction: Direction, scalar: Scalar) -> float | None:
    """The derivative at 0 along a direction; None on a kink."""

    def value(t: Array) -> Array:
        ys = probe.along(name, direction, t.reshape(-1))
        return np.array([scalar(y)[0] for y in ys]).reshape(t.shape)

    return derivative_at_0(value, natural_size(probe.arrays[name]))
