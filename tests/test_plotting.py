"""The lesson's plot: what it shows, where it draws, what it refuses."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from npbn import plotting

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
