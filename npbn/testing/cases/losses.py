"""Softmax, its logarithm, and the losses, which are one function each."""

from typing import Any

import numpy as np

from npbn.testing.case import Case, Inputs, MakeInputs, Shape, normal


def _softmax(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return {"logits": 3 * normal(rng, shape, dtype)}


def _softmax_cross_entropy(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    logits = 3 * normal(rng, shape, dtype)
    return {"logits": logits, "labels": rng.integers(shape[-1], size=shape[:-1])}


def _with_options(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    inputs = _softmax_cross_entropy(rng, shape, dtype)
    labels = np.unique(inputs["labels"])
    return inputs | {
        "class_weights": rng.uniform(0.5, 2, shape[-1]).astype(dtype),
        "label_smoothing": 0.2,
        "ignored_label": int(inputs["labels"].flat[0]) if len(labels) > 1 else -1,
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


_OPTIONS: dict[str, Any] = {
    "is_loss": True,
    "shares": ("label_smoothing",),
    "variant": "with options",
}
_LIKELIHOOD = ("dlog_probabilities",)

CASES = (
    Case("softmax", _softmax),
    Case("log_softmax", _softmax),
    Case("softmax_cross_entropy", _softmax_cross_entropy, ("dlogits",), is_loss=True),
    Case(
        "softmax_cross_entropy",
        lambda *given: _with_options(*given) | {"return_log_probabilities": True},
        ("dlogits",),
        also=("log_probabilities",),
        **_OPTIONS,
    ),
    Case(
        "negative_log_likelihood",
        _likelihood(_softmax_cross_entropy),
        _LIKELIHOOD,
        is_loss=True,
    ),
    Case("negative_log_likelihood", _likelihood(_with_options), _LIKELIHOOD, **_OPTIONS),
    Case("squared_error", _squared_error, ("dy",), is_loss=True),
)
