"""Pooling: PyTorch's results over one, two and three axes, ties, infinities, what is left out."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import memory_of

from npbn import (
    AvgPool2D,
    BatchNorm,
    Conv2D,
    Dense,
    Flatten,
    GlobalAvgPool2D,
    MaxPool2D,
    ReLU,
    Sequential,
    functional,
    gradient_check,
    reference,
)
from npbn.functional import pooling

bounded = settings(derandomize=True, max_examples=50)
INFINITY = np.inf


def normal(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def torch_or_skip():
    return pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")


def of_torch(torch, name, x, make_dy, size, **options):
    """y and dx by PyTorch's function for as many axes as x has, in the layout of npbn."""
    function = getattr(torch.nn.functional, f"{name}_pool{x.ndim - 2}d")
    leaf = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1))).requires_grad_()
    y = function(leaf, size, **options)
    dy = make_dy(tuple(np.moveaxis(y.detach().numpy(), 1, -1).shape))
    y.backward(torch.from_numpy(np.ascontiguousarray(np.moveaxis(dy, -1, 1))))
    return tuple(np.moveaxis(each, 1, -1) for each in (y.detach().numpy(), leaf.grad.numpy()))


@st.composite
def poolings(draw, axes):
    """Sizes of images, and settings that PyTorch takes as well: it pads less than half a window."""
    each = {1: 20, 2: 9, 3: 5}[axes]
    size = tuple(draw(st.integers(1, 4)) for _ in range(axes))
    padding = tuple(draw(st.integers(0, k // 2)) for k in size)
    stride = tuple(draw(st.integers(1, 4)) for _ in range(axes))
    least = [k - 2 * p for k, p in zip(size, padding, strict=True)]
    least = [max(k, n) for k, n in zip(size, least, strict=True)]
    space = tuple(draw(st.integers(n, n + each)) for n in least)
    shape = draw(st.integers(1, 4)), *space, draw(st.integers(1, 3))
    return shape, size, stride, padding


def dys(dtype):
    return lambda shape: normal(shape, dtype, 7)


def by_npbn(forward, backward, x, block_bytes, **options):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooling, "BLOCK_BYTES", block_bytes)
        y, cache = forward(x, **options)
        return y, backward(normal(y.shape, x.dtype, 7), cache)


each_count = pytest.mark.parametrize("axes", [1, 2, 3], ids=["(N, T, C)", "images", "volumes"])
blocks = st.sampled_from([1, 1000, 1 << 20])


@each_count
@bounded
@given(st.data(), st.sampled_from([np.float32, np.float64]), blocks, st.integers(1, 1000))
def test_the_largest_is_pytorchs(axes, data, dtype, block_bytes, values):
    torch = torch_or_skip()
    shape, size, stride, padding = data.draw(poolings(axes))
    dilation = tuple(data.draw(st.integers(1, 2)) for _ in range(axes))
    space = [n + d * k for n, d, k in zip(shape[1:-1], dilation, size, strict=True)]
    # Of few whole numbers many are equal.
    rng = np.random.default_rng(values)
    x = rng.integers(0, 1 + values % 4, (shape[0], *space, shape[-1])).astype(dtype)
    options = {"stride": stride, "padding": padding, "dilation": dilation}
    expected = of_torch(torch, "max", x, dys(dtype), size, **options)
    found = by_npbn(
        functional.max_pool_forward,
        functional.max_pool_backward,
        x,
        block_bytes,
        size=size,
        **options,
    )
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_allclose(found[1], expected[1], rtol=0, atol=40 * np.finfo(dtype).eps)


@each_count
@bounded
@given(st.data(), st.sampled_from([np.float32, np.float64]), blocks, st.booleans())
def test_the_mean_is_pytorchs(axes, data, dtype, block_bytes, count_padding):
    torch = torch_or_skip()
    shape, size, stride, padding = data.draw(poolings(axes))
    x = normal(shape, dtype)
    options = {"stride": stride, "padding": padding}
    expected = of_torch(
        torch, "avg", x, dys(dtype), size, **options, count_include_pad=count_padding
    )
    found = by_npbn(
        functional.average_pool_forward,
        functional.average_pool_backward,
        x,
        block_bytes,
        size=size,
        **options,
        count_padding=count_padding,
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=40 * np.finfo(dtype).eps)


@pytest.mark.parametrize("shape", [(60, 28, 28, 3), (3, 200, 200, 2), (2, 7, 4), (2, 3, 4, 5, 6)])
def test_the_mean_of_an_image(shape, dtype, exact, assert_close):
    x = normal(shape, dtype) + dtype(100)
    y, cache = functional.global_average_pool_forward(x)
    assert y.shape == (shape[0], shape[-1])
    # In float64, and rounded once.
    units = 1 if dtype == np.float32 else 40
    assert_close(y, exact(x).mean(tuple(range(1, x.ndim - 1))), units=units)
    dy = normal(y.shape, dtype)
    dx = functional.global_average_pool_backward(dy, cache)
    pixels = x[0, ..., 0].size
    ones = (1,) * (x.ndim - 2)
    np.testing.assert_array_equal(
        dx, np.broadcast_to((dy / dtype(pixels)).reshape(len(x), *ones, -1), shape)
    )
    flat, _ = functional.average_pool_forward(x, size=shape[1:-1])
    assert_close(flat.reshape(y.shape), y, units=100)


def test_the_mean_of_an_image_is_in_range_where_the_sum_is_not():
    x = np.full((2, 4, 4, 3), 3e38, np.float32)
    np.testing.assert_array_equal(functional.global_average_pool_forward(x)[0], x[:, 0, 0])


# Ties, NaN, infinities


def pooled(x, dy=None, **options):
    """y and dx of max pooling of one image of one channel, by all readings and by PyTorch."""
    x = np.asarray(x, np.float64)[np.newaxis, ..., np.newaxis]
    y, cache = functional.max_pool_forward(x, **options)
    dy = np.ones(y.shape) if dy is None else np.asarray(dy, float).reshape(y.shape)
    dx = functional.max_pool_backward(dy, cache)
    true, of_reference = reference.max_pool_forward(x, **options)
    np.testing.assert_array_equal(y, true)
    np.testing.assert_array_equal(dx, reference.max_pool_backward(dy, of_reference))
    for layer in (MaxPool2D(**options), Sequential([MaxPool2D(**options)])):
        np.testing.assert_array_equal(layer.forward(x), y)
        np.testing.assert_array_equal(layer.backward(dy, input_gradient=True), dx)
    return y[0, ..., 0], dx[0, ..., 0]


def test_of_equal_pixels_the_first_in_row_order_has_the_gradient():
    y, dx = pooled(np.ones((2, 4)), [[3, 5]], size=2)
    np.testing.assert_array_equal(y, [[1, 1]])
    np.testing.assert_array_equal(dx, [[3, 0, 5, 0], [0, 0, 0, 0]])
    _, dx = pooled([[0, 1], [1, 1]], size=2)
    np.testing.assert_array_equal(dx, [[0, 1], [0, 0]])
    _, dx = pooled([[0, 0], [1, 1]], size=2)
    np.testing.assert_array_equal(dx, [[0, 0], [1, 0]])
    # In windows that share pixels as well: each has its own first.
    _, dx = pooled(np.ones((1, 4)), [[1, 10, 100]], size=(1, 2), stride=1)
    np.testing.assert_array_equal(dx, [[1, 10, 100, 0]])


def test_zeros_of_either_sign_are_equal():
    _, dx = pooled([[-0.0, 0.0]], size=(1, 2))
    np.testing.assert_array_equal(dx, [[1, 0]])
    _, dx = pooled([[0.0, -0.0]], size=(1, 2))
    np.testing.assert_array_equal(dx, [[1, 0]])


@pytest.mark.parametrize("padding", [0, 1, "same", ((1, 0), (0, 1))])
def test_nan_stays_nan(padding, dtype):
    x = normal((2, 4, 4, 2), dtype)
    x[0, 1, 1, 0] = np.nan
    y, _ = functional.max_pool_forward(x, size=2, padding=padding, stride=1)
    expected, _ = functional.max_pool_forward(
        np.isnan(x).astype(dtype), size=2, padding=padding, stride=1
    )
    np.testing.assert_array_equal(np.isnan(y), expected == 1)
    assert np.isnan(y).any()


@pytest.mark.parametrize("options", [{"padding": 1, "stride": 1}, {"padding": "same", "size": 3}])
def test_padding_never_wins(options, dtype):
    """Not over the lowest numbers, nor over -inf: no gradient goes astray."""
    torch = torch_or_skip()
    options = {"size": 2} | options
    for value in (-1, np.finfo(dtype).min, -INFINITY):
        x = np.full((2, 4, 5, 3), value, dtype)
        y, cache = functional.max_pool_forward(x, **options)
        assert (y == value).all()
        dy = np.ones_like(y)
        dx = functional.max_pool_backward(dy, cache)
        assert dx.sum() == dy.size
        _, other = reference.max_pool_forward(x, **options)
        np.testing.assert_array_equal(dx, reference.max_pool_backward(dy, other))
        layer = MaxPool2D(**options)
        network = Sequential([layer, Flatten()])
        for _ in range(2):  # the arrays of a plan are used again
            np.testing.assert_array_equal(network.forward(x), y.reshape(2, -1))
            flat = dy.reshape(2, -1)
            np.testing.assert_array_equal(network.backward(flat, input_gradient=True), dx)
        if options["padding"] == 1:
            ones = of_torch(
                torch, "max", x, lambda shape: np.ones(shape, dtype), 2, stride=1, padding=1
            )
            np.testing.assert_array_equal(dx, ones[1])


def test_infinities_are_pixels_like_others():
    y, dx = pooled([[-INFINITY, -INFINITY], [INFINITY, INFINITY]], size=(1, 2))
    np.testing.assert_array_equal(y, [[-INFINITY], [INFINITY]])
    np.testing.assert_array_equal(dx, [[1, 0], [1, 0]])


# What is left out, and what is added


@pytest.mark.parametrize(
    ("forward", "backward"),
    [
        (functional.max_pool_forward, functional.max_pool_backward),
        (functional.average_pool_forward, functional.average_pool_backward),
    ],
)
@pytest.mark.parametrize("options", [{}, {"stride": 3}, {"dilation": 2, "stride": 4}])
def test_pixels_left_over_have_no_gradient(forward, backward, options, dtype):
    x = normal((3, 5, 5, 2), dtype)
    y, cache = forward(x, size=2, padding="valid", **options)
    dx = np.full(x.shape, np.nan, dtype)
    dy = np.ones_like(y)
    assert backward(dy, cache, out=dx) is dx
    in_window = {
        (): [0, 1, 2, 3],
        ("stride",): [0, 1, 3, 4],
        ("dilation", "stride"): [0, 2],
    }[tuple(options)]
    left_over = np.ones((5, 5), bool)
    left_over[np.ix_(in_window, in_window)] = False
    assert (dx[:, left_over] == 0).all()
    assert dx.sum() == dy.size
    # Whatever they are, they are not read.
    x[:, left_over] = np.nan
    np.testing.assert_array_equal(forward(x, size=2, padding="valid", **options)[0], y)


@pytest.mark.parametrize(
    ("pixels", "size", "stride", "count"),
    [
        (5, 2, 2, 3),
        (6, 2, 2, 3),
        (7, 3, 2, 4),
        (8, 3, 2, 4),
        (28, 2, 2, 14),
        (5, 2, 1, 5),
        (4, 2, 3, 2),
    ],
)
@pytest.mark.parametrize("kind", [MaxPool2D, AvgPool2D])
def test_same_has_a_window_where_each_stride_begins(kind, pixels, size, stride, count):
    assert count == -(-pixels // stride)
    layer = kind(size, stride=stride, padding="same")
    assert layer.output_shape((2, pixels, 9, 3))[1] == count
    assert layer.forward(normal((2, pixels, pixels, 1))).shape == (2, count, count, 1)
    valid = kind(size, stride=stride)
    assert valid.output_shape((2, pixels, 9, 3))[1] == (pixels - size) // stride + 1


def test_the_mean_of_what_is_there_and_with_the_zeros_around_it():
    x = np.arange(1.0, 6).reshape(1, 1, 5, 1)
    options = {"size": (1, 2), "padding": "same"}
    y, cache = functional.average_pool_forward(x, **options)
    np.testing.assert_array_equal(y.reshape(-1), [1.5, 3.5, 5])
    dx = functional.average_pool_backward(np.ones_like(y), cache)
    np.testing.assert_array_equal(dx.reshape(-1), [0.5, 0.5, 0.5, 0.5, 1])
    y, cache = functional.average_pool_forward(x, **options, count_padding=True)
    np.testing.assert_array_equal(y.reshape(-1), [1.5, 3.5, 2.5])
    dx = functional.average_pool_backward(np.ones_like(y), cache)
    np.testing.assert_array_equal(dx.reshape(-1), [0.5] * 5)


@pytest.mark.parametrize("kind", [MaxPool2D, AvgPool2D])
@pytest.mark.parametrize("padding", [2, (0, 2), ((2, 0), (0, 0)), ((0, 0), (0, 3))], ids=str)
def test_a_window_without_a_pixel_has_no_result(kind, padding):
    """It would be -inf, or 0 / 0."""
    message = "padding: expected a pixel of the image in every window"
    x = normal((2, 4, 4, 1), np.float32)
    layer = kind(2, padding=padding)
    name = {MaxPool2D: "max", AvgPool2D: "average"}[kind]
    forward = getattr(functional, f"{name}_pool_forward")
    with pytest.raises(ValueError, match=f"^{message}"):
        forward(x, size=2, padding=padding)
    for call in (layer.forward, lambda x: layer.output_shape(x.shape)):
        with pytest.raises(ValueError, match=f"^{re.escape(repr(layer))}: {message}"):
            call(x)
    with pytest.raises(ValueError, match=r"^layer 1, .*: padding: expected a pixel"):
        Sequential([BatchNorm(1), layer]).forward(x)


def test_padding_is_well_as_long_as_each_window_has_one():
    x = normal((2, 4, 4, 1))
    assert MaxPool2D(2, padding=1).forward(x).shape == (2, 3, 3, 1)
    assert MaxPool2D(3, stride=1, padding=2).forward(x).shape == (2, 6, 6, 1)
    assert np.isfinite(AvgPool2D(3, stride=1, padding=2).forward(x)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda x: MaxPool2D(2).forward(x.reshape(6, 1, 28, 28)),
            "MaxPool2D(2): expected images (N, H, W, C) of at least 2 x 2 pixels, got 1 x 28",
        ),
        (
            lambda x: MaxPool2D(2).forward(x.reshape(6, 784)),
            "MaxPool2D(2): expected images (N, H, W, C), got (6, 784): pass x.reshape(-1, 28, 28, "
            "1) if they have one channel",
        ),
        (
            lambda x: AvgPool2D(2).forward(x.reshape(6, 28, 28)),
            "AvgPool2D(2): expected images (N, H, W, C), got (6, 28, 28): pass x[..., np.newaxis] "
            "if they have one channel, x[np.newaxis] if it is one image",
        ),
        (
            lambda x: GlobalAvgPool2D().forward(x.reshape(6, 784)),
            "GlobalAvgPool2D(): expected images (N, H, W, C), got (6, 784): pass x.reshape(-1, 28, "
            "28, 1) if they have one channel",
        ),
        (
            lambda x: functional.average_pool_forward(x.reshape(6, 28, 28), size=(2, 2)),
            "size: expected a number, or 1 (one an axis), got (2, 2)",
        ),
        (
            lambda x: functional.max_pool_forward(x.reshape(6, 28, 28), size=2, padding=(1, 0)),
            "padding: expected a number, or 1 (one an axis), each a number or a pair (before, "
            "after), got (1, 0)",
        ),
        (
            lambda x: functional.max_pool_forward(x.reshape(6, 28, 28), size=29),
            "x: expected images (N, ..., C) of at least 29 pixels, got 28",
        ),
    ],
)
def test_what_is_wrong_is_told(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call(np.zeros((6, 28, 28, 1), np.float32))


# Networks


@pytest.mark.parametrize(
    "layer",
    [
        lambda: MaxPool2D(2),
        lambda: MaxPool2D(3, stride=2, padding="same"),
        lambda: AvgPool2D((3, 2), stride=(2, 1), padding=(1, 0)),
        lambda: AvgPool2D(2, padding="same", count_padding=True),
        lambda: GlobalAvgPool2D(),
    ],
)
def test_gradients_in_a_network(layer):
    rng = np.random.default_rng(0)
    network = Sequential(
        [
            Conv2D(2, 3, 3, rng=rng, dtype=np.float64),
            BatchNorm(3, dtype=np.float64),
            layer(),
            ReLU(),
            Flatten(),
        ]
    )
    assert gradient_check(network, normal((4, 5, 7, 2)))
    assert gradient_check(Sequential([layer()]), normal((4, 5, 7, 2)))


@pytest.mark.parametrize("block_bytes", [1, 700, 1 << 20])
def test_blocks_of_images_make_the_same(block_bytes, monkeypatch, dtype):
    x = normal((7, 5, 6, 2), dtype)
    expected = [step(x, make()) for make in POOLS]
    monkeypatch.setattr(pooling, "BLOCK_BYTES", block_bytes)
    monkeypatch.setattr(pooling, "SMALL", block_bytes)
    for make, (y, dx) in zip(POOLS, expected, strict=True):
        for one, other in zip(step(x, make()), (y, dx), strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=4 * np.finfo(dtype).eps)


POOLS = [
    lambda: MaxPool2D(2),
    lambda: MaxPool2D(3, stride=2, padding=1),
    lambda: AvgPool2D(2),
    lambda: AvgPool2D(3, stride=2, padding=1),
    GlobalAvgPool2D,
]


def step(x, layer):
    network = Sequential([layer])
    y = network.forward(x, training=True)
    return y, network.backward(normal(y.shape, x.dtype, 1), input_gradient=True)


@pytest.mark.parametrize("make", POOLS)
def test_memory_beside_the_results_is_a_few_blocks(make):
    x = normal((60, 56, 56, 16), np.float32)  # 12 MB
    layer = make()
    y, dx = np.empty(layer.output_shape(x.shape), np.float32), np.empty_like(x)
    assert memory_of(lambda: layer.forward(x, training=True, out=y))[1] < 5e6 + y.nbytes
    assert memory_of(lambda: layer.backward(y, out=dx))[1] < 6e6


def test_a_caller_may_write_into_the_largest_before_backward():
    x = normal((3, 4, 4, 2))
    y, cache = functional.max_pool_forward(x, size=2)
    dy = normal(y.shape)
    expected = functional.max_pool_backward(dy, cache)
    y[...] = 0
    np.testing.assert_array_equal(functional.max_pool_backward(dy, cache), expected)
    for layer in (MaxPool2D(2), Sequential([MaxPool2D(2)])):
        y = layer.forward(x, training=True)
        y[...] = 0
        np.testing.assert_array_equal(layer.backward(dy, input_gradient=True), expected)


def test_relu_behind_the_largest_does_not_write_over_it():
    rng = np.random.default_rng(0)
    network = Sequential(
        [MaxPool2D(2), ReLU(), Flatten(), ReLU(), Dense(8, 2, rng=rng, dtype=np.float64)]
    )
    assert gradient_check(network, normal((5, 4, 4, 2)) - 0.5)


# Flatten


def test_flatten_is_a_view_of_what_is_before_it():
    network = Sequential([Conv2D(1, 3, 3, rng=0), Flatten(), Dense(75, 2, rng=1)])
    x = normal((4, 5, 5, 1), np.float32)
    for call in (
        lambda: network.backward(network.forward(x, training=True), input_gradient=True),
        lambda: network.predict(x),
    ):
        call()
    for plan in network._plans._kept.values():
        before, flat = plan.passes[0].y, plan.passes[2].operation.x
        if plan.mode.keeps:
            assert np.shares_memory(before, flat)
            assert plan.passes[1].y is None
            assert np.shares_memory(plan.passes[1].dx, plan.passes[2].dx)


@pytest.mark.parametrize("place", [0, 1, 2], ids=["first", "in the midst", "last"])
def test_flatten_anywhere_in_a_network(place):
    shape = (5, 3, 4)
    rng = np.random.default_rng(0)

    def dense(n, m):
        return Dense(n, m, rng=rng, dtype=np.float64)

    layers = {
        0: [Flatten(), dense(12, 3)],
        1: [dense(4, 4), Flatten(), dense(12, 3)],
        2: [dense(4, 4), Flatten()],
    }[place]
    network, x = Sequential(layers), normal(shape)
    assert gradient_check(network, x)
    for training in (True, False):
        y = network.forward(x, training=training)
        dx = network.backward(y, input_gradient=True)
        kept = y.copy(), dx.copy()
        assert dx.shape == shape
        network.forward(2 * x, training=training)
        network.backward(2 * y, input_gradient=True)
        np.testing.assert_array_equal(y, kept[0])
        np.testing.assert_array_equal(dx, kept[1])
        y[...], dx[...] = 0, 0
        np.testing.assert_array_equal(network.forward(x), kept[0])
        assert not np.shares_memory(y, x)
    expected = functional.softmax(network.forward(x))
    np.testing.assert_allclose(network.predict_probabilities(x), expected, rtol=1e-12)


def test_flatten_alone_gives_the_caller_arrays_of_his_own():
    for layer in (Flatten(), Sequential([Flatten()]), Sequential([Flatten(), Flatten()])):
        x, dy = normal((5, 3, 4)), normal((5, 12))
        y = layer.forward(x, training=True)
        dx = layer.backward(dy, input_gradient=True)
        assert not np.shares_memory(x, y)
        assert not np.shares_memory(dx, dy)
        np.testing.assert_array_equal(y, x.reshape(5, 12))
        np.testing.assert_array_equal(dx, dy.reshape(5, 3, 4))
        out, dx = np.empty((5, 12)), np.empty((5, 3, 4))
        assert layer.forward(x, out=out) is out
        assert layer.backward(dy, out=dx, input_gradient=True) is dx
        np.testing.assert_array_equal(out, y)
        np.testing.assert_array_equal(dx, dy.reshape(5, 3, 4))


def test_flatten_of_images_that_lie_in_memory_in_another_way():
    x = normal((5, 3, 4, 2)).transpose(0, 2, 1, 3)
    network = Sequential([Flatten(), Dense(24, 3, rng=0, dtype=np.float64)])
    y = network.forward(x, training=True)
    np.testing.assert_array_equal(y, network.forward(np.ascontiguousarray(x)))
    np.testing.assert_array_equal(network.predict(x), y.argmax(1))
