"""What every operation promises: the same results everywhere, and who owns an array."""

import copy
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from operations import ALONE, PAIRS, arrays_in, each, each_pair, first, make, upstream, with_shapes
from shared import memory_mapped

from npbn import functional, reference
from npbn.testing import CASES

ROOMS = {"functional": functional, "reference": reference}
ONLY_IN_REFERENCE = {
    "merge_statistics",
    "synchronized_batch_norm_backward",
    "update_population",
}
WITH_GRADIENTS = [case for case in CASES.values() if case.gradients]

each_room = pytest.mark.parametrize("room", ROOMS.values(), ids=ROOMS)
each_shape = each(with_shapes(CASES.values()), ("case", "shape"))
each_number = each(
    [
        (case, key)
        for case in CASES.values()
        for key, value in make(case).items()
        if type(value) is float
    ],
    ("case", "key"),
)


def public_functions(room):
    """The names of all functions that the room's modules define for others."""
    for info in pkgutil.iter_modules(room.__path__):
        if info.name.startswith("_"):
            continue
        module = importlib.import_module(f"{room.__name__}.{info.name}")
        for name, value in vars(module).items():
            own = inspect.isfunction(value) and value.__module__ == module.__name__
            if own and not name.startswith("_"):
                yield name


def without_a_case(room):
    known = {
        f"{case.name}{ending}"
        for case in CASES.values()
        for ending in ("", "_forward", "_backward")
    }
    return {*public_functions(room), *room.__all__} - known - ONLY_IN_REFERENCE


# The cases


@each_room
def test_every_operation_has_a_case(room, monkeypatch):
    assert without_a_case(room) == set()

    def swish_forward(x):
        return x, x

    module = importlib.import_module(f"{room.__name__}.activations")
    swish_forward.__module__ = module.__name__
    monkeypatch.setattr(module, "swish_forward", swish_forward, raising=False)
    assert without_a_case(room) == {"swish_forward"}


@each_room
def test_the_room_offers_what_its_modules_define(room):
    assert sorted(room.__all__) == sorted(public_functions(room))
    assert all(inspect.isfunction(getattr(room, name)) for name in room.__all__)


@each_room
def test_every_case_is_an_operation(case, room):
    assert inspect.isfunction(case.function(room))
    assert hasattr(room, f"{case.name}_backward") == case.has_backward


def test_functional_and_reference_have_the_same_operations():
    assert set(reference.__all__) - set(functional.__all__) == ONLY_IN_REFERENCE
    assert set(functional.__all__) <= set(reference.__all__)


@pytest.mark.parametrize("function", functional.__all__)
def test_functional_and_reference_have_the_same_arguments(function):
    def arguments(room):
        parameters = inspect.signature(getattr(room, function)).parameters.values()
        return [(each.name, each.kind, each.default) for each in parameters if each.name != "out"]

    assert arguments(functional) == arguments(reference)
    out = inspect.signature(getattr(functional, function)).parameters.get("out")
    assert out is None or (out.kind is out.KEYWORD_ONLY and out.default is None)


@each_shape
def test_a_case_makes_inputs_of_the_type_and_shape_that_were_asked_for(case, shape, dtype):
    inputs = make(case, shape, dtype)
    assert inputs[first(inputs)].shape == shape
    assert all(array.dtype == dtype for array in arrays_in(inputs) if array.dtype.kind == "f")
    for one, other in zip(arrays_in(inputs), arrays_in(make(case, shape, dtype)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_case_names_arguments_and_gradients_as_the_operation_does(case):
    inputs = make(case)
    taken = inspect.signature(case.function(functional)).parameters
    assert next(iter(inputs)) == next(iter(taken))
    assert {name for name, each in taken.items() if each.default is each.empty} <= set(inputs)
    given = [make(each) for each in CASES.values() if each.name == case.name]
    assert set().union(*given) == set(taken) - {"out", "mask"}
    assert set(case.shares) <= set(inputs)
    gradients = [f"d{name}" for name in (first(inputs), *case.parameters)]
    assert list(case.gradients) == (gradients if case.gradients else [])
    results = case.results(functional, inputs)
    for name in case.gradients:
        assert results[name].shape == inputs[name.removeprefix("d")].shape


# What every operation computes


@each_shape
def test_functional_agrees_with_reference(case, shape, dtype, exact, assert_close):
    inputs = make(case, shape, dtype)
    found = case.results(functional, inputs)
    dy = exact(upstream(np.asarray(next(iter(found.values())))))
    expected = case.results(reference, exact(inputs), dy)
    assert found.keys() == expected.keys()
    for name, value in found.items():
        assert type(value) is float or value.dtype == dtype
        assert_close(np.asarray(value, dtype), expected[name])


def five_point(function, array, h=1e-3):
    """The derivative by each entry of array, and whether one from the left and one agree.

    (f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12h
    """
    derivative, smooth = np.empty_like(array), np.empty(array.shape, bool)
    for place in np.ndindex(array.shape):
        start, values = array[place], {}
        for steps in (-2, -1, 1, 2):
            array[place] = start + steps * h
            values[steps] = function()
        array[place] = start
        derivative[place] = (values[-2] - 8 * values[-1] + 8 * values[1] - values[2]) / (12 * h)
        jump = (values[2] - values[1]) - (values[-1] - values[-2])
        smooth[place] = abs(jump) <= 0.1 * h
    return derivative, smooth


@each(with_shapes(WITH_GRADIENTS, 128), ("case", "shape"))
@each_room
def test_gradients_agree_with_finite_differences(case, room, shape):
    inputs = make(case, shape)
    results = case.results(room, inputs)
    dy = 1.0 if case.is_loss else upstream(results["y"])
    for name in case.gradients:
        numeric, smooth = five_point(
            lambda: np.vdot(dy, case.forward(room, inputs)[0]), inputs[name.removeprefix("d")]
        )
        if not case.has_kinks:
            smooth[...] = True
        assert smooth.mean() > 0.9
        assert np.abs(numeric).max() > 0.01
        difference = np.abs(results[name] - numeric)[smooth].max()
        assert difference <= 1e-9 * np.abs(numeric).max()


def test_reference_keeps_the_type(case, dtype):
    results = case.results(reference, make(case, dtype=dtype))
    assert {np.asarray(value).dtype for value in results.values()} == {np.dtype(dtype)}


@each_number
def test_numpy_numbers_leave_float32_alone(case, key):
    inputs = make(case, dtype=np.float32)
    expected = case.results(functional, inputs)
    given = case.results(functional, inputs | {key: np.float64(inputs[key])})
    for name, value in given.items():
        assert type(value) is float or value.dtype == np.float32
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.parametrize("scale", [1, 1e-30, 1e30])
def test_a_caller_to_whom_numpy_raises_gets_the_same_results(case, scale):
    inputs = make(case, dtype=np.float32)
    inputs[first(inputs)] *= np.float32(scale)
    expected = repr(case.results(functional, inputs))
    with np.errstate(all="raise"):
        assert repr(case.results(functional, inputs)) == expected


# Who owns an array


@each(with_shapes(CASES.values(), 128), ("case", "shape"))
def test_any_layout_will_do_and_nothing_given_is_written(
    case, shape, dtype, laid_out, assert_close
):
    inputs = make(case, shape, dtype)
    expected = case.results(functional, inputs)
    given = inputs | {first(inputs): laid_out(inputs[first(inputs)])}
    np.testing.assert_array_equal(given[first(inputs)], inputs[first(inputs)])
    dy = laid_out(upstream(expected["y"])) if case.has_backward else None
    for array in arrays_in((given, dy)):
        array.flags.writeable = False
    for name, value in case.results(functional, given, dy).items():
        assert_close(np.asarray(value, dtype), expected[name])


def test_what_comes_of_a_mapped_array_is_plain(case, dtype):
    inputs = make(case, dtype=dtype)
    mapped = {k: memory_mapped(v) if isinstance(v, np.ndarray) else v for k, v in inputs.items()}
    expected = case.results(functional, inputs)
    for name, value in case.results(functional, mapped).items():
        np.testing.assert_array_equal(value, expected[name])
        assert type(value) is type(expected[name]) in (np.ndarray, float)


@each_pair
def test_a_cache_can_be_used_again_and_results_are_never_written_again(case, dtype):
    inputs = make(case, dtype=dtype)
    y, cache = case.forward(functional, inputs)
    dy = upstream(y)
    kept = (y, *case.backward(functional, dy, cache, inputs))
    copies = copy.deepcopy(kept)
    case.backward(functional, upstream(y, seed=5), cache, inputs)
    case.results(functional, make(case, dtype=dtype, seed=7))
    again = (y, *case.backward(functional, dy, cache, inputs))
    for one, other, third in zip(kept, copies, again, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(third, other)


@each(ALONE)
def test_results_of_single_functions_are_never_written_again(case, dtype):
    kept = case.results(functional, make(case, dtype=dtype))
    copies = copy.deepcopy(kept)
    case.results(functional, make(case, dtype=dtype, seed=7))
    for name, value in kept.items():
        np.testing.assert_array_equal(value, copies[name])


@each(with_shapes(PAIRS, 128), ("case", "shape"))
def test_out_is_written_and_returned(case, shape, make_out, dtype, assert_close):
    inputs = make(case, shape, dtype)
    y, cache = case.forward(functional, inputs)
    gradients = case.backward(functional, upstream(y), cache, inputs)
    out, dx_out = make_out(y), make_out(gradients[0])
    y_out, cache = case.forward(functional, inputs, out=out)
    assert y_out is out
    assert_close(out, y)
    others = case.backward(functional, upstream(y), cache, inputs, out=dx_out)
    assert others[0] is dx_out
    for one, other in zip(others, gradients, strict=True):
        assert_close(one, other)
