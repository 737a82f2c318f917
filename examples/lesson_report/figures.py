"""The report's figures."""

from matplotlib.figure import Figure
from runs import lesson_runs

from npbn import plotting

SIDES = ("Without Batch Norm", "With Batch Norm")


def overview(records):
    """Every final validation accuracy, a dot a seed, beside the lesson's."""
    measured = {side: {} for side in SIDES}
    reported = {side: {} for side in SIDES}
    for call in lesson_runs():
        first = call.reported[0]
        short = "" if first.training_batches == 50_000 else "\n2,000"
        name = (
            f"{call.numbers}\n{first.initial_weights}\n"
            f"{first.learning_rate:g}\n{first.activation}{short}"
        )
        pairs = call.pairs(records)
        for place, side in enumerate(SIDES):
            measured[side][name] = [pair[place].validation_accuracy for pair in pairs]
            reported[side][name] = call.reported_accuracies[place]
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    plotting.accuracy_strips(measured, reported=reported, ax=figure.add_subplot())
    figure.axes[0].set_xlabel(
        "run, initial weights, learning rate, activation (2,000 batches, else 50,000)"
    )
    return figure


def curves(call, records):
    """How the accuracies of one of the lesson's calls rose in training."""
    measured = zip(*call.pairs(records), strict=True)
    groups = {
        side: [each.accuracies for each in results]
        for side, results in zip(SIDES, measured, strict=True)
    }
    reported = dict(zip(SIDES, call.reported_accuracies, strict=True))
    figure = Figure(figsize=(4, 2.6), layout="constrained")
    plotting.accuracy_bands(
        groups, call.reported[0].batches_per_sample, reported=reported, ax=figure.add_subplot()
    )
    return figure
