"""training_steps and fit: batches, sampling, divergence, interruption, checkpoints."""

import copy
import errno
import math
import os
import signal
import threading
import time

import numpy as np
import pytest

from npbn import (
    SGD,
    Adam,
    BatchNorm,
    Dense,
    Dropout,
    Layer,
    LeakyReLU,
    ReLU,
    RMSProp,
    Sequential,
    checkpoint,
    fit,
    functional,
    training_steps,
)


def digits(rows=100, seed=0, dtype=np.float32):
    """A small problem that can be learnt: the class is the largest of three sums of pixels."""
    rng = np.random.default_rng(seed)
    images = rng.random((rows, 6)).astype(dtype)
    return images, images.reshape(rows, 3, 2).sum(2).argmax(1)


def build(*, norm=True, dropout=False, dtype=np.float32):
    layers = [Dense(6, 16, use_bias=not norm, rng=0, dtype=dtype)]
    layers += [BatchNorm(16, dtype=dtype)] if norm else []
    layers += [ReLU()]
    layers += [Dropout(0.3, rng=5)] if dropout else []
    return Sequential([*layers, Dense(16, 3, rng=1, dtype=dtype)])


def exploding():
    """A network whose loss is no longer finite after some steps."""
    layers = [Dense(6, 16, rng=0), LeakyReLU(), Dense(16, 3, rng=1)]
    return Sequential(layers), SGD(lambda step: 0.1 if step < 6 else 1e25)


def interrupt_after(steps, presses=1):
    """An optimizer that sends Ctrl-C while the given step runs."""

    class Interrupting(SGD):
        def update(self, *args, **kwargs):
            super().update(*args, **kwargs)
            if self.iterations == steps:
                for _ in range(presses):
                    os.kill(os.getpid(), signal.SIGINT)

    return Interrupting(0.1)


class TestTrainingSteps:
    def test_yields_each_step_and_the_loss_before_its_update(self):
        network, alone = build(), build()
        seen = list(training_steps(network, digits(), optimizer=SGD(0.1), steps=7, batch_size=10))
        assert [step for step, _ in seen] == list(range(7))
        assert all(type(loss) is float for _, loss in seen)

        images, labels = digits()
        order = np.random.default_rng(0).permutation(100)
        losses = []
        for rows in order.reshape(10, 10)[:7]:
            y = alone.forward(images[rows], training=True)
            loss, dy = functional.softmax_cross_entropy(y, labels[rows])
            alone.backward(dy)
            alone.parameter_vector[...] -= 0.1 * alone.gradient_vector
            losses.append(loss)
        assert [loss for _, loss in seen] == pytest.approx(losses, rel=1e-5)
        assert network.parameter_vector == pytest.approx(alone.parameter_vector, abs=1e-5)

    def test_learns(self):
        network = build()
        for _ in training_steps(network, digits(500), optimizer=SGD(0.5), steps=300):
            pass
        assert network.accuracy(*digits(200, seed=1)) > 0.9

    def test_the_data_are_neither_copied_nor_changed(self):
        images, labels = digits()
        images.flags.writeable = labels.flags.writeable = False
        for _ in training_steps(build(), (images, labels), optimizer=SGD(0.1), steps=3):
            pass

    def test_a_loss_that_is_not_finite_is_handed_on(self):
        network, optimizer = exploding()
        losses = [
            loss for _, loss in training_steps(network, digits(), optimizer=optimizer, steps=9)
        ]
        assert len(losses) == 9
        assert not math.isfinite(losses[-1])

    @pytest.mark.parametrize(
        ("change", "error", "message"),
        [
            ({"optimizer": SGD}, TypeError, r"write SGD\(\.\.\.\)"),
            ({"optimizer": 0.1}, TypeError, "optimizer: expected SGD"),
            ({"steps": -1}, ValueError, "^steps: "),
            ({"steps": 1.5}, TypeError, "^steps: "),
            ({"batch_size": 101}, ValueError, "^batch_size: "),
            ({"batch_size": 0}, ValueError, "^batch_size: "),
            ({"seed": -1}, ValueError, "seed"),
            ({"data": digits()[0]}, TypeError, "^data: expected a pair"),
            ({"data": [*digits()]}, TypeError, "^data: expected a pair .* got a list"),
            ({"data": (*digits(), 3)}, TypeError, "^data: expected a pair"),
            ({"data": (digits()[0][:50], digits()[1])}, ValueError, r"^data\[1\]: "),
            (
                {"data": (digits()[1], digits()[1])},
                TypeError,
                r"^data\[0\]: .* pass data\[0\]\.astype\(",
            ),
            ({"data": (digits()[0], digits()[1] + 1)}, ValueError, "classes 0 to 2, got 3"),
            ({"data": (digits()[0], np.eye(3, dtype=int)[digits()[1]])}, ValueError, "argmax"),
            (
                {"data": digits(dtype=np.float64)},
                TypeError,
                r"pass data\[0\]\.astype\(np.float32\)",
            ),
            (
                {"data": (digits()[0][:, :5], digits()[1])},
                ValueError,
                r"^data\[0\]: layer 0.*\(100, 5\)",
            ),
            ({"batch_size": 1}, ValueError, r"^batch_size: 1 is too few: layer 1, BatchNorm"),
            ({"network": Dense(6, 3)}, TypeError, "network: expected a Sequential"),
        ],
    )
    def test_wrong_arguments_are_refused_at_the_call(self, change, error, message):
        arguments = {"network": build(), "data": digits(), "optimizer": SGD(0.1), "steps": 5}
        arguments |= {"batch_size": 10} | change
        with pytest.raises(error, match=message):
            training_steps(arguments.pop("network"), arguments.pop("data"), **arguments)

    def test_a_batch_may_be_one_row_where_nothing_normalizes(self):
        steps = training_steps(
            build(norm=False), digits(), optimizer=SGD(0.1), steps=2, batch_size=1
        )
        assert len(list(steps)) == 2

    def test_what_is_no_optimizer_is_shown(self):
        with pytest.raises(TypeError, match=r"got 'sgd'$"):
            training_steps(build(), digits(), optimizer="sgd", steps=1)
        with pytest.raises(TypeError, match=r"got <class .*SGD'>: write SGD\(\.\.\.\)$"):
            training_steps(build(), digits(), optimizer=SGD, steps=1)

    def test_outputs_must_be_classes(self):
        images = np.zeros((10, 4, 6), np.float32)
        with pytest.raises(ValueError, match=r"expected an output \(N, classes\)"):
            training_steps(
                build(), (images, np.zeros(10, int)), optimizer=SGD(0.1), steps=1, batch_size=5
            )

    def test_labels_are_refused_at_once_where_a_readers_layer_decides_the_classes(self):
        class Noisy(Layer):
            def __init__(self):
                super().__init__()
                self.rng = np.random.default_rng(0)
                self.calls = 0

            def forward(self, x):
                self.calls += 1
                return x + self.rng.standard_normal(x.shape).astype(x.dtype)

            def backward(self, dy):
                return dy

        images, labels = digits()
        noisy = Noisy()
        network = Sequential([Dense(6, 3, rng=0), noisy])
        start = {"data": (images, labels + 1), "optimizer": SGD(0.1), "steps": 2}
        with pytest.raises(ValueError, match=r"^data\[1\]: expected classes 0 to 2, got 3"):
            training_steps(network, **start)
        with pytest.raises(ValueError, match=r"^validation\[1\]: expected classes 0 to 2, got 3"):
            fit(network, (images, labels), start.pop("data"), **start)
        assert noisy.calls == 0
        assert noisy.rng.random() == np.random.default_rng(0).random()
        list(training_steps(network, (images, labels), **start))
        assert noisy.calls == 2

    def test_labels_are_looked_at_again_where_a_readers_layer_changes_the_classes(self):
        class Fewer(Layer):
            def forward(self, x, training=False):
                return x[:, :2].copy() if training else x

            def backward(self, dy):
                return np.pad(dy, [(0, 0), (0, 1)])

        network = Sequential([Dense(6, 3, rng=0), Fewer()])
        with pytest.raises(ValueError, match="labels: expected classes 0 to 1, got 2"):
            list(training_steps(network, digits(), optimizer=SGD(0.1), steps=1, batch_size=100))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"sample_every": 0}, ValueError, "^sample_every: expected at least 1, got 0"),
        ({"sample_every": 2.5}, TypeError, "^sample_every: expected a whole number"),
        ({"checkpoint_every": 0}, ValueError, "^checkpoint_every: expected at least 1, got 0"),
        ({"checkpoint_every": None}, TypeError, "^checkpoint_every: expected a whole number"),
        ({"resume": 1}, TypeError, "^resume: expected True or False"),
        ({"progress": 1}, TypeError, "^progress: expected True or False"),
        ({"on_divergence": "Raise"}, ValueError, "^on_divergence: expected 'raise' or 'record'"),
        ({"validation": digits()[0]}, TypeError, "^validation: expected a pair"),
        ({"validation": (digits()[0], digits()[1] + 1)}, ValueError, r"^validation\[1\]: "),
        (
            {"validation": digits(dtype=np.float64)},
            TypeError,
            r"^validation\[0\]: the network holds",
        ),
        (
            {"validation": (digits()[0][:, 1:], digits()[1])},
            ValueError,
            r"^validation\[0\]: layer 0",
        ),
        ({"train": (digits()[0].astype(np.uint8), digits()[1])}, TypeError, r"pass train\[0\]\."),
        ({"train": (digits()[0], digits()[1] + 1)}, ValueError, r"^train\[1\]: "),
        ({"validation": (digits()[0].tolist(), digits()[1])}, TypeError, r"^validation\[0\]: "),
    ],
)
def test_wrong_arguments_of_fit_are_refused_by_name(change, error, message):
    network = build()
    before = network.parameter_vector.copy()
    with pytest.raises(error, match=message):
        fit(network, **{"train": digits(), "optimizer": SGD(0.1), "steps": 5} | change)
    assert np.array_equal(network.parameter_vector, before)


class TestWhatIsNotGiven:
    """The defaults that the docstrings state."""

    def test_a_batch_is_60_rows_and_the_seed_0(self):
        stated = {"batch_size": 60, "seed": 0}
        for train in (
            lambda **options: fit(build(), digits(), optimizer=SGD(0.1), steps=9, **options).losses,
            lambda **options: list(
                training_steps(build(), digits(), optimizer=SGD(0.1), steps=9, **options)
            ),
        ):
            assert train() == train(**stated)
            for other in ({"batch_size": 61}, {"seed": 1}):
                assert train() != train(**stated | other)

    def test_every_500th_step_is_sampled_and_every_1000th_is_kept(self, tmp_path, monkeypatch):
        kept, save = [], checkpoint.save
        monkeypatch.setattr(
            checkpoint, "save", lambda *args: kept.append(args[2]["step"]) or save(*args)
        )
        history = fit(
            build(norm=False),
            digits(),
            digits(),
            optimizer=SGD(0.1),
            steps=1002,
            batch_size=2,
            checkpoint=tmp_path / "c",
        )
        assert history.sample_steps == [0, 500, 1000]
        assert kept == [1000, 1002]

    def test_a_file_that_is_there_is_not_resumed(self, tmp_path):
        path = tmp_path / "c"
        for _ in range(2):
            optimizer = SGD(0.1)
            fit(build(), digits(), optimizer=optimizer, steps=3, checkpoint=path)
            assert optimizer.iterations == 3
        resumed = SGD(0.1)
        network = build()
        before = network.parameter_vector.copy()
        fit(network, digits(), optimizer=resumed, steps=3, checkpoint=path, resume=True)
        assert not np.array_equal(network.parameter_vector, before)


class Bar:
    """What a progress bar is told."""

    def __init__(self):
        self.calls = []

    def __call__(self, total, *, enabled, initial):
        self.calls.append(("made", total, enabled, initial))
        return self

    def update(self, n=1):
        self.calls.append(("step", n))

    def set_postfix_str(self, text, refresh=True):
        self.calls.append(("text", text))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.calls.append(("closed",))


def test_the_progress_bar_is_told_each_step_and_sample(tmp_path, monkeypatch):
    bar = Bar()
    monkeypatch.setattr("npbn.training.loop.progress_bar", bar)
    options = {"sample_every": 2, "checkpoint": tmp_path / "c", "resume": True}
    history = fit(build(), digits(), digits(), optimizer=SGD(0.1), steps=3, **options)
    texts = [f"validation {each:.4f}" for each in history.validation_accuracies]
    assert bar.calls == [
        ("made", 3, True, 0),
        ("text", texts[0]),
        ("step", 1),
        ("step", 1),
        ("text", texts[1]),
        ("step", 1),
        ("closed",),
    ]
    bar.calls.clear()
    fit(build(), digits(), digits(), optimizer=SGD(0.1), steps=4, progress=False, **options)
    assert bar.calls == [("made", 4, False, 3), ("step", 1), ("closed",)]


class Slow(SGD):
    """Takes ten milliseconds a step, and stops a run before its step `fails_at`."""

    fails_at = None

    def update(self, *args, **kwargs):
        if self.iterations == self.fails_at:
            raise KeyboardInterrupt
        time.sleep(0.01)
        super().update(*args, **kwargs)


def test_seconds_are_those_of_all_parts_of_a_run(tmp_path):
    options = {"checkpoint": tmp_path / "c", "resume": True}
    started = time.perf_counter()
    first = fit(build(), digits(), optimizer=Slow(0.1), steps=5, **options).seconds
    assert 0.05 <= first <= time.perf_counter() - started
    second = fit(build(), digits(), optimizer=Slow(0.1), steps=10, **options).seconds
    assert first + 0.05 <= second <= time.perf_counter() - started
    dies = Slow(0.1)
    dies.fails_at = 18
    with pytest.raises(KeyboardInterrupt):
        fit(build(), digits(), optimizer=dies, steps=20, checkpoint_every=8, **options)
    third = fit(build(), digits(), optimizer=Slow(0.1), steps=16, **options)
    assert len(third.losses) == 16
    assert second + 0.06 <= third.seconds <= time.perf_counter() - started


class TestSampling:
    def test_after_the_steps_that_sample_every_divides(self):
        network, alone, validation = build(), build(), digits(40, seed=1)
        history = fit(
            network,
            digits(),
            validation,
            optimizer=SGD(0.1),
            steps=8,
            batch_size=10,
            sample_every=3,
            progress=False,
        )
        sampled = [
            alone.accuracy(*validation)
            for step, _ in training_steps(
                alone, digits(), optimizer=SGD(0.1), steps=8, batch_size=10
            )
            if step % 3 == 0
        ]
        assert history.sample_steps == [0, 3, 6]
        assert history.validation_accuracies == sampled
        assert history.final_validation_accuracy == alone.accuracy(*validation)
        assert len(history.losses) == 8
        assert history.seconds > 0
        assert history.diverged_at is None
        assert not history.interrupted

    def test_without_validation_nothing_is_sampled(self):
        history = fit(build(), digits(), optimizer=SGD(0.1), steps=2, batch_size=10)
        assert history.sample_steps == []
        assert history.final_validation_accuracy is None

    def test_no_steps_and_no_learning_rate_change_nothing(self):
        network = build()
        before = network.parameter_vector.copy()
        history = fit(network, digits(), digits(), optimizer=SGD(0.0), steps=0)
        assert history.losses == []
        assert history.final_validation_accuracy == network.accuracy(*digits())
        fit(network, digits(), optimizer=SGD(0), steps=3)
        assert np.array_equal(network.parameter_vector, before)

    def test_same_description_same_bits(self):
        runs = [
            fit(build(dropout=True), digits(), digits(), optimizer=Adam(0.01), steps=50, seed=3)
            for _ in range(2)
        ]
        assert runs[0].losses == runs[1].losses
        assert runs[0].validation_accuracies == runs[1].validation_accuracies

    def test_data_that_are_not_finite_are_refused(self):
        for row, block in (
            (0, "0 to 999"),
            (999, "0 to 999"),
            (1000, "1000 to"),
            (1499, "1000 to"),
        ):
            images, labels = digits(1500)
            images[row, 3] = np.nan
            with pytest.raises(ValueError, match=rf"^train\[0\]: not finite.* row {block}"):
                fit(build(), (images, labels), optimizer=SGD(0.1), steps=1)
            with pytest.raises(ValueError, match=rf"^validation\[0\]: not finite.* row {block}"):
                fit(build(), digits(), (images, labels), optimizer=SGD(0.1), steps=1)

    def test_blas_runs_on_one_thread_meanwhile_and_as_before_after(self):
        from threadpoolctl import threadpool_info

        def threads():
            return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]

        class Asking(ReLU):
            def forward(self, x, training=False, statistics=None, *, out=None):
                seen.append(threads())
                return super().forward(x, training, statistics)

        seen, before = [], threads()
        network = Sequential([Dense(6, 16, rng=0), Asking(), Dense(16, 3, rng=1)])
        fit(network, digits(), optimizer=SGD(0.1), steps=1)
        assert set(seen[-1]) == {1}
        assert threads() == before


def test_a_history_at_the_prompt_is_one_line():
    history = fit(build(), digits(), digits(), optimizer=SGD(0.1), steps=1_234)
    shown = repr(history)
    assert shown.startswith(
        f"History(1,234 steps, last loss {history.losses[-1]:.4g}, final valida"
    )
    assert shown.endswith(" s)")
    network, optimizer = exploding()
    history = fit(network, digits(), optimizer=optimizer, steps=40, on_divergence="record")
    assert f"diverged at step {history.diverged_at}" in repr(history)


class TestDivergence:
    def test_raise_names_step_and_layer_before_the_update(self):
        network, optimizer = exploding()
        with pytest.raises(RuntimeError, match=r"loss is (nan|inf) at step \d+; it began in layer"):
            fit(network, digits(), optimizer=optimizer, steps=50)
        assert np.isfinite(network.parameter_vector).all()

    def test_the_layer_is_the_first_one(self):
        network = build(norm=False)
        network.layers[2].weight[0, 0] = np.nan
        with pytest.raises(RuntimeError, match=r"step 0.*layer 2, Dense\(16, 3\) \(its weight no"):
            fit(network, digits(), optimizer=SGD(0.1), steps=50)

    @pytest.mark.parametrize("norm", [True, False])
    def test_the_layer_is_not_the_last_where_an_earlier_one_began_it(self, norm):
        network = build(norm=norm)
        network.layers[0].weight[...] *= np.float32(1e25 if norm else np.nan)
        where = r"BatchNorm\(16\): lower" if norm else r"Dense\(6, 16\) \(its weight no longer fin"
        with pytest.raises(RuntimeError, match=rf"it began in layer {int(norm)}, {where}"):
            fit(network, digits(), optimizer=SGD(0.1), steps=1)

    def test_all_parameters_that_are_not_finite_are_named(self):
        network = build()
        network.layers[1].gamma[3] = network.layers[1].beta[4] = np.nan
        with pytest.raises(RuntimeError, match=r"\(its gamma and beta no longer finite\): lower"):
            fit(network, digits(), optimizer=SGD(0.1), steps=1)

    def test_a_readers_layer_is_named_too(self):
        class Lost(Layer):
            def forward(self, x):
                return x * np.float32(np.nan)

            def backward(self, dy):
                return dy

        layers = [Dense(6, 16, rng=0), Lost(), ReLU(), Dense(16, 3, rng=1)]
        with pytest.raises(RuntimeError, match=r"it began in layer 1, Lost\(\): lower"):
            fit(Sequential(layers), digits(), optimizer=SGD(0.1), steps=1)

    def test_record_completes_the_step_and_fills_the_samples(self):
        network, optimizer = exploding()
        history = fit(
            network,
            digits(),
            digits(),
            optimizer=optimizer,
            steps=40,
            sample_every=4,
            on_divergence="record",
        )
        step = history.diverged_at
        assert len(history.losses) == step + 1
        assert not math.isfinite(history.losses[-1])
        assert all(math.isfinite(loss) for loss in history.losses[:-1])
        assert optimizer.iterations == step + 1
        assert history.sample_steps == list(range(0, 40, 4))
        after = history.validation_accuracies[step // 4 + 1 :]
        assert after == [history.final_validation_accuracy] * len(after)
        assert history.final_validation_accuracy == network.accuracy(*digits())

    def test_with_nan_everything_is_class_zero(self):
        network = build()
        network.layers[0].weight[...] = np.nan
        history = fit(
            network, digits(), digits(), optimizer=SGD(0.1), steps=9, on_divergence="record"
        )
        assert history.diverged_at == 0
        assert history.final_validation_accuracy == np.mean(digits()[1] == 0)
        assert (network.state["1.population_mean"] == 0).all()

    def test_logits_too_far_apart_for_their_type_are_told_by_the_loss_alone(self):
        network = Sequential([Dense(6, 3, rng=0)])
        network.layers[0].bias[...] = [3e38, -3e38, 0]
        history = fit(network, digits(), optimizer=SGD(0.1), steps=1, on_divergence="record")
        assert history.losses == [math.inf]

    def test_anything_else_is_refused(self):
        with pytest.raises(ValueError, match="on_divergence: expected 'raise' or 'record'"):
            fit(build(), digits(), optimizer=SGD(0.1), steps=1, on_divergence="ignore")


class TestInterruption:
    def test_ctrl_c_ends_the_run_after_the_running_step(self):
        history = fit(build(), digits(), digits(), optimizer=interrupt_after(3), steps=10)
        assert history.interrupted
        assert len(history.losses) == 3
        assert history.final_validation_accuracy is not None
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_a_second_one_raises(self):
        with pytest.raises(KeyboardInterrupt):
            fit(build(), digits(), optimizer=interrupt_after(3, presses=2), steps=10)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_in_the_last_step_too_the_caller_is_told(self):
        history = fit(build(), digits(), optimizer=interrupt_after(5), steps=5)
        assert history.interrupted
        assert len(history.losses) == 5

    def test_a_handler_of_the_callers_is_left_alone(self):
        calls = []
        before = signal.signal(signal.SIGINT, lambda *_: calls.append(1))
        try:
            history = fit(build(), digits(), optimizer=interrupt_after(2), steps=5)
        finally:
            signal.signal(signal.SIGINT, before)
        assert calls == [1]
        assert not history.interrupted

    def test_works_in_another_thread(self):
        found = []
        thread = threading.Thread(
            target=lambda: found.append(fit(build(), digits(), optimizer=SGD(0.1), steps=3))
        )
        thread.start()
        thread.join()
        assert len(found[0].losses) == 3


OPTIMIZERS = [
    lambda: SGD(0.1),
    lambda: SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01, max_norm=1.0),
    lambda: SGD(lambda step: 0.1 / (1 + step)),
    lambda: RMSProp(0.01),
    lambda: Adam(0.01),
]


class TestCheckpoints:
    @pytest.mark.parametrize("optimizer", OPTIMIZERS)
    def test_a_resumed_run_gives_the_same_bits(self, optimizer, tmp_path):
        path = tmp_path / "run"
        options = {"batch_size": 30, "sample_every": 4, "checkpoint": path, "checkpoint_every": 3}
        whole = build(dropout=True)
        expected = fit(
            whole,
            digits(),
            digits(),
            optimizer=optimizer(),
            steps=25,
            batch_size=30,
            sample_every=4,
        )
        for steps in (7, 7, 16, 25):
            network = build(dropout=True)
            history = fit(
                network,
                digits(),
                digits(),
                optimizer=optimizer(),
                steps=steps,
                resume=True,
                **options,
            )
        assert history.losses == expected.losses
        assert history.sample_steps == expected.sample_steps
        assert history.validation_accuracies == expected.validation_accuracies
        assert np.array_equal(network.parameter_vector, whole.parameter_vector)
        for name, value in whole.state.items():
            assert np.array_equal(network.state[name], value)

    @pytest.mark.parametrize("after", [3, 9])
    def test_a_disk_that_is_full_costs_no_history(self, after, tmp_path, monkeypatch):
        expected = fit(build(), digits(), digits(), optimizer=SGD(0.1), steps=after)
        network = build()

        def full(*args):
            raise OSError(errno.ENOSPC, "No space left on device", "run")

        monkeypatch.setattr("npbn.checkpoint.save", full)
        kept = {"checkpoint": tmp_path / "run", "checkpoint_every": 3 if after == 3 else 100}
        with pytest.raises(OSError, match="No space") as caught:
            fit(network, digits(), digits(), optimizer=SGD(0.1), steps=9, **kept)
        assert caught.value.history.losses == expected.losses
        assert caught.value.history.sample_steps == expected.sample_steps
        assert "history" in caught.value.__notes__[0]
        assert network.accuracy(*digits()) == expected.final_validation_accuracy

    def test_an_interrupted_run_goes_on(self, tmp_path):
        path = tmp_path / "run"
        expected = fit(build(), digits(), optimizer=SGD(0.1), steps=9)

        class Once(SGD):
            def __repr__(self):
                return repr(SGD(0.1))

            def update(self, *args, **kwargs):
                super().update(*args, **kwargs)
                if self.iterations == 4:
                    os.kill(os.getpid(), signal.SIGINT)

        history = fit(build(), digits(), optimizer=Once(0.1), steps=9, checkpoint=path)
        assert history.interrupted
        history = fit(build(), digits(), optimizer=SGD(0.1), steps=9, checkpoint=path, resume=True)
        assert history.losses == expected.losses
        assert not history.interrupted

    def test_a_run_that_diverged_stays_so(self, tmp_path):
        path = tmp_path / "run"
        options = {"steps": 40, "checkpoint": path, "on_divergence": "record", "resume": True}
        network, optimizer = exploding()
        first = fit(network, digits(), digits(), optimizer=optimizer, **options)
        network, optimizer = exploding()
        second = fit(network, digits(), digits(), optimizer=optimizer, **options)
        assert second.diverged_at == first.diverged_at
        assert len(second.losses) == len(first.losses)

    def test_a_finished_run_is_not_repeated(self, tmp_path):
        path = tmp_path / "run"
        for _ in range(2):
            optimizer = SGD(0.1)
            history = fit(
                build(), digits(), optimizer=optimizer, steps=5, checkpoint=path, resume=True
            )
        assert len(history.losses) == 5
        assert optimizer.iterations == 5

    @pytest.mark.parametrize(
        "other",
        [
            {"network": build(norm=False), "it": "layers is"},
            {"optimizer": SGD(0.2), "it": r"optimizer is 'SGD\(learning_rate=0.1\)', not 'SGD"},
            {"batch_size": 20, "it": "batch_size is 10, not 20"},
            {"train": digits(90), "it": "data is"},
            {"seed": 3, "it": "seed is 0, not 3"},
            {"sample_every": 7, "it": "sample_every is 500, not 7"},
        ],
    )
    def test_another_runs_file_is_refused_whole(self, other, tmp_path):
        other = dict(other)
        message = f"{tmp_path}.*holds another run, its {other.pop('it')}"
        path = tmp_path / "run"
        fit(build(), digits(), optimizer=SGD(0.1), steps=5, batch_size=10, checkpoint=path)
        arguments = {
            "network": build(),
            "train": digits(),
            "optimizer": SGD(0.1),
            "batch_size": 10,
        } | other
        before = copy.deepcopy(arguments["network"])
        with pytest.raises(ValueError, match=message):
            fit(**arguments, steps=9, checkpoint=path, resume=True)
        assert np.array_equal(arguments["network"].parameter_vector, before.parameter_vector)
        assert arguments["optimizer"].iterations == 0

    @pytest.mark.parametrize(
        "damage",
        [
            lambda arrays, header: header.pop("step"),
            lambda arrays, header: header.pop("iterations"),
            lambda arrays, header: header.pop("batches"),
            lambda arrays, header: header.pop("generators"),
            lambda arrays, header: header.pop("diverged_at"),
            lambda arrays, header: header.update(step=4),
            lambda arrays, header: header.update(step="5"),
            lambda arrays, header: header.update(iterations=-1),
            lambda arrays, header: header.update(iterations=10**400),
            lambda arrays, header: header.update(iterations=2**63),
            lambda arrays, header: header.update(scheduled=[[0, 0.1]]),
            lambda arrays, header: header.update(batches={}),
            lambda arrays, header: header.update(generators={"3._rng": {"state": 1}}),
            lambda arrays, header: arrays.pop("network.0.weight"),
            lambda arrays, header: arrays.pop("network.digits.1.population_mean"),
            lambda arrays, header: arrays.pop("optimizer.velocity"),
            lambda arrays, header: arrays.pop("history.losses"),
            lambda arrays, header: arrays.update({"network.9.weight": np.ones(3)}),
            lambda arrays, header: arrays.update({"optimizer.velocity": np.ones(3, np.float32)}),
            lambda arrays, header: arrays.update({"optimizer.other": arrays["optimizer.velocity"]}),
        ],
    )
    def test_a_file_that_lacks_or_twists_something_is_refused_whole(self, damage, tmp_path):
        path = tmp_path / "run"
        options = {"steps": 5, "checkpoint": path, "resume": True}
        fit(build(dropout=True), digits(), optimizer=SGD(0.1, momentum=0.9), **options)
        arrays, header = checkpoint.load(path)
        damage(arrays, header)
        checkpoint.save(path, arrays, header)
        network, optimizer = build(dropout=True), SGD(0.1, momentum=0.9)
        held = {**network.parameters, **network.state}
        before = copy.deepcopy(held)
        drawn = [copy.deepcopy(rng.bit_generator.state) for rng in network.generators.values()]
        where = f"{tmp_path}.*not what this run's checkpoint holds"
        with pytest.raises(ValueError, match=where) as caught:
            fit(network, digits(), optimizer=optimizer, **options)
        assert "None" not in str(caught.value)
        assert header.get("step") != "5" or "step: expected a whole number" in str(caught.value)
        for name, array in held.items():
            assert np.array_equal(array, before[name])
        assert drawn == [rng.bit_generator.state for rng in network.generators.values()]
        assert optimizer.iterations == 0

    @pytest.mark.parametrize(
        "damage",
        [
            lambda arrays, header: header.update(iterations=-1),
            lambda arrays, header: arrays.pop("network.0.weight"),
            lambda arrays, header: arrays.pop("optimizer.velocity"),
        ],
    )
    def test_what_is_refused_leaves_the_callers_generator(self, damage, tmp_path):
        options = {"steps": 5, "checkpoint": tmp_path / "run"}
        optimizer = SGD(0.1, momentum=0.9)
        fit(build(), digits(), optimizer=optimizer, seed=np.random.default_rng(1), **options)
        arrays, header = checkpoint.load(tmp_path / "run")
        damage(arrays, header)
        checkpoint.save(tmp_path / "run", arrays, header)
        rng = np.random.default_rng(7)
        options |= {"optimizer": SGD(0.1, momentum=0.9), "seed": rng}
        with pytest.raises(ValueError, match="not what this run's checkpoint holds"):
            fit(build(), digits(), resume=True, **options)
        with pytest.raises(ValueError, match="expected classes"):
            fit(build(), digits(), (digits()[0], digits()[1] + 1), **options)
        assert rng.bit_generator.state == np.random.default_rng(7).bit_generator.state

    def test_a_layers_generator_beyond_its_buffer_is_refused(self, tmp_path):
        path = tmp_path / "run"
        rng = np.random.Generator(np.random.MT19937(3))
        network = Sequential([Dense(6, 3, rng=0), Dropout(0.5, rng=rng)])
        fit(network, digits(), optimizer=SGD(0.1), steps=2, checkpoint=path)
        arrays, header = checkpoint.load(path)
        header["generators"]["1._rng"]["state"]["pos"] = 2**30
        checkpoint.save(path, arrays, header)
        before = network.parameter_vector.copy()
        with pytest.raises(ValueError, match=r"from 0 to 624, got|between 0 and 624"):
            fit(network, digits(), optimizer=SGD(0.1), steps=3, checkpoint=path, resume=True)
        assert np.array_equal(network.parameter_vector, before)

    def test_a_run_of_no_steps_yet_goes_on(self, tmp_path):
        options = {"optimizer": SGD(0.1), "checkpoint": tmp_path / "run", "resume": True}
        fit(build(), digits(), steps=0, **options)
        assert len(fit(build(), digits(), steps=3, **options).losses) == 3

    def test_resume_needs_a_file_name(self):
        with pytest.raises(ValueError, match="checkpoint=path"):
            fit(build(), digits(), optimizer=SGD(0.1), steps=5, resume=True)

    @pytest.mark.parametrize(
        ("name", "error", "message"),
        [
            (b"run", TypeError, "^checkpoint: expected a str or pathlib.Path, got a bytes"),
            (3, TypeError, "^checkpoint: expected a str or pathlib.Path, got a int"),
            ("", ValueError, "^checkpoint: expected a file name, got ''"),
            ("~/run", ValueError, r"^checkpoint: .* pass os.path.expanduser\('~/run'\)"),
        ],
    )
    def test_a_name_that_is_none_is_refused(self, name, error, message):
        with pytest.raises(error, match=message):
            fit(build(), digits(), optimizer=SGD(0.1), steps=5, checkpoint=name)

    def test_a_runs_file_is_no_networks_file(self, tmp_path):
        network, path = build(), tmp_path / "run"
        fit(network, digits(), optimizer=SGD(0.1), steps=1, checkpoint=path)
        with pytest.raises(ValueError, match=r"run: a run's checkpoint: use fit\(.*resume=True\)"):
            network.load(path)

    def test_what_a_foreign_file_says_is_shown_in_short(self, tmp_path):
        network, path = build(), tmp_path / "run"
        checkpoint.save(path, {}, {"layers": ["\x1b[2J" * 10**5]})
        with pytest.raises(ValueError, match="holds another") as first:
            network.load(path)
        options = {"checkpoint": path, "resume": True}
        with pytest.raises(ValueError, match="holds another") as second:
            fit(network, digits(), optimizer=SGD(0.1), steps=1, **options)
        for message in (str(first.value), str(second.value)):
            assert len(message) < 1000
            assert "\x1b" not in message

    def test_a_networks_file_is_no_runs_file(self, tmp_path):
        network = build()
        network.save(tmp_path / "network")
        with pytest.raises(ValueError, match="network"):
            fit(
                network,
                digits(),
                optimizer=SGD(0.1),
                steps=5,
                checkpoint=tmp_path / "network",
                resume=True,
            )


class TestWhatAReviewFound:
    """Each of these was wrong once."""

    def test_ctrl_c_in_the_final_sampling_is_told(self, monkeypatch):
        network = build()
        accuracy = network.accuracy

        def interrupted(*data):
            os.kill(os.getpid(), signal.SIGINT)
            return accuracy(*data)

        monkeypatch.setattr(network, "accuracy", interrupted)
        assert fit(network, digits(), digits(), optimizer=SGD(0.1), steps=0).interrupted

    def test_an_optimizer_of_another_network_is_refused_before_anything_moves(self):
        optimizer, network = SGD(0.1), build()
        fit(build(norm=False), digits(), optimizer=optimizer, steps=1)
        for wrong in (optimizer, SGD(np.ones(3, np.float32))):
            with pytest.raises(ValueError, match="expected"):
                fit(network, digits(), optimizer=wrong, steps=1)
            assert (network.state["1.population_variance"] == 1).all()

    @pytest.mark.parametrize("value", [-1.0, np.nan, np.inf, None, "0.1"])
    def test_a_bad_value_of_a_schedule_is_told_before_anything_moves(self, value):
        asked = []

        def schedule(step):
            asked.append(step)
            return value if step == 3 else 0.1

        network, optimizer = build(dropout=True), Adam(schedule)
        run = training_steps(network, digits(), optimizer=optimizer, steps=9)
        for _ in range(3):
            next(run)
        held = {**network.parameters, **network.state, **optimizer.state}
        held["gradients"] = network.gradient_vector
        before = copy.deepcopy(held)
        drawn = [copy.deepcopy(rng.bit_generator.state) for rng in network.generators.values()]
        with pytest.raises((TypeError, ValueError), match=r"learning_rate\(3\): expected a"):
            next(run)
        for name, array in held.items():
            assert np.array_equal(array, before[name])
        assert drawn == [rng.bit_generator.state for rng in network.generators.values()]
        assert optimizer.iterations == 3
        assert asked == [0, 1, 2, 3]

    @pytest.mark.parametrize("seed", [np.int64(3), np.random.default_rng(0), None], ids=str)
    def test_any_batch_size_and_seed_can_be_kept_and_resumed(self, seed, tmp_path):
        file, settings = tmp_path / "run", {"batch_size": np.int64(20), "seed": seed}
        fit(build(), digits(), optimizer=SGD(0.1), steps=5, checkpoint=file, **settings)
        history = fit(
            build(), digits(), optimizer=SGD(0.1), steps=9, checkpoint=file, resume=True, **settings
        )
        assert len(history.losses) == 9

    def test_a_wrong_seed_is_named(self):
        with pytest.raises(ValueError, match="seed: expected at least 0, got -1"):
            fit(build(), digits(), optimizer=SGD(0.1), steps=5, seed=-1)

    def test_what_cannot_be_saved_is_told_before_the_first_step(self, tmp_path, monkeypatch):
        class Named(Layer):
            def __init__(self):
                super().__init__(parameters={"my weight": np.ones(6, np.float32)})

            def forward(self, x):
                return x * self.parameters["my weight"]

        def refused(network, folder, error):
            kept = network.parameter_vector.copy()
            with pytest.raises(error):
                fit(network, digits(), optimizer=SGD(0.1), steps=5, checkpoint=folder)
            assert np.array_equal(network.parameter_vector, kept)

        refused(Sequential([Named(), Dense(6, 3, rng=0)]), tmp_path / "run", ValueError)
        folder = tmp_path / "folder"
        folder.mkdir()
        refused(build(), folder, OSError)

        def no_permission(**_):
            raise PermissionError(13, "denied")

        monkeypatch.setattr(checkpoint.tempfile, "TemporaryFile", no_permission)
        refused(build(), tmp_path / "run", PermissionError)
        assert os.listdir(tmp_path) == ["folder"]

    def test_two_runs_in_threads_keep_blas_to_one_thread_until_both_end(self):
        """The limit is the whole process's: who ends first must not lift the other's."""
        limits = pytest.importorskip("threadpoolctl")
        first_ends, counts = threading.Event(), []
        before = [each["num_threads"] for each in limits.threadpool_info()]

        def rate(step):
            if step == 1:
                first_ends.wait(10)
                counts.extend(
                    each["num_threads"]
                    for each in limits.threadpool_info()
                    if each["user_api"] == "blas"
                )
            return 0.1

        both_run = threading.Event()

        def first_rate(step):
            both_run.set() if step == 2 else None
            return 0.1

        def long():
            both_run.wait(10)
            fit(build(), digits(), optimizer=SGD(rate), steps=3)

        def short():
            started.start()
            fit(build(), digits(), optimizer=SGD(first_rate), steps=200)
            first_ends.set()

        started = threading.Thread(target=long)
        short()
        started.join()
        assert set(counts) == {1}
        assert [each["num_threads"] for each in limits.threadpool_info()] == before

    def test_a_missing_folder_is_told_at_once(self, tmp_path):
        network = build()
        with pytest.raises(FileNotFoundError, match="make it first"):
            fit(network, digits(), optimizer=SGD(0.1), steps=1, checkpoint=tmp_path / "no" / "c")
        with pytest.raises(TypeError):
            fit(network, digits(), optimizer=SGD(0.1), steps=1, checkpoint=5)
        assert (network.state["1.population_variance"] == 1).all()

    @pytest.mark.parametrize(
        "change", [{"seed": 3}, {"sample_every": 7}, {"train": digits(seed=4)}]
    )
    def test_a_run_resumes_with_its_own_settings_alone(self, change, tmp_path):
        options = {"train": digits(), "seed": 0, "sample_every": 5, "checkpoint": tmp_path / "c"}
        fit(build(), optimizer=SGD(0.1), steps=5, **options)
        with pytest.raises(ValueError, match="holds another run"):
            fit(build(), optimizer=SGD(0.1), steps=9, resume=True, **options | change)

    def test_a_schedule_that_is_an_object_resumes(self, tmp_path):
        class Schedule:
            def __call__(self, step):
                return 0.1

        for steps in (3, 6):
            history = fit(
                build(),
                digits(),
                optimizer=SGD(Schedule()),
                steps=steps,
                resume=True,
                checkpoint=tmp_path / "c",
            )
        assert len(history.losses) == 6

    @pytest.mark.parametrize(
        ("first", "other"),
        [
            ((lambda step: 0.1, 0.3), (lambda step: 0.2, 0.3)),
            ((lambda step: 0.1, 0.3), (lambda step: 0.1 if step < 4 else 0.2, 0.3)),
            ((np.full(195, 0.1), 0.3), (np.full(195, 0.2), 0.3)),
            ((0.1, 1 / 3), (0.1, 0.333333)),
        ],
    )
    def test_another_rate_that_is_written_the_same_is_refused(self, first, other, tmp_path):
        def run(rate, dropout, **options):
            layers = [Dense(6, 16, rng=0), LeakyReLU(0.2), Dropout(dropout, rng=5)]
            network = Sequential([*layers, Dense(16, 3, use_bias=False, rng=1)])
            rate = rate[: network.parameter_vector.size] if isinstance(rate, np.ndarray) else rate
            before = network.parameter_vector.copy()
            try:
                fit(network, digits(), optimizer=SGD(rate), checkpoint=tmp_path / "c", **options)
            except ValueError:
                assert np.array_equal(network.parameter_vector, before)
                raise

        run(*first, steps=5)
        with pytest.raises(ValueError, match="pass what the run was started with"):
            run(*other, steps=9, resume=True)
        run(*first, steps=9, resume=True)

    def test_a_schedule_is_asked_once_an_update_also_with_a_checkpoint(self, tmp_path):
        asked = []

        def schedule(step):
            asked.append(step)
            return [0.3, 0.2, 0.1, 0.0][step]

        options = {"checkpoint": tmp_path / "c", "checkpoint_every": 1, "resume": True}
        fit(build(), digits(), optimizer=SGD(schedule), steps=3, **options)
        assert asked == [0, 1, 2]
        fit(build(), digits(), optimizer=SGD(schedule), steps=4, **options)
        assert asked == [0, 1, 2, 0, 2, 3]

    def test_resuming_a_diverged_run_raises_if_told_to(self, tmp_path):
        network, optimizer = exploding()
        options = {"steps": 40, "checkpoint": tmp_path / "c"}
        fit(network, digits(), optimizer=optimizer, on_divergence="record", **options)
        network, optimizer = exploding()
        before = network.parameter_vector.copy()
        with pytest.raises(RuntimeError, match="this run diverged at step"):
            fit(network, digits(), optimizer=optimizer, resume=True, **options)
        assert np.array_equal(network.parameter_vector, before)
        assert optimizer.iterations == 0

    @pytest.mark.parametrize(
        "nest",
        [
            lambda drop, rng: {"drop": drop},
            lambda drop, rng: {"drops": [[drop], 3]},
            lambda drop, rng: {"drops": ({"a": 1}, drop)},
            lambda drop, rng: {"rngs": (rng, "b")},
            lambda drop, rng: {"inner": Sequential([drop])},
        ],
    )
    def test_generators_within_a_readers_layer_resume(self, nest, tmp_path):
        class Outer(Layer):
            def __init__(self):
                super().__init__()
                rng = np.random.default_rng(4)
                self.drop = lambda x: x * (rng.random(x.shape) > 0.2).astype(x.dtype)
                for name, value in nest(Dropout(0.3, rng=rng), rng).items():
                    setattr(self, f"_{name}", value)

            def forward(self, x):
                return self.drop(x)

            def backward(self, dy):
                return dy

        def network():
            return Sequential([Dense(6, 3, rng=0), Outer()])

        assert len(network().generators) == 1
        expected = fit(network(), digits(), optimizer=SGD(0.1), steps=9)
        options = {"checkpoint": tmp_path / "c", "resume": True}
        for steps in (4, 9):
            options["optimizer"] = SGD(0.1)
            history = fit(network(), digits(), steps=steps, **options)
        assert history.losses == expected.losses

    def test_samples_only_from_a_resume_on_never_go_back(self, tmp_path):
        def run(steps, validation):
            network, _ = exploding()
            return fit(
                network,
                digits(),
                validation,
                optimizer=SGD(lambda step: 0.1 if step < 10 else 1e25),
                steps=steps,
                sample_every=3,
                on_divergence="record",
                checkpoint=tmp_path / "c",
                resume=True,
            )

        run(8, None)
        history = run(30, digits())
        assert history.sample_steps == list(range(9, 30, 3))
        assert run(40, digits()).sample_steps == list(range(9, 40, 3))

    @pytest.mark.parametrize("every", [1, 3])
    def test_a_run_that_diverged_unsampled_is_sampled_from_there_on(self, every, tmp_path):
        options = {"steps": 40, "sample_every": every, "on_divergence": "record", "resume": True}
        options["checkpoint"] = tmp_path / "c"
        for validation in (None, digits()):
            network, optimizer = exploding()
            history = fit(network, digits(), validation, optimizer=optimizer, **options)
        first = -(-history.diverged_at // every) * every
        assert history.sample_steps == list(range(first, 40, every))

    def test_a_run_that_is_sampled_at_each_step_diverges_with_all_samples(self):
        network, optimizer = exploding()
        options = {"steps": 40, "sample_every": 1, "on_divergence": "record"}
        history = fit(network, digits(), digits(), optimizer=optimizer, **options)
        assert history.diverged_at < 39
        assert history.sample_steps == list(range(40))

    def test_fewer_steps_than_were_done_are_refused(self, tmp_path):
        fit(build(), digits(), optimizer=SGD(0.1), steps=5, checkpoint=tmp_path / "c")
        network, options = build(), {"checkpoint": tmp_path / "c", "resume": True}
        before = network.parameter_vector.copy()
        with pytest.raises(ValueError, match=r"^steps: .* a run of 5 steps, got 4: pass as many"):
            fit(network, digits(), optimizer=SGD(0.1), steps=4, **options)
        assert np.array_equal(network.parameter_vector, before)

    @pytest.mark.parametrize("places", [[0, 0, 0], [0, 0, 1], [0, 1, 0]])
    def test_generators_that_are_one_must_be_one_again(self, places, tmp_path):
        def run(places, steps, **options):
            each = [np.random.default_rng(4) for _ in range(3)]
            first, second, seed = (each[place] for place in places)
            layers = [Dense(6, 8, rng=0), Dropout(0.3, rng=first), Dropout(0.3, rng=second)]
            network = Sequential([*layers, Dense(8, 3, rng=1)])
            options |= {"optimizer": SGD(0.1), "seed": seed}
            return fit(network, digits(), steps=steps, **options).losses

        expected = run(places, 9)
        kept = {"checkpoint": tmp_path / "c", "resume": True}
        run(places, 4, **kept)
        with pytest.raises(ValueError, match=r"sharing of generators is \[\['.*\]\], not \[\]"):
            run([0, 1, 2], 9, **kept)
        assert run(places, 9, **kept) == expected

    def test_any_generator_resumes(self, tmp_path):
        def network():
            rng = np.random.Generator(np.random.MT19937(3))
            return Sequential([Dense(6, 16, rng=0), Dropout(0.5, rng=rng), Dense(16, 3, rng=1)])

        expected = fit(network(), digits(), optimizer=SGD(0.1), steps=9)
        for steps in (4, 9):
            history = fit(
                network(),
                digits(),
                optimizer=SGD(0.1),
                steps=steps,
                resume=True,
                checkpoint=tmp_path / "c",
            )
        assert history.losses == expected.losses
