"""Is a backward pass right? A gradient check, and the table of all operations."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from npbn import _checks as checks
from npbn import functional
from npbn._cases import CASES
from npbn._checks import Array, Statistics
from npbn.layers import Layer
from npbn.layers.foreign import adapted

# Entries of an array whose derivative is taken one by one; a larger array has this many drawn at
# random, and its derivative along one random direction through all entries beside them.
ENTRIES = 60

# With a kink among the entries of a direction it is halved, down to so many.
SMALLEST = 8

Direction = tuple[Array, Array]

__all__ = ["CASES", "GradientReport", "gradient_check"]


@dataclasses.dataclass(frozen=True)
class GradientReport:
    """What `gradient_check` found. bool(report): passed; str(report): a table.

    errors: for each array its largest difference over its largest true value.
    kinks: for each array how many of its entries stand on a kink (ReLU at 0), where there is no
        derivative; they were left out.
    """

    errors: Mapping[str, float]
    kinks: Mapping[str, int]
    tolerance: float
    description: str

    @property
    def largest_error(self) -> float:
        """The largest of errors; NaN if one is NaN."""
        return float(np.max(list(self.errors.values())))

    def __bool__(self) -> bool:
        return all(error <= self.tolerance for error in self.errors.values())

    def __str__(self) -> str:
        width = max(len(name) for name in self.errors)
        lines = [self.description]
        for name, error in self.errors.items():
            verdict = "ok" if error <= self.tolerance else "WRONG"
            kinks = f"   {self.kinks[name]} at a kink, left out" if self.kinks[name] else ""
            lines.append(f"  {name:<{width}}  {error:8.1e}  {verdict}{kinks}")
        lines.append(f"{'passed' if self else 'FAILED'} (tolerance {self.tolerance:g})")
        return "\n".join(lines)


@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def gradient_check(
    layer_or_network: Layer,
    x: Array,
    labels: Array | None = None,
    *,
    training: bool = True,
    statistics: Statistics | None = None,
    tolerance: float = 1e-7,
    seed: int = 0,
) -> GradientReport:
    """Compare a backward pass with numeric derivatives of its forward pass.

        d/dt sum(dy * forward(x + t e))  =  sum(dx * e)        and so for every parameter

    The upstream gradient dy is random: an all-ones dy hides most mistakes in batch normalization,
    whose dx it makes 0. Arrays that are still constant (gamma 1, beta 0, population statistics) are
    moved off their values first. dx is always checked. All of it happens on a float64 copy; the
    layer is left as it was, and Dropout draws the same mask each time. With labels the gradient of
    the network's softmax cross entropy is checked as well.

    x, labels: a batch as for forward. training, statistics: the mode, as for forward. tolerance:
    the largest error that passes, an error being an array's largest difference over its largest
    true value. seed: for the random numbers. Numeric derivatives are SciPy's, adaptive in order and
    step. Returns a GradientReport. TypeError or ValueError where forward would raise it.
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
    y = probe.forward()
    dy = rng.standard_normal(y.shape)
    errors, kinks = _compare(probe, "", lambda y: (float(np.vdot(y, dy)), dy), rng)
    if labels is not None:
        checks.labels(labels, len(x), y.shape[-1])
        loss_errors, loss_kinks = _compare(
            probe, "loss: ", lambda y: functional.softmax_cross_entropy(y, labels), rng
        )
        errors, kinks = errors | loss_errors, kinks | loss_kinks
    shown = "a random dy" if labels is None else "a random dy, and the loss"
    description = (
        f"{layer_or_network!r}, training={training}, statistics={mode!r}, x {x.shape}, {shown}"
    )
    return GradientReport(MappingProxyType(errors), MappingProxyType(kinks), tolerance, description)


class _Probe:
    """A layer, its input and its mode; every forward pass draws the same random numbers."""

    def __init__(self, layer: Layer, x: Array, training: bool, statistics: Statistics) -> None:
        self.x = x
        self.arrays = {"dx": x} | {f"d({name})": v for name, v in layer.parameters.items()}
        self._layer = layer
        self._mode = {"training": training, "statistics": statistics}
        self._states = [(rng, rng.bit_generator.state) for rng in layer.generators.values()]

    def forward(self) -> Array:
        for rng, state in self._states:
            rng.bit_generator.state = state
        # A view that cannot be written: a layer that works in place would change its caller's x.
        x = self.x.view()
        x.flags.writeable = False
        return np.array(adapted(self._layer.forward)(x, **self._mode))

    def backward(self, dy: Array) -> dict[str, Array]:
        # Gradients are overwritten, not added to, and none is forgotten.
        for value in self._layer.gradients.values():
            value[...] = np.nan
        dx = adapted(self._layer.backward)(dy.copy(), input_gradient=True)
        name = f"{self._layer!r}: backward's result"
        checks.has_shape(name, checks.float_array(name, dx), self.x.shape)
        return {"dx": np.array(dx)} | {
            f"d({name})": value.copy() for name, value in self._layer.gradients.items()
        }


Scalar = Callable[[Array], tuple[float, Array]]


def _compare(
    probe: _Probe, prefix: str, scalar: Scalar, rng: np.random.Generator
) -> tuple[dict[str, float], dict[str, int]]:
    """The error and the number of kinks of each array; scalar: y -> a number and its gradient."""
    claimed = probe.backward(scalar(probe.forward())[1])
    compared = {}
    for name, array in probe.arrays.items():
        found: list[tuple[float, float]] = []
        pending = _directions(array, rng)
        kinks = 0
        while pending:
            direction = pending.pop()
            derivative = _derivative(probe, array, direction, scalar)
            if derivative is not None:
                found.append((derivative, _along(claimed[name], direction)))
            elif len(direction[0]) > SMALLEST:
                # Somewhere among these entries is a kink: look at the two halves.
                entries, steps = direction
                half = len(entries) // 2
                pending += [(entries[:half], steps[:half]), (entries[half:], steps[half:])]
            else:
                kinks += len(direction[0])
        numeric, own = np.array(found).reshape(-1, 2).T
        compared[name] = numeric, own, kinks
    # An array whose true gradient is 0 (a bias before a batch norm) is measured against the others.
    floor = 1e-4 * max(np.max(np.abs(numeric), initial=0.0) for numeric, _, _ in compared.values())
    errors, kinks_of = {}, {}
    for name, (numeric, own, kinks) in compared.items():
        kinks_of[prefix + name] = kinks
        scale = max(np.max(np.abs(numeric), initial=0.0), floor, np.finfo(float).tiny)
        difference = np.max(np.abs(numeric - own), initial=0.0)
        errors[prefix + name] = float(difference / scale) if len(numeric) else np.nan
    return errors, kinks_of


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
    from scipy.differentiate import derivative

    entries, steps = direction
    steps = steps / np.sqrt(len(steps))
    flat = array.reshape(-1)
    start = flat[entries].copy()

    def value(t: Array) -> Array:
        values = np.empty(t.shape)
        for place, each in np.ndenumerate(t):
            flat[entries] = start + each * steps
            values[place] = scalar(probe.forward())[0]
        flat[entries] = start
        return values

    size = _natural_size(flat)
    if _has_kink(value, size):
        return None
    best, smallest = np.nan, np.inf
    step = 1e-2 * max(size, 1.0)
    while step > 0.9e-6 * size:
        # A step that crosses a kink does not converge; a smaller one may stay on this side of it.
        found = derivative(
            value,
            0.0,
            initial_step=step,
            order=6,
            maxiter=3,
            tolerances={"atol": 1e-10, "rtol": 1e-9},
        )
        if found.success:
            return float(found.df)
        if found.error < smallest:
            best, smallest = float(found.df), float(found.error)
        step /= 10
    return best


def _natural_size(flat: Array) -> float:
    """What counts as a large change of an entry: the spread of the array, or else its size."""
    spread = float(np.std(flat)) if len(flat) > 1 else 0.0
    size = float(np.sqrt(np.mean(flat**2)))
    return min(spread or size, size) or 1.0


def _has_kink(value: Callable[[Array], Array], size: float) -> bool:
    """Whether the slope jumps at 0: of a smooth function the jump would shrink with the step."""
    wide, narrow = 1e-5 * size, 1e-6 * size
    values = value(np.array([-wide, -narrow, 0.0, narrow, wide]))
    jump_narrow = abs(values[1] - 2 * values[2] + values[3]) / narrow
    jump_wide = abs(values[0] - 2 * values[2] + values[4]) / wide
    slope = abs(values[4] - values[0]) / (2 * wide)
    rounding = 1e3 * np.finfo(float).eps * np.max(np.abs(values)) / narrow
    return bool(jump_narrow > max(1e-6 * slope, rounding, 0.5 * jump_wide))


def _move_constants(layer: Layer, rng: np.random.Generator) -> None:
    for array in (*layer.parameters.values(), *layer.state.values()):
        if array.size and array.dtype.kind == "f" and (array == array.flat[0]).all():
            if array.flat[0] == 0:
                array[...] = rng.uniform(0.1, 1.0, array.shape)
            else:
                array *= rng.uniform(0.5, 1.5, array.shape)
