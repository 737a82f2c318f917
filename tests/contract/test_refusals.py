"""Thousands of bad calls: each one refused with a message that helps, and nothing has changed.

`python -m pytest -m slow tests/contract/test_refusals.py` makes 20,000 of them.
"""

import copy
import inspect
import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from operations import PAIRS, arrays_in, first, make, takes, upstream
from subjects import MODES, SUBJECTS, Subject

from npbn import (
    SGD,
    Adam,
    BatchNorm,
    Dense,
    Dropout,
    ReLU,
    RMSProp,
    Sequential,
    Tanh,
    fit,
    functional,
    gradient_check,
    training_steps,
)
from npbn.testing import CASES

CI = settings(max_examples=250)
FULL = settings(max_examples=4_000)
DTYPES = [np.float32, np.float64]


# What is no float array of the right type and shape

OTHER_TYPES = {
    "integers": lambda a: np.ones(a.shape, int),
    "bools": lambda a: a > 0,
    "bytes": lambda a: np.zeros(a.shape, np.uint8),
    "half": lambda a: a.astype(np.float16),
    "long": lambda a: a.astype(np.longdouble),
    "complex": lambda a: a.astype(complex),
    "objects": lambda a: a.astype(object),
    "strings": lambda a: a.astype(str),
    "other byte order": lambda a: a.astype(a.dtype.newbyteorder()),
    "the other float type": lambda a: a.astype(np.float64 if a.dtype == np.float32 else np.float32),
    "a list": lambda a: a.tolist(),
    "a tuple": lambda a: tuple(a.tolist()) if a.ndim else (1.0,),
    "a number": lambda a: 0.5,
    "a NumPy number": lambda a: a.dtype.type(0.5),
    "a string": lambda a: "x",
    "a function": lambda a: np.ones,
    "a type": lambda a: np.float32,
    "nothing": lambda a: None,
    "NaN": lambda a: float("nan"),
    "a masked array": lambda a: np.ma.masked_less(a, 0),
    "a matrix": lambda a: a.reshape(-1, a.shape[-1]).view(np.matrix),
}
OTHER_SHAPES = {
    "a row less": lambda a: a[1:],
    "a row": lambda a: a[:1],
    "a feature": lambda a: a[..., :1],
    "a feature less": lambda a: a[..., 1:],
    "a feature more": lambda a: np.concatenate([a, a[..., :1]], -1),
    "an axis more": lambda a: a[np.newaxis],
    "an axis more at the end": lambda a: a[..., np.newaxis],
    "an axis less": lambda a: a[0],
    "flat": lambda a: a.reshape(-1),
    "turned": lambda a: a.T,
    "no rows": lambda a: a[:0],
    "no features": lambda a: a[..., :0],
    "one value": lambda a: a.reshape(-1)[:1],
    "one value with all axes": lambda a: a.reshape(-1)[:1].reshape((1,) * a.ndim),
    "no axis": lambda a: a.reshape(-1)[0].reshape(()),
    "repeated": lambda a: np.concatenate([a, a]),
    "huge by broadcasting": lambda a: np.broadcast_to(a, (3, *a.shape)),
}
NO_NUMBERS = [None, True, "0.1", [0.1], np.array(0.1), np.array([0.1]), 1j, np.bool_(False), {}]
NO_POSITIVE = [-0.1, -1e-300, -1, float("nan"), float("inf"), -float("inf"), np.float32(-1)]
NO_SHARE = [1, 1.0, 2.5, np.float64(1)]
NO_COUNT = [0, -1, 1.5, None, True, "2"]
NO_GENERATORS = [-1, 1.5, "0", True, np.random.default_rng, [1, 2], np.array([3])]


def no_labels(labels, classes):
    """What is no array of classes, one a row."""
    return [
        labels.tolist(),
        None,
        3,
        "0",
        labels.astype(float),
        labels.astype(bool),
        labels.astype(object),
        labels + classes,
        labels - classes,
        np.full_like(labels, 2**40),
        np.full(labels.shape, 2**64 - 1, np.uint64),
        labels[1:],
        labels[:0],
        labels[:1] if len(labels) > 1 else labels[:0],
        np.append(labels, 0),
        labels[:, np.newaxis],
        labels[np.newaxis],
        np.eye(classes, dtype=int)[labels],
        np.eye(classes)[labels],
        np.array(0),
        np.ma.masked_equal(labels, 1),
    ]


# What must not change


def frozen(*values):
    """The bytes of all arrays and the states of all generators within values."""
    return [each for value in values for each in _frozen(value)]


def _frozen(value):
    if isinstance(value, np.ndarray):
        yield value.shape, value.dtype, value.tobytes() if value.dtype != object else repr(value)
    elif isinstance(value, np.random.Generator):
        yield repr(value.bit_generator.state)
    elif isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _frozen(each)


def held(layer):
    """All that a layer, a network or an optimizer holds, and that a call could change."""
    return frozen(
        *(dict(getattr(layer, kind, {})) for kind in ("parameters", "gradients", "state")),
        dict(getattr(layer, "generators", {})),
    ), getattr(layer, "iterations", None)


MESSAGE = re.compile(
    r"expected|holds|overlaps|share memory|read-only|is pending|without a forward pass|not finite"
    r"|another pass|nothing to write|used twice|belongs to"
)


def refused(call, *names, kinds=(TypeError, ValueError)):
    """The message of the error that call raises; it names one of names and says what was meant."""
    try:
        result = call()
    except kinds as error:
        message = str(error)
    else:
        raise AssertionError(f"not refused, but {result!r:.200}")
    assert MESSAGE.search(message), message
    assert any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", message) for name in names), message
    return message


def draw_case(data, cases):
    case = data.draw(st.sampled_from(list(cases)), label="operation")
    # Shapes like the case's own, but small, also with axes of length 1.
    own = data.draw(st.sampled_from(case.shapes), label="like")
    sizes = [data.draw(st.integers(1, 6)) for _ in own]
    dtype = data.draw(st.sampled_from(DTYPES), label="type")
    shape = tuple(min(size, most) for size, most in zip(sizes, own, strict=True))
    try:
        return case, make(case, shape, dtype, seed=data.draw(st.integers(0, 9)))
    except ValueError:
        return case, make(case, None, dtype)


def draw_array(data, right, still_right=lambda shape: False):
    """What is not like the right array."""
    kinds = OTHER_TYPES | OTHER_SHAPES
    kind = data.draw(st.sampled_from(list(kinds)), label="instead")
    wrong = kinds[kind](right)
    if kind in OTHER_SHAPES:
        assume(wrong.shape != right.shape and not still_right(wrong.shape))
    return wrong


def either_float(wrong):
    """A whole batch of the other float type, where nothing else has a type."""
    plain = type(wrong) is np.ndarray and wrong.dtype in DTYPES
    return plain and wrong.ndim > 1 and wrong.size > 0


# Operations


def bad_argument(data, case, inputs):
    """The inputs with one argument gone wrong."""
    key = data.draw(st.sampled_from([*inputs, "out"]), label="argument")
    if key == "out":
        assume(case.has_backward)
        return inputs | bad_out_of(data, case, inputs)
    right, x = inputs[key], first(inputs)
    if isinstance(right, np.ndarray):
        if right.dtype.kind in "iu":
            return inputs | {key: data.draw(st.sampled_from(no_labels(right, inputs[x].shape[1])))}
        if key == "variance" and data.draw(st.booleans(), label="below 0"):
            return inputs | {key: np.append(right[:-1], right.dtype.type(-1e-3))}
        wrong = draw_array(
            data, right, (lambda shape: takes(case, inputs, shape)) if key == x else lambda _: False
        )
        arrays = [each for each in inputs.values() if isinstance(each, np.ndarray)]
        if sum(each.dtype.kind == "f" for each in arrays) == 1:
            assume(not either_float(wrong))
        default = inspect.signature(case.function(functional)).parameters[key].default
        assume(not (wrong is None and default is None))
        return inputs | {key: wrong}
    if key == "rng":
        values = NO_GENERATORS
    elif type(right) is float:
        values = NO_NUMBERS + NO_POSITIVE + (NO_SHARE if key in case.shares else [])
    else:
        values = NO_COUNT
    return inputs | {key: data.draw(st.sampled_from(values), label=key)}


def bad_out_of(data, case, inputs):
    """An out that the forward pass refuses, and a parameter in the same memory."""
    y, _ = case.forward(functional, inputs)
    wrong = data.draw(st.sampled_from(["other", "read-only", "overlapping"]), label="out")
    if wrong == "read-only":
        out = y.copy()
        out.flags.writeable = False
    elif wrong == "other":
        out = draw_array(data, y)
        assume(out is not None)
    else:
        others = [k for k in list(inputs)[1:] if isinstance(inputs[k], np.ndarray)]
        assume(others)
        key = data.draw(st.sampled_from(others), label="overlaps")
        memory = np.zeros(max(y.size, inputs[key].size), y.dtype)
        memory[: inputs[key].size] = inputs[key].reshape(-1)
        shared = memory[: inputs[key].size].reshape(inputs[key].shape)
        return {key: shared, "out": memory[: y.size].reshape(y.shape)}
    return {"out": out}


def a_bad_forward_call(data):
    case, inputs = draw_case(data, CASES.values())
    good = case.forward(functional, inputs)
    wrong = bad_argument(data, case, inputs)
    before = frozen(good, inputs, wrong)
    out = {"out": wrong.pop("out")} if "out" in wrong else {}
    refused(lambda: case.forward(functional, wrong, **out), *inputs, "out")
    assert frozen(good, inputs, wrong, out) == before
    assert frozen(case.forward(functional, inputs)) == frozen(good)


def draw_cache(data, y, cache):
    """No cache, another operation's, or one of another shape."""
    other, inputs = draw_case(data, PAIRS)
    foreign_y, foreign = other.forward(functional, inputs)
    if type(foreign) is type(cache):
        assume(foreign_y.shape != y.shape or foreign_y.dtype != y.dtype)
    return data.draw(
        st.sampled_from([1, "x", (1, 2), {}, [], object(), (y,), 0 if foreign is None else foreign])
    )


def draw_out(data, dx, dy, cache):
    """An array that dx cannot be written to: another's, or one that is still needed."""
    kept = [array for array in arrays_in((dy, cache)) if array.shape == dx.shape]
    kept = [array for array in kept if array.dtype == dx.dtype]
    read_only = dx.copy()
    read_only.flags.writeable = False
    others = [dx[..., :-1], dx[np.newaxis], dx.astype(int), "x", 1.0]
    return data.draw(st.sampled_from([*kept, *others, read_only]), label="out")


def a_bad_backward_call(data):
    case, inputs = draw_case(data, PAIRS)
    y, cache = case.forward(functional, inputs)
    dy = upstream(y)
    good = case.backward(functional, dy, cache, inputs)
    given = {"dy": dy, "cache": cache, "inputs": inputs, "out": None}
    choices = ["dy", "out", "inputs" if cache is None else "cache"]
    key = data.draw(st.sampled_from(choices), label="argument")
    if key == "dy":
        given[key] = draw_array(data, dy)
    elif key == "cache":
        given[key] = draw_cache(data, y, cache)
    elif key == "inputs":
        given[key] = bad_argument(data, case, inputs)
        taken = inspect.signature(getattr(functional, f"{case.name}_backward")).parameters
        changed = [name for name in given[key] if given[key][name] is not inputs.get(name)]
        assume("out" not in changed and set(changed) <= set(taken))
    else:
        given[key] = draw_out(data, good[0], dy, cache)
    before = frozen(good, given)
    names = ("dy", "cache", "out", *inputs)
    out = {"out": given["out"]}
    refused(
        lambda: case.backward(functional, given["dy"], given["cache"], given["inputs"], **out),
        *names,
    )
    assert frozen(good, given) == before
    assert frozen(case.backward(functional, dy, cache, inputs)) == frozen(good)


# Layers and networks


def network(dtype=np.float32):
    rng = np.random.default_rng(0)
    layers = [Dense(4, 5, use_bias=False, rng=rng, dtype=dtype), BatchNorm(5, dtype=dtype)]
    layers += [ReLU(), Dropout(0.3, rng=1), Dense(5, 3, rng=rng, dtype=dtype)]
    return Sequential([Sequential(layers), Tanh()])


# A network is held to the same: it is a layer for batches like those of Dense.
NETWORK = Subject("network", CASES["dense"], lambda rng, shape, dtype: network(dtype))
HELD = {**SUBJECTS, "network": NETWORK}
BAD_MODES = [
    {"training": 1},
    {"training": None},
    {"training": "yes"},
    {"statistics": "moving"},
    {"statistics": True},
    {"training": True, "statistics": ["batch"]},
    {"training": np.array([True])},
]


def still_right_for(subject, mode):
    """Whether the layer takes an x of a shape in a mode."""
    normed = subject.new().state and mode == MODES["training"]

    def right(shape):
        # The network's arrays do not follow the shape.
        features = subject is not NETWORK or shape[-1:] == subject.shape[-1:]
        one_value = all(size == 1 for size in shape[:-1])
        return subject.takes(shape) and features and not (normed and one_value)

    return right


def a_bad_call_of_a_layer(data):
    subject = data.draw(st.sampled_from(list(HELD.values())), label="layer")
    dtype = data.draw(st.sampled_from(DTYPES), label="type")
    mode = data.draw(st.sampled_from(list(MODES.values())), label="mode")
    layer, twin, x = subject.filled(dtype), subject.filled(dtype), subject.batch(dtype)
    y, same = layer.forward(x, **mode), twin.forward(x, **mode)
    dy = upstream(y)
    before = held(layer), frozen(x, y, dy)
    for _ in range(data.draw(st.integers(1, 3), label="bad calls")):
        bad_call_of(data, subject, layer, x, dy, mode)
        assert (held(layer), frozen(x, y, dy)) == before
    # The pass that was pending still is.
    dx = layer.backward(dy, input_gradient=True)
    assert frozen(dx) == frozen(twin.backward(dy, input_gradient=True))
    assert held(layer) == held(twin)
    before = frozen(y, dx), held(layer)
    refused(lambda: layer.backward(dy), "forward", kinds=RuntimeError)
    assert (frozen(y, dx), held(layer)) == before
    layer.forward(x + 1, **mode)
    layer.backward(-dy)
    assert frozen(y, dx) == before[0] == frozen(same, dx)


def bad_call_of(data, subject, layer, x, dy, mode):
    calls = ["x", "mode", "dy", "out", "input_gradient"]
    networks = ["predict", "predict_probabilities", "accuracy", "recompute_population"]
    calls += networks if subject is NETWORK else ["not finite"] if layer.state else []
    what = data.draw(st.sampled_from(calls), label="what")
    culprits = ("x", "dy", "out", repr(layer), "layer", "network", "images", "labels")
    if what in ("x", *networks):
        right = still_right_for(subject, mode if what == "x" else {})
        wrong = draw_array(data, x, right)
        assume(layer.dtype is not None or not either_float(wrong) or not right(wrong.shape))
        given = copy.deepcopy(wrong)
        if what == "x":
            refused(lambda: layer.forward(wrong, **mode), *culprits)
        elif what == "accuracy":
            labels = np.zeros(len(x), int)
            if data.draw(st.booleans(), label="wrong labels"):
                wrong = x
                labels = data.draw(st.sampled_from(no_labels(labels, 3)))
            refused(lambda: layer.accuracy(wrong, labels), *culprits)
            return
        else:
            refused(lambda: getattr(layer, what)(wrong), *culprits)
        assert frozen(wrong) == frozen(given)
    elif what == "mode":
        wrong = data.draw(st.sampled_from(BAD_MODES), label="mode")
        refused(lambda: layer.forward(x, **wrong), "training", "statistics")
    elif what == "dy":
        wrong = draw_array(data, dy)
        refused(lambda: layer.backward(wrong), *culprits)
    elif what == "input_gradient":
        wrong = data.draw(st.sampled_from([0, 1, None, "no"]), label="input_gradient")
        refused(lambda: layer.backward(dy, input_gradient=wrong), "input_gradient")
    elif what == "not finite":
        assume(mode == MODES["training"])
        wrong = x.copy()
        wrong.flat[5] = data.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
        refused(lambda: layer.forward(wrong, **mode), repr(layer))
    elif data.draw(st.booleans(), label="forward"):
        wrong = draw_array(data, dy)
        assume(wrong is not None)
        refused(lambda: layer.forward(x, **mode, out=wrong), "out")
    else:
        read_only = x.copy()
        read_only.flags.writeable = False
        wrong = data.draw(st.sampled_from([x[:, :1], x[1:], x.astype(int), "x", read_only]))
        refused(lambda: layer.backward(dy, input_gradient=True, out=wrong), "out")


# Optimizers and training

OPTIMIZERS = {
    "SGD": lambda rate=0.1, **o: SGD(rate, **o),
    "momentum": lambda rate=0.1, **o: SGD(rate, momentum=0.9, **o),
    "RMSProp": lambda rate=0.1, **o: RMSProp(rate, **o),
    "Adam": lambda rate=0.1, **o: Adam(rate, **o),
}
SETTINGS = {
    "rate": ([*NO_POSITIVE, None, True, "0.1", [0.1], 1j, {}], "learning_rate"),
    "weight_decay": (NO_NUMBERS + NO_POSITIVE, "weight_decay"),
    "max_norm": ([each for each in NO_NUMBERS if each is not None] + NO_POSITIVE + [0], "max_norm"),
}


def a_bad_call_of_an_optimizer(data):
    make = OPTIMIZERS[data.draw(st.sampled_from(list(OPTIMIZERS)), label="optimizer")]
    setting = data.draw(st.sampled_from(list(SETTINGS)), label="setting")
    values, name = SETTINGS[setting]
    value = data.draw(st.sampled_from(values))
    refused(lambda: make(**{setting: value}), name)

    optimizer, twin = make(weight_decay=0.1), make(weight_decay=0.1)
    dtype = data.draw(st.sampled_from(DTYPES), label="type")
    rng = np.random.default_rng(0)
    vectors = [rng.normal(size=20).astype(dtype) for _ in range(3)]
    own = vectors[0].copy()
    for each, target in ((optimizer, vectors[0]), (twin, own)):
        each.update(target, vectors[1])
    which = data.draw(st.sampled_from([0, 1, 2]), label="argument")
    given = list(vectors)
    given[2] = np.ones(20, dtype)
    given[which] = draw_array(data, vectors[which])
    # No decay, or True where weights decay, will do as well.
    assume(which != 2 or not (given[2] is None or getattr(given[2], "dtype", 0) in (bool,)))
    before = frozen(vectors, given), held(optimizer)
    call = lambda: optimizer.update(given[0], given[1], decay=given[2])  # noqa: E731
    refused(call, "parameters", "gradients", "decay", repr(optimizer))
    assert (frozen(vectors, given), held(optimizer)) == before
    optimizer.update(vectors[0], vectors[1])
    twin.update(own, vectors[1])
    assert frozen(vectors[0]) == frozen(own)


def bad_runs(images, labels):
    """Arguments of fit -> values that it refuses."""
    pair = (images, labels)
    not_finite = images.copy()
    not_finite[3, 1] = np.nan
    data = [None, images, [images, labels], (images,), (labels, images), (images, labels, labels)]
    data += [(images, each) for each in no_labels(labels, 3)]
    data += [(kind(images), labels) for kind in OTHER_TYPES.values()]
    shapes = [kind(images) for kind in OTHER_SHAPES.values()]
    data += [(each, labels) for each in shapes if each.shape != images.shape]
    data += [(not_finite, labels)]
    return {
        "train": (data, ("data", "train", "x", "layer", "network", "images", "batch_size")),
        "validation": (data[1:], ("validation", "x", "layer", "network")),
        "network": ([None, ReLU, [ReLU()], ReLU(), "x"], ("network",)),
        "optimizer": (
            [None, SGD, 0.1, "SGD", SGD(np.ones(3, np.float32))],
            ("optimizer", "learning_rate"),
        ),
        "steps": ([-1, 1.5, None, "9", True, np.inf, [3]], ("steps",)),
        "batch_size": ([0, -1, len(images) + 1, 2.5, None, "9", True], ("batch_size",)),
        "sample_every": ([0, -1, 0.5, None, "9", True], ("sample_every",)),
        "seed": ([-1, 0.5, "9", True], ("seed", "rng")),
        "progress": ([0, None, "no"], ("progress",)),
        "on_divergence": (["ignore", None, True], ("on_divergence",)),
        "checkpoint_every": ([0, -1, 0.5, None, True], ("checkpoint_every",)),
        "resume": ([1, None, "yes", True], ("resume",)),
    }, pair


def a_bad_run(data):
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(12, 4)).astype(np.float32), np.arange(12) % 3
    table, pair = bad_runs(images, labels)
    key = data.draw(st.sampled_from(list(table)), label="argument")
    values, names = table[key]
    given = {
        "network": network(),
        "train": pair,
        "validation": pair,
        "optimizer": Adam(0.1),
        "steps": 2,
        "batch_size": 4,
        "progress": False,
    }
    each, optimizer = given["network"], given["optimizer"]
    value = data.draw(st.sampled_from(values), label="value")
    before = held(each), held(optimizer), frozen(pair, value)
    refused(lambda: fit(**given | {key: value}), *names)
    assert (held(each), held(optimizer), frozen(pair, value)) == before
    if key in ("network", "optimizer", "steps", "batch_size"):
        options = given | {key: value}
        for name in ("validation", "progress"):
            del options[name]
        run = (options.pop("network"), options.pop("train"))
        refused(lambda: training_steps(*run, **options), *names)
        assert (held(each), held(optimizer), frozen(pair, value)) == before


CALLS = {
    "forward": a_bad_forward_call,
    "backward": a_bad_backward_call,
    "layer": a_bad_call_of_a_layer,
    "optimizer": a_bad_call_of_an_optimizer,
    "run": a_bad_run,
}


@pytest.mark.parametrize("kind", CALLS)
@given(data=st.data())
@CI
def test_bad_calls_are_refused_and_change_nothing(kind, data):
    CALLS[kind](data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", CALLS)
@given(data=st.data())
@FULL
def test_twenty_thousand_bad_calls_are_refused_and_change_nothing(kind, data):
    CALLS[kind](data)


# One by one


def test_a_layer_used_twice_or_in_two_networks_leaves_all_as_they_were():
    dense, relu = Dense(4, 4, rng=0), ReLU()
    first = Sequential([dense, relu])
    before = held(first)
    for layers in ([dense], [ReLU(), relu], [ReLU(), dense, ReLU()]):
        refused(lambda layers=layers: Sequential(layers), "layers[0]", "layers[1]")
        assert held(first) == before
        assert layers[0]._owner is None or layers[0] is dense
    twice = ReLU()
    refused(lambda: Sequential([Dense(4, 4), twice, twice]), "layers[2]")
    Sequential([twice])
    x = np.ones((3, 4), np.float32)
    first.forward(x, training=True)
    assert first.backward(x, input_gradient=True).shape == x.shape


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0), (5, 3)])
def test_a_batch_that_is_not_finite_moves_no_population_statistics(place, value):
    each, x = network(), np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    wrong = x.copy()
    wrong[place] = value
    each.forward(x, training=True)
    before = frozen(dict(each.state))
    refused(lambda: each.forward(wrong, training=True), "x")
    assert frozen(dict(each.state)) == before
    for name in ("frozen", "inference", "demonstration"):
        each.forward(wrong, **MODES[name])
        assert frozen(dict(each.state)) == before
    each.forward(x, training=True)
    assert frozen(dict(each.state)) != before


@pytest.mark.parametrize(
    ("call", "advice"),
    [
        (lambda n, x: n.forward((x * 9).astype(np.uint8)), "x.astype(np.float32) / 255"),
        (lambda n, x: n.forward(x.astype(np.float64)), "x.astype(np.float32)"),
        (lambda n, x: n.forward(x[0]), "x[np.newaxis]"),
        (lambda n, x: n.forward(x.tolist()), "np.asarray(x, dtype=np.float32)"),
        (lambda n, x: n.forward(x[:1], training=True), "pass more rows"),
        (lambda n, x: n.accuracy(x, np.eye(3)[[0] * 6]), "labels.argmax(1)"),
        (lambda n, x: n.accuracy(x, [0] * 6), "np.asarray(labels)"),
        (lambda n, x: n.accuracy(x, np.zeros(6)), "labels.astype(np.int64)"),
        (lambda n, x: n.backward(x), "call forward again"),
        (lambda n, x: Sequential([n.layers[0]]), "copy.deepcopy(layer)"),
        (lambda n, x: Sequential([ReLU]), "write ReLU(...)"),
        (lambda n, x: Sequential(Dense(2, 3)), "a list of layers, got Dense(2, 3): pass [Dense("),
        (lambda n, x: Sequential(n), "layers: expected a list of layers, got a Sequential: pass ["),
        (
            lambda n, x: Sequential(Dense),
            "layers: expected a list of layers, got type <class 'npbn",
        ),
        (lambda n, x: Sequential(None), "layers: expected a list of layers, got None"),
        (lambda n, x: fit(n, (x, x), optimizer=SGD, steps=1), "write SGD(...)"),
        (lambda n, x: functional.relu_forward(np.ma.masked_less(x, 0)), "np.asarray(x)"),
    ],
)
def test_the_message_says_what_to_type(call, advice):
    x = np.random.default_rng(0).random((6, 4)).astype(np.float32)
    with pytest.raises((TypeError, ValueError, RuntimeError)) as caught:
        call(network(), x)
    assert advice in str(caught.value)


@pytest.mark.parametrize("value", [10**400, -(10**400), 10**5000], ids=["", "negative", "long"])
@pytest.mark.parametrize(
    ("call", "name"),
    [
        (SGD, "learning_rate"),
        (Dropout, "rate"),
        (lambda value: BatchNorm(3, epsilon=value), "epsilon"),
        (lambda value: SGD(lambda step: value).step(network()), "learning_rate"),
        (lambda value: gradient_check(ReLU(), np.ones((6, 4)), tolerance=value), "tolerance"),
    ],
    ids=["SGD", "Dropout", "epsilon", "schedule", "tolerance"],
)
def test_an_integer_that_no_float_can_hold_is_refused_by_name(call, name, value):
    with pytest.raises(ValueError, match=rf"^{name}.*: expected a finite number, got one that"):
        call(value)


def test_an_epsilon_that_the_type_would_make_0_is_refused():
    x, one = np.ones((4, 2), np.float32), np.ones(2, np.float32)
    message = r"^epsilon: expected 0, or at least 1.17549e-38 in float32, got 1e-50"
    with pytest.raises(ValueError, match=message):
        functional.batch_norm_forward(x, one, one, epsilon=1e-50)
    with pytest.raises(ValueError, match=message):
        BatchNorm(2, epsilon=1e-50)
    assert BatchNorm(2, epsilon=1e-50, dtype=np.float64).epsilon == 1e-50
    with pytest.raises(ValueError, match=message):
        BatchNorm(2, epsilon=1e-50, dtype=np.float64).astype(np.float32)
