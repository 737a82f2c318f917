"""gradient_check catches every wrong derivation of every operation in the table."""

import numpy as np
import pytest
from wrong_derivations import FEATURE_MAPS, OPERATIONS, Student, sets, x

from npbn import Sequential, Tanh, gradient_check
from npbn.testing import CASES

MISTAKES = {
    f"{operation}: {name}": (operation, mistake)
    for operation, (_, _, mistakes, _) in OPERATIONS.items()
    for name, mistake in mistakes.items()
}
FORWARDS = {
    f"{operation}: {name}": (operation, forward)
    for operation, (*_, forwards) in OPERATIONS.items()
    for name, forward in forwards.items()
}
MAPS = (2, 2, 2, 3)


def wrong_names(report):
    return {name for name, error in report.errors.items() if not error <= report.tolerance}


def changed(operation, mistake):
    """The arrays whose gradient a mistake changes by more than a rounding error."""
    gradients = []
    for layer in (Student(operation), Student(operation, mistake)):
        for factor in (1.1, 1):  # an earlier pass with other values, of the weights too
            layer.parameters.get("weight", np.ones(1))[...] *= factor
            y = layer.forward(factor * x())
            layer.parameters.get("weight", np.ones(1))[...] /= factor
        dx = layer.backward(np.random.default_rng(0).standard_normal(y.shape))
        gradients.append({"dx": dx} | {f"d({n})": v.copy() for n, v in layer.gradients.items()})
    right, wrong = gradients
    return {name for name in right if not np.allclose(right[name], wrong[name], rtol=1e-6)}


def test_every_operation_with_a_gradient_is_in_the_table():
    assert set(OPERATIONS) == set(CASES) - {"softmax"}


@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_right_derivation_passes(operation):
    assert (report := gradient_check(Student(operation), x())), report
    assert report.zeros == frozenset()


@pytest.mark.parametrize("case", MISTAKES)
def test_every_wrong_derivation_is_caught(case):
    operation, mistake = MISTAKES[case]
    report = gradient_check(Student(operation, mistake), x())
    assert not report
    assert wrong_names(report) == changed(operation, mistake)


@pytest.mark.parametrize("case", FORWARDS)
def test_every_wrong_forward_pass_is_caught(case):
    operation, forward = FORWARDS[case]
    assert not gradient_check(Student(operation, forward=forward), x())


def test_the_right_derivation_passes_with_feature_maps():
    assert gradient_check(Student("batch_norm"), x(MAPS))


@pytest.mark.parametrize("case", FEATURE_MAPS)
def test_what_is_wrong_with_feature_maps_alone_is_caught(case):
    report = gradient_check(Student("batch_norm", FEATURE_MAPS[case]), x(MAPS))
    assert not report
    assert wrong_names(report)


@pytest.mark.parametrize("operation", ["batch_norm", "dense"])
def test_in_a_network_too(operation):
    def network(mistake):
        return Sequential([Student("dense"), Student(operation, mistake), Tanh()])

    right = gradient_check(network(None), x())
    assert right, right
    for mistake in list(OPERATIONS[operation][2].values())[::3]:
        assert not gradient_check(network(mistake), x())


def test_a_mistake_that_is_none_would_be_seen_here():
    # The check of this check: an entry that changes nothing passes, and would fail its test.
    harmless = sets(dx=lambda p: p.dx + (p.dvariance * (-2 * p.centred).sum(0) / p.m) / p.m)
    assert changed("batch_norm", harmless) == set()
    assert gradient_check(Student("batch_norm", harmless), x())
