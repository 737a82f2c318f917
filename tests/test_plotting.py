"""The lesson's plot: what it shows, where it draws, what it refuses."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from npbn import plotting
from npbn.training import History

CURVES = {"With Batch Norm": [0.1, 0.9, 0.95], "Without Batch Norm": [0.1, 0.4]}


def drawn(curves=CURVES, batches_per_sample=500, **options):
    (axes,) = plotting.training_accuracies(curves, batches_per_sample, **options).axes
    return axes


def test_linear_axes_read_as_in_the_lesson():
    axes = drawn(scale="linear")
    assert axes.get_xlabel() == "Training steps"
    assert axes.get_ylabel() == "Accuracy"
    assert axes.get_title() == "Validation Accuracy During Training"
    assert axes.get_ylim() == (0, 1)
    np.testing.assert_allclose(axes.get_yticks(), np.linspace(0, 1, 11), rtol=0, atol=1e-15)
    assert all(line.get_visible() for line in axes.get_xgridlines() + axes.get_ygridlines())


def heights(axes, *accuracies):
    """Where accuracies lie between the bottom and the top of the axes."""
    return [
        axes.transAxes.inverted().transform(axes.transData.transform((0, a)))[1] for a in accuracies
    ]


def test_axes_show_the_difference_of_two_good_accuracies():
    axes = drawn()
    axes.figure.draw_without_rendering()
    assert axes.get_ylim() == (0, 1)
    bottom, poor, good, better, top = heights(axes, 0, 0.5, 0.95, 0.97, 1)
    assert better - good > 0.08
    assert poor - bottom > 0.1
    assert (bottom, top) == pytest.approx((0, 1), abs=1e-6)
    marks = [text.get_text() for text in axes.get_yticklabels()]
    assert [float(mark) for mark in marks] == list(axes.get_yticks())
    assert {0.95, 0.97} <= set(axes.get_yticks())
    assert "log" in axes.get_ylabel()
    linear = heights(drawn(scale="linear"), 0.95, 0.97)
    assert linear[1] - linear[0] == pytest.approx(0.02)


def test_a_perfect_accuracy_is_on_the_axes():
    axes = drawn({"a": [0.0, 1.0]})
    assert heights(axes, 0.0, 1.0) == pytest.approx([0, 1], abs=1e-6)


def test_legend_names_the_curves_in_the_lower_right():
    axes = drawn(scale="linear")
    axes.figure.draw_without_rendering()
    legend = axes.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list(CURVES)
    box = legend.get_window_extent().transformed(axes.transAxes.inverted())
    assert box.x0 > 0.5
    assert box.y1 < 0.5


@pytest.mark.parametrize("batches_per_sample", [1, 500, np.int64(50)])
def test_curves_hold_their_accuracies_over_the_steps_of_their_samples(batches_per_sample):
    first, second = drawn(batches_per_sample=batches_per_sample).get_lines()
    step = int(batches_per_sample)
    assert list(first.get_xdata()) == [0, step, 2 * step]
    assert list(second.get_xdata()) == [0, step]
    assert list(first.get_ydata()) == CURVES["With Batch Norm"]
    assert list(second.get_ydata()) == CURVES["Without Batch Norm"]


def test_no_two_of_twenty_curves_look_the_same():
    lines = drawn({f"network {i}": [0.1, 0.2] for i in range(20)}).get_lines()
    assert len({(to_hex(line.get_color()), line.get_linestyle()) for line in lines}) == 20


def some_history(**changed):
    history = History(
        losses=[2.0, 1.0, 0.5, 0.25, 0.2, 0.1],
        sample_steps=[0, 2, 4],
        validation_accuracies=[0.1, 0.9, 0.95],
        validation_losses=[2.1, 0.7, 0.4],
    )
    for name, value in changed.items():
        setattr(history, name, value)
    return history


def test_a_history_will_do_as_a_curve_and_as_all_of_them():
    for curves in ({"network": some_history()}, some_history()):
        (line,) = drawn(curves, None).get_lines()
        assert list(line.get_xdata()) == [0, 2, 4]
        assert list(line.get_ydata()) == [0.1, 0.9, 0.95]
    first, second = drawn({"a": some_history(), "b": [0.1, 0.2]}, 500).get_lines()
    assert list(first.get_xdata()) == [0, 2, 4]
    assert list(second.get_xdata()) == [0, 500]


def test_of_a_history_what_was_not_sampled_is_left_out():
    (line,) = drawn(some_history(validation_accuracies=[np.nan, 0.9, 0.95]), None).get_lines()
    assert list(line.get_xdata()) == [2, 4]


def panels(history):
    return {axes.get_title(): axes for axes in plotting.history(history).axes}


def lines_of(axes):
    return {line.get_label(): line for line in axes.get_lines()}


def test_a_run_is_drawn_with_its_losses_and_accuracies():
    history = some_history(training_accuracies=[0.2, 0.95, 1.0], training_losses=[2.0, 0.5, 0.1])
    losses, accuracies = (lines_of(axes) for axes in panels(history).values())
    assert list(panels(history)) == ["Loss", "Accuracy"]
    assert list(losses["training, each batch"].get_ydata()) == pytest.approx(history.losses)
    for kind, lines in (("losses", losses), ("accuracies", accuracies)):
        for name in ("training", "validation"):
            line = lines[f"{name}, samples"]
            assert list(line.get_xdata()) == [0, 2, 4]
            assert list(line.get_ydata()) == getattr(history, f"{name}_{kind}")
    assert panels(history)["Loss"].get_yscale() == "log"
    axes = panels(history)["Accuracy"]
    assert np.diff(heights(axes, 0.95, 0.97)) > 0.08
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["training, samples", "validation, samples"]


def test_many_losses_are_shown_with_their_mean():
    history = History(losses=(1 + np.arange(1000) % 2).tolist())
    (axes,) = plotting.history(history).axes
    line = lines_of(axes)["training, mean of 20 batches"]
    np.testing.assert_allclose(line.get_ydata(), 1.5)
    assert (line.get_xdata()[0], line.get_xdata()[-1]) == (9.5, 989.5)


def test_a_regression_has_a_panel_of_losses_alone():
    assert list(panels(some_history(validation_accuracies=[]))) == ["Loss"]


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_losses_that_have_no_logarithm_are_drawn_linear(value):
    assert panels(some_history(validation_losses=[2, 1, value]))["Loss"].get_yscale() == "linear"


@pytest.mark.parametrize("losses", [[2.0], [2.0, np.nan], [np.nan], [2.0, np.inf]])
def test_runs_of_a_step_or_two_and_not_finite_ones_can_be_drawn(losses):
    history = History(losses=losses, diverged_at=len(losses) - 1)
    figure = plotting.history(history)
    figure.draw_without_rendering()
    assert f"diverged at step {len(losses) - 1}" in lines_of(figure.axes[0])


def test_where_a_run_was_stopped_is_shown():
    assert "stopped at step 5" in lines_of(panels(some_history(stopped_at=5))["Accuracy"])


def test_a_history_plots_itself_without_pyplot():
    figure = some_history().plot()
    assert [axes.get_title() for axes in figure.axes] == ["Loss", "Accuracy"]


def test_what_is_no_history_cannot_be_drawn():
    with pytest.raises(
        TypeError, match=r"^run: expected the History that fit returned, got \[0.1\]"
    ):
        plotting.history([0.1])
    with pytest.raises(ValueError, match=r"^run: expected a History of one step or more, got none"):
        plotting.history(History())


def test_accuracies_alone_do_not_say_how_many_steps_lie_between():
    with pytest.raises(TypeError, match=r"^batches_per_sample: .* a History for each curve"):
        plotting.training_accuracies(CURVES)
    with pytest.raises(ValueError, match=r"^scale: expected 'error' or 'linear', got 'log'"):
        plotting.training_accuracies(CURVES, 500, scale="log")
    with pytest.raises(ValueError, match="expected one accuracy or more, got none"):
        plotting.training_accuracies(some_history(validation_accuracies=[]))


def test_a_single_sample_is_a_visible_dot():
    (line,) = drawn({"one": [0.1]}).get_lines()
    assert line.get_marker() == "o"


def test_arrays_are_taken_and_left_alone():
    accuracies = np.array([0.1, 0.9], np.float32)
    (line,) = drawn({"network": accuracies}).get_lines()
    np.testing.assert_array_equal(line.get_ydata(), accuracies)
    np.testing.assert_array_equal(accuracies, np.array([0.1, 0.9], np.float32))


def test_draws_into_the_axes_given():
    figure = Figure()
    left, right = figure.subfigures(1, 2)
    axes, others = left.subplots(), right.subplots()
    assert plotting.training_accuracies(CURVES, 500, ax=axes) is figure
    assert len(axes.get_lines()) == 2
    assert not others.get_lines()


def test_saves_without_pyplot(tmp_path):
    # In a process of its own: this one may hold pyplot already.
    code = (
        "import sys; from npbn import plotting\n"
        "assert 'matplotlib' not in sys.modules\n"
        "plotting.training_accuracies({'network': [0.1, 0.9]}, 500).savefig(sys.argv[1])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    path = tmp_path / "plot.png"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("curves", "error", "message"),
    [
        ([0.1, 0.9], TypeError, "curves: expected a mapping of names, got a list: pass {"),
        ({}, ValueError, "curves: expected one curve or more, got none"),
        ({3: [0.1]}, TypeError, "curves: expected names as keys, got 3"),
        ({"a": []}, ValueError, "curves['a']: expected one accuracy or more, got none"),
        ({"a": 0.9}, TypeError, "curves['a']: expected a sequence of numbers, got 0.9"),
        ({"a": [[0.9]]}, TypeError, "curves['a']: expected a sequence of numbers, got [[0.9]]"),
        ({"a": ["x"]}, TypeError, "curves['a']: expected a sequence of numbers, got ['x']"),
        ({"a": [0.9, 95.0]}, ValueError, "from 0 to 1, got 95.0 in place 1"),
        ({"a": [-0.1]}, ValueError, "from 0 to 1, got -0.1 in place 0"),
        ({"a": [float("nan")]}, ValueError, "from 0 to 1, got nan in place 0"),
    ],
)
def test_refuses_what_is_no_curve(curves, error, message):
    with pytest.raises(error) as refused:
        plotting.training_accuracies(curves, 500)
    assert message in str(refused.value)


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError)])
def test_refuses_batches_per_sample_that_are_no_count(value, error):
    with pytest.raises(error, match="batches_per_sample: expected"):
        plotting.training_accuracies(CURVES, value)


def test_refuses_an_ax_that_is_none_of_matplotlibs():
    with pytest.raises(TypeError, match="ax: expected a matplotlib Axes, got a Figure"):
        plotting.training_accuracies(CURVES, 500, ax=Figure())


def test_a_refused_curve_leaves_the_axes_as_they_were():
    axes = Figure().subplots()
    with pytest.raises(ValueError, match="'b'"):
        plotting.training_accuracies({"a": [0.1], "b": []}, 500, ax=axes)
    assert not axes.get_lines()
