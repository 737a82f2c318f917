"""Every operation as a student derives it, right or with a mistake, as a layer of one's own."""

import numpy as np

from npbn import Layer
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
