"""Features that do not lie last: every entry point names the call that brings them there."""

import re

import numpy as np
import pytest

from npbn import BatchNorm, Dense, ReLU, Sequential, functional, gradient_check

NORM, DENSE = BatchNorm(3), Dense(3, 2, rng=0)
GAMMA, STATISTICS = np.ones((2, 3), np.float32), np.ones((2, 3), np.float32)


def network():
    return Sequential([BatchNorm(3), ReLU()])


ENTRIES = {
    "BatchNorm": NORM.forward,
    "Dense": DENSE.forward,
    "network": lambda x: network().forward(x),
    "network in training": lambda x: network().forward(x, training=True),
    "predict": lambda x: network().predict(x),
    "output_shape": lambda x: network().output_shape(x.shape),
    "recompute_population": lambda x: network().recompute_population(x),
    "gradient_check": lambda x: gradient_check(network(), x),
    "dense_forward": lambda x: functional.dense_forward(x, np.ones((3, 2), np.float32)),
    "batch_norm_forward": lambda x: functional.batch_norm_forward(x, *GAMMA),
    "batch_norm_inference": lambda x: functional.batch_norm_inference(x, *GAMMA, *STATISTICS),
}
each_entry = pytest.mark.parametrize("entry", ENTRIES.values(), ids=ENTRIES)


def message(entry, x):
    with pytest.raises(ValueError, match="expected") as refused:
        entry(x)
    return str(refused.value)


@each_entry
@pytest.mark.parametrize("shape", [(2, 3, 5, 5), (2, 3, 7), (2, 5, 3, 5), (3, 5, 5)], ids=str)
def test_the_message_names_the_axis_and_what_it_names_can_be_typed(entry, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    text = message(entry, x)
    typed = re.search(
        rf": if axis {shape.index(3)} has the features, pass (np.moveaxis\(.*\))", text
    )
    entry(eval(typed[1], {"np": np, "x": x}))


@each_entry
def test_no_axis_of_that_size_gives_no_advice(entry):
    assert "axis" not in message(entry, np.ones((2, 5, 4), np.float32))


def test_two_axes_are_turned_as_well():
    assert message(NORM.forward, np.ones((3, 60), np.float32)).endswith("np.moveaxis(x, 0, -1)")


def test_images_are_to_be_laid_flat_for_a_dense_layer():
    images = np.ones((5, 4, 3, 1), np.float32)
    layer = Dense(12, 2, rng=0)
    text = message(layer.forward, images)
    assert text.endswith("expected (..., 12), got (5, 4, 3, 1): pass x.reshape(len(x), -1)")
    layer.forward(images.reshape(len(images), -1))
    assert message(lambda x: functional.dense_forward(x, layer.weight), images).endswith(", -1)")
