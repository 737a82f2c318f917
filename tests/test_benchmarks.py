"""The benchmark: turns, ratios, comparison before timing, the file, and what is made of it."""

import ast
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import (
    against,
    figure,
    footprint,
    images,
    kernels,
    loops,
    processes,
    steps,
    tables,
    timing,
)
from benchmarks.comparison import Disagreement, check
from benchmarks.context import Context
from benchmarks.measure import GROUPS
from benchmarks.peers import PEERS, base, load
from benchmarks.results import Record, Results
from benchmarks.settings import Settings
from benchmarks.timing import Task

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "benchmarks").rglob("*.py"))
TINY = Settings(
    turns=2,
    seconds=1e-4,
    shapes=((6, 4),),
    dtypes=("float32",),
    steps=3,
    images=50,
    starts=1,
    batches=(1, 2),
    widths=(3,),
    depths=(1,),
    layers=(
        ("Conv2D", (2, 4, 6, 3), 5),
        ("MaxPool2D", (2, 4, 6, 3), 0),
        ("AvgPool2D", (2, 4, 6, 3), 0),
        ("GlobalAvgPool2D", (2, 4, 6, 3), 0),
    ),
    sequences=(
        ("LSTM", (3, 4, 2), 5),
        ("LayerNorm", (2, 4, 6, 3), 0),
        ("LayerNorm", (5, 7), 0),
        ("GroupNorm", (2, 4, 6, 4), 2),
        ("InstanceNorm", (2, 4, 6, 3), 0),
    ),
)


class Clock:
    """Time passes only when a task says so."""

    def __init__(self):
        self.now = 0.0
        self.calls = []

    def __call__(self):
        return self.now

    def task(self, name, seconds, units=1.0):
        def run():
            self.calls.append(name)
            self.now += seconds

        return Task(run, units=units)


def measured(clock, tasks, **settings):
    return timing.measure(tasks, clock=clock, cpu_clock=clock, **settings)


def test_turns_are_interleaved_and_every_other_round_goes_backwards():
    clock = Clock()
    tasks = {name: clock.task(name, 1.0) for name in "abc"}
    measured(clock, tasks, turns=3, seconds=0.5)
    # Two calls of each to warm up and to calibrate come first.
    assert "".join(clock.calls) == "aabbcc" + "abc" + "cba" + "abc"


def test_a_turn_is_as_long_as_asked_for():
    clock = Clock()
    times = measured(clock, {"a": clock.task("a", 0.001)}, turns=1, seconds=0.25)
    assert 250 <= times["a"].calls <= 300
    assert times["a"].wall == pytest.approx([0.001])


def test_time_is_that_of_one_unit():
    clock = Clock()
    times = measured(clock, {"a": clock.task("a", 2.0, units=100)}, turns=2, seconds=0.1)
    assert times["a"].wall == pytest.approx([0.02, 0.02])
    assert times["a"].cpu == pytest.approx([0.02, 0.02])


def test_the_ratio_is_the_median_of_the_ratios_of_each_round():
    # The machine is ten times slower in the second round: the ratio of medians would be 1.
    assert timing.ratio([2, 20, 4], [1, 10, 4]) == 2
    with pytest.raises(ValueError, match="zip"):
        timing.ratio([1, 2], [1])
    assert timing.quartiles([1, 2, 3, 4, 5]) == (2, 3, 4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_comparison_lets_rounding_pass_and_names_the_rest(dtype):
    true = {"y": np.linspace(-1, 2, 7).astype(dtype), "classes": np.arange(3)}
    check("peer", "case", true, true, dtype)
    check("peer", "case", {"y": true["y"] * (1 + 4 * np.finfo(dtype).eps)}, true, dtype)
    with pytest.raises(Disagreement, match=r"peer, case: .*: y differs by 0\.001 of the largest"):
        check("peer", "case", {"y": true["y"] * 1.001}, true, dtype)
    with pytest.raises(Disagreement, match="classes differs by 1 of"):
        check("peer", "case", {"classes": true["classes"] + 1}, true, dtype)
    with pytest.raises(Disagreement, match="differs by nan"):
        check("peer", "case", {"y": true["y"] * np.nan}, true, dtype)
    with pytest.raises(Disagreement, match="differs by inf"):
        check("peer", "case", {"y": true["y"][:1]}, true, dtype)
    with pytest.raises(Disagreement, match=r"has \[\]"):
        check("peer", "case", {}, true, dtype)


def test_changes_have_a_tolerance_of_their_own_but_losses_do_not():
    true = {"losses": np.ones(3), "beta0": np.arange(5.0)}
    check("peer", "steps", {"beta0": true["beta0"] * 1.01}, true, "float32", changes=0.05)
    with pytest.raises(Disagreement, match=r"beta0 differs by 0\.1"):
        check("peer", "steps", {"beta0": true["beta0"] * 1.1}, true, "float32", changes=0.05)
    with pytest.raises(Disagreement, match="losses differs by"):
        check("peer", "steps", {"losses": true["losses"] * 1.01}, true, "float32", changes=0.05)


class Wrong(base.Peer):
    """Off by a hundredth in the kernels, by the losses in the steps; predicts class 0."""

    library = "textbook"

    def kernels(self, case):
        own = load([])[0][0].kernels(case)["npbn"]
        return {"wrong": replace(own, numpy=lambda value: 1.01 * value)}

    def layers(self, case):
        run = load([])[0][0].layers(case)["npbn"].run
        return {"wrong": case.task(run, lambda *results: [1.01 * each for each in results])}

    def sequences(self, case):
        run = load([])[0][0].sequences(case)["npbn"].run
        return {"wrong": case.task(run, lambda *results: [1.01 * each for each in results])}

    def steps(self, setup):
        return {"wrong": Task(lambda: None, results=lambda: {"losses": np.zeros(3)})}

    def evaluations(self, values, images):
        return {"wrong": lambda: np.zeros(len(images), int)}


@pytest.mark.parametrize("name", ["kernels", "step", "evaluation", "growth", "images", "sequences"])
def test_a_peer_that_is_wrong_is_named_before_anything_is_timed(name, monkeypatch):
    monkeypatch.setattr(timing, "measure", lambda *args, **kwargs: pytest.fail("timed"))
    with pytest.raises(Disagreement, match=r"wrong, .* differs by"):
        next(GROUPS[name](Context(TINY, [*load([])[0], Wrong()])))


def test_a_peer_that_fails_is_left_out_and_said_so_but_npbn_is_not():
    def broken(peer, failing):
        if peer.library in failing:
            raise RuntimeError("no compiler\nin 20 lines")
        return {peer.library: Task(lambda: None, results=lambda: {"y": np.ones(2)})}

    context = Context(TINY, load(["textbook", "reference"])[0])
    for failing in (["textbook"], []):  # who failed once is not asked again
        offer = partial(broken, failing=failing)
        assert set(context.tasks("case", offer)) == {"npbn", "reference"}
    assert context.missing == {"textbook": "RuntimeError: no compiler"}
    with pytest.raises(RuntimeError, match="no compiler"):
        context.tasks("case", partial(broken, failing=["npbn"]))


@pytest.fixture(scope="module")
def peers():
    """The peers that need NumPy alone, and PyTorch where it is installed."""
    return load(["reference", "textbook", "pytorch"])[0]


@pytest.mark.parametrize("shape", [(6, 4), (3, 2, 2, 5)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_peers_agree_on_kernels(peers, shape, dtype):
    arrays = base.KernelCase(shape, dtype)
    for operation in kernels.ARRAYS_MOVED:
        tasks = kernels.checked_tasks(operation, arrays, Context(TINY, peers))
        assert {"npbn", "npbn.reference", "textbook NumPy"} <= set(tasks)
        for task in tasks.values():
            assert {each.dtype.name for each in task.results().values()} == {dtype}


@pytest.mark.parametrize("batch_norm", [True, False])
def test_peers_agree_on_steps(peers, batch_norm):
    setup = base.make_setup(batch_norm, (784, 7, 10), 8)
    tasks = steps.checked_tasks(setup, Context(TINY, peers))
    assert {"npbn", "npbn.reference", "textbook NumPy, float64"} <= set(tasks)
    results = tasks["npbn"].results()
    assert set(results) == {"losses", *setup.values}
    # By how much each was changed, not what it is: a gamma is near 1.
    assert all(0 < np.abs(results[name]).max() < 0.5 for name in setup.values)


@pytest.mark.parametrize("case", TINY.layers, ids=lambda case: case[0])
def test_peers_agree_on_layers_of_images(peers, case):
    case = base.LayerCase(*case)
    tasks = Context(TINY, peers).tasks(case.text, lambda peer: peer.layers(case))
    assert {"npbn", "npbn.reference"} <= set(tasks)
    names = {"y", "dx", "dweight", "dbias"} if case.layer == "Conv2D" else {"y", "dx"}
    for task in tasks.values():
        assert {name: each.dtype.name for name, each in task.results().items()} == dict.fromkeys(
            names, "float32"
        )


@pytest.mark.parametrize("case", TINY.sequences, ids=str)
def test_peers_agree_on_layers_of_sequences_and_norms(peers, case):
    case = base.SequenceCase(*case)
    tasks = Context(TINY, peers).tasks(case.text, lambda peer: peer.sequences(case))
    assert {"npbn", "npbn.reference"} <= set(tasks)
    expected = {"y": case.dy.shape, "dx": case.shape}
    expected |= {f"d{name}": value.shape for name, value in case.parameters.items()}
    for task in tasks.values():
        results = task.results()
        assert {name: each.shape for name, each in results.items()} == expected
        assert {each.dtype.name for each in results.values()} == {"float32"}


def test_beside_an_lstm_stands_the_normalized_one():
    records = list(GROUPS["sequences"](Context(TINY, load(["reference"])[0])))
    first = [each.who for each in records if each.case["layer"] == "LSTM(2, 5)"]
    assert sorted(first) == ["npbn", "npbn, BatchNormLSTM", "npbn.reference"]
    assert len(records) == len(first) + 2 * 4
    text = tables.report(Results(records=records))
    assert "LSTM(2, 5), 3x4x2, forward and backward" in text
    for each in ("LayerNorm(7), 5x7", "GroupNorm(2, 4), 2x4x6x4", "InstanceNorm(3), 2x4x6x3"):
        assert f"| {each}" in text


@pytest.mark.parametrize("batch_norm", [True, False])
def test_peers_agree_on_steps_with_images(peers, batch_norm):
    setup = base.make_image_setup(batch_norm, 8)
    tasks = images.checked_steps(setup, Context(TINY, peers))
    assert set(tasks) - {"PyTorch", "PyTorch, fused Adam", "PyTorch, channels first"} == {"npbn"}
    results = load([])[0][0].steps(setup)["npbn"].results()
    assert set(results) == {"losses", *setup.values}
    assert all(0 < np.abs(results[name]).max() < 0.5 for name in setup.values)


def test_a_wrong_step_with_images_is_named():
    wrong = Wrong()
    wrong.library = "pytorch"
    with pytest.raises(
        Disagreement, match=r"wrong, the first steps with images: .* losses differs"
    ):
        images.checked_steps(base.make_image_setup(True, 8), Context(TINY, [*load([])[0], wrong]))


def test_every_group_measures_what_the_tables_have(peers, monkeypatch):
    monkeypatch.setattr(loops, "load_data", lambda: (loops.datasets.load_mnist_5k(), "digits"))
    context = Context(TINY, [peer for peer in peers if peer.library in ("npbn", "textbook")])
    records = [record for group in GROUPS.values() for record in group(context)]
    assert not context.missing
    assert all(value > 0 for record in records for value in record.values)
    assert json.loads(json.dumps([record.case for record in records]))
    found = {name: {r.who for r in records if r.group == name} for name in GROUPS}
    assert {"fit", "bare step", "training_steps"} <= found["loop"]
    assert {"npbn", "npbn, folded", "textbook NumPy"} == found["evaluation"]
    assert {"npbn", "bare products", "textbook NumPy"} == found["growth"]
    text = tables.report(Results(records=records))
    assert {"npbn", "bare products"} < found["images"]
    assert text.count("## ") == 26
    assert "nan" not in text


def test_a_kernel_case_has_no_gradient_where_rounding_decides_about_relu():
    case = base.KernelCase((5000, 4), "float32")
    zeros = np.count_nonzero(case.dy_relu == 0)
    assert 0 < zeros < 100
    assert np.count_nonzero(case.dy == 0) == 0


def test_the_floor_of_a_kernel_is_a_copy_of_its_bytes():
    arrays = base.KernelCase((6, 4), "float32")
    # A copy moves two arrays; forward and backward together move five.
    assert kernels.floor("forward", arrays).units == 1
    assert kernels.floor("forward+backward", arrays).units == pytest.approx(2 / 5)


def test_bare_products_are_all_but_the_first_layers_dx(monkeypatch):
    shapes = []
    monkeypatch.setattr(
        np, "matmul", lambda a, b, out: shapes.append((*a.shape, b.shape[1], *out.shape))
    )
    steps.bare_products(base.make_setup(True)).run()
    assert len(shapes) == 11
    assert shapes[0] == (60, 784, 100, 60, 100)
    assert shapes[-1] == (784, 60, 100, 784, 100)
    assert (60, 100, 784, 60, 784) not in shapes


def test_the_floor_of_images_has_all_rows_of_three_products(monkeypatch):
    shapes = []
    monkeypatch.setattr(np, "matmul", lambda a, b, out: shapes.append((*a.shape, *out.shape)))
    setup = base.make_image_setup(True)
    layers = [(setup.rows(place), setup.values[f"weight{place}"]) for place in range(4)]
    assert [rows for rows, _ in layers] == [47040, 11760, 2940, 60]
    images.bare_products(layers, first_dx=False).run()
    assert len(shapes) == 60 * 2 + 15 * 3 + 3 * 3 + 3
    forward = [shape for shape in shapes if shape[1:] == (144, shape[0], 32)]
    assert sum(shape[0] for shape in forward) == 11760
    assert (784, 16, 784, 9) not in shapes
    assert (784, 32, 784, 144) in shapes
    assert (144, 784, 144, 32) in shapes


def test_with_default_threads_one_library_alone_is_timed(peers):
    context = Context(TINY, peers, "default", "textbook")
    records = list(kernels.kernels(context))
    assert {(r.who, r.threads) for r in records} == {("textbook NumPy", "default")}


def test_memory_finds_a_planted_allocation():
    kept = []

    def one_after_the_other():
        # The most at a time, not the sum: the first is free when the second comes.
        for _ in range(3):
            np.zeros(10_000)

    assert footprint.peak_allocation(lambda: None) < 1000
    assert 80_000 <= footprint.peak_allocation(one_after_the_other) < 90_000
    assert 160_000 <= footprint.peak_allocation(lambda: kept.append(np.zeros(20_000))) < 170_000


def test_missing_libraries_are_left_out_and_said_so(monkeypatch):
    monkeypatch.setitem(PEERS, "jax", ("jax_peer", "JaxPeer", ("no_such_library",)))
    found, missing = load(["jax", "textbook"])
    assert [peer.library for peer in found] == ["npbn", "textbook"]
    assert missing == {"jax": "no_such_library is not installed"}


def test_one_thread_is_set_for_every_library(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    one, default = processes.environment("one"), processes.environment("default")
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "NPROC")
    assert {one[name] for name in names} == {"1"}
    assert not set(names) & set(default)


def some_results():
    """A file's worth of made-up values."""
    results = Results(run={"quick": True, "complete": True}, missing={"jax": "not installed"})

    def add(part, case, **medians):
        for who, value in medians.items():
            values = [value * 0.9, value, value * 1.1]
            record = Record(part, case, who.replace("_", " "), "one", values, cpu=values)
            results.records.append(record)

    for shape in ([60, 100], [1024, 1024]):
        case = {"operation": "forward+backward", "shape": shape, "dtype": "float32"}
        add("kernels", case, npbn=2e-5, PyTorch=4e-5, textbook_NumPy=5e-5, floor=1e-6)
    case = {"batch_norm": True}
    add("step", case, npbn=3e-4, PyTorch=9e-4, bare_products=2e-4)
    for size in (2, 20, 200, 2000):
        case = {"along": "batch", "size": size, "batch_norm": True}
        add("growth", case, npbn=size * 1e-5, bare_products=size * 5e-6)
    memory_case = {"what": "step", "batch_norm": True, "batch": 60, "activation_bytes": 24000}
    results.records.append(Record("memory", memory_case, "npbn", "one", [900.0], unit="bytes"))
    add("import", {}, numpy=0.05, npbn=0.1)
    return results


def test_the_file_holds_every_value(tmp_path):
    results, path = some_results(), tmp_path / "results.json"
    results.save(path)
    assert Results.load(path) == results
    assert [each.name for each in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 0}', '{"format": 1, "records": [1]}'])
def test_another_file_is_refused_by_name(tmp_path, text, capsys):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"other\.json: not a file of"):
        Results.load(path)
    assert tables.main([str(path)]) == 1
    assert tables.main([str(tmp_path / "none.json")]) == 1
    assert "none.json" in capsys.readouterr().err


def test_tables_are_made_from_the_file_alone(tmp_path):
    path = tmp_path / "results.json"
    some_results().save(path)
    code = (
        "import sys; from benchmarks import tables; tables.main(sys.argv[1:]); "
        "assert not {'npbn', 'torch', 'jax', 'tensorflow', 'matplotlib'} & set(sys.modules)"
    )
    done = run(["-c", code, str(path)], check=True)
    text = done.stdout
    assert "| PyTorch       | 900 µs |        0.33 |" in text
    assert "| 60x100    | 20.0 µs |             0.40 |      0.50 |" in text
    assert "Spread of the ratios: usually 0.0 %, at most 0 %." in text
    assert "24.0 kB" in text
    assert "Time grows as the batch to the power of: npbn 1.00, bare products 1.00." in text
    assert "jax: not installed" in text


def test_seconds():
    values = [1.234e-6, 9.996e-6, 1.5e-4, 9.996e-4, 0.01234, 0.9996, 61.0]
    texts = "1.23 µs, 10.0 µs, 150 µs, 1.00 ms, 12.3 ms, 1.00 s, 61.0 s"
    assert ", ".join(map(tables.seconds, values)) == texts


def test_measurements_with_less_or_more_than_a_core_are_reported():
    results = some_results()
    record = results.records[0]
    record.cpu = [value / 2 for value in record.values]
    assert "1 of 22 measurements had less than 0.9 of a core" in tables.report(results)
    record.cpu = [1.5 * value for value in record.values]
    more = f"More than 1.2 cores with one thread, here and there: {record.who}."
    assert more in tables.report(results)


def test_the_figure_is_made_from_the_file(tmp_path):
    path, target = tmp_path / "results.json", tmp_path / "figure.png"
    results = some_results()
    results.save(path)
    assert tables.main([str(path), "--figure", str(target)]) == 0
    assert target.read_bytes().startswith(b"\x89PNG")
    left, right = figure.draw(results).axes
    assert {line.get_label() for line in left.lines} == {
        "npbn",
        "PyTorch",
        "textbook NumPy",
        "floor: its bytes, copied",
    }
    assert left.get_xscale() == left.get_yscale() == right.get_xscale() == "log"
    assert [line.get_label() for line in right.lines] == ["npbn", "floor: its matrix products"]
    assert right.lines[0].get_xdata().tolist() == [2, 20, 200, 2000]


def test_no_figure_of_nothing(tmp_path, capsys):
    path = tmp_path / "results.json"
    Results().save(path)
    assert tables.main([str(path), "--figure", str(tmp_path / "figure.png")]) == 1
    assert "nothing to draw" in capsys.readouterr().err


def test_the_command_measures_prints_and_keeps(tmp_path):
    path = tmp_path / "results.json"
    arguments = ["--quick", "kernels", "--peers", "textbook,reference"]
    arguments += ["--turns", "3", "--json", str(path)]
    done = run(["-m", "benchmarks", *arguments], check=True)
    assert "Batch norm, forward and backward, 60x100, float32" in done.stdout
    assert "npbn.reference" in done.stdout
    assert "kernels: bn+relu, [60, 100], float32: npbn.reference" in done.stderr
    results = Results.load(path)
    assert results.run["complete"]
    assert results.machine["cpu"]
    assert {"npbn", "numpy"} <= set(results.versions)
    assert {len(record.values) for record in results.records} == {3}
    assert all(0 < value < 1 for record in results.records for value in record.values)
    assert len(results.records) == 2 * 5 * 4
    assert min(results.ratios("kernels", "npbn", "floor", operation="inference")) > 1


def test_what_a_process_says_of_its_failure_is_the_error(tmp_path, capsys, monkeypatch):
    def fail(results, *args, **kwargs):
        results.records.append(Record("step", {"batch_norm": True}, "npbn", "one", [1]))
        raise processes.Failed("PyTorch, case: does not agree with npbn")

    path = tmp_path / "results.json"
    monkeypatch.setattr(command, "measure", fail)
    assert command.main(["step", "--json", str(path)]) == 1
    captured = capsys.readouterr()
    assert "PyTorch, case: does not agree with npbn" in captured.err
    assert "did not finish" in captured.out
    assert len(Results.load(path).records) == 1


def send_and(connection, what):
    connection.send(os.environ["OMP_NUM_THREADS"])
    if what == "raise":
        raise Disagreement("somebody differs")
    if what == "exit":
        os._exit(1)


@pytest.mark.parametrize(
    ("what", "message"), [("raise", "^somebody differs$"), ("exit", "died")], ids=str
)
def test_a_process_that_fails_or_dies_is_told_after_what_it_sent(what, message):
    got = []
    with (
        processes.started(send_and, what) as connection,
        pytest.raises(processes.Failed, match=message),
    ):
        got.extend(processes.messages(connection))
    assert got == ["1"]
    with processes.started(send_and, "end") as connection:
        assert list(processes.messages(connection)) == ["1"]


@pytest.mark.parametrize(
    ("main", "arguments", "message"),
    [
        (command.main, ["kernel"], "no group kernel"),
        (command.main, ["--peers", "torch"], "no peer torch"),
        (against.main, [str(ROOT), "kernel"], "no group kernel"),
        (against.main, [str(ROOT / "tests")], "no npbn there"),
    ],
)
def test_mistyped_arguments_are_named(main, arguments, message, capsys):
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


class TestAgainst:
    """Another checkout beside this one: the same, one that is slower, one that is wrong, none."""

    @pytest.fixture
    def other(self, tmp_path):
        """A copy of the package, and a function that appends lines to it."""
        shutil.copytree(ROOT / "npbn", tmp_path / "npbn")

        def append(code):
            with (tmp_path / "npbn/__init__.py").open("a", encoding="utf-8") as file:
                file.write(code)
            return tmp_path

        return append

    @pytest.fixture
    def one_case(self, monkeypatch):
        step = [case for case in against.cases() if case.name == "step"]
        monkeypatch.setattr(against, "cases", lambda: iter(step))

    def test_every_case_takes_as_long_as_itself(self, monkeypatch):
        small = [
            case
            for case in against.cases()
            if case.group != "kernels" or case.name.endswith("60x100")
        ]
        monkeypatch.setattr(against, "cases", lambda: iter(small))
        times = against.compare(ROOT, pairs=1, turns=3, shortest=1e-3)
        assert len(times) == len(small) == 8
        for name, ((_, here), (_, there)) in (
            (name, [zip(*each, strict=True) for each in pair]) for name, pair in times.items()
        ):
            assert 0.4 < timing.ratio(here, there) < 2.5, name

    def test_a_slow_down_is_found(self, other, one_case):
        slow = other(
            "import time\nfast = SGD.step\n"
            "def slow(self, network):\n"
            "    end = time.process_time() + 0.005\n"
            "    while time.process_time() < end: pass\n"
            "    return fast(self, network)\n"
            "SGD.step = slow\n"
        )
        times = against.compare(slow, pairs=2, turns=3, shortest=1e-3)
        (here, here_cpu), (there, there_cpu) = (zip(*each, strict=True) for each in times["step"])
        assert len(here) == 6
        assert 0 < timing.ratio(here_cpu, there_cpu) < 0.5
        row = [cell.strip() for cell in against.report(times).splitlines()[2].split("|")]
        assert row[1] == "step"
        assert float(row[4]) == pytest.approx(timing.ratio(here, there), abs=1e-3)
        assert float(row[6]) == pytest.approx(timing.ratio(here_cpu, there_cpu), abs=1e-3)

    @pytest.mark.parametrize(
        ("code", "message"),
        [
            ("SGD.step = lambda self, network: None", "this checkout, step: does not agree with"),
            ("raise ArithmeticError('planted')", "ArithmeticError: planted"),
        ],
    )
    def test_what_is_wrong_or_fails_there_is_told(self, other, one_case, capsys, code, message):
        assert against.main([str(other(f"{code}\n")), "--quick", "step"]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_everything_public_has_a_docstring(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = ast.FunctionDef | ast.ClassDef
    public = [n for n in tree.body if isinstance(n, kinds) and not n.name.startswith("_")]
    assert not [n for n in [tree, *public] if not ast.get_docstring(n)]


def run(arguments, **options):
    """A Python process in the repository, and what it printed."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        **options,
    )


class TestCommittedResults:
    """The figures that README and docs stand on: one whole run, and those of what came later."""

    results = Results.load(ROOT / "data/benchmark.json")
    images = Results.load(ROOT / "data/benchmark_images.json")
    sequences = Results.load(ROOT / "data/benchmark_sequences.json")

    @pytest.mark.parametrize("name", ["benchmark", "benchmark_images", "benchmark_sequences"])
    def test_the_page_is_made_of_the_file(self, name, tmp_path):
        committed = (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")
        page = tmp_path / "page.md"
        own, beginning, _ = committed.partition(tables.BEGINNING)
        page.write_text(f"{own}{beginning}\n- Older tables", encoding="utf-8")
        assert tables.main([str(ROOT / f"data/{name}.json"), "--into", str(page)]) == 0
        assert page.read_text(encoding="utf-8") == committed

    def test_a_page_without_tables_is_left_as_it_is(self, tmp_path, capsys):
        page = tmp_path / "page.md"
        page.write_text("# Another page")
        assert tables.main([str(ROOT / "data/benchmark.json"), "--into", str(page)]) == 1
        assert "page.md: expected a line '## Where" in capsys.readouterr().err
        assert page.read_text() == "# Another page"

    @pytest.mark.parametrize("name", ["benchmark", "benchmark_images", "benchmark_sequences"])
    def test_the_tables_are_narrow(self, name):
        page = (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")
        rows = [line for line in page.splitlines() if line.startswith("|")]
        assert max(row.count("|") - 1 for row in rows) <= 6

    @pytest.mark.parametrize(
        "results", [results, images, sequences], ids=["all", "images", "sequences"]
    )
    def test_the_run_was_a_whole_one(self, results):
        assert results.run["complete"]
        assert not results.run["quick"]
        assert not results.missing
        assert results.machine["commit"].isalnum()  # no "-dirty"

    def test_every_group_was_measured(self):
        records = self.results.records + self.images.records + self.sequences.records
        assert {record.group for record in records} == set(GROUPS)
        default = self.results.find("step", threads="default", batch_norm=True)
        assert len({record.who for record in default}) >= 10

    @pytest.mark.parametrize(
        ("row", "who"),
        [
            ("npbn", "npbn"),
            ("its bare matrix products", "bare products"),
            ("JAX, the whole loop compiled (`lax.scan`)", "JAX lax.scan"),
            ("JAX `jit`, one call a step", "JAX jit"),
            ("NumPy as a textbook has it", "textbook NumPy"),
            ("PyTorch", "PyTorch"),
            ("npbn's own equations (`npbn.reference`)", "npbn.reference"),
            ("`tf.function`", "tf.function"),
            ("Keras `train_on_batch`", "Keras train_on_batch"),
            ("autograd", "autograd"),
        ],
    )
    def test_the_results_say_what_was_measured(self, row, who):
        case = {"batch_norm": True}
        (record,) = self.results.find("step", who, **case)
        ratio = f"{np.median(self.results.ratios('step', 'npbn', who, **case)):.2f}"
        over = "" if who == "npbn" else f" {ratio}"
        page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
        assert f"| {row} | {tables.seconds(record.median)} |{over} |" in page

    def test_readme_says_what_was_measured(self):
        time, pytorch, jax, products = (
            tables.seconds(each.median)
            if who == "npbn"
            else f"{np.median(self.results.ratios('step', 'npbn', who, batch_norm=True)):.2f}"
            for who in ("npbn", "PyTorch", "JAX jit", "bare products")
            for each in self.results.find("step", who, batch_norm=True)
        )
        readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
        said = f"takes {time}: {pytorch} of PyTorch's time, {jax} of JAX's, {products} times its"
        assert said in readme

    def test_what_the_results_say_beside_the_table(self):
        (npbn,) = self.results.find("memory", "npbn", what="run")
        (pytorch,) = self.results.find("memory", "PyTorch", what="run")
        (keras,) = self.results.find("memory", "Keras", what="run")
        page = (ROOT / "docs/results.md").read_text(encoding="utf-8")
        memory = [f"{record.median / 1e6:.0f} MB" for record in (npbn, pytorch, keras)]
        beside = f"{memory[0]} of memory (PyTorch {memory[1]}, Keras {memory[2]})"
        assert beside in " ".join(page.split())
        for size in (2, 8, 32, 128, 512, 1024, 2048, 4096, 8192):
            case = {"along": "batch", "batch_norm": True, "size": size}
            assert 0.55 < np.median(self.results.ratios("growth", "npbn", "PyTorch", **case)) < 0.65
            if 128 <= size < 8192:
                jax = np.median(self.results.ratios("growth", "npbn", "JAX jit", **case))
                assert 1.05 < jax < 1.25
        for shape in ([1024, 1024], [60, 28, 28, 32], [50176, 32], [65536, 64], [8192, 1024]):
            case = {"operation": "forward+backward", "shape": shape, "dtype": "float32"}
            textbook = np.median(self.results.ratios("kernels", "textbook NumPy", "npbn", **case))
            assert 1.8 < textbook < 4
            native = self.results.ratios("kernels", "npbn", "PyTorch, native kernels", **case)
            assert 1.4 < np.median(native) < 2.6
