"""The base of all layers: its arrays, attributes, types and generators."""

import numpy as np
import pytest

from npbn import BatchNorm, Dropout, Layer, ReLU
from npbn.layers.layer import ArrayAttribute


def test_arrays_are_kept_in_c_order_whatever_they_are_given_in():
    array = np.asfortranarray(np.random.default_rng(3).normal(size=(6, 4)))
    layer = Layer(parameters={"a": array}, state={"b": array})
    for kept in (layer.parameters["a"], layer.gradients["a"], layer.state["b"]):
        assert kept.flags.c_contiguous
        assert not np.may_share_memory(kept, array)


def test_an_attribute_stands_for_an_array_of_its_own_name():
    class Shifted(Layer):
        shift = ArrayAttribute("_parameters", "What is added.")

        def __init__(self):
            super().__init__({"shift": np.ones(3)})

    layer = Shifted()
    layer.shift = np.full(3, 2.0)
    assert layer.shift is layer.parameters["shift"]
    np.testing.assert_array_equal(layer.shift, 2)
    assert Shifted.shift.__doc__ == "What is added."


@pytest.mark.parametrize("wrong", [int, np.float16, np.longdouble, None, "nonsense"], ids=str)
def test_another_type_is_refused(wrong):
    for call in (
        lambda: ReLU().astype(wrong),
        lambda: BatchNorm(4).astype(wrong),
        lambda: BatchNorm(4, dtype=wrong),
    ):
        with pytest.raises(TypeError, match=r"^dtype: expected np.float32 or np.float64"):
            call()


def test_generators_within_a_layer_have_names_of_their_own():
    class Noisy(Layer):
        def __init__(self):
            super().__init__()
            self.rng = np.random.default_rng(0)
            self.each = [np.random.default_rng(1), (Dropout(0.5, rng=2), np.random.default_rng(3))]
            self.drop = Dropout(0.5, rng=4)

    layer = Noisy()
    assert dict(layer.generators) == {
        "rng": layer.rng,
        "each.0": layer.each[0],
        "each.1.0._rng": layer.each[1][0]._rng,
        "each.1.1": layer.each[1][1],
        "drop._rng": layer.drop._rng,
    }
