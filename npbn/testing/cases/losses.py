"""Softmax, its logarithm, and the losses, which are one function each."""

from typing import Any

import numpy as np

from npbn.testing.case import BATCHES, Case, Inputs, MakeInputs, Shape, normal


def _softmax(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return {"logits": 3 * normal(rng, shape, dtype)}


def _softmax_cross_entropy(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    rows, classes = int(np.prod(shape[:-1])), shape[-1]
    logits = 3 * normal(rng, (rows, classes), dtype)
    return {"logits": logits, "labels": rng.integers(classes, size=rows)}


def _with_options(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    inputs = _softmax_cross_entropy(rng, shape, dtype)
    return inputs | {
        "class_weights": rng.uniform(0.5, 2, shape[-1]).astype(dtype),
        "label_smoothing": 0.2,
        "ignored_label": int(inputs["labels"][0]) if len(set(inputs["labels"])) > 1 else -1,
        "reduction": "mean",
    }


def _likelihood(make: MakeInputs) -> MakeInputs:
    """The same inputs, the logits for log-probabilities: any numbers will do."""

    def inputs(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
        logits, *others = make(rng, shape, dtype).items()
        return {"log_probabilities": -abs(logits[1])} | dict(others)

    return inputs


def _squared_error(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return {"y": normal(rng, shape, dtype), "target": normal(rng, shape, dtype)}


_LABELLED: dict[str, Any] = {
    "shapes": tuple(shape for shape in BATCHES if len(shape) == 2),
    "is_loss": True,
}
_OPTIONS: dict[str, Any] = _LABELLED | {"shares": ("label_smoothing",), "variant": "with options"}
_LIKELIHOOD = ("dlog_probabilities",)

CASES = (
    Case("softmax", _softmax),
    Case("log_softmax", _softmax),
    Case("softmax_cross_entropy", _softmax_cross_entropy, ("dlogits",), **_LABELLED),
    Case("softmax_cross_entropy", _with_options, ("dlogits",), **_OPTIONS),
    Case("negative_log_likelihood", _likelihood(_softmax_cross_entropy), _LIKELIHOOD, **_LABELLED),
    Case("negative_log_likelihood", _likelihood(_with_options), _LIKELIHOOD, **_OPTIONS),
    Case("squared_error", _squared_error, ("dy",), is_loss=True),
)
