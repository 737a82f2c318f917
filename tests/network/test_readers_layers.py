"""A layer of a reader's own in a network: called as it is written, what it returns is checked."""

import numpy as np
import pytest
from small_network import Identity, Scale, Within, assert_same, batch, copies, gradients, labels

from npbn import BatchNorm, Dense, Layer, LeakyReLU, ReLU, Sequential, Tanh, gradient_check


def test_it_is_called_with_what_it_takes():
    identity = Identity()
    network = Sequential([Dense(6, 5, rng=0), identity, Scale(5), ReLU(), Dense(5, 3, rng=1)])
    network.forward(batch(), training=True)
    assert identity.told == (True, "batch")
    network.backward(np.ones((8, 3), np.float32))
    assert identity.wanted is True
    network.forward(batch(), training=True, statistics="population")
    assert identity.told == (True, "population")
    network.forward(batch())
    assert identity.told == (False, "population")
    assert gradient_check(network, batch(), labels())


def test_a_subclass_of_a_layer_runs_as_it_is_written():
    class Doubled(ReLU):
        def forward(self, x, training=False, statistics=None, *, out=None):
            return 2 * super().forward(x, training, statistics)

        def backward(self, dy, *, input_gradient=True, out=None):
            return super().backward(2 * dy)

    network = Sequential([Dense(6, 5, rng=0), Doubled(), Dense(5, 3, rng=1)])
    plain = Sequential([Dense(6, 5, rng=0), ReLU(), Dense(5, 3, rng=1)])
    plain.layers[2].weight *= 2
    assert np.allclose(network.forward(batch()), plain.forward(batch()), rtol=1e-6)
    assert np.array_equal(network.predict(batch()), plain.predict(batch()))
    assert gradient_check(network, batch(), labels())


def test_a_batch_norm_or_dense_with_a_forward_of_its_own_is_not_folded():
    class Shifted(BatchNorm):
        def forward(self, x, training=False, statistics=None):
            return 1 + super().forward(x, training, statistics)

    class Double(Dense):
        def forward(self, x, training=False, statistics=None):
            return 2 * super().forward(x, training, statistics)

    for layers in ([Dense(6, 5, rng=0), Shifted(5)], [Double(6, 5, rng=0), BatchNorm(5)]):
        network = Sequential([*layers, Tanh()])
        folded = network.fold_batch_norm()
        assert len(folded.layers) == 3
        assert np.array_equal(folded.forward(batch()), network.forward(batch()))


@pytest.mark.parametrize("norm", [True, False])
def test_the_gradients_that_it_keeps_are_not_written(norm):
    class Keeping(Identity):
        def backward(self, dy):
            self.arrays = dy, 2 * dy
            self.copies = [array.copy() for array in self.arrays]
            return self.arrays[1]

    keeping, norms = Keeping(), [BatchNorm(5)] if norm else []
    network = Sequential([Dense(6, 5, rng=0), *norms, ReLU(), keeping, Dense(5, 5, rng=1)])
    kept = []
    for seed in range(3):
        network.backward(network.forward(batch(seed=seed), training=True))
        kept += zip(keeping.arrays, keeping.copies, strict=True)
    assert all(np.array_equal(array, before) for array, before in kept)


def test_out_may_be_the_array_that_it_returned():
    class Constant(Identity):
        kept = batch(seed=4)

        def forward(self, x):
            return self.kept

    network = Sequential([Constant(), LeakyReLU()])
    y = network.forward(batch())
    out = network.layers[0].kept
    assert network.forward(batch(), out=out) is out
    assert np.array_equal(out, y)


def test_out_of_another_shape_than_its_is_refused():
    network = Sequential([Dense(6, 5, rng=0), Scale(5)])
    with pytest.raises(ValueError, match=r"out: expected .*\(8, 5\)"):
        network.forward(batch(), out=np.empty((2, 8, 5), np.float32))


def test_its_rows_may_change_in_number():
    class Half(Layer):
        def forward(self, x):
            return x[: len(x) // self.part]

        def backward(self, dy):
            return np.concatenate([dy] + [np.zeros_like(dy)] * (self.part - 1))

    half = Half()
    network = Sequential([Dense(6, 5, rng=0), half, BatchNorm(5), Dense(5, 3, rng=0)])
    for half.part in (1, 2, 4):
        y = network.forward(batch(), training=True)
        assert y.shape == (8 // half.part, 3)
        assert network.backward(y, input_gradient=True).shape == (8, 6)


class Returns(Identity):
    """What `result` makes of x, `dresult` of dy."""

    result = dresult = staticmethod(lambda array: array)

    def forward(self, x):
        return self.result(x)

    def backward(self, dy):
        return self.dresult(dy)


def test_what_it_returns_is_checked():
    wrong = Returns()
    network = Sequential([Dense(6, 5, rng=0), wrong, Dense(5, 3, rng=1)])
    for wrong.result, error in (
        (lambda x: x.astype(np.float64), TypeError),
        (lambda x: x.tolist(), TypeError),
        (lambda x: None, TypeError),
        (lambda x: x[0], ValueError),
    ):
        with pytest.raises(error, match=r"layer 1, Returns\(\): forward's result: expected"):
            network.forward(batch())
    wrong.result = Returns.result
    for wrong.dresult, error in (
        (lambda dy: None, TypeError),
        (lambda dy: dy.astype(np.float64), TypeError),
        (lambda dy: dy[:1], ValueError),
    ):
        y = network.forward(batch(), training=True)
        with pytest.raises(error, match=r"layer 1, Returns.*backward's result"):
            network.backward(y)


def test_it_is_told_where_no_dx_is_wanted():
    class Told(Scale):
        def backward(self, dy, input_gradient=True):
            self.wanted = input_gradient
            dx = super().backward(dy)
            return dx if input_gradient else None

    network = Sequential([Told(6), Told(6), Dense(6, 3, rng=0)])
    for input_gradient in (True, False):
        y = network.forward(batch(), training=True)
        dx = network.backward(np.ones_like(y), input_gradient=input_gradient)
        assert (dx is not None) == input_gradient
        assert [layer.wanted for layer in network.layers[:2]] == [input_gradient, True]


def test_a_batch_norm_behind_it_refuses_one_value_a_feature_in_training_alone():
    network = Sequential([Identity(), BatchNorm(6)])
    with pytest.raises(ValueError, match=r"layer 1, BatchNorm\(6\): expected two values"):
        network.forward(batch(1), training=True)
    assert network.forward(batch(1)).shape == (1, 6)
    assert network.forward(batch(1), training=True, statistics="population").shape == (1, 6)


def test_a_layer_must_define_its_passes():
    with pytest.raises(TypeError, match="defines forward"):
        Sequential([Layer()]).forward(batch())
    with pytest.raises(TypeError, match="defines backward"):
        Layer().backward(batch())


@pytest.mark.parametrize("inside", [False, True], ids=["in the network", "in a network within"])
def test_an_interrupted_pass_leaves_none_pending_and_the_network_usable(inside):
    class Interrupted(Scale):
        now = False

        def forward(self, x):
            if self.now:
                raise KeyboardInterrupt
            return super().forward(x)

    layer = Interrupted(5)
    layers = [BatchNorm(5), ReLU(), layer, BatchNorm(5)]
    layers = [Within(layers)] if inside else layers
    network = Sequential([Dense(6, 5, rng=0), *layers, Dense(5, 3, rng=1)])
    x, dy = batch(), batch(8)[:, :3]
    expected = gradients(network, dy, x)
    network.forward(x, training=True)
    state = copies(network.state)
    layer.now = True
    calls = [network.predict, network.predict_probabilities]
    calls += [lambda x: network.accuracy(x, labels()), lambda x: network.forward(2 * x, True)]
    for call in calls:
        with pytest.raises(KeyboardInterrupt):
            call(x)
    for each, shape in ((network, (8, 3)), (network.layers[1], (8, 5))):
        with pytest.raises(RuntimeError, match="forward"):
            each.backward(np.ones(shape, np.float32))
    assert_same(network.state, state)
    layer.now = False
    assert np.array_equal(gradients(network, dy, x), expected)
