"""What each claim's rule needs to be run, and what it says of the results, seed by seed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

from npbn.experiments import Result, Run
from npbn.lesson.runs import Records, learns, lesson_runs, result_of

PASSING_SHARE = 0.8

RATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
STDS = (0.0005, 0.005, 0.05, 0.5, 5.0)
DEPTHS = (3, 6, 12, 24)


@dataclass(frozen=True)
class Verdict:
    """What a claim's rule says of the results.

    by_seed: for each seed with all its runs, whether the rule holds. measured: the figures, in
    lines.
    """

    by_seed: dict[int, bool]
    measured: tuple[str, ...]

    @property
    def passed(self) -> bool | None:
        """Whether at least four seeds in five pass; None before there are any."""
        if not self.by_seed:
            return None
        return sum(self.by_seed.values()) >= PASSING_SHARE * len(self.by_seed)


def _pair(**description: object) -> list[Run]:
    return [Run(batch_norm=each, **description) for each in (False, True)]  # type: ignore[arg-type]


def _lesson_pair(number: int, seed: int) -> list[Run]:
    (call,) = (each for each in lesson_runs() if number in each.numbers)
    return call.runs([seed])


def _results(records: Records, runs: Iterable[Run]) -> list[Result] | None:
    """The results of all runs, or None if one is missing."""
    found = [result_of(records, run) for run in runs]
    return None if None in found else [each for each in found if each is not None]


def steps_to(level: float, run: Run, result: Result) -> int | None:
    """The first sampled step after which the validation accuracy is at least level."""
    for sample, accuracy in enumerate(result.accuracies):
        if accuracy >= level:
            return sample * run.batches_per_sample + 1
    return None


def he_control(seed: int) -> Run:
    """Run 1 without batch norm, from He's weights."""
    return replace(_lesson_pair(1, seed)[0], weight_std=None, batches=20_000, batches_per_sample=50)


def judge_speed(records: Records, seeds: Sequence[int]) -> Verdict:
    """Claim 1: steps and seconds to 90 % and 95 %."""
    by_seed = {}
    reached: dict[tuple[str, float], list[tuple[float, float]]] = {}
    for seed in seeds:
        # The 2,000-batch run is the beginning of the 50,000-batch one, sampled ten times as often.
        runs = [*_lesson_pair(2, seed), *_lesson_pair(1, seed), he_control(seed)]
        results = _results(records, runs)
        if results is None:
            continue
        sides = {"without": (0, 2), "with": (1, 3), "without, He weights": (4,)}
        # Where sampling takes the same share of the time.
        timed = {"without": 2, "with": 3, "without, He weights": 2}
        holds = True
        for level in (0.90, 0.95):
            for side, places in sides.items():
                found = [steps_to(level, runs[place], results[place]) for place in places]
                steps = min((each for each in found if each is not None), default=float("inf"))
                a_step = results[timed[side]].seconds / runs[timed[side]].batches
                reached.setdefault((side, level), []).append((steps, steps * a_step))
            without, with_ = (reached[side, level][-1] for side in ("without", "with"))
            holds &= with_[0] < without[0] and with_[1] < without[1]
        by_seed[seed] = holds
    measured = [
        f"{side}: {level:.0%} after {median(s for s, _ in found):g} steps, "
        f"{median(t for _, t in found):.2f} s"
        for (side, level), found in sorted(reached.items(), key=lambda item: (item[0][1], item[0]))
    ]
    return Verdict(by_seed, tuple(measured))


def _ladder(
    records: Records,
    seeds: Sequence[int],
    rungs: Sequence[float],
    runs_at: Callable[[int, float], Sequence[Run]],
) -> dict[int, list[list[float]]]:
    """For each whole seed and each column of runs_at, the rungs at which it learns."""
    climbed = {}
    for seed in seeds:
        rows = [_results(records, runs_at(seed, rung)) for rung in rungs]
        if any(row is None for row in rows):
            continue
        columns = zip(*(row for row in rows if row is not None), strict=True)
        climbed[seed] = [
            [rung for rung, result in zip(rungs, column, strict=True) if learns(result)]
            for column in columns
        ]
    return climbed


def rate_runs(seed: int, rate: float, activation: str = "relu") -> list[Run]:
    """A pair at one rung of the ladder of learning rates."""
    return _pair(
        learning_rate=rate, activation=activation, batches=2000, batches_per_sample=2000, seed=seed
    )


def judge_rates(records: Records, seeds: Sequence[int]) -> Verdict:
    """Claim 2: the highest learning rate that learns."""
    measured = []
    by_seed: dict[int, bool] = {}
    for activation in ("relu", "sigmoid"):
        climbed = _ladder(records, seeds, RATES, partial(rate_runs, activation=activation))
        highest = {
            seed: [max(column, default=0.0) for column in columns]
            for seed, columns in climbed.items()
        }
        if activation == "relu":
            by_seed = {seed: b > 0 and b >= 10 * a for seed, (a, b) in highest.items()}
        for place, side in enumerate(("without", "with")):
            if highest:
                found = [each[place] for each in highest.values()]
                measured.append(
                    f"{activation}, {side}: highest rate {median(found):g} "
                    f"({min(found):g} to {max(found):g})"
                )
    return Verdict(by_seed, tuple(measured))


def std_runs(seed: int, std: float) -> list[Run]:
    """A pair at one rung of the ladder of initial weights."""
    return _pair(
        learning_rate=0.1, weight_std=std, batches=2000, batches_per_sample=2000, seed=seed
    )


def judge_weights(records: Records, seeds: Sequence[int]) -> Verdict:
    """Claim 3: how many scales of initial weights learn."""
    climbed = _ladder(records, seeds, STDS, std_runs)
    by_seed = {seed: len(b) >= len(a) + 2 for seed, (a, b) in climbed.items()}
    measured = [
        f"std {std:g}: {sum(std in columns[0] for columns in climbed.values())} without, "
        f"{sum(std in columns[1] for columns in climbed.values())} with, of {len(climbed)} learn"
        for std in STDS
    ]
    return Verdict(by_seed, tuple(measured if climbed else ()))


def judge_activations(records: Records, seeds: Sequence[int]) -> Verdict:
    """Claim 4: sigmoid at a small rate, ReLU at a large one."""
    by_seed, gains, dead, outcomes = {}, [], [], []
    for seed in seeds:
        sigmoid = _results(records, _lesson_pair(3, seed))
        relu = _results(records, _lesson_pair(4, seed))
        if sigmoid is None or relu is None:
            continue
        gains.append(sigmoid[1].validation_accuracy - sigmoid[0].validation_accuracy)
        dead.append(max(relu[1].constant_units))
        outcomes.append(relu[0].outcome)
        by_seed[seed] = gains[-1] >= 0.1 and dead[-1] < 0.05 and outcomes[-1] != "finite"
    if not by_seed:
        return Verdict({}, ())
    counts = ", ".join(f"{outcomes.count(each)} {each}" for each in sorted(set(outcomes)))
    return Verdict(
        by_seed,
        (
            f"sigmoid at 0.01: {median(gains):+.3f} ({min(gains):+.3f} to {max(gains):+.3f})",
            f"ReLU at 1, with: at most {max(dead):.0%} of a layer's units constant",
            f"ReLU at 1, without: {counts}",
        ),
    )


def depth_runs(seed: int, depth: float) -> list[Run]:
    """A pair at one rung of the ladder of depths, and without from He's weights."""
    hidden = (100,) * int(depth)
    shared = {"learning_rate": 0.01, "hidden": hidden, "batches": 2000, "seed": seed}
    pair = _pair(**shared, batches_per_sample=2000)
    return [*pair, replace(pair[0], weight_std=None)]


def judge_depth(records: Records, seeds: Sequence[int]) -> Verdict:
    """Claim 5: the greatest depth that learns."""
    climbed = _ladder(records, seeds, DEPTHS, depth_runs)
    deepest = {
        seed: [max(column, default=0.0) for column in columns] for seed, columns in climbed.items()
    }
    by_seed = {seed: with_ >= 2 * max(without, 1) for seed, (without, with_, _) in deepest.items()}
    measured = []
    for place, side in enumerate(("without", "with", "without, He weights")):
        found = [each[place] for each in deepest.values()]
        if found:
            measured.append(f"{side}: learns with up to {median(found):g} hidden layers")
    return Verdict(by_seed, tuple(measured))


def overfitting_runs(seed: int) -> list[Run]:
    """A pair that sees few images, often."""
    return _pair(
        learning_rate=0.1,
        weight_std=None,
        batches=3000,
        batches_per_sample=3000,
        seed=seed,
        training_images=1000,
    )


def judge_regularization(records: Records, seeds: Sequence[int]) -> Verdict:
    """Claim 6: test accuracy where both fit their training images."""
    by_seed, gains, fits = {}, [], []
    for seed in seeds:
        results = _results(records, overfitting_runs(seed))
        if results is None:
            continue
        without, with_ = results
        gains.append(with_.test_accuracy - without.test_accuracy)
        fits.append(min(without.training_accuracy, with_.training_accuracy))
        by_seed[seed] = fits[-1] >= 0.99 and gains[-1] >= 0.005
    if not by_seed:
        return Verdict({}, ())
    return Verdict(
        by_seed,
        (
            f"test accuracy {median(gains):+.4f} ({min(gains):+.4f} to {max(gains):+.4f})",
            f"both fit at least {min(fits):.1%} of their 1,000 training images",
        ),
    )


def judge_results(records: Records, seeds: Sequence[int]) -> Verdict:
    """Claim 7: the best test accuracy of the lesson's runs."""
    by_seed, gains, bests = {}, [], []
    for seed in seeds:
        results = _results(records, (r for n in (1, 3, 4, 6, 8, 9) for r in _lesson_pair(n, seed)))
        if results is None:
            continue
        # The best of each side is chosen by validation accuracy, and judged by test accuracy.
        without, with_ = (
            max(results[side::2], key=lambda each: each.validation_accuracy).test_accuracy
            for side in (0, 1)
        )
        gains.append(with_ - without)
        bests.append((without, with_))
        by_seed[seed] = gains[-1] >= 0.003
    if not by_seed:
        return Verdict({}, ())
    return Verdict(
        by_seed,
        (
            f"best without {median(a for a, _ in bests):.4f}, "
            f"with {median(b for _, b in bests):.4f}",
            f"difference {median(gains):+.4f} ({min(gains):+.4f} to {max(gains):+.4f})",
        ),
    )
