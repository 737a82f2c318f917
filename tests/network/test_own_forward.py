"""A subclass of Sequential with a forward of its own: run as written everywhere, or refused."""

import numpy as np
import pytest
from shared import COPIES
from small_network import Residual, Within, batch, gradients, labels

from npbn import (
    SGD,
    BatchNorm,
    Dense,
    ReLU,
    Sequential,
    Tanh,
    fit,
    functional,
    gradient_check,
    training_steps,
)


class Pictures(Sequential):
    """Takes images of any shape, and sees their negatives."""

    def forward(self, x, training=False, statistics=None):
        self._shape = x.shape
        return super().forward(-x.reshape(len(x), -1), training, statistics)

    def backward(self, dy, input_gradient=True):
        return -super().backward(dy, input_gradient=True).reshape(self._shape)


def layers():
    return [Dense(6, 5, rng=0), BatchNorm(5), ReLU(), Dense(5, 3, rng=1)]


def pictures(rows=600):
    return batch(rows).reshape(rows, 2, 3)


PLACES = {
    "outermost": lambda: Pictures(layers()),
    "within another": lambda: Sequential([Pictures(layers()), Tanh()]),
    "in two": lambda: Pictures([Residual([Dense(6, 6, rng=2), Tanh()]), *layers()]),
}
each_place = pytest.mark.parametrize("make", PLACES.values(), ids=PLACES)


@each_place
def test_inference_is_its_forward_pass(make):
    network, x = make(), pictures()
    y = network.forward(x)
    assert np.array_equal(network.predict(x), y.argmax(1))
    assert network.accuracy(x, y.argmax(1)) == 1
    assert np.array_equal(network.predict_probabilities(x).argmax(1), y.argmax(1))
    y = network.forward(x, statistics="batch")
    assert np.array_equal(network.predict(x, statistics="batch"), y.argmax(1))


@each_place
def test_it_is_trained_and_checked_as_written(make):
    network, alone, data = make(), make(), (pictures(60), labels(60))
    assert gradient_check(network, data[0][:8], data[1][:8])
    history = fit(network, data, data, optimizer=SGD(0.1), steps=3, batch_size=60)
    order = np.random.default_rng(0)
    for loss in history.losses:
        rows = order.permutation(60)
        y = alone.forward(data[0][rows], training=True)
        own, dy = functional.softmax_cross_entropy(y, data[1][rows])
        assert loss == pytest.approx(own, rel=1e-5)
        alone.backward(dy)
        SGD(0.1).step(alone)
    assert network.parameter_vector == pytest.approx(alone.parameter_vector, abs=1e-6)
    assert history.final_validation_accuracy == network.accuracy(*data)


@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_it_is_trained_under_the_callers_settings_of_numpys_errors(direction):
    class Dividing(Sequential):
        def forward(self, x, training=False):
            self.divide("forward")
            return super().forward(x, training)

        def backward(self, dy):
            self.divide("backward")
            return super().backward(dy)

        def divide(self, where):
            if where == direction:
                np.ones(1) / np.zeros(1)

    network, data = Dividing(layers()), (batch(60), labels(60))
    with np.errstate(divide="ignore"):
        steps = training_steps(network, data, optimizer=SGD(0.1), steps=1)
    with np.errstate(divide="raise"), pytest.raises(FloatingPointError):
        next(steps)


def test_where_it_diverges_it_is_named():
    network, data = Pictures(layers()), (pictures(60), labels(60))
    network.layers[3].weight[0] = np.nan
    with pytest.raises(RuntimeError, match=r"began in Pictures\(.*its 3.weight no longer finite"):
        fit(network, data, optimizer=SGD(0.1), steps=1)


def test_within_another_it_is_printed_as_a_layer_of_which_no_shape_is_known():
    lines = [line.split("  ") for line in str(PLACES["within another"]()).splitlines()[-8:]]
    found = [[cell.strip() for cell in line if cell.strip()] for line in lines]
    assert found[1] == ["0", repr(Pictures(layers())), "(N, ?)", "63"]
    assert [row[:1] + row[2:] for row in found[2:6]] == [
        ["0.0", "35"],
        ["0.1", "10"],
        ["0.2", "0"],
        ["0.3", "18"],
    ]


def test_what_would_ignore_it_is_refused():
    network = Pictures(layers())
    for call in (lambda: network.recompute_population(pictures()), network.fold_batch_norm):
        with pytest.raises(TypeError, match=r"^Pictures: has passes of its own"):
            call()
    with pytest.raises(ValueError, match=r"^Pictures\(.*decides the shape of its output itself"):
        network.output_shape((8, 2, 3))
    assert (network.layers[1].population_mean == 0).all()


def test_within_another_it_is_folded_as_it_is():
    network = Sequential([Pictures(layers()), Dense(3, 4, rng=2), BatchNorm(4)])
    network.layers[2].population_mean[...] = 3
    folded = network.fold_batch_norm()
    assert repr(folded.layers[0]) == repr(network.layers[0])
    assert len(folded.layers) == 2
    assert np.allclose(folded.forward(pictures()), network.forward(pictures()), atol=1e-5)


@pytest.mark.parametrize("kind", [Within, Residual])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("rows", [8, 4], ids=["same shape", "another"])
@pytest.mark.parametrize("training", [True, False])
def test_predict_between_its_forward_and_backward_changes_nothing(kind, depth, rows, training):
    inner = kind([Dense(5, 5, rng=1), BatchNorm(5), ReLU()])
    layer = inner if depth == 1 else Sequential([kind([inner, Tanh()])])
    network = Sequential([Dense(6, 5, rng=0), layer, Dense(5, 3, rng=2)])
    dy, x = batch(seed=3)[:, :3], batch()
    network.forward(x, training)
    expected = gradients(network, dy)
    network.forward(x, training)
    network.predict(batch(rows, seed=7))
    network.accuracy(batch(rows, seed=8), labels(rows), statistics="batch")
    inner.predict(batch(rows, seed=9)[:, :5])
    assert np.array_equal(gradients(network, dy), expected)


class Scaled(Sequential):
    def __init__(self, layers, factor):
        super().__init__(layers)
        self.factor = factor

    def forward(self, x, training=False):
        return super().forward(x * np.asarray(self.factor, x.dtype), training)


def test_a_subclass_keeps_what_it_added():
    network, x = Scaled([Dense(6, 3, rng=0)], 3), batch()
    for duplicate in COPIES.values():
        other = duplicate(network).astype(np.float64)
        assert other.factor == 3
        assert np.allclose(other.forward(x.astype(float)), network.forward(x))
        assert np.array_equal(duplicate(network).predict(x), network.predict(x))
