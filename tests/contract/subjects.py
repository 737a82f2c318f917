"""Every layer that a case has, with batches for it: what the contracts of layers are held to."""

import dataclasses

import numpy as np
import pytest

from npbn.testing import CASES, Case
from npbn.testing.case import MakeLayer


@dataclasses.dataclass(frozen=True)
class Subject:
    """One of a case's layers."""

    name: str
    case: Case
    maker: MakeLayer

    def new(self, dtype=np.float32, shape=None):
        return self.maker(np.random.default_rng(0), shape or self.shape, dtype)

    def filled(self, dtype=np.float32, shape=None):
        """The layer, with parameters and state that are not what they start as."""
        layer, rng = self.new(dtype, shape), np.random.default_rng(4)
        for array in (*layer.parameters.values(), *layer.state.values()):
            array[...] = rng.uniform(0.5, 2, array.shape)
        return layer

    def batch(self, dtype=np.float32, shape=None, seed=3):
        inputs = self.case.inputs(np.random.default_rng(seed), shape or self.shape, dtype)
        return next(iter(inputs.values()))

    @property
    def shape(self):
        return self.case.shapes[0]

    def takes(self, shape):
        """Whether the layer for its first shape takes an x of another."""
        if len(shape) < 2 or 0 in shape:
            return False
        try:
            other = self.new(shape=shape)
        except ValueError:
            return False
        return sizes_of(other) == sizes_of(self.new())


def arrays_of(layer):
    return [*layer.parameters.values(), *layer.gradients.values(), *layer.state.values()]


def sizes_of(layer):
    """What says of which x it is: a layer without arrays may have its features all the same."""
    return layer._takes_features, [array.shape for array in arrays_of(layer)]


SUBJECTS = {
    name: Subject(name, case, maker)
    for case in CASES.values()
    for name, maker in case.layers.items()
}


def with_shapes(largest):
    """A parameter: the layers with the shapes of their cases of at most so many values."""
    pairs = [
        (subject, shape)
        for subject in SUBJECTS.values()
        for shape in subject.case.shapes
        if np.prod(shape) <= largest
    ]
    ids = [f"{subject.name}-{shape}" for subject, shape in pairs]
    return pytest.mark.parametrize(("subject", "shape"), pairs, ids=ids)


def statistics_of(layer):
    """Its state, but for numbers of batches."""
    return {name: array for name, array in layer.state.items() if array.dtype.kind == "f"}


def upstream(y, seed=1):
    return np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype)


def step(layer, x, mode, **options):
    """Forward and backward: y and dx, which are new, and copies of the parameters' gradients."""
    y = layer.forward(x, **mode)
    dx = layer.backward(upstream(y), **{"input_gradient": True} | options)
    return y, dx, *(gradient.copy() for gradient in layer.gradients.values())


def assert_same_arrays(layer, other):
    for kind in ("parameters", "gradients", "state"):
        ours, theirs = getattr(layer, kind), getattr(other, kind)
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name])


def assert_all_equal(one, other):
    for ours, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(ours, theirs)
