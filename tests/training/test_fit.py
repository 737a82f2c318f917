"""fit: sampling, what it tells meanwhile, divergence, Ctrl-C."""

import math
import os
import signal
import threading
import time
import warnings

import numpy as np
import pytest
from small_runs import Interrupting, build, digits, exploding, run

from npbn import (
    SGD,
    Dense,
    Layer,
    ReLU,
    Sequential,
    checkpoint,
    functional,
    training_steps,
)

# Sampling


def test_validation_accuracy_is_sampled_after_the_steps_that_sample_every_divides():
    network, alone, validation = build(), build(), digits(40, seed=1)
    options = {"steps": 8, "batch_size": 10}
    history = run(network, digits(), validation, sample_every=3, progress=False, **options)
    steps = training_steps(alone, digits(), optimizer=SGD(0.1), **options)
    sampled = [alone.accuracy(*validation) for step, _ in steps if step % 3 == 0]
    assert history.sample_steps == [0, 3, 6]
    assert history.validation_accuracies == sampled
    assert history.final_validation_accuracy == alone.accuracy(*validation)
    assert len(history.losses) == 8
    assert history.seconds > 0
    assert history.diverged_at is None
    assert not history.interrupted


def test_without_validation_nothing_is_sampled():
    history = run(batch_size=10)
    assert history.sample_steps == []
    assert history.final_validation_accuracy is None


def test_no_steps_and_no_learning_rate_change_nothing():
    network = build()
    before = network.parameter_vector.copy()
    history = run(network, digits(), digits(), steps=0)
    assert history.losses == []
    assert history.final_validation_accuracy == network.accuracy(*digits())
    run(network, optimizer=SGD(0))
    assert np.array_equal(network.parameter_vector, before)


def test_a_batch_is_60_rows_and_the_seed_0_if_not_given():
    def steps(**options):
        return list(training_steps(build(), digits(), optimizer=SGD(0.1), steps=9, **options))

    for train in (steps, lambda **options: run(steps=9, **options).losses):
        assert train() == train(batch_size=60, seed=0)
        assert train() != train(batch_size=61)
        assert train() != train(seed=1)


def test_every_500th_step_is_sampled_and_every_1000th_is_kept_if_not_given(tmp_path, monkeypatch):
    kept, save = [], checkpoint.save
    monkeypatch.setattr(
        checkpoint, "save", lambda *args: kept.append(args[2]["step"]) or save(*args)
    )
    options = {"steps": 1002, "batch_size": 2, "checkpoint": tmp_path / "c"}
    history = run(build(norm=False), digits(), digits(), **options)
    assert history.sample_steps == [0, 500, 1000]
    assert kept == [1000, 1002]


@pytest.mark.parametrize("row", [0, 999, 1499])
def test_data_that_are_not_finite_are_refused_with_the_row(row):
    images, labels = digits(1500)
    images[row:, 3] = np.nan
    with pytest.raises(ValueError, match=rf"^train\[0\]: not finite, first in row {row}$"):
        run(build(), (images, labels))
    with pytest.raises(ValueError, match=rf"^validation\[0\]: not finite, first in row {row}$"):
        run(build(), digits(), (images, labels))


def test_validation_loss_is_sampled_beside_the_accuracy():
    network, alone, validation = build(), build(), digits(40, seed=1)
    history = run(network, digits(), validation, steps=8, batch_size=10, sample_every=3)
    steps = training_steps(alone, digits(), optimizer=SGD(0.1), steps=8, batch_size=10)
    sampled = [alone.evaluate(*validation).loss for step, _ in steps if step % 3 == 0]
    assert history.validation_losses == sampled
    assert history.final_validation_loss == alone.evaluate(*validation).loss


@pytest.mark.parametrize("count", [7, 100, 1000])
@pytest.mark.parametrize("validation", [[], [digits(40, seed=1)]], ids=["alone", "beside"])
def test_training_rows_are_sampled_if_asked_for(count, validation):
    network = build()
    history = run(network, digits(), *validation, steps=7, sample_every=3, sample_training=count)
    images, labels = digits()
    # Evenly spaced: data may be sorted.
    rows = {7: [0, 14, 28, 42, 57, 71, 85]}.get(count, list(range(100)))
    found = network.evaluate(images[rows], labels[rows])
    assert history.sample_steps == [0, 3, 6]
    assert len(history.training_accuracies) == len(history.training_losses) == 3
    assert history.final_training_accuracy == history.training_accuracies[-1] == found.accuracy
    assert history.training_losses[-1] == found.loss
    assert len(history.validation_losses) == (3 if validation else 0)
    plain = run(build(), digits(), *validation, steps=7, sample_every=3)
    assert plain.losses == history.losses
    assert plain.training_accuracies == plain.training_losses == []
    assert plain.final_training_accuracy is None


def test_what_was_not_sampled_before_a_resume_is_nan(tmp_path):
    options = {"checkpoint": tmp_path / "run", "resume": True}
    options |= {"sample_every": 2, "sample_training": 10}
    run(steps=3, **options)
    history = run(build(), digits(), digits(), steps=6, **options)
    assert history.sample_steps == [0, 2, 4]
    assert [math.isnan(value) for value in history.validation_losses] == [True, True, False]
    assert [math.isnan(value) for value in history.validation_accuracies] == [True, True, False]
    history = run(steps=8, **options)
    assert [math.isnan(value) for value in history.validation_losses] == [True, True, False, True]
    assert not any(map(math.isnan, history.training_accuracies))
    with pytest.raises(ValueError, match="its sample_training is 10, not None"):
        run(steps=9, **options | {"sample_training": None})


# Epochs


@pytest.mark.parametrize(
    ("epochs", "batch_size", "steps"), [(0, 10, 0), (1, 10, 10), (3, 60, 5), (2, 30, 7)]
)
def test_epochs_are_as_many_steps_as_show_every_row_so_often(epochs, batch_size, steps):
    options = {"batch_size": batch_size, "optimizer": SGD(0.1)}
    history = run(steps=None, epochs=epochs, **options)
    assert history.losses == run(steps=steps, **options).losses
    assert len(history.losses) == steps
    made = training_steps(build(), digits(), epochs=epochs, **options)
    assert [loss for _, loss in made] == history.losses


@pytest.mark.parametrize(("length", "got"), [({}, "neither"), ({"steps": 3, "epochs": 1}, "both")])
def test_steps_or_epochs_are_asked_for(length, got):
    message = rf"^steps: expected a number of steps or epochs=, got {got}$"
    with pytest.raises(ValueError, match=message):
        training_steps(build(), digits(), optimizer=SGD(0.1), **length)
    with pytest.raises(ValueError, match=message):
        run(**{"steps": None} | length)


# Callbacks


def test_a_callback_sees_the_network_and_the_history_after_each_sample():
    network, seen = build(), []

    def callback(trained, history):
        assert trained is network
        seen.append((len(history.losses), list(history.sample_steps)))
        assert history.validation_accuracies[-1] == network.accuracy(*digits())
        assert history.seconds > 0

    history = run(network, digits(), digits(), steps=8, sample_every=3, callback=callback)
    assert seen == [(1, [0]), (4, [0, 3]), (7, [0, 3, 6])]
    assert history.stopped_at is None
    assert history.losses == run(steps=8).losses


def test_without_anything_to_sample_it_is_called_as_often():
    seen = []
    run(steps=8, sample_every=3, callback=lambda network, history: seen.append(history.losses[-1]))
    assert len(seen) == 3


@pytest.mark.parametrize("true", [True, np.True_])
def test_a_callback_may_end_the_run(true, tmp_path):
    def callback(network, history):
        return true if len(history.losses) > 5 else None

    path, options = tmp_path / "run", {"steps": 20, "sample_every": 3, "callback": callback}
    history = run(build(), digits(), digits(), checkpoint=path, **options)
    assert history.stopped_at == 6
    assert len(history.losses) == 7
    assert not history.interrupted
    assert history.sample_steps == [0, 3, 6]
    assert history.final_validation_accuracy == history.validation_accuracies[-1]
    assert "stopped at step 6" in repr(history)
    # It has ended; without a callback it goes on.
    again = run(build(), digits(), digits(), checkpoint=path, resume=True, **options)
    assert (again.stopped_at, again.losses) == (6, history.losses)
    on = run(steps=20, sample_every=3, checkpoint=path, resume=True)
    assert on.stopped_at is None
    assert on.losses == run(steps=20).losses


@pytest.mark.parametrize("answer", [0.93, 1, "stop", []])
def test_a_callback_that_returns_something_else_is_told(answer):
    with pytest.raises(TypeError, match=r"^callback: expected True to end the run, or"):
        run(callback=lambda network, history: answer)


def test_what_cannot_be_called_is_refused():
    with pytest.raises(
        TypeError, match=r"^callback: expected a function \(network, history\), got 3"
    ):
        run(callback=3)


# The same rows again


def calls_of(make_options, steps=1, network=None, data=None, again=None):
    """What is warned in three calls."""
    network, data = network or build(), data or digits(200)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        for _ in range(3):
            (again or run)(network, data, steps=steps, batch_size=20, **make_options())
    return [str(each.message) for each in told], {each.filename for each in told}


def stepping(network, data, **options):
    for _ in training_steps(network, data, optimizer=SGD(0.1), **options):
        pass


@pytest.mark.parametrize("again", [run, stepping])
def test_calls_that_see_the_same_few_rows_are_told_once(again):
    told, files = calls_of(dict, steps=3, again=again)
    assert told == [
        "seed=0, as in the last run of this network: it sees the same 60 of 200 rows again. Ask "
        "for all steps in one call, or pass seed=rng, one numpy.random.Generator for all calls"
    ]
    assert files == {again.__code__.co_filename}


def test_views_and_copies_of_the_same_data_are_the_same_data():
    images, labels = digits(400)
    for copy in (False, True):
        network = build()
        run(network, (images[:200], labels[:200]), steps=1)
        with pytest.warns(UserWarning, match="the same 60 of 200 rows"):
            run(network, (images[:200].astype(np.float32, copy=copy), labels[:200]), steps=1)


def seeds():
    return iter(range(9))


def test_whoever_does_as_it_says_or_sees_all_rows_is_not_told(tmp_path):
    rng, counter, kept = np.random.default_rng(0), seeds(), tmp_path / "run"
    assert calls_of(lambda: {"seed": rng})[0] == []
    assert calls_of(lambda: {"seed": next(counter)})[0] == []
    assert calls_of(lambda: {"seed": None})[0] == []
    assert calls_of(dict, steps=10)[0] == []
    assert calls_of(dict, steps=0)[0] == []
    assert calls_of(lambda: {"checkpoint": kept, "resume": True}, steps=3)[0] == []
    network, images, labels = build(), *digits(400)
    for part in (slice(0, 200), slice(200, 400)):
        run(network, (images[part], labels[part]), steps=1)
        run(build(), (images[part], labels[part]), steps=1)
    for seed in range(3):  # into the same memory
        images[...], _ = digits(400, seed=seed)
        run(network, (images, labels), steps=1)


# What is told meanwhile, and what time and threads it takes


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
    history = run(build(), digits(), digits(), steps=3, **options)
    first, second = (("text", f"validation {a:.4f}") for a in history.validation_accuracies)
    step, closed = ("step", 1), ("closed",)
    assert bar.calls == [("made", 3, True, 0), first, step, step, second, step, closed]
    bar.calls.clear()
    run(build(), digits(), digits(), steps=4, progress=False, **options)
    assert bar.calls == [("made", 4, False, 3), step, closed]


def test_the_bar_says_what_was_sampled(monkeypatch):
    bar, kept = Bar(), {"sample_training": 30, "sample_every": 9}
    monkeypatch.setattr("npbn.training.loop.progress_bar", bar)
    x, labels = digits()
    targets = np.eye(3, dtype=np.float32)[labels]
    error = {"loss": functional.squared_error}
    for data, options in (
        ([(x, labels)], kept),
        ([(x, targets)], kept | error),
        ([(x, targets), (x, targets)], kept | error),
    ):
        history = run(build(), *data, **options)
        name = "validation" if len(data) == 2 else "training"
        accuracies = getattr(history, f"{name}_accuracies")
        loss = getattr(history, f"{name}_losses")[0]
        text = f"{name} {accuracies[0]:.4f}" if accuracies else f"{name} loss {loss:.4g}"
        assert [each for each in bar.calls if each[0] == "text"] == [("text", text)]
        bar.calls.clear()


def test_a_history_at_the_prompt_is_one_line():
    history = run(build(), digits(), digits(), steps=1_234)
    start = f"History(1,234 steps, last loss {history.losses[-1]:.4g}, final valida"
    assert repr(history).startswith(start)
    assert repr(history).endswith(" s)")
    network, optimizer = exploding()
    history = run(network, optimizer=optimizer, steps=40, on_divergence="record")
    assert f"diverged at step {history.diverged_at}" in repr(history)


class Slow(SGD):
    """Takes ten milliseconds a step, and stops a run before its step `fails_at`."""

    fails_at = None

    def update(self, *args, **kwargs):
        if self.iterations == self.fails_at:
            raise KeyboardInterrupt
        time.sleep(0.01)
        super().update(*args, **kwargs)


def test_seconds_are_those_of_all_parts_of_a_run(tmp_path):
    def seconds(steps, optimizer=None, **more):
        options = {"checkpoint": tmp_path / "c", "resume": True, "steps": steps}
        return run(optimizer=optimizer or Slow(0.1), **options, **more).seconds

    started = time.perf_counter()
    first = seconds(5)
    assert 0.05 <= first <= time.perf_counter() - started
    second = seconds(10)
    assert first + 0.05 <= second <= time.perf_counter() - started
    dies = Slow(0.1)
    dies.fails_at = 18
    with pytest.raises(KeyboardInterrupt):
        seconds(20, dies, checkpoint_every=8)
    assert second + 0.06 <= seconds(16) <= time.perf_counter() - started


def threads():
    from threadpoolctl import threadpool_info

    return [each["num_threads"] for each in threadpool_info() if each["user_api"] == "blas"]


def test_blas_runs_on_one_thread_meanwhile_and_as_before_after():
    class Asking(ReLU):
        def forward(self, x, training=False, statistics=None, *, out=None):
            seen.append(threads())
            return super().forward(x, training, statistics)

    seen, before = [], threads()
    run(Sequential([Dense(6, 16, rng=0), Asking(), Dense(16, 3, rng=1)]), steps=1)
    assert set(seen[-1]) == {1}
    assert threads() == before


def test_two_runs_in_threads_keep_blas_to_one_thread_until_both_end():
    """The limit is the whole process's: who ends first must not lift the other's."""
    both_run, first_ends = threading.Event(), threading.Event()
    counts, before = [], threads()

    def rate(step):
        if step == 1:
            first_ends.wait(10)
            counts.extend(threads())
        return 0.1

    def first_rate(step):
        if step == 2:
            both_run.set()
        return 0.1

    def outlasting():
        both_run.wait(10)
        run(optimizer=SGD(rate), steps=3)

    thread = threading.Thread(target=outlasting)
    thread.start()
    run(optimizer=SGD(first_rate), steps=200)
    first_ends.set()
    thread.join()
    assert set(counts) == {1}
    assert threads() == before


# Divergence


class Lost(Layer):
    def forward(self, x, training, statistics):
        return x * np.float32(np.nan)

    def backward(self, dy):
        return dy


def spoiled(place, name, factor, **options):
    network = build(**options)
    network.layers[place].parameters[name].reshape(-1)[:] *= np.float32(factor)
    return network


def both_spoiled():
    network = build()
    network.layers[1].gamma[3] = network.layers[1].beta[4] = np.nan
    return network


BEGAN = {
    "the last": (
        lambda: spoiled(2, "weight", np.nan, norm=False),
        r"layer 2, Dense\(16, 3\) \(its weight no longer finite\)",
    ),
    "the first": (
        lambda: spoiled(0, "weight", np.nan, norm=False),
        r"layer 0, Dense\(6, 16\) \(its weight no longer finite\)",
    ),
    "out of range": (lambda: spoiled(0, "weight", 1e25), r"layer 1, BatchNorm\(16\)"),
    "both arrays": (both_spoiled, r"layer 1, .* \(its gamma and beta no longer finite\)"),
    "a reader's": (
        lambda: Sequential([Dense(6, 16, rng=0), Lost(), ReLU(), Dense(16, 3, rng=1)]),
        r"layer 1, Lost\(\)",
    ),
}


@pytest.mark.parametrize(("make", "where"), BEGAN.values(), ids=BEGAN)
def test_the_layer_is_named_where_it_began(make, where):
    with pytest.raises(RuntimeError, match=rf"loss is nan at step 0; it began in {where}: lower"):
        run(make(), steps=50)


def test_it_is_raised_before_the_update():
    network, optimizer = exploding()
    with pytest.raises(RuntimeError, match=r"loss is (nan|inf) at step \d+; it began in layer"):
        run(network, optimizer=optimizer, steps=50)
    assert np.isfinite(network.parameter_vector).all()


def test_record_completes_the_step_and_fills_the_samples():
    network, optimizer = exploding()
    options = {"optimizer": optimizer, "steps": 40, "on_divergence": "record"}
    history = run(network, digits(), digits(), sample_every=4, **options)
    step = history.diverged_at
    assert len(history.losses) == step + 1
    assert not math.isfinite(history.losses[-1])
    assert all(math.isfinite(loss) for loss in history.losses[:-1])
    assert optimizer.iterations == step + 1
    assert history.sample_steps == list(range(0, 40, 4))
    after = history.validation_accuracies[step // 4 + 1 :]
    assert after == [history.final_validation_accuracy] * len(after)
    assert history.final_validation_accuracy == network.accuracy(*digits())


def test_a_run_that_is_sampled_at_each_step_diverges_with_all_samples():
    network, optimizer = exploding()
    options = {"optimizer": optimizer, "steps": 40, "on_divergence": "record"}
    history = run(network, digits(), digits(), sample_every=1, **options)
    assert history.diverged_at < 39
    assert history.sample_steps == list(range(40))


def test_with_nan_everything_is_class_zero():
    network = spoiled(0, "weight", np.nan)
    history = run(network, digits(), digits(), steps=9, on_divergence="record")
    assert history.diverged_at == 0
    assert history.final_validation_accuracy == np.mean(digits()[1] == 0)
    assert (network.state["1.population_mean"] == 0).all()


def test_logits_too_far_apart_for_their_type_are_told_by_the_loss_alone():
    network = Sequential([Dense(6, 3, rng=0)])
    network.layers[0].bias[...] = [3e38, -3e38, 0]
    assert run(network, steps=1, on_divergence="record").losses == [math.inf]


# Ctrl-C


@pytest.mark.parametrize("steps", [3, 10], ids=["in the last step", "before"])
def test_ctrl_c_ends_the_run_after_the_running_step_and_is_told_unless_it_was_the_last(steps):
    history = run(build(), digits(), digits(), optimizer=Interrupting(3), steps=steps)
    assert history.interrupted == (steps == 10)
    assert len(history.losses) == 3
    assert history.final_validation_accuracy is not None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_one_raises():
    with pytest.raises(KeyboardInterrupt):
        run(optimizer=Interrupting(3, presses=2))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
    ("press", "is_early"),
    [(1, True), (2, True), (3, False), (4, False), (5, False)],
    ids=["a step", "a sample", "the last step", "its sample", "the final sample"],
)
def test_an_interrupted_run_is_one_that_has_steps_left(press, is_early):
    calls = []

    def pressing(outputs, targets):
        calls.append(len(outputs))
        if len(calls) == press:
            os.kill(os.getpid(), signal.SIGINT)
        return functional.softmax_cross_entropy(outputs, targets)

    history = run(build(), digits(), digits(50), loss=pressing, steps=2, sample_every=1)
    assert calls == [60, 50, 50] if is_early else [60, 50, 60, 50, 50]
    assert history.interrupted == is_early
    assert len(history.losses) == (1 if is_early else 2)


def test_a_run_that_diverged_was_not_interrupted():
    network, _ = exploding()
    optimizer = Interrupting(1)
    optimizer.learning_rate = 1e30
    options = {"optimizer": optimizer, "on_divergence": "record"}
    network.layers[0].weight[...] = np.nan
    history = run(network, steps=9, **options)
    assert history.diverged_at == 0
    assert not history.interrupted


def test_a_handler_of_the_callers_is_left_alone():
    calls = []
    before = signal.signal(signal.SIGINT, lambda *_: calls.append(1))
    try:
        history = run(optimizer=Interrupting(2))
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls == [1]
    assert not history.interrupted


def test_it_works_in_another_thread():
    found = []
    thread = threading.Thread(target=lambda: found.append(run()))
    thread.start()
    thread.join()
    assert len(found[0].losses) == 5
