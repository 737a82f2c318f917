"""Batch norm's graph and projection: the numbers behind them, what they show, what they refuse."""

from itertools import combinations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from npbn import plotting, reference

SHAPES = {"rows": (9, 3), "images": (2, 3, 4, 3), "two rows": (2, 3)}
each_shape = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)


def arrays(shape=(9, 3), dtype=np.float64, scale=1.0):
    rng = np.random.default_rng(0)
    x = scale * (3 + 2 * rng.standard_normal(shape))
    gamma, beta = rng.uniform(0.5, 2, shape[-1]), rng.standard_normal(shape[-1])
    dy = scale * (0.4 + rng.standard_normal(shape))
    return tuple(each.astype(dtype) for each in (x, gamma, beta, dy))


def evaluated(steps, start, value, epsilon):
    """y, where one of the values is another, by the equations as they are shown."""
    x = steps["x"].value
    axes = tuple(range(x.ndim - 1))
    known = {name: step.value for name, step in steps.items()} | {start: value}
    known |= {"m": x.size // x.shape[-1], "sum": lambda each: each.sum(axes), "sqrt": np.sqrt}
    is_after = False
    for name, step in steps.items():
        if is_after and step.equation:
            exec(step.equation, {"epsilon": epsilon}, known)
        is_after = is_after or name == start
    return known["y"]


@each_shape
def test_the_ends_are_the_references(shape):
    x, gamma, beta, dy = arrays(shape)
    steps = plotting.batch_norm_steps(x, gamma, beta, dy, epsilon=0.1)
    y, cache = reference.batch_norm_forward(x, gamma, beta, epsilon=0.1)
    dx, dgamma, dbeta = reference.batch_norm_backward(dy, cache)
    for actual, desired in (
        (steps["y"].value, y),
        (steps["x"].gradient, dx),
        (steps["gamma"].gradient, dgamma),
        (steps["beta"].gradient, dbeta),
        (steps["mean"].value, cache.mean),
        (steps["variance"].value, cache.variance),
        (steps["x_hat"].value, cache.x_hat),
    ):
        np.testing.assert_allclose(actual, desired, rtol=1e-12, atol=1e-13)


@each_shape
@pytest.mark.parametrize("name", plotting.batch_norm_steps(*arrays()))
def test_each_gradient_is_the_derivative_with_respect_to_its_value(name, shape):
    steps = plotting.batch_norm_steps(*arrays(shape), epsilon=0.1)
    step, dy = steps[name], steps["y"].gradient
    assert step.gradient.shape == step.value.shape
    for where in np.ndindex(step.value.shape):
        moved = step.value.astype(complex)
        moved[where] += 1e-20j
        derivative = (dy * evaluated(steps, name, moved, 0.1)).sum().imag / 1e-20
        assert step.gradient[where] == pytest.approx(derivative, rel=1e-11, abs=1e-12)


def test_arrays_are_new_and_of_the_type_given():
    given = arrays(dtype=np.float32)
    before = [each.copy() for each in given]
    steps = plotting.batch_norm_steps(*given)
    for step in steps.values():
        assert step.value.dtype == step.gradient.dtype == np.float32
        assert not any(np.may_share_memory(step.value, each) for each in given)
        assert not any(np.may_share_memory(step.gradient, each) for each in given)
        step.value[...] = step.gradient[...] = 7
    for each, old in zip(given, before, strict=True):
        np.testing.assert_array_equal(each, old)


def texts(figure):
    return [text for axes in figure.axes for text in axes.texts if text.get_text()]


def test_the_graph_shows_each_value_with_its_shape_and_ranges():
    given = arrays()
    shown = [text.get_text() for text in texts(plotting.batch_norm_graph(*given))]
    for name, step in plotting.batch_norm_steps(*given).items():
        assert (step.equation or name) in shown
        assert f"{step.value.min():.2g} to {step.value.max():.2g}" in shown
        assert f"d{name} {step.gradient.min():.2g} to {step.gradient.max():.2g}" in shown
    assert shown.count("(9, 3)") == 6
    assert shown.count("(3,)") == 6


def test_what_comes_back_along_the_edges_adds_up_to_the_gradients():
    figure = plotting.batch_norm_graph(*arrays())
    arrows = tuple("\N{LEFTWARDS ARROW}\N{UPWARDS ARROW}\N{RIGHTWARDS ARROW}")
    shown = [text.get_text() for text in texts(figure)]
    back = sorted(text[2:] for text in shown if text.startswith(arrows))
    steps = plotting.batch_norm_steps(*arrays()).values()
    sums = [each.gradient_equation.partition(" = ")[2] for each in steps]
    assert back == sorted(term for each in sums for term in each.split(" + ") if term)
    assert len(back) == 13


@pytest.mark.parametrize(
    "given",
    [
        arrays(),
        arrays((60, 28, 28, 16)),
        arrays(scale=-1.234e-20),
        arrays(scale=-1.234e20),
        arrays((2, 1), np.float32),
    ],
    ids=["rows", "images", "small", "large", "two values"],
)
def test_nothing_in_the_graph_is_covered_or_cut_off(given):
    figure = plotting.batch_norm_graph(*given)
    figure.draw_without_rendering()
    boxes = {text: text.get_window_extent() for text in texts(figure)}
    width, height = figure.get_size_inches() * figure.dpi
    for text, box in boxes.items():
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= width, text
        assert box.y1 <= height, text
    for (a, box), (b, other) in combinations(boxes.items(), 2):
        overlap = min(box.x1, other.x1) > max(box.x0, other.x0) + 1
        assert not (overlap and min(box.y1, other.y1) > max(box.y0, other.y0) + 1), (a, b)


def projection(given, **options):
    x, gamma, _, dy = given
    return plotting.batch_norm_projection(x, gamma, dy, **options)


def points(axes):
    (line,) = [each for each in axes.get_lines() if each.get_marker() == "o"]
    return line.get_xdata(), line.get_ydata()


@each_shape
@pytest.mark.parametrize("feature", [0, 2])
def test_the_projection_leaves_dx(shape, feature):
    given = x, gamma, beta, dy = arrays(shape)
    gamma[2] = -0.7
    figure = projection(given, feature=feature, epsilon=0.1)
    _, cache = reference.batch_norm_forward(x, gamma, beta, epsilon=0.1)
    dx, _, _ = reference.batch_norm_backward(dy, cache)
    x_hat, own = cache.x_hat[..., feature].ravel(), dy[..., feature].ravel()
    scale = gamma[feature] / np.sqrt(cache.variance[feature] + 0.1)
    first, second, third = figure.axes[:3]
    for axes, wanted in (
        (first, own),
        (second, own - own.mean()),
        (third, dx[..., feature].ravel() / scale),
    ):
        np.testing.assert_allclose(points(axes)[0], x_hat, rtol=1e-12)
        np.testing.assert_allclose(points(axes)[1], wanted, rtol=1e-10, atol=1e-12)
    right = figure.axes[6]
    figure.draw_without_rendering()
    assert right.get_ylim() == pytest.approx(tuple(scale * each for each in third.get_ylim()))
    assert f"gamma / std       {scale:.3g}" in figure.axes[5].texts[0].get_text()


def taken(axes):
    (line,) = [each for each in axes.get_lines() if each.get_label().startswith("its")]
    return np.array(line.get_xdata()), np.array(line.get_ydata())


def test_what_is_taken_out_are_lines():
    given = x, gamma, beta, dy = arrays()
    figure = projection(given)
    _, cache = reference.batch_norm_forward(x, gamma, beta)
    np.testing.assert_allclose(taken(figure.axes[0])[1], dy[:, 0].mean())
    x_hat, along = taken(figure.axes[1])
    np.testing.assert_allclose(along, (dy * cache.x_hat).mean(0)[0] * x_hat)
    assert (np.diff(x_hat) > 0).all()


def triangle(axes):
    """Its corners, by colour."""
    lines = {to_hex(line.get_color()): line for line in axes.get_lines()}
    return [np.transpose(lines[to_hex(each)].get_data()) for each in plotting.COLOURS[:3]]


@pytest.mark.parametrize("epsilon", [0.0, 5.0])
def test_the_triangles_are_the_vectors_lengths(epsilon):
    given = x, gamma, beta, dy = arrays()
    figure = projection(given, epsilon=epsilon)
    _, cache = reference.batch_norm_forward(x, gamma, beta, epsilon=epsilon)
    own, x_hat = dy[:, 0], cache.x_hat[:, 0]
    left = own - own.mean()
    along = x_hat * (own * x_hat).mean()
    mean = np.full_like(own, own.mean())
    vectors = (own, mean, left), (left, along, left - along)
    for axes, lengths in zip(figure.axes[3:5], vectors, strict=True):
        whole, out, rest = triangle(axes)
        for side, vector in zip((whole, out, rest), lengths, strict=True):
            assert np.linalg.norm(side[1] - side[0]) == pytest.approx(np.linalg.norm(vector))
        np.testing.assert_allclose(out[0], whole[0])
        np.testing.assert_allclose(out[1], rest[0])
        np.testing.assert_allclose(rest[1], whole[1])
        is_right = abs((out[1] - out[0]) @ (rest[1] - rest[0])) < 1e-9
        assert is_right == (axes is figure.axes[3] or epsilon == 0)


@pytest.mark.parametrize("rows", [2, 3, 100, 101])
def test_the_projection_is_drawn_of_few_and_of_many(rows):
    figure = projection(arrays((rows, 2)), feature=1)
    figure.draw_without_rendering()
    assert len(figure.axes[2].collections) == (rows <= 100)
    assert "feature 1" in figure.get_suptitle()


def test_the_projection_is_drawn_without_gamma_and_without_gradient():
    x, gamma, _, dy = arrays()
    figure = plotting.batch_norm_projection(x, 0 * gamma, 0 * dy)
    figure.draw_without_rendering()
    assert len(figure.axes) == 6
    assert "0% of" in figure.axes[0].get_title()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": [[1.0]]}, TypeError, "x: expected a float32 or float64 array"),
        ({"x": np.ones(3)}, ValueError, "x: expected"),
        ({"gamma": np.ones(2)}, ValueError, "gamma: expected"),
        ({"gamma": np.ones(3, np.float32)}, TypeError, "gamma"),
        ({"dy": np.ones((8, 3))}, ValueError, "dy: expected"),
        ({"epsilon": -1}, ValueError, "epsilon"),
    ],
)
def test_other_arrays_are_refused(changes, error, message):
    x, gamma, beta, dy = arrays()
    given = {"x": x, "gamma": gamma, "dy": dy} | changes
    with pytest.raises(error, match=message):
        plotting.batch_norm_projection(**given)
    for draw in (plotting.batch_norm_graph, plotting.batch_norm_steps):
        with pytest.raises(error, match=message):
            draw(**given, beta=beta)


def test_a_feature_that_is_not_there_or_constant_is_refused():
    x, gamma, _, dy = arrays()
    with pytest.raises(ValueError, match="feature: expected a place below 3, got 3"):
        plotting.batch_norm_projection(x, gamma, dy, feature=3)
    x[:, 1] = 5
    with pytest.raises(ValueError, match="all of feature 1 are 5"):
        plotting.batch_norm_projection(x, gamma, dy, feature=1)
