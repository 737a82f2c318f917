"""What the corpus says of each derivation, held against formulas and differences of its own."""

from collections import Counter

import numpy as np
import pytest
from scipy.signal import correlate
from scipy.special import log_softmax

from derivations import derivations

CORPUS = derivations()
NAMES = [f"{each.like}-{each.name}" for each in CORPUS]


def normalized(x, gamma, beta, axis, epsilon):
    """Gamma (x - mean) / sqrt(variance + epsilon) + beta."""
    mean = np.sum(x, axis, keepdims=True) / x.shape[axis]
    variance = np.sum(np.square(x - mean), axis, keepdims=True) / x.shape[axis]
    return gamma * (x - mean) / np.sqrt(variance + epsilon) + beta


def convolved(x, weight, bias, padding):
    """Each image's correlation with each kernel, over all channels at once."""
    if padding == "valid":
        padding = 0
    x = np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    images = [
        [correlate(image, kernel, "valid")[..., 0] for kernel in np.moveaxis(weight, -1, 0)]
        for image in x
    ]
    return np.moveaxis(np.array(images), 1, -1) + bias


FORMULAS = {
    "batch_norm": lambda *arrays, epsilon: normalized(*arrays, 0, epsilon),
    "layer_norm": lambda *arrays, epsilon: normalized(*arrays, -1, epsilon),
    "dense": lambda x, weight, bias: np.tensordot(x, weight, 1) + bias,
    "conv2d": convolved,
    "softmax_cross_entropy": lambda logits, labels: (
        -np.mean(np.take_along_axis(log_softmax(logits, -1), labels[:, None], -1))
    ),
}


def differences(forward, arrays, which, upstream, step):
    """The gradient of sum(upstream * y), of fourth order in step."""
    gradient = np.zeros(arrays[which].shape)
    for place in np.ndindex(gradient.shape):
        for steps, weight in ((-2, 1 / 12), (-1, -2 / 3), (1, 2 / 3), (2, -1 / 12)):
            moved = [each.copy() for each in arrays]
            moved[which][place] += steps * step
            gradient[place] += weight * np.sum(upstream * forward(*moved)[0]) / step
    return gradient


def error(given, true):
    """The largest difference, in the largest number of the two; infinite if their shapes differ."""
    given = np.asarray(given, float)
    if given.shape != np.shape(true):
        return np.inf
    largest = max(np.abs(given).max(), np.abs(true).max())
    return np.abs(given - true).max() / largest if largest else 0.0


def errors_and_overwritten(each, rng):
    """The error of each result, and which arguments do not come back as they went in."""
    operation = each.operation
    forward, backward = each.functions()

    earlier, cache = forward(*each.arrays(rng))
    backward(rng.normal(size=np.shape(earlier)), cache)

    arrays = each.arrays(rng)
    given = [array.copy() for array in arrays]
    y, cache = forward(*given)
    y = np.array(y, float)
    upstream = rng.normal(size=y.shape)
    given_upstream = upstream.copy()
    gradients = backward(given_upstream, cache)
    if len(operation.gradients) == 1:
        gradients = [gradients]
    assert len(gradients) == len(operation.gradients)

    errors = {operation.result: error(y, FORMULAS[each.like](*arrays, **each.options))}
    for which, name in enumerate(operation.gradients):
        true = differences(forward, arrays, which, upstream, 1e-2 if each.single else 1e-3)
        errors[name] = error(gradients[which], true)
    before = dict(zip(operation.arguments, arrays, strict=True), **{operation.upstream: upstream})
    after = [*given, given_upstream]
    overwritten = {
        name
        for (name, old), new in zip(before.items(), after, strict=True)
        if not np.array_equal(old, new)
    }
    return errors, overwritten


@pytest.mark.parametrize("each", CORPUS, ids=NAMES)
def test_what_is_said_of_it_is_so(each):
    errors, overwritten = errors_and_overwritten(each, np.random.default_rng(0))
    right = 1e-4 if each.single else 1e-10
    assert {name for name, size in errors.items() if not size <= right} == each.wrong, errors
    for name in each.wrong:
        assert errors[name] > 1000 * right, f"{name} is too little wrong to tell: {errors[name]}"
    assert overwritten == each.overwritten


def test_the_corpus_is_whole():
    wrong = Counter(each.like for each in CORPUS if each.truth)
    right = Counter(each.like for each in CORPUS if not each.truth)
    others = ("dense", "softmax_cross_entropy", "layer_norm", "conv2d")
    assert wrong == {"batch_norm": 40} | dict.fromkeys(others, 10)
    assert right == {"batch_norm": 20} | dict.fromkeys(others, 3)
    assert Counter(each.mistakes for each in CORPUS if each.like == "batch_norm") == {
        0: 20,
        1: 35,
        2: 5,
    }
    assert len(set(NAMES)) == len(CORPUS)


@pytest.mark.parametrize("each", CORPUS, ids=NAMES)
def test_every_line_is_about_a_result_or_an_argument(each):
    assert set(each.truth) == each.wrong | each.overwritten
