"""scikit-learn's multilayer perceptron: it has no batch norm, so it enters only without."""

import numpy as np
from sklearn.neural_network import MLPClassifier

from benchmarks.peers import base
from benchmarks.peers.base import LEARNING_RATE, Array
from benchmarks.timing import Task

NAME = "scikit-learn MLP"


def _classifier(values, images, labels):
    widths = [values[f"weight{place}"].shape[1] for place in range(base.depth(values))]
    classifier = MLPClassifier(
        tuple(widths[:-1]),
        solver="sgd",
        learning_rate_init=LEARNING_RATE,
        momentum=0,
        nesterovs_momentum=False,
        alpha=0,
        batch_size=len(images),
        shuffle=False,
    )
    # The first call makes the arrays, which are then ours to fill.
    classifier.partial_fit(images, labels, classes=np.arange(widths[-1]))
    for place in range(len(widths)):
        classifier.coefs_[place][...] = values[f"weight{place}"]
        classifier.intercepts_[place][...] = values[f"bias{place}"]
    return classifier


class SklearnPeer(base.Peer):
    """MLPClassifier.partial_fit, one batch a call."""

    library = "sklearn"

    def steps(self, setup: base.Setup) -> dict[str, Task]:
        if setup.batch_norm:
            return {}
        classifier = _classifier(setup.values, *setup.batches[0])

        def step(images, labels):
            classifier.partial_fit(images, labels)
            return classifier.loss_

        def values():
            arrays = {f"weight{i}": each for i, each in enumerate(classifier.coefs_)}
            return arrays | {f"bias{i}": each for i, each in enumerate(classifier.intercepts_)}

        return {NAME: base.training_task(setup, step, setup.batches, values)}

    def evaluations(self, values: base.Values, images: Array):
        if "gamma0" in values:
            return {}
        classifier = _classifier(values, images[:10], np.arange(10))
        return {NAME: lambda: classifier.predict(images)}
