"""fit(..., loss=...): classes, regression, a reader's own, and what a checkpoint knows of it."""

from functools import partial

import numpy as np
import pytest
from small_runs import build, digits, run

from npbn import SGD, BatchNorm, Dense, Layer, Sequential, Tanh, fit, functional, training_steps


def regression(rows=100, seed=0, dtype=np.float32):
    """Two sums of the inputs, to be found again."""
    x, _ = digits(rows, seed, dtype)
    return x, np.stack([x[:, :3].sum(1), x[:, 3:].sum(1)], 1)


def line(dtype=np.float32):
    return Sequential([Dense(6, 2, rng=0, dtype=dtype)])


def absolute_error(outputs, targets):
    difference = outputs - targets
    return abs(difference).mean(), np.sign(difference) / np.float32(difference.size)


def hinge(outputs, labels):
    """Of labels, and not one of npbn's own."""
    rows = np.arange(len(labels))
    margins = np.maximum(0, 1 + outputs - outputs[rows, labels][:, np.newaxis])
    margins[rows, labels] = 0
    gradient = (margins > 0).astype(outputs.dtype)
    gradient[rows, labels] = -gradient.sum(1)
    return margins.sum() / len(labels), gradient / np.float32(len(labels))


# What is trained


def test_no_loss_named_is_softmax_cross_entropy_to_the_bit():
    networks, losses = [build() for _ in range(3)], []
    for network, options in zip(
        networks,
        (
            {},
            {"loss": functional.softmax_cross_entropy},
            {"loss": lambda y, t: functional.softmax_cross_entropy(y, t)},
        ),
        strict=True,
    ):
        losses.append(run(network, **options).losses)
        assert np.array_equal(network.parameter_vector, networks[0].parameter_vector)
    assert losses[0] == losses[1] == losses[2]


@pytest.mark.parametrize(
    "options",
    [
        {"class_weights": np.array([0.5, 1, 4], np.float32)},
        {"label_smoothing": 0.1},
        {"ignored_label": -1},
        {"reduction": "sum"},
    ],
    ids=str,
)
def test_options_reach_every_step(options):
    images, labels = digits()
    if "ignored_label" in options:
        labels[::4] = -1
    loss, network, alone = partial(functional.softmax_cross_entropy, **options), build(), build()
    steps = training_steps(
        network, (images, labels), optimizer=SGD(0.1), steps=3, batch_size=10, loss=loss
    )
    found = [value for _, value in steps]
    for rows in np.random.default_rng(0).permutation(100).reshape(10, 10)[:3]:
        value, dy = loss(alone.forward(images[rows], training=True), labels[rows])
        alone.backward(dy)
        alone.parameter_vector[...] -= np.float32(0.1) * alone.gradient_vector
        assert found.pop(0) == pytest.approx(value, rel=1e-5)
    assert network.parameter_vector == pytest.approx(alone.parameter_vector, abs=1e-6)


def test_a_regression_finds_its_line_and_samples_the_loss(dtype):
    network = line(dtype)
    history = fit(
        network,
        regression(dtype=dtype),
        regression(50, seed=1, dtype=dtype),
        optimizer=SGD(0.2),
        steps=2000,
        loss=functional.squared_error,
        sample_every=400,
        sample_training=30,
        progress=False,
    )
    expected = np.repeat(np.eye(2, dtype=dtype), 3, axis=0)
    np.testing.assert_allclose(network.layers[0].parameters["weight"], expected, atol=0.02)
    assert len(history.validation_losses) == len(history.training_losses) == 5
    assert history.validation_losses[-1] < 1e-3 * history.validation_losses[0]
    assert history.validation_accuracies == history.training_accuracies == []
    assert history.final_validation_accuracy is None
    x, targets = regression(50, seed=1, dtype=dtype)
    loss, _ = functional.squared_error(network.forward(x), targets)
    assert history.final_validation_loss == loss
    assert f"final validation loss {loss:.4g}" in repr(history)


def test_targets_may_have_any_shape_that_the_outputs_have():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 5, 6)).astype(np.float32)
    network = Sequential([Dense(6, 4, rng=0), BatchNorm(4), Tanh(), Dense(4, 2, rng=1)])
    options = {"loss": functional.squared_error, "optimizer": SGD(0.1), "steps": 60}
    history = run(network, (x, x[..., :2].copy()), batch_size=8, **options)
    assert history.losses[-1] < 0.5 * history.losses[0]


@pytest.mark.parametrize("loss", [hinge, functional.negative_log_likelihood])
def test_where_the_targets_are_labels_accuracy_is_sampled_whatever_the_loss(loss):
    network = build()
    history = run(network, digits(), digits(40, seed=1), loss=loss, steps=9, sample_every=4)
    assert len(history.validation_accuracies) == len(history.validation_losses) == 3
    assert history.final_validation_accuracy == network.accuracy(*digits(40, seed=1))
    assert (
        history.final_validation_loss
        == loss(network.forward(digits(40, seed=1)[0]), digits(40, seed=1)[1])[0]
    )


def test_whole_numbers_that_are_no_labels_give_no_accuracy():
    def poisson(outputs, counts):
        rate = np.exp(outputs)
        targets = counts[:, np.newaxis].astype(np.float32)
        return (rate - targets * outputs).mean(), (rate - targets) / np.float32(len(outputs))

    network = Sequential([Dense(6, 1, rng=0)])
    data = digits()[0], np.arange(100) % 7
    history = run(network, data, data, loss=poisson, steps=20)
    assert history.validation_accuracies == []
    assert history.losses[-1] < history.losses[0]


def test_a_loss_of_ones_own_is_handed_arrays_that_it_may_keep():
    kept, copies = [], []

    def keeping(outputs, targets):
        kept.append((outputs, targets))
        copies.append((outputs.copy(), targets.copy()))
        return functional.softmax_cross_entropy(outputs, targets)

    run(loss=keeping, steps=4, batch_size=10)
    for arrays, others in zip(kept, copies, strict=True):
        for one, other in zip(arrays, others, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_loss_of_ones_own_gives_warnings_as_its_author_would_have_it():
    def careless(outputs, targets):
        np.log(np.float32(-1))
        return functional.softmax_cross_entropy(outputs, targets)

    with pytest.warns(RuntimeWarning, match="invalid value encountered in log"):
        run(loss=careless, steps=1)
    with np.errstate(invalid="raise"), pytest.raises(FloatingPointError):
        run(loss=careless, steps=1)
    with np.errstate(all="ignore"):
        run(loss=careless, steps=1)


def test_where_the_loss_itself_is_not_finite_it_is_named():
    def broken(outputs, targets):
        return float("nan"), np.zeros_like(outputs)

    with pytest.raises(RuntimeError, match="nan at step 0; it began in the loss, broken"):
        run(loss=broken)


# What is refused


def wrong(result):
    def mine(outputs, targets):
        return result(outputs)

    return mine


@pytest.mark.parametrize(
    ("loss", "error", "message"),
    [
        (None, TypeError, r"^loss: expected a function \(outputs, targets\).*got None"),
        ("mse", TypeError, r"^loss: expected a function.*squared_error say, got 'mse'"),
        (Tanh, TypeError, "^loss: expected a function"),
        (
            wrong(lambda y: 1.0),
            TypeError,
            r"^loss: expected \(loss, gradient\) from mine, got a float",
        ),
        (wrong(lambda y: (y, y)), TypeError, r"number first from mine, got an array of .*60, 3\)"),
        (wrong(lambda y: ("0", y)), TypeError, "number first from mine, got a str"),
        (wrong(lambda y: (0.0, 1.0)), TypeError, "^gradient of mine: expected a float32"),
        (wrong(lambda y: (0.0, y[:1])), ValueError, r"^gradient of mine: .*\(60, 3\), got \(1, 3"),
        (
            wrong(lambda y: (0.0, y.astype(float))),
            TypeError,
            r"^gradient of mine: .*float64: return gradient.astype\(outputs.dtype\)",
        ),
        (
            partial(functional.softmax_cross_entropy, reduction="none"),
            ValueError,
            'one number a batch, got reduction="none"',
        ),
        (
            partial(functional.softmax_cross_entropy, return_log_probabilities=True),
            ValueError,
            r"^loss: expected \(loss, gradient\), got return_log_probabilities=True",
        ),
        (
            partial(functional.softmax_cross_entropy, class_weights=np.ones(4, np.float32)),
            ValueError,
            r"^class_weights: expected shape \(3,\), got \(4,\)",
        ),
        (
            partial(functional.softmax_cross_entropy, label_smoothing=2),
            ValueError,
            "^label_smoothing: ",
        ),
        (partial(functional.softmax_cross_entropy, weights=3), TypeError, "weights"),
    ],
)
def test_what_is_no_loss_is_refused_before_the_first_update(loss, error, message):
    network = build()
    before = network.parameter_vector.copy()
    with pytest.raises(error, match=message):
        run(network, loss=loss)
    assert np.array_equal(network.parameter_vector, before)


X, Y = regression()


@pytest.mark.parametrize(
    ("targets", "error", "message"),
    [
        (Y[:, 0], ValueError, r"^train\[1\]: expected shape \(100, 2\) .*output, got \(100,\)$"),
        (Y.astype(float), TypeError, r"^train\[1\]: expected float32.*pass train\[1\].astype"),
        (digits()[1], TypeError, r"^train\[1\]: expected float32 or float64, got int64"),
        (Y[:50], ValueError, r"^train\[1\]: expected shape \(100, 2\)"),
        (Y.tolist(), TypeError, r"^train\[1\]: expected a float32 or float64 array, got a list"),
        (np.where(Y > 2, np.nan, Y), ValueError, r"^train\[1\]: not finite, first in row \d+$"),
    ],
)
def test_targets_of_a_regression_are_like_the_output(targets, error, message):
    with pytest.raises(error, match=message):
        run(line(), (X, targets), loss=functional.squared_error)


def test_a_column_is_asked_for_where_the_output_is_one():
    network = Sequential([Dense(6, 1, rng=0)])
    with pytest.raises(
        ValueError, match=r"\(100, 1\) .* \(100,\): pass train\[1\]\[:, np.newaxis\]"
    ):
        run(network, (X, Y[:, 0].copy()), loss=functional.squared_error)


def test_float_targets_without_a_loss_are_told_of_the_regression():
    with pytest.raises(TypeError, match=r"astype\(np.int64\), or loss=functional.squared_error"):
        run(build(), (X, Y[:, 0].copy()))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (list(Y), r"^train\[1\]: expected an array of targets, got a list"),
        (Y[:7], r"^train\[1\]: expected 100 targets, one a row, got 7"),
        (np.array(3.0), r"^train\[1\]: expected an array of targets"),
    ],
)
def test_a_loss_of_ones_own_needs_a_target_a_row(targets, message):
    with pytest.raises((TypeError, ValueError), match=message):
        run(line(), (X, targets), loss=absolute_error)


# Checkpoints


LOSSES = {
    "smoothing": lambda: partial(functional.softmax_cross_entropy, label_smoothing=0.1),
    "weights": lambda: partial(
        functional.softmax_cross_entropy, class_weights=np.array([1, 2, 3], np.float32)
    ),
    "one's own": lambda: hinge,
    "a closure": lambda: lambda y, t: scaled(y, t, 2),
}


def scaled(outputs, labels, factor):
    loss, gradient = functional.softmax_cross_entropy(outputs, labels)
    return factor * loss, factor * gradient


def through(outputs, labels, how):
    return how(outputs, labels)


@pytest.mark.parametrize("make", LOSSES.values(), ids=LOSSES)
def test_a_run_on_any_loss_goes_on_to_the_same_bits(make, tmp_path):
    def part(network, steps, **options):
        data = digits(), digits(40, seed=1)
        options |= {"loss": make(), "sample_every": 3, "sample_training": 20}
        return run(network, *data, steps=steps, batch_size=30, **options)

    whole = build()
    expected = part(whole, 12)
    # The last resume makes no step, and the one before none that is asked for its loss.
    for steps in (0, 5, 5, 12, 12):
        network = build()
        history = part(network, steps, checkpoint=tmp_path / "run", resume=True)
    for name in ("losses", "sample_steps", "validation_losses", "training_accuracies"):
        assert getattr(history, name) == getattr(expected, name), name
    assert history.training_losses == expected.training_losses
    assert np.array_equal(network.parameter_vector, whole.parameter_vector)


@pytest.mark.parametrize(
    ("first", "other", "message"),
    [
        (functional.softmax_cross_entropy, hinge, r"its loss is 'softmax_cross_entropy\(\)'"),
        (LOSSES["smoothing"](), functional.softmax_cross_entropy, "label_smoothing=0.1"),
        (
            LOSSES["weights"](),
            partial(
                functional.softmax_cross_entropy, class_weights=np.array([1, 2, 4], np.float32)
            ),
            r"class_weights=\[1.0, 2.0, 3.0\]",
        ),
        (hinge, LOSSES["a closure"](), "its loss is 'hinge"),
        (
            partial(through, how=hinge),
            partial(through, how=scaled),
            r"its loss is 'through\(how=hinge\)', not 'through\(how=scaled\)'",
        ),
        (
            partial(through, how=partial(scaled, factor=2)),
            partial(through, how=hinge),
            r"its loss is 'through\(how=partial\)'",
        ),
        # Of one name; what it says tells.
        (
            lambda y, t: scaled(y, t, 2),
            lambda y, t: scaled(y, t, 3),
            "loss: expected .* of the last batch as before, got",
        ),
    ],
)
def test_another_loss_is_refused_whole(first, other, message, tmp_path):
    options = {"checkpoint": tmp_path / "run", "resume": True}
    for _ in range(2):  # the second makes no step, and knows the loss nevertheless
        run(loss=first, **options)
    network = build()
    before = network.parameter_vector.copy()
    with pytest.raises(ValueError, match=message):
        run(network, steps=9, loss=other, **options)
    assert np.array_equal(network.parameter_vector, before)


def test_a_run_whose_own_loss_was_lost_stays_so(tmp_path):
    def lost(outputs, labels):
        loss, gradient = hinge(outputs, labels)
        return np.nan * loss, gradient

    options = {"loss": lost, "on_divergence": "record", "checkpoint": tmp_path / "run"}
    for _ in range(2):
        assert run(**options, resume=True).diverged_at == 0


def test_a_regression_goes_on_and_other_targets_are_refused(tmp_path):
    options = {"loss": functional.squared_error, "checkpoint": tmp_path / "run", "resume": True}
    expected = run(line(), regression(), loss=functional.squared_error, steps=9)
    run(line(), regression(), steps=4, **options)
    with pytest.raises(ValueError, match="its data is"):
        run(line(), (X, 2 * Y), steps=9, **options)
    assert run(line(), regression(), steps=9, **options).losses == expected.losses


# Evaluation


class Shifting(Layer):
    """As many outputs as its name says."""

    def forward(self, x):
        return x[:, : 2 if x[0, 0] < 0 else 3]

    def backward(self, dy):
        return dy


def test_an_evaluation_counts_what_was_taken_for_what():
    network, (x, labels) = build(), digits(1203)
    run(network, digits(), steps=20)
    found = network.evaluate(x, labels)
    predicted = network.predict(x)
    assert found.rows == 1203
    assert found.accuracy == network.accuracy(x, labels)
    loss, _ = functional.softmax_cross_entropy(network.forward(x), labels)
    assert found.loss == pytest.approx(loss, rel=1e-6)
    for label, taken in np.ndindex(3, 3):
        count = np.count_nonzero((labels == label) & (predicted == taken))
        assert found.confusion[label, taken] == count
    assert found.confusion.sum() == 1203


def test_evaluations_take_the_statistics_that_are_asked_for():
    network, (x, labels) = build(), digits(50)
    found = network.evaluate(x, labels, statistics="batch")
    assert found.accuracy == network.accuracy(x, labels, statistics="batch")
    assert found.loss != network.evaluate(x, labels).loss


def test_an_evaluation_prints_a_table_that_adds_up():
    network, (x, labels) = build(), digits(1203)
    found = network.evaluate(x, labels)
    assert repr(found) == (
        f"Evaluation(1,203 rows, accuracy {found.accuracy:.4f}, loss {found.loss:.4g})"
    )
    first, predicted, header, *rows = str(found).splitlines()
    assert first == f"1,203 rows: accuracy {found.accuracy:.4f}, loss {found.loss:.4g}"
    assert predicted.split() == ["predicted"]
    assert header.split() == ["label", "0", "1", "2", "right"]
    for label, row in enumerate(rows):
        place, *counts, right = row.replace(".  ", "0  ").split()
        numbers = [0 if count == "." else int(count.replace(",", "")) for count in counts]
        assert int(place) == label
        assert numbers == found.confusion[label].tolist()
        assert float(right) == pytest.approx(numbers[label] / sum(numbers), abs=1e-4)
    assert len({len(row) for row in [header, *rows]}) == 1


def test_of_many_classes_the_most_frequent_mistakes_are_printed():
    x = np.eye(30, dtype=np.float32)[np.arange(300) % 30]
    labels = np.arange(300) % 30
    labels[labels == 7] = np.array([7, 8, 8, 8, 8, 9, 9, 7, 7, 7])
    network = Sequential([Dense(30, 30, weight=np.eye(30, dtype=np.float32))])
    text = str(network.evaluate(x, labels)).splitlines()
    assert text[1:] == [
        "  label 8 taken for 7: 4 of 14",
        "  label 9 taken for 7: 2 of 12",
    ]


def test_rows_of_an_ignored_label_count_nowhere():
    network, (x, labels) = build(), digits(60)
    loss = partial(functional.softmax_cross_entropy, ignored_label=-1)
    expected = network.evaluate(x[20:], labels[20:])
    labels[:20] = -1
    found = network.evaluate(x, labels, loss=loss)
    assert (found.rows, found.accuracy) == (40, expected.accuracy)
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    np.testing.assert_array_equal(found.confusion, expected.confusion)
    nothing = network.evaluate(x, np.full_like(labels, -1), loss=loss)
    assert (nothing.rows, nothing.loss) == (0, 0)
    assert np.isnan(nothing.accuracy)
    assert "-" in str(nothing)


def test_an_evaluation_of_a_regression_is_its_loss():
    found = line().evaluate(X, Y, loss=functional.squared_error)
    assert found.accuracy is None
    assert found.confusion is None
    assert found.loss == functional.squared_error(line().forward(X), Y)[0]
    assert str(found) == f"100 rows: loss {found.loss:.4g}"


def test_a_pending_backward_pass_outlives_an_evaluation():
    network, twin, (x, labels) = build(), build(), digits(50)
    for each in (network, twin):
        y = each.forward(x, training=True)
    network.evaluate(x, labels)
    for each in (network, twin):
        each.backward(np.ones_like(y))
    assert np.array_equal(network.gradient_vector, twin.gradient_vector)


@pytest.mark.parametrize(
    ("targets", "options", "error", "message"),
    [
        (digits()[1] + 1, {}, ValueError, "^targets: expected classes 0 to 2, got 3"),
        (digits()[1][:7], {}, ValueError, r"^targets: expected shape \(100,\)"),
        (digits()[1].tolist(), {}, TypeError, r"^targets: .*pass np.asarray\(targets\)"),
        (Y, {}, ValueError, r"^targets: expected shape \(100,\)"),
        (Y[:, 0], {}, TypeError, "or loss=functional.squared_error"),
        (digits()[1], {"loss": "mse"}, TypeError, "^loss: expected a function"),
        (digits()[1], {"statistics": "moving"}, ValueError, "^statistics: "),
    ],
)
def test_what_cannot_be_evaluated_is_refused(targets, options, error, message):
    with pytest.raises(error, match=message):
        build().evaluate(X, targets, **options)


def test_outputs_that_change_their_number_cannot_be_evaluated():
    x, labels = digits(1203)
    x[500:] *= -1
    with pytest.raises(ValueError, match=r"outputs of one shape a row, got \[\(2,\), \(3,\)\]"):
        Sequential([Dense(6, 6, weight=np.eye(6, dtype=np.float32)), Shifting()]).evaluate(
            x, labels
        )
