"""What every layer promises, whatever it computes: who owns an array, copies, modes, refusals."""

import copy
import pickle

import numpy as np
import pytest

from npbn import BatchNorm, Dense, Dropout, Layer, LeakyReLU, ReLU, Sigmoid, Tanh, layers
from npbn.layers.layer import ArrayAttribute

LAYERS = {
    "Dense": lambda dtype: Dense(4, 5, rng=0, dtype=dtype),
    "Dense without bias": lambda dtype: Dense(4, 5, use_bias=False, rng=0, dtype=dtype),
    "BatchNorm": lambda dtype: BatchNorm(4, dtype=dtype),
    "BatchNorm without parameters": lambda dtype: BatchNorm(
        4, center=False, scale=False, dtype=dtype
    ),
    "ReLU": lambda dtype: ReLU(),
    "LeakyReLU": lambda dtype: LeakyReLU(0.3),
    "Sigmoid": lambda dtype: Sigmoid(),
    "Tanh": lambda dtype: Tanh(),
    "Dropout": lambda dtype: Dropout(0.3, rng=0),
}
MODES = {
    "training": {"training": True},
    "frozen": {"training": True, "statistics": "population"},
    "inference": {},
    "demonstration": {"statistics": "batch"},
}
each_layer = pytest.mark.parametrize("make_layer", LAYERS.values(), ids=LAYERS)
each_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES)


def batch(dtype=np.float32, shape=(6, 4), seed=3):
    return np.random.default_rng(seed).normal(1, 2, shape).astype(dtype)


def upstream(y, seed=1):
    return np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype)


def filled(make_layer, dtype=np.float32):
    """The layer, with parameters and state that are not what they start as."""
    layer, rng = make_layer(dtype), np.random.default_rng(4)
    for array in (*layer.parameters.values(), *layer.state.values()):
        array[...] = rng.uniform(0.5, 2, array.shape)
    return layer


def step(layer, mode, seed=3, **options):
    """Forward and backward: y and dx, which are new, and copies of the parameters' gradients."""
    x = batch(layer.dtype or np.float32, seed=seed)
    y = layer.forward(x, **mode)
    dx = layer.backward(upstream(y), **options)
    return y, dx, *(gradient.copy() for gradient in layer.gradients.values())


def assert_same_arrays(layer, other):
    for kind in ("parameters", "gradients", "state"):
        ours, theirs = getattr(layer, kind), getattr(other, kind)
        assert ours.keys() == theirs.keys()
        for name, array in ours.items():
            np.testing.assert_array_equal(array, theirs[name])


@each_layer
@each_mode
def test_a_layer_writes_nothing_that_it_is_given_or_gave(make_layer, mode, laid_out):
    dtype = np.float32
    layer = filled(make_layer, dtype)
    x = laid_out(batch(dtype))
    dy = laid_out(upstream(filled(make_layer, dtype).forward(x)))
    x.flags.writeable = dy.flags.writeable = False
    kept = y, dx = layer.forward(x, **mode), layer.backward(dy)
    copies = [each.copy() for each in kept]
    step(layer, mode, seed=8)
    for one, other in zip(kept, copies, strict=True):
        assert one.dtype == dtype
        np.testing.assert_array_equal(one, other)
    assert not np.may_share_memory(x, y)
    assert not np.may_share_memory(dy, dx)


@each_layer
@each_mode
def test_a_layer_writes_and_returns_out(make_layer, mode, make_out, assert_close):
    dtype = np.float32
    layer, twin = filled(make_layer, dtype), filled(make_layer, dtype)
    x = batch(dtype, (2, 3, 4))
    expected = layer.forward(x, **mode)
    dy = upstream(expected)
    expected_dx = layer.backward(dy)
    y, dx = make_out(expected), make_out(x)
    assert twin.forward(x, **mode, out=y) is y
    assert twin.backward(dy, out=dx) is dx
    assert_close(y, expected)
    assert_close(dx, expected_dx)
    for name, gradient in layer.gradients.items():
        assert_close(twin.gradients[name], gradient)


@each_layer
def test_a_layer_refuses_a_wrong_out_and_keeps_the_pending_backward(make_layer, bad_out):
    bad, error, message = bad_out
    layer, twin = filled(make_layer, np.float64), filled(make_layer, np.float64)
    x = batch(np.float64)
    y = layer.forward(x, training=True)
    twin.forward(x, training=True)
    with pytest.raises(error, match=f"^out: .*{message}"):
        layer.forward(x, training=True, out=bad(y))
    with pytest.raises(error, match=f"^out: .*{message}"):
        layer.backward(upstream(y), out=bad(x))
    np.testing.assert_array_equal(layer.backward(upstream(y)), twin.backward(upstream(y)))
    assert_same_arrays(layer, twin)


@each_layer
def test_a_layer_refuses_an_out_that_it_still_needs(make_layer):
    layer = filled(make_layer, np.float64)
    x = batch(np.float64)
    y = layer.forward(x)
    for key, array in {"x": x, **layer.parameters}.items():
        if key == "x" and array.shape == y.shape:
            with pytest.raises(ValueError, match=r"^out: overlaps"):
                layer.forward(x, out=array)
    dy = upstream(y)
    for array in (dy,):
        if array.shape == x.shape:
            with pytest.raises(ValueError, match=r"^out: overlaps"):
                layer.backward(dy, out=array)


@each_layer
@each_mode
def test_gradients_are_overwritten_not_accumulated(make_layer, mode):
    layer = filled(make_layer)
    if isinstance(layer, Dropout):
        mode = {}  # draws a new mask each time
    once, twice = step(layer, mode), step(layer, mode)
    for one, other in zip(once, twice, strict=True):
        if mode.get("training") or not layer.state:
            np.testing.assert_array_equal(one, other)


@each_layer
@each_mode
def test_the_arrays_stay_the_same_ones(make_layer, mode):
    layer = filled(make_layer)
    kinds = ("parameters", "gradients", "state")
    before = [list(getattr(layer, kind).values()) for kind in kinds]
    step(layer, mode)
    for kind, arrays in zip(kinds, before, strict=True):
        assert all(a is b for a, b in zip(getattr(layer, kind).values(), arrays, strict=True))


@each_layer
@each_mode
def test_the_gradients_of_parameters_do_without_dx(make_layer, mode):
    y, dx, *gradients = step(filled(make_layer), mode)
    y_without, none, *gradients_without = step(filled(make_layer), mode, input_gradient=False)
    assert dx.shape == (6, 4)
    assert none is None
    for one, other in zip((y, *gradients), (y_without, *gradients_without), strict=True):
        np.testing.assert_array_equal(one, other)


@each_layer
@each_mode
@pytest.mark.parametrize("size", [3e38, np.inf], ids=["too large", "inf"])
def test_an_upstream_gradient_out_of_range_gives_no_warning(make_layer, mode, size):
    layer = filled(make_layer)
    y = layer.forward(batch(), **mode)
    dx = layer.backward(np.copysign(np.float32(size), upstream(y)))
    assert not np.isfinite(dx).all() or size < np.inf


@each_layer
def test_an_out_without_an_input_gradient_is_refused(make_layer):
    layer, twin = filled(make_layer), filled(make_layer)
    y = layer.forward(batch(), training=True)
    twin.forward(batch(), training=True)
    with pytest.raises(ValueError, match=r"^out: nothing to write: pass input_gradient=True"):
        layer.backward(upstream(y), input_gradient=False, out=np.empty_like(batch()))
    np.testing.assert_array_equal(layer.backward(upstream(y)), twin.backward(upstream(y)))


@each_layer
@each_mode
def test_backward_needs_a_forward_pass_of_its_own(make_layer, mode):
    layer = filled(make_layer)
    y = layer.forward(batch(), **mode)
    layer.backward(upstream(y))
    for each in (layer, filled(make_layer)):
        before = copy.deepcopy(each)
        with pytest.raises(RuntimeError, match="forward") as caught:
            each.backward(upstream(y))
        assert str(caught.value).startswith(repr(each))
        assert_same_arrays(each, before)


@each_layer
def test_a_wrong_upstream_gradient_keeps_the_pending_backward(make_layer):
    layer, twin = filled(make_layer), filled(make_layer)
    dy = upstream(layer.forward(batch(), training=True))
    twin.forward(batch(), training=True)
    for wrong, error in (
        (dy[1:], ValueError),
        (dy[:, :1], ValueError),
        (dy[np.newaxis], ValueError),
        (dy.astype(np.float64), TypeError),
        (dy.astype(int), TypeError),
        (dy.tolist(), TypeError),
    ):
        with pytest.raises(error, match=r"^dy: expected"):
            layer.backward(wrong)
    np.testing.assert_array_equal(layer.backward(dy), twin.backward(dy))
    assert_same_arrays(layer, twin)


@each_layer
@pytest.mark.parametrize("training", [True, False])
def test_a_layer_refuses_a_wrong_batch_and_keeps_what_it_has(make_layer, bad_batch, training):
    value, error, message = bad_batch
    layer, twin = filled(make_layer, np.float64), filled(make_layer, np.float64)
    y = layer.forward(batch(np.float64), training=True)
    twin.forward(batch(np.float64), training=True)
    with pytest.raises(error, match=message.format(x="x")):
        layer.forward(value, training=training)
    np.testing.assert_array_equal(layer.backward(upstream(y)), twin.backward(upstream(y)))
    assert_same_arrays(layer, twin)


@each_layer
def test_layers_with_parameters_hold_one_type(make_layer):
    layer = filled(make_layer, np.float32)
    if layer.dtype is None:
        assert layer.forward(batch(np.float32)).dtype == np.float32
        assert layer.forward(batch(np.float64)).dtype == np.float64
        return
    assert layer.dtype == np.float32
    with pytest.raises(TypeError, match=r"holds float32, got float64: pass x.astype") as caught:
        layer.forward(batch(np.float64))
    assert str(caught.value).startswith(repr(layer))


@each_layer
def test_wrong_features_name_the_layer(make_layer):
    layer = filled(make_layer)
    if layer._takes_features is None:
        assert layer.forward(batch(shape=(6, 9))).shape == (6, 9)
        return
    for shape in ((6, 9), (4, 6), (2, 4, 3)):
        with pytest.raises(ValueError, match=r"expected \(..., 4\), got") as caught:
            layer.forward(batch(shape=shape))
        assert str(caught.value) == f"{layer!r}: expected (..., 4), got {shape}"


@each_layer
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"training": 1}, TypeError, "^training: expected True or False, got int 1"),
        ({"training": "yes"}, TypeError, "^training: expected True or False"),
        ({"training": None}, TypeError, "^training: expected True or False"),
        ({"statistics": "moving"}, ValueError, "^statistics: expected 'batch' or 'population'"),
        ({"statistics": True}, ValueError, "^statistics: expected 'batch' or 'population'"),
    ],
    ids=str,
)
def test_a_wrong_mode_is_refused(make_layer, options, error, message):
    with pytest.raises(error, match=message):
        filled(make_layer).forward(batch(), **options)


@each_layer
def test_numpy_flags_are_flags(make_layer):
    layer, twin = filled(make_layer), filled(make_layer)
    y = layer.forward(batch(), training=np.True_)
    np.testing.assert_array_equal(y, twin.forward(batch(), training=True))
    assert layer.backward(upstream(y), input_gradient=np.False_) is None
    twin.backward(upstream(y))
    assert_same_arrays(layer, twin)
    layer.forward(batch())
    with pytest.raises(TypeError, match=r"^input_gradient: expected True or False"):
        layer.backward(upstream(y), input_gradient=0)


@each_layer
@pytest.mark.parametrize("kind", ["parameters", "gradients", "state"])
def test_the_mappings_are_read_only_and_their_arrays_are_not(make_layer, kind):
    layer = filled(make_layer)
    mapping = getattr(layer, kind)
    with pytest.raises(TypeError):
        mapping["another"] = np.zeros(3)
    with pytest.raises(AttributeError):
        setattr(layer, kind, {})
    for name, array in mapping.items():
        with pytest.raises(TypeError):
            mapping[name] = array
        with pytest.raises(TypeError):
            del mapping[name]
        array[...] = 3
        assert (getattr(layer, kind)[name] == 3).all()


@each_layer
def test_gradients_have_the_names_shapes_and_types_of_the_parameters(make_layer, dtype):
    layer = make_layer(dtype)
    assert list(layer.gradients) == list(layer.parameters)
    for name, gradient in layer.gradients.items():
        assert gradient.shape == layer.parameters[name].shape
        assert gradient.dtype == layer.parameters[name].dtype == dtype
        assert not gradient.any()


@each_layer
def test_arrays_can_be_assigned_by_copying_into_them(make_layer):
    layer = filled(make_layer)
    for name, array in {**layer.parameters, **layer.state}.items():
        assert getattr(layer, name) is array
        new = np.random.default_rng(5).uniform(1, 2, array.shape).astype(np.float32)
        setattr(layer, name, new)
        assert getattr(layer, name) is array
        np.testing.assert_array_equal(array, new)
        assert not np.may_share_memory(array, new)
        for wrong, error in (
            (new[:1], ValueError),
            (new[np.newaxis], ValueError),
            (new.astype(np.float64), TypeError),
        ):
            with pytest.raises(error, match=f"^{name}: expected"):
                setattr(layer, name, wrong)
        np.testing.assert_array_equal(array, new)


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda layer: pickle.loads(pickle.dumps(layer)),
    "astype": lambda layer: layer.astype(layer.dtype or np.float32),
}


@each_layer
@pytest.mark.parametrize("make_copy", COPIES.values(), ids=COPIES)
def test_a_copy_is_a_layer_of_its_own(make_layer, make_copy):
    layer, twin = filled(make_layer), filled(make_layer)
    y = layer.forward(batch(), training=True)
    twin.forward(batch(), training=True)
    other = make_copy(layer)
    assert type(other) is type(layer)
    assert repr(other) == repr(layer)
    assert_same_arrays(other, layer)
    with pytest.raises(RuntimeError, match="backward without a forward pass"):
        other.backward(upstream(y))
    # The copy goes its own way, with the same random numbers; the layer's pending backward stays.
    step(other, MODES["training"], seed=9)
    np.testing.assert_array_equal(layer.backward(upstream(y)), twin.backward(upstream(y)))
    assert_same_arrays(layer, twin)
    step(layer, MODES["training"], seed=9)
    for one, third in zip(
        step(layer, MODES["training"]), step(other, MODES["training"]), strict=True
    ):
        np.testing.assert_array_equal(one, third)


@each_layer
def test_astype_converts_all_arrays_of_a_copy(make_layer):
    layer = filled(make_layer, np.float32)
    before = copy.deepcopy(layer)
    other = layer.astype(np.float64)
    assert layer.dtype in (np.float32, None)
    assert other.dtype in (np.float64, None)
    for kind in ("parameters", "gradients", "state"):
        assert all(array.dtype == np.float64 for array in getattr(other, kind).values())
    assert_same_arrays(layer, other)
    y, dx, *_ = step(other, MODES["training"])
    assert y.dtype == dx.dtype == (other.dtype or np.float32)
    assert_same_arrays(layer, before)


@pytest.mark.parametrize("make_layer", LAYERS.values(), ids=LAYERS)
def test_what_is_pickled_is_without_a_pending_pass(make_layer):
    layer = make_layer(np.float32)
    size = len(pickle.dumps(layer))
    layer.forward(np.random.default_rng(0).standard_normal((1000, 4)).astype(np.float32), True)
    assert len(pickle.dumps(layer)) < size + 2000


def test_the_statistics_of_the_last_batch_are_converted_too():
    norm = BatchNorm(4)
    assert norm.astype(np.float64).batch_mean is None
    norm.forward(np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32), True)
    other = norm.astype(np.float64)
    for name in ("batch_mean", "batch_variance"):
        assert getattr(norm, name).dtype == np.float32
        assert getattr(other, name).dtype == np.float64
        np.testing.assert_array_equal(getattr(other, name), getattr(norm, name))


def test_arrays_are_kept_in_c_order_whatever_they_are_given_in():
    array = np.asfortranarray(batch())
    layer = Layer(parameters={"a": array}, state={"b": array})
    for kept in (layer.parameters["a"], layer.gradients["a"], layer.state["b"]):
        assert kept.flags.c_contiguous
        assert not np.may_share_memory(kept, array)


def test_an_attribute_stands_for_an_array_of_its_own_name():
    class Shifted(layers.Layer):
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


def test_every_layer_is_among_these():
    known = {type(make_layer(np.float32)).__name__ for make_layer in LAYERS.values()}
    assert known == set(layers.__all__) - {"Layer"}


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
