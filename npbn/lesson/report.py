"""The report: the lesson's figures beside what was measured, from a results file alone."""

from collections import Counter
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from npbn import plotting
from npbn.experiments import Record, Run, read_results
from npbn.experiments.report import html_table, inline_svg, markdown_table, page, text
from npbn.lesson.claims import CLAIMS, Claim
from npbn.lesson.rules import Verdict
from npbn.lesson.runs import LessonRun, Pair, Records, learns, lesson_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIDES = ("Without Batch Norm", "With Batch Norm")
VERDICTS = {True: ("yes", "holds"), False: ("no", "does not hold"), None: ("open", "not measured")}

HEADER = (
    "runs",
    "train_and_test(...)",
    "lesson: without",
    "lesson: with",
    "measured: without",
    "measured: with",
    "learn: without",
    "learn: with",
    "agree",
)


def report_runs(seeds: Sequence[int]) -> list[Run]:
    """All runs that the report needs: the lesson's 15 calls, and what the claims need beside."""
    runs = [run for call in lesson_runs() for run in call.runs(seeds)]
    runs += [run for claim in CLAIMS for seed in seeds for run in claim.extra_runs(seed)]
    return list(dict.fromkeys(runs))


def write_report(results: str | PathLike[str], folder: str | PathLike[str]) -> list[Path]:
    """Write lesson_report.html, .md and .png into a folder, from a results file alone.

    Returns their paths. FileNotFoundError without the results; ValueError for a bad results file.
    """
    if not Path(results).exists():
        raise FileNotFoundError(f"{results}: no results: run the experiments first")
    records = read_results(results)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"lesson_report.{kind}" for kind in ("html", "md", "png")]
    paths[0].write_text(html_report(records), encoding="utf-8")
    paths[1].write_text(markdown_report(records), encoding="utf-8")
    overview(records).savefig(paths[2], dpi=130)
    return paths


def accuracy_range(values: Sequence[float]) -> str:
    """The median and the range of some accuracies."""
    if not values:
        return "-"
    return f"{median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def rows(records: Records) -> list[list[str]]:
    """For each of the lesson's calls what it reports, and what was measured."""
    table = []
    for call in lesson_runs():
        pairs = call.pairs(records)
        own = _accuracies(pairs)
        count = f" of {len(pairs)}"
        table.append(
            [
                ", ".join(map(str, call.numbers)),
                call.call,
                " / ".join(f"{each.validation_without:.3f}" for each in call.reported),
                " / ".join(f"{each.validation_with:.3f}" for each in call.reported),
                accuracy_range(own[0]),
                accuracy_range(own[1]),
                f"{sum(learns(pair.without) for pair in pairs)}{count}",
                f"{sum(learns(pair.with_) for pair in pairs)}{count}",
                "lottery" if call.is_lottery else f"{sum(map(call.agrees, pairs))}{count}",
            ]
        )
    return table


def _accuracies(pairs: Sequence[Pair]) -> tuple[list[float], list[float]]:
    return (
        [pair.without.validation_accuracy for pair in pairs],
        [pair.with_.validation_accuracy for pair in pairs],
    )


def agreement(records: Records) -> str:
    """How many of the lesson's calls agree, in a sentence."""
    judged = [(call, call.pairs(records)) for call in lesson_runs() if not call.is_lottery]
    measured = [(call, pairs) for call, pairs in judged if pairs]
    agree = [call for call, pairs in measured if sum(map(call.agrees, pairs)) >= 0.8 * len(pairs)]
    return (
        f"{len(agree)} of the {len(measured)} measured calls whose result is not a lottery agree "
        "with the lesson in at least four seeds of five."
    )


def verdicts(records: Records) -> list[tuple[Claim, Verdict]]:
    """Each of the lesson's benefits, and its verdict."""
    seeds = sorted({run.seed for run in records})
    return [(claim, claim.judge(records, seeds)) for claim in CLAIMS]


def overview(records: Records) -> "Figure":
    """Every final validation accuracy, a dot a seed, beside the lesson's."""
    from matplotlib.figure import Figure

    measured: dict[str, dict[str, list[float]]] = {side: {} for side in SIDES}
    reported: dict[str, dict[str, list[float]]] = {side: {} for side in SIDES}
    for call in lesson_runs():
        first = call.reported[0]
        short = "" if first.training_batches == 50_000 else "\n2,000"
        name = (
            f"{', '.join(map(str, call.numbers))}\n{first.initial_weights}\n"
            f"{first.learning_rate:g}\n{first.activation}{short}"
        )
        own = _accuracies(call.pairs(records))
        for index, side in enumerate(SIDES):
            measured[side][name] = own[index]
            reported[side][name] = [
                (each.validation_without, each.validation_with)[index] for each in call.reported
            ]
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    plotting.accuracy_strips(measured, reported=reported, ax=figure.add_subplot())
    figure.axes[0].set_xlabel(
        "run, initial weights, learning rate, activation (2,000 batches, else 50,000)"
    )
    return figure


def markdown_report(records: Records) -> str:
    """The report in Markdown: the table, and the claims."""
    judged = [
        (claim.number, claim.statement, VERDICTS[verdict.passed][1], "; ".join(verdict.measured))
        for claim, verdict in verdicts(records)
    ]
    return "\n\n".join(
        [
            "# The lesson's runs, measured",
            agreement(records),
            markdown_table(HEADER, rows(records)),
            markdown_table(("", "the lesson's claim", "verdict", "measured"), judged) + "\n",
        ]
    )


def html_report(records: Records) -> str:
    """The report as one self-contained page."""
    seeds = sorted({run.seed for run in records})
    shown = ", ".join(map(str, seeds)) or "none"
    parts = [
        "<h1>The lesson's runs, measured</h1>",
        f"<p>{text(agreement(records))}</p>",
        "<p>The lesson reports one random draw of each run. Here each runs at the seeds "
        f"{text(shown)}: the median and the range of the final validation accuracy on MNIST. Both "
        "networks of a pair start from the same weights and see the same batches. A network learns "
        "when its accuracy is at least 0.5; a pair agrees when both sides learn or fail as the "
        "lesson's and, where these differ by 0.015 or more, differ to the same side. Where the "
        "lesson made a call twice, both of its figures are given. Bad weights with ReLU are a "
        "lottery: there, look at how many learn.</p>",
        html_table(HEADER, rows(records)),
        "<h2>All final accuracies</h2>",
        '<div class="scroll">',
        inline_svg(overview(records), "Final validation accuracies of all runs and seeds"),
        "</div>",
        "<h2>The lesson's seven claims</h2>",
        "<p>Each has a rule that was written before the runs, and holds when the rule holds at "
        "four seeds of five or more.</p>",
        *(_claim_card(claim, verdict) for claim, verdict in verdicts(records)),
        "<h2>Accuracy over training</h2>",
        "<p>The median over seeds, in the range from the lowest to the highest; dots where the "
        "curves end are the lesson's.</p>",
        '<div class="cards">',
        *(_curves(call, records) for call in lesson_runs() if call.pairs(records)),
        "</div>",
        "<h2>How networks failed</h2>",
        "<p>Not finite: a loss became infinite or NaN, after which every prediction is class 0. "
        "Dead: the last hidden layer gives the same for every image, and every prediction is one "
        "class. The rest fail in other ways.</p>",
        html_table(("runs", "train_and_test(...)", *SIDES), _failures(records)),
        "<h2>Where it was measured</h2>",
        html_table(("", ""), _machines(records.values())),
    ]
    return page("The lesson's runs, measured", "\n".join(parts))


def _claim_card(claim: Claim, verdict: Verdict) -> str:
    kind, word = VERDICTS[verdict.passed]
    held = f"It holds at {sum(verdict.by_seed.values())} of {len(verdict.by_seed)} seeds."
    figures = "".join(f"<li>{text(line)}</li>" for line in verdict.measured)
    return (
        f'<div class="card"><h3>{claim.number}. {text(claim.statement)} '
        f'<span class="{kind}">{word}</span></h3>'
        f"<p>Rule: {text(claim.rule)} {held if verdict.by_seed else ''}</p><ul>{figures}</ul></div>"
    )


def _curves(call: LessonRun, records: Records) -> str:
    from matplotlib.figure import Figure

    pairs = call.pairs(records)
    groups = {
        SIDES[0]: [pair.without.accuracies for pair in pairs],
        SIDES[1]: [pair.with_.accuracies for pair in pairs],
    }
    reported = {
        SIDES[0]: [each.validation_without for each in call.reported],
        SIDES[1]: [each.validation_with for each in call.reported],
    }
    figure = Figure(figsize=(4, 2.6), layout="constrained")
    per_sample = call.reported[0].batches_per_sample
    plotting.accuracy_bands(groups, per_sample, reported=reported, ax=figure.add_subplot())
    title = f"Run {', '.join(map(str, call.numbers))}: {call.call}"
    return f'<div class="card"><h3>{text(title)}</h3>{inline_svg(figure, title)}</div>'


def _failures(records: Records) -> list[list[str]]:
    table = []
    for call in lesson_runs():
        sides = []
        for batch_norm in (False, True):
            pairs = call.pairs(records)
            results = [pair.with_ if batch_norm else pair.without for pair in pairs]
            failed = Counter(
                "other" if each.outcome == "finite" else each.outcome
                for each in results
                if not learns(each)
            )
            sides.append(", ".join(f"{count} {kind}" for kind, count in failed.items()) or "none")
        if sides != ["none", "none"]:
            table.append([", ".join(map(str, call.numbers)), call.call, *sides])
    return table


def _machines(records: Iterable[Record]) -> list[tuple[str, str]]:
    machines = Counter(tuple(sorted(each.machine.items())) for each in records)
    return [
        (name, f"{value}" + (f" ({count} runs)" if len(machines) > 1 else ""))
        for machine, count in machines.most_common()
        for name, value in machine
    ]
