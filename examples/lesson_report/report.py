"""The report: the lesson's figures beside what was measured, from a results file alone."""

from collections import Counter
from pathlib import Path

from claims import CLAIMS, with_range
from figures import SIDES, curves, overview
from runs import is_enough, learns, lesson_runs

from npbn.experiments import read_results
from npbn.experiments.report import html_table, inline_svg, markdown_table, page, text

VERDICTS = {True: ("yes", "holds"), False: ("no", "does not hold"), None: ("open", "not measured")}

HOW_IT_IS_JUDGED = (
    "The lesson reports one random draw of each run; here each runs at several seeds. Both "
    "networks of a pair start from the same weights and see the same batches. A network learns "
    "when its accuracy is at least 0.5; a pair agrees when both sides learn or fail as the "
    "lesson's and, where these differ by 0.015 or more, differ to the same side. Where the lesson "
    "made a call twice, both of its figures are given. Bad weights with ReLU are a lottery: there, "
    "look at how many learn."
)
HOW_A_CLAIM_IS_JUDGED = (
    "Each has a rule that was written before the runs, and holds when the rule holds at four seeds "
    "of five or more."
)

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


def write_report(results, folder):
    """Write lesson_report.html, .md and .png into a folder, from a results file alone.

    Returns their paths. FileNotFoundError without the results; ValueError for a bad results file.
    """
    if not Path(results).exists():
        raise FileNotFoundError(f"{results}: no results: run the experiments first")
    records = read_results(results)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    html, markdown, picture = (folder / f"lesson_report.{kind}" for kind in ("html", "md", "png"))
    html.write_text(html_report(records), encoding="utf-8")
    markdown.write_text(markdown_report(records), encoding="utf-8")
    overview(records).savefig(picture, dpi=130)
    return html, markdown, picture


def rows(records):
    """For each of the lesson's calls what it reports, and what was measured."""
    table = []
    for call in lesson_runs():
        pairs = call.pairs(records)
        agree = [call.agrees(*pair) for pair in pairs]
        reported, measured, learn = [], [], []
        for side, accuracies in enumerate(call.reported_accuracies):
            own = [pair[side] for pair in pairs]
            reported.append(" / ".join(f"{each:.3f}" for each in accuracies))
            measured.append(with_range([each.validation_accuracy for each in own], ".3f"))
            learn.append(f"{sum(map(learns, own))} of {len(own)}")
        agreed = "lottery" if call.is_lottery else f"{sum(agree)} of {len(agree)}"
        table.append([call.numbers, call.call, *reported, *measured, *learn, agreed])
    return table


def agreement(records):
    """How many of the lesson's calls agree, in a sentence."""
    judged = [
        [call.agrees(*pair) for pair in call.pairs(records)]
        for call in lesson_runs()
        if not call.is_lottery
    ]
    measured = [agree for agree in judged if agree]
    return (
        f"{sum(map(is_enough, measured))} of the {len(measured)} measured calls whose result is "
        "not a lottery agree with the lesson in at least four seeds of five."
    )


def markdown_report(records):
    """The report in Markdown: tables narrow enough for a phone, and the claims one by one."""
    accuracies, outcomes = [], []
    for numbers, call, *reported, without, with_it, never, ever, agreed in rows(records):
        both = " and ".join(
            f"{a} / {b}" for a, b in zip(*(each.split(" / ") for each in reported), strict=True)
        )
        accuracies.append((numbers, call, both, without, with_it))
        outcomes.append((numbers, never, ever, agreed))
    parts = [
        "# The lesson's runs, measured",
        agreement(records),
        "![Final validation accuracies of all runs and seeds](lesson_report.png)",
        HOW_IT_IS_JUDGED,
        "## Final validation accuracy",
        "Medians, and in brackets ranges, over the seeds; the lesson's without / with.",
        markdown_table(
            ("runs", "`train_and_test(...)`", "the lesson", "without", "with"), accuracies
        ),
        "## Which networks learn",
        markdown_table(("runs", "without", "with", "agree"), outcomes),
        "## The lesson's seven claims",
        HOW_A_CLAIM_IS_JUDGED,
    ]
    for claim in CLAIMS:
        verdict = claim.verdict(records)
        parts += [
            f"### {claim.number}. {claim.statement.rstrip('.')}",
            f"**{VERDICTS[verdict.holds][1].capitalize()}.** Rule: {claim.rule}",
            "\n".join(f"- {line}" for line in verdict.measured),
        ]
    return "\n\n".join(filter(None, parts)) + "\n"


def html_report(records):
    """The report as one self-contained page."""
    seeds = sorted({run.seed for run in records})
    shown = ", ".join(map(str, seeds)) or "none"
    parts = [
        "<h1>The lesson's runs, measured</h1>",
        f"<p>{text(agreement(records))}</p>",
        f"<p>Seeds {text(shown)}: the median and the range of the final validation accuracy on "
        f"MNIST. {text(HOW_IT_IS_JUDGED)}</p>",
        html_table(HEADER, rows(records)),
        "<h2>All final accuracies</h2>",
        '<div class="scroll">',
        inline_svg(overview(records), "Final validation accuracies of all runs and seeds"),
        "</div>",
        "<h2>The lesson's seven claims</h2>",
        f"<p>{text(HOW_A_CLAIM_IS_JUDGED)}</p>",
        *(_claim_card(claim, records) for claim in CLAIMS),
        "<h2>Accuracy over training</h2>",
        "<p>The median over seeds, in the range from the lowest to the highest; dots where the "
        "curves end are the lesson's.</p>",
        '<div class="cards">',
        *(_curves_card(call, records) for call in lesson_runs() if call.pairs(records)),
        "</div>",
        "<h2>How networks failed</h2>",
        "<p>Not finite: a loss became infinite or NaN, after which every prediction is class 0. "
        "Dead: the last hidden layer gives the same for every image, and every prediction is one "
        "class. The rest fail in other ways.</p>",
        html_table(("runs", "train_and_test(...)", *SIDES), _failures(records)),
        "<h2>Where it was measured</h2>",
        html_table(("", ""), _machines(records)),
    ]
    return page("The lesson's runs, measured", "\n".join(parts))


def _claim_card(claim, records):
    verdict = claim.verdict(records)
    kind, word = VERDICTS[verdict.holds]
    held = f"It holds at {sum(verdict.by_seed.values())} of {len(verdict.by_seed)} seeds."
    figures = "".join(f"<li>{text(line)}</li>" for line in verdict.measured)
    return (
        f'<div class="card"><h3>{claim.number}. {text(claim.statement)} '
        f'<span class="{kind}">{word}</span></h3>'
        f"<p>Rule: {text(claim.rule)} {held if verdict.by_seed else ''}</p><ul>{figures}</ul></div>"
    )


def _curves_card(call, records):
    title = f"Run {call.numbers}: {call.call}"
    svg = inline_svg(curves(call, records), title)
    return f'<div class="card"><h3>{text(title)}</h3>{svg}</div>'


def _failures(records):
    table = []
    for call in lesson_runs():
        sides = []
        for results in zip(*call.pairs(records), strict=True):
            failed = Counter(
                "other" if each.outcome == "finite" else each.outcome
                for each in results
                if not learns(each)
            )
            sides.append(", ".join(f"{count} {kind}" for kind, count in failed.items()) or "none")
        if set(sides) - {"none"}:
            table.append([call.numbers, call.call, *sides])
    return table


def _machines(records):
    machines = Counter(tuple(sorted(each.machine.items())) for each in records.values())
    return [
        (name, f"{value}" + (f" ({count} runs)" if len(machines) > 1 else ""))
        for machine, count in machines.most_common()
        for name, value in machine
    ]
