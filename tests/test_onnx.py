"""The node tests that ONNX carries: npbn computes what others say that it should.

One call of npbn a case, with nothing around it but moved axes: channels come last here.
"""

import warnings

import numpy as np
import pytest

from npbn import BatchNorm, Dense, Dropout, functional


def last(x):
    """The channels, ONNX's second axis, moved to the end."""
    return np.moveaxis(x, 1, -1)


def second(y):
    return np.moveaxis(y, -1, 1)


# What is called for a node: call(outputs, *inputs, **attributes) -> the outputs, of which there are
# so many. The defaults are ONNX's.


def activation(function):
    return lambda outputs, x: function(x)[:1]


def leaky_relu(outputs, x, *, alpha=0.01):
    return functional.leaky_relu_forward(x, slope=alpha)[:1]


def batch_normalization(
    outputs, x, gamma, beta, mean, variance, *, epsilon=1e-5, momentum=0.9, training_mode=0
):
    if not training_mode:
        y = functional.batch_norm_inference(last(x), gamma, beta, mean, variance, epsilon=epsilon)
        return (second(y),)
    layer = BatchNorm(len(gamma), momentum=momentum, epsilon=epsilon)
    layer.gamma, layer.beta = gamma, beta
    layer.population_mean, layer.population_variance = mean, variance
    y = layer.forward(last(x), training=True)
    return second(y), layer.population_mean, layer.population_variance


def dropout(outputs, x, ratio=0.5, training=False, *, seed=0):
    if outputs == 1:
        return (Dropout(float(ratio), rng=seed).forward(x, training=bool(training)),)
    # Of what inference does, to drop nothing, this is the call that says so.
    y, cache = functional.dropout_forward(x, rate=float(ratio) if training else 0.0, rng=seed)
    return y, cache.mask


def gemm(outputs, a, b, c=None, *, transA=0, transB=0):
    a, b = a.T if transA else a, b.T if transB else b
    layer = Dense(*b.shape, use_bias=c is not None, weight=b)
    if c is not None:
        layer.parameters["bias"][...] = c  # (), (1,) or (1, n)
    return (layer.forward(a),)


def group_normalization(outputs, x, gamma, beta, *, num_groups, epsilon=1e-5):
    y, _ = functional.group_norm_forward(last(x), gamma, beta, groups=num_groups, epsilon=epsilon)
    return (second(y),)


def instance_normalization(outputs, x, gamma, beta, *, epsilon=1e-5):
    return (second(functional.instance_norm_forward(last(x), gamma, beta, epsilon=epsilon)[0]),)


def layer_normalization(outputs, x, gamma, beta, *, axis=-1, epsilon=1e-5):
    # With axis, all axes from it on are normalized: gamma has as many, where npbn's has one.
    y, cache = functional.layer_norm_forward(x, gamma, beta, epsilon=epsilon)
    return y, cache.mean, cache.inverse_std


def over_axis(function):
    def call(outputs, x, *, axis=-1):
        return (np.moveaxis(function(np.moveaxis(x, axis, -1)), -1, axis),)

    return call


def of_labels(function):
    def call(outputs, scores, labels, weights=None, *, reduction="mean", ignore_index=None):
        options = {"return_log_probabilities": True} if outputs == 2 else {}
        loss, _, *log_p = function(
            last(scores),
            labels,
            class_weights=weights,
            ignored_label=ignore_index,
            reduction=reduction,
            **options,
        )
        return loss, *map(second, log_p)

    return call


def windows(x, size, *, strides=None, dilations=None, pads=None, auto_pad="NOTSET", ceil_mode=0):
    """What npbn calls the attributes of windows over x."""
    axes, padding = len(size), []
    strides, dilations = strides or [1] * axes, dilations or [1] * axes
    pads = pads or [0] * 2 * axes
    sizes = x.shape[1:-1], size, strides, dilations, pads[:axes], pads[axes:]
    for n, k, s, d, before, after in zip(*sizes, strict=True):
        reach = d * (k - 1) + 1
        if auto_pad == "SAME_LOWER":
            # As "same", but where the padding is odd there is more of it before.
            total = max(reach - 1 - (n - 1) % s, 0)
            before, after = total - total // 2, total // 2
        start = n + before + after - reach
        if ceil_mode and start + -start % s < n + before:
            # One window more, which begins within x and hangs over.
            after += -start % s
        padding.append((before, after))
    if auto_pad == "SAME_UPPER":
        padding = "same"
    return {"stride": strides, "dilation": dilations, "padding": padding}


def conv(outputs, x, weight, bias=None, *, kernel_shape, group=1, **attributes):
    x, weight = last(x), weight.transpose(2, 3, 1, 0)
    options = windows(x, kernel_shape, **attributes)
    y, _ = functional.conv2d_forward(x, weight, bias, groups=group, **options)
    return (second(y),)


def max_pool(outputs, x, *, kernel_shape, **attributes):
    x = last(x)
    options = windows(x, kernel_shape, **attributes)
    y, _ = functional.max_pool_forward(x, size=kernel_shape, **options)
    return (second(y),)


def average_pool(outputs, x, *, kernel_shape, count_include_pad=0, **attributes):
    x = last(x)
    options = windows(x, kernel_shape, **attributes) | {"count_padding": bool(count_include_pad)}
    y, _ = functional.average_pool_forward(x, size=kernel_shape, **options)
    return (second(y),)


def global_average_pool(outputs, x):
    # y is (N, C, 1, 1): an average pool, says ONNX, whose window is as large as x.
    return average_pool(outputs, x, kernel_shape=x.shape[2:])


def over_time(x, weight, recurrent, bias, sequence_lens, order, hidden_size, direction, layout):
    """What npbn calls the inputs: ONNX has two biases, which are added, and its gates in an order.

    ONNX has the steps first, but for layout 1; reversed, a sequence is read from its end.
    """
    assert sequence_lens is None
    assert direction in ("forward", "reverse")
    x = x if layout else x.swapaxes(0, 1)
    turned = [
        each[0].reshape(-1, hidden_size, each.shape[-1])[order] for each in (weight, recurrent)
    ]
    weights = [each.reshape(-1, each.shape[-1]).T for each in turned]
    if bias is None:
        bias = np.zeros((1, 2 * weights[0].shape[1]), x.dtype)
    both = bias[0].reshape(2, -1, hidden_size)[:, order].sum(0)
    return x[:, ::-1] if direction == "reverse" else x, *weights, both.reshape(-1)


def states_of(y, direction, layout):
    """The outputs Y, which has an axis of directions, and Y_h, for an npbn y."""
    last_state = y[:, -1]
    y = y[:, ::-1] if direction == "reverse" else y
    if layout:
        return y[:, :, np.newaxis], last_state[:, np.newaxis]
    return y.swapaxes(0, 1)[:, np.newaxis], last_state[np.newaxis]


def rnn(outputs, x, weight, recurrent, bias=None, lengths=None, *, hidden_size, **options):
    options = {"direction": "forward", "layout": 0} | options
    given = over_time(x, weight, recurrent, bias, lengths, [0], hidden_size, **options)
    y, _ = functional.rnn_forward(*given)
    return states_of(y, **options)


def lstm(outputs, x, weight, recurrent, bias=None, *, hidden_size, **options):
    options = {"direction": "forward", "layout": 0} | options
    # ONNX has i, o, f, g.
    given = over_time(x, weight, recurrent, bias, None, [0, 2, 3, 1], hidden_size, **options)
    y, cache = functional.lstm_forward(*given)
    return *states_of(y, **options), states_of(cache.cell, **options)[1]


CALLS = {
    "AveragePool": average_pool,
    "BatchNormalization": batch_normalization,
    "Conv": conv,
    "Dropout": dropout,
    "Gemm": gemm,
    "GlobalAveragePool": global_average_pool,
    "GroupNormalization": group_normalization,
    "InstanceNormalization": instance_normalization,
    "LayerNormalization": layer_normalization,
    "LSTM": lstm,
    "LeakyRelu": leaky_relu,
    "LogSoftmax": over_axis(functional.log_softmax),
    "MaxPool": max_pool,
    "NegativeLogLikelihoodLoss": of_labels(functional.negative_log_likelihood),
    "RNN": rnn,
    "Relu": activation(functional.relu_forward),
    "Sigmoid": activation(functional.sigmoid_forward),
    "Softmax": over_axis(functional.softmax),
    "SoftmaxCrossEntropyLoss": of_labels(functional.softmax_cross_entropy),
    "Tanh": activation(functional.tanh_forward),
}

TWICE = "two directions are two layers, whose outputs are put side by side"
ALONE = "x is one example, (3,): npbn takes batches, of two axes or more"
DRAWN = "which values are kept is drawn by np.random.seed(0), not by a Generator"
PLACES = "it asks for the places of the largest, which max_pool_forward does not return"
LAST_AXES = "several of the last axes are normalized together, LayerNorm takes the last one alone"
SCALED = "alpha and beta are no arguments of Dense"
# What npbn does not compute -> why.
LISTED = {
    "test_averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True": (
        "what hangs over the padding is not counted, the padding is: count_padding counts both"
    ),
    "test_dropout_default_old": ALONE,
    "test_leakyrelu_example": ALONE,
    "test_lstm_bidirectional": TWICE,
    "test_lstm_with_peepholes": "the gates do not see the cell: Gers & Schmidhuber's peepholes",
    "test_sigmoid_example": ALONE,
    "test_simple_rnn_bidirectional": TWICE,
    "test_tanh_example": ALONE,
    "test_training_dropout": DRAWN,
    "test_training_dropout_default": DRAWN,
    "test_training_dropout_default_mask": DRAWN,
    "test_training_dropout_mask": DRAWN,
    "test_gemm_all_attributes": SCALED,
    "test_gemm_alpha": SCALED,
    "test_gemm_beta": SCALED,
    "test_gemm_default_matrix_bias": "C is (3, 4), Dense has one bias a column",
    "test_layer_normalization_2d_axis0": LAST_AXES,
    "test_layer_normalization_2d_axis_negative_2": LAST_AXES,
    "test_layer_normalization_3d_axis0_epsilon": LAST_AXES,
    "test_layer_normalization_3d_axis1_epsilon": LAST_AXES,
    "test_layer_normalization_3d_axis_negative_2_epsilon": LAST_AXES,
    "test_layer_normalization_3d_axis_negative_3_epsilon": LAST_AXES,
    "test_layer_normalization_4d_axis0": LAST_AXES,
    "test_layer_normalization_4d_axis1": LAST_AXES,
    "test_layer_normalization_4d_axis2": LAST_AXES,
    "test_layer_normalization_4d_axis_negative_2": LAST_AXES,
    "test_layer_normalization_4d_axis_negative_3": LAST_AXES,
    "test_layer_normalization_4d_axis_negative_4": LAST_AXES,
    "test_maxpool_2d_uint8": "x is uint8: npbn computes in float32 and float64",
    "test_maxpool_with_argmax_2d_precomputed_pads": PLACES,
    "test_maxpool_with_argmax_2d_precomputed_strides": PLACES,
}


@pytest.fixture(scope="module")
def cases():
    """The node tests of these operations, by name; a test of several nodes is an expanded one."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reason = "ONNX is the oracle here, and is not installed"
        pytest.importorskip("onnx", minversion="1.23", reason=reason)
        from onnx.backend.test import loader

        tests = loader.load_model_tests(kind="node")
    nodes = {each.name: list(each.model.graph.node) for each in tests}
    return {
        each.name: each
        for each in tests
        if len(nodes[each.name]) == 1 and nodes[each.name][0].op_type in CALLS
    }


def run(case):
    """AssertionError, or whatever npbn raises, unless it computes what the case says."""
    from onnx.helper import get_attribute_value

    (node,) = case.model.graph.node
    attributes = {each.name: get_attribute_value(each) for each in node.attribute}
    for name, value in attributes.items():
        attributes[name] = value.decode() if isinstance(value, bytes) else value
    names = [each.name for each in case.model.graph.input]
    for arrays, outputs in case.data_sets:
        given = dict(zip(names, arrays, strict=True))
        inputs = [given.get(name) for name in node.input]
        found = CALLS[node.op_type](len(node.output), *inputs, **attributes)
        # An output without a name is not wanted; those behind the last one are left out.
        found = [one for one, name in zip(found, node.output, strict=False) if name]
        for one, expected in zip(found, outputs, strict=True):
            # A reduced loss is a Python float.
            one = np.asarray(one, expected.dtype) if type(one) is float else one
            np.testing.assert_allclose(one, expected, rtol=case.rtol, atol=case.atol, strict=True)


@pytest.mark.parametrize("operation", CALLS)
def test_npbn_computes_what_a_node_test_says(operation, cases):
    for name, case in cases.items():
        if case.model.graph.node[0].op_type == operation and name not in LISTED:
            try:
                run(case)
            except Exception as error:
                error.add_note(name)
                raise


def test_what_is_listed_is_what_npbn_does_not_compute(cases):
    assert LISTED.keys() <= cases.keys()
    assert len(cases) == 183
    assert len(cases) - len(LISTED) == 152
    for name in LISTED:
        with pytest.raises((AssertionError, TypeError, ValueError)):
            run(cases[name])
