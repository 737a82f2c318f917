"""What every layer promises, whatever it computes: gradients, who owns an array, copies, modes."""

import copy
import inspect
import pickle
import re

import numpy as np
import pytest
from shared import COPIES, MODES
from subjects import (
    SUBJECTS,
    arrays_of,
    assert_all_equal,
    assert_same_arrays,
    statistics_of,
    step,
    upstream,
    with_shapes,
)

import npbn
from npbn import Layer, gradient_check, layers

KINDS = ("parameters", "gradients", "state")
TRAINING = MODES["training"]


def pair(subject, dtype=np.float32, mode=TRAINING):
    """Two layers with the same pass pending, x, and dy."""
    layer, twin = subject.filled(dtype), subject.filled(dtype)
    x = subject.batch(dtype)
    layer.forward(x, **mode)
    return layer, twin, x, upstream(twin.forward(x, **mode))


def assert_same_pass_pending(layer, twin, dy):
    np.testing.assert_array_equal(layer.backward(dy), twin.backward(dy))
    assert_same_arrays(layer, twin)


# Every layer has a case


def descendants(kind):
    for each in kind.__subclasses__():
        yield each
        yield from descendants(each)


def test_every_layer_has_a_case_and_is_exported():
    in_cases = {type(subject.new()).__name__ for subject in SUBJECTS.values()}
    kinds = {each for each in descendants(Layer) if each.__module__.startswith("npbn.layers.")}
    own = {kind.__name__ for kind in kinds if not set(descendants(kind)) & kinds}
    assert in_cases == own, "a layer without a case in npbn/testing/cases"
    assert set(layers.__all__) == own | {"Layer"}
    assert own <= set(npbn.__all__)
    assert all(getattr(npbn, name) is getattr(layers, name) for name in layers.__all__)


# What it is made of

SIZES = ("in_features", "out_features", "features", "units", "in_channels", "filters", "groups")
SIZES += ("kernel_size", "size", "stride", "dilation", "ghost_size", "steps")
SETTINGS = {"stride": 4, "padding": 1, "dilation": 2, "count_padding": True, "last_only": True}
SETTINGS |= {"center": False, "scale": False, "use_bias": False, "epsilon": 0.25, "momentum": 0.5}
SETTINGS |= {"unbiased_population": True, "frozen": True, "negative_slope": 0.5}


def remade(layer, **changed):
    """Another of its kind and sizes, with what is changed."""
    arguments = inspect.signature(type(layer)).parameters
    needed = (name for name, each in arguments.items() if each.default is each.empty)
    return type(layer)(**{name: getattr(layer, name) for name in needed} | changed)


def arguments_of(layer, names):
    return [name for name in names if name in inspect.signature(type(layer)).parameters]


def test_no_size_is_0(subject):
    layer = subject.new()
    for name in arguments_of(layer, SIZES):
        with pytest.raises(ValueError, match=f"^{name}: expected "):
            remade(layer, **{name: 0})


def test_what_it_prints_is_what_one_types(subject):
    layer = subject.new()
    for name in arguments_of(layer, SETTINGS):
        text = repr(remade(layer, **{name: SETTINGS[name]}))
        assert f", {name}={SETTINGS[name]!r}" in text or f"({name}={SETTINGS[name]!r}" in text
        assert repr(eval(text, vars(npbn))) == text


# What every layer computes


@with_shapes(128)
def test_gradients_are_right(subject, shape, mode):
    layer = subject.new(shape=shape)
    report = gradient_check(layer, subject.batch(np.float64, shape), **mode)
    assert report, report
    assert report.largest_error < 1e-7
    assert list(report.errors) == ["dx", *(f"d({name})" for name in layer.parameters)]
    assert subject.case.has_kinks or not any(report.kinks.values())


def test_the_gradients_of_parameters_do_without_dx(subject, mode):
    x = subject.batch()
    y, dx, *gradients = step(subject.filled(), x, mode)
    assert dx.shape == x.shape
    y_without, none, *others = step(subject.filled(), x, mode, input_gradient=False)
    assert none is None
    assert_all_equal((y, *gradients), (y_without, *others))


@pytest.mark.parametrize("size", [3e38, np.inf], ids=["too large", "inf"])
def test_an_upstream_gradient_out_of_range_gives_no_warning(subject, mode, size):
    layer = subject.filled()
    y = layer.forward(subject.batch(), **mode)
    dx = layer.backward(np.copysign(np.float32(size), upstream(y)))
    assert not np.isfinite(dx).all() or size < np.inf


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, -1])
def test_the_state_moves_in_training_alone_and_only_if_all_is_finite(subject, mode, value, place):
    layer, x = subject.filled(), subject.batch()
    if not layer.state:
        return
    before = copy.deepcopy(dict(layer.state))

    def moved():
        return [not np.array_equal(array, before[name]) for name, array in layer.state.items()]

    wrong = x.copy()
    wrong.flat[place] = value
    if mode == TRAINING:
        with pytest.raises(ValueError, match=re.escape(f"{layer!r}: ") + ".*x"):
            layer.forward(wrong, **mode)
    else:
        layer.forward(wrong, **mode)
    assert not any(moved())
    layer.forward(x, **mode)
    assert moved() == [mode == TRAINING] * len(layer.state)


def test_two_values_a_feature_prove_nothing_of_batch_statistics(subject, mode):
    layer, x = subject.new(np.float64), subject.batch(np.float64)[:2]
    layer.forward(x, **mode)
    # Over time every step may have values of its own: the layer knows of how many they are.
    by_batch = layer.state and mode in (TRAINING, MODES["demonstration"])
    if by_batch and layer._batch.values == 2:
        with pytest.raises(ValueError, match=r"got two values a feature.*-1 and 1, whatever x is"):
            gradient_check(layer, x, **mode)
    else:
        assert gradient_check(layer, x, **mode)


# Who owns an array


@with_shapes(128)
def test_any_layout_will_do_and_a_layer_writes_nothing_that_it_is_given_or_gave(
    subject, shape, mode, laid_out, assert_close
):
    layer = subject.filled(shape=shape)
    expected = step(subject.filled(shape=shape), subject.batch(shape=shape), mode)
    x, dy = laid_out(subject.batch(shape=shape)), laid_out(upstream(expected[0]))
    x.flags.writeable = dy.flags.writeable = False
    kept = y, dx = layer.forward(x, **mode), layer.backward(dy)
    for one, other in zip((*kept, *layer.gradients.values()), expected, strict=True):
        assert_close(one, other)
    copies = [each.copy() for each in kept]
    step(layer, subject.batch(shape=shape, seed=8), mode)
    assert_all_equal(kept, copies)
    assert y.dtype == dx.dtype == np.float32
    assert not np.may_share_memory(x, y)
    assert not np.may_share_memory(dy, dx)


@with_shapes(128)
def test_a_layer_writes_and_returns_out(subject, shape, mode, make_out, assert_close):
    layer, twin = subject.filled(shape=shape), subject.filled(shape=shape)
    x = subject.batch(shape=shape)
    expected = step(layer, x, mode)
    y, dx = make_out(expected[0]), make_out(x)
    assert twin.forward(x, **mode, out=y) is y
    assert twin.backward(upstream(expected[0]), out=dx) is dx
    for one, other in zip((y, dx, *twin.gradients.values()), expected, strict=True):
        assert_close(one, other)


def test_writing_dx_over_y_is_refused_or_right(subject):
    layer, twin, x, dy = pair(subject, np.float64, MODES["inference"])
    y = layer.forward(x)
    if x.shape == y.shape:
        try:
            assert_all_equal([layer.backward(dy, out=y)], [twin.backward(dy)])
        except ValueError as error:
            assert str(error).startswith("out: overlaps")  # noqa: PT017
            assert_same_pass_pending(layer, twin, dy)


def test_gradients_are_overwritten_in_the_same_arrays(subject, mode):
    layer, x = subject.filled(), subject.batch()
    if layer.generators or layer.state:
        mode = MODES["inference"]  # these draw another mask, or other statistics, each time
    before = [list(getattr(layer, kind).values()) for kind in KINDS]
    assert_all_equal(step(layer, x, mode), step(layer, x, mode))
    for kind, arrays in zip(KINDS, before, strict=True):
        assert all(a is b for a, b in zip(getattr(layer, kind).values(), arrays, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_the_mappings_are_read_only_and_their_arrays_are_not(subject, kind):
    layer = subject.filled()
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


def test_gradients_have_the_names_shapes_and_types_of_the_parameters(subject, dtype):
    layer = subject.new(dtype)
    assert list(layer.gradients) == list(layer.parameters)
    for name, gradient in layer.gradients.items():
        assert gradient.shape == layer.parameters[name].shape
        assert gradient.dtype == layer.parameters[name].dtype == dtype
        assert not gradient.any()


def test_arrays_can_be_assigned_by_copying_into_them(subject):
    layer = subject.filled()
    for name, array in {**layer.parameters, **statistics_of(layer)}.items():
        assert getattr(layer, name) is array
        new = np.random.default_rng(5).uniform(1, 2, array.shape).astype(np.float32)
        setattr(layer, name, new)
        assert getattr(layer, name) is array
        np.testing.assert_array_equal(array, new)
        assert not np.may_share_memory(array, new)
        for wrong, error in (
            (new[:-1], ValueError),
            (new[np.newaxis], ValueError),
            (new.astype(np.float64), TypeError),
        ):
            with pytest.raises(error, match=f"^{name}: expected"):
                setattr(layer, name, wrong)
        np.testing.assert_array_equal(array, new)


# Copies


COPIED = COPIES | {"astype": lambda layer: layer.astype(layer.dtype or np.float32)}


@pytest.mark.parametrize("make_copy", COPIED.values(), ids=COPIED)
def test_a_copy_is_a_layer_of_its_own(subject, make_copy):
    layer, twin, _, dy = pair(subject)
    other = make_copy(layer)
    assert type(other) is type(layer)
    assert repr(other) == repr(layer)
    assert_same_arrays(other, layer)
    with pytest.raises(
        RuntimeError, match=r"backward without a forward pass.*: call forward again$"
    ):
        other.backward(dy)
    # The copy goes its own way, with the same random numbers; the layer's pending backward stays.
    x = subject.batch(seed=9)
    step(other, x, TRAINING)
    assert_same_pass_pending(layer, twin, dy)
    step(layer, x, TRAINING)
    assert_all_equal(step(layer, x, TRAINING), step(other, x, TRAINING))


def test_astype_converts_all_arrays_of_a_copy(subject):
    layer, x = subject.filled(np.float32), subject.batch()
    layer.forward(x, training=True)
    before = copy.deepcopy(layer)
    other = layer.astype(np.float64)
    assert layer.dtype in (np.float32, None)
    assert other.dtype in (np.float64, None)
    floats = [array for array in arrays_of(other) if array.dtype.kind == "f"]
    assert all(array.dtype == np.float64 for array in floats)
    assert len(arrays_of(other)) - len(floats) == len(other.state) - len(statistics_of(other))
    assert_same_arrays(layer, other)
    # What a layer shows of its last batch is converted, too.
    for name in ("batch_mean", "batch_variance"):
        if hasattr(layer, name):
            assert getattr(layer, name).dtype == np.float32
            assert getattr(other, name).dtype == np.float64
            shown = getattr(other, name).astype(np.float32)
            np.testing.assert_array_equal(shown, getattr(layer, name))
    y, dx, *_ = step(other, x.astype(np.float64), TRAINING)
    assert y.dtype == dx.dtype == np.float64
    assert_same_arrays(layer, before)


def test_what_is_pickled_is_without_a_pending_pass(subject):
    shape = max(subject.case.shapes, key=np.prod)
    layer = subject.new(shape=shape)
    size = len(pickle.dumps(layer))
    x = subject.batch(shape=shape)
    layer.forward(x, training=True)
    assert len(pickle.dumps(layer)) < size + x.nbytes / 4


# What is refused


def test_backward_needs_a_forward_pass_of_its_own(subject, mode):
    layer = subject.filled()
    y = layer.forward(subject.batch(), **mode)
    layer.backward(upstream(y))
    for each in (layer, subject.filled()):
        before = copy.deepcopy(each)
        with pytest.raises(RuntimeError, match="forward") as caught:
            each.backward(upstream(y))
        assert str(caught.value).startswith(repr(each))
        assert_same_arrays(each, before)


def test_layers_with_parameters_hold_one_type(subject):
    layer = subject.filled(np.float32)
    if layer.dtype is None:
        for dtype in (np.float32, np.float64):
            assert layer.forward(subject.batch(dtype)).dtype == dtype
        return
    assert layer.dtype == np.float32
    with pytest.raises(TypeError, match=r"holds float32, got float64: pass x.astype") as caught:
        layer.forward(subject.batch(np.float64))
    assert str(caught.value).startswith(repr(layer))


def test_a_wrong_shape_names_the_layer(subject):
    layer, shape = subject.filled(), subject.shape
    for wrong in ((*shape[:-1], shape[-1] + 5), (shape[-1], *shape[1:-1], 6), (2, *shape[:-1], 3)):
        x = np.ones(wrong, np.float32)
        if subject.takes(wrong):
            layer.forward(x)
            continue
        expected = rf"\(..., {shape[-1]}\), got " if len(shape) == 2 else ""
        with pytest.raises(ValueError, match=re.escape(repr(layer)) + f": expected {expected}"):
            layer.forward(x)


def test_numpy_flags_are_flags_and_inference_is_the_default(subject):
    layer, twin, x, dy = pair(subject)
    y = layer.forward(x, training=np.True_)
    np.testing.assert_array_equal(y, twin.forward(x, training=True))
    assert layer.backward(dy, input_gradient=np.False_) is None
    twin.backward(dy)
    assert_same_arrays(layer, twin)
    np.testing.assert_array_equal(layer.forward(x), twin.forward(x, **MODES["inference"]))
