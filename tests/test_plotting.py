"""Each figure: what it shows, where it draws, what it refuses."""

import copy
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from shared import frozen

from npbn import (
    SGD,
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    Layer,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    Tanh,
    fit,
    plotting,
)
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


def test_legend_names_the_curves_and_hides_none():
    steps = np.arange(40)
    learns, slowly, guesses = 1 - 0.9 * np.exp(-steps / 5), 0.1 + steps / 80, np.full(40, 0.1)
    for without, with_norm in (
        (guesses, learns),
        (slowly, learns),
        (guesses, slowly),
        (guesses, 0.9 * learns),
    ):
        axes = drawn({"Without Batch Norm": without, "With Batch Norm": with_norm}, scale="linear")
        axes.figure.draw_without_rendering()
        legend = axes.get_legend()
        names = [text.get_text() for text in legend.get_texts()]
        assert names == ["Without Batch Norm", "With Batch Norm"]
        box = legend.get_window_extent()
        for line in axes.get_lines():
            drawn_path = line.get_transform().transform_path(line.get_path())
            assert not drawn_path.intersects_bbox(box, filled=False)


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
    with pytest.raises(
        ValueError, match="one accuracy or more, got none: pass fit a validation set"
    ):
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


# Pictures


def cells(axes, height, width):
    """The pictures of a sheet, row by row, each with its number as the marks give it."""
    (image,) = axes.images
    sheet = np.ma.filled(image.get_array(), np.nan)
    found = {}
    for top, row in zip(axes.get_yticks(), axes.get_yticklabels(), strict=True):
        for left, column in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
            y, x = int(top - (height - 1) / 2), int(left - (width - 1) / 2)
            number = int(row.get_text()), int(column.get_text())
            found[number] = sheet[y : y + height, x : x + width]
    return found


def is_symmetric(axes):
    (image,) = axes.images
    low, high = image.get_clim()
    return -low == high == np.nanmax(np.abs(image.get_array()))


def normal(*shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


class Kernels(Layer):
    """One with a weight."""

    def __init__(self, weight):
        super().__init__(parameters={"weight": weight})


def test_the_kernels_of_a_convolution():
    layer = Conv2D(2, 4, 3, rng=0)
    axes = plotting.filters(layer).axes[0]
    for (row, column), picture in cells(axes, 3, 3).items():
        np.testing.assert_array_equal(picture, layer.weight[:, :, row, column])
    assert axes.get_title() == "Conv2D(2, 4, 3)\n3 x 3 kernels"


@pytest.mark.parametrize("out_channels", [1, 2, 5, 8, 12])
def test_kernels_of_one_input_channel_go_on_from_row_to_row(out_channels):
    weight = normal(4, 5, 1, out_channels)
    (axes,) = plotting.filters(Kernels(weight)).axes
    (bar,) = axes.child_axes
    shown = {row + column: each for (row, column), each in cells(axes, 4, 5).items()}
    assert len(shown) >= out_channels
    for number, picture in shown.items():
        if number < out_channels:
            np.testing.assert_array_equal(picture, weight[:, :, 0, number])
        else:
            assert np.isnan(picture).all()
    assert is_symmetric(axes)
    assert axes.get_title() == "Kernels()\n4 x 5 kernels"
    assert bar.get_ylim() == axes.images[0].get_clim()


def test_kernels_of_more_are_a_matrix_of_input_and_output_channels():
    weight = normal(3, 3, 2, 7, dtype=np.float64)
    axes = plotting.filters(weight).axes[0]
    shown = cells(axes, 3, 3)
    assert len(shown) == 14
    for (row, column), picture in shown.items():
        np.testing.assert_array_equal(picture, weight[:, :, row, column])
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("Input channel", "Output channel")
    assert is_symmetric(axes)


def test_between_kernels_lies_a_gap_and_many_have_no_number_each():
    axes = plotting.filters(normal(24, 24, 1, 4)).axes[0]
    assert axes.images[0].get_array().shape == (50, 50)
    assert np.isnan(np.ma.filled(axes.images[0].get_array(), np.nan)[24:26]).all()
    axes = plotting.filters(normal(1, 1, 3, 64)).axes[0]
    assert len(axes.get_xticks()) == 16
    assert axes.get_xticklabels()[1].get_text() == "4"


@pytest.mark.parametrize("value", [0, np.nan, np.inf])
def test_kernels_without_a_largest_value_can_be_drawn(value):
    figure = plotting.filters(np.full((3, 3, 1, 2), value, np.float32))
    figure.draw_without_rendering()
    assert figure.axes[0].images[0].get_clim() == (-1, 1)


def test_kernels_are_drawn_into_the_axes_given_and_stay_as_they_are():
    axes, weight = Figure().subplots(), normal(3, 3, 1, 2)
    before = weight.copy()
    assert plotting.filters(weight, ax=axes) is axes.figure
    assert len(axes.images) == 1
    assert np.array_equal(weight, before)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (ReLU(), TypeError, r"^ReLU\(\): expected a layer that has a weight, or an array"),
        ("weight", TypeError, r"^'weight': expected a layer that has a weight"),
        (Dense(784, 9, rng=0), ValueError, r"^Dense\(784, 9.*got \(784, 9\): .*reshape\(28, 28"),
        (np.ones((3, 3, 8)), ValueError, r"^weight: expected a weight \(height, width, in, out\)"),
        (np.ones((3, 3, 0, 8)), ValueError, r"got \(3, 3, 0, 8\)"),
        (np.ones((3, 3, 1, 8), int), TypeError, "^weight: expected float32 or float64"),
    ],
)
def test_what_has_no_kernels_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        plotting.filters(given)


class MeanOverChannels(Layer):
    """A reader's own, whose output is no picture."""

    def forward(self, x):
        self.cache = x
        return x.mean((1, 2))

    def backward(self, dy):
        x = self.take_cache()
        return np.broadcast_to(dy[:, None, None] / (x.shape[1] * x.shape[2]), x.shape)


def network_on_images():
    rng = np.random.default_rng(0)
    inner = Sequential([Conv2D(3, 5, 3, rng=rng), Residual([BatchNorm(5), ReLU()])])
    network = Sequential([inner, MaxPool2D(2), MeanOverChannels()])
    network.forward(normal(6, 4, 6, 3, seed=1), training=True)
    return network


@pytest.mark.parametrize("statistics", ["population", "batch"])
@pytest.mark.parametrize(
    ("choose", "name"),
    [
        (lambda network: 0, "0.1"),
        (lambda network: network[0], "0.1"),
        (lambda network: network[0][0], "0.0"),
        (lambda network: network[0][1][0], "0.1.0"),
        (lambda network: network[0][1], "0.1"),
        (lambda network: 1, "1"),
        (lambda network: -2, "1"),
    ],
)
def test_feature_maps_are_the_channels_of_a_layers_output(choose, name, statistics):
    network, image = network_on_images(), normal(4, 6, 3)
    layer = choose(network)
    figure = plotting.feature_maps(network, image, layer=layer, statistics=statistics)
    runs = network.layer_by_layer(image[np.newaxis], statistics=statistics)
    ((title, _, _, y),) = (run for run in runs if run.name.startswith(f"layer {name}, "))
    given, maps = figure.axes
    assert maps.get_title() == (title if len(title) <= 48 else f"{title[:45]}...")
    shown = {row + column: each for (row, column), each in cells(maps, *y.shape[1:3]).items()}
    for channel in range(5):
        np.testing.assert_array_equal(shown[channel], y[0, :, :, channel])
    assert is_symmetric(maps)
    np.testing.assert_array_equal(given.images[0].get_array(), image.mean(-1))


def test_of_an_image_the_colours_are_shown_where_it_has_some():
    network = Sequential([ReLU()])
    for image, expected in (
        (np.abs(normal(4, 6, 1)), None),
        (np.abs(normal(4, 6, 3)) / 10, "itself"),
        (np.full((4, 6, 3), 2, np.float32), None),
        (normal(4, 6, 2), None),
    ):
        for given in (image, image[np.newaxis]):
            shown = plotting.feature_maps(network, given).axes[0].images[0].get_array()
            wanted = image.mean(-1) if expected is None else image
            np.testing.assert_array_equal(shown, wanted)


@pytest.mark.parametrize(
    ("image", "layer", "error", "message"),
    [
        (normal(18), 0, ValueError, r"^image: expected one image, .*got \(18,\): pass images\[0\]"),
        (normal(2, 4, 6, 3), 0, ValueError, r"^image: expected one image, .*got \(2, 4, 6, 3\)"),
        ([1.0], 0, TypeError, "^image: expected a float32 or float64 array"),
        (normal(4, 6, 3, dtype=np.float64), 0, TypeError, "the network holds float32, got float64"),
        (normal(4, 6, 2), 0, ValueError, r"^layer 0.0, Conv2D\(3, 5, 3\): expected"),
        (normal(4, 6, 3), 3, ValueError, "^layer: expected a place below 3, got 3"),
        (normal(4, 6, 3), -4, ValueError, "^layer: expected at least -3, got -4"),
        (normal(4, 6, 3), 1.0, TypeError, "^layer: expected a whole number"),
        (normal(4, 6, 3), ReLU(), ValueError, "^layer: expected one that .* lists, got ReLU"),
        (normal(4, 6, 3), 2, ValueError, r"^layer 2, MeanOver.*: expected an output .*\(1, 5\)"),
    ],
)
def test_what_has_no_feature_maps_is_refused(image, layer, error, message):
    with pytest.raises(error, match=message):
        plotting.feature_maps(network_on_images(), image, layer=layer)


def test_feature_maps_are_of_a_network():
    for network in (ReLU(), Sequential, None):
        with pytest.raises(TypeError, match=r"^network: expected a Sequential, got"):
            plotting.feature_maps(network, normal(4, 6, 3))


# What reaches the activations


def network_of(*, norm=True):
    rng, layers = np.random.default_rng(0), []
    for in_features, out_features, activation in ((6, 5, Sigmoid), (5, 4, Tanh)):
        layers.append(Dense(in_features, out_features, rng=rng))
        layers += [BatchNorm(out_features)] if norm else []
        layers += [activation(), Dropout(0.5, rng=rng)]
    return Sequential([*layers, Dense(4, 3, rng=rng)])


DATA = normal(64, 6, seed=3), np.arange(64) % 3


def inputs_by_hand(network, images, kinds=(Sigmoid, Tanh), statistics="batch"):
    """Title -> what reaches each layer of these kinds."""
    found, x = {}, images
    for place, layer in enumerate(copy.deepcopy(network)):
        if isinstance(layer, kinds):
            found[f"layer {place}, {layer!r}"] = x
        x = layer.forward(x, statistics=statistics)
    return found


def shares(axes):
    """Bars and their edges."""
    (bars,) = axes.patches
    data = bars.get_data()
    return data.values, data.edges


def titled(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_visible()}


@pytest.mark.parametrize(
    ("options", "kinds"),
    [({}, (Sigmoid, Tanh)), ({"layers": Dense}, Dense), ({"layers": (BatchNorm, Tanh)},) * 2],
)
@pytest.mark.parametrize("statistics", ["batch", "population"])
def test_histograms_are_the_shares_of_all_inputs(options, kinds, statistics):
    kinds = options["layers"] if isinstance(kinds, dict) else kinds
    network = network_of()
    options = options if statistics == "batch" else {**options, "statistics": statistics}
    panels = titled(plotting.activation_histograms(network, DATA[0], **options))
    expected = inputs_by_hand(network, DATA[0], kinds, statistics)
    assert list(panels) == list(expected)
    for title, values in expected.items():
        found, edges = shares(panels[title])
        assert len(found) == 61
        assert (edges[0], edges[-1]) == (values.min(), values.max())
        assert found.sum() == pytest.approx(1)
        np.testing.assert_array_equal(found, np.histogram(values, edges)[0] / values.size)


def test_networks_beside_each_other_have_the_same_bins_row_by_row():
    networks = {"without": network_of(norm=False), "with": network_of()}
    figure = plotting.activation_histograms(networks, DATA[0])
    first, second, third, fourth = figure.axes
    assert first.get_title(loc="left") == "without\nlayer 1, Sigmoid()"
    assert second.get_title(loc="left") == "with\nlayer 2, Sigmoid()"
    for left, right in ((first, second), (third, fourth)):
        assert left.get_xlim() == right.get_xlim()
        np.testing.assert_array_equal(shares(left)[1], shares(right)[1])
        assert left.patches[0].get_facecolor() != right.patches[0].get_facecolor()
    for axes, name, place in ((first, "without", 0), (fourth, "with", 1)):
        values = [*inputs_by_hand(networks[name], DATA[0]).values()][place]
        found, edges = shares(axes)
        np.testing.assert_array_equal(found, np.histogram(values, edges)[0] / values.size)


def test_a_network_with_fewer_layers_has_fewer_panels():
    networks = {"one": Sequential([ReLU()]), "two": Sequential([ReLU(), Tanh()])}
    figure = plotting.activation_histograms(networks, DATA[0])
    assert list(titled(figure)) == [
        "one\nlayer 0, ReLU()",
        "two\nlayer 0, ReLU()",
        "layer 1, Tanh()",
    ]
    figure.draw_without_rendering()


def test_of_a_residual_the_activations_within_are_shown():
    network, images = network_on_images(), normal(5, 4, 6, 3)
    ((title, axes),) = titled(plotting.activation_histograms(network, images)).items()
    assert title == "layer 0.1.1, ReLU()"
    values = network.layer_by_layer(images, statistics="batch")[2].x
    found, edges = shares(axes)
    np.testing.assert_array_equal(found, np.histogram(values, edges)[0] / values.size)


def test_inputs_that_are_not_finite_are_told_and_left_out():
    images = DATA[0].copy()
    images[:16] = np.nan
    images[16:32] = np.inf
    figure = plotting.activation_histograms(Sequential([ReLU()]), images)
    ((title, axes),) = titled(figure).items()
    assert title == "layer 0, ReLU(): 50% not finite"
    assert shares(axes)[0].sum() == pytest.approx(0.5)
    images[:] = np.nan
    figure = plotting.activation_histograms(Sequential([ReLU()]), images)
    figure.draw_without_rendering()
    assert list(titled(figure)) == ["layer 0, ReLU(): 100% not finite"]


@pytest.mark.parametrize("value", [0.0, 0.3, -5.0, 1e30])
def test_inputs_that_are_all_the_same_to_rounding_are_one_bar(value):
    images = np.full((8, 6), value)
    images[0] *= 1 + 1e-15
    (axes,) = plotting.activation_histograms(Sequential([ReLU()]), images).axes
    assert sorted(shares(axes)[0])[-2:] == [0, 1]
    low, high = axes.get_xlim()
    assert low < value < high


def test_readers_layers_without_parameters_are_activations():
    class Swish(Layer):
        def forward(self, x):
            return x / (1 + np.exp(-x))

    figure = plotting.activation_histograms(Sequential([Dense(6, 5, rng=0), Swish()]), DATA[0])
    assert list(titled(figure)) == ["layer 1, Swish()"]


@pytest.mark.parametrize(
    ("make", "x", "draw"),
    [
        (network_of, DATA[0], lambda net: plotting.activation_histograms(net, DATA[0])),
        (network_of, DATA[0], lambda net: plotting.ActivationRecord(DATA[0])(net)),
        (
            network_on_images,
            normal(2, 4, 6, 3),
            lambda net: plotting.feature_maps(net, normal(4, 6, 3)),
        ),
    ],
)
def test_drawing_leaves_a_network_and_its_pending_pass_as_they_were(make, x, draw):
    network, untouched = make(), make()
    for each in (network, untouched):
        dy = np.ones_like(each.forward(x, training=True))
    before = frozen(network.parameters, network.state, network.generators, x)
    draw(network)
    assert frozen(network.parameters, network.state, network.generators, x) == before
    for each in (network, untouched):
        each.backward(dy)
    assert frozen(network.gradients) == frozen(untouched.gradients)


def recorded(norm=True, steps=40, **options):
    """A record, and the networks that it saw."""
    network, seen = network_of(norm=norm), []
    record = plotting.ActivationRecord(DATA[0], **options)

    def callback(network, history):
        seen.append(copy.deepcopy(network))
        return record(network, history)

    seen.append(copy.deepcopy(network))
    record(network)
    fit(
        network,
        DATA,
        optimizer=SGD(0.5),
        steps=steps,
        batch_size=16,
        sample_every=10,
        callback=callback,
        progress=False,
    )
    return record, seen


@pytest.mark.parametrize("options", [{}, {"statistics": "population", "layers": Dense}])
def test_a_record_keeps_the_percentiles_of_each_sample(options):
    record, seen = recorded(**options)
    assert record.steps == [0, 1, 11, 21, 31]
    assert plotting.PERCENTILES == (2.5, 16, 50, 84, 97.5)
    kinds = options.get("layers", (Sigmoid, Tanh))
    statistics = options.get("statistics", "batch")
    for network, found in zip(seen, record.percentiles, strict=True):
        expected = inputs_by_hand(network, DATA[0], kinds, statistics)
        assert record.layers == list(expected)
        for values, row in zip(expected.values(), found, strict=True):
            np.testing.assert_allclose(row, np.percentile(values, plotting.PERCENTILES), rtol=1e-6)


@pytest.mark.parametrize("scale", ["asinh", "linear"])
def test_bands_are_the_percentiles_over_the_steps(scale):
    records = {"without": recorded(norm=False)[0], "with": recorded()[0]}
    figure = plotting.activation_bands(records, scale=scale)
    for place, axes in enumerate(figure.axes):
        name, row = ("without", "with")[place % 2], place // 2
        record = records[name]
        values = record.percentiles[:, row]
        (median,) = axes.get_lines()
        assert list(median.get_xdata()) == record.steps
        np.testing.assert_array_equal(median.get_ydata(), values[:, 2])
        for band, low, high in zip(axes.collections, (0, 1), (4, 3), strict=True):
            x, y = band.get_paths()[0].vertices.T
            for step, *ends in zip(record.steps, values[:, low], values[:, high], strict=True):
                assert set(ends) <= set(y[x == step])
        assert axes.get_yscale() == ("function" if scale == "asinh" else "linear")
    first, second, third, fourth = figure.axes
    assert (first.get_ylim(), third.get_ylim()) == (second.get_ylim(), fourth.get_ylim())
    assert second.get_title(loc="left") == "with\nlayer 2, Sigmoid()"
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "95 % of inputs",
        "68 % of inputs",
        "median",
    ]


@pytest.mark.parametrize(
    ("size", "marks"),
    [(100, [-100, -10, -2, 0, 2, 10, 100]), (1e30, [-1e24, -1e12, 0, 1e12, 1e24])],
)
def test_bands_that_reach_far_have_marks_that_can_be_told_apart(size, marks):
    record = plotting.ActivationRecord(np.array([[-1.1], [0], [1.1]], np.float32) * size)
    record(Sequential([ReLU()]))
    (axes,) = plotting.activation_bands(record).axes
    assert sorted(axes.get_yticks()) == pytest.approx(marks)


def test_a_record_alone_has_a_column_of_its_own():
    record, _ = recorded()
    assert list(titled(plotting.activation_bands(record))) == record.layers


def test_a_record_goes_on_where_inputs_are_not_finite():
    network, record = Sequential([ReLU()]), plotting.ActivationRecord(DATA[0])
    record(network)
    record._images = np.full_like(DATA[0], np.inf)
    record._images[::2] = -np.inf
    record(network, History(losses=[1.0]))
    record._images[0] = np.nan
    record(network, History(losses=[1.0, 1.0]))
    assert np.isnan(record.percentiles[2]).all()
    plotting.activation_bands(record).draw_without_rendering()


def test_a_record_is_of_one_run_of_one_network():
    record, seen = recorded()
    for network, history in (
        (seen[-1], None),
        (seen[-1], History(losses=[1.0] * 31)),
        (network_of(norm=False), History(losses=[1.0] * 32)),
    ):
        with pytest.raises(ValueError, match=r"^record: expected the same network after step 31"):
            record(network, history)
    assert len(record.steps) == len(record.percentiles) == 5


@pytest.mark.parametrize(
    ("network", "options", "error", "message"),
    [
        (None, {}, TypeError, "^network: expected a Sequential, or several by name, .* got None"),
        (Sequential, {}, TypeError, "^network: expected a Sequential, or several by name"),
        ({"a": ReLU()}, {}, TypeError, r"^network: expected a Sequential.* got 'a': ReLU\(\)"),
        ({3: network_of()}, {}, TypeError, "^network: expected a Sequential.* got 3: "),
        ({}, {}, ValueError, "^network: expected a Sequential at least, got none"),
        (
            Sequential([Dense(6, 5, rng=0)]),
            {},
            ValueError,
            "^network: expected an activation in it, found none: pass layers=Dense, say",
        ),
        (
            {"a": network_of(norm=False)},
            {"layers": ReLU},
            ValueError,
            r"^network\['a'\]: expected a",
        ),
        (
            network_of(norm=False),
            {"layers": BatchNorm},
            ValueError,
            "^network: expected a layer of .*BatchNorm.* in it, found none",
        ),
        (network_of(), {"layers": ReLU()}, TypeError, "^layers: expected a class of lay"),
        (network_of(), {"layers": [3]}, TypeError, "^layers: expected a class of layers"),
        (network_of(), {"statistics": "all"}, ValueError, "^statistics: expected 'batch'"),
        (Sequential([Dense(5, 5, rng=0)]), {}, ValueError, r"expected \(..., 5\), got \(64, 6\)"),
    ],
)
def test_what_has_no_histograms_is_refused(network, options, error, message):
    with pytest.raises(error, match=message):
        plotting.activation_histograms(network, DATA[0], **options)


def test_what_cannot_be_recorded_is_refused_before_a_run():
    for images, options, error, message in (
        ([1.0], {}, TypeError, "^images: expected a float32 or float64 array"),
        (DATA[0], {"layers": "Dense"}, TypeError, "^layers: expected a class of layers"),
        (DATA[0], {"statistics": "all"}, ValueError, "^statistics: expected 'batch'"),
    ):
        with pytest.raises(error, match=message):
            plotting.ActivationRecord(images, **options)


def test_what_is_no_record_has_no_bands():
    empty = plotting.ActivationRecord(DATA[0])
    for records, error, message in (
        ({}, ValueError, "^records: expected an ActivationRecord at least, got none"),
        ([empty], TypeError, "^records: expected an ActivationRecord, or several by name"),
        ({"a": empty}, ValueError, r"^records\['a'\]: expected one sample or more, got none: pass"),
        (empty, ValueError, r"^records: expected one sample or more, got none"),
    ):
        with pytest.raises(error, match=message):
            plotting.activation_bands(records)
    with pytest.raises(ValueError, match=r"^scale: expected 'asinh' or 'linear', got 'log'"):
        plotting.activation_bands(recorded()[0], scale="log")
