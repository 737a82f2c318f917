"""Softmax and the losses: reference, functional and PyTorch agree, their laws hold."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from npbn import functional, reference
from npbn.testing import CASES

INTEGERS = [np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64, np.uint64]


def make(name, shape=(7, 5), dtype=np.float64, seed=0):
    return CASES[name].inputs(np.random.default_rng(seed), shape, dtype)


# Reference, and PyTorch


@pytest.mark.parametrize("name", ["softmax_cross_entropy", "squared_error"])
def test_losses_agree_with_the_reference(name, shape, dtype, exact, assert_close):
    inputs = make(name, shape, dtype)
    loss, gradient = getattr(functional, name)(**inputs)
    true_loss, true_gradient = getattr(reference, name)(**exact(inputs))
    assert type(loss) is float
    assert gradient.dtype == dtype
    assert_close(np.asarray(loss, dtype), true_loss)
    assert_close(gradient, true_gradient)


def test_softmax_agrees_with_the_reference(shape, dtype, exact, assert_close):
    inputs = make("softmax", shape, dtype)
    probabilities = functional.softmax(**inputs)
    assert probabilities.dtype == dtype
    assert_close(probabilities, reference.softmax(**exact(inputs)))


@pytest.mark.parametrize("shape", [(60, 10), (2, 3, 4, 5)], ids=str)
def test_softmax_agrees_with_pytorch(shape, dtype, assert_close):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")
    logits = make("softmax", shape, dtype)["logits"]
    theirs = torch.softmax(torch.from_numpy(logits), -1)
    assert_close(functional.softmax(logits), theirs.numpy())


def test_cross_entropy_agrees_with_pytorch(dtype, assert_close):
    torch = pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")
    inputs = make("softmax_cross_entropy", (60, 10), dtype)
    loss, dlogits = functional.softmax_cross_entropy(**inputs)
    logits = torch.from_numpy(inputs["logits"]).requires_grad_()
    theirs = torch.nn.functional.cross_entropy(logits, torch.from_numpy(inputs["labels"]))
    theirs.backward()
    assert_close(np.asarray(loss, dtype), theirs.detach().numpy())
    assert_close(dlogits, logits.grad.numpy())


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
        assert loss == pytest.approx(np.log1p(rest), rel=3 * float(np.finfo(dtype).eps))
        np.testing.assert_allclose(
            dlogits[0] * (1 + rest), [-rest, rest / 2, rest / 2], rtol=4 * np.finfo(dtype).eps
        )


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


def test_cross_entropy_needs_one_row_an_example():
    with pytest.raises(ValueError, match=r"^logits: expected shape \(N, classes\)"):
        functional.softmax_cross_entropy(np.ones((2, 3, 4)), np.zeros((2, 3), int))


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
