"""The lesson's seven benefits of batch normalization, each with a rule fixed before the runs.

A rule looks at one seed at a time; a claim holds when its rule holds at four seeds in five or more.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from operator import lt
from statistics import median

from runs import is_enough, learns, lesson_run, lesson_runs, runs_of, whole_results

from npbn.experiments import Run

RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
STDS = (0.0005, 0.005, 0.05, 0.5, 5.0)
DEPTHS = (3, 6, 12, 24)

# Of these the last accuracy is all that counts.
SHORT = {"batches": 2000, "batches_per_sample": 2000}


@dataclass(frozen=True)
class Claim:
    """One of the lesson's benefits.

    statement: what the lesson claims. rule: what has to be measured at a seed for it to hold there.
    runs: a seed -> the runs that the rule looks at. judge: for each seed the results of these
    runs, in their order -> what a Verdict has.
    """

    number: int
    statement: str
    rule: str
    runs: Callable
    judge: Callable

    def verdict(self, records):
        """What the rule says of the seeds whose runs are all there."""
        whole = whole_results(self.runs, records)
        return Verdict(*self.judge(whole)) if whole else Verdict({}, [])


@dataclass(frozen=True)
class Verdict:
    """What a claim's rule says of the results.

    by_seed: for each seed with all its runs, whether the rule holds. measured: the figures, in
    lines.
    """

    by_seed: dict[int, bool]
    measured: list[str]

    @property
    def holds(self):
        """Whether the rule holds at four seeds in five or more; None before there are any."""
        return is_enough(self.by_seed.values()) if self.by_seed else None


CLAIMS = []


def claim(statement, *, rule, runs):
    """Make a claim of the function that judges it, and add it to CLAIMS."""

    def add(judge):
        CLAIMS.append(Claim(len(CLAIMS) + 1, statement, rule, runs, judge))
        return judge

    return add


def pair(**description):
    """The two runs of a description, without and with batch normalization."""
    return [Run(batch_norm=each, **description) for each in (False, True)]


def learnt(rungs, results):
    """For each column of results, which come rung by rung, the rungs at which it learns."""
    width = len(results) // len(rungs)
    columns = [results[place::width] for place in range(width)]
    return [
        [rung for rung, result in zip(rungs, column, strict=True) if learns(result)]
        for column in columns
    ]


def with_range(values, form):
    """The median of some values, and their range; "-" for none."""
    if not values:
        return "-"
    middle, low, high = (format(each, form) for each in (median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


def steps_to(level, run, result):
    """The first sampled step after which the validation accuracy is at least level, or infinity."""
    for sample, accuracy in enumerate(result.accuracies):
        if accuracy >= level:
            return sample * run.batches_per_sample + 1
    return float("inf")


def speed_runs(seed):
    """Runs 2 and 1, and run 1 without batch norm from He's weights.

    Run 2 is the beginning of run 1, sampled ten times as often.
    """
    short, long = lesson_run(2).runs(seed), lesson_run(1).runs(seed)
    he = replace(long[0], weight_std=None, batches=20_000, batches_per_sample=50)
    return [*short, *long, he]


@claim(
    "Networks train faster: each step takes longer, but far fewer are needed.",
    rule="Run 1: to 90 % and to 95 % validation accuracy, fewer steps and fewer seconds with batch "
    "norm than without. Beside it, no part of the rule: without it, from He's weights.",
    runs=speed_runs,
)
def judge_speed(whole):
    # The places of the runs that show it, and of the one that is timed: one of those in which
    # sampling takes the same share of the time.
    sides = {"with": ((1, 3), 3), "without": ((0, 2), 2), "without, He weights": ((4,), 2)}
    by_seed = dict.fromkeys(whole, True)
    measured = []
    for level in (0.90, 0.95):
        reached = {side: [] for side in sides}
        for seed, results in whole.items():
            runs = speed_runs(seed)
            for side, (places, timed) in sides.items():
                steps = min(steps_to(level, runs[place], results[place]) for place in places)
                a_step = results[timed].seconds / runs[timed].batches
                reached[side].append((steps, steps * a_step))
            by_seed[seed] &= all(map(lt, reached["with"][-1], reached["without"][-1]))
        for side, found in reached.items():
            steps, seconds = map(median, zip(*found, strict=True))
            measured.append(f"{side}: {level:.0%} after {steps:g} steps, {seconds:.2f} s")
    return by_seed, measured


@claim(
    "Higher learning rates can be used.",
    rule=f"ReLU, good weights, 2,000 batches: the highest of the rates {RATES[0]:g} to "
    f"{RATES[-1]:g} (two a decade) that still learns is at least 10 times as high with batch "
    "norm. Beside it, no part of the rule: the same for sigmoid.",
    runs=lambda seed: [
        run
        for activation, rate in product(("relu", "sigmoid"), RATES)
        for run in pair(activation=activation, learning_rate=rate, seed=seed, **SHORT)
    ],
)
def judge_rates(whole):
    highest = {}
    for seed, results in whole.items():
        half = len(results) // 2
        relu, sigmoid = learnt(RATES, results[:half]), learnt(RATES, results[half:])
        highest[seed] = [max(rates, default=0.0) for rates in (*relu, *sigmoid)]
    by_seed = {
        seed: with_ > 0 and with_ >= 10 * without for seed, (without, with_, *_) in highest.items()
    }
    sides = ("relu, without", "relu, with", "sigmoid, without", "sigmoid, with")
    return by_seed, [
        f"{side}: highest rate {with_range(rates, 'g')}"
        for side, rates in zip(sides, zip(*highest.values(), strict=True), strict=True)
    ]


@claim(
    "Initial weights are easier to choose.",
    rule=f"ReLU, learning rate 0.1, 2,000 batches: of the standard deviations {STDS[0]:g} to "
    f"{STDS[-1]:g} (one a decade) at least two more learn with batch norm.",
    runs=lambda seed: [
        run for std in STDS for run in pair(learning_rate=0.1, weight_std=std, seed=seed, **SHORT)
    ],
)
def judge_weights(whole):
    stds = {seed: learnt(STDS, results) for seed, results in whole.items()}
    by_seed = {seed: len(with_) >= len(without) + 2 for seed, (without, with_) in stds.items()}
    return by_seed, [
        f"std {std:g}: {sum(std in without for without, _ in stds.values())} without, "
        f"{sum(std in with_ for _, with_ in stds.values())} with, of {len(stds)} learn"
        for std in STDS
    ]


@claim(
    "More activation functions become usable.",
    rule="Sigmoid at 0.01 (run 3) gains at least 0.10; and ReLU at 1 (run 4) does not survive "
    "without batch norm (not finite, or dead), while with it less than 5 % of any layer's "
    "units die.",
    runs=lambda seed: lesson_run(3).runs(seed) + lesson_run(4).runs(seed),
)
def judge_activations(whole):
    by_seed, gains, dead, outcomes = {}, [], [], []
    for seed, (sigmoid, sigmoid_with, relu, relu_with) in whole.items():
        gains.append(sigmoid_with.validation_accuracy - sigmoid.validation_accuracy)
        dead.append(max(relu_with.constant_units))
        outcomes.append(relu.outcome)
        by_seed[seed] = gains[-1] >= 0.1 and dead[-1] < 0.05 and outcomes[-1] != "finite"
    counts = ", ".join(f"{outcomes.count(each)} {each}" for each in sorted(set(outcomes)))
    return by_seed, [
        f"sigmoid at 0.01: {with_range(gains, '+.3f')}",
        f"ReLU at 1, with: at most {max(dead):.0%} of a layer's units constant",
        f"ReLU at 1, without: {counts}",
    ]


def depth_runs(seed):
    """For each depth a pair, and without batch norm from He's weights."""
    runs = []
    for depth in DEPTHS:
        both = pair(learning_rate=0.01, hidden=(100,) * depth, seed=seed, **SHORT)
        runs += [*both, replace(both[0], weight_std=None)]
    return runs


@claim(
    "Deeper networks become simple to train.",
    rule=f"Hidden layers of 100, ReLU, good weights, 0.01, 2,000 batches: of the depths "
    f"{', '.join(map(str, DEPTHS))} the deepest that learns is at least twice as deep with "
    "batch norm. Beside it, no part of the rule: without it, from He's weights.",
    runs=depth_runs,
)
def judge_depth(whole):
    deepest = {
        seed: [max(depths, default=0) for depths in learnt(DEPTHS, results)]
        for seed, results in whole.items()
    }
    by_seed = {seed: with_ >= 2 * max(without, 1) for seed, (without, with_, _) in deepest.items()}
    sides = ("without", "with", "without, He weights")
    return by_seed, [
        f"{side}: learns with up to {median(depths):g} hidden layers"
        for side, depths in zip(sides, zip(*deepest.values(), strict=True), strict=True)
    ]


@claim(
    "It regularizes a little.",
    rule="1,000 training images, He's weights, 0.1, 3,000 batches: both networks fit at least 99 % "
    "of their training images, and with batch norm the test accuracy is at least 0.005 higher.",
    runs=lambda seed: pair(
        learning_rate=0.1,
        weight_std=None,
        batches=3000,
        batches_per_sample=3000,
        seed=seed,
        training_images=1000,
    ),
)
def judge_regularization(whole):
    by_seed, gains, fits = {}, [], []
    for seed, (without, with_) in whole.items():
        gains.append(with_.test_accuracy - without.test_accuracy)
        fits.append(min(without.training_accuracy, with_.training_accuracy))
        by_seed[seed] = fits[-1] >= 0.99 and gains[-1] >= 0.005
    return by_seed, [
        f"test accuracy {with_range(gains, '+.4f')}",
        f"both fit at least {min(fits):.1%} of their 1,000 training images",
    ]


@claim(
    "Results are better overall.",
    rule="Of runs 1, 3, 4, 6, 8 and 9 the best with batch norm beats the best without, each chosen "
    "by validation accuracy, by at least 0.003 of test accuracy.",
    runs=lambda seed: [run for n in (1, 3, 4, 6, 8, 9) for run in lesson_run(n).runs(seed)],
)
def judge_results(whole):
    by_seed, bests = {}, []
    for seed, results in whole.items():
        without, with_ = (
            max(side, key=lambda each: each.validation_accuracy).test_accuracy
            for side in (results[::2], results[1::2])
        )
        bests.append((without, with_))
        by_seed[seed] = with_ - without >= 0.003
    return by_seed, [
        "best without {:.4f}, with {:.4f}".format(*map(median, zip(*bests, strict=True))),
        f"difference {with_range([with_ - without for without, with_ in bests], '+.4f')}",
    ]


def report_runs(seeds):
    """All runs that the report needs: the lesson's 15 calls, and what the claims need beside."""
    return runs_of([*lesson_runs(), *CLAIMS], seeds)
