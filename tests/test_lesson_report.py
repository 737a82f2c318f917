"""The lesson's runs and claims, and the report on them."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from statistics import median

import experiment_functions as functions
import numpy as np
import pytest
from matplotlib.image import imread

from npbn import lesson
from npbn.experiments import Record, Result, Run, build, machine, read_results
from npbn.experiments.results import ResultsFile
from npbn.lesson.claims import CLAIMS
from npbn.lesson.report import markdown_report, rows
from npbn.lesson.rules import DEPTHS, RATES, STDS, depth_runs, rate_runs, std_runs, steps_to
from npbn.lesson.runs import Pair, lesson_runs

SEEDS = range(5)

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def result(accuracy, **changes):
    made = replace(
        functions.made_up("any"),
        validation_accuracy=accuracy,
        test_accuracy=accuracy,
        training_accuracy=1.0,
        outcome="finite",
    )
    return replace(made, **changes)


def records(results):
    return {run: Record(run, each, 0, machine()) for run, each in results.items()}


def call(number):
    (found,) = (each for each in lesson_runs() if number in each.numbers)
    return found


class TestLessonRuns:
    def test_eighteen_runs_are_fifteen_calls(self):
        calls = lesson_runs()
        assert len(calls) == 15
        assert [each.numbers for each in calls if len(each.numbers) > 1] == [
            (4, 5),
            (13, 17),
            (15, 18),
        ]
        assert sorted(number for each in calls for number in each.numbers) == list(range(1, 19))
        assert [each.numbers for each in calls if each.is_lottery] == [(11,), (13, 17), (15, 18)]

    def test_their_descriptions_are_the_lessons(self):
        run = call(10).run(True, seed=3)
        assert run == Run(
            batch_norm=True,
            learning_rate=2,
            activation="sigmoid",
            weight_std=0.05,
            batches=2000,
            batches_per_sample=50,
            seed=3,
        )
        assert call(14).run(False, 0).weight_std == 5.0
        weights = lesson.initial_weights(True, seed=4)
        assert np.array_equal(build(call(14).run(True, 4)).layers[0].weight, weights[0])

    @pytest.mark.parametrize(
        ("number", "without", "with_", "agrees"),
        [
            (1, 0.97, 0.98, True),
            (1, 0.97, 0.96, True),  # the lesson's difference is below 0.015
            (1, 0.40, 0.98, False),
            (2, 0.83, 0.95, True),
            (2, 0.95, 0.83, False),
            (4, 0.0958, 0.98, True),
            (4, 0.98, 0.98, False),
            (4, 0.0958, 0.0958, False),
            (13, 0.11, 0.92, True),  # as run 13
            (13, 0.11, 0.10, True),  # as run 17
            (13, 0.92, 0.11, False),
            (13, 0.10, 0.11, True),
        ],
    )
    def test_when_a_pair_agrees(self, number, without, with_, agrees):
        assert call(number).agrees(Pair(0, result(without), result(with_))) is agrees

    def test_pairs_are_whole(self):
        have = {run: result(0.9) for run in call(2).runs(SEEDS)}
        del have[call(2).run(True, 3)]
        assert [pair.seed for pair in call(2).pairs(records(have))] == [0, 1, 2, 4]


class TestClaims:
    def judge(self, number, results, seeds=SEEDS):
        return CLAIMS[number - 1].judge(records(results), seeds)

    def test_seven_with_a_rule_each(self):
        assert [claim.number for claim in CLAIMS] == list(range(1, 8))
        for claim in CLAIMS:
            assert claim.rule.endswith(".")
            verdict = claim.judge({}, SEEDS)
            assert verdict.passed is None
            assert verdict.measured == ()

    def test_four_seeds_of_five_pass(self):
        def made(failing):
            runs = {}
            for seed in SEEDS:
                for number in (1, 3, 4, 6, 8, 9):
                    a, b = call(number).runs([seed])
                    runs |= {a: result(0.95), b: result(0.95 if seed in failing else 0.96)}
            return runs

        assert self.judge(7, made(())).passed
        assert self.judge(7, made({2})).passed
        assert not self.judge(7, made({2, 3})).passed

    def test_steps_to_a_level(self):
        run = call(2).run(True, 0)
        assert steps_to(0.9, run, result(0.9, accuracies=(0.1, 0.8, 0.92, 0.5))) == 101
        assert steps_to(0.95, run, result(0.9, accuracies=(0.1, 0.8, 0.92, 0.5))) is None

    @pytest.mark.parametrize(("seconds", "holds"), [(40.0, True), (9e6, False)])
    def test_faster_in_steps_and_in_seconds(self, seconds, holds):
        slow, fast = [0.1] * 9 + [0.96] * 9, [0.1, 0.96, 0.97]
        runs = {}
        for seed in SEEDS:
            for number in (1, 2):
                a, b = call(number).runs([seed])
                runs[a] = result(0.97, accuracies=tuple(slow), seconds=20.0)
                runs[b] = result(0.98, accuracies=tuple(fast), seconds=seconds)
            for run in CLAIMS[0].extra_runs(seed):
                runs[run] = result(0.97, accuracies=tuple(fast), seconds=20.0)
        verdict = self.judge(1, runs)
        assert verdict.passed is holds
        assert any("with: 90% after 51 steps" in line for line in verdict.measured)

    @pytest.mark.parametrize(("top", "holds"), [(1.0, True), (0.3, False)])
    def test_higher_rates(self, top, holds):
        runs = {}
        for seed in SEEDS:
            for rate in RATES:
                for activation in ("relu", "sigmoid"):
                    a, b = rate_runs(seed, rate, activation)
                    runs |= {a: result(0.9 * (rate <= 0.1)), b: result(0.9 * (rate <= top))}
        assert self.judge(2, runs).passed is holds

    @pytest.mark.parametrize(("more", "holds"), [(2, True), (1, False)])
    def test_easier_weights(self, more, holds):
        runs = {}
        for seed in SEEDS:
            for place, std in enumerate(STDS):
                a, b = std_runs(seed, std)
                runs |= {a: result(0.9 * (place < 2)), b: result(0.9 * (place < 2 + more))}
        assert self.judge(3, runs).passed is holds

    @pytest.mark.parametrize(
        ("gain", "outcome", "constant", "holds"),
        [
            (0.14, "not finite", 0.0, True),
            (0.14, "dead", 0.04, True),
            (0.09, "dead", 0.0, False),
            (0.14, "finite", 0.0, False),
            (0.14, "dead", 0.05, False),
        ],
    )
    def test_more_activations(self, gain, outcome, constant, holds):
        runs = {}
        for seed in SEEDS:
            a, b = call(3).runs([seed])
            runs |= {a: result(0.8), b: result(0.8 + gain)}
            a, b = call(4).runs([seed])
            runs |= {
                a: result(0.1, outcome=outcome),
                b: result(0.98, constant_units=(0.0, constant, 0.0)),
            }
        assert self.judge(4, runs).passed is holds

    @pytest.mark.parametrize(("deepest", "holds"), [(6, True), (3, False)])
    def test_deeper(self, deepest, holds):
        runs = {}
        for seed in SEEDS:
            for depth in DEPTHS:
                a, b, he = depth_runs(seed, depth)
                runs |= {
                    a: result(0.9 * (depth <= 3)),
                    b: result(0.9 * (depth <= deepest)),
                    he: result(0.9),
                }
        verdict = self.judge(5, runs)
        assert verdict.passed is holds
        assert verdict.measured[2].endswith("up to 24 hidden layers")

    @pytest.mark.parametrize(
        ("gain", "fit", "holds"), [(0.006, 1.0, True), (0.004, 1.0, False), (0.006, 0.98, False)]
    )
    def test_regularizes(self, gain, fit, holds):
        runs = {}
        for seed in SEEDS:
            a, b = CLAIMS[5].extra_runs(seed)
            runs |= {a: result(0.85, training_accuracy=fit), b: result(0.85 + gain)}
        assert self.judge(6, runs).passed is holds


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """A results file in which every run of the report has a made-up result, and its report."""
    folder = tmp_path_factory.mktemp("report")
    path = folder / "results.jsonl"
    file = ResultsFile(path)
    lines = []
    for run in lesson.report_runs(SEEDS):
        samples = -(-run.batches // run.batches_per_sample)
        made = functions.made_up(run)
        curve = tuple(np.linspace(0.1, made.validation_accuracy, samples))
        lines.append(Record(run, replace(made, accuracies=curve), 0, machine()).as_json())
    file.path.write_text("\n".join(lines) + "\n")
    return path, lesson.write_report(path, folder)


def chromium(folder):
    """The start of a command that runs it without a window, a network or a profile of before."""
    flags = "headless no-sandbox disable-gpu no-first-run disable-background-networking"
    flags += " disable-component-update disable-sync"
    return [CHROMIUM, *(f"--{flag}" for flag in flags.split()), f"--user-data-dir={folder}/profile"]


class TestReport:
    def test_needs_each_run_once(self):
        runs = lesson.report_runs(SEEDS)
        assert len(runs) == len(set(runs))
        assert {run.seed for run in runs} == set(SEEDS)
        assert sum(run.batches for run in runs) < 7e6

    def test_has_every_call_claim_and_figure(self, made_up):
        _, (html, markdown, picture) = made_up
        text = html.read_text()
        for each in lesson_runs():
            assert f">{each.call}</td>" in text
            for reported in each.reported:
                assert f"{reported.validation_with:.3f}" in text
        for claim in CLAIMS:
            assert claim.statement.replace("'", "&#x27;") in text
        assert text.count("<svg") == 16
        assert markdown.read_text().count("\n|") == 15 + 2 + 7 + 2 - 0
        assert picture.read_bytes().startswith(b"\x89PNG")

    def test_is_one_self_contained_page(self, made_up):
        text = made_up[1][0].read_text()
        assert not re.search(r'(src|href)="(?!#)', text)
        assert "@import" not in text
        assert "url(http" not in text

    def test_says_what_was_not_measured(self, tmp_path):
        path = tmp_path / "r"
        file = ResultsFile(path)
        for run in call(2).runs([0]):
            file.append(Record(run, result(0.9), 0, machine()))
        html, markdown, _ = lesson.write_report(path, tmp_path)
        assert "not measured" in html.read_text()
        assert "| 2 | False, 0.01, ReLU, 2000, 50 | 0.835 | 0.953 | 0.900" in markdown.read_text()

    def test_a_run_whose_worker_died_counts_as_missing(self, tmp_path):
        path = tmp_path / "r"
        file = ResultsFile(path)
        a, b = call(2).runs([0])
        file.append(Record(a, result(0.9), 0, machine()))
        file.append(Record(b, None, 2, machine()))
        assert call(2).pairs(read_results(path)) == []
        lesson.write_report(path, tmp_path)

    def test_without_results_there_is_none(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="run the experiments first"):
            lesson.write_report(tmp_path / "none", tmp_path)

    @pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
    @pytest.mark.parametrize("width", [390, 1200])
    def test_reads_well_on_a_phone_and_on_a_desk(self, made_up, tmp_path, width):
        html = made_up[1][0]
        probe = tmp_path / "probe.html"
        script = (
            "<script>addEventListener('load', () => { document.title = "
            "document.documentElement.scrollWidth + ' of ' + innerWidth; })</script>"
        )
        probe.write_text(html.read_text().replace("</head>", script + "</head>"))
        browser = [*chromium(tmp_path), f"--window-size={width},2000"]
        # Chromium's own window is never narrower than 500; a frame is.
        frame = tmp_path / "frame.html"
        frame.write_text(
            f'<body style="margin:0"><iframe src="probe.html" width="{width}" height="2000" '
            'style="border:0" onload="document.title = this.contentDocument.title"></iframe>'
        )
        options = {"capture_output": True, "text": True, "timeout": 120, "check": True}
        allowed = ["--allow-file-access-from-files"]
        dom = subprocess.run([*browser, *allowed, "--dump-dom", frame.as_uri()], **options).stdout
        scroll, inner = map(int, re.search(r"<title>(\d+) of (\d+)</title>", dom).groups())
        assert inner == width
        assert scroll <= inner
        shot = tmp_path / "shot.png"
        subprocess.run([*browser, *allowed, f"--screenshot={shot}", frame.as_uri()], **options)
        pixels = imread(shot)
        assert pixels.shape[1] >= width
        # Text and figures down to the bottom of the window, and no empty page.
        rows = pixels[..., :3].std(axis=(1, 2)) > 0.01
        assert rows[:500].mean() > 0.3
        assert rows[1500:].mean() > 0.3

    @pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
    def test_prints(self, made_up, tmp_path):
        pdf = tmp_path / "report.pdf"
        command = [*chromium(tmp_path), f"--print-to-pdf={pdf}", made_up[1][0].as_uri()]
        subprocess.run(command, capture_output=True, timeout=120, check=True)
        pages = len(re.findall(rb"/Type\s*/Page\b", pdf.read_bytes()))
        assert 1 <= pages <= 12


COMMITTED = Path(__file__).parents[1] / "data" / "lesson_results.jsonl"


@pytest.fixture(scope="module")
def committed():
    """The results of one full run."""
    return read_results(COMMITTED)


class TestCommittedResults:
    """The results of one full run, that README and report stand on."""

    def test_are_whole(self, committed):
        runs = lesson.report_runs(SEEDS)
        assert set(committed) == set(runs)
        assert all(isinstance(record.result, Result) for record in committed.values())

    @pytest.mark.parametrize("number", [*range(1, 11), 12, 14, 16])
    def test_agree_with_the_lesson_in_four_seeds_of_five(self, committed, number):
        pairs = call(number).pairs(committed)
        assert sum(map(call(number).agrees, pairs)) >= 4

    @pytest.mark.parametrize("each", lesson_runs(), ids=lambda each: each.call)
    def test_medians_are_the_lessons_where_both_learn(self, committed, each):
        pairs = each.pairs(committed)
        reported = each.reported[0]
        bad = reported.initial_weights == "bad"
        for side, own, theirs in (
            ("without", [pair.without for pair in pairs], reported.validation_without),
            ("with", [pair.with_ for pair in pairs], reported.validation_with),
        ):
            if each.is_lottery or theirs < 0.5:
                continue
            bound = 0.08 if (reported.run, side) == (3, "without") else 0.06 if bad else 0.02
            middle = median(result.validation_accuracy for result in own)
            assert abs(middle - theirs) <= bound

    def test_the_table_in_docs_and_the_figures_of_readme_are_made_of_them(self, committed):
        root = Path(__file__).parents[1]
        assert (root / "docs" / "lesson_report.md").read_text(encoding="utf-8") == (
            markdown_report(committed)
        )
        readme = (root / "README.md").read_text(encoding="utf-8")
        shown = {row[0]: row for row in rows(committed)}
        for number in ("1", "3", "4, 5", "12", "15, 18"):
            assert f"{shown[number][4]} | {shown[number][5]}" in readme

    @pytest.mark.skipif(not os.environ.get("NPBN_DATA"), reason="NPBN_DATA names no MNIST folder")
    def test_a_run_gives_the_same_bits_on_the_same_machine(self, committed):
        from npbn.experiments import perform

        run = call(2).run(True, 0)
        record = committed[run]
        here = machine() | {"python": record.machine["python"], "npbn": record.machine["npbn"]}
        if here != record.machine:
            pytest.skip("these results are another machine's, NumPy's or BLAS'")
        assert perform(run).digest == record.result.digest
