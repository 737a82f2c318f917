"""Sequential: parameters in one vector, both passes, inference, exact statistics, files."""

import copy
import gc
import pickle
import tracemalloc
from itertools import pairwise

import numpy as np
import pytest

from npbn import (
    SGD,
    BatchNorm,
    Dense,
    Dropout,
    Layer,
    LeakyReLU,
    ReLU,
    Sequential,
    Sigmoid,
    Tanh,
    functional,
    gradient_check,
    training_steps,
)
from npbn.layers.running_average import mean_and_variance


def small(*, dtype=np.float32, activation=ReLU, norm=True, seed=0):
    rng = np.random.default_rng(seed)
    layers = []
    for in_features, out_features in ((6, 5), (5, 4)):
        layers.append(Dense(in_features, out_features, use_bias=not norm, rng=rng, dtype=dtype))
        layers += [BatchNorm(out_features, dtype=dtype)] if norm else []
        layers.append(activation())
    return Sequential([*layers, Dense(4, 3, rng=rng, dtype=dtype)])


def batch(rows=8, dtype=np.float32, seed=1):
    return np.random.default_rng(seed).normal(2, 3, (rows, 6)).astype(dtype)


def labels(rows=8, seed=2):
    return np.random.default_rng(seed).integers(3, size=rows)


def train(network, steps=5):
    for _ in training_steps(
        network, (batch(32), labels(32)), optimizer=SGD(0.1), steps=steps, batch_size=8
    ):
        pass


def memory_of(call):
    """How many bytes more are held after the call, and how many were at most."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()


class Scale(Layer):
    """A reader's own layer, that takes the fewest arguments."""

    def __init__(self, features):
        super().__init__(parameters={"scale": np.full(features, 2, np.float32)})

    def forward(self, x):
        self._cache = x
        return x * self.parameters["scale"]

    def backward(self, dy):
        x = self._take_cache()
        self.gradients["scale"][...] = (dy * x).sum(0)
        return dy * self.parameters["scale"]


class Identity(Layer):
    """A reader's own layer, that hands on what it got."""

    def forward(self, x, training=False):
        self.seen = training
        return x

    def backward(self, dy, input_gradient=True):
        self.wanted = input_gradient
        return dy


class TestVectors:
    def test_layers_hold_views_into_one_vector(self):
        network = small()
        assert network.parameter_vector.size == sum(v.size for v in network.parameters.values())
        for name, value in network.parameters.items():
            assert np.shares_memory(value, network.parameter_vector)
            assert np.array_equal(network.parameter_vector[network.slices[name]], value.ravel())
        network.parameter_vector[network.slices["1.gamma"]] = 7
        assert (network.layers[1].gamma == 7).all()

    def test_backward_fills_the_gradient_vector(self):
        network = small()
        y = network.forward(batch(), training=True)
        network.backward(np.ones_like(y))
        for name, value in network.gradients.items():
            assert np.array_equal(network.gradient_vector[network.slices[name]], value.ravel())
        assert network.gradients["6.bias"] == pytest.approx([8, 8, 8])

    def test_mappings_are_read_only_and_named_by_place(self):
        network = small()
        assert list(network.state)[:2] == ["1.population_mean", "1.population_variance"]
        assert list(network.parameters)[:3] == ["0.weight", "1.gamma", "1.beta"]
        with pytest.raises(TypeError):
            network.parameters["0.weight"] = np.zeros((6, 5), np.float32)

    @pytest.mark.parametrize(
        "duplicate",
        [copy.copy, copy.deepcopy, lambda network: pickle.loads(pickle.dumps(network))],
    )
    def test_a_copy_keeps_its_views_whole_and_is_apart(self, duplicate):
        network = small()
        train(network)
        other = duplicate(network)
        assert np.array_equal(other.predict(batch()), network.predict(batch()))
        assert np.array_equal(other.gradient_vector, network.gradient_vector)
        for value in other.parameters.values():
            assert np.shares_memory(value, other.parameter_vector)
            assert not np.shares_memory(value, network.parameter_vector)
        before = network.parameter_vector.copy()
        train(other)
        assert np.array_equal(network.parameter_vector, before)
        assert network.state["1.population_mean"] is not other.state["1.population_mean"]

    def test_astype_is_a_copy_of_another_type(self):
        network = small()
        double = network.astype(np.float64)
        assert double.parameter_vector.dtype == np.float64
        assert double.state["1.population_mean"].dtype == np.float64
        assert network.dtype == np.float32
        assert np.allclose(double.forward(batch(dtype=np.float64)), network.forward(batch()))

    def test_a_network_may_be_a_layer(self):
        inner = Sequential([Dense(5, 4, use_bias=False, rng=0), BatchNorm(4), ReLU()])
        outer = Sequential([Dense(6, 5, rng=1), inner, Dense(4, 3, rng=2)])
        flat = Sequential([copy.deepcopy(each) for each in (outer.layers[0], *inner.layers)])
        flat = Sequential([*map(copy.deepcopy, flat.layers), copy.deepcopy(outer.layers[2])])
        assert list(outer.slices)[2] == "1.0.weight"
        for network in (outer, flat):
            train(network)
        assert np.array_equal(outer.parameter_vector, flat.parameter_vector)
        assert np.shares_memory(inner.parameter_vector, outer.parameter_vector)
        assert np.array_equal(outer.forward(batch()), flat.forward(batch()))
        assert gradient_check(outer, batch(), labels())
        clone = copy.deepcopy(outer)
        assert np.shares_memory(clone.layers[1].layers[0].weight, clone.parameter_vector)


class TestPasses:
    @pytest.mark.parametrize("statistics", [None, "batch", "population"])
    @pytest.mark.parametrize("training", [True, False])
    def test_is_its_layers_one_after_another(self, training, statistics):
        network, x = small(), batch()
        alone = copy.deepcopy(network)
        y = network.forward(x, training, statistics)
        expected = x
        for layer in alone.layers:
            expected = layer.forward(expected, training, statistics)
        assert np.array_equal(y, expected)
        dy = np.random.default_rng(3).normal(size=y.shape).astype(np.float32)
        dx = network.backward(dy, input_gradient=True)
        for layer in reversed(alone.layers):
            dy = layer.backward(dy)
        assert np.array_equal(dx, dy)
        for name, value in alone.gradients.items():
            assert np.array_equal(network.gradients[name], value), name
        for name, value in alone.state.items():
            assert np.array_equal(network.state[name], value), name

    def test_without_input_gradient_only_dx_is_missing(self):
        network, x = small(), batch()
        y = network.forward(x, training=True)
        network.backward(y, input_gradient=True)
        expected = network.gradient_vector.copy()
        network.forward(x, training=True)
        assert network.backward(y) is None
        assert np.array_equal(network.gradient_vector, expected)

    def test_layers_before_the_first_parameters_are_left_out_or_not(self):
        first = Identity()
        network = Sequential([first, Dropout(0.5, rng=0), Dense(6, 3, rng=0)])
        y = network.forward(batch(), training=True)
        assert network.backward(y) is None
        assert not hasattr(first, "wanted")
        network.forward(batch(), training=True)
        assert network.backward(y, input_gradient=True).shape == (8, 6)

    def test_dx_goes_through_the_layers_before_the_first_parameters(self):
        network, x = Sequential([LeakyReLU(0.5), Dense(6, 3, rng=0)]), batch()
        dy = np.ones_like(network.forward(x, training=True))
        dx = network.backward(dy, input_gradient=True)
        expected = dy @ network.layers[1].weight.T * np.where(x > 0, 1, np.float32(0.5))
        assert np.allclose(dx, expected, rtol=1e-6)
        network.forward(x, training=True)
        network.backward(dy)
        with pytest.raises(RuntimeError, match="backward without a forward pass"):
            network.layers[0].backward(dx)

    def test_dropout_drops_in_training_alone(self):
        network, x = Sequential([Dense(6, 50, rng=0), Dropout(0.5, rng=0)]), batch()
        assert (network.forward(x) == network.layers[0].forward(x)).all()
        assert 0.3 < (network.forward(x, training=True) == 0).mean() < 0.7

    @pytest.mark.parametrize("last", [ReLU, LeakyReLU, Sigmoid, Tanh])
    def test_neither_x_nor_dy_is_written(self, last):
        network, x = Sequential([BatchNorm(6), Dense(6, 5, rng=0), BatchNorm(5), last()]), batch()
        dy = np.random.default_rng(0).standard_normal((8, 5)).astype(np.float32)
        kept = x.copy(), dy.copy()
        network.forward(x, training=True)
        network.backward(dy)
        assert np.array_equal(x, kept[0])
        assert np.array_equal(dy, kept[1])

    def test_results_are_never_written_again(self):
        network, x = small(), batch()
        y = network.forward(x, training=True)
        dx = network.backward(y, input_gradient=True)
        kept = y.copy(), dx.copy()
        for seed in range(3):
            y2 = network.forward(batch(seed=seed), training=True)
            network.backward(y2, input_gradient=True)
        assert np.array_equal(y, kept[0])
        assert np.array_equal(dx, kept[1])
        assert np.array_equal(x, batch())

    @pytest.mark.parametrize("last", [ReLU, Tanh])
    def test_dx_of_a_batch_norm_at_the_start_is_new_or_out(self, last):
        network, x = Sequential([BatchNorm(6), last(), Dense(6, 3, rng=0)]), batch()
        y = network.forward(x, training=True)
        dx = network.backward(y, input_gradient=True)
        kept, out = dx.copy(), np.empty_like(x)
        network.forward(x, training=True)
        assert network.backward(-y, input_gradient=True, out=out) is out
        assert np.array_equal(dx, kept)
        assert np.array_equal(out, -kept)

    def test_out_is_written_and_returned(self):
        network, x = small(), batch()
        y = np.empty((8, 3), np.float32)
        assert network.forward(x, out=y) is y
        assert np.array_equal(y, network.forward(x))
        dx = np.empty_like(x)
        assert network.backward(y, input_gradient=True, out=dx) is dx
        with pytest.raises(ValueError, match="out: expected a float32 array of shape"):
            network.forward(x, out=np.empty((8, 4), np.float32))
        network.forward(x)
        with pytest.raises(ValueError, match="out"):
            network.backward(y, input_gradient=True, out=np.empty((8, 4), np.float32))
        assert network.backward(y, input_gradient=True) is not None

    def test_buffers_follow_the_shape_of_the_batch(self):
        network, fresh = small(), small()
        for rows in (8, 3, 8, 5):
            x = batch(rows)
            assert np.array_equal(
                network.forward(x, statistics="batch"),
                copy.deepcopy(fresh).forward(x, statistics="batch"),
            )

    @pytest.mark.parametrize(
        "make",
        [
            lambda: [Dense(50, 400, rng=0), BatchNorm(400), Sigmoid(), Dense(400, 3, rng=0)],
            lambda: [Dense(50, 400, rng=0), BatchNorm(400), ReLU(), Dense(400, 3, rng=0)],
            lambda: [Dense(50, 400, rng=0), ReLU(), Dense(400, 3, rng=0)],
            lambda: [BatchNorm(400), Dense(400, 3, rng=0)],
        ],
        ids=["Sigmoid", "ReLU", "ReLU alone", "BatchNorm first"],
    )
    def test_a_step_allocates_no_array_of_a_layers_size(self, make):
        rng = np.random.default_rng(0)
        network = Sequential(make())
        features = getattr(network.layers[0], "in_features", 400)
        x, y = rng.normal(size=(200, features)).astype(np.float32), rng.integers(3, size=200)

        def step():
            _, dlogits = functional.softmax_cross_entropy(network.forward(x, training=True), y)
            network.backward(dlogits)

        step()
        assert memory_of(step)[1] < 200 * 400 * 4

    def test_with_out_it_allocates_no_array_of_that_size(self):
        network = Sequential([Dense(400, 3, rng=0), Tanh(), Dense(3, 400, rng=0)])
        x = np.ones((200, 400), np.float32)
        y, dx = np.ones_like(x), np.empty_like(x)

        def step():
            network.forward(x, training=True, out=y)
            network.backward(x, input_gradient=True, out=dx)

        step()
        assert memory_of(step)[1] < x.nbytes

    @pytest.mark.parametrize("activation", [[], [ReLU()]], ids=["", "ReLU"])
    def test_a_batch_norm_after_a_dense_holds_one_array(self, activation):
        layers = [Dense(50, 400, rng=0), BatchNorm(400), *activation, Dense(400, 3, rng=0)]
        network, x = Sequential(layers), np.ones((200, 50), np.float32)
        held, _ = memory_of(lambda: network.forward(x, training=True))
        assert held < 2.5 * (200 * 400 * 4)

    def test_gradients_of_one_size_share_two_arrays(self):
        network = Sequential([Dense(50, 400, rng=0), Tanh(), Tanh(), Tanh(), Dense(400, 3, rng=0)])
        y = network.forward(np.ones((200, 50), np.float32), training=True)
        held, _ = memory_of(lambda: network.backward(y))
        assert held < 2.5 * (200 * 400 * 4)

    def test_wrong_calls_name_the_layer_and_change_nothing(self):
        network = small()
        network.forward(batch(), training=True)
        before = copy.deepcopy(network)
        with pytest.raises(ValueError, match=r"layer 0, Dense\(6, 5.*expected \(\.\.\., 6\), got"):
            network.forward(np.ones((8, 7), np.float32), training=True)
        with pytest.raises(TypeError, match=r"float32, got float64: pass x.astype\(np.float32\)"):
            network.forward(batch(dtype=np.float64), training=True)
        with pytest.raises(ValueError, match="two values or more a feature"):
            network.forward(batch(1), training=True)
        with pytest.raises(TypeError, match="uint8"):
            network.predict(np.zeros((8, 6), np.uint8))
        with pytest.raises(ValueError, match="empty"):
            network.predict(np.zeros((0, 6), np.float32))
        with pytest.raises(ValueError, match="statistics"):
            network.forward(batch(), statistics="both")
        with pytest.raises(ValueError, match="dy: expected shape"):
            network.backward(np.ones((8, 4), np.float32))
        network.backward(np.ones((8, 3), np.float32))
        for name, value in before.state.items():
            assert np.array_equal(network.state[name], value)

    def test_backward_needs_a_forward_pass_each(self):
        network = small()
        with pytest.raises(RuntimeError, match="call forward again"):
            network.backward(np.ones((8, 3), np.float32))
        y = network.forward(batch(), training=True)
        network.backward(y)
        with pytest.raises(RuntimeError, match="call forward again"):
            network.backward(y)
        y = network.forward(batch(), training=True)
        network.layers[-1].backward(y)
        with pytest.raises(RuntimeError, match="layer 6"):
            network.backward(y)

    def test_x_not_finite_is_refused_in_training_and_moves_nothing(self):
        network, x = small(), batch()
        x[3, 2] = np.nan
        with pytest.raises(ValueError, match="x: expected finite values"):
            network.forward(x, training=True)
        assert all((v == small().state[k]).all() for k, v in network.state.items())
        assert np.isnan(network.forward(x)).any()

    @pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
    @pytest.mark.parametrize(
        "before",
        [
            lambda: [Tanh()],
            lambda: [Dense(6, 6, rng=0), Sigmoid()],
            lambda: [ReLU()],
            lambda: [Dropout(0.5, rng=0)],
            lambda: [Dense(6, 6, rng=0), BatchNorm(6), Dropout(0.5, rng=0)],
            lambda: [Identity()],
        ],
        ids=["Tanh", "Sigmoid", "ReLU", "Dropout first", "Dropout after", "a reader's"],
    )
    def test_no_layer_hides_it(self, before, value):
        network, x = Sequential([*before(), BatchNorm(6)]), batch()
        x[0, 0] = value
        kept = {name: array.copy() for name, array in network.state.items()}
        drawn = {name: rng.bit_generator.state for name, rng in network.generators.items()}
        with pytest.raises(ValueError, match="x: expected finite"):
            network.forward(x, training=True)
        for name, array in kept.items():
            assert np.array_equal(network.state[name], array)
        for name, rng in network.generators.items():
            assert rng.bit_generator.state == drawn[name]

    def test_a_refused_batch_leaves_out_as_it_was(self):
        network, x, out = small(), batch(), np.full((8, 3), 7, np.float32)
        x[0, 0] = np.nan
        with pytest.raises(ValueError, match="x: expected finite"):
            network.forward(x, training=True, out=out)
        assert (out == 7).all()

    def test_weights_not_finite_go_on_without_moving_any_population(self):
        network = small()
        network.layers[3].weight[0, 0] = np.inf
        y = network.forward(batch(), training=True)
        assert not np.isfinite(y).all()
        assert all((v == small().state[k]).all() for k, v in network.state.items())
        network.backward(y)
        assert network.predict(batch()).shape == (8,)


class TestReadersLayers:
    def test_it_is_called_with_what_it_takes(self):
        identity = Identity()
        network = Sequential([Dense(6, 5, rng=0), identity, Scale(5), ReLU(), Dense(5, 3, rng=1)])
        network.forward(batch(), training=True)
        assert identity.seen is True
        network.backward(np.ones((8, 3), np.float32))
        assert identity.wanted is True
        assert gradient_check(network, batch(), labels())

    def test_a_subclass_runs_as_it_is_written(self):
        class Doubled(ReLU):
            def forward(self, x, training=False, statistics=None, *, out=None):
                return 2 * super().forward(x, training, statistics)

            def backward(self, dy, *, input_gradient=True, out=None):
                return super().backward(2 * dy)

        network = Sequential([Dense(6, 5, rng=0), Doubled(), Dense(5, 3, rng=1)])
        plain = Sequential([Dense(6, 5, rng=0), ReLU(), Dense(5, 3, rng=1)])
        plain.layers[2].weight *= 2
        assert np.allclose(network.forward(batch()), plain.forward(batch()), rtol=1e-6)
        assert gradient_check(network, batch(), labels())

    @pytest.mark.parametrize("place", [0, 3])
    def test_at_either_end_nothing_of_the_caller_or_network_is_shared(self, place):
        layers = [Dense(6, 5, rng=0), BatchNorm(5), ReLU()]
        layers.insert(place, Identity())
        network, x = Sequential(layers), batch()
        y = network.forward(x, training=True)
        dx = network.backward(y, input_gradient=True)
        kept = y.copy(), dx.copy()
        y2 = network.forward(batch(seed=9), training=True)
        out = np.empty_like(x)
        assert network.backward(y2, input_gradient=True, out=out) is out
        assert np.array_equal(y, kept[0])
        assert np.array_equal(dx, kept[1])
        out = np.empty_like(y)
        assert network.forward(x, out=out) is out

    @pytest.mark.parametrize("norm", [True, False])
    def test_the_gradients_that_it_keeps_are_not_written(self, norm):
        class Keeping(Identity):
            def backward(self, dy):
                self.arrays = dy, 2 * dy
                self.copies = [array.copy() for array in self.arrays]
                return self.arrays[1]

        keeping = Keeping()
        norms = [BatchNorm(5)] if norm else []
        network = Sequential([Dense(6, 5, rng=0), *norms, ReLU(), keeping, Dense(5, 5, rng=1)])
        kept = []
        for seed in range(3):
            network.backward(network.forward(batch(seed=seed), training=True))
            kept += zip(keeping.arrays, keeping.copies, strict=True)
        assert all(np.array_equal(array, before) for array, before in kept)

    def test_out_may_be_the_array_that_it_returned(self):
        class Constant(Identity):
            kept = batch(seed=4)

            def forward(self, x):
                return self.kept

        network = Sequential([Constant(), LeakyReLU()])
        y = network.forward(batch())
        out = network.layers[0].kept
        assert network.forward(batch(), out=out) is out
        assert np.array_equal(out, y)

    def test_it_is_told_the_statistics(self):
        class Told(Layer):
            def forward(self, x, training=False, statistics=None):
                self.told = training, statistics
                return x

        told = Told()
        network = Sequential([Dense(6, 5, rng=0), told, Dense(5, 3, rng=0)])
        network.forward(batch(), training=True)
        assert told.told == (True, "batch")
        network.forward(batch(), training=True, statistics="population")
        assert told.told == (True, "population")
        network.forward(batch())
        assert told.told == (False, "population")

    def test_out_of_another_shape_than_its_is_refused(self):
        network = Sequential([Dense(6, 5, rng=0), Scale(5)])
        with pytest.raises(ValueError, match=r"out: expected .*\(8, 5\)"):
            network.forward(batch(), out=np.empty((2, 8, 5), np.float32))

    def test_each_of_its_parameters_has_a_place_of_its_own(self):
        class Three(Layer):
            def __init__(self):
                values = {name: np.full(2, k, np.float32) for k, name in enumerate("abc")}
                super().__init__(parameters=values, state={"count": np.array([3])})

        network = Sequential([Three(), Dense(2, 2, rng=0)])
        assert network.parameter_vector[:6].tolist() == [0, 0, 1, 1, 2, 2]
        network.parameter_vector[:6] = range(6)
        assert network.layers[0].parameters["c"].tolist() == [4, 5]
        other = network.astype(np.float64)
        assert other.layers[0].parameters["c"].dtype == np.float64
        assert other.layers[0].state["count"].dtype == np.array([3]).dtype

    def test_its_parameters_are_of_one_type_and_named(self):
        class Mixed(Layer):
            def __init__(self, kind):
                super().__init__({"a": np.ones(2, np.float32), "b": np.ones(2, kind)})

        with pytest.raises(TypeError, match="b: expected float32 like"):
            Mixed(np.float64)
        with pytest.raises(TypeError, match="b: expected float32 or float64"):
            Mixed(np.int64)

    def test_its_rows_may_change_in_number(self):
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

    def test_what_it_returns_is_checked(self):
        class Wrong(Layer):
            def forward(self, x):
                return x.astype(np.float64)

        with pytest.raises(TypeError, match=r"layer 1, Wrong.*expected float32"):
            Sequential([Dense(6, 5, rng=0), Wrong()]).forward(batch())

        class Listed(Layer):
            def forward(self, x):
                return x.tolist()

        with pytest.raises(TypeError, match=r"layer 0, Listed\(\): forward's result: expected"):
            Sequential([Listed(), Dense(6, 5, rng=0)]).forward(batch())

    def test_it_is_told_where_no_dx_is_wanted(self):
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

    def test_a_batch_norm_behind_it_refuses_one_value_a_feature_in_training_alone(self):
        network = Sequential([Identity(), BatchNorm(6)])
        with pytest.raises(ValueError, match=r"layer 1, BatchNorm\(6\): expected two values"):
            network.forward(batch(1), training=True)
        assert network.forward(batch(1)).shape == (1, 6)
        assert network.forward(batch(1), training=True, statistics="population").shape == (1, 6)

    def test_a_layer_must_define_its_passes(self):
        with pytest.raises(TypeError, match="defines forward"):
            Sequential([Layer()]).forward(batch())
        with pytest.raises(TypeError, match="defines backward"):
            Layer().backward(batch())

    def test_a_batch_norm_of_its_own_does_not_stop_a_network_that_diverges(self):
        class Mine(BatchNorm):
            pass

        x = batch() * np.float32(np.inf)
        with pytest.raises(ValueError, match=r"Mine\(6\): the batch.* not finite"):
            Mine(6).forward(x, training=True)
        network = Sequential([Dense(6, 6, weight=np.full((6, 6), 3e38, np.float32)), Mine(6)])
        assert np.isnan(network.forward(batch(), training=True)).all()
        assert (network.state["1.population_variance"] == 1).all()


class TestConstruction:
    def test_wrong_layers_are_refused(self):
        with pytest.raises(ValueError, match="one layer or more"):
            Sequential([])
        with pytest.raises(TypeError, match=r"write ReLU\(\.\.\.\)"):
            Sequential([Dense(6, 5), ReLU])
        with pytest.raises(TypeError, match=r"layers\[1\].*float64"):
            Sequential([Dense(6, 5), Dense(5, 4, dtype=np.float64)])
        relu = ReLU()
        with pytest.raises(ValueError, match="used twice"):
            Sequential([relu, relu])

    def test_a_layer_belongs_to_one_network_while_it_lives(self):
        dense = Dense(6, 5)
        network = Sequential([dense])
        with pytest.raises(ValueError, match="another network"):
            Sequential([dense])
        assert Sequential([copy.deepcopy(dense)]) is not network
        del network
        gc.collect()
        Sequential([dense])

    def test_a_refused_construction_leaves_the_layers_free(self):
        dense = Dense(6, 5)
        with pytest.raises(TypeError):
            Sequential([dense, Dense(5, 4, dtype=np.float64)])
        Sequential([dense])

    def test_its_table_knows_what_it_cannot_know(self):
        layers = [Dense(6, 1200), BatchNorm(1200), ReLU(), Identity(), Dense(1200, 3)]
        assert str(Sequential(layers)).splitlines()[-7:] == [
            "   layer            output shape  parameters",
            "0  Dense(6, 1200)   (N, 1200)          8,400",
            "1  BatchNorm(1200)  (N, 1200)          2,400",
            "2  ReLU()           (N, 1200)              0",
            "3  Identity()       (N, ?)                 0",
            "4  Dense(1200, 3)   (N, 3)             3,603",
            "14,403 parameters, float32",
        ]
        assert str(Sequential([ReLU(), BatchNorm(4)])).splitlines()[-3:] == [
            "0  ReLU()        (N, ?)                 0",
            "1  BatchNorm(4)  (N, 4)                 8",
            "8 parameters, float32",
        ]
        assert str(Sequential([ReLU()])).endswith("\n0 parameters, no type")

    def test_its_table(self):
        text = str(small())
        assert "Dense(6, 5, use_bias=False)  (N, 5)" in text
        assert text.endswith("83 parameters, float32")
        assert "(N, ?)" in str(Sequential([ReLU(), Identity()]))
        assert repr(Sequential([ReLU(), Tanh()])) == "Sequential([ReLU(), Tanh()])"


class TestInference:
    def test_probabilities_sum_to_one_and_agree_with_predict(self):
        network, x = small(), batch(1203)
        probabilities = network.predict_probabilities(x)
        assert probabilities.sum(1) == pytest.approx(np.ones(1203), abs=1e-6)
        assert np.array_equal(probabilities.argmax(1), network.predict(x))
        assert probabilities == pytest.approx(functional.softmax(network.forward(x)), abs=1e-6)

    def test_accuracy_is_a_share(self):
        network, x = small(), batch(1203)
        truth = network.predict(x)
        assert network.accuracy(x, truth) == 1.0
        wrong = (truth + 1) % 3
        wrong[:401] = truth[:401]
        assert network.accuracy(x, wrong.astype(np.uint8)) == 401 / 1203
        assert type(network.accuracy(x, truth)) is float
        with pytest.raises(ValueError, match=r"labels.argmax\(1\)"):
            network.accuracy(x, np.eye(3, dtype=int)[truth])

    def test_with_batch_statistics_all_of_x_is_one_batch(self):
        network, x = small(), batch(1203)
        whole = network.forward(x, statistics="batch").argmax(1)
        assert np.array_equal(network.predict(x, statistics="batch"), whole)

    def test_one_image_with_its_own_statistics_says_nothing(self):
        network = small()
        train(network)
        y = [network.predict_probabilities(x[None], statistics="batch") for x in batch(50)]
        assert all(np.array_equal(each, y[0]) for each in y)

    def test_a_pending_backward_pass_stays(self):
        network = Sequential([Dense(6, 5, rng=0), BatchNorm(5), Scale(5), Dense(5, 3, rng=1)])
        y = network.forward(batch(), training=True)
        network.backward(y)
        expected = network.gradient_vector.copy()
        network.forward(batch(), training=True)
        network.predict(batch(4))
        network.accuracy(batch(), labels(), statistics="batch")
        network.predict_probabilities(batch())
        network.recompute_population(batch(30))
        network.backward(y)
        assert np.array_equal(network.gradient_vector, expected)

    def test_of_nan_the_class_is_zero(self):
        network = small()
        network.layers[-1].bias[1] = np.nan
        network.parameter_vector[:] = np.nan
        assert not network.predict(batch()).any()


class TestExactStatistics:
    @pytest.mark.parametrize("batch_size", [7, 1000])
    @pytest.mark.parametrize("unbiased", [False, True])
    def test_are_those_of_all_images_layer_by_layer(self, unbiased, batch_size):
        network = Sequential(
            [
                Dense(6, 5, use_bias=False, rng=0),
                BatchNorm(5, unbiased_population=unbiased),
                Tanh(),
                Dropout(0.5, rng=0),
                Dense(5, 4, use_bias=False, rng=1),
                BatchNorm(4, unbiased_population=unbiased),
            ]
        )
        x = batch(60)
        network.recompute_population(x, batch_size=batch_size)
        for place in (1, 5):
            reaches = x
            for layer in network.layers[:place]:
                reaches = layer.forward(reaches)
            norm, reaches = network.layers[place], reaches.astype(np.float64)
            assert norm.population_mean == pytest.approx(reaches.mean(0), rel=1e-5, abs=1e-6)
            variance = reaches.var(0, ddof=int(unbiased))
            assert norm.population_variance == pytest.approx(variance, rel=1e-5)

    def test_after_it_population_statistics_are_the_batchs_own(self):
        network, x = small(), batch(200)
        train(network)
        network.recompute_population(x)
        assert network.forward(x) == pytest.approx(
            network.forward(x, statistics="batch"), rel=1e-4, abs=1e-5
        )

    @pytest.mark.parametrize("size", [1e-20, 1.0, 1e15])
    @pytest.mark.parametrize("ratio", [0, 1e4])
    def test_statistics_of_blocks_are_those_of_the_whole(self, size, ratio):
        x = np.random.default_rng(3).standard_normal((100, 4)) + ratio
        x = (x * size).astype(np.float32)
        mean, variance, count = mean_and_variance(
            x[start : start + 30] for start in (0, 30, 60, 90)
        )
        whole = x.astype(np.longdouble)
        assert count == 100
        assert np.abs(mean / whole.mean(0) - 1).max() < 1e-13
        assert np.abs(variance / whole.var(0) - 1).max() < 1e-10

    def test_feature_maps(self):
        x = np.random.default_rng(0).normal(3, 2, (10, 4, 5, 3)).astype(np.float32)
        network = Sequential([BatchNorm(3)])
        network.recompute_population(x, batch_size=4)
        assert network.layers[0].population_mean == pytest.approx(x.mean((0, 1, 2)), rel=1e-5)

    def test_of_two_images_the_unbiased_variance_is_over_one_and_of_one_image_it_is_zero(self):
        norm = BatchNorm(6, unbiased_population=True)
        network, x = Sequential([norm]), batch(2)
        network.recompute_population(x)
        assert norm.population_variance == pytest.approx(x.var(0, ddof=1), rel=1e-5)
        network.recompute_population(x[:1])
        assert (norm.population_variance == 0).all()

    @pytest.mark.parametrize("size", [np.inf, 1e200], ids=["inf", "too large to square"])
    def test_refuses_what_is_not_finite(self, size):
        network = small(dtype=np.float64)
        with pytest.raises(ValueError, match="not finite on the way to layer 1"):
            network.recompute_population(batch(dtype=np.float64) * size)
        assert (network.state["1.population_mean"] == 0).all()

    def test_refuses_what_a_constant_feature_becomes_without_epsilon(self):
        network = Sequential([BatchNorm(6, epsilon=0), BatchNorm(6)])
        with pytest.raises(ValueError, match="not finite on the way to layer 1"):
            network.recompute_population(np.ones((8, 6), np.float32))
        assert (network.state["0.population_variance"] == 1).all()


class TestFolding:
    @pytest.mark.parametrize("activation", [ReLU, Sigmoid, Tanh, LeakyReLU])
    def test_outputs_agree_and_batch_norms_are_gone(self, activation):
        network = small(activation=activation)
        train(network, 50)
        folded = network.fold_batch_norm()
        assert not any(isinstance(layer, BatchNorm) for layer in folded.layers)
        y = network.forward(batch())
        assert folded.forward(batch()) == pytest.approx(y, rel=1e-5, abs=1e-6 * float(abs(y).max()))

    def test_with_bias_without_gamma_or_beta(self):
        rng = np.random.default_rng(0)
        network = Sequential([Dense(6, 5, rng=0), BatchNorm(5, scale=False, center=False)])
        network.layers[0].bias = rng.normal(size=5).astype(np.float32)
        network.recompute_population(batch(100))
        folded = network.fold_batch_norm()
        assert folded.forward(batch()) == pytest.approx(network.forward(batch()), abs=1e-5)

    def test_one_without_a_dense_before_it_stays(self):
        network = Sequential([BatchNorm(6), Dense(6, 5), ReLU(), BatchNorm(5), Dense(5, 3)])
        network.recompute_population(batch(100))
        folded = network.fold_batch_norm()
        assert repr(folded) == repr(network)
        assert np.array_equal(folded.forward(batch()), network.forward(batch()))
        folded.parameter_vector[:] = 0
        assert network.parameter_vector.any()

    def test_numbers_out_of_range_give_no_warning(self):
        norm = BatchNorm(2, epsilon=0)
        network = Sequential([Dense(2, 2, weight=np.eye(2, dtype=np.float32)), norm])
        norm.population_variance = np.array([0, 1e-30], np.float32)
        norm.gamma = np.array([1, 1e30], np.float32)
        weight = network.fold_batch_norm().layers[0].weight
        np.testing.assert_array_equal(weight, [[np.inf, 0], [np.nan, np.inf]])


class TestFiles:
    def test_a_round_trip_gives_the_same_network(self, tmp_path):
        network, other = small(), small(seed=5)
        train(network)
        network.save(tmp_path / "network")
        assert [path.name for path in tmp_path.iterdir()] == ["network"]
        other.load(str(tmp_path / "network"))
        assert np.array_equal(other.parameter_vector, network.parameter_vector)
        assert np.array_equal(other.forward(batch()), network.forward(batch()))

    def test_another_networks_file_is_refused_whole(self, tmp_path):
        path = tmp_path / "network"
        small().save(path)
        for other in (
            small(norm=False),
            small(activation=Tanh),
            small(dtype=np.float64),
            Sequential([Dense(6, 4)]),
        ):
            before = other.parameter_vector.copy()
            with pytest.raises(ValueError, match="network"):
                other.load(path)
            assert np.array_equal(other.parameter_vector, before)
        with pytest.raises(FileNotFoundError):
            small().load(tmp_path / "none")


class TestAgainstPyTorch:
    @pytest.mark.parametrize("norm", [True, False])
    @pytest.mark.parametrize("activation", ["ReLU", "Sigmoid"])
    def test_twenty_steps_of_the_lessons_network(self, activation, norm):
        torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
        sizes = (784, 100, 100, 100, 10)
        rng = np.random.default_rng(0)
        own, theirs = [], []
        for place, (n, m) in enumerate(pairwise(sizes)):
            hidden = place < 3
            weight = rng.normal(0, 0.05, (n, m))
            own.append(Dense(n, m, weight=weight, use_bias=not (norm and hidden)))
            linear = torch.nn.Linear(n, m, bias=not (norm and hidden), dtype=torch.float64)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(weight.T))
                if linear.bias is not None:
                    linear.bias.zero_()
            theirs.append(linear)
            if hidden and norm:
                own.append(BatchNorm(m, dtype=np.float64, unbiased_population=True))
                theirs.append(torch.nn.BatchNorm1d(m, 1e-3, 0.01, dtype=torch.float64))
            if hidden:
                own.append({"ReLU": ReLU, "Sigmoid": Sigmoid}[activation]())
                theirs.append(getattr(torch.nn, activation)())
        network, model = Sequential(own), torch.nn.Sequential(*theirs)
        optimizer, descent = SGD(0.1), torch.optim.SGD(model.parameters(), 0.1)
        for _ in range(20):
            x, y = rng.random((60, 784)), rng.integers(10, size=60)
            loss, dlogits = functional.softmax_cross_entropy(network.forward(x, training=True), y)
            network.backward(dlogits)
            optimizer.step(network)
            descent.zero_grad()
            error = torch.nn.functional.cross_entropy(
                model(torch.from_numpy(x)), torch.from_numpy(y)
            )
            error.backward()
            descent.step()
            assert abs(loss - error.item()) < 1e-10
        for layer, module in zip(network.layers, model, strict=True):
            pairs = []
            if isinstance(layer, Dense):
                pairs = [(layer.weight.T, module.weight), (layer.bias, module.bias)]
            elif isinstance(layer, BatchNorm):
                pairs = [
                    (layer.gamma, module.weight),
                    (layer.beta, module.bias),
                    (layer.population_mean, module.running_mean),
                    (layer.population_variance, module.running_var),
                ]
            for mine, other in pairs:
                if mine is not None:
                    assert np.abs(mine - other.detach().numpy()).max() < 1e-10


class TestWhatAReviewFound:
    """Each of these was wrong once."""

    class Residual(Sequential):
        def forward(self, x, training=False, statistics=None):
            return x + super().forward(x, training, statistics)

        def backward(self, dy):
            return dy + super().backward(dy, input_gradient=True)

    def test_predict_leaves_the_pending_pass_of_a_network_within(self):
        inner = self.Residual([Dense(5, 5, rng=1), BatchNorm(5), ReLU()])
        network = Sequential([Dense(6, 5, rng=0), inner, Dense(5, 3, rng=2)])
        y = network.forward(batch(), training=True)
        network.backward(y)
        expected = network.gradient_vector.copy()
        network.forward(batch(), training=True)
        network.predict(batch(4, seed=7))
        network.backward(y)
        assert np.array_equal(network.gradient_vector, expected)

    def test_inference_is_the_forward_pass_also_where_it_is_overridden(self):
        class Negated(Sequential):
            def forward(self, x, training=False, statistics=None):
                return super().forward(-x, training, statistics)

        network = Negated([Dense(6, 5, rng=0), ReLU(), Dense(5, 3, rng=1)])
        x = batch(600)
        assert np.array_equal(network.predict(x), network.forward(x).argmax(1))

    def test_a_batch_norm_that_cannot_be_reached_is_not_forgotten(self):
        network = Sequential([self.Residual([Dense(6, 6, rng=0), BatchNorm(6)])])
        with pytest.raises(ValueError, match=r"layer 0.*has a BatchNorm inside"):
            network.recompute_population(batch())

        class Holding(Identity):
            def __init__(self):
                super().__init__()
                self.norm = BatchNorm(6)

        with pytest.raises(ValueError, match=r"layer 0.*has a BatchNorm inside"):
            Sequential([Holding()]).recompute_population(batch())

    def test_a_pass_of_its_own_within_ends_the_networks(self):
        inner = Sequential([Dense(5, 4, rng=1), ReLU()])
        network = Sequential([Dense(6, 5, rng=0), inner, Dense(4, 3, rng=2)])
        y = network.forward(batch(), training=True)
        inner.forward(np.ones((2, 5), np.float32))
        with pytest.raises(RuntimeError, match=r"layer 1.*another pass of its own"):
            network.backward(y)

    def test_a_variance_out_of_range_is_no_silent_beta(self):
        network = Sequential([Dense(6, 5, use_bias=False, rng=0), BatchNorm(5), Dense(5, 3)])
        y = network.forward(batch() * np.float32(1e25), training=True)
        assert not np.isfinite(y).any()
        assert (network.state["1.population_variance"] == 1).all()

    def test_without_parameters_each_type_keeps_its_own(self):
        network = Sequential([Tanh(), Sigmoid()])
        network.forward(batch())
        x = batch(dtype=np.float64)
        y = network.forward(x)
        assert y.dtype == np.float64
        assert np.array_equal(y, Sequential([Tanh(), Sigmoid()]).forward(x))
        network.backward(y, input_gradient=True)

    def test_an_accuracy_needs_one_prediction_an_image(self):
        network = Sequential([Dense(4, 3, rng=0)])
        with pytest.raises(ValueError, match=r"expected outputs \(N, classes\)"):
            network.accuracy(np.ones((50, 50, 4), np.float32), labels(50))

    def test_out_may_not_be_what_is_still_needed(self):
        network = Sequential([Sigmoid(), Sigmoid()])
        x = batch()
        y = network.forward(x)
        with pytest.raises(ValueError, match="out: overlaps"):
            network.backward(np.ones_like(y), input_gradient=True, out=x)
        with pytest.raises(ValueError, match="out: nothing to write"):
            network.backward(np.ones_like(y), out=np.empty_like(y))
        network.backward(np.ones_like(y))
        dense = Sequential([Dense(6, 6, use_bias=False, rng=0)])
        x = batch(6)
        for out in (x, dense.layers[0].weight):
            with pytest.raises(ValueError, match="out: overlaps"):
                dense.forward(x, out=out)
        dy = dense.forward(x)
        for out in (x, dense.layers[0].weight):
            with pytest.raises(ValueError, match="out: overlaps"):
                dense.backward(dy, input_gradient=True, out=out)
        x = batch()
        big = np.zeros((8, 12), np.float32)
        big[:, :6] = x
        assert np.array_equal(network.forward(big[:, :6], out=big[:, 6:]), y)

    def test_settings_of_a_layer_are_part_of_a_file(self, tmp_path):
        Sequential([BatchNorm(6, epsilon=10.0)]).save(tmp_path / "n")
        with pytest.raises(ValueError, match=r"holds another network: .*epsilon=10.0"):
            Sequential([BatchNorm(6)]).load(tmp_path / "n")

    def test_a_failed_recomputation_changes_nothing(self):
        network = small()
        network.layers[3].weight[0, 0] = np.inf
        before = {name: value.copy() for name, value in network.state.items()}
        with pytest.raises(ValueError, match="not finite on the way to layer 4"):
            network.recompute_population(batch(40))
        for name, value in before.items():
            assert np.array_equal(network.state[name], value)

    def test_a_subclass_keeps_what_it_added(self):
        class Scaled(Sequential):
            def __init__(self, layers, factor):
                super().__init__(layers)
                self.factor = factor

            def forward(self, x, training=False):
                return super().forward(x * np.asarray(self.factor, x.dtype), training)

        network = Scaled([Dense(6, 3, rng=0)], 3)
        other = copy.deepcopy(network).astype(np.float64)
        assert other.factor == 3
        assert np.array_equal(copy.copy(network).predict(batch()), network.predict(batch()))

    def test_what_a_readers_backward_returns_is_checked(self):
        class Wrong(Identity):
            def backward(self, dy):
                return self.result(dy)

        wrong = Wrong()
        network = Sequential([Dense(6, 5, rng=0), wrong, Dense(5, 3, rng=1)])
        for wrong.result, error in (
            (lambda dy: None, TypeError),
            (lambda dy: dy.astype(np.float64), TypeError),
            (lambda dy: dy[:1], ValueError),
        ):
            y = network.forward(batch(), training=True)
            with pytest.raises(error, match=r"layer 1, Wrong.*backward's result"):
                network.backward(y)

    def test_after_a_refused_batch_no_stale_pass_is_left(self):
        network = small()
        network.forward(batch(), training=True)
        with pytest.raises(ValueError, match="x: expected finite"):
            network.forward(batch() * np.float32(np.nan), training=True)
        with pytest.raises(RuntimeError, match="forward"):
            network.layers[1].backward(np.ones((8, 5), np.float32))

    def test_a_name_cannot_be_a_parameter_and_a_state(self):
        with pytest.raises(ValueError, match="different names"):
            Layer(parameters={"a": np.ones(2)}, state={"a": np.ones(2)})

    def test_no_statistics_named_are_the_populations(self):
        network = small()
        train(network)
        expected = network.predict_probabilities(batch())
        found = network.predict_probabilities(batch(), statistics=None)
        np.testing.assert_array_equal(found, expected)
        assert network.accuracy(batch(), labels(), statistics=None) == network.accuracy(
            batch(), labels()
        )

    def test_a_network_of_a_readers_own_within_another_diverges_as_any(self):
        class Residual(Sequential):
            def forward(self, x, training=False, statistics=None):
                return x + super().forward(x, training, statistics)

            def backward(self, dy):
                return dy + super().backward(dy, input_gradient=True)

        block = Residual([Dense(6, 6, rng=0), BatchNorm(6), ReLU(), Dense(6, 6, rng=1)])
        network = Sequential([Dense(6, 6, rng=2), block, Dense(6, 3, rng=3)])
        network.layers[0].weight[...] = 3e38
        before = {name: value.copy() for name, value in block.state.items()}
        run = training_steps(
            network, (batch(), labels()), optimizer=SGD(0.1), steps=1, batch_size=8
        )
        assert not np.isfinite([loss for _, loss in run]).any()
        for name, value in before.items():
            np.testing.assert_array_equal(block.state[name], value)
        spoiled = batch()
        spoiled[3, 2] = np.nan
        with pytest.raises(ValueError, match="x: expected finite values"):
            network.forward(spoiled, training=True)

    def test_a_subclass_of_batch_norm_makes_a_network_refuse_what_is_not_finite_too(self):
        class Own(BatchNorm):
            pass

        network = Sequential([Dense(6, 4, rng=0), Own(4)])
        with pytest.raises(ValueError, match="x: expected finite values"):
            network.forward(np.full((8, 6), np.inf, np.float32), training=True)

    def test_a_batch_that_is_looked_at_first_leaves_the_pending_pass(self):
        network = Sequential([Dropout(0.5, rng=0), BatchNorm(6)])
        y = network.forward(batch(), training=True)
        with pytest.raises(ValueError, match="x: expected finite values"):
            network.forward(np.full((8, 6), np.nan, np.float32), training=True)
        network.backward(np.ones_like(y))

    def test_a_refused_batch_is_not_written_to_out(self):
        out = np.full((8, 6), 7, np.float32)
        norm = BatchNorm(6)
        with pytest.raises(ValueError, match="is not finite"):
            norm.forward(1e25 * batch(), training=True, out=out)
        assert (out == 7).all()
        y = norm.forward(batch(), training=True, out=out)
        assert y is out
        np.testing.assert_array_equal(out, BatchNorm(6).forward(batch(), training=True))
        with pytest.raises(ValueError, match="out: overlaps"):
            norm.forward(out, training=True, out=out)

    def test_a_network_within_another_moves_no_population_where_a_layer_hides_an_infinity(self):
        class Own(Sequential):
            def forward(self, x, training=False, statistics=None):
                return super().forward(x, training, statistics)

        block = Own([Tanh(), BatchNorm(6)])
        network = Sequential([Dense(6, 6, weight=np.full((6, 6), 3e38, np.float32)), block])
        assert np.isnan(network.forward(batch(), training=True)).all()
        assert (block.state["1.population_mean"] == 0).all()
        assert (block.state["1.population_variance"] == 1).all()

    def test_what_is_no_layer_at_all_is_refused(self):
        with pytest.raises(TypeError, match=r"layers\[1\]: expected a Layer, got 3$"):
            Sequential([Dense(6, 5), 3])
