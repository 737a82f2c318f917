"""fit(checkpoint=...): what goes on from a file, to the same bits, and what is refused."""

import copy
import errno
import os

import numpy as np
import pytest
from small_runs import Interrupting, build, digits, drawn, exploding, run

from npbn import SGD, Adam, Dense, Dropout, Layer, LeakyReLU, RMSProp, Sequential, checkpoint


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run"


# What goes on


OPTIMIZERS = [
    lambda: SGD(0.1),
    lambda: SGD(0.1, momentum=0.9, nesterov=True, weight_decay=0.01, max_norm=1.0),
    lambda: SGD(lambda step: 0.1 / (1 + step)),
    lambda: RMSProp(0.01),
    lambda: Adam(0.01),
]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_run_gives_the_same_bits(optimizer, path):
    def part(network, steps, **options):
        options |= {"optimizer": optimizer(), "batch_size": 30, "sample_every": 4}
        return run(network, digits(), digits(), steps=steps, **options)

    whole = build(dropout=True)
    expected = part(whole, 25)
    for steps in (7, 7, 16, 25):
        network = build(dropout=True)
        history = part(network, steps, checkpoint=path, checkpoint_every=3, resume=True)
    assert history.losses == expected.losses
    assert history.sample_steps == expected.sample_steps
    assert history.validation_accuracies == expected.validation_accuracies
    assert np.array_equal(network.parameter_vector, whole.parameter_vector)
    for name, value in whole.state.items():
        assert np.array_equal(network.state[name], value)


class Outer(Layer):
    """A reader's layer that keeps a Dropout, or its generator, somewhere."""

    def __init__(self, nest):
        super().__init__()
        rng = np.random.default_rng(4)
        self.drop = lambda x: x * (rng.random(x.shape) > 0.2).astype(x.dtype)
        for name, value in nest(Dropout(0.3, rng=rng), rng).items():
            setattr(self, f"_{name}", value)

    def forward(self, x):
        return self.drop(x)

    def backward(self, dy):
        return dy


DRAWING = {
    "in an attribute": lambda: Outer(lambda drop, rng: {"drop": drop}),
    "in lists": lambda: Outer(lambda drop, rng: {"drops": [[drop], 3]}),
    "in a dict": lambda: Outer(lambda drop, rng: {"drops": ({"a": 1}, drop)}),
    "a generator": lambda: Outer(lambda drop, rng: {"rngs": (rng, "b")}),
    "in a network": lambda: Outer(lambda drop, rng: {"inner": Sequential([drop])}),
    "another kind": lambda: Dropout(0.5, rng=np.random.Generator(np.random.MT19937(3))),
}


@pytest.mark.parametrize("make", DRAWING.values(), ids=DRAWING)
def test_any_generator_of_a_layer_resumes_wherever_it_is_kept(make, path):
    def network():
        return Sequential([Dense(6, 3, rng=0), make()])

    assert len(network().generators) == 1
    expected = run(network(), steps=9)
    for steps in (4, 9):
        history = run(network(), steps=steps, checkpoint=path, resume=True)
    assert history.losses == expected.losses


@pytest.mark.parametrize("places", [[0, 0, 0], [0, 0, 1], [0, 1, 0]])
def test_generators_that_are_one_must_be_one_again(places, path):
    def part(places, steps, **options):
        each = [np.random.default_rng(seed) for seed in range(3)]
        first, second, seed = (each[place] for place in places)
        layers = [Dense(6, 8, rng=0), Dropout(0.3, rng=first), Dropout(0.3, rng=second)]
        network = Sequential([*layers, Dense(8, 3, rng=1)])
        return run(network, steps=steps, seed=seed, **options).losses

    expected, kept = part(places, 9), {"checkpoint": path, "resume": True}
    part(places, 4, **kept)
    with pytest.raises(ValueError, match=r"sharing of generators is \[\['.*\]\], not \[\]"):
        part([0, 1, 2], 9, **kept)
    assert part(places, 9, **kept) == expected


@pytest.mark.parametrize("seed", [np.int64(3), np.random.default_rng(0), None], ids=str)
def test_any_batch_size_and_seed_can_be_kept_and_resumed(seed, path):
    settings = {"batch_size": np.int64(20), "seed": seed, "checkpoint": path}
    run(**settings)
    assert len(run(steps=9, resume=True, **settings).losses) == 9


def test_an_interrupted_run_goes_on(path):
    expected = run(steps=9)
    assert run(optimizer=Interrupting(4), steps=9, checkpoint=path).interrupted
    history = run(steps=9, checkpoint=path, resume=True)
    assert history.losses == expected.losses
    assert not history.interrupted


class Schedule:
    def __call__(self, step):
        return 0.1


PARTS = {"a whole run and nothing more": (5, 5), "no steps yet": (0, 3), "two parts": (3, 6)}


@pytest.mark.parametrize("parts", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("rate", [0.1, Schedule()], ids=["", "a schedule that is an object"])
def test_a_run_makes_the_steps_that_are_missing(rate, parts, path):
    for steps in parts:
        optimizer = SGD(rate)
        history = run(optimizer=optimizer, steps=steps, checkpoint=path, resume=True)
    assert len(history.losses) == optimizer.iterations == steps


def test_a_file_that_is_there_is_not_resumed_unless_it_is_said(path):
    for _ in range(2):
        optimizer = SGD(0.1)
        run(optimizer=optimizer, steps=3, checkpoint=path)
        assert optimizer.iterations == 3
    network = build()
    run(network, steps=3, checkpoint=path, resume=True)
    assert not np.array_equal(network.parameter_vector, build().parameter_vector)


def test_a_schedule_is_asked_once_an_update_also_with_a_checkpoint(path):
    asked = []

    def schedule(step):
        asked.append(step)
        return [0.3, 0.2, 0.1, 0.0][step]

    options = {"checkpoint": path, "checkpoint_every": 1, "resume": True}
    run(optimizer=SGD(schedule), steps=3, **options)
    assert asked == [0, 1, 2]
    run(optimizer=SGD(schedule), steps=4, **options)
    assert asked == [0, 1, 2, 0, 2, 3]


# A run that diverged


def test_a_run_that_diverged_stays_so_or_is_refused(path):
    options = {"steps": 40, "checkpoint": path, "resume": True}
    for _ in range(2):
        network, optimizer = exploding()
        options["optimizer"] = optimizer
        history = run(network, digits(), digits(), on_divergence="record", **options)
    assert history.diverged_at == len(history.losses) - 1
    network, options["optimizer"] = exploding()
    before = network.parameter_vector.copy()
    with pytest.raises(RuntimeError, match=f"this run diverged at step {history.diverged_at}"):
        run(network, **options)
    assert np.array_equal(network.parameter_vector, before)
    assert options["optimizer"].iterations == 0


def test_samples_only_from_a_resume_on_never_go_back(path):
    def part(steps, *validation):
        network, optimizer = exploding(last=10)
        options = {"sample_every": 3, "on_divergence": "record", "resume": True}
        options |= {"optimizer": optimizer, "checkpoint": path, "steps": steps}
        return run(network, digits(), *validation, **options)

    part(8)
    assert part(30, digits()).sample_steps == list(range(9, 30, 3))
    assert part(40, digits()).sample_steps == list(range(9, 40, 3))


@pytest.mark.parametrize("every", [1, 3])
def test_a_run_that_diverged_unsampled_is_sampled_from_there_on(every, path):
    options = {"steps": 40, "sample_every": every, "on_divergence": "record", "resume": True}
    for validation in ([], [digits()]):
        network, optimizer = exploding()
        options |= {"optimizer": optimizer, "checkpoint": path}
        history = run(network, digits(), *validation, **options)
    first = -(-history.diverged_at // every) * every
    assert history.sample_steps == list(range(first, 40, every))


# Another run's file


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"network": build(norm=False)}, "its layers is"),
        ({"optimizer": SGD(0.2)}, r"its optimizer is 'SGD\(learning_rate=0.1\)', not 'SGD"),
        ({"batch_size": 20}, "its batch_size is 10, not 20"),
        ({"train": digits(90)}, "its data is"),
        ({"train": digits(seed=4)}, "its data is"),
        ({"seed": 3}, "its seed is 0, not 3"),
        ({"sample_every": 7}, "its sample_every is 500, not 7"),
    ],
)
def test_another_runs_file_is_refused_whole(other, message, path):
    run(batch_size=10, checkpoint=path)
    options = {"optimizer": SGD(0.1), "batch_size": 10} | other
    network, data = options.pop("network", build()), options.pop("train", digits())
    before = network.parameter_vector.copy()
    with pytest.raises(ValueError, match=f"^{path}: holds another run, {message}"):
        run(network, data, steps=9, checkpoint=path, resume=True, **options)
    assert np.array_equal(network.parameter_vector, before)
    assert options["optimizer"].iterations == 0


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ((lambda step: 0.1, 0.3), (lambda step: 0.2, 0.3)),
        ((lambda step: 0.1, 0.3), (lambda step: 0.1 if step < 4 else 0.2, 0.3)),
        ((np.full(160, 0.1), 0.3), (np.full(160, 0.2), 0.3)),
        ((0.1, 1 / 3), (0.1, 0.333333)),
    ],
)
def test_another_rate_that_is_written_the_same_is_refused(first, other, path):
    def part(rate, dropout, **options):
        layers = [Dense(6, 16, rng=0), LeakyReLU(0.2), Dropout(dropout, rng=5)]
        network = Sequential([*layers, Dense(16, 3, use_bias=False, rng=1)])
        before = network.parameter_vector.copy()
        try:
            run(network, optimizer=SGD(rate), checkpoint=path, **options)
        except ValueError:
            assert np.array_equal(network.parameter_vector, before)
            raise

    part(*first)
    with pytest.raises(ValueError, match="pass what the run was started with"):
        part(*other, steps=9, resume=True)
    part(*first, steps=9, resume=True)


def test_fewer_steps_than_were_done_are_refused(path):
    run(checkpoint=path)
    network = build()
    with pytest.raises(ValueError, match=r"^steps: .* a run of 5 steps, got 4: pass as many"):
        run(network, steps=4, checkpoint=path, resume=True)
    assert np.array_equal(network.parameter_vector, build().parameter_vector)


DAMAGE = {
    "no step": lambda arrays, header: header.pop("step"),
    "no iterations": lambda arrays, header: header.pop("iterations"),
    "no batches": lambda arrays, header: header.pop("batches"),
    "no generators": lambda arrays, header: header.pop("generators"),
    "no divergence": lambda arrays, header: header.pop("diverged_at"),
    "another step": lambda arrays, header: header.update(step=4),
    "a step in words": lambda arrays, header: header.update(step="5"),
    "iterations -1": lambda arrays, header: header.update(iterations=-1),
    "iterations 10^400": lambda arrays, header: header.update(iterations=10**400),
    "iterations 2^63": lambda arrays, header: header.update(iterations=2**63),
    "a schedule": lambda arrays, header: header.update(scheduled=[[0, 0.1]]),
    "other batches": lambda arrays, header: header.update(batches={}),
    "other generators": lambda arrays, header: header["generators"].update({"3._rng": {"a": 1}}),
    "no weight": lambda arrays, header: arrays.pop("network.0.weight"),
    "no digits": lambda arrays, header: arrays.pop("network.digits.1.population_mean"),
    "no velocity": lambda arrays, header: arrays.pop("optimizer.velocity"),
    "no losses": lambda arrays, header: arrays.pop("history.losses"),
    "one too many": lambda arrays, header: arrays.update({"network.9.weight": np.ones(3)}),
    "another velocity": lambda arrays, header: arrays.update(
        {"optimizer.velocity": np.ones(3, np.float32)}
    ),
    "two velocities": lambda arrays, header: arrays.update(
        {"optimizer.other": arrays["optimizer.velocity"]}
    ),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_file_that_lacks_or_twists_something_is_refused_whole(damage, path):
    def momentum():
        return SGD(0.1, momentum=0.9)

    run(build(dropout=True), optimizer=momentum(), seed=np.random.default_rng(1), checkpoint=path)
    arrays, header = checkpoint.load(path)
    damage(arrays, header)
    checkpoint.save(path, arrays, header)
    network, optimizer, rng = build(dropout=True), momentum(), np.random.default_rng(7)
    held = {**network.parameters, **network.state}
    before, generators = copy.deepcopy(held), drawn(network)
    options = {"optimizer": optimizer, "seed": rng, "checkpoint": path, "resume": True}
    with pytest.raises(ValueError, match=f"{path}.*not what this run's checkpoint hol") as caught:
        run(network, **options)
    assert "None" not in str(caught.value)
    assert header.get("step") != "5" or "step: expected a whole number" in str(caught.value)
    for name, array in held.items():
        assert np.array_equal(array, before[name])
    assert generators == drawn(network)
    assert rng.bit_generator.state == np.random.default_rng(7).bit_generator.state
    assert optimizer.iterations == 0


def test_wrong_labels_leave_the_callers_generator():
    rng = np.random.default_rng(7)
    with pytest.raises(ValueError, match="expected classes"):
        run(build(), digits(), (digits()[0], digits()[1] + 1), seed=rng)
    assert rng.bit_generator.state == np.random.default_rng(7).bit_generator.state


def test_a_layers_generator_beyond_its_buffer_is_refused(path):
    rng = np.random.Generator(np.random.MT19937(3))
    network = Sequential([Dense(6, 3, rng=0), Dropout(0.5, rng=rng)])
    run(network, steps=2, checkpoint=path)
    arrays, header = checkpoint.load(path)
    header["generators"]["1._rng"]["state"]["pos"] = 2**30
    checkpoint.save(path, arrays, header)
    before = network.parameter_vector.copy()
    with pytest.raises(ValueError, match=r"from 0 to 624, got|between 0 and 624"):
        run(network, steps=3, checkpoint=path, resume=True)
    assert np.array_equal(network.parameter_vector, before)


def test_a_runs_file_is_no_networks_file_nor_the_other_way_round(path):
    network = build()
    run(network, checkpoint=path)
    with pytest.raises(ValueError, match=r"run: a run's checkpoint: use fit\(.*resume=True\)"):
        network.load(path)
    network.save(path)
    with pytest.raises(ValueError, match="network"):
        run(network, checkpoint=path, resume=True)


def test_what_a_foreign_file_says_is_shown_in_short_also_by_fit(path):
    checkpoint.save(path, {}, {"layers": ["\x1b[2J" * 10**5]})
    with pytest.raises(ValueError, match="holds another") as caught:
        run(checkpoint=path, resume=True)
    assert len(str(caught.value)) < 1000
    assert "\x1b" not in str(caught.value)


# What cannot be written


@pytest.mark.parametrize("after", [3, 9])
def test_a_disk_that_is_full_costs_no_history(after, path, monkeypatch):
    expected = run(build(), digits(), digits(), steps=after)
    network = build()

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device", "run")

    monkeypatch.setattr("npbn.checkpoint.save", full)
    every = 3 if after == 3 else 100
    with pytest.raises(OSError, match="No space") as caught:
        run(network, digits(), digits(), steps=9, checkpoint=path, checkpoint_every=every)
    assert caught.value.history.losses == expected.losses
    assert caught.value.history.sample_steps == expected.sample_steps
    assert "history" in caught.value.__notes__[0]
    assert network.accuracy(*digits()) == expected.final_validation_accuracy


class Named(Layer):
    def __init__(self):
        super().__init__(parameters={"my weight": np.ones(6, np.float32)})

    def forward(self, x):
        return x * self.parameters["my weight"]


def test_what_cannot_be_saved_is_told_before_the_first_step(tmp_path, monkeypatch):
    def refused(network, file, error):
        kept = network.parameter_vector.copy()
        with pytest.raises(error):
            run(network, checkpoint=file)
        assert np.array_equal(network.parameter_vector, kept)

    def no_permission(**_):
        raise PermissionError(13, "denied")

    folder = tmp_path / "folder"
    folder.mkdir()
    refused(Sequential([Named(), Dense(6, 3, rng=0)]), tmp_path / "run", ValueError)
    refused(build(), folder, OSError)
    monkeypatch.setattr(checkpoint.tempfile, "TemporaryFile", no_permission)
    refused(build(), tmp_path / "run", PermissionError)
    assert os.listdir(tmp_path) == ["folder"]
