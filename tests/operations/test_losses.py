"""Softmax and the losses: reference, functional and PyTorch agree, their laws hold."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from shared import memory_of

from npbn import functional, reference
from npbn.functional import losses
from npbn.testing import CASES

LOSSES_OF_LABELS = ["softmax_cross_entropy", "negative_log_likelihood"]
REDUCTIONS = ["mean", "sum", "none"]
INTEGERS = [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64]


def make(name, shape=(7, 5), dtype=np.float64, seed=0):
    return CASES[name].inputs(np.random.default_rng(seed), shape, dtype)


# Reference, and PyTorch


@pytest.mark.parametrize("shape", [(60, 10), (2, 3, 4, 5)], ids=str)
def test_softmax_agrees_with_pytorch(shape, dtype, assert_close):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")
    logits = make("softmax", shape, dtype)["logits"]
    theirs = torch.softmax(torch.from_numpy(logits), -1)
    assert_close(functional.softmax(logits), theirs.numpy())


@pytest.mark.parametrize("shape", [(60, 10), (6, 3, 4), (2, 3, 4, 5)], ids=str)
def test_cross_entropy_agrees_with_pytorch(shape, dtype, assert_close):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")
    inputs = make("softmax_cross_entropy", shape, dtype)
    loss, dlogits = functional.softmax_cross_entropy(**inputs)
    logits = torch.from_numpy(inputs["logits"]).requires_grad_()
    labels = torch.from_numpy(inputs["labels"])
    theirs = torch.nn.functional.cross_entropy(logits.movedim(-1, 1), labels)
    theirs.backward()
    assert_close(np.asarray(loss, dtype), theirs.detach().numpy())
    assert_close(dlogits, logits.grad.numpy())


OPTIONS = {
    "weights": {"class_weights": np.linspace(0, 2, 10)},
    "smoothing": {"label_smoothing": 0.3},
    "ignored": {"ignored_label": 4},
    "ignored and negative": {"ignored_label": -100},
    "all": {
        "class_weights": np.linspace(0.3, 2, 10),
        "label_smoothing": 0.1,
        "ignored_label": -100,
    },
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", LOSSES_OF_LABELS)
@pytest.mark.parametrize("shape", [(60, 10), (3, 4, 5, 10)], ids=str)
def test_options_agree_with_pytorch(shape, name, reduction, options, dtype, assert_close):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")
    scores, labels = make("softmax_cross_entropy", shape, dtype).values()
    options = dict(options)
    if name == "negative_log_likelihood":
        scores = functional.log_softmax(scores)
        options.pop("label_smoothing", None)  # PyTorch has it for the cross entropy alone
    if options.get("ignored_label") == -100:
        labels[::3] = -100
    theirs = {
        "weight": options.get("class_weights"),
        "ignore_index": options.get("ignored_label", -1),
        "reduction": reduction,
    }
    if "class_weights" in options:
        options["class_weights"] = options["class_weights"].astype(dtype)
        theirs["weight"] = torch.from_numpy(options["class_weights"])
    if "label_smoothing" in options:
        theirs["label_smoothing"] = options["label_smoothing"]
    function = torch.nn.functional.nll_loss
    if name == "softmax_cross_entropy":
        function = torch.nn.functional.cross_entropy
    tensor = torch.from_numpy(np.moveaxis(scores, -1, 1).copy()).requires_grad_()
    expected = function(tensor, torch.from_numpy(labels), **theirs)
    expected.sum().backward()
    loss, gradient = getattr(functional, name)(scores, labels, reduction=reduction, **options)
    assert type(loss) is float or (reduction == "none" and loss.dtype == dtype)
    assert_close(np.asarray(loss, dtype), expected.detach().numpy())
    assert_close(gradient, tensor.grad.movedim(1, -1).numpy())


@pytest.mark.parametrize("shape", [(60, 10), (2, 3, 4, 5)], ids=str)
def test_log_softmax_agrees_with_pytorch(shape, dtype, assert_close):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")
    logits = make("softmax", shape, dtype)["logits"]
    theirs = torch.log_softmax(torch.from_numpy(logits), -1)
    assert_close(functional.log_softmax(logits), theirs.numpy())


@pytest.mark.parametrize("shape", [(60, 10), (6, 3, 4)], ids=str)
def test_squared_error_agrees_with_pytorch(shape, dtype, assert_close):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")
    inputs = make("squared_error", shape, dtype)
    loss, dy = functional.squared_error(**inputs)
    y = torch.from_numpy(inputs["y"]).requires_grad_()
    theirs = torch.nn.functional.mse_loss(y, torch.from_numpy(inputs["target"]), reduction="sum")
    theirs = theirs / (2 * len(y))
    theirs.backward()
    assert_close(np.asarray(loss, dtype), theirs.detach().numpy())
    assert_close(dy, y.grad.numpy())


def test_many_rows_lose_no_digits(exact, assert_close):
    for name in ("softmax_cross_entropy", "squared_error"):
        inputs = make(name, (65_536, 10), np.float32)
        loss, gradient = getattr(functional, name)(**inputs)
        true_loss, true_gradient = getattr(reference, name)(**exact(inputs))
        assert_close(np.asarray(loss, np.float32), true_loss)
        assert_close(gradient, true_gradient)


# Laws

law = settings(derandomize=True, deadline=None, max_examples=80)
seeds = st.integers(0, 2**32 - 1)
logits_of_any_size = st.tuples(st.integers(1, 5), st.integers(1, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.floats(-1e3, 1e3))
)


def labels_for(logits, seed):
    return np.random.default_rng(seed).integers(logits.shape[1], size=len(logits))


@law
@given(logits_of_any_size)
def test_probabilities_sum_to_one_and_rise_with_the_logits(logits):
    p = functional.softmax(logits)
    np.testing.assert_allclose(p.sum(-1), 1, rtol=1e-14)
    assert ((p >= 0) & (p <= 1)).all()
    order = np.argsort(logits, axis=-1)
    assert (np.diff(np.take_along_axis(p, order, -1), axis=-1) >= 0).all()


@law
@given(logits_of_any_size, st.integers(-1000, 1000), seeds)
def test_a_shift_of_all_logits_changes_nothing(logits, shift, seed):
    logits, labels = np.round(logits, 3), labels_for(logits, seed)
    np.testing.assert_allclose(
        functional.softmax(logits + shift), functional.softmax(logits), rtol=1e-9
    )
    loss, dlogits = functional.softmax_cross_entropy(logits, labels)
    shifted_loss, shifted = functional.softmax_cross_entropy(logits + shift, labels)
    assert shifted_loss == pytest.approx(loss, rel=1e-9, abs=1e-9)
    np.testing.assert_allclose(shifted, dlogits, atol=1e-9)


@law
@given(logits_of_any_size, seeds)
def test_the_gradient_of_the_cross_entropy_is_what_softmax_is_off(logits, seed):
    labels = labels_for(logits, seed)
    loss, dlogits = functional.softmax_cross_entropy(logits, labels)
    p = functional.softmax(logits)
    one_hot = np.eye(logits.shape[1])[labels]
    np.testing.assert_allclose(dlogits, (p - one_hot) / len(logits), atol=1e-15)
    np.testing.assert_allclose(dlogits.sum(1), 0, atol=1e-15)
    assert loss >= 0
    likely = p[np.arange(len(logits)), labels]
    if likely.min() > 1e-300:
        assert loss == pytest.approx(-np.log(likely).mean(), rel=1e-9, abs=1e-12)


@law
@given(st.integers(1, 20), st.integers(1, 20), seeds)
def test_equal_logits_cost_the_logarithm_of_the_classes(rows, classes, seed):
    logits = np.full((rows, classes), 3.5)
    loss, _ = functional.softmax_cross_entropy(logits, labels_for(logits, seed))
    assert loss == pytest.approx(np.log(classes), abs=1e-14)


@law
@given(st.integers(1, 6), seeds)
def test_squared_error_is_symmetric_and_zero_at_the_target(rows, seed):
    y, target = np.random.default_rng(seed).standard_normal((2, rows, 3))
    loss, dy = functional.squared_error(y, target)
    other_loss, other_dy = functional.squared_error(target, y)
    assert loss == other_loss >= 0
    np.testing.assert_array_equal(dy, -other_dy)
    zero, no_gradient = functional.squared_error(y, y.copy())
    assert zero == 0
    assert not no_gradient.any()
    # A step of -rows along the gradient ends at the target.
    np.testing.assert_allclose(y - rows * dy, target, atol=1e-12)


@law
@given(array_shapes(min_dims=2, max_dims=5, max_side=4), seeds, st.sampled_from(REDUCTIONS))
def test_more_axes_have_the_bits_of_their_rows(shape, seed, reduction):
    for name in LOSSES_OF_LABELS:
        for inputs in (
            make(name, shape, seed=seed),
            make(f"{name}, with options", shape, seed=seed) | {"reduction": reduction},
        ):
            (key, scores), (_, labels) = list(inputs.items())[:2]
            rows = {key: scores.reshape(-1, shape[-1]), "labels": labels.reshape(-1)}
            found = getattr(functional, name)(**inputs)
            expected = getattr(functional, name)(**inputs | rows)
            shapes = [shape] * len(found)
            shapes[0] = shape[:-1] if inputs.get("reduction") == "none" else ()
            for one, other, its_shape in zip(found, expected, shapes, strict=True):
                np.testing.assert_array_equal(one, np.reshape(other, its_shape), strict=True)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(60, 10), (2, 3, 4, 5)], ids=str)
@pytest.mark.parametrize("name", LOSSES_OF_LABELS)
def test_functional_and_reference_reduce_alike(name, shape, reduction, exact, assert_close):
    inputs = make(f"{name}, with options", shape) | {"reduction": reduction}
    found = getattr(functional, name)(**inputs)
    expected = getattr(reference, name)(**exact(inputs))
    for one, other in zip(found, expected, strict=True):
        assert_close(np.asarray(one), other)


@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.2}, {"reduction": "none"}], ids=str)
@pytest.mark.parametrize("room", [functional, reference])
def test_log_probabilities_come_with_the_cross_entropy_if_asked_for(room, options, shape, dtype):
    inputs = make("softmax_cross_entropy", shape, dtype) | options
    expected = *room.softmax_cross_entropy(**inputs), room.log_softmax(inputs["logits"])
    found = room.softmax_cross_entropy(**inputs, return_log_probabilities=True)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_cross_entropy_is_the_likelihood_of_the_log_softmax(assert_close):
    inputs = make("softmax_cross_entropy, with options", (60, 10))
    loss, dlogits, log_p = functional.softmax_cross_entropy(**inputs)
    logits, _ = inputs.pop("logits"), inputs.pop("return_log_probabilities")
    other, dlog_p = functional.negative_log_likelihood(log_p, **inputs)
    assert loss == pytest.approx(other, rel=1e-14)
    # As log_softmax says of its gradient.
    assert_close(dlogits, dlog_p - functional.softmax(logits) * dlog_p.sum(-1, keepdims=True))


@pytest.mark.parametrize("name", LOSSES_OF_LABELS)
@pytest.mark.parametrize("room", [functional, reference])
def test_ignored_rows_are_as_if_they_were_not_there(name, room):
    scores, labels = make(name, (60, 10)).values()
    call = getattr(room, name)
    loss, gradient = call(scores[20:], labels[20:])
    labels[:20] = 255
    for labels_of_type in (labels, labels.astype(np.uint8)):
        found, whole = call(scores, labels_of_type, ignored_label=255)
        assert found == pytest.approx(loss, rel=1e-14)
        np.testing.assert_allclose(whole[20:], gradient, rtol=1e-13)
        assert not whole[:20].any()


@pytest.mark.parametrize("name", LOSSES_OF_LABELS)
@pytest.mark.parametrize("room", [functional, reference])
def test_where_every_row_is_ignored_loss_and_gradient_are_0(name, room):
    scores, labels = make(name).values()
    loss, gradient = getattr(room, name)(scores, np.full_like(labels, -1), ignored_label=-1)
    assert loss == 0
    assert not gradient.any()


@pytest.mark.parametrize("name", LOSSES_OF_LABELS)
def test_options_that_change_nothing_change_no_bit(name, dtype):
    inputs = make(name, (60, 10), dtype)
    loss, gradient = getattr(functional, name)(**inputs)
    for options in ({"label_smoothing": 0}, {"ignored_label": -1}):
        other, same = getattr(functional, name)(**inputs, **options)
        assert other == pytest.approx(loss, rel=float(np.finfo(dtype).eps))
        np.testing.assert_allclose(same, gradient, rtol=2 * np.finfo(dtype).eps)


def test_an_impossible_label_that_is_ignored_or_weighs_nothing_is_not_seen():
    log_p = np.array([[-np.inf, 0.0], [-1.0, -2.0]])
    weights = np.array([0.0, 1.0])
    loss, _ = functional.negative_log_likelihood(log_p, np.array([0, 1]), class_weights=weights)
    assert loss == 2
    loss, _ = functional.negative_log_likelihood(log_p, np.array([-1, 1]), ignored_label=-1)
    assert loss == 2


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "squared_error"])
def test_a_batch_repeated_has_the_same_mean(name):
    inputs = make(name)
    loss, gradient = getattr(functional, name)(**inputs)
    twice = {key: np.concatenate([value, value]) for key, value in inputs.items()}
    twice_loss, twice_gradient = getattr(functional, name)(**twice)
    assert twice_loss == pytest.approx(loss, rel=1e-13)
    np.testing.assert_allclose(2 * twice_gradient, np.concatenate([gradient] * 2), rtol=1e-13)


# Numbers at the edge


def test_logits_that_no_exponential_survives(dtype):
    large = 0.4 * np.finfo(dtype).max
    logits = np.array([[large, -large, 0], [1e4, 1e4, -1e4]], dtype)
    np.testing.assert_array_equal(functional.softmax(logits), [[1, 0, 0], [0.5, 0.5, 0]])
    loss, dlogits = functional.softmax_cross_entropy(logits, np.array([0, 1]))
    assert loss == pytest.approx(np.log(2) / 2)
    np.testing.assert_allclose(dlogits, [[0, 0, 0], [0.25, -0.25, 0]], atol=1e-7)
    loss, _ = functional.softmax_cross_entropy(logits[1:], np.array([2]))
    assert loss == pytest.approx(2e4 + np.log(2))


def test_probabilities_have_no_denormal_numbers(dtype):
    tiny = np.finfo(dtype).tiny
    logits = np.linspace(0, 1.2 * np.log(tiny), 200, dtype=dtype)[np.newaxis]
    p = functional.softmax(logits)
    _, dlogits = functional.softmax_cross_entropy(logits, np.array([0]))
    for each in (p, np.abs(dlogits)):
        assert ((each == 0) | (each >= tiny)).all()
        assert 0 < np.count_nonzero(each) < each.size


@pytest.mark.parametrize("rows", [1, 1000])
@pytest.mark.parametrize("classes", [2, 300])
def test_gradients_of_many_rows_and_classes_have_no_denormal_numbers(rows, classes, dtype):
    tiny = np.finfo(dtype).tiny
    # From above the smallest gradient that is normal to below it, of any number of rows.
    for gap in np.arange(-8, 3) - np.log(tiny) - np.log(rows):
        logits = np.zeros((rows, classes), dtype)
        logits[:, -1] = -gap
        _, dlogits = functional.softmax_cross_entropy(logits, np.zeros(rows, int))
        assert ((dlogits == 0) | (abs(dlogits) >= tiny)).all()


def true_cross_entropy(logits, labels):
    """In longdouble, from the others' sum: p - 1 and log(p) lose all digits where p is nearly 1."""
    rows = np.arange(len(labels))
    z = logits.astype(np.longdouble)
    z -= z.max(1, keepdims=True)
    e = np.exp(z)
    likely = e[rows, labels].copy()
    e[rows, labels] = 0
    others = e.sum(1)
    losses = np.where(likely == 1, np.log1p(others), np.log(others + likely) - z[rows, labels])
    e[rows, labels] = -others
    return losses, e / ((others + likely) * len(labels))[:, np.newaxis]


class TestSoftmaxCrossEntropy:
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("rows", [1, 60])
    @pytest.mark.parametrize("size", [0.01, 1, 20, 40, 85, 90, 700, 1e4])
    def test_exact_to_the_smallest_normal_number_and_0_below(self, size, rows, dtype):
        limits, rng = np.finfo(dtype), np.random.default_rng(0)
        # Half a digit of the difference of two logits is that share of the exponential.
        tolerance = limits.eps * (4 + min(size, -np.log(limits.tiny) / 2))
        for _ in range(50 if rows == 1 else 5):
            logits = (size * rng.choice([-1, 1, rng.random()], (rows, 4))).astype(dtype)
            labels = rng.integers(4, size=rows)
            loss, dlogits = functional.softmax_cross_entropy(logits, labels)
            losses, true = true_cross_entropy(logits, labels)
            losses, true = (np.where(abs(a) < limits.tiny, 0, a) for a in (losses, true))
            assert not abs(loss - losses.mean()) > tolerance * losses.mean()
            np.testing.assert_allclose(dlogits, true.astype(np.float64), rtol=tolerance, atol=0)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("others", [1, 1e4, -1e4])
    @pytest.mark.parametrize("sure", [5, 30, 80])
    def test_sure_and_right_it_still_knows_how_sure(self, sure, others, dtype):
        logits = np.array([[others + sure, others, others]], dtype)
        loss, dlogits = functional.softmax_cross_entropy(logits, np.array([0]))
        rest = 2 * np.exp(-np.float64(sure))
        assert loss == pytest.approx(np.log1p(rest), rel=3 * float(np.finfo(dtype).eps), abs=0)
        np.testing.assert_allclose(
            dlogits[0] * (1 + rest), [-rest, rest / 2, rest / 2], rtol=4 * np.finfo(dtype).eps
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sure", [5, 30, 80])
def test_a_log_probability_near_0_keeps_its_digits(sure, dtype):
    log_p = functional.log_softmax(np.array([[sure + 3, 3, 3]], dtype))
    true = -np.log1p(2 * np.exp(-np.float64(sure)))
    assert log_p[0, 0] == pytest.approx(true, rel=3 * float(np.finfo(dtype).eps), abs=0)
    np.testing.assert_allclose(log_p[0, 1:], true - sure, rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("integer", INTEGERS)
def test_labels_of_any_integer_type(integer):
    inputs = make("softmax_cross_entropy")
    loss, dlogits = functional.softmax_cross_entropy(**inputs)
    labels = inputs["labels"].astype(integer)
    other_loss, other = functional.softmax_cross_entropy(inputs["logits"], labels)
    assert other_loss == loss
    np.testing.assert_array_equal(other, dlogits)


def test_labels_in_any_layout():
    inputs = make("softmax_cross_entropy")
    labels = np.repeat(inputs["labels"], 2)[::2]
    labels.flags.writeable = False
    expected = functional.softmax_cross_entropy(**inputs)
    found = functional.softmax_cross_entropy(inputs["logits"], labels)
    assert found[0] == expected[0]
    np.testing.assert_array_equal(found[1], expected[1])


# What is refused

ONE_HOT = np.eye(5)[[0, 1, 2, 3, 4, 0, 1]]


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        (ONE_HOT, ValueError, r"expected shape \(7,\), got \(7, 5\): pass labels.argmax\(1\)"),
        (ONE_HOT.astype(int), ValueError, r"pass labels.argmax\(1\) if they are one-hot"),
        (np.zeros((7, 1), int), ValueError, r"got \(7, 1\): pass labels\[:, 0\]"),
        (np.zeros(7), TypeError, r"expected integers, got float64: pass labels.astype\(np.int64\)"),
        (np.zeros(7, bool), TypeError, "expected integers, got bool"),
        ([0] * 7, TypeError, r"pass np.asarray\(labels\)"),
        (3, TypeError, "expected an integer array, got int 3"),
        (None, TypeError, "expected an integer array, got NoneType None"),
        (np.zeros(6, int), ValueError, r"expected shape \(7,\), got \(6,\)"),
        (np.zeros((), int), ValueError, r"expected shape \(7,\), got \(\)"),
        (np.array([0, 1, 2, 3, 4, 5, 0]), ValueError, "expected classes 0 to 4, got 5"),
        (np.array([0, 1, 2, -1, 4, 3, 0]), ValueError, "expected classes 0 to 4, got -1"),
        (
            np.full(7, 2**63, np.uint64),
            ValueError,
            "expected classes 0 to 4, got 9223372036854775808",
        ),
    ],
)
def test_wrong_labels_are_refused(labels, error, message):
    logits = make("softmax_cross_entropy")["logits"]
    with pytest.raises(error, match=f"^labels: .*{message}"):
        functional.softmax_cross_entropy(logits, labels)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"class_weights": np.ones(4)}, ValueError, r"^class_weights: expected shape \(5,\)"),
        ({"class_weights": np.ones(5, np.float32)}, TypeError, "^class_weights: expected float64"),
        ({"class_weights": [1.0] * 5}, TypeError, r"^class_weights: .*pass np.asarray"),
        ({"class_weights": -np.ones(5)}, ValueError, "^class_weights: .*at least 0, got"),
        ({"class_weights": np.full(5, np.nan)}, ValueError, "^class_weights: .*finite values"),
        ({"label_smoothing": 1}, ValueError, "^label_smoothing: .*below 1, got 1"),
        ({"label_smoothing": True}, TypeError, "^label_smoothing: expected a number"),
        ({"ignored_label": 1.0}, TypeError, "^ignored_label: expected a whole number"),
        ({"ignored_label": -2}, ValueError, "^labels: expected classes 0 to 4, got -1"),
        ({"reduction": "avg"}, ValueError, "^reduction: expected 'mean' or 'sum' or 'none'"),
        ({"reduction": None}, ValueError, "^reduction: expected 'mean'"),
    ],
)
@pytest.mark.parametrize("name", LOSSES_OF_LABELS)
def test_wrong_options_are_refused(name, options, error, message):
    inputs = make(name)
    inputs["labels"][2] = -1
    with pytest.raises(error, match=message):
        getattr(functional, name)(**inputs, **{"ignored_label": -1} | options)


@pytest.mark.parametrize(
    ("shape", "advice"),
    [
        ((2, 3, 4), r": pass labels.argmax\(2\) if they are one-hot"),
        ((2, 3, 1), r": pass labels\[:, :, 0\]"),
        ((2, 4), r": if axis 1 of {scores} has the classes, pass np.moveaxis\({scores}, 1, -1\)"),
        ((6,), ""),
        ((2,), ""),
        ((3, 2), ""),
    ],
)
@pytest.mark.parametrize("name", LOSSES_OF_LABELS)
def test_labels_of_another_shape_are_refused(name, shape, advice):
    scores = make(name, (2, 3, 4))
    message = r"^labels: expected shape \(2, 3\), got " + re.escape(str(shape))
    with pytest.raises(ValueError, match=message + advice.format(scores=next(iter(scores))) + "$"):
        getattr(functional, name)(**scores | {"labels": np.zeros(shape, int)})


@pytest.mark.parametrize(
    ("target", "error", "message"),
    [
        (np.ones((7, 1)), ValueError, r"expected shape \(7, 5\), got \(7, 1\)"),
        (np.ones(5), ValueError, r"expected shape \(7, 5\), got \(5,\)"),
        (np.ones((7, 5), np.float32), TypeError, "expected float64 like the first array"),
        (np.ones((7, 5), int), TypeError, "expected float32 or float64, got int64"),
        (1.0, TypeError, "expected a float32 or float64 array, got float 1.0"),
    ],
)
def test_a_wrong_target_is_refused(target, error, message):
    with pytest.raises(error, match=f"^target: .*{message}"):
        functional.squared_error(np.ones((7, 5)), target)


def test_what_is_kept_of_many_shapes_is_bounded_in_bytes(monkeypatch):
    def lose(sizes):
        for rows in sizes:
            logits = np.ones((rows, 1000), np.float32)
            functional.softmax_cross_entropy(logits, np.zeros(rows, int))

    kept = losses._AtHand()
    monkeypatch.setattr(losses, "_at_hand", kept)
    one, _ = memory_of(lambda: lose([1000]))
    # Each has two arrays of 4 MB.
    assert one > 7e6
    monkeypatch.setattr(kept, "BYTES", 3.5 * one)
    held, _ = memory_of(lambda: lose(range(1001, 1001 + kept.COUNT)))
    assert one < held < 3.5 * one
    held, _ = memory_of(lambda: lose([5000]))
    assert held < one
    monkeypatch.setattr(kept, "BYTES", 1 << 40)
    held, _ = memory_of(lambda: lose(range(2001, 2001 + 2 * kept.COUNT)))
    # Rows of 2,001 to 2,016: each holds twice as much as the first.
    assert held < 2.2 * kept.COUNT * one
