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
        layer.parameters["bias"][...] = c
    return (layer.forward(a),)


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


CALLS = {
    "BatchNormalization": batch_normalization,
    "Dropout": dropout,
    "Gemm": gemm,
    "LeakyRelu": leaky_relu,
    "LogSoftmax": over_axis(functional.log_softmax),
    "NegativeLogLikelihoodLoss": of_labels(functional.negative_log_likelihood),
    "Relu": activation(functional.relu_forward),
    "Sigmoid": activation(functional.sigmoid_forward),
    "Softmax": over_axis(functional.softmax),
    "SoftmaxCrossEntropyLoss": of_labels(functional.softmax_cross_entropy),
    "Tanh": activation(functional.tanh_forward),
}

ALONE = "x is one example, (3,): npbn takes batches, of two axes or more"
DRAWN = "which values are kept is drawn by np.random.seed(0), not by a Generator"
SCALED = "alpha and beta are no arguments of Dense"
# What npbn does not compute -> why.
LISTED = {
    "test_dropout_default_old": ALONE,
    "test_leakyrelu_example": ALONE,
    "test_sigmoid_example": ALONE,
    "test_tanh_example": ALONE,
    "test_training_dropout": DRAWN,
    "test_training_dropout_default": DRAWN,
    "test_training_dropout_default_mask": DRAWN,
    "test_training_dropout_mask": DRAWN,
    "test_gemm_all_attributes": SCALED,
    "test_gemm_alpha": SCALED,
    "test_gemm_beta": SCALED,
    "test_gemm_default_matrix_bias": "C is (3, 4), Dense has one bias a column",
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
    assert len(cases) == 101
    assert len(cases) - len(LISTED) == 89
    for name in LISTED:
        with pytest.raises((AssertionError, TypeError, ValueError)):
            run(cases[name])
