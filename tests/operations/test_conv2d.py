"""Convolution: PyTorch's results in every layout of its patches, Keras' "same", bounded memory."""

import copy
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shared import memory_of

from npbn import (
    BatchNorm,
    Conv2D,
    Flatten,
    GlobalAvgPool2D,
    MaxPool2D,
    ReLU,
    Residual,
    Sequential,
    functional,
    gradient_check,
    reference,
)
from npbn.numerics import windows

bounded = settings(derandomize=True, max_examples=50)


def normal(shape, dtype=np.float64, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# PyTorch


def of_torch(torch, x, weight, bias, dy, padding, **options):
    """y, dx, dweight and dbias by PyTorch, in the layouts of npbn; padding: pairs."""
    leaves = [
        torch.from_numpy(np.ascontiguousarray(each)).requires_grad_()
        for each in (x.transpose(0, 3, 1, 2), weight.transpose(3, 2, 0, 1), bias)
    ]
    (top, bottom), (left, right) = padding
    padded = torch.nn.functional.pad(leaves[0], (left, right, top, bottom))
    y = torch.nn.functional.conv2d(padded, *leaves[1:], **options)
    y.backward(torch.from_numpy(np.ascontiguousarray(dy.transpose(0, 3, 1, 2))))
    dx, dweight, dbias = (each.grad.numpy() for each in leaves)
    y = y.detach().numpy().transpose(0, 2, 3, 1)
    return y, dx.transpose(0, 2, 3, 1), dweight.transpose(2, 3, 1, 0), dbias


def pairs_of(padding, x, weight, stride, dilation):
    """((top, bottom), (left, right)); "same" by Keras' rule."""
    pairs = []
    for axis in range(2):
        n, k, s, d = x.shape[1 + axis], weight.shape[axis], stride[axis], dilation[axis]
        if padding == "same":
            missing = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            pairs.append((missing // 2, missing - missing // 2))
        elif padding == "valid":
            pairs.append((0, 0))
        else:
            each = padding if isinstance(padding, int) else padding[axis]
            pairs.append((each, each) if isinstance(each, int) else tuple(each))
    return pairs


def torch_or_skip():
    return pytest.importorskip("torch", reason="PyTorch is the oracle here, and is not installed")


def both(number):
    return st.tuples(number, number)


paddings = st.one_of(
    st.sampled_from(["same", "valid"]),
    st.integers(0, 4),
    both(st.integers(0, 3)),
    both(both(st.integers(0, 4))),
)


@bounded
@given(
    st.sampled_from([np.float32, np.float64]),
    st.tuples(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 6)),
    both(st.integers(1, 4)),
    both(st.integers(1, 3)),
    both(st.integers(1, 3)),
    paddings,
    st.sampled_from([64, 300, 2000, 1 << 21]),
    st.sampled_from([0, 4, 16]),
)
def test_agrees_with_pytorch(
    dtype, images, channels, size, stride, dilation, padding, patch_bytes, short
):
    torch = torch_or_skip()
    groups, within, filters = channels
    x = normal((*images, groups * within), dtype)
    weight, bias = (
        normal((*size, within, groups * filters), dtype, 1),
        normal(groups * filters, dtype, 2),
    )
    pairs = pairs_of(padding, x, weight, stride, dilation)
    options = {"stride": stride, "dilation": dilation, "groups": groups}
    reaches = [d * (k - 1) + 1 for k, d in zip(size, dilation, strict=True)]
    padded = [n + sum(pair) for n, pair in zip(images[1:], pairs, strict=True)]
    if any(n < reach for n, reach in zip(padded, reaches, strict=True)):
        with pytest.raises(ValueError, match=r"^x: expected images .* of at least"):
            functional.conv2d_forward(x, weight, bias, padding=padding, **options)
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "PATCH_BYTES", patch_bytes)
        patch.setattr(windows, "SHORT", short)
        y, cache = functional.conv2d_forward(x, weight, bias, padding=padding, **options)
        dy = normal(y.shape, dtype, 3)
        found = y, *functional.conv2d_backward(dy, cache)
        again = functional.conv2d_backward(dy, cache)
    expected = of_torch(torch, x, weight, bias, dy, pairs, **options)
    sizes = of_torch(torch, *map(np.abs, (x, weight, bias, dy)), pairs, **options)
    for one, other, size_of_terms in zip(found, expected, sizes, strict=True):
        assert one.dtype == dtype
        assert one.shape == other.shape
        assert (abs(one - other) <= 40 * np.finfo(dtype).eps * size_of_terms).all()
    for one, other in zip(again, found[1:], strict=True):
        np.testing.assert_array_equal(one, other)


# x, weight, settings, PATCH_BYTES, and what these are for: (images at once, lines at once), whether
# kernel rows are copied by columns, and whether backward takes the patches of dy.
LAYOUTS = {
    "all at once": ((3, 6, 5, 2), (3, 3, 2, 4), {}, None, (3, 6), True, True),
    "some images, the last block smaller": (
        (5, 4, 4, 2), (3, 3, 2, 4), {}, 2400, (2, 4), True, True,
    ),
    "lines, the last block smaller": ((2, 7, 5, 2), (3, 3, 2, 3), {}, 1500, (1, 4), True, True),
    "a line is already more": ((2, 4, 6, 2), (3, 3, 2, 3), {}, 8, (1, 1), True, True),
    "long rows": ((3, 6, 5, 8), (3, 3, 8, 4), {}, 20_000, (2, 6), False, True),
    "rows just as long": ((2, 4, 4, 8), (2, 2, 8, 3), {}, None, (2, 4), False, True),
    "rows just shorter": ((2, 4, 4, 5), (2, 3, 5, 3), {}, None, (2, 4), True, True),
    "a stride": ((2, 7, 6, 2), (3, 3, 2, 3), {"stride": 2}, 900, (1, 4), True, False),
    "a stride along one axis": (
        (2, 7, 6, 2), (3, 3, 2, 3), {"stride": (1, 2)}, 900, (1, 4), True, False,
    ),
    "as many filters as that": ((2, 5, 5, 2), (3, 3, 2, 4), {}, None, (2, 5), True, True),
    "more filters": ((2, 5, 5, 2), (3, 3, 2, 5), {}, None, (2, 5), True, False),
    "more filters, some lines": ((2, 5, 5, 2), (3, 3, 2, 5), {}, 1500, (1, 4), True, False),
    "more filters, some images": ((5, 3, 3, 2), (3, 3, 2, 5), {}, 3000, (4, 3), True, False),
    "padding beyond a kernel's reach": (
        (2, 4, 4, 2), (2, 2, 2, 3), {"padding": 2}, None, (2, 7), True, False,
    ),
    "padding as far as it reaches": (
        (2, 4, 4, 2), (2, 2, 2, 3), {"padding": 1}, None, (2, 5), True, True,
    ),
    "beyond it on one side": (
        (2, 4, 4, 2), (2, 2, 2, 3), {"padding": ((0, 2), (1, 1))}, None, (2, 5), True, False,
    ),
    "each channel by itself": ((2, 5, 5, 6), (3, 3, 1, 6), {"groups": 6}, 3000, (1, 2), True, True),
    "each by itself, more filters": (
        (2, 5, 5, 3), (3, 3, 1, 9), {"groups": 3}, 1500, (1, 2), True, False,
    ),
    "groups, lines": ((2, 6, 6, 4), (3, 3, 2, 4), {"groups": 2}, 4000, (1, 4), True, True),
    "dilation": ((2, 7, 7, 2), (3, 3, 2, 3), {"dilation": 2}, 2200, (1, 4), True, True),
    "valid": ((2, 7, 7, 2), (3, 2, 2, 3), {"padding": "valid"}, 1200, (1, 4), True, True),
}  # fmt: skip


@pytest.mark.parametrize("key", LAYOUTS)
def test_every_layout(key, dtype, monkeypatch, exact, assert_close):
    shape, kernel, options, patch_bytes, blocks, by_columns, by_dy = LAYOUTS[key]
    if patch_bytes is not None:
        monkeypatch.setattr(windows, "PATCH_BYTES", patch_bytes * np.dtype(dtype).itemsize // 4)
    x, weight, bias = normal(shape, dtype), normal(kernel, dtype, 1), normal(kernel[-1], dtype, 2)
    y, cache = functional.conv2d_forward(x, weight, bias, **options)
    patches = cache._patches
    assert (patches.at_once, patches.lines) == blocks
    assert (patches._patches.strides[1] == x.itemsize) == by_columns
    assert cache._by_dy == by_dy
    dy = normal(y.shape, dtype, 3)
    found = y, *functional.conv2d_backward(dy, cache)
    given = exact({"x": x, "weight": weight, "bias": bias})
    expected, of_reference = reference.conv2d_forward(**given, **options)
    expected = expected, *reference.conv2d_backward(exact(dy), of_reference)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)
    # The same network by layers: forward and backward, and in a pass that keeps nothing.
    layer = Conv2D(shape[-1], kernel[-1], kernel[:2], weight=weight, **options)
    layer.bias = bias
    network = Sequential([layer, GlobalAvgPool2D()])
    for _ in range(2):
        out = network.forward(x, training=True)
        assert_close(out, y.mean((1, 2)))
        share = np.broadcast_to(dy[:, :1, :1] / dtype(y[0, ..., 0].size), y.shape)
        dx = network.backward(np.ascontiguousarray(dy[:, 0, 0]), input_gradient=True)
        for one, other in zip(
            (dx, layer.gradients["weight"], layer.gradients["bias"]),
            functional.conv2d_backward(share, cache),
            strict=True,
        ):
            assert_close(one, other)
        assert_close(network.predict_probabilities(x), functional.softmax(out))


@pytest.mark.parametrize("unbiased", [True, False])
def test_with_a_batch_norm_behind_it(unbiased, dtype, assert_close):
    torch = torch_or_skip()
    kind = getattr(torch, np.dtype(dtype).name)
    conv = Conv2D(3, 4, 3, padding=1, use_bias=False, weight=normal((3, 3, 3, 4), dtype))
    norm = BatchNorm(4, momentum=0.9, unbiased_population=unbiased, epsilon=1e-5, dtype=dtype)
    norm.gamma, norm.beta = normal(4, dtype, 1), normal(4, dtype, 2)
    network = Sequential([conv, norm, ReLU(), MaxPool2D(2), Flatten()])
    theirs = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1, bias=False, dtype=kind),
        torch.nn.BatchNorm2d(4, momentum=1 - 0.9, eps=1e-5, dtype=kind),
        torch.nn.ReLU(),
        torch.nn.MaxPool2d(2),
    )
    with torch.no_grad():
        theirs[0].weight.copy_(torch.from_numpy(conv.weight.transpose(3, 2, 0, 1).copy()))
        theirs[1].weight.copy_(torch.from_numpy(norm.gamma.copy()))
        theirs[1].bias.copy_(torch.from_numpy(norm.beta.copy()))
    m = 5 * 6 * 8
    variance = np.ones(4, dtype)
    for step in range(3):
        x = normal((5, 6, 8, 3), dtype, step)
        y = network.forward(x, training=True)
        their_x = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()).requires_grad_()
        their_y = theirs(their_x)
        assert_close(y, their_y.detach().permute(0, 2, 3, 1).reshape(5, -1).numpy())
        dy = normal(y.shape, dtype, step + 9)
        theirs.zero_grad()
        their_y.backward(torch.from_numpy(dy.reshape(5, 3, 4, 4)).permute(0, 3, 1, 2))
        dx = network.backward(dy, input_gradient=True)
        assert_close(dx, their_x.grad.permute(0, 2, 3, 1).numpy(), units=100)
        dweight = theirs[0].weight.grad.permute(2, 3, 1, 0).numpy()
        assert_close(conv.gradients["weight"], dweight, units=100)
        assert_close(norm.gradients["gamma"], theirs[1].weight.grad.numpy())
        assert_close(norm.gradients["beta"], theirs[1].bias.grad.numpy())
        assert_close(norm.population_mean, theirs[1].running_mean.numpy())
        variance = 0.9 * variance + 0.1 * norm.batch_variance * (m / (m - 1) if unbiased else 1)
        assert_close(norm.population_variance, variance)
        if unbiased:
            assert_close(norm.population_variance, theirs[1].running_var.numpy())
    theirs.eval()
    if unbiased:
        their_y = theirs(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).detach()
        assert_close(network.forward(x), their_y.permute(0, 2, 3, 1).reshape(5, -1).numpy())


# Padding


# Pixels, kernel, stride, dilation: windows, and what is added before and behind. As many windows as
# strides begin in the image; the zeros that the last one lacks, an odd one of them behind.
SAME = [
    (5, 3, 1, 1, 5, 1, 1),
    (5, 2, 1, 1, 5, 0, 1),  # an even kernel: the one zero goes behind
    (5, 4, 1, 1, 5, 1, 2),
    (6, 3, 2, 1, 3, 0, 1),  # windows at 0, 2, 4: the last ends at pixel 6, one beyond
    (5, 3, 2, 1, 3, 1, 1),  # windows at 0, 2, 4 of 7
    (28, 3, 2, 1, 14, 0, 1),
    (7, 2, 2, 1, 4, 0, 1),
    (8, 2, 2, 1, 4, 0, 0),
    (224, 7, 2, 1, 112, 2, 3),  # the first layer of ResNet50
    (5, 1, 2, 1, 3, 0, 0),
    (6, 1, 2, 1, 3, 0, 0),
    (5, 2, 3, 1, 2, 0, 0),  # windows at 0 and 3, which end with the image
    (7, 2, 3, 1, 3, 0, 1),
    (4, 5, 1, 1, 4, 2, 2),  # a kernel larger than the image
    (1, 3, 2, 1, 1, 1, 1),
    (9, 3, 1, 2, 9, 2, 2),
    (9, 2, 1, 3, 9, 1, 2),
    (10, 3, 3, 2, 4, 2, 2),  # windows at 0, 3, 6, 9 of 5 pixels: 14 in all
]


@pytest.mark.parametrize(("pixels", "size", "stride", "dilation", "count", "before", "after"), SAME)
def test_same_is_keras_rule(pixels, size, stride, dilation, count, before, after):
    assert count == -(-pixels // stride)
    x, weight = normal((2, pixels, pixels, 1)), normal((size, size, 1, 2))
    options = {"stride": stride, "dilation": dilation}
    layer = Conv2D(1, 2, size, weight=weight, **options)
    assert layer.output_shape(x.shape) == (2, count, count, 2)
    same, cache = functional.conv2d_forward(x, weight, padding="same", **options)
    assert same.shape == (2, count, count, 2)
    assert (cache._windows.before, cache._windows.after) == ((before,) * 2, (after,) * 2)
    by_hand, _ = functional.conv2d_forward(
        np.pad(x, ((0, 0), (before, after), (before, after), (0, 0))),
        weight,
        padding="valid",
        **options,
    )
    np.testing.assert_array_equal(same, by_hand)
    np.testing.assert_array_equal(same, layer.forward(x))
    axis = (before, after)
    for padding in ((axis, axis), [list(axis), list(axis)]):
        other, _ = functional.conv2d_forward(x, weight, padding=padding, **options)
        np.testing.assert_array_equal(same, other)


def test_each_axis_has_its_own():
    layer = Conv2D(1, 1, (2, 3), stride=(2, 1), padding="same", rng=0)
    assert layer.output_shape((1, 7, 6, 1)) == (1, 4, 6, 1)
    x, weight = np.ones((1, 3, 3, 1)), np.ones((1, 1, 1, 1))
    for padding, shape in {
        (1, 0): (5, 3),
        ((1, 0), (0, 2)): (4, 5),
        (0, (1, 1)): (3, 5),
        2: (7, 7),
        "valid": (3, 3),
    }.items():
        y, _ = functional.conv2d_forward(x, weight, padding=padding)
        assert y.shape[1:3] == shape
        assert y.sum() == 9


def test_a_cross_correlation_by_hand():
    x = np.arange(1.0, 10).reshape(1, 3, 3, 1)
    weight = np.array([[1.0, 10], [100, 1000]]).reshape(2, 2, 1, 1)
    y, cache = functional.conv2d_forward(x, weight, padding="valid")
    # The kernel is not turned around: its first row meets the first row of pixels.
    expected = [
        [1 + 20 + 400 + 5000, 2 + 30 + 500 + 6000],
        [4 + 50 + 700 + 8000, 5 + 60 + 800 + 9000],
    ]
    np.testing.assert_array_equal(y[0, ..., 0], expected)
    dx, dweight, dbias = functional.conv2d_backward(np.ones_like(y), cache)
    np.testing.assert_array_equal(dweight[..., 0, 0], [[12, 16], [24, 28]])
    np.testing.assert_array_equal(
        dx[0, ..., 0], [[1, 11, 10], [101, 1111, 1010], [100, 1100, 1000]]
    )
    assert dbias is None


def test_groups_are_convolutions_side_by_side():
    x, weight, bias = normal((2, 5, 5, 6)), normal((3, 3, 2, 9), seed=1), normal(9, seed=2)
    y, _ = functional.conv2d_forward(x, weight, bias, groups=3)
    for k in range(3):
        part, _ = functional.conv2d_forward(
            x[..., 2 * k : 2 * k + 2], weight[..., 3 * k : 3 * k + 3], bias[3 * k : 3 * k + 3]
        )
        np.testing.assert_allclose(y[..., 3 * k : 3 * k + 3], part, rtol=1e-12)


def test_a_kernel_of_one_pixel_is_dense():
    x, weight, bias = normal((3, 4, 5, 6)), normal((6, 7), seed=1), normal(7, seed=2)
    y, cache = functional.conv2d_forward(x, weight.reshape(1, 1, 6, 7), bias)
    expected, dense = functional.dense_forward(x, weight, bias)
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    dx, dweight, dbias = functional.conv2d_backward(y, cache)
    found = dx, dweight.reshape(6, 7), dbias
    for one, other in zip(found, functional.dense_backward(y, dense), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


# Memory


MIB = 1 << 20


def test_there_is_no_copy_of_all_patches():
    x, weight = normal((60, 28, 28, 32), np.float32), normal((3, 3, 32, 32), np.float32, 1)
    bias, out, dx = np.zeros(32, np.float32), np.empty_like(x), np.empty_like(x)
    cache = None

    def forward(**options):
        nonlocal cache
        _, cache = functional.conv2d_forward(x, weight, bias, out=out, **options)

    # All patches would be 51 MiB.
    assert memory_of(forward)[1] < 12 * MIB
    assert memory_of(lambda: functional.conv2d_backward(out, cache, out=dx))[1] < 12 * MIB
    wide = np.tile(weight, 3)
    y, cache = functional.conv2d_forward(x, wide)
    assert not cache._by_dy
    assert memory_of(lambda: functional.conv2d_backward(y, cache, out=dx))[1] < 12 * MIB
    layer = Conv2D(32, 32, 3, weight=weight)
    assert memory_of(lambda: layer.forward(x, training=True, out=out))[1] < 12 * MIB
    assert memory_of(lambda: layer.backward(out, out=dx))[1] < 12 * MIB


@pytest.mark.parametrize("stride", [1, 2])
def test_large_images_are_cut_into_lines(stride):
    x, weight = normal((2, 224, 224, 16), np.float32), normal((3, 3, 16, 16), np.float32, 1)
    out = np.empty((2, 224 // stride, 224 // stride, 16), np.float32)
    dx, cache = np.empty_like(x), None

    def forward():
        nonlocal cache
        _, cache = functional.conv2d_forward(x, weight, stride=stride, out=out)

    # All patches would be 55 MiB; a padded image is 3.
    assert memory_of(forward)[1] < 8 * MIB
    assert cache._patches.lines < 224 // stride
    assert memory_of(lambda: functional.conv2d_backward(out, cache, out=dx))[1] < 12 * MIB
    own = x.astype(np.float64), weight.astype(np.float64)
    y, true = reference.conv2d_forward(*own, stride=stride)
    assert abs(out - y).max() < 2e-6 * abs(y).max()
    true_dx, dweight, _ = reference.conv2d_backward(out.astype(np.float64), true)
    assert abs(dx - true_dx).max() < 2e-6 * abs(true_dx).max()
    found = functional.conv2d_backward(out, cache)[1]
    assert abs(found - dweight).max() < 2e-6 * abs(dweight).max()


# Accuracy


ACCURACY = {
    "the lesson's batch": ((60, 28, 28, 1), (3, 3, 1, 32), {}),
    "wide": ((60, 14, 14, 32), (3, 3, 32, 32), {}),
    "a stride": ((60, 28, 28, 8), (3, 3, 8, 16), {"stride": 2}),
    "each channel": ((60, 14, 14, 32), (5, 5, 1, 32), {"groups": 32}),
}


@pytest.mark.parametrize(("shape", "kernel", "options"), ACCURACY.values(), ids=ACCURACY)
@pytest.mark.parametrize("shift", [0, 3])
def test_float32_is_exact_to_seven_digits(shape, kernel, options, shift):
    x, weight = normal(shape, np.float32) + np.float32(shift), normal(kernel, np.float32, 1)
    bias = normal(kernel[-1], np.float32, 2)
    y, cache = functional.conv2d_forward(x, weight, bias, **options)
    dy = normal(y.shape, np.float32, 3) + np.float32(shift)
    found = y, *functional.conv2d_backward(dy, cache)

    def of_reference(function):
        arrays = [function(each.astype(np.float64)) for each in (x, weight, bias, dy)]
        true, cache = reference.conv2d_forward(*arrays[:3], **options)
        return true, *reference.conv2d_backward(arrays[3], cache)

    expected, terms = of_reference(np.asarray), of_reference(np.abs)
    for one, true, size in zip(found, expected, terms, strict=True):
        assert (abs(one - true) / size).max() < 1e-6
    # Of so many, dbias is summed by sixteen in float32, then in float64.
    exact = dy.astype(np.longdouble).sum((0, 1, 2))
    error = abs(found[-1] - exact) - 0.51 * np.spacing(abs(found[-1]))
    assert (error <= 3e-9 * terms[-1]).all()


def test_of_few_values_dbias_is_exact():
    y, cache = functional.conv2d_forward(
        normal((60, 14, 14, 2), np.float32),
        normal((3, 3, 2, 2), np.float32),
        np.zeros(2, np.float32),
    )
    dy = normal(y.shape, np.float32) * np.float32(1000)
    exact = dy.astype(np.longdouble).sum((0, 1, 2)).astype(np.float32)
    np.testing.assert_array_equal(functional.conv2d_backward(dy, cache)[2], exact)


# A network


def images_network(dtype=np.float64):
    rng = np.random.default_rng(0)

    def conv(channels, filters, **options):
        return Conv2D(channels, filters, 3, rng=rng, dtype=dtype, **options)

    return Sequential(
        [
            conv(1, 4, use_bias=False),
            BatchNorm(4, dtype=dtype),
            ReLU(),
            conv(4, 4, stride=2, padding="valid"),
            BatchNorm(4, dtype=dtype),
            Residual(
                [
                    conv(4, 4, groups=2, dilation=(1, 2)),
                    BatchNorm(4, dtype=dtype),
                    ReLU(),
                    conv(4, 4),
                ]
            ),
            BatchNorm(4, dtype=dtype),
            GlobalAvgPool2D(),
        ]
    )


def test_gradients_of_a_network():
    assert gradient_check(images_network(), normal((4, 8, 7, 1)), np.array([0, 1, 2, 3]))


def test_batch_norm_is_folded_into_it(dtype, assert_close):
    network, x = images_network(dtype), normal((9, 8, 8, 1), dtype)
    for seed in range(3):
        network.forward(3 + normal((9, 8, 8, 1), dtype, seed), training=True)
    for name, value in network.parameters.items():
        if "gamma" in name or "beta" in name:
            value[...] = normal(value.shape, dtype, 5)
    folded = network.fold_batch_norm()
    kinds = [type(each).__name__ for each in folded.layers]
    # The last BatchNorm is behind x + f(x), which has no weights.
    assert kinds == ["Conv2D", "ReLU", "Conv2D", "Residual", "BatchNorm", "GlobalAvgPool2D"]
    assert [type(each).__name__ for each in folded[3].layers] == ["Conv2D", "ReLU", "Conv2D"]
    assert (folded[2].stride, folded[2].padding) == ((2, 2), "valid")
    assert (folded[3][0].groups, folded[3][0].dilation) == (2, (1, 2))
    assert_close(folded.forward(x), network.forward(x), units=100)
    found = folded.predict_probabilities(x)
    assert_close(found, network.predict_probabilities(x), units=100)


def test_population_statistics_are_the_exact_ones_of_all_images():
    network, images = images_network(), normal((50, 8, 8, 1)) + 2
    network.recompute_population(images, batch_size=7)
    for norm, before in ((1, 1), (4, 4), (6, 6)):
        x = Sequential(copy.deepcopy(network.layers[:before])).forward(images)
        np.testing.assert_allclose(network[norm].population_mean, x.mean((0, 1, 2)), rtol=1e-10)
        np.testing.assert_allclose(network[norm].population_variance, x.var((0, 1, 2)), rtol=1e-10)
    within = Sequential(copy.deepcopy([*network.layers[:5], network[5][0]])).forward(images)
    np.testing.assert_allclose(network[5][1].population_mean, within.mean((0, 1, 2)), rtol=1e-10)
    np.testing.assert_allclose(network[5][1].population_variance, within.var((0, 1, 2)), rtol=1e-10)


def test_they_are_taken_in_bounded_memory():
    network = Sequential([Conv2D(1, 32, 3, rng=0), BatchNorm(32), ReLU(), GlobalAvgPool2D()])
    images = normal((600, 28, 28, 1), np.float32)
    # What reaches the BatchNorm is 57 MiB.
    assert memory_of(lambda: network.recompute_population(images))[1] < 32 * MIB
    assert memory_of(lambda: network.predict(images))[1] < 32 * MIB


def test_a_batch_norm_of_images_has_one_mean_a_channel():
    """Two traps: statistics over axis 0 alone, one a pixel; and those that keep their axes."""
    x = normal((6, 5, 4, 3)) * [1, 2, 3] + np.arange(20).reshape(5, 4, 1)
    norm = BatchNorm(3, momentum=0, epsilon=0, dtype=np.float64)
    y = norm.forward(x, training=True)
    for mean in (norm.batch_mean, norm.population_mean):
        assert mean.shape == (3,) != x.mean(0).shape
        np.testing.assert_allclose(mean, x.mean((0, 1, 2)), rtol=1e-12)
    for variance in (norm.batch_variance, norm.population_variance):
        assert variance.shape == (3,)
        np.testing.assert_allclose(variance, x.var((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(
        y, (x - x.mean((0, 1, 2))) / x.std((0, 1, 2)), rtol=1e-10, atol=1e-12
    )
    a_pixel = (x - x.mean(0)) / x.std(0)
    assert abs(y - a_pixel).max() > 0.5
    # A channel of one image is as many values as it has pixels: the place does not matter.
    np.testing.assert_allclose(norm.forward(x.reshape(6, 20, 1, 3)), y.reshape(6, 20, 1, 3))
    assert {each.shape for each in norm.parameters.values()} == {(3,)}
    assert {each.shape for each in norm.state.values()} == {(3,)}
    dy = normal(y.shape, seed=1)
    dx = norm.forward(x, training=True) is not None and norm.backward(dy)
    assert abs(dx.sum((0, 1, 2))).max() < 1e-10 < abs(dx.sum(0)).max()
    np.testing.assert_allclose(norm.gradients["beta"], dy.sum((0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(norm.gradients["gamma"], (dy * y).sum((0, 1, 2)), rtol=1e-9)


# An infinity in x, at (row, column), which most of these windows do not see

UNSEEN = {
    "between kernels": (lambda: Conv2D(1, 2, 1, stride=2, rng=0), (1, 0)),
    "between larger ones": (lambda: Conv2D(1, 2, 2, stride=3, padding="valid", rng=0), (0, 2)),
    "left over": (lambda: Conv2D(1, 2, 2, stride=2, padding="valid", rng=0), (4, 1)),
    "between their pixels": (lambda: Conv2D(1, 2, 2, dilation=3, padding="valid", rng=0), (2, 1)),
    "seen": (lambda: Conv2D(1, 2, 3, rng=0), (1, 1)),
}


@pytest.mark.parametrize(("make", "place"), UNSEEN.values(), ids=UNSEEN)
@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_one_that_no_window_sees_is_refused_in_training_all_the_same(make, place, value):
    x = normal((3, 5, 5, 1), np.float32)
    x[(1, *place)] = value
    for network in (
        Sequential([make(), BatchNorm(2)]),
        Sequential([MaxPool2D(1, stride=2), Conv2D(1, 2, 1, rng=0), BatchNorm(2)]),
    ):
        before = network.state["1.population_mean" if len(network) == 2 else "2.population_mean"]
        kept = before.copy()
        with pytest.raises(ValueError, match="expected finite values in training"):
            network.forward(x, training=True)
        np.testing.assert_array_equal(before, kept)


# What is refused


WRONG = {
    "channels first": (
        lambda: Conv2D(1, 32, 3).forward(zeros(60, 1, 28, 28)),
        "Conv2D(1, 32, 3): expected (..., 1), got (60, 1, 28, 28): if axis 1 has the features, "
        "pass np.moveaxis(x, 1, -1)",
    ),
    "colours first": (
        lambda: Conv2D(3, 8, 3).forward(zeros(6, 3, 32, 32)),
        "Conv2D(3, 8, 3): expected (..., 3), got (6, 3, 32, 32): if axis 1 has the features, "
        "pass np.moveaxis(x, 1, -1)",
    ),
    "rows": (
        lambda: Conv2D(1, 32, 3).forward(zeros(60, 784)),
        "Conv2D(1, 32, 3): expected images (N, H, W, C), got (60, 784): pass x.reshape(-1, 28, 28, "
        "1) if they have one channel",
    ),
    "rows that are no square": (
        lambda: Conv2D(3, 32, 3).forward(zeros(60, 3072)),
        "Conv2D(3, 32, 3): expected images (N, H, W, C), got (60, 3072)",
    ),
    "no channels": (
        lambda: Conv2D(1, 32, 3).forward(zeros(60, 28, 28)),
        "Conv2D(1, 32, 3): expected images (N, H, W, C), got (60, 28, 28): pass x[..., np.newaxis] "
        "if they have one channel, x[np.newaxis] if it is one image",
    ),
    "one image": (
        lambda: functional.conv2d_forward(zeros(28, 28, 3), zeros(3, 3, 3, 2)),
        "x: expected images (N, H, W, C), got (28, 28, 3): pass x[..., np.newaxis] if they have "
        "one channel, x[np.newaxis] if it is one image",
    ),
    "a kernel larger than the image": (
        lambda: Conv2D(1, 2, 5, padding="valid").forward(zeros(2, 4, 8, 1)),
        "Conv2D(1, 2, 5, padding='valid'): expected images (N, H, W, C) of at least 5 x 5 pixels, "
        "got 4 x 8",
    ),
    "its reach": (
        lambda: Conv2D(1, 2, 3, padding=(1, 5), dilation=4).forward(zeros(2, 6, 1, 1)),
        "Conv2D(1, 2, 3, padding=(1, 5), dilation=4): expected images (N, H, W, C) of at least "
        "7 x 1 pixels, got 6 x 1",
    ),
    "groups": (
        lambda: Conv2D(6, 8, 3, groups=4),
        "groups: expected a divisor of the 6 channels, got 4",
    ),
    "groups of filters": (
        lambda: Conv2D(8, 6, 3, groups=4),
        "groups: expected a divisor of the 6 filters, got 4",
    ),
    "no groups": (lambda: Conv2D(8, 6, 3, groups=0), "groups: expected at least 1, got 0"),
    "a word in capitals": (
        lambda: Conv2D(1, 2, 3, padding="SAME"),
        'padding: expected "same", "valid" or numbers of pixels, got \'SAME\'',
    ),
    "a word of others": (
        lambda: functional.conv2d_forward(zeros(1, 5, 5, 1), zeros(3, 3, 1, 1), padding="full"),
        'padding: expected "same", "valid" or numbers of pixels, got \'full\'',
    ),
    "less padding than none": (
        lambda: Conv2D(1, 2, 3, padding=-1),
        "padding: expected at least 0, got -1",
    ),
    "paddings of three axes": (
        lambda: Conv2D(1, 2, 3, padding=(1, 2, 3)),
        "padding: expected a number, or 2 (one an axis), each a number or a pair (before, after), "
        "got (1, 2, 3)",
    ),
    "no pair": (
        lambda: Conv2D(1, 2, 3, padding=((1, 2, 3), 1)),
        "padding: expected a number, or 2 (one an axis), each a number or a pair (before, after), "
        "got ((1, 2, 3), 1)",
    ),
    "a kernel of three axes": (
        lambda: Conv2D(1, 2, (3, 3, 3)),
        "kernel_size: expected a number, or 2 (one an axis), got (3, 3, 3)",
    ),
    "no kernel": (lambda: Conv2D(1, 2, 0), "kernel_size: expected at least 1, got 0"),
    "no stride": (lambda: Conv2D(1, 2, 3, stride=0), "stride: expected at least 1, got 0"),
    "no dilation": (
        lambda: Conv2D(1, 2, 3, dilation=(1, 0)),
        "dilation: expected at least 1, got 0",
    ),
    "weight of a layer": (
        lambda: Conv2D(1, 2, 3, weight=zeros(2, 1, 3, 3)),
        "weight: expected shape (3, 3, 1, 2), got (2, 1, 3, 3)",
    ),
    "PyTorch's weight": (
        lambda: functional.conv2d_forward(zeros(2, 8, 8, 4), zeros(8, 4, 3, 3)),
        "weight: expected (height, width, 4, out), got (8, 4, 3, 3): if out comes first, pass "
        "weight.transpose(2, 3, 1, 0)",
    ),
    "weight of all groups": (
        lambda: functional.conv2d_forward(zeros(2, 8, 8, 4), zeros(3, 3, 4, 8), groups=2),
        "weight: expected (height, width, 2, out), got (3, 3, 4, 8)",
    ),
    "bias": (
        lambda: functional.conv2d_forward(zeros(2, 8, 8, 4), zeros(3, 3, 4, 8), zeros(7)),
        "bias: expected shape (8,), got (7,)",
    ),
}


def zeros(*shape):
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_told(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Conv2D(1, 32), "missing 1 required positional argument: 'kernel_size'"),
        (lambda: Conv2D(1, 32, 3, 2), "expected 3 .*, got 4: name the others, stride=, padding="),
        (lambda: Conv2D(1, 2, 3.0), "kernel_size: expected a whole number, got float 3.0"),
        (lambda: Conv2D(1, 2, 3, padding=None), 'padding: expected "same", "valid" or numbers'),
        (lambda: Conv2D(1, 2, 3, padding=0.5), "padding: expected a whole number, got float 0.5"),
        (lambda: Conv2D(1, 2, 3, padding=True), "padding: expected a whole number, got bool True"),
    ],
)
def test_what_is_of_a_wrong_type_is_told(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_a_network_says_where():
    network = Sequential([Conv2D(1, 4, 3, rng=0), Conv2D(3, 4, 3, rng=1)])
    with pytest.raises(ValueError, match=r"^layer 1, Conv2D\(3, 4, 3\): expected \(\.\.\., 3\)"):
        network.forward(zeros(2, 5, 5, 1))
    network = Sequential([MaxPool2D(4), Residual([Conv2D(1, 1, 3, padding="valid", rng=0)])])
    with pytest.raises(ValueError, match=r"^layer 1\.0, Conv2D.*: expected images .* 3 x 3 pixels"):
        network.predict(zeros(2, 8, 8, 1))


@pytest.mark.parametrize(
    "text",
    [
        "Conv2D(3, 4, 5)",
        "Conv2D(3, 4, (5, 3))",
        "Conv2D(3, 4, 1, stride=2, padding='valid', dilation=(1, 2))",
        "Conv2D(4, 4, 3, padding=1, groups=2, use_bias=False)",
        "Conv2D(3, 4, 3, padding=(1, 0))",
        "Conv2D(3, 4, 3, padding=((1, 0), (0, 2)))",
        "Conv2D(3, 4, 3, padding=((1, 0), (1, 0)))",
        "Conv2D(3, 4, 3, padding=((1, 0), 2))",
    ],
)
def test_repr_is_what_makes_the_layer(text):
    layer = eval(text)
    again = eval(repr(layer))
    for name in ("kernel_size", "stride", "padding", "dilation", "groups", "use_bias"):
        assert getattr(again, name) == getattr(layer, name)
    assert again.weight.shape == layer.weight.shape
    assert repr(again) == repr(layer)


def test_weights_drawn_keep_the_variance():
    for groups, size in ((1, 3), (4, 5)):
        layer = Conv2D(32, 64, size, groups=groups, rng=0)
        std = np.sqrt(2 / (size * size * 32 / groups))
        assert abs(layer.weight.std() / std - 1) < 0.02
        assert not layer.bias.any()
