"""Runs as descriptions, their results, the results file, and many runs side by side."""

import io
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import experiment_functions as functions
import numpy as np
import pytest

from npbn import BatchNorm, Dense, Sigmoid
from npbn.experiments import Record, Run, build, machine, perform, read_results, run_all
from npbn.experiments.report import html_table, inline_svg, markdown_table, page
from npbn.experiments.results import ResultsFile
from npbn.layers.initial import normal_weights

SHORT = {"data": "digits", "batches": 60, "batches_per_sample": 20}


def short(seed=0, **changes):
    return Run(**({"batch_norm": True, "learning_rate": 0.1, "seed": seed} | SHORT | changes))


class TestRun:
    def test_is_frozen_hashable_and_pickles(self):
        run = short()
        assert pickle.loads(pickle.dumps(run)) == run
        assert {run: 1}[short()] == 1
        with pytest.raises(FrozenInstanceError):
            run.seed = 3

    def test_equal_numbers_are_one_run(self):
        assert short(learning_rate=1) == short(learning_rate=np.float32(1))
        assert type(short(learning_rate=1).learning_rate) is float

    @pytest.mark.parametrize(
        ("changes", "error"),
        [
            ({"activation": "relux"}, ValueError),
            ({"data": "cifar"}, ValueError),
            ({"learning_rate": -1}, ValueError),
            ({"learning_rate": float("nan")}, ValueError),
            ({"weight_std": -1}, ValueError),
            ({"hidden": (0,)}, ValueError),
            ({"hidden": 5}, TypeError),
            ({"learning_rate": 10**400}, ValueError),
            ({"batches": 0}, ValueError),
            ({"batch_size": 1}, ValueError),
            ({"training_images": 5}, ValueError),
            ({"batch_norm": 1}, TypeError),
            ({"seed": 1.5}, TypeError),
        ],
    )
    def test_wrong_values_are_refused(self, changes, error):
        with pytest.raises(error, match=next(iter(changes))):
            short(**changes)

    def test_its_text_has_what_is_not_the_default(self):
        assert "digits" in str(short())
        assert "batch_size" not in str(short())

    def test_build(self):
        network = build(short(hidden=(20, 30), activation="sigmoid", weight_std=0.1))
        kinds = [type(layer) for layer in network.layers]
        assert kinds == [Dense, BatchNorm, Sigmoid] * 2 + [Dense]
        without = build(short(hidden=(20, 30), activation="sigmoid", batch_norm=False))
        assert [type(layer) for layer in without.layers] == [Dense, Sigmoid] * 2 + [Dense]

    def test_pairs_start_from_the_same_weights(self):
        a, b = build(short()), build(short(batch_norm=False))
        assert np.array_equal(a.layers[0].weight, b.layers[0].weight)
        assert np.array_equal(a.layers[-1].weight, b.layers[-1].weight)

    def test_he_weights(self):
        first, second = normal_weights((784, 100, 10), None, 0)
        assert first.std() == pytest.approx(np.sqrt(2 / 784), rel=0.02)
        assert second.std() == pytest.approx(np.sqrt(2 / 100), rel=0.1)


class TestPerform:
    def test_is_a_pure_function(self):
        first, second = perform(short()), perform(short())
        assert replace(first, seconds=0) == replace(second, seconds=0)
        assert first.digest != perform(short(seed=1)).digest
        assert len(first.accuracies) == 3
        assert first.outcome == "finite"
        assert pickle.loads(pickle.dumps(first)) == first

    def test_gives_the_same_bits_whatever_executor_runs_it(self, tmp_path):
        runs = [short(seed) for seed in range(3)]
        here = [perform(run).digest for run in runs]
        for name, executor in (("p", ProcessPoolExecutor(2)), ("t", ThreadPoolExecutor(1))):
            with executor:
                records = run_all(runs, tmp_path / name, executor=executor)
            assert [records[run].result.digest for run in runs] == here
        records = run_all(runs, tmp_path / "own")
        assert [records[run].result.digest for run in runs] == here

    def test_tells_a_loss_that_is_not_finite(self):
        result = perform(short(batch_norm=False, learning_rate=1e9, activation="leaky_relu"))
        assert result.outcome == "not finite"
        assert result.diverged_at is not None
        assert result.validation_accuracy == pytest.approx(0.1)
        assert len(result.accuracies) == 3

    def test_tells_dead_units_by_their_activations(self):
        run = short(batch_norm=False, learning_rate=30.0, batches=200, hidden=(50, 50, 50))
        results = [perform(replace(run, seed=seed)) for seed in range(8)]
        dead = [each for each in results if each.outcome == "dead"]
        assert dead
        for each in dead:
            assert each.constant_units[-1] == 1
            assert each.diverged_at is None
            assert each.validation_accuracy == 0.1

    def test_trains_on_the_first_images_alone_if_told(self):
        result = perform(short(training_images=60, batches=300))
        assert result.training_accuracy == 1.0
        assert result.test_accuracy < 0.9


class TestResultsFile:
    def record(self, seed, deaths=0):
        return Record(short(seed), functions.made_up(short(seed)), deaths, machine())

    def test_lines_are_records_and_carry_what_a_repetition_needs(self, tmp_path):
        path = tmp_path / "deep" / "results.jsonl"
        file = ResultsFile(path)
        file.append(self.record(0))
        file.append(self.record(1))
        assert list(read_results(path)) == [short(0), short(1)]
        (line, _) = path.read_text().splitlines()
        assert {"numpy", "python", "npbn", "blas", "cpu"} <= set(json.loads(line)["machine"])

    @pytest.mark.parametrize("changes", [{}, {"hidden": (7,), "weight_std": None}])
    def test_json_and_back(self, changes):
        run = short(**changes)
        record = Record(run, functions.made_up(run), 0, machine())
        assert Record.from_json(record.as_json()) == record

    @pytest.mark.parametrize("cut", [1, 20, 300])
    def test_a_torn_last_line_is_no_obstacle(self, tmp_path, cut):
        path = tmp_path / "results"
        for seed in range(3):
            ResultsFile(path).append(self.record(seed))
        whole = path.read_bytes()
        path.write_bytes(whole[:-cut])
        assert list(read_results(path)) == [short(0), short(1)]
        ResultsFile(path).append(self.record(2))
        assert path.read_bytes() == whole

    @pytest.mark.parametrize("length", range(1, 9))
    def test_a_line_torn_at_its_beginning_is_none_either(self, tmp_path, length):
        path = tmp_path / "results"
        path.write_bytes(self.record(0).as_json().encode()[:length])
        ResultsFile(path).append(self.record(1))
        assert list(read_results(path)) == [short(1)]

    @pytest.mark.parametrize(
        "line",
        [
            b"nonsense\n",
            b"{}\n",
            b"[1]\n",
            b'{"run": 3}\n',
            b'{"run": null, "result": null, "deaths": 0, "machine": {}}\n',
            b'{"run": {"colour": 1}, "result": null, "deaths": 0, "machine": {}}\n',
            b"\xff\n",
            b"nonsense",
            b"\0",
            b"[" * 100_000 + b"\n",
        ],
        ids=lambda line: repr(line[:12]),
    )
    def test_any_other_line_is_named_and_kept(self, tmp_path, line):
        path = tmp_path / "results"
        ResultsFile(path).append(self.record(0))
        path.write_bytes(before := path.read_bytes() + line)
        for read in (read_results, ResultsFile):
            with pytest.raises(ValueError, match=r"results, line 2: no result of a run"):
                read(path)
        assert path.read_bytes() == before

    def test_a_file_that_is_not_its_own_is_left_alone(self, tmp_path):
        path = tmp_path / "diary"
        for content in (
            b"a line without an end",
            b' {"run":' + self.record(0).as_json()[7:].encode(),
        ):
            path.write_bytes(content)
            with pytest.raises(ValueError, match="diary, line 1: no result of a run"):
                run_all([short(0)], path, perform=functions.made_up)
            assert path.read_bytes() == content

    def test_no_file_has_no_results(self, tmp_path):
        assert read_results(tmp_path / "none") == {}


class TestRunAll:
    @pytest.fixture(autouse=True)
    def log(self, tmp_path, monkeypatch):
        path = tmp_path / "log"
        path.touch()
        monkeypatch.setenv("NPBN_TEST_LOG", str(path))
        monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        return path

    def test_each_run_once_also_over_several_calls(self, tmp_path, log):
        runs = [short(seed) for seed in range(4)]
        run_all(runs[:2] + runs[:1], tmp_path / "r", perform=functions.slow)
        records = run_all(runs, tmp_path / "r", perform=functions.slow)
        assert sorted(log.read_text().split()) == ["0", "1", "2", "3"]
        assert list(records) == runs
        assert all(records[run].result == functions.made_up(run) for run in runs)

    def test_a_run_that_kills_its_worker_twice_is_recorded_and_skipped(self, tmp_path, log, capsys):
        runs = [short(seed) for seed in range(6)]
        records = run_all(runs, tmp_path / "r", perform=functions.deadly)
        assert records[short(3)].result is None
        assert records[short(3)].deaths == 2
        assert all(records[run].result for run in runs if run.seed != 3)
        assert "A worker died; in flight" in capsys.readouterr().out
        again = run_all(runs, tmp_path / "r", perform=functions.deadly)
        assert again == records

    def test_an_executor_of_the_callers_that_breaks(self, tmp_path):
        runs = [short(seed) for seed in range(6)]
        for _ in range(2):
            with (
                ProcessPoolExecutor(1) as pool,
                pytest.raises(RuntimeError, match=r'in flight:.*"seed": 3'),
            ):
                run_all(runs, tmp_path / "r", executor=pool, workers=1, perform=functions.deadly)
        with ProcessPoolExecutor(1) as pool:
            records = run_all(
                runs, tmp_path / "r", executor=pool, workers=1, perform=functions.deadly
            )
        assert [run.seed for run in runs if records[run].result is None] == [3]

    def test_what_a_run_raises_is_raised_and_the_rest_kept(self, tmp_path):
        runs = [short(seed) for seed in range(3)]
        with pytest.raises(ZeroDivisionError, match="seed 1"):
            run_all(runs, tmp_path / "r", workers=1, perform=functions.failing)
        assert short(0) in read_results(tmp_path / "r")

    def test_killed_at_any_moment_the_same_call_goes_on(self, tmp_path, log):
        script = tmp_path / "script.py"
        script.write_text(
            "import sys\n"
            "import experiment_functions as functions\n"
            "from npbn.experiments import Run, run_all\n"
            "if __name__ == '__main__':\n"
            f"    runs = [Run(batch_norm=True, learning_rate=0.1, seed=s, **{SHORT}) "
            "for s in range(30)]\n"
            "    run_all(runs, sys.argv[1], perform=functions.slow)\n"
        )
        results = tmp_path / "r"
        command = [sys.executable, str(script), str(results)]
        rng = np.random.default_rng(0)
        for _ in range(3):
            process = subprocess.Popen(command, start_new_session=True)
            deadline = time.monotonic() + 20
            before = len(read_results(results))
            wanted = min(before + int(rng.integers(2, 6)), 29)
            while len(read_results(results)) < wanted and time.monotonic() < deadline:
                time.sleep(0.01)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            assert before < len(read_results(results)) < 30
        subprocess.run(command, check=True)
        done = [int(seed) for seed in log.read_text().split()]
        assert sorted(read_results(results), key=lambda run: run.seed) == [
            short(seed) for seed in range(30)
        ]
        # What was in flight when it was killed, two at a time, ran again; nothing else did.
        assert len(done) <= 30 + 3 * 2

    def test_ctrl_c_stops_the_workers(self, tmp_path):
        script = tmp_path / "script.py"
        script.write_text(
            "import sys\n"
            "from npbn.experiments import Run, run_all\n"
            "if __name__ == '__main__':\n"
            "    runs = [Run(batch_norm=True, learning_rate=0.1, seed=s, data='digits') "
            "for s in range(4)]\n"
            "    try:\n"
            "        run_all(runs, sys.argv[1])\n"
            "    except KeyboardInterrupt:\n"
            "        print('stopped')\n"
        )
        process = subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / "r")],
            start_new_session=True,
            stdout=subprocess.PIPE,
            text=True,
        )
        time.sleep(2.5)
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=10)[0] == "stopped\n"

    def test_a_single_run_is_no_list_of_them(self, tmp_path):
        with pytest.raises(
            TypeError, match=r"^runs: expected a list of runs, got a Run: pass \[runs\]"
        ):
            run_all(short(), tmp_path / "r")
        with pytest.raises(TypeError, match=r"^runs: expected a list of runs, got 5: pass \[5\]"):
            run_all(5, tmp_path / "r")
        assert not (tmp_path / "r").exists()

    def test_another_experiment_has_runs_and_results_of_its_own(self, tmp_path):
        rolls = [functions.Roll(seed) for seed in range(5)]
        for _ in range(2):
            records = run_all(
                rolls, tmp_path / "r", perform=functions.roll, result_type=functions.Pips
            )
            assert [records[each].result for each in rolls] == list(map(functions.roll, rolls))
        kinds = (functions.Roll, functions.Pips)
        assert read_results(tmp_path / "r", kinds) == records

    def test_a_bar_over_all_runs(self, tmp_path, monkeypatch):
        class Terminal(io.StringIO):
            def isatty(self):
                return True

        monkeypatch.setattr(sys, "stderr", Terminal())
        run_all([short(0), short(1)], tmp_path / "r", perform=functions.made_up)
        assert "120/120" in sys.stderr.getvalue()


class TestReport:
    def test_cells_are_text_in_html_and_markdown(self):
        table = html_table(("a", "b"), [("<x>", "1|2")])
        assert '<td data-label="a">&lt;x&gt;</td><td data-label="b">1|2</td>' in table
        assert (
            markdown_table(("a", "b"), [("<x>", "1|2")]) == "| a | b |\n|---|---|\n| <x> | 1\\|2 |"
        )

    def test_a_page_is_whole_and_needs_nothing_from_elsewhere(self):
        from matplotlib.figure import Figure

        figure = Figure(figsize=(2, 1))
        figure.add_subplot().plot([1, 2])
        svg = inline_svg(figure, 'a "plot"')
        assert svg == inline_svg(figure, 'a "plot"')
        assert 'aria-label="a &quot;plot&quot;"' in svg
        text = page("Title & more", svg)
        assert text.startswith("<!DOCTYPE html>")
        assert "Title &amp; more" in text
        assert "width=device-width" in text
        assert "<script" not in text
        assert "<link" not in text
