"""SGD, RMSProp, Adam: equal to the textbook's lines and to PyTorch, and what they promise."""

import copy
import inspect
import pickle
import tracemalloc
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from shared import frozen

from npbn import Dense, Sequential, fit, training_steps
from npbn.optimizers import SGD, Adam, Optimizer, RMSProp, piecewise

SIZE = 50
STEPS = 20


def schedule(step):
    return 0.1 / (1 + step)


CASES = {
    "SGD": (SGD, {}),
    "momentum": (SGD, {"momentum": 0.9}),
    "nesterov": (SGD, {"momentum": 0.8, "nesterov": True}),
    "RMSProp": (RMSProp, {}),
    "RMSProp with options": (RMSProp, {"rho": 0.5, "epsilon": 1e-3}),
    "Adam": (Adam, {}),
    "Adam with options": (Adam, {"beta_1": 0.5, "beta_2": 0.8, "epsilon": 1e-3}),
}
SHARED = {
    "plain": {},
    "weight decay": {"weight_decay": 0.3},
    "limited": {"max_norm": 5.0},
    "both": {"weight_decay": 0.3, "max_norm": 5.0},
}
each_case = pytest.mark.parametrize("case", CASES)
each_shared = pytest.mark.parametrize("shared", SHARED)


def make(case, learning_rate=0.1, **shared):
    kind, options = CASES[case]
    return kind(learning_rate, **options, **shared)


def start(dtype=np.float64, size=SIZE):
    return np.random.default_rng(1).standard_normal(size).astype(dtype)


def gradients_at(step, dtype=np.float64, size=SIZE):
    return np.random.default_rng([2, step]).standard_normal(size).astype(dtype)


# One array for all gradients of a type, as a network has it.
GRADIENTS = {dtype: np.empty(SIZE, dtype) for dtype in (np.float32, np.float64)}


def run(optimizer, steps=STEPS, dtype=np.float64, first=0, parameters=None, **options):
    parameters = start(dtype) if parameters is None else parameters
    for step in range(first, first + steps):
        gradients = GRADIENTS[dtype]
        gradients.flags.writeable = True
        gradients[:] = gradients_at(step, dtype)
        gradients.flags.writeable = False  # nobody but this function writes to it
        optimizer.update(parameters, gradients, **options)
    return parameters


def textbook(case, learning_rate=0.1, decay=1.0, weight_decay=0.0, max_norm=np.inf):
    """The equations, with nothing saved."""
    kind, options = CASES[case]
    o = SimpleNamespace(
        **{"momentum": 0, "nesterov": False, "rho": 0.9, "beta_1": 0.9, "beta_2": 0.999}
        | {"epsilon": 1e-7 if kind is RMSProp else 1e-8}
        | options
    )
    p, velocity, mean, mean_square = start(), 0.0, 0.0, 0.0
    for t in range(STEPS):
        g = gradients_at(t)
        g = g * min(1, max_norm / np.linalg.norm(g)) + weight_decay * decay * p
        if kind is SGD:
            velocity = o.momentum * velocity + g
            direction = g + o.momentum * velocity if o.nesterov else velocity
        elif kind is RMSProp:
            mean_square = o.rho * mean_square + (1 - o.rho) * g**2
            direction = g / (np.sqrt(mean_square) + o.epsilon)
        else:
            mean = o.beta_1 * mean + (1 - o.beta_1) * g
            mean_square = o.beta_2 * mean_square + (1 - o.beta_2) * g**2
            corrected = mean_square / (1 - o.beta_2 ** (t + 1))
            direction = mean / (1 - o.beta_1 ** (t + 1)) / (np.sqrt(corrected) + o.epsilon)
        rate = learning_rate(t) if callable(learning_rate) else learning_rate
        p = p - rate * direction
    return p


@each_case
@each_shared
@pytest.mark.parametrize("learning_rate", [0.1, schedule], ids=["number", "function"])
def test_agrees_with_the_textbook(case, shared, learning_rate):
    parameters = run(make(case, learning_rate, **SHARED[shared]))
    expected = textbook(case, learning_rate, **SHARED[shared])
    np.testing.assert_allclose(parameters, expected, rtol=0, atol=1e-12)
    assert not np.allclose(expected, start(), atol=0.01)


def test_the_textbook_tells_the_cases_apart():
    results = [textbook(case, **SHARED[shared]) for case in CASES for shared in SHARED]
    for i, one in enumerate(results):
        assert all(np.abs(one - other).max() > 1e-5 for other in results[:i])


@each_case
@each_shared
@pytest.mark.parametrize("learning_rate", [0.1, schedule], ids=["number", "function"])
def test_agrees_with_pytorch(case, shared, learning_rate):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")
    kind, options = CASES[case]
    names = {"rho": "alpha", "epsilon": "eps", "momentum": "momentum", "nesterov": "nesterov"}
    theirs = {names[name]: value for name, value in options.items() if name in names}
    if kind is RMSProp:
        theirs = {"alpha": 0.9, "eps": 1e-7} | theirs
    elif kind is Adam:
        theirs["betas"] = options.get("beta_1", 0.9), options.get("beta_2", 0.999)
    theirs["weight_decay"] = SHARED[shared].get("weight_decay", 0)

    weight = torch.nn.Parameter(torch.from_numpy(start()))
    torch_kind = {SGD: torch.optim.SGD, RMSProp: torch.optim.RMSprop, Adam: torch.optim.Adam}[kind]
    oracle = torch_kind([weight], lr=1.0, **theirs)
    # PyTorch's clipping divides by norm + 1e-6; gradients this large make that nothing.
    large, max_norm = 1e7, SHARED[shared].get("max_norm")
    scale = large if max_norm else 1.0
    optimizer = make(case, learning_rate, **SHARED[shared] | {"max_norm": max_norm and large})
    parameters = start()
    for step in range(STEPS):
        gradients = gradients_at(step) * scale
        weight.grad = torch.from_numpy(gradients.copy())
        if max_norm:
            torch.nn.utils.clip_grad_norm_([weight], large)
        oracle.param_groups[0]["lr"] = schedule(step) if callable(learning_rate) else learning_rate
        oracle.step()
        optimizer.update(parameters, gradients)
    expected = weight.detach().numpy()
    np.testing.assert_allclose(parameters, expected, rtol=1e-10, atol=1e-10)


@each_case
def test_decay_says_where_weights_decay(case):
    decay = (np.arange(SIZE) % 3 == 0).astype(float)
    expected = textbook(case, decay=decay, weight_decay=0.3)
    decay.flags.writeable = False
    for form in (decay, decay.astype(bool)):
        parameters = run(make(case, weight_decay=0.3), decay=form)
        np.testing.assert_allclose(parameters, expected, rtol=0, atol=1e-12)


@each_case
def test_step_decays_weights_alone(case):
    decay = np.zeros(SIZE)
    decay[:20] = decay[30:35] = 1
    slices = {
        "0.weight": slice(0, 20),
        "0.weight_norm": slice(20, 25),
        "weight.bias": slice(25, 30),
    }
    slices |= {"1.sub.weight": slice(30, 35), "1.gamma": slice(35, 40), "2.myweight": slice(40, 45)}
    network = SimpleNamespace(parameter_vector=start(), gradient_vector=None, slices=slices)
    optimizer = make(case, weight_decay=0.3)
    for step in range(STEPS):
        network.gradient_vector = gradients_at(step)
        optimizer.step(network)
    np.testing.assert_array_equal(
        network.parameter_vector, run(make(case, weight_decay=0.3), decay=decay)
    )


def test_step_follows_another_network_of_the_same_length():
    optimizer, gradients = SGD(1.0, weight_decay=0.5), np.zeros(2)
    first, second = np.full(2, 4.0), np.full(2, 4.0)
    for values, place, expected in ((first, 0, [2, 4]), (first, 1, [2, 2]), (second, 1, [4, 2])):
        slices = {"0.weight": slice(place, place + 1)}
        optimizer.step(
            SimpleNamespace(parameter_vector=values, gradient_vector=gradients, slices=slices)
        )
        np.testing.assert_array_equal(values, expected)


def test_step_without_weight_decay_needs_no_slices():
    network = SimpleNamespace(parameter_vector=np.ones(2), gradient_vector=np.ones(2))
    SGD(0.25).step(network)
    np.testing.assert_array_equal(network.parameter_vector, [0.75, 0.75])


@each_case
def test_a_vector_of_equal_rates_is_that_rate(case):
    one, vector = run(make(case, 0.1)), run(make(case, np.full(SIZE, 0.1)))
    np.testing.assert_allclose(vector, one, rtol=0, atol=1e-13)


@each_case
def test_a_rate_of_0_keeps_a_parameter_whatever_its_gradient(case):
    rates = np.where(np.arange(SIZE) % 2, 0.1, 0)
    parameters = run(make(case, rates, weight_decay=0.1), steps=3)
    gradients = np.full(SIZE, np.inf)
    optimizer = make(case, rates)
    optimizer.update(parameters, gradients)
    np.testing.assert_array_equal(parameters[::2], start()[::2])
    assert (parameters[1::2] != start()[1::2]).all()


@each_case
def test_a_learning_rate_of_0_changes_nothing(case):
    np.testing.assert_array_equal(run(make(case, 0)), start())


def test_a_vector_of_rates_is_the_optimizers_own():
    rates = np.ones(SIZE, np.float32)
    optimizer = SGD(rates)
    rates[:] = 0
    expected = run(SGD(1.0), dtype=np.float32)
    np.testing.assert_array_equal(run(optimizer, dtype=np.float32), expected)
    with pytest.raises(ValueError, match="read-only"):
        optimizer.learning_rate[0] = 2


@each_case
def test_the_type_of_a_vector_of_rates_leaves_no_trace_in_the_bits(case):
    rates = np.linspace(0.01, 0.2, SIZE)
    results = [
        run(make(case, each), dtype=np.float32) for each in (rates, rates.astype(np.float32))
    ]
    np.testing.assert_array_equal(*results)


def test_rates_beyond_the_range_of_the_parameters_type_give_no_warning():
    parameters, optimizer = np.ones(2, np.float32), SGD(np.array([1e-300, 1e300]))
    with warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("error")
        optimizer.update(parameters, np.ones(2, np.float32))
    np.testing.assert_array_equal(parameters, [1, -np.inf])


def test_decay_and_limit_are_computed_in_the_type_of_the_parameters():
    parameters, gradients = start(np.float32), gradients_at(0, np.float32)
    expected = parameters - 0.1 * (gradients + 0.3 * parameters)
    SGD(0.1, weight_decay=0.3).update(parameters, gradients)
    assert expected.dtype == np.float32
    np.testing.assert_array_equal(parameters, expected)


def test_a_schedule_gets_python_ints_from_0():
    seen = []
    optimizer = SGD(lambda step: seen.append(step) or 0.1)
    run(optimizer, 3)
    assert seen == [0, 1, 2]
    assert all(type(step) is int for step in seen)
    assert optimizer.iterations == 3


@each_case
@each_shared
@pytest.mark.parametrize(
    "rate", [0.1, np.float64(0.1), lambda step: np.float64(0.1), np.full(50, 0.1)]
)
def test_float32_stays_float32(case, shared, rate):
    options = {name: np.float64(value) for name, value in SHARED[shared].items()}
    optimizer = make(case, rate, **options)
    parameters = run(optimizer, dtype=np.float32)
    assert parameters.dtype == np.float32
    assert all(vector.dtype == np.float32 for vector in optimizer.state.values())
    expected = textbook(case, **SHARED[shared])
    np.testing.assert_allclose(parameters, expected, rtol=0, atol=1e-5)
    # In float32 all along: the number's own type leaves no trace in the bits.
    if not isinstance(rate, np.ndarray):
        same = run(make(case, 0.1, **SHARED[shared]), dtype=np.float32)
        np.testing.assert_array_equal(parameters, same)


@each_case
@pytest.mark.parametrize("shared", ["plain", "both"])
@pytest.mark.parametrize("size", [1.0, 1e-200], ids=["usual", "tiny"])
@pytest.mark.parametrize(
    "rate", [0.1, schedule, np.full(100_000, 0.1)], ids=["number", "f", "vector"]
)
def test_only_the_first_update_allocates(case, shared, size, rate):
    parameters, gradients = start(size=100_000), gradients_at(0, size=100_000) * size
    optimizer = make(case, rate, **SHARED[shared])
    decay = np.ones(100_000)
    tracemalloc.start()
    try:
        optimizer.load_state(62, {name: np.zeros(100_000) for name in optimizer._names()})
        optimizer.update(parameters, gradients, decay=decay)
        before = tracemalloc.get_traced_memory()[0]
        kept = len(optimizer.state) + isinstance(rate, np.ndarray) * (1 + 1 / 8)
        assert before < kept * parameters.nbytes + 2 * 8 * piecewise.PIECE + 20_000
        tracemalloc.reset_peak()
        for _ in range(3):  # the first of which sweeps
            optimizer.update(parameters, gradients, decay=decay)
        assert tracemalloc.get_traced_memory()[1] - before < 20_000
    finally:
        tracemalloc.stop()


@each_case
@each_shared
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan, 3e38])
def test_what_is_not_finite_passes_without_a_warning(case, shared, bad):
    optimizer = make(case, 100.0, **SHARED[shared])
    parameters, gradients = start(np.float32), gradients_at(0, np.float32)
    gradients[0] = bad
    with warnings.catch_warnings(), np.errstate(all="warn"):
        warnings.simplefilter("error")
        for _ in range(3):
            optimizer.update(parameters, gradients)
    if not np.isfinite(bad) and case in ("SGD", "momentum", "nesterov"):
        assert not np.isfinite(parameters[0])
        assert np.isfinite(parameters[1:]).all()


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_gradient_without_a_norm_is_not_limited(bad):
    parameters, gradients = start(), gradients_at(0)
    gradients[0] = bad
    SGD(1.0, max_norm=0.1).update(parameters, gradients)
    np.testing.assert_array_equal(parameters[1:], start()[1:] - gradients[1:])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [1e-30, 1e-10, 1.0, 1e10, 1e30])
def test_max_norm_holds_for_gradients_of_any_size(dtype, size, monkeypatch):
    monkeypatch.setattr(piecewise, "PIECE", 16)
    gradients = gradients_at(0, dtype) * dtype(size)
    gradients[40:] = 0
    norm = float(np.linalg.norm(gradients.astype(float)))
    for max_norm in (norm / 3, norm * 3):
        parameters = np.zeros(SIZE, dtype)
        SGD(1.0, max_norm=max_norm).update(parameters, gradients)
        got = np.linalg.norm(parameters.astype(float))
        assert got == pytest.approx(min(norm, max_norm), rel=1e-5)
        expected = -gradients * dtype(min(1, max_norm / norm))
        np.testing.assert_allclose(parameters, expected, rtol=1e-5)


def test_a_gradient_of_zeros_or_of_no_entries_has_norm_0():
    for size in (0, 3):
        parameters = np.ones(size)
        SGD(1.0, max_norm=1.0, momentum=0.9, weight_decay=1.0).update(parameters, np.zeros(size))
        np.testing.assert_array_equal(parameters, np.zeros(size))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@each_case
def test_no_denormal_numbers_linger(case, dtype):
    optimizer = make(case, 0.001)
    parameters = run(optimizer, 3, dtype)
    zeros = np.zeros(SIZE, dtype)
    steps = 2_000 if dtype is np.float32 else 10_000
    optimizer.load_state(3, {name: v * dtype(1e-30) for name, v in optimizer.state.items()})
    for _ in range(steps):
        optimizer.update(parameters, zeros)
    for name, vector in optimizer.state.items():
        rest = vector[vector != 0]
        assert (np.abs(rest) >= np.finfo(dtype).smallest_normal).all(), name


@pytest.mark.parametrize("iterations", [0, 1, 62, 63, 64, 127])
def test_denormal_numbers_are_swept_at_every_64th_update_alone(iterations):
    """It takes as long as the update itself, or longer."""
    optimizer = SGD(0.1, momentum=0.5)
    optimizer.load_state(iterations, {"velocity": np.full(2, 1e-40, np.float32)})
    optimizer.update(np.ones(2, np.float32), np.zeros(2, np.float32))
    assert (optimizer.state["velocity"] == 0).all() == (iterations in (63, 127))


@pytest.mark.parametrize("power", [-37.9, -37.5, -30, 0])
def test_normal_numbers_are_kept_to_the_last_bit(power):
    optimizer = SGD(0.1, momentum=0.5)
    velocity = np.array([1, -1], np.float32) * np.float32(10.0**power)
    optimizer.load_state(63, {"velocity": velocity * 2})
    optimizer.update(np.ones(2, np.float32), np.zeros(2, np.float32))
    np.testing.assert_array_equal(optimizer.state["velocity"], velocity)


@each_case
@each_shared
def test_a_run_can_be_saved_and_continued(case, shared):
    whole = run(make(case, schedule, **SHARED[shared]), 70)
    optimizer = make(case, schedule, **SHARED[shared])
    parameters = run(optimizer, 40)
    saved = {name: vector.copy() for name, vector in optimizer.state.items()}
    other = make(case, schedule, **SHARED[shared])
    other.load_state(optimizer.iterations, saved)
    for vector in saved.values():
        vector[:] = np.nan
    copies = copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))
    for again in (other, *copies, optimizer):
        assert again.iterations == 40
        np.testing.assert_array_equal(run(again, 30, first=40, parameters=parameters.copy()), whole)


def test_a_copy_of_optimizer_and_network_together_is_whole():
    network = SimpleNamespace(parameter_vector=start(), gradient_vector=gradients_at(0))
    optimizer = Adam(0.1)
    optimizer.step(network)
    for another, other in (
        copy.deepcopy((optimizer, network)),
        pickle.loads(pickle.dumps((optimizer, network))),
    ):
        another.step(other)
        assert not np.array_equal(other.parameter_vector, network.parameter_vector)
        assert not np.array_equal(another.state["mean"], optimizer.state["mean"])


@each_case
def test_loading_an_unused_optimizers_state_starts_over(case):
    optimizer = make(case)
    run(optimizer, 3)
    optimizer.load_state(0, {})
    np.testing.assert_array_equal(run(optimizer), run(make(case)))


def test_state_names_what_is_remembered():
    names = {"SGD": [], "momentum": ["velocity"], "RMSProp": ["mean_square"]}
    for case, expected in (names | {"Adam": ["mean", "mean_square"]}).items():
        optimizer = make(case)
        assert optimizer.iterations == 0
        assert dict(optimizer.state) == {}
        run(optimizer, 1)
        assert optimizer.iterations == 1
        assert list(optimizer.state) == expected
        with pytest.raises(TypeError):
            optimizer.state["velocity"] = start()


BAD_STATES = [
    (-1, {}, ValueError, "iterations: expected at least 0"),
    (1.5, {}, TypeError, "iterations: expected a whole number"),
    (3, {}, ValueError, "made like the one that saved it"),
    (3, {"velocity": start()}, ValueError, "made like the one that saved it"),
    (3, {"mean": start(), "mean_square": start()[1:]}, ValueError, "mean_square: expected"),
    (3, {"mean": start(), "mean_square": start(np.float32)}, TypeError, "mean_square"),
    (3, {"mean": start(), "mean_square": [1.0]}, TypeError, "mean_square"),
    (3, {n: start()[None] for n in ("mean", "mean_square")}, ValueError, "mean"),
    (3, {n: start(size=9) for n in ("mean", "mean_square")}, ValueError, "make a new Adam"),
    (3, {n: start(np.float32) for n in ("mean", "mean_square")}, TypeError, "new Adam"),
]


@pytest.mark.parametrize(("iterations", "arrays", "error", "message"), BAD_STATES)
def test_a_state_that_does_not_fit_changes_nothing(iterations, arrays, error, message):
    optimizer = Adam(0.1)
    parameters = run(optimizer, 3)
    with pytest.raises(error, match=message):
        optimizer.load_state(iterations, arrays)
    assert optimizer.iterations == 3
    rest = run(optimizer, 5, first=3, parameters=parameters)
    np.testing.assert_array_equal(rest, run(Adam(0.1), 8))


# Beside what tests/contract/test_refusals.py tries.
BAD_VECTORS = [
    ({"parameters": np.ones((SIZE, 1))}, ValueError, "parameters: expected one axis"),
    ({"parameters": np.ones(2 * SIZE)[::2]}, ValueError, "parameters: expected a contiguous"),
    ({"parameters": np.frombuffer(bytes(8 * SIZE))}, ValueError, "parameters: expected a contig"),
    ({"gradients": np.ones(SIZE - 1)}, ValueError, r"gradients: expected shape \(50,\), got \(49"),
    ({"gradients": np.ones(SIZE, np.float32)}, TypeError, "gradients: expected float64"),
    ({"parameters": np.ones(9), "gradients": np.ones(9)}, ValueError, "50 float64 as before, got"),
    ({n: np.ones(SIZE, "f4") for n in ("parameters", "gradients")}, TypeError, "make a new"),
]


@each_case
@pytest.mark.parametrize(("changed", "error", "message"), BAD_VECTORS)
def test_vectors_that_do_not_fit_change_nothing(case, changed, error, message):
    optimizer = make(case, weight_decay=0.1)
    parameters = run(optimizer, 3)
    vectors = {"parameters": parameters.copy(), "gradients": gradients_at(3)} | changed
    before = frozen(vectors, optimizer)
    with pytest.raises(error, match=message):
        optimizer.update(**vectors)
    assert frozen(vectors, optimizer) == before


@each_case
def test_overlapping_vectors_are_refused(case):
    block = np.ones(SIZE + 1)
    for gradients in (block[:-1], block[1:]):
        with pytest.raises(ValueError, match="share memory"):
            make(case).update(block[:-1], gradients)
    np.testing.assert_array_equal(block, 1)
    make(case).update(block[:25], block[25:50])


BAD_SETTINGS = [
    (SGD, (-0.1,), {}, ValueError, "learning_rate"),
    (SGD, (np.nan,), {}, ValueError, "learning_rate"),
    (SGD, ([0.1, 0.2],), {}, TypeError, "learning_rate"),
    (SGD, (np.array([0.1, -0.1]),), {}, ValueError, "learning_rate"),
    (SGD, (np.array([0.1, np.inf]),), {}, ValueError, "learning_rate"),
    (SGD, (np.ones((2, 2)),), {}, ValueError, "learning_rate"),
    (SGD, (np.ones(2, int),), {}, TypeError, "learning_rate"),
    (SGD, (np.array(0.1),), {}, TypeError, r"learning_rate: .* pass 0\.1$"),
    (SGD, (0.1, 0.9), {}, TypeError, ".*positional"),
    (SGD, (0.1,), {"momentum": 1.0}, ValueError, "momentum"),
    (SGD, (0.1,), {"nesterov": True}, ValueError, "nesterov: expected a momentum"),
    (SGD, (0.1,), {"momentum": 0.9, "nesterov": 1}, TypeError, "nesterov"),
    (SGD, (0.1,), {"weight_decay": -1}, ValueError, "weight_decay"),
    (SGD, (0.1,), {"max_norm": 0}, ValueError, "max_norm"),
    (RMSProp, (0.1,), {"rho": 1}, ValueError, "rho"),
    (RMSProp, (0.1,), {"epsilon": 0}, ValueError, "epsilon"),
    (Adam, (0.1,), {"beta_1": 1}, ValueError, "beta_1"),
    (Adam, (0.1,), {"beta_2": 1}, ValueError, "beta_2"),
    (Adam, (0.1,), {"epsilon": 1e-50}, ValueError, "epsilon"),
]


@pytest.mark.parametrize(("kind", "args", "options", "error", "message"), BAD_SETTINGS)
def test_bad_settings_are_refused_by_name_at_first_and_later(kind, args, options, error, message):
    with pytest.raises(error, match=f"^{message}") as first:
        kind(*args, **options)
    if len(args) == 2:
        return
    optimizer = kind(0.1, **dict(list(options.items())[:-1]))
    before = repr(optimizer), run(copy.deepcopy(optimizer)).tolist()
    name, value = list({"learning_rate": args[0], **options}.items())[-1]
    with pytest.raises(error) as later:
        setattr(optimizer, name, value)
    assert str(later.value) == str(first.value)
    assert (repr(optimizer), run(optimizer).tolist()) == before


def test_nesterov_keeps_its_momentum():
    optimizer = SGD(0.1, momentum=0.9, nesterov=True)
    with pytest.raises(ValueError, match="nesterov: expected a momentum above 0"):
        optimizer.momentum = 0
    assert optimizer.momentum == 0.9


CHANGES = [
    *[("SGD", {"learning_rate": rate}) for rate in (0.5, schedule, np.full(SIZE, 0.5))],
    ("SGD", {"weight_decay": 0.1}),
    ("SGD", {"max_norm": 1.0}),
    ("SGD", {"momentum": 0.5, "nesterov": True}),
    ("nesterov", {"nesterov": False, "momentum": 0}),
    ("RMSProp", {"rho": 0.5, "epsilon": 0.1}),
    ("Adam", {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 0.1}),
    ("Adam", {"weight_decay": 0.1, "max_norm": 1.0}),
]


@pytest.mark.parametrize(("case", "changes"), CHANGES)
def test_a_setting_set_later_holds_from_the_next_update_on(case, changes):
    optimizer = make(case)
    parameters = run(optimizer, 3)
    for name, value in changes.items():
        setattr(optimizer, name, value)
    kind, options = CASES[case]
    other = kind(**{"learning_rate": 0.1, **options, **changes})
    assert repr(other) == repr(optimizer)
    other.load_state(3, optimizer.state)
    expected = run(other, 5, first=3, parameters=parameters.copy())
    np.testing.assert_array_equal(run(optimizer, 5, first=3, parameters=parameters), expected)


def test_a_rate_set_between_two_questions_is_the_next_one():
    optimizer = SGD(schedule)
    assert optimizer.next_rate() == 0.1
    optimizer.learning_rate = lambda step: 0.5
    assert optimizer.next_rate() == 0.5


def test_a_setting_that_there_is_not_is_refused_with_those_that_there_are():
    optimizer = SGD(0.1)
    with pytest.raises(AttributeError, match=r"^SGD: no setting 'lr', it is learning_rate: set"):
        optimizer.lr = 0.2
    with pytest.raises(AttributeError):
        optimizer.iterations = 3
    assert not hasattr(optimizer, "lr")


@pytest.mark.parametrize(
    ("value", "error"),
    [(-1.0, ValueError), (np.nan, ValueError), (np.inf, ValueError), (None, TypeError)],
)
@each_case
def test_a_bad_value_of_a_schedule_changes_nothing(case, value, error):
    optimizer = make(case, lambda step: value if step == 3 else 0.1)
    parameters = run(optimizer, 3)
    before = parameters.copy()
    with pytest.raises(error, match=r"learning_rate\(3\)"):
        optimizer.update(parameters, gradients_at(3))
    np.testing.assert_array_equal(parameters, before)
    assert optimizer.iterations == 3


def test_rates_must_be_as_many_as_the_parameters():
    parameters = start()
    with pytest.raises(ValueError, match=r"learning_rate: expected shape \(50,\), got \(49,\)"):
        SGD(np.ones(49)).update(parameters, gradients_at(0))
    np.testing.assert_array_equal(parameters, start())
    network = SimpleNamespace(parameter_vector=parameters, gradient_vector=gradients_at(0))
    with pytest.raises(ValueError, match=r"learning_rate: expected shape \(50,\), got \(49,\)"):
        SGD(np.ones(49)).check(network)
    SGD(np.ones(50)).check(network)


@pytest.mark.parametrize("network", [Dense(2, 3), None, [1.0]], ids=repr)
@pytest.mark.parametrize("options", [{}, {"weight_decay": 0.1}])
def test_what_is_no_network_is_refused_by_name(network, options):
    with pytest.raises(
        TypeError, match=r"^network: expected a Sequential, got .*: pass Sequential"
    ):
        SGD(0.1, **options).step(network)


def test_repr_is_how_it_was_made():
    assert repr(SGD(0.01)) == "SGD(learning_rate=0.01)"
    assert repr(SGD(np.float64(0.01), momentum=0.9)) == "SGD(learning_rate=0.01, momentum=0.9)"
    full = "SGD(learning_rate=0.5, momentum=0.9, nesterov=True, weight_decay=0.1, max_norm=2.0)"
    assert repr(eval(full)) == full
    assert repr(RMSProp(1, rho=0.5)) == "RMSProp(learning_rate=1.0, rho=0.5)"
    assert repr(Adam(schedule, beta_2=0.9)) == "Adam(learning_rate=schedule, beta_2=0.9)"
    assert repr(SGD(np.ones(3))) == "SGD(learning_rate=<3 rates>)"

    class Halving:
        def __call__(self, step):
            return 0.5**step

    assert repr(SGD(Halving())) == "SGD(learning_rate=Halving)"


def test_the_shared_options_are_the_same_everywhere():
    for kind in (SGD, RMSProp, Adam):
        options = inspect.signature(kind).parameters
        assert issubclass(kind, Optimizer)
        assert options["weight_decay"].default == 0
        assert options["max_norm"].default is None
    assert inspect.signature(RMSProp).parameters["epsilon"].default == 1e-7
    assert inspect.signature(Adam).parameters["epsilon"].default == 1e-8


class Recorder:
    """An xp that makes each call, which writes into an array, and keeps its name."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        def call(*arguments, **options):
            assert isinstance(options.get("out", arguments[0]), np.ndarray)
            assert "out" in options or name == "copyto"
            self.calls.append(name)
            return getattr(np, name)(*arguments, **options)

        return call

    def repeated(self, items):
        self.calls.append("repeated")
        return items


@each_case
@each_shared
@pytest.mark.parametrize("rate", [0.1, np.full(SIZE, 0.1)], ids=["number", "vector"])
def test_every_call_of_a_step_is_one_of_xp(case, shared, rate):
    xp, optimizer = Recorder(), make(case, rate, **SHARED[shared])
    network = SimpleNamespace(parameter_vector=start(), slices={"0.weight": slice(SIZE)})
    for step in range(64):
        network.gradient_vector = gradients_at(step)
        optimizer._step(xp, network)
    expected = run(make(case, rate, **SHARED[shared]), 64)
    np.testing.assert_array_equal(network.parameter_vector, expected)
    if (case, shared) == ("SGD", "plain") and isinstance(rate, float):
        assert xp.calls == ["repeated", "multiply", "subtract"] * 64


@each_case
@each_shared
@pytest.mark.parametrize("rate", [0.1, np.linspace(0.05, 0.2, SIZE)], ids=["number", "vector"])
def test_pieces_leave_no_trace_in_the_bits(case, shared, rate, monkeypatch):
    decay, results = np.arange(SIZE) % 3 == 0, []
    for size in (SIZE, 32, 16):
        monkeypatch.setattr(piecewise, "PIECE", size)
        optimizer = make(case, rate, **SHARED[shared])
        results.append(run(optimizer, 70, np.float32, decay=decay))
        assert len(optimizer._pieces) == -(-SIZE // size)
    np.testing.assert_array_equal(results[1:], [results[0]] * 2)


ADAPTIVE = ["RMSProp", "RMSProp with options", "Adam", "Adam with options"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", ADAPTIVE)
def test_gradients_of_any_size_whose_square_the_type_holds_make_the_same_steps(case, dtype):
    """Where epsilon is nothing beside them, as it is here; the largest may come at every step."""
    kind, options = CASES[case]
    largest = np.nextafter(np.sqrt(np.finfo(dtype).max), dtype(0))
    results = []
    for size in (dtype(1), largest):
        optimizer, parameters = kind(0.1, **options | {"epsilon": 1e-30}), start(dtype)
        for step in range(100):
            optimizer.update(parameters, gradients_at(step, dtype).clip(-1, 1) * size)
        results.append(parameters)
    np.testing.assert_allclose(*results, rtol=0, atol=2000 * np.finfo(dtype).eps)


@pytest.mark.parametrize("case", ["RMSProp", "RMSProp with options", "Adam with options"])
def test_after_the_largest_gradients_every_parameter_moves_again(case):
    optimizer, parameters = make(case), np.zeros(SIZE, np.float32)
    for _ in range(50):
        optimizer.update(parameters, np.full(SIZE, 1.8e19, np.float32))
    for _ in range(1000):
        optimizer.update(parameters, np.ones(SIZE, np.float32))
    before = parameters.copy()
    optimizer.update(parameters, np.ones(SIZE, np.float32))
    np.testing.assert_allclose(before - parameters, 0.1, rtol=2e-3)


@pytest.mark.parametrize("case", ADAPTIVE)
def test_a_gradient_whose_square_the_type_does_not_hold_leaves_nan(case):
    """Instead of a parameter that rests for good, which nobody would see."""
    optimizer, parameters = make(case), np.zeros(2, np.float32)
    for gradient in (1e25, 1.0):
        optimizer.update(parameters, np.array([gradient, 1], np.float32))
    np.testing.assert_array_equal(np.isnan(parameters), [True, False])


# One network

DATA = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32), np.arange(12) % 2


def copies_of(arrays):
    return {name: array.copy() for name, array in arrays.items()}


def network(seed=0):
    return Sequential([Dense(4, 3, rng=seed), Dense(3, 2, rng=seed + 1)])


def one_step(of, optimizer, seed=0):
    of.gradient_vector[...] = gradients_at(seed, np.float32, of.gradient_vector.size)
    optimizer.step(of)
    return of.parameter_vector.copy()


REMEMBERING = {
    "momentum": lambda: SGD(0.1, momentum=0.9),
    "RMSProp": lambda: RMSProp(0.1),
    "Adam": lambda: Adam(0.1),
    "schedule": lambda: SGD(schedule),
}
each_remembering = pytest.mark.parametrize("new", REMEMBERING.values(), ids=REMEMBERING)


@each_remembering
@pytest.mark.parametrize("is_alive", [True, False], ids=["beside it", "after it"])
def test_another_network_is_refused_with_the_way_out_and_nothing_moves(new, is_alive):
    optimizer, first = new(), network()
    one_step(first, optimizer)
    if not is_alive:
        first = None
    second = network(5)
    before = second.parameter_vector.copy(), copies_of(optimizer.state)
    message = r"another network \(1 updates\), and holds its .*: make a new .*copy\.deepcopy\(\("
    for refused in (
        lambda: one_step(second, optimizer),
        lambda: list(training_steps(second, DATA, optimizer=optimizer, steps=1, batch_size=4)),
        lambda: fit(second, DATA, optimizer=optimizer, steps=1, batch_size=4, progress=False),
    ):
        with pytest.raises(ValueError, match=message):
            refused()
    np.testing.assert_array_equal(second.parameter_vector, before[0])
    assert optimizer.iterations == 1
    for name, array in optimizer.state.items():
        np.testing.assert_array_equal(array, before[1][name])


def test_one_that_remembers_nothing_serves_any_number_of_networks():
    optimizer = SGD(0.1, weight_decay=0.1)
    for seed in (0, 5, 0):
        assert np.array_equal(
            one_step(network(seed), optimizer), one_step(network(seed), SGD(0.1, weight_decay=0.1))
        )


@each_remembering
@pytest.mark.parametrize("again", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))])
def test_copies_of_a_pair_go_on_with_each_other(new, again):
    optimizer, first = new(), network()
    one_step(first, optimizer)
    other, copied = again((first, optimizer))
    assert np.array_equal(one_step(other, copied, 1), one_step(first, optimizer, 1))
    assert np.array_equal(one_step(other, copied, 2), one_step(first, optimizer, 2))
    with pytest.raises(ValueError, match="another network"):
        one_step(first, copied)


@each_remembering
def test_a_copy_shares_nothing_with_the_original(new):
    optimizer, first = new(), network()
    one_step(first, optimizer)
    before = copies_of(optimizer.state)
    one_step(network(5), copy.copy(optimizer))
    assert optimizer.iterations == 1
    for name, array in optimizer.state.items():
        np.testing.assert_array_equal(array, before[name])


@each_remembering
def test_one_that_resumes_belongs_to_the_network_that_it_meets_next(new, tmp_path):
    optimizer, straight = new(), network()
    options = {"batch_size": 4, "progress": False, "checkpoint": tmp_path / "run.npz"}
    fit(straight, DATA, optimizer=optimizer, steps=3, **options)
    other = network(5)
    fit(other, DATA, optimizer=optimizer, steps=5, resume=True, **options)
    fit(straight, DATA, optimizer=new(), steps=5, resume=True, **options)
    assert np.array_equal(other.parameter_vector, straight.parameter_vector)
    with pytest.raises(ValueError, match="another network"):
        one_step(straight, optimizer)


def test_one_that_begins_to_remember_belongs_to_its_network():
    optimizer, first = SGD(0.1), network()
    one_step(first, optimizer)
    optimizer.momentum = 0.9
    one_step(first, optimizer)
    with pytest.raises(ValueError, match="holds its velocity: make a new SGD"):
        one_step(network(5), optimizer)


def test_a_network_that_takes_no_weak_reference_is_known_again():
    class Slotted:
        __slots__ = ("gradient_vector", "parameter_vector", "slices")

    networks = Slotted(), Slotted()
    for each in networks:
        each.parameter_vector, each.gradient_vector, each.slices = start(), start(), {}
    optimizer = Adam(0.1)
    optimizer.step(networks[0])
    optimizer.step(networks[0])
    with pytest.raises(ValueError, match="another network"):
        optimizer.step(networks[1])
