"""training_steps, and what it and fit refuse."""

import numpy as np
import pytest
from shared import frozen
from small_runs import build, digits, exploding, run

from npbn import SGD, Adam, Dense, Layer, Sequential, fit, functional, training_steps


def test_each_step_is_yielded_with_the_loss_before_its_update():
    network, alone = build(), build()
    seen = list(training_steps(network, digits(), optimizer=SGD(0.1), steps=7, batch_size=10))
    assert [step for step, _ in seen] == list(range(7))
    assert all(type(loss) is float for _, loss in seen)
    images, labels = digits()
    losses = []
    for rows in np.random.default_rng(0).permutation(100).reshape(10, 10)[:7]:
        y = alone.forward(images[rows], training=True)
        loss, dy = functional.softmax_cross_entropy(y, labels[rows])
        alone.backward(dy)
        alone.parameter_vector[...] -= 0.1 * alone.gradient_vector
        losses.append(loss)
    assert [loss for _, loss in seen] == pytest.approx(losses, rel=1e-5)
    assert network.parameter_vector == pytest.approx(alone.parameter_vector, abs=1e-5)


def test_it_learns():
    network = build()
    for _ in training_steps(network, digits(500), optimizer=SGD(0.5), steps=300):
        pass
    assert network.accuracy(*digits(200, seed=1)) > 0.9


def test_the_data_are_neither_copied_nor_changed():
    images, labels = digits()
    images.flags.writeable = labels.flags.writeable = False
    assert len(list(training_steps(build(), (images, labels), optimizer=SGD(0.1), steps=3))) == 3


def test_a_loss_that_is_not_finite_is_handed_on():
    network, optimizer = exploding()
    steps = training_steps(network, digits(), optimizer=optimizer, steps=9)
    losses = [loss for _, loss in steps]
    assert len(losses) == 9
    assert not np.isfinite(losses[-1])


def test_a_batch_may_be_one_row_where_nothing_normalizes():
    options = {"optimizer": SGD(0.1), "steps": 2, "batch_size": 1}
    assert len(list(training_steps(build(norm=False), digits(), **options))) == 2


IMAGES, LABELS = digits()
# Arguments, the error, its message; {} stands for what the data are called. Beside what
# tests/contract/test_refusals.py tries.
REFUSED = [
    ({"optimizer": SGD}, TypeError, r"^optimizer: .*got <class .*SGD'>: write SGD\(\.\.\.\)$"),
    ({"optimizer": "sgd"}, TypeError, r"^optimizer: expected SGD.*got 'sgd'$"),
    ({"optimizer": SGD(np.ones(3, np.float32))}, ValueError, "expected"),
    ({"steps": None, "epochs": -1}, ValueError, "^epochs: expected .*got -1"),
    ({"batch_size": 1}, ValueError, r"^batch_size: 1 is too few: layer 1, BatchNorm"),
    ({"data": IMAGES}, TypeError, "^{}: expected a pair"),
    ({"data": [*digits()]}, TypeError, "^{}: expected a pair .* got a list: pass a tuple"),
    ({"data": (LABELS, LABELS)}, TypeError, r"^{}\[0\]: .* pass {}\[0\]\.astype\("),
    ({"data": (IMAGES.astype(np.uint8), LABELS)}, TypeError, r"pass {}\[0\]\.astype"),
    ({"data": (IMAGES, LABELS + 1)}, ValueError, r"^{}\[1\]: expected classes 0 to 2, got 3"),
    ({"data": (IMAGES, np.eye(3, dtype=int)[LABELS])}, ValueError, r"^{}\[1\].*argmax"),
    ({"data": digits(dtype=float)}, TypeError, r"holds .* pass {}\[0\]\.astype\(np.float32\)"),
    ({"data": (IMAGES[:, :5], LABELS)}, ValueError, r"^{}\[0\]: layer 0.*\(100, 5\)"),
]
REFUSED_BY_FIT = [
    ({"resume": True}, ValueError, "^resume: expected a file.*checkpoint=path"),
    ({"validation": IMAGES}, TypeError, "^validation: expected a pair"),
    ({"validation": (IMAGES, LABELS + 1)}, ValueError, r"^validation\[1\]: expected classes"),
    ({"validation": digits(dtype=float)}, TypeError, r"^validation\[0\]: the network holds"),
    ({"validation": (IMAGES[:, 1:], LABELS)}, ValueError, r"^validation\[0\]: layer 0"),
    ({"validation": (IMAGES.tolist(), LABELS)}, TypeError, r"^validation\[0\]: "),
    ({"checkpoint": b"run"}, TypeError, "^checkpoint: expected a str or .*Path, got a bytes"),
    ({"checkpoint": 3}, TypeError, "^checkpoint: expected a str or pathlib.Path, got a int"),
    ({"checkpoint": ""}, ValueError, "^checkpoint: expected a file name, got ''"),
    ({"checkpoint": "~/run"}, ValueError, r"^checkpoint: .* pass os.path.expanduser\('~/run'\)"),
    ({"checkpoint": "no/run"}, FileNotFoundError, "^checkpoint: .*make it first"),
]


@pytest.mark.parametrize(
    ("train", "name", "change", "error", "message"),
    [(training_steps, "data", *each) for each in REFUSED]
    + [(fit, "train", *each) for each in REFUSED + REFUSED_BY_FIT],
)
def test_wrong_arguments_are_refused_at_the_call_by_name(train, name, change, error, message):
    arguments = {"network": build(), "data": digits(), "optimizer": SGD(0.1), "steps": 5} | change
    network, data = arguments.pop("network"), arguments.pop("data")
    before = frozen(network)
    with pytest.raises(error, match=message.replace("{}", name)):
        train(network, data, **arguments)
    assert frozen(network) == before


def test_outputs_must_be_classes():
    data = np.zeros((10, 4, 6), np.float32), np.zeros(10, int)
    with pytest.raises(ValueError, match=r"outputs \(10, 4, 3\), got \(10,\), one label an"):
        training_steps(build(), data, optimizer=SGD(0.1), steps=1, batch_size=5)


def test_an_optimizer_of_another_network_is_refused():
    optimizer, network = SGD(0.1), build()
    run(build(norm=False), optimizer=optimizer)
    with pytest.raises(ValueError, match="expected"):
        run(network, optimizer=optimizer)
    assert (network.state["1.population_variance"] == 1).all()


def test_labels_are_refused_at_once_where_a_readers_layer_decides_the_classes():
    class Noisy(Layer):
        def __init__(self):
            super().__init__()
            self.rng, self.calls = np.random.default_rng(0), 0

        def forward(self, x):
            self.calls += 1
            return x + self.rng.standard_normal(x.shape).astype(x.dtype)

        def backward(self, dy):
            return dy

    noisy = Noisy()
    network, wrong = Sequential([Dense(6, 3, rng=0), noisy]), (IMAGES, LABELS + 1)
    start = {"optimizer": SGD(0.1), "steps": 2}
    with pytest.raises(ValueError, match=r"^data\[1\]: expected classes 0 to 2, got 3"):
        training_steps(network, wrong, **start)
    with pytest.raises(ValueError, match=r"^validation\[1\]: expected classes 0 to 2, got 3"):
        fit(network, digits(), wrong, **start)
    assert noisy.calls == 0
    assert noisy.rng.random() == np.random.default_rng(0).random()
    list(training_steps(network, digits(), **start))
    assert noisy.calls == 2


def test_labels_are_looked_at_again_where_a_readers_layer_changes_the_classes():
    class Fewer(Layer):
        def forward(self, x, training=False):
            return x[:, :2].copy() if training else x

        def backward(self, dy):
            return np.pad(dy, [(0, 0), (0, 1)])

    network = Sequential([Dense(6, 3, rng=0), Fewer()])
    with pytest.raises(ValueError, match="labels: expected classes 0 to 1, got 2"):
        list(training_steps(network, digits(), optimizer=SGD(0.1), steps=1, batch_size=100))


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, None, "0.1"])
def test_a_bad_value_of_a_schedule_is_told_before_anything_moves(value):
    asked = []

    def schedule(step):
        asked.append(step)
        return value if step == 3 else 0.1

    network, optimizer = build(dropout=True), Adam(schedule)
    steps = training_steps(network, digits(), optimizer=optimizer, steps=9)
    for _ in range(3):
        next(steps)
    before = frozen(network, optimizer)
    with pytest.raises((TypeError, ValueError), match=r"learning_rate\(3\): expected a"):
        next(steps)
    assert frozen(network, optimizer) == before
    assert optimizer.iterations == 3
    assert asked == [0, 1, 2, 3]
