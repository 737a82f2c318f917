"""The lesson's seven benefits of batch normalization, each with a rule fixed before the runs.

A rule looks at one seed at a time; a claim passes when at least four seeds in five pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from npbn.experiments import Run
from npbn.lesson.rules import (
    DEPTHS,
    RATES,
    STDS,
    Verdict,
    depth_runs,
    he_control,
    judge_activations,
    judge_depth,
    judge_rates,
    judge_regularization,
    judge_results,
    judge_speed,
    judge_weights,
    overfitting_runs,
    rate_runs,
    std_runs,
)
from npbn.lesson.runs import Records


@dataclass(frozen=True)
class Claim:
    """One of the lesson's benefits.

    statement: what the lesson claims. rule: what has to be measured at a seed for it to hold there.
    extra_runs: a seed -> the runs that the rule needs beside the lesson's own. judge: the results
    and the seeds -> the Verdict.
    """

    number: int
    statement: str
    rule: str
    extra_runs: Callable[[int], list[Run]]
    judge: Callable[[Records, Sequence[int]], Verdict]


CLAIMS = (
    Claim(
        1,
        "Networks train faster: each step takes longer, but far fewer are needed.",
        "Run 1: to 90 % and to 95 % validation accuracy, fewer steps and fewer seconds with batch "
        "norm than without. Beside it, no part of the rule: without it, from He's weights.",
        lambda seed: [he_control(seed)],
        judge_speed,
    ),
    Claim(
        2,
        "Higher learning rates can be used.",
        f"ReLU, good weights, 2,000 batches: the highest of the rates {RATES[0]:g} to "
        f"{RATES[-1]:g} (two a decade) that still learns is at least 10 times as high with batch "
        "norm. Beside it, no part of the rule: the same for sigmoid.",
        lambda seed: [
            run
            for activation, rate in product(("relu", "sigmoid"), RATES)
            for run in rate_runs(seed, rate, activation)
        ],
        judge_rates,
    ),
    Claim(
        3,
        "Initial weights are easier to choose.",
        f"ReLU, learning rate 0.1, 2,000 batches: of the standard deviations {STDS[0]:g} to "
        f"{STDS[-1]:g} (one a decade) at least two more learn with batch norm.",
        lambda seed: [run for std in STDS for run in std_runs(seed, std)],
        judge_weights,
    ),
    Claim(
        4,
        "More activation functions become usable.",
        "Sigmoid at 0.01 (run 3) gains at least 0.10; and ReLU at 1 (run 4) does not survive "
        "without batch norm (not finite, or dead), while with it less than 5 % of any layer's "
        "units die.",
        lambda seed: [],
        judge_activations,
    ),
    Claim(
        5,
        "Deeper networks become simple to train.",
        f"Hidden layers of 100, ReLU, good weights, 0.01, 2,000 batches: of the depths "
        f"{', '.join(map(str, DEPTHS))} the deepest that learns is at least twice as deep with "
        "batch norm. Beside it, no part of the rule: without it, from He's weights.",
        lambda seed: [run for depth in DEPTHS for run in depth_runs(seed, depth)],
        judge_depth,
    ),
    Claim(
        6,
        "It regularizes a little.",
        "1,000 training images, He's weights, 0.1, 3,000 batches: both networks fit at least 99 % "
        "of their training images, and with batch norm the test accuracy is at least 0.005 higher.",
        overfitting_runs,
        judge_regularization,
    ),
    Claim(
        7,
        "Results are better overall.",
        "Of runs 1, 3, 4, 6, 8 and 9 the best with batch norm beats the best without, each chosen "
        "by validation accuracy, by at least 0.003 of test accuracy.",
        lambda seed: [],
        judge_results,
    ),
)
