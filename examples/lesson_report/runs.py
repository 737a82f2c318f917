"""The lesson's runs as descriptions, and when a measured pair agrees with what the lesson reports.

A pair is the two results of one call at one seed, without and with batch normalization.
"""

from dataclasses import dataclass

from npbn.experiments import Run
from npbn.lesson import Reported, reported_runs
from npbn.lesson.calls import BAD_STD, GOOD_STD

# A network learns when its final validation accuracy is at least this: the lesson's 36 results
# leave a gap from 0.22 to 0.79.
LEARNS = 0.5

# Where the lesson's two networks differ by at least this, the sign has to agree.
DIFFERS = 0.015


@dataclass(frozen=True)
class LessonRun:
    """One call of the lesson, and all that the lesson reports of it (it made some calls twice)."""

    reported: tuple[Reported, ...]

    @property
    def numbers(self):
        """The lesson's numbers of this call, as in "4, 5"."""
        return ", ".join(str(each.run) for each in self.reported)

    @property
    def call(self):
        """The call as the lesson writes it."""
        first = self.reported[0]
        name = {"relu": "ReLU", "sigmoid": "Sigmoid"}[first.activation]
        short = "" if first.training_batches == 50_000 else f", {first.training_batches}, 50"
        return f"{first.initial_weights == 'bad'}, {first.learning_rate:g}, {name}{short}"

    @property
    def is_lottery(self):
        """Bad weights and ReLU: whether such a network learns at all is a matter of luck."""
        return (self.reported[0].initial_weights, self.reported[0].activation) == ("bad", "relu")

    @property
    def reported_accuracies(self):
        """The lesson's final validation accuracies: those without, and those with batch norm."""
        return (
            [each.validation_without for each in self.reported],
            [each.validation_with for each in self.reported],
        )

    def runs(self, seed):
        """Its two networks, without and with batch normalization."""
        first = self.reported[0]
        return [
            Run(
                batch_norm=batch_norm,
                learning_rate=first.learning_rate,
                activation=first.activation,
                weight_std=BAD_STD if first.initial_weights == "bad" else GOOD_STD,
                batches=first.training_batches,
                batches_per_sample=first.batches_per_sample,
                seed=seed,
            )
            for batch_norm in (False, True)
        ]

    def pairs(self, records):
        """The pairs that the records have whole, by seed."""
        return list(whole_results(self.runs, records).values())

    def agrees(self, without, with_):
        """Whether a pair learns or fails, and differs, as one that the lesson reports."""
        own = without.validation_accuracy, with_.validation_accuracy
        return any(_agree(own, lesson) for lesson in zip(*self.reported_accuracies, strict=True))


def lesson_runs():
    """The lesson's 18 runs as its 15 different calls, by the number of their first one."""
    calls = {}
    for reported in reported_runs():
        calls.setdefault(LessonRun((reported,)).call, []).append(reported)
    return tuple(LessonRun(tuple(each)) for each in calls.values())


def lesson_run(number):
    """The call that has this number in the lesson."""
    (found,) = (
        each for each in lesson_runs() if number in [reported.run for reported in each.reported]
    )
    return found


def runs_of(sources, seeds):
    """The runs of calls, or of claims, at some seeds, each once."""
    return list(dict.fromkeys(run for each in sources for seed in seeds for run in each.runs(seed)))


def whole_results(runs, records):
    """For each seed at which the records have a result of all runs(seed): these results."""
    whole = {}
    for seed in sorted({run.seed for run in records}):
        results = [records[run].result if run in records else None for run in runs(seed)]
        if None not in results:
            whole[seed] = results
    return whole


def is_enough(holds):
    """Whether what is true or not of each seed is true of four in five or more."""
    return sum(holds) >= 0.8 * len(holds)


def learns(result):
    """Whether a network has learnt: a final validation accuracy of 0.5 or more."""
    return result.validation_accuracy >= LEARNS


def _agree(own, lesson):
    if [each >= LEARNS for each in own] != [each >= LEARNS for each in lesson]:
        return False
    difference = lesson[1] - lesson[0]
    return abs(difference) < DIFFERS or (own[1] - own[0]) * difference > 0
