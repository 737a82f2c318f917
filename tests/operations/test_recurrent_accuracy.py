"""Recurrent layers in float32 against the equations in float64, and beside PyTorch's errors."""

import numpy as np
import pytest
from recurrent_oracles import by_pytorch

from npbn import functional, reference

EPSILON = np.finfo(np.float32).eps
# Few and many sequences, long ones.
SHAPES = {"rows": (60, 28, 28, 40), "pixels": (20, 784, 1, 20), "many": (20_000, 5, 8, 16)}
each_shape = pytest.mark.parametrize("name", SHAPES)
each_shift = pytest.mark.parametrize("shift", [0, 100])


def make(stem, name, shift, seed=0):
    """The inputs of an operation, with weights as layers draw them."""
    examples, steps, features, units = SHAPES[name]
    rng, gates = np.random.default_rng(seed), 1 if stem == "rnn" else 4
    turns = [np.linalg.qr(rng.standard_normal((units, units)))[0] for _ in range(gates)]
    inputs = {
        "x": rng.standard_normal((examples, steps, features)) + shift,
        "input_weight": rng.standard_normal((features, gates * units)) / np.sqrt(features),
        "recurrent_weight": np.concatenate(turns, 1),
        "bias": rng.standard_normal(gates * units) / 10,
    }
    if stem == "batch_norm_lstm":
        for each, columns in (("input", 4), ("recurrent", 4), ("cell", 1)):
            inputs[f"{each}_gamma"] = np.full(columns * units, 0.1)
        inputs["cell_beta"] = np.zeros(units)
    return {name: each.astype(np.float32) for name, each in inputs.items()}


def passes(room, stem, inputs, dy=None):
    """y and the gradients, of a dy that is drawn; and dy."""
    y, cache = getattr(room, f"{stem}_forward")(**inputs)
    if dy is None:
        dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    return (y, *getattr(room, f"{stem}_backward")(dy, cache)), dy


def in_float64(inputs):
    return {name: np.asarray(each, np.float64) for name, each in inputs.items()}


def errors(found, true):
    """The largest of each array, of its largest value, in float32's epsilon."""
    return [
        float(abs(one - other).max() / abs(other).max() / EPSILON)
        for one, other in zip(found, true, strict=True)
    ]


@each_shape
@each_shift
@pytest.mark.parametrize("stem", ["rnn", "lstm"])
def test_errors_are_like_pytorchs(stem, name, shift):
    """NumPy's tanh is off by up to 1.4 units of the last digit, PyTorch's by 0.5."""
    inputs = make(stem, name, shift)
    found, dy = passes(functional, stem, inputs)
    true, _ = passes(reference, stem, in_float64(inputs), dy.astype(np.float64))
    others = by_pytorch(stem.upper(), inputs, dy)
    for own, other in zip(errors(found, true), errors(others, true), strict=True):
        assert not own > 3 * other + 20


@each_shape
@pytest.mark.parametrize("stem", ["rnn", "lstm"])
def test_about_0_all_but_few_digits_are_right(stem, name):
    inputs = make(stem, name, 0)
    found, dy = passes(functional, stem, inputs)
    true, _ = passes(reference, stem, in_float64(inputs), dy.astype(np.float64))
    assert not max(errors(found, true)) > 50


def test_the_slope_of_a_saturated_state_is_known_to_3e_7():
    z = np.linspace(-20, 20, 10_001, dtype=np.float32)[:, np.newaxis]
    one, nothing = np.ones((1, 1), np.float32), np.zeros(1, np.float32)
    _, cache = functional.rnn_forward(z[:, np.newaxis], one, one, nothing)
    dx, *_ = functional.rnn_backward(np.ones((len(z), 1, 1), np.float32), cache)
    true = 1 / np.cosh(z.astype(np.float64)) ** 2
    assert not abs(dx[:, 0] - true).max() > 3e-7
    # There is no more in a float32 h.
    assert abs(dx[:, 0] - true).max() > 1e-7


@pytest.mark.parametrize("gate", range(4), ids="ifgo")
def test_what_a_nearly_closed_gate_lets_through_has_its_digits(gate):
    """It is 1e-6 and less, and so are its slope and the gradients."""
    inputs = make("lstm", "rows", 0)
    units = len(inputs["recurrent_weight"])
    inputs["bias"][gate * units : (gate + 1) * units] -= 15 if gate != 2 else 0
    found, dy = passes(functional, "lstm", inputs)
    true, _ = passes(reference, "lstm", in_float64(inputs), dy.astype(np.float64))
    own = [slice(None), slice(None), *[(..., slice(gate * units, (gate + 1) * units))] * 3]
    parts = [[each[place] for each, place in zip(all_, own, strict=True)] for all_ in (found, true)]
    assert not max(errors(*parts)) > 50


@pytest.mark.parametrize("shift", [0, 100, 1e4])
@pytest.mark.parametrize("name", ["rows", "many"])
@pytest.mark.parametrize("masked", [False, True])
def test_recurrent_batch_norm_is_as_exact_wherever_x_lies(name, shift, masked):
    inputs = make("batch_norm_lstm", name, shift)
    if masked:
        lengths = np.random.default_rng(2).integers(1, 4, len(inputs["x"]))
        inputs["mask"] = np.arange(inputs["x"].shape[1]) < lengths[:, np.newaxis]
    found, dy = passes(functional, "batch_norm_lstm", inputs)
    mask = {"mask": inputs.pop("mask")} if masked else {}
    exact = in_float64(inputs) | mask
    true, _ = passes(reference, "batch_norm_lstm", exact, dy.astype(np.float64))
    assert not max(errors(found, true)) > 100
    _, cache = functional.batch_norm_lstm_forward(**inputs, **mask)
    _, true_cache = reference.batch_norm_lstm_forward(**exact)
    for kind, each in true_cache.statistics.items():
        off = abs(cache.statistics[kind] - each)
        variance = true_cache.statistics[kind.replace("mean", "variance")]
        size = variance if kind.endswith("variance") else abs(each) + np.sqrt(variance)
        assert not (off / np.maximum(size, 1e-30)).max() > 20 * EPSILON
