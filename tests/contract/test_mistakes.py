"""The checks find and name every mistake of the table, and each of them is one."""

import contextlib
import itertools

import numpy as np
import pytest
from students import Student, functions_of, wrong_names

from npbn import Dense, Sequential, Tanh, check_derivation, gradient_check, reference
from npbn.testing import CASES
from npbn.testing.like import Like
from npbn.testing.mistake import in_any_gradient, mistakes_of, right
from npbn.testing.mistakes import MISTAKES

ALL = {f"{operation}: {each.key}": each for operation, own in MISTAKES.items() for each in own}
each_operation = pytest.mark.parametrize("operation", MISTAKES)
IN_LAYERS = {name: each for name, each in ALL.items() if not each.has_other_shape}
each_mistake = pytest.mark.parametrize("mistake", ALL.values(), ids=ALL)


def a_share(mistakes, takes_long):
    """Of the mistakes whose checks take longest one in six, and all with -m slow."""
    long = [name for name, each in mistakes.items() if takes_long(each)]
    later = {name for place, name in enumerate(long) if place % 6}
    return [
        pytest.param(each, id=name, marks=[pytest.mark.slow] if name in later else [])
        for name, each in mistakes.items()
    ]


def is_over_time(mistake):
    return is_recurrent(mistake.operation)


def is_recurrent(operation):
    return "recurrent_weight" in CASES[operation].parameters


def takes_long_to_explain(mistake):
    """Beside a wrong y derivatives are taken, and of a normalization an epsilon is looked for."""
    return is_over_time(mistake) or (mistake.is_forward and "norm" in mistake.operation)


def check(student):
    """The report, in which the student's x is called dx, whatever the operation calls it."""
    return gradient_check(student, student.x)


def found(student):
    names = wrong_names(check(student))
    return {f"d{student.first}" if name == "dx" else name for name in names}


def differences(mistake, inputs, dy, earlier=None):
    """The results that a mistake changes by more than a rounding error."""
    true = vars(right(mistake.operation, inputs, dy))
    wrong = mistake.wrong(inputs, dy, earlier)
    for name, value in wrong.items():
        assert (np.shape(value) != np.shape(true[name])) is mistake.has_other_shape, name
    if mistake.has_other_shape:
        return set(wrong)
    return {name for name in wrong if not np.allclose(true[name], wrong[name], rtol=1e-6)}


def draw(mistake, seed=0):
    """Inputs in which the mistake shows, an upstream gradient, and inputs of an earlier call."""
    case, rng = CASES[mistake.operation], np.random.default_rng(seed)
    shape = mistake.shape or case.shapes[0]
    inputs, earlier = (case.inputs(rng, shape, np.float64) for _ in range(2))
    y, _ = case.forward(reference, inputs)
    return inputs, rng.standard_normal(np.shape(y)), earlier


@each_operation
def test_the_right_derivation_passes(operation):
    report = check(Student(operation))
    assert report, report
    assert report.zeros == frozenset()


def test_the_right_derivation_passes_in_every_shape_that_mistakes_have():
    for mistake in {(each.operation, each.shape): each for each in ALL.values()}.values():
        student = Student(mistake.operation, mistake)
        student.mistake = None
        assert check(student), mistake


@pytest.mark.parametrize("mistake", a_share(IN_LAYERS, is_over_time))
def test_every_mistake_is_found(mistake):
    names = found(Student(mistake.operation, mistake))
    # A wrong y makes the right gradients wrong ones.
    assert names if mistake.is_forward else names == set(mistake.results)


def derivation_check(operation, mistake=None):
    """check_derivation of an operation's own functions; their epsilon is not given."""
    forward, backward, arrays, options = functions_of(operation, mistake)
    options = {name: value for name, value in options.items() if name != "epsilon"}
    return check_derivation(forward, backward, *arrays, like=CASES[operation].name, **options)


@each_operation
def test_a_derivation_in_steps_makes_what_the_equations_do(operation):
    case, rng = CASES[operation], np.random.default_rng(0)
    for shape in {each.shape for each in MISTAKES[operation] if each.shape} | {case.shapes[0]}:
        inputs = case.inputs(rng, shape, np.float64)
        dy = rng.standard_normal(np.shape(case.forward(reference, inputs)[0]))
        true, in_steps = (right(operation, inputs, dy) for _ in range(2))
        for add in {each.add_pieces for each in MISTAKES[operation]} - {None}:
            add(in_steps)
        in_steps = in_steps.changed()
        for name in ("loss" if case.is_loss else "y", *case.gradients):
            np.testing.assert_allclose(
                getattr(in_steps, name), getattr(true, name), rtol=1e-9, atol=1e-12
            )


@each_operation
def test_check_derivation_passes_the_right_derivation(operation):
    report = derivation_check(operation)
    assert report, report
    case = CASES[operation]
    assert list(report.errors) == ["loss" if case.is_loss else "y", *case.gradients]


def with_the_same_numbers(operation, keys, mistake, name):
    """The mistakes of such keys that make of a result what a mistake makes of it."""
    inputs, dy, earlier = draw(mistake)
    made = mistake.wrong(inputs, dy, earlier)[name]
    cases = (key for key in MISTAKES if CASES[key].name == CASES[operation].name)
    for other in (each for key in cases for each in MISTAKES[key] if each.key in keys):
        with contextlib.suppress(Exception):
            if np.allclose(other.wrong(inputs, dy, earlier)[name], made, equal_nan=True):
                yield other


@pytest.mark.parametrize("mistake", a_share(ALL, takes_long_to_explain))
def test_check_derivation_names_every_mistake(mistake):
    report = derivation_check(mistake.operation, mistake)
    assert not report
    for name in mistake.results:
        keys = report.mistakes[name]
        assert len(keys) == 1, report
        if keys != (mistake.key,):
            assert any(with_the_same_numbers(mistake.operation, keys, mistake, name)), report
    # A wrong y makes the right gradients wrong ones.
    if not mistake.is_forward:
        assert set(report.mistakes) == set(mistake.results)


@each_mistake
def test_every_mistake_changes_what_it_says(mistake):
    for seed in range(2):
        assert differences(mistake, *draw(mistake, seed)) == set(mistake.results)


@each_mistake
def test_every_mistake_says_what_it_is(mistake):
    sentence = str(mistake)
    assert sentence.startswith(", ".join(mistake.results) + ": ")
    assert sentence.endswith(".")
    assert not mistake.sentence.endswith(".")
    assert len(mistake.sentence.split()) > 1


@each_operation
def test_every_operation_with_a_gradient_has_mistakes_of_its_own(operation):
    keys = [each.key for each in MISTAKES[operation]]
    assert len(set(keys)) == len(keys)
    assert len(keys) > len(list(in_any_gradient(operation))), f"none in the mistakes of {operation}"


@pytest.mark.parametrize(
    "mistake",
    a_share(
        {
            each.key: each
            for each in IN_LAYERS.values()
            if each.operation == "batch_norm" and each.shape is None
        },
        lambda mistake: True,
    ),
)
def test_in_a_network_it_is_found_where_it_is(mistake):
    student = Student("batch_norm", mistake)
    layers = [Dense(4, 4, rng=0, dtype=np.float64), student, Tanh()]
    layers += [Dense(4, 2, rng=1, dtype=np.float64)]
    names = wrong_names(gradient_check(Sequential(layers), student.x))
    if "dx" in mistake.results:
        assert {"dx", "d0.weight"} <= names <= {"dx", "d0.weight", "d0.bias"}
    elif mistake.is_forward:
        assert names
    else:
        assert names == {name.replace("d", "d1.", 1) for name in mistake.results}


@pytest.mark.parametrize(
    ("operation", "value"),
    [
        pytest.param(
            operation,
            value,
            id=f"{word}-{operation}",
            marks=[pytest.mark.slow] if word == "NaN" and is_recurrent(operation) else [],
        )
        for operation in MISTAKES
        for word, value in {"slightly wrong": 1 + 2e-7, "NaN": np.nan}.items()
    ],
)
def test_one_wrong_entry_is_found(operation, value):
    for name in CASES[operation].gradients:

        def spoil(p, name=name):
            gradient = np.array(getattr(p, name))
            gradient.flat[abs(gradient).argmax()] *= value
            return gradient

        mistake = mistakes_of(operation)("one entry", "is wrong in one entry", **{name: spoil})
        assert found(Student(operation, mistake)) == {name}


def test_a_mistake_that_is_none_would_be_seen():
    # What dmean has besides: dvariance times the sum of -2 (x - mean) / m, which is 0.
    def harmless(p):
        return p.dx + (p.x - p.x.mean(0)).sum(0)

    mistake = mistakes_of("batch_norm")("none", "is right", dx=harmless)
    assert differences(mistake, *draw(mistake)) == set()
    assert check(Student("batch_norm", mistake))


# Why the check's dy is random, and why it moves gamma


def hidden_by(change):
    """The mistakes of batch normalization that nobody sees with inputs and dy so changed."""
    return {
        mistake.key
        for mistake in MISTAKES["batch_norm"]
        if not mistake.is_forward and not differences(mistake, *change(*draw(mistake)))
    }


def test_an_upstream_gradient_of_ones_hides_many_mistakes():
    def ones(inputs, dy, earlier):
        return inputs, np.ones_like(dy), earlier

    # dx and dgamma are sums of x_hat, and 0.
    assert hidden_by(ones) >= {
        "dx is 0",
        "dx's sign",
        "no gamma",
        "no std",
        "no variance term",
        "variance term's sign",
        "root without 1/2",
        "m - 1 in the variance",
        "dgamma is 0",
        "dgamma's sign",
    }


def test_a_gamma_of_ones_hides_a_forgotten_gamma_and_so_it_is_moved():
    def ones(inputs, dy, earlier):
        return inputs | {"gamma": np.ones_like(inputs["gamma"])}, dy, earlier

    assert hidden_by(ones) == {key for key in hidden_by(ones) if "gamma" in key or "dy for" in key}
    assert "no gamma" in hidden_by(ones)
    mistake = ALL["batch_norm: no gamma"]
    student = Student("batch_norm", mistake, gamma=np.ones(4))
    assert found(student) == {"dx"}
    assert (student.parameters["gamma"] == 1).all()


@pytest.mark.parametrize(
    "part", [0, *(pytest.param(n, marks=pytest.mark.slow) for n in range(1, 6))]
)
def test_two_mistakes_of_batch_norm_at_once_are_explained(part):
    """By themselves, or by others that make the same numbers; but for a few of two wrong axes."""
    operation = Like("batch_norm", 3, {})
    own = [
        each
        for each in MISTAKES["batch_norm"]
        if each.results == ("dx",) and each.shape is None and not each.of_an_earlier_batch
    ]
    rng = np.random.default_rng(0)
    pairs = rng.permutation(list(itertools.combinations(range(len(own)), 2)))
    given = list(CASES["batch_norm"].inputs(rng, (12, 5), np.float64).values())[:3]
    unknown = 0
    for pair in pairs[10 * part : 10 * part + 10]:
        changes = [own[each].changes for each in pair]

        def forward(*arrays):
            y, cache = reference.batch_norm_forward(*arrays)
            names = ("x", "gamma", "beta")
            return y, (dict(zip(names, map(np.copy, arrays), strict=True)), cache)

        def backward(dy, cache, changes=changes):
            arrays, of_reference = cache
            _, dgamma, dbeta = reference.batch_norm_backward(dy, of_reference)
            return operation.pieces(arrays, dy, arrays).changed(*changes).dx, dgamma, dbeta

        report = check_derivation(forward, backward, *given, like="batch_norm")
        if report.errors["dx"] <= report.tolerances["dx"]:
            continue  # one takes back what the other does
        keys = report.mistakes["dx"]
        unknown += not keys
        pieces = operation.pieces(
            dict(zip(operation.names, given, strict=True)),
            report.dy,
            dict(zip(operation.names, given, strict=True)),
        )
        by_key = {each.key: each for each in own}
        if keys and set(keys) <= set(by_key):
            made = [
                pieces.changed(*(by_key[key].changes for key in order)).dx
                for order in itertools.permutations(keys)
            ]
            assert any(np.allclose(each, report.given["dx"]) for each in made), report
    assert unknown <= 1
