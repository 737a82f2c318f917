"""Bad calls, thousands of them: each refused with a message that helps, and nothing has changed.

Of every operation, layer, network, optimizer and training run each argument is replaced by all that
it may not be.
"""

import inspect
import re
from functools import partial

import numpy as np
import pytest
from operations import PAIRS, arrays_in, each_pair, first, make, over, takes, upstream
from shared import MODES, frozen
from subjects import SUBJECTS, Subject

from npbn import SGD, Adam, RMSProp, Sequential, fit, functional, gradient_check, training_steps
from npbn.layers import BatchNorm, Dense, Dropout, ReLU, Tanh
from npbn.testing import CASES

MEANT = "expected|holds|belongs to|not finite"

# What is no float array of the right type -> how it is made of the right one, and the message.
OTHER_TYPES = {
    "integers": (lambda a: np.ones(a.shape, int), r"int64: pass {name}\.astype"),
    "bools": (lambda a: a > 0, r"bool: pass {name}\.astype"),
    "bytes": (lambda a: np.zeros(a.shape, np.uint8), r"{name}\.astype\(np.float32\) / 255"),
    "half": (lambda a: a.astype(np.float16), r"float16: pass {name}\.astype"),
    "long": (lambda a: a.astype(np.longdouble), "expected float32 or float64"),
    "complex": (lambda a: a.astype(complex), "expected float32 or float64"),
    "objects": (lambda a: a.astype(object), "expected float32 or float64"),
    "strings": (lambda a: a.astype(str), "expected float32 or float64"),
    "other byte order": (lambda a: a.astype(a.dtype.newbyteorder()), "expected float32"),
    "the other float type": (
        lambda a: a.astype(np.float64 if a.dtype == np.float32 else np.float32),
        "expected float|holds float",
    ),
    "a list": (lambda a: a.tolist(), r"pass np.asarray\({name}"),
    "a tuple": (lambda a: tuple(a.tolist()), "a float32 or float64 array, got (a )?tuple"),
    "a number": (lambda a: 0.5, "got float 0.5"),
    "a NumPy number": (lambda a: a.dtype.type(0.5), "a float32 or float64 array, got float"),
    "a string": (lambda a: "x", "got str 'x'"),
    "a function": (lambda a: np.ones, "got (a )?function"),
    "a type": (lambda a: np.float32, "got a type|got type"),
    "nothing": (lambda a: None, "None"),
    "a masked array": (lambda a: np.ma.masked_less(a, 0), "a plain array, got a MaskedArray"),
    "a matrix": (lambda a: a.reshape(-1, a.shape[-1]).view(np.matrix), "got a matrix"),
}
# What has not its shape; of some of these an argument may still be a right one.
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
NO_FLAGS = [0, 1, None, "no"]
NO_COUNT = [0, -1, 1.5, None, True, "2"]
NO_FLAG = [0, 1, None, "yes", np.ones(2, bool)]
NO_PADDING = [-1, 1.5, None, True, "full", [1], [1, 2, 3], [[1, 2, 3], 1], [["1", 0], 0], [-1, 0]]
NO_GENERATORS = [-1, 1.5, "0", True, np.random.default_rng, [1, 2], np.array([3])]


def wrong_arrays(name, right, still_right=lambda shape: False, lonely=False):
    """Pairs of what is not like the right array, and its message.

    still_right: whether a shape will do. lonely: no other argument has a type, so the other float
    type will do as well.
    """
    for kind, (make_wrong, message) in OTHER_TYPES.items():
        if (kind == "the other float type" and lonely) or (kind == "a matrix" and right.ndim < 2):
            continue
        yield make_wrong(right), message.format(name=name)
    for make_wrong in OTHER_SHAPES.values():
        wrong = make_wrong(right)
        if wrong.shape != right.shape and not still_right(wrong.shape):
            yield wrong, "expected"


def wrong_outs(right, kept=()):
    """Pairs of what right cannot be written to, and its message; kept: arrays still needed."""
    read_only = right.copy()
    read_only.flags.writeable = False
    yield read_only, "read-only"
    for wrong, _ in wrong_arrays("out", right):
        if wrong is not None:
            yield wrong, f"expected a (plain array|{right.dtype} array of shape)"
    for array in kept:
        if array.dtype == right.dtype and array.ndim:
            yield over(array, right.shape), "overlaps|read-only"


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


def refused(call, names, message="expected", kinds=(TypeError, ValueError)):
    """call raises an error that names one of names, and says what was meant."""
    try:
        result = call()
    except kinds as error:
        text = str(error)
    else:
        raise AssertionError(f"not refused, but {result!r:.200}")
    assert re.search(message, text), text
    assert any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for name in names), text


def held_to(calls, *unchanged):
    """Each of the calls (call, names, message) is refused, and changes nothing."""
    before = frozen(*unchanged)
    for call in calls:
        refused(*call)
        assert frozen(*unchanged) == before


# Operations


def wrong_inputs(case, inputs):
    """Triples: an argument's name, what it may not be, the message."""
    x = first(inputs)
    floats = [each for each in arrays_in(inputs) if each.dtype.kind == "f"]
    defaults = inspect.signature(case.function(functional)).parameters
    for key, right in inputs.items():
        if isinstance(right, np.ndarray) and right.dtype.kind in "iu":
            yield from ((key, each, "expected") for each in no_labels(right, inputs[x].shape[-1]))
        elif isinstance(right, np.ndarray):
            free = case.free_axes.get(key, 0)
            still_right = (
                (lambda shape: takes(case, inputs, shape))
                if key == x
                else lambda shape, free=free, right=right: (
                    len(shape) == right.ndim
                    and 0 not in shape
                    and shape[free:] == right.shape[free:]
                )
            )
            for wrong, message in wrong_arrays(key, right, still_right, len(floats) == 1):
                if not (wrong is None and defaults[key].default is None):
                    yield key, wrong, message
        elif key == "ignored_label":
            yield from ((key, each, "expected") for each in (1.5, True, "2", [1]))
        elif isinstance(right, bool):
            yield from ((key, each, "expected True or False") for each in NO_FLAGS)
        elif key == "rng":
            yield from ((key, each, "expected") for each in NO_GENERATORS)
        elif type(right) is float:
            yield from ((key, each, "a number") for each in NO_NUMBERS)
            bad = NO_POSITIVE + (NO_SHARE if key in case.shares else [])
            yield from ((key, each, "a finite number at least 0") for each in bad)
        elif isinstance(right, bool):
            yield from ((key, each, "expected True or False") for each in NO_FLAG)
        else:
            wrong = NO_PADDING if key == "padding" else NO_COUNT
            wrong = [*wrong, [], [1, 2, 3]] if isinstance(right, list) else wrong
            none = defaults[key].default is None
            yield from ((key, each, "expected") for each in wrong if each is not None or not none)
    if "variance" in inputs:
        yield "variance", -inputs["variance"], "expected at least 0"


def small_inputs(case, dtype):
    return [make(case, shape, dtype) for shape in case.shapes if np.prod(shape) <= 128]


def test_an_operation_refuses_wrong_arguments(case, dtype):
    for inputs in small_inputs(case, dtype):
        y, cache = case.forward(functional, inputs)
        calls = [
            (partial(case.forward, functional, inputs | {key: wrong}), inputs, message)
            for key, wrong, message in wrong_inputs(case, inputs)
        ]
        if case.has_backward:
            kept = list(arrays_in(inputs))[1:]
            calls += [
                (partial(case.forward, functional, inputs, out=out), ["out"], message)
                for out, message in wrong_outs(y, kept)
            ]
        held_to(calls, y, cache, inputs)
        assert frozen(case.forward(functional, inputs)) == frozen((y, cache))


@each_pair
def test_a_backward_pass_refuses_wrong_arguments(case, dtype):
    for inputs in small_inputs(case, dtype):
        y, cache = case.forward(functional, inputs)
        dy = upstream(y)
        good = case.backward(functional, dy, cache, inputs)

        taken = inspect.signature(getattr(functional, f"{case.name}_backward")).parameters
        given = {name: value for name, value in inputs.items() if name in taken}
        call = partial(partial, case.backward, functional)
        calls = [
            (call(wrong, cache, inputs), ["dy"], message)
            for wrong, message in wrong_arrays("dy", dy)
        ]
        kept = list(arrays_in((dy, cache, given)))
        calls += [
            (call(dy, cache, inputs, out=out), ["out"], message)
            for out, message in wrong_outs(good[0], kept)
        ]
        if cache is None:
            calls += [
                (call(dy, None, inputs | {key: wrong}), [*inputs, "dy"], message)
                for key, wrong, message in wrong_inputs(case, inputs)
                if key in given and (key != first(inputs) or np.shape(wrong) == inputs[key].shape)
            ]
        else:
            others = [each.forward(functional, make(each, None, dtype))[1] for each in PAIRS]
            others = [each for each in others if type(each) is not type(cache) and each is not None]
            others += [1, "x", (1, 2), {}, [], object(), (y,)]
            calls += [(call(dy, each, {}), ["cache", "dy"], "expected") for each in others]
        held_to(calls, good, dy, cache, inputs)
        assert frozen(case.backward(functional, dy, cache, inputs)) == frozen(good)


# Layers and networks


def network(dtype=np.float32):
    rng = np.random.default_rng(0)
    layers = [Dense(4, 5, use_bias=False, rng=rng, dtype=dtype), BatchNorm(5, dtype=dtype)]
    layers += [ReLU(), Dropout(0.3, rng=1), Dense(5, 3, rng=rng, dtype=dtype)]
    return Sequential([Sequential(layers), Tanh()])


# A network is held to the same, for batches like those of Dense.
NETWORK = Subject("network", CASES["dense"], lambda rng, shape, dtype: network(dtype))
HELD = {**SUBJECTS, "network": NETWORK}
BAD_MODES = [
    ({"training": 1}, "^training: expected True or False, got int 1"),
    ({"training": None}, "^training: expected True or False"),
    ({"training": "yes"}, "^training: expected True or False"),
    ({"training": np.array([True])}, "^training: expected True or False"),
    ({"statistics": "moving"}, "^statistics: expected 'batch' or 'population'"),
    ({"statistics": True}, "^statistics: expected 'batch' or 'population'"),
    ({"training": True, "statistics": ["batch"]}, "^statistics: expected 'batch' or 'population'"),
]


def wrong_batches(subject, layer, x, mode):
    """Pairs of what the layer does not take as x in a mode, and its message."""
    two_values = layer.state and mode == MODES["training"]

    def still_right(shape):
        # The network's arrays do not follow the shape.
        features = subject is not NETWORK or shape[-1:] == subject.shape[-1:]
        one_value = all(size == 1 for size in shape[:-1])
        return subject.takes(shape) and features and not (two_values and one_value)

    return wrong_arrays("x", x, still_right, layer.dtype is None)


def bad_calls_of(subject, layer, x, dy, mode):
    """Triples: a call, the names one of which its message has, the message."""
    names = ("x", repr(layer), "layer")
    forward, backward = partial(partial, layer.forward), partial(partial, layer.backward, dy)
    for wrong, message in wrong_batches(subject, layer, x, mode):
        yield forward(wrong, **mode), names, message
    for options, message in BAD_MODES:
        yield forward(x, **options), ["training", "statistics"], message
    for out, message in wrong_outs(dy, [x] if x.shape == dy.shape else []):
        yield forward(x, **mode, out=out), ["out"], message
    for wrong, message in wrong_arrays("dy", dy):
        yield partial(layer.backward, wrong), ["dy"], message
    for out, message in wrong_outs(x, [dy]):
        yield backward(input_gradient=True, out=out), ["out"], message
    for flag in NO_FLAGS:
        yield backward(input_gradient=flag), ["input_gradient"], "expected True or False"
    message = "nothing to write: pass input_gradient=True"
    yield backward(input_gradient=False, out=np.empty_like(x)), ["out"], message


def bad_calls_of_the_network(layer, x):
    names = ("x", "layer", "network", "images", "labels", "targets")
    for name in (
        "predict",
        "predict_probabilities",
        "recompute_population",
        "accuracy",
        "evaluate",
    ):
        more = [np.zeros(len(x), int)] if name in ("accuracy", "evaluate") else []
        for wrong, _ in wrong_batches(NETWORK, layer, x, {}):
            yield partial(getattr(layer, name), wrong, *more), names, MEANT
    for labels in no_labels(np.zeros(len(x), int), 3):
        yield partial(layer.accuracy, x, labels), names, MEANT
        yield partial(layer.evaluate, x, labels), names, MEANT


@pytest.mark.parametrize("subject", HELD.values(), ids=HELD)
def test_a_layer_refuses_bad_calls_and_its_pending_pass_stays(subject, mode, dtype):
    layer, twin, x = subject.filled(dtype), subject.filled(dtype), subject.batch(dtype)
    y, same = layer.forward(x, **mode), twin.forward(x, **mode)
    dy = upstream(y)
    calls = list(bad_calls_of(subject, layer, x, dy, mode))
    if subject is NETWORK:
        calls += bad_calls_of_the_network(layer, x)
    held_to(calls, layer, x, y, dy)
    dx = layer.backward(dy, input_gradient=True)
    assert frozen(dx, layer) == frozen(twin.backward(dy, input_gradient=True), twin)
    with pytest.raises(RuntimeError, match="forward"):
        layer.backward(dy)
    layer.forward(x + 1, **mode)
    layer.backward(-dy)
    assert frozen(y) == frozen(same)
    assert frozen(dx) == frozen(step_of(subject, dtype, x, dy, mode))


def step_of(subject, dtype, x, dy, mode):
    layer = subject.filled(dtype)
    layer.forward(x, **mode)
    return layer.backward(dy, input_gradient=True)


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


@pytest.mark.parametrize("make_optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_an_optimizer_refuses_bad_calls(make_optimizer, dtype):
    for setting, (values, name) in SETTINGS.items():
        for value in values:
            refused(lambda s=setting, v=value: make_optimizer(**{s: v}), [name])
    optimizer, twin = make_optimizer(weight_decay=0.1), make_optimizer(weight_decay=0.1)
    rng = np.random.default_rng(0)
    parameters, gradients, decay = (rng.normal(size=20).astype(dtype) for _ in range(3))
    own = parameters.copy()
    for each, target in ((optimizer, parameters), (twin, own)):
        each.update(target, gradients)
    names = ("parameters", "gradients", "decay", repr(optimizer))
    update = partial(partial, optimizer.update)
    bad = [update(each, gradients) for each, _ in wrong_arrays("parameters", parameters)]
    bad += [update(parameters, each) for each, _ in wrong_arrays("gradients", gradients)]
    bad += [
        update(parameters, gradients, decay=each)
        for each, _ in wrong_arrays("decay", decay)
        # No decay, or True where weights decay, will do as well.
        if each is not None and np.asarray(each).dtype.kind != "b"
    ]
    calls = [(call, names, "expected") for call in bad]
    held_to(calls, parameters, gradients, decay, optimizer)
    optimizer.update(parameters, gradients)
    twin.update(own, gradients)
    assert frozen(parameters) == frozen(own)


def bad_runs(images, labels):
    """Arguments of fit -> values that it refuses."""
    pair = (images, labels)
    not_finite = images.copy()
    not_finite[3, 1] = np.nan
    data = [None, images, [images, labels], (images,), (labels, images), (images, labels, labels)]
    data += [(images, each) for each in no_labels(labels, 3)]
    data += [(kind(images), labels) for kind, _ in OTHER_TYPES.values()]
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
        "sample_training": ([0, -1, 0.5, "9", True], ("sample_training",)),
        "epochs": ([0, 1, -1, "9"], ("steps", "epochs")),
        "seed": ([-1, 0.5, "9", True], ("seed", "rng")),
        "loss": ([None, "mse", 3, Tanh, [functional.squared_error]], ("loss",)),
        "callback": ([3, "stop", [print], True], ("callback",)),
        "progress": ([0, None, "no"], ("progress",)),
        "on_divergence": (["ignore", None, True], ("on_divergence",)),
        "checkpoint_every": ([0, -1, 0.5, None, True], ("checkpoint_every",)),
        "resume": ([1, None, "yes", True], ("resume",)),
    }, pair


def test_training_refuses_bad_arguments():
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(12, 4)).astype(np.float32), np.arange(12) % 3
    table, pair = bad_runs(images, labels)
    given = {"network": network(), "train": pair, "validation": pair, "optimizer": Adam(0.1)}
    given |= {"steps": 2, "batch_size": 4, "progress": False}

    def steps(network, train, validation, progress, **options):
        return training_steps(network, train, **options)

    for key, (values, names) in table.items():
        calls = [(partial(fit, **given | {key: value}), names) for value in values]
        if key in ("network", "optimizer", "steps", "epochs", "batch_size", "loss"):
            calls += [(partial(steps, **given | {key: value}), names) for value in values]
        held_to([(*call, MEANT) for call in calls], given["network"], given["optimizer"], pair)


# One by one

USED = "used twice|belongs to"


def test_a_layer_used_twice_or_in_two_networks_leaves_all_as_they_were():
    dense, relu = Dense(4, 4, rng=0), ReLU()
    first = Sequential([dense, relu])
    before = frozen(first)
    for layers in ([dense], [ReLU(), relu], [ReLU(), dense, ReLU()]):
        refused(lambda layers=layers: Sequential(layers), ["layers[0]", "layers[1]"], USED)
        assert frozen(first) == before
        # What is not in use can still be used.
        assert layers[0] is dense or Sequential(layers[:1])
    twice = ReLU()
    refused(lambda: Sequential([Dense(4, 4), twice, twice]), ["layers[2]"], USED)
    Sequential([twice])
    x = np.ones((3, 4), np.float32)
    first.forward(x, training=True)
    assert first.backward(x, input_gradient=True).shape == x.shape


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
