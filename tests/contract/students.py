"""Every operation as a student derives it, right or with a mistake, as a layer of one's own."""

import inspect

import numpy as np

from npbn import Layer, reference
from npbn.testing import CASES
from npbn.testing.mistake import right


class Student(Layer):
    """A layer made of an operation's equations; of a loss, a layer whose y is the loss, (1, 1)."""

    def __init__(self, operation, mistake=None, **changed):
        self.operation, self.mistake = operation, mistake
        case = CASES[operation]
        shape = (mistake and mistake.shape) or case.shapes[0]
        inputs = case.inputs(np.random.default_rng(3), shape, np.float64) | changed
        self.first, self.x = next(iter(inputs.items()))
        self.constants = {
            name: value
            for name, value in inputs.items()
            if name not in (self.first, *case.parameters)
        }
        super().__init__({name: inputs[name] for name in case.parameters})

    def forward(self, x):
        own = {name: value.copy() for name, value in self.parameters.items()}
        self.inputs = {self.first: x.copy()} | own | self.constants
        self.earlier = getattr(self, "earlier", self.inputs)
        results = vars(right(self.operation, self.inputs))
        if self.mistake is not None and self.mistake.is_forward:
            results |= self.mistake.wrong(self.inputs, earlier=self.earlier)
        return np.full((1, 1), results["loss"]) if "loss" in results else results["y"]

    def backward(self, dy):
        results = vars(right(self.operation, self.inputs, dy))
        if self.mistake is not None and not self.mistake.is_forward:
            results |= self.mistake.wrong(self.inputs, dy, self.earlier)
        for name, gradient in self.gradients.items():
            gradient[...] = results[f"d{name}"]
        return results[f"d{self.first}"]


def wrong_names(report):
    """The arrays whose gradients a report calls wrong, by names like "dx" and "dgamma"."""
    return {
        name.replace("d(", "d").rstrip(")")
        for name, error in report.errors.items()
        if not error <= report.tolerance
    }


def functions_of(operation, mistake=None):
    """forward, backward, the arrays and the options of an operation, right or with a mistake."""
    case = CASES[operation]
    shape = (mistake and mistake.shape) or case.shapes[0]
    inputs = case.inputs(np.random.default_rng(3), shape, np.float64)
    arguments = inspect.signature(case.function(reference)).parameters.values()
    names = [each.name for each in arguments if each.kind is each.POSITIONAL_OR_KEYWORD]
    arrays = {name: inputs[name] for name in names if inputs.get(name) is not None}
    options = {name: value for name, value in inputs.items() if name not in arrays}
    calls = []

    def forward(*given):
        own = dict(zip(arrays, (each.copy() for each in given), strict=True)) | options
        earlier = calls[-1] if calls else own
        calls.append(own)
        results = vars(right(operation, own))
        if mistake is not None and mistake.is_forward:
            with np.errstate(all="ignore"):
                results |= mistake.wrong(own, earlier=earlier)
        return results["loss" if case.is_loss else "y"], (own, earlier)

    def backward(dy, cache):
        own, earlier = cache
        results = vars(right(operation, own, dy))
        if mistake is not None and not mistake.is_forward:
            results |= mistake.wrong(own, dy, earlier)
        return tuple(results[name] for name in case.gradients)

    return forward, backward, list(arrays.values()), options
