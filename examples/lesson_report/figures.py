"""The report's figures: without batch normalization in one colour, with it in another."""

import numpy as np
from matplotlib.figure import Figure
from runs import lesson_runs

from npbn.plotting import COLOURS

SIDES = ("Without Batch Norm", "With Batch Norm")


def overview(records):
    """Every final validation accuracy, a dot a seed, beside the lesson's, which are bars."""
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    axes = figure.add_subplot()
    for place, side in enumerate(SIDES):
        for column, call in enumerate(lesson_runs()):
            measured = [pair[place].validation_accuracy for pair in call.pairs(records)]
            x = column + (-0.18, 0.18)[place]
            spread = np.linspace(-0.1, 0.1, len(measured)) * (len(measured) > 1)
            axes.plot(
                x + spread,
                measured,
                "o",
                color=COLOURS[place],
                markersize=4.5,
                alpha=0.8,
                label=None if column else side,
            )
            for accuracy in call.reported_accuracies[place]:
                axes.plot([x - 0.17, x + 0.17], [accuracy, accuracy], color="black")
    axes.plot([], [], color="black", label="the lesson")
    axes.set_xticks(range(len(lesson_runs())), map(tick, lesson_runs()))
    axes.set_xlabel("run, initial weights, learning rate, activation (2,000 batches, else 50,000)")
    axes.set_ylabel("Accuracy")
    style(axes, step=0.1)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.1), ncols=3, frameon=False)
    return figure


def tick(call):
    """What stands below a call's column."""
    first = call.reported[0]
    short = "" if first.training_batches == 50_000 else "\n2,000"
    return (
        f"{call.numbers}\n{first.initial_weights}\n{first.learning_rate:g}\n"
        f"{first.activation}{short}"
    )


def curves(call, records):
    """How the accuracies of a call rose in training: their median, in their range.

    The lesson's final ones are dots where the curves end.
    """
    figure = Figure(figsize=(4, 2.6), layout="constrained")
    axes = figure.add_subplot()
    for place, results in enumerate(zip(*call.pairs(records), strict=True)):
        accuracies = np.array([each.accuracies for each in results])
        colour = COLOURS[place]
        every = call.reported[0].batches_per_sample
        steps = np.arange(accuracies.shape[1]) * every
        low, high = accuracies.min(0), accuracies.max(0)
        axes.fill_between(steps, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.plot(steps, np.median(accuracies, 0), color=colour, linewidth=1.5)
        for accuracy in call.reported_accuracies[place]:
            end = steps[-1] + every
            axes.plot(end, accuracy, "o", color=colour, markeredgecolor="black", clip_on=False)
    axes.margins(x=0.02)
    style(axes, step=0.2, grid="both")
    return figure


def style(axes, *, step, grid="y"):
    """Accuracies from 0 to 1, with a line every step."""
    axes.set_ylim(0, 1)
    axes.set_yticks(np.arange(0, 1 + step / 2, step))
    axes.grid(True, axis=grid, color="0.88", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
