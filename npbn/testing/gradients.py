"""Is a backward pass right? The gradient check."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from npbn import _checks as checks
from npbn import functional
from npbn._checks import Array, Statistics
from npbn.layers import Layer
from npbn.layers.readers import computing, runs_as_written, within
from npbn.network import Sequential
from npbn.numerics.read_only_mapping import ReadOnlyMapping
from npbn.testing.comparison import Found, LayerProbe, Scalar, compare
from npbn.testing.diagnosis import Explanation
from npbn.testing.layer_mistakes import of_layer, of_network
from npbn.testing.likeness import described
from npbn.testing.report import GradientReport


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
    """Compare a backward pass with numeric derivatives of its forward pass ::

        d/dt sum(dy * forward(x + t e))  =  sum(dx * e)        and so for every parameter

    The upstream gradient dy is random: an all-ones dy hides most mistakes in batch normalization,
    whose dx it makes 0. Arrays that are still constant (gamma 1, beta 0, population statistics) are
    moved off their values first. dx is always checked. All of it happens on a float64 copy; the
    layer is left as it was. Each time Dropout draws the same mask, the state is the same, and what
    backward takes for constants stays (`Layer.hold_constants`). With labels the gradient of the
    network's softmax cross entropy is checked as well. A forward pass with other values comes
    first, so that what a layer keeps of an earlier batch is found.

    A derivative is the difference of two forward passes; where these do not clearly agree with what
    backward says, or disagree, it is SciPy's, adaptive in order and step.

    Parameters
    ----------
    layer_or_network : Layer
        What is checked; it may be a reader's own.
    x : ndarray
        A batch as for forward, with three values or more a feature where a layer takes the batch's
        statistics: two become -1 and 1 whatever they are.
    labels : ndarray or None
        Those of the batch.
    training, statistics : bool, {"batch", "population"} or None
        The mode, as for forward.
    tolerance : float
        The largest error that passes, an error being an array's largest difference over its largest
        true value.
    seed : int
        For the random numbers.
    progress : bool
        Whether a check that takes longer than two seconds shows a progress bar.

    Returns
    -------
    GradientReport
        ``bool(report)`` is the verdict; ``print(report)`` shows a table, and below it what is wrong
        with layers of known operations.

    Raises
    ------
    TypeError, ValueError
        Where forward would raise it, for a forward pass that does not repeat, and for a batch that
        could prove nothing.
    """
    if not isinstance(layer_or_network, Layer):
        is_class = isinstance(layer_or_network, type)
        hint = f": write {layer_or_network.__name__}(...)" if is_class else ""
        raise TypeError(f"expected a layer or a network, got {layer_or_network!r}{hint}")
    tolerance = checks.number("tolerance", tolerance, above=0.0)
    mode = checks.mode(training, statistics)
    rng = np.random.default_rng(checks.integer("seed", seed, minimum=0))
    x = np.array(checks.float_array("x", x), np.float64, order="C")
    layer = layer_or_network.astype(np.float64)
    _move_constants(layer, rng)
    with computing():
        probe = LayerProbe(layer, x, training, mode)
        y = probe.forward_elsewhere(rng)
        probe.hold_constants()
        if not probe.repeats():
            raise ValueError(_does_not_repeat(layer, x, training, mode))
        if mode == "batch":
            _check_values(layer)
        dy = rng.standard_normal(y.shape)
        scalars: dict[str, Scalar] = {"": lambda y: (float(np.vdot(y, dy)), dy)}
        if labels is not None:
            checks.labels(labels, y.shape[:-1], y.shape[-1])
            scalars["loss: "] = lambda y: functional.softmax_cross_entropy(y, labels)
        claims = {
            start: probe.backward(scalar(probe.forward())[1]) for start, scalar in scalars.items()
        }
        progress = checks.flag("progress", progress)
        found = compare(probe, claims, scalars, tolerance, rng, progress)
        wrong = {name: each for name, each in found.items() if not each.error <= tolerance}
        explanations = _explained(layer, probe, dy, wrong, tolerance, rng) if wrong else {}
    shown = "a random dy" if labels is None else "a random dy, and the loss"
    description = (
        f"{layer_or_network!r}, training={training}, statistics={mode!r}, x {x.shape}, {shown}"
    )
    return GradientReport(
        errors=ReadOnlyMapping({name: each.error for name, each in found.items()}),
        kinks=ReadOnlyMapping({name: each.kinks for name, each in found.items()}),
        # Where also a claim of 0 would have passed.
        zeros=frozenset(name for name, each in found.items() if each.size <= tolerance),
        given=ReadOnlyMapping({name: each.given for name, each in found.items()}),
        numeric=ReadOnlyMapping({name: each.numeric for name, each in found.items()}),
        mistakes=ReadOnlyMapping(
            {name: explanations[name].keys if name in explanations else () for name in wrong}
        ),
        explanations=ReadOnlyMapping({name: e.sentence for name, e in explanations.items()}),
        tolerance=tolerance,
        description=description,
    )


def _explained(
    layer: Layer,
    probe: LayerProbe,
    dy: Array,
    wrong: Mapping[str, Found],
    tolerance: float,
    rng: np.random.Generator,
) -> dict[str, Explanation]:
    """What explains wrong arrays, or what they look like; of a network its layers' own."""
    if isinstance(layer, Sequential) and not runs_as_written(layer):
        return of_network(layer, probe, rng)
    given = {name: each.given for name, each in wrong.items() if not name.startswith("loss: ")}
    known = of_layer(layer, probe, dy, given)
    unknown = {
        name: Explanation((), described(array, wrong[name].numeric, {}, None, tolerance))
        for name, array in given.items()
    }
    return unknown | known


def _does_not_repeat(layer: Layer, x: Array, training: bool, mode: Statistics) -> str:
    """Which layer gives another y for the same x, and how it would repeat."""
    name = repr(layer)
    layers: Sequence[Layer] = ()
    if isinstance(layer, Sequential) and not runs_as_written(layer):
        layers = layer.layers
    for place, each in enumerate(layers):
        probe = LayerProbe(each, x, training, mode)
        if not probe.repeats():
            name = f"layer {place}, {each!r}"
            break
        x = probe.forward()
    return (
        f"{name}: forward does not repeat, the same x gives another y: draw random numbers from a "
        "numpy.random.Generator in an attribute, self.rng = np.random.default_rng(0), which the "
        "check sets back before each pass, not from np.random; and let y depend on no earlier pass"
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
    if layer._batch is None or not layer._follows_batches:
        return 0
    return layer._batch.values


def _move_constants(layer: Layer, rng: np.random.Generator) -> None:
    for array in (*layer.parameters.values(), *layer.state.values()):
        if array.size and array.dtype.kind == "f" and (array == array.flat[0]).all():
            if array.flat[0] == 0:
                array[...] = rng.uniform(0.1, 1.0, array.shape)
            else:
                array *= rng.uniform(0.5, 1.5, array.shape)
