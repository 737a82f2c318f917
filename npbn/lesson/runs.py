"""The lesson's runs as descriptions, and how a measured pair agrees with what the lesson
reports.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from npbn.experiments import Record, Result, Run
from npbn.lesson.calls import BAD_STD, GOOD_STD
from npbn.lesson.reported import Reported, reported_runs

# A network learns when its final validation accuracy is at least this: the lesson's 36 results
# leave a gap from 0.22 to 0.79.
LEARNS = 0.5

# Where the lesson's two networks differ by at least this, the sign has to agree.
DIFFERS = 0.015

Records = Mapping[Run, Record]


@dataclass(frozen=True)
class Pair:
    """The results of one call at one seed, without and with batch normalization."""

    seed: int
    without: Result
    with_: Result


@dataclass(frozen=True)
class LessonRun:
    """One call of the lesson, and all that the lesson reports of it (it made some calls twice)."""

    reported: tuple[Reported, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The lesson's numbers of this call."""
        return tuple(each.run for each in self.reported)

    @property
    def call(self) -> str:
        """The call as the lesson writes it."""
        first = self.reported[0]
        name = {"relu": "ReLU", "sigmoid": "Sigmoid"}[first.activation]
        short = "" if first.training_batches == 50_000 else f", {first.training_batches}, 50"
        return f"{first.initial_weights == 'bad'}, {first.learning_rate:g}, {name}{short}"

    @property
    def is_lottery(self) -> bool:
        """Bad weights and ReLU: whether such a network learns at all is a matter of luck."""
        return (self.reported[0].initial_weights, self.reported[0].activation) == ("bad", "relu")

    def run(self, batch_norm: bool, seed: int) -> Run:
        """One of its two networks."""
        first = self.reported[0]
        return Run(
            batch_norm=batch_norm,
            learning_rate=first.learning_rate,
            activation=first.activation,
            weight_std=BAD_STD if first.initial_weights == "bad" else GOOD_STD,
            batches=first.training_batches,
            batches_per_sample=first.batches_per_sample,
            seed=seed,
        )

    def runs(self, seeds: Iterable[int]) -> list[Run]:
        """Both networks at each seed."""
        return [self.run(batch_norm, seed) for seed in seeds for batch_norm in (False, True)]

    def pairs(self, records: Records) -> list[Pair]:
        """The pairs that the records have whole, by seed."""
        seeds = sorted({run.seed for run in records})
        pairs = []
        for seed in seeds:
            without, with_ = (
                result_of(records, self.run(batch_norm, seed)) for batch_norm in (False, True)
            )
            if without is not None and with_ is not None:
                pairs.append(Pair(seed, without, with_))
        return pairs

    def agrees(self, pair: Pair) -> bool:
        """Whether a pair learns or fails, and differs, as one that the lesson reports."""
        return any(_agrees(pair, reported) for reported in self.reported)


def lesson_runs() -> tuple[LessonRun, ...]:
    """The lesson's 18 runs as its 15 different calls, by the number of their first one."""
    calls: dict[Run, list[Reported]] = {}
    for reported in reported_runs():
        calls.setdefault(LessonRun((reported,)).run(True, 0), []).append(reported)
    return tuple(LessonRun(tuple(each)) for each in calls.values())


def result_of(records: Records, run: Run) -> Result | None:
    """The result of a run, if the records have one."""
    return records[run].result if run in records else None


def learns(result: Result) -> bool:
    """Whether a network has learnt: a final validation accuracy of 0.5 or more."""
    return result.validation_accuracy >= LEARNS


def _agrees(pair: Pair, reported: Reported) -> bool:
    own = (pair.without.validation_accuracy, pair.with_.validation_accuracy)
    lesson = (reported.validation_without, reported.validation_with)
    if [each >= LEARNS for each in own] != [each >= LEARNS for each in lesson]:
        return False
    difference = lesson[1] - lesson[0]
    return abs(difference) < DIFFERS or (own[1] - own[0]) * difference > 0
