"""Every operation at work keeps what it says of arrays: which may be one, and which it reads."""

import numpy as np
import pytest

from npbn.functional.activations import (
    LeakyReLUOperation,
    ReLUOperation,
    SigmoidOperation,
    TanhOperation,
)
from npbn.functional.batch_norm import BatchNormInferenceOperation, batch_norm_operation
from npbn.functional.dense import DenseOperation
from npbn.functional.dropout import DropoutOperation
from npbn.numerics.denormals import quiet

SHAPES = [(7, 5), (60, 100), (3, 4, 5), (2, 20, 30, 40), (20000, 3)]


def vectors(count, shape, dtype):
    return list(np.random.default_rng(1).uniform(0.5, 2, (count, shape[-1])).astype(dtype))


# A function of shape and type: the operation, what forward takes beside x and y, and the shapes of
# y and of the parameters' gradients.
OPERATIONS = {
    "relu": lambda s, t: (ReLUOperation(s, t), [], s, []),
    "leaky_relu": lambda s, t: (LeakyReLUOperation(s, t, 0.3), [], s, []),
    "sigmoid": lambda s, t: (SigmoidOperation(s, t), [], s, []),
    "tanh": lambda s, t: (TanhOperation(s, t), [], s, []),
    "dropout": lambda s, t: (DropoutOperation(s, t, 0.3), [np.random.default_rng(3)], s, []),
    "batch_norm": lambda s, t: (
        batch_norm_operation(s, t, 1e-3),
        vectors(2, s, t),
        s,
        [s[-1:]] * 2,
    ),
    "batch_norm_inference": lambda s, t: (
        BatchNormInferenceOperation(s, t, 1e-3),
        vectors(4, s, t),
        s,
        [s[-1:]] * 2,
    ),
    "dense": lambda s, t: (
        DenseOperation(s, t, (s[-1], 3), True),
        [np.stack(vectors(3, s, t), 1), np.ones(3, t)],
        (*s[:-1], 3),
        [(s[-1], 3), (3,)],
    ),
}


def both_passes(name, shape, dtype, *, over_x=False, over_dy=False, write_y=False, dx_wanted=True):
    """y, dx and the gradients; dy as it was left."""
    rng, kind = np.random.default_rng(0), np.dtype(dtype)
    operation, parameters, y_shape, shapes = OPERATIONS[name](shape, kind)
    x, dy = rng.standard_normal(shape).astype(kind), rng.standard_normal(y_shape).astype(kind)
    y = x if over_x else np.empty(y_shape, kind)
    dx = (dy if over_dy else np.empty(shape, kind)) if dx_wanted else None
    gradients = [np.empty(each, kind) for each in shapes]
    with quiet():
        operation.forward(np, x, *parameters, y)
        kept = y.copy()
        if write_y:
            y[...] = 7
        operation.prepare_backward()
        operation.backward(np, dy, dx, *gradients)
    return operation, [kept, dx, *gradients], dy


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_does_as_it_says(name, shape, dtype):
    operation, expected, dy = both_passes(name, shape, dtype)
    untouched = np.random.default_rng(0)
    untouched.standard_normal(shape)
    np.testing.assert_array_equal(dy, untouched.standard_normal(dy.shape).astype(dtype))
    variants = {
        "over_x": operation.y_over_x,
        "over_dy": operation.dx_over_dy,
        "write_y": not operation.reads_y,
    }
    for variant, holds in variants.items():
        if holds:
            _, found, _ = both_passes(name, shape, dtype, **{variant: True})
            for one, other in zip(found, expected, strict=True):
                np.testing.assert_array_equal(one, other)
    if len(expected) > 2:
        _, found, _ = both_passes(name, shape, dtype, dx_wanted=False)
        for one, other in zip(found[2:], expected[2:], strict=True):
            np.testing.assert_array_equal(one, other)
