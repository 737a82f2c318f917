"""The table of all operations is whole, and all of them keep what they promise in common."""

import copy
import importlib
import inspect
import pkgutil

import numpy as np
import pytest

from npbn import functional, reference
from npbn.testing import CASES

ROOMS = {"functional": functional, "reference": reference}
ONLY_IN_REFERENCE = {"update_population"}
# Losses and softmax are one function each; the losses' gradient is their second result.
ONE_FUNCTION = {"softmax", "softmax_cross_entropy", "squared_error"}
PAIRS = [name for name in CASES if name not in ONE_FUNCTION]

each_case = pytest.mark.parametrize("name", CASES)
each_pair = pytest.mark.parametrize("name", PAIRS)
each_room = pytest.mark.parametrize("room", ROOMS.values(), ids=ROOMS)


def make(name, shape=(6, 4), dtype=np.float64, seed=0):
    return CASES[name].inputs(np.random.default_rng(seed), shape, dtype)


def first(inputs):
    return next(iter(inputs))


def forward_of(room, name):
    return getattr(room, f"{name}_forward", None) or getattr(room, name)


def forward(room, name, inputs, **options):
    """y, and the cache or None."""
    result = forward_of(room, name)(**inputs, **options)
    return result if isinstance(result, tuple) else (result, None)


def backward(room, name, dy, cache, inputs, **options):
    """A tuple of gradients: that of x, then those of the parameters in order."""
    function = getattr(room, f"{name}_backward")
    if cache is None:
        taken = inspect.signature(function).parameters
        cache_or_inputs = {key: value for key, value in inputs.items() if key in taken}
    else:
        cache_or_inputs = {"cache": cache}
    result = function(dy, **cache_or_inputs, **options)
    return result if isinstance(result, tuple) else (result,)


def results(room, name, inputs, seed=1):
    """All arrays and numbers that the operation computes; dy is random."""
    if name in ONE_FUNCTION:
        result = forward_of(room, name)(**inputs)
        return result if isinstance(result, tuple) else (result,)
    y, cache = forward(room, name, inputs)
    return y, *backward(room, name, upstream(y, seed), cache, inputs)


def upstream(y, seed=1):
    return np.random.default_rng(seed).standard_normal(y.shape).astype(y.dtype)


def arrays_in(value):
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, dict | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from arrays_in(each)


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
    known = {f"{case}{ending}" for case in CASES for ending in ("", "_forward", "_backward")}
    return {*public_functions(room), *room.__all__} - known


# The table


def test_every_operation_of_functional_has_a_case():
    assert without_a_case(functional) == set()


def test_every_operation_of_reference_has_a_case():
    assert without_a_case(reference) == ONLY_IN_REFERENCE


@each_room
def test_an_operation_without_a_case_is_found(room, monkeypatch):
    def swish_forward(x):
        return x, x

    module = importlib.import_module(f"{room.__name__}.activations")
    swish_forward.__module__ = module.__name__
    monkeypatch.setattr(module, "swish_forward", swish_forward, raising=False)
    assert without_a_case(room) - ONLY_IN_REFERENCE == {"swish_forward"}


@each_room
def test_the_room_offers_what_its_modules_define(room):
    assert sorted(room.__all__) == sorted(public_functions(room))
    assert all(inspect.isfunction(getattr(room, name)) for name in room.__all__)


@each_case
@each_room
def test_every_case_is_an_operation(name, room):
    assert inspect.isfunction(forward_of(room, name))
    assert (name in ONE_FUNCTION) or inspect.isfunction(getattr(room, f"{name}_backward"))


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


@each_case
def test_a_case_makes_inputs_of_the_type_and_shape_that_were_asked_for(name, shape, dtype):
    inputs = make(name, shape, dtype)
    x = inputs[first(inputs)]
    assert x.shape == (
        shape if name != "softmax_cross_entropy" else (x.size // shape[-1], shape[-1])
    )
    assert all(array.dtype == dtype for array in arrays_in(inputs) if array.dtype.kind == "f")
    for one, other in zip(arrays_in(inputs), arrays_in(make(name, shape, dtype)), strict=True):
        np.testing.assert_array_equal(one, other)


# What every operation computes


@each_case
def test_functional_agrees_with_reference(name, shape, dtype, exact, assert_close):
    inputs = make(name, shape, dtype)
    found = results(functional, name, inputs)
    if name in ONE_FUNCTION:
        expected = results(reference, name, exact(inputs))
    else:
        y, cache = forward(reference, name, exact(inputs))
        dy = exact(upstream(found[0]))
        expected = (y, *backward(reference, name, dy, cache, exact(inputs)))
    for one, true in zip(found, expected, strict=True):
        assert type(one) is float or one.dtype == dtype
        assert_close(np.asarray(one, dtype), true)


def five_point(function, array, h=1e-3):
    """The derivative by each entry of array: (f(-2h) - 8 f(-h) + 8 f(h) - f(2h)) / 12h."""
    derivative = np.empty_like(array)
    for place in np.ndindex(array.shape):
        start, total = array[place], 0.0
        for steps, weight in ((-2, 1), (-1, -8), (1, 8), (2, -1)):
            array[place] = start + steps * h
            total += weight * function()
        array[place] = start
        derivative[place] = total / (12 * h)
    return derivative


@each_pair
@each_room
@pytest.mark.parametrize("shape", [(5, 3), (2, 3, 2, 3)], ids=str)
def test_gradients_agree_with_finite_differences(name, room, shape):
    inputs = make(name, shape)
    if "relu" in name:
        inputs["x"] += np.copysign(0.01, inputs["x"])  # away from the kink
    y, cache = forward(room, name, inputs)
    dy = upstream(y)
    gradients = backward(room, name, dy, cache, inputs)
    assert len(gradients) == (3 if name.startswith(("batch_norm", "dense")) else 1)
    for array, gradient in zip(arrays_in(inputs), gradients, strict=False):
        numeric = five_point(lambda: np.vdot(dy, forward(room, name, inputs)[0]), array)
        assert np.abs(numeric).max() > 0.01
        np.testing.assert_allclose(gradient, numeric, rtol=0, atol=1e-9 * np.abs(numeric).max())


@pytest.mark.parametrize("name", sorted(ONE_FUNCTION - {"softmax"}))
@each_room
def test_gradients_of_losses_agree_with_finite_differences(name, room):
    inputs = make(name)
    gradient = forward_of(room, name)(**inputs)[1]
    numeric = five_point(lambda: forward_of(room, name)(**inputs)[0], inputs[first(inputs)])
    np.testing.assert_allclose(gradient, numeric, rtol=0, atol=1e-9 * np.abs(numeric).max())


@each_case
def test_reference_keeps_the_type(name, dtype):
    assert {
        np.asarray(each).dtype for each in results(reference, name, make(name, dtype=dtype))
    } == {np.dtype(dtype)}


NUMBERS = [
    (name, key) for name in CASES for key, value in make(name).items() if type(value) is float
]


@pytest.mark.parametrize(("name", "key"), NUMBERS)
def test_numpy_numbers_leave_float32_alone(name, key):
    inputs = make(name, dtype=np.float32)
    expected = results(functional, name, inputs)
    given = results(functional, name, inputs | {key: np.float64(inputs[key])})
    for one, other in zip(given, expected, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_array_equal(one, other)


# Who owns an array


@each_case
@pytest.mark.parametrize("shape", [(7, 5), (3, 4, 5), (2, 3, 4, 5)], ids=str)
def test_any_layout_will_do_and_nothing_given_is_written(
    name, shape, dtype, laid_out, assert_close
):
    inputs = make(name, shape, dtype)
    expected = results(functional, name, inputs)
    x = first(inputs)
    given = inputs | {x: laid_out(inputs[x])}
    np.testing.assert_array_equal(given[x], inputs[x])
    for array in arrays_in(given):
        array.flags.writeable = False
    if name in ONE_FUNCTION:
        found = results(functional, name, given)
    else:
        y, cache = forward(functional, name, given)
        for array in arrays_in(cache):
            array.flags.writeable = False
        dy = laid_out(upstream(y))
        dy.flags.writeable = False
        found = (y, *backward(functional, name, dy, cache, given))
    for one, other in zip(found, expected, strict=True):
        assert_close(np.asarray(one, dtype), other)


@each_pair
def test_a_cache_can_be_used_again_and_results_are_never_written_again(name, dtype):
    inputs = make(name, dtype=dtype)
    y, cache = forward(functional, name, inputs)
    dy = upstream(y)
    kept = (y, *backward(functional, name, dy, cache, inputs))
    copies = [each.copy() for each in kept]
    backward(functional, name, upstream(y, seed=5), cache, inputs)
    results(functional, name, make(name, dtype=dtype, seed=7))
    again = (y, *backward(functional, name, dy, cache, inputs))
    for one, other, third in zip(kept, copies, again, strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(third, other)


@pytest.mark.parametrize("name", sorted(ONE_FUNCTION))
def test_results_of_losses_are_never_written_again(name, dtype):
    kept = results(functional, name, make(name, dtype=dtype))
    copies = copy.deepcopy(kept)
    results(functional, name, make(name, dtype=dtype, seed=7))
    for one, other in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(one, other)


@each_pair
def test_out_is_written_and_returned(name, make_out, dtype, assert_close):
    inputs = make(name, (3, 4, 5), dtype)
    y, cache = forward(functional, name, inputs)
    gradients = backward(functional, name, upstream(y), cache, inputs)

    out = make_out(y)
    y_out, cache = forward(functional, name, inputs, out=out)
    assert y_out is out
    assert_close(out, y)
    dx_out = make_out(gradients[0])
    others = backward(functional, name, upstream(y), cache, inputs, out=dx_out)
    assert others[0] is dx_out
    for one, other in zip(others, gradients, strict=True):
        assert_close(one, other)


@each_pair
def test_a_wrong_out_is_refused(name, bad_out):
    bad, error, message = bad_out
    inputs = make(name)
    y, cache = forward(functional, name, inputs)
    with pytest.raises(error, match=f"^out: .*{message}"):
        forward(functional, name, inputs, out=bad(y))
    with pytest.raises(error, match=f"^out: .*{message}"):
        backward(functional, name, upstream(y), cache, inputs, out=bad(inputs["x"]))


def overlapping(array, shape):
    """The array's values in new memory, and an array of the given shape in the same memory."""
    buffer = np.zeros(max(array.size, int(np.prod(shape))), array.dtype)
    copied = buffer[: array.size].reshape(array.shape)
    copied[...] = array
    return copied, buffer[: np.prod(shape)].reshape(shape)


@each_pair
def test_an_out_that_overlaps_a_parameter_is_refused(name):
    inputs = make(name)
    y, _ = forward(functional, name, inputs)
    for key in [key for key, value in inputs.items() if isinstance(value, np.ndarray)][1:]:
        shared, out = overlapping(inputs[key], y.shape)
        with pytest.raises(ValueError, match=r"^out: overlaps"):
            forward(functional, name, inputs | {key: shared}, out=out)


@each_pair
def test_an_out_that_overlaps_dy_or_the_cache_is_refused(name):
    inputs = make(name)
    y, cache = forward(functional, name, inputs)
    dy = upstream(y)

    def refused(out, dy=dy, cache=cache, inputs=inputs):
        with pytest.raises(ValueError, match=r"^out: overlaps"):
            backward(functional, name, dy, cache, inputs, out=out)

    shared, out = overlapping(dy, inputs["x"].shape)
    refused(out, dy=shared)
    if isinstance(cache, np.ndarray):
        shared, out = overlapping(cache, inputs["x"].shape)
        refused(out, cache=shared)
    elif cache is not None:
        for field, array in cache._asdict().items():
            if isinstance(array, np.ndarray):
                shared, out = overlapping(array, inputs["x"].shape)
                refused(out, cache=cache._replace(**{field: shared}))
    else:
        for key in ("x", "gamma", "mean", "variance"):
            shared, out = overlapping(inputs[key], inputs["x"].shape)
            refused(out, inputs=inputs | {key: shared})


# What is refused


@each_case
def test_a_wrong_batch_is_refused(name, bad_batch):
    value, error, message = bad_batch
    inputs = make(name)
    x = first(inputs)
    with pytest.raises(error, match=f"^{x}: .*{message.format(x=x)}"):
        forward(functional, name, inputs | {x: value})


OTHER_ARRAYS = [
    (name, key)
    for name in CASES
    for key, value in list(make(name).items())[1:]
    if isinstance(value, np.ndarray) and value.dtype.kind == "f"
]


@pytest.mark.parametrize(("name", "key"), OTHER_ARRAYS)
def test_wrong_parameters_are_refused(name, key):
    inputs = make(name)
    right = inputs[key]
    wrong = {
        "float32": (right.astype(np.float32), TypeError, "expected float64"),
        "integers": (right.astype(int), TypeError, "float32 or float64"),
        "list": (right.tolist(), TypeError, "np.asarray"),
        "longer": (np.ones(right.shape[0] + 1), ValueError, "expected"),
        "one for all": (np.ones(1), ValueError, "expected"),
        "another axis": (right[np.newaxis], ValueError, "expected"),
    }
    for value, error, message in wrong.values():
        with pytest.raises(error, match=f"^{key}: .*{message}|^{first(inputs)}: expected"):
            forward(functional, name, inputs | {key: value})


@pytest.mark.parametrize(("name", "key"), NUMBERS)
@pytest.mark.parametrize("value", [True, "0.1", None, np.array([0.1])], ids=str)
def test_numbers_of_another_type_are_refused(name, key, value):
    with pytest.raises(TypeError, match=f"^{key}: expected a number"):
        forward(functional, name, make(name) | {key: value})


@pytest.mark.parametrize(("name", "key"), NUMBERS)
@pytest.mark.parametrize("value", [-0.1, np.nan, np.inf])
def test_numbers_out_of_range_are_refused(name, key, value):
    with pytest.raises(
        ValueError, match=f"^{key}: expected a finite number at least 0.*got {value}"
    ):
        forward(functional, name, make(name) | {key: value})


@each_pair
def test_a_wrong_upstream_gradient_is_refused(name):
    inputs = make(name)
    y, cache = forward(functional, name, inputs)
    for dy, error, message in (
        (upstream(y)[1:], ValueError, "expected shape"),
        (upstream(y)[:, :1], ValueError, "expected shape"),
        (upstream(y).astype(np.float32), TypeError, "expected float64"),
        (np.ones(y.shape, int), TypeError, "float32 or float64"),
        (1.0, TypeError, "float32 or float64"),
    ):
        with pytest.raises(error, match=f"^dy: .*{message}"):
            backward(functional, name, dy, cache, inputs)


@pytest.mark.parametrize("name", sorted(set(PAIRS) - {"batch_norm_inference"}))
def test_a_foreign_cache_is_refused(name):
    y, _ = forward(functional, name, make(name))
    with pytest.raises(TypeError, match=r"^cache: expected"):
        backward(functional, name, upstream(y), (1, 2), {})
