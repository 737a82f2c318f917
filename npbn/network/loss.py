"""A loss as one calls it, and what is known of it before its first call."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn import functional
from npbn._checks import Array
from npbn.layers.readers import in_callers_context

LossFunction = Callable[[Array, Array], tuple[Any, Array]]

_OF_LABELS = (functional.softmax_cross_entropy, functional.negative_log_likelihood)
_REGRESSION = "loss=functional.squared_error where these are no classes"


class Loss:
    """A function (outputs, targets) -> (loss, gradient), checked where it is a reader's.

    Of npbn's own, and of functools.partial of these with options, it is known which targets they
    take. TypeError or ValueError for what is no such function.
    """

    def __init__(self, function: Any) -> None:
        if not callable(function) or isinstance(function, type):
            raise TypeError(
                "loss: expected a function (outputs, targets) -> (loss, gradient), "
                f"functional.squared_error say, got {function!r:.60}"
            )
        self._function, self.options = function, {}
        if isinstance(function, partial) and not function.args:
            function, self.options = function.func, dict(function.keywords)
        self.takes_labels = function in _OF_LABELS
        self.is_own = self.takes_labels or function is functional.squared_error
        self.is_usual = function is functional.softmax_cross_entropy and not self.options
        self.ignored_label = self.options.get("ignored_label") if self.takes_labels else None
        if self.options.get("reduction") == "none" and self.is_own:
            raise ValueError('loss: expected one number a batch, got reduction="none"')
        if self.options.get("return_log_probabilities") and self.is_own:
            raise ValueError("loss: expected (loss, gradient), got return_log_probabilities=True")
        self.name = getattr(function, "__name__", type(function).__name__)

    @property
    def description(self) -> str:
        """Its name, and its options as far as they can be written down."""
        written = [f"{name}={_plain(value)}" for name, value in sorted(self.options.items())]
        return f"{self.name}({', '.join(written)})"

    def check(
        self,
        name: str,
        targets: Any,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        mask: Array | None = None,
    ) -> Array:
        """targets, if they go with outputs of this shape and type, and with a mask of steps."""
        if self.takes_labels:
            try:
                checks.labels_of(targets, shape, name, self.ignored_label)
            except TypeError as error:
                if isinstance(targets, np.ndarray) and targets.dtype.kind == "f":
                    raise TypeError(f"{error}, or {_REGRESSION}") from None
                raise
            checks.labels_behind_mask(name, targets, mask, self.ignored_label)
            # What is wrong with the options is told now as well.
            self._function(np.zeros((1, shape[-1]), dtype), np.zeros(1, np.intp))
        elif self.is_own:
            checks.float_array(name, targets)
            wanted = f"{name}: expected shape {shape} like the network's output, got"
            if targets.shape != shape:
                column = (*targets.shape, 1) == shape
                advice = f": pass {name}[:, np.newaxis]" if column else ""
                raise ValueError(f"{wanted} {targets.shape}{advice}")
            checks.same_dtype(np.empty(0, dtype), **{name: targets})
        else:
            if not isinstance(targets, np.ndarray) or not targets.ndim:
                kind = type(targets).__name__
                raise TypeError(f"{name}: expected an array of targets, got a {kind}")
            if len(targets) != shape[0]:
                raise ValueError(
                    f"{name}: expected {shape[0]} targets, one a row, got {len(targets)}"
                )
        return targets

    def labels_among(self, targets: Array, outputs: Array) -> bool:
        """Whether these targets are labels, and the outputs a score for each class."""
        if self.is_own:
            return self.takes_labels
        are_labels = targets.ndim == 1 and targets.dtype.kind in "iu"
        return are_labels and outputs.ndim == 2 and outputs.shape[1] > 1

    def __call__(self, outputs: Array, targets: Array) -> tuple[float, Array]:
        """The loss and its gradient; a reader's function runs as its caller would have it."""
        if self.is_own:
            return self._function(outputs, targets)
        result = in_callers_context(self._function, outputs, targets)
        if not isinstance(result, tuple) or len(result) != 2:
            raise TypeError(
                f"loss: expected (loss, gradient) from {self.name}, got {_kind(result)}: "
                "return the two"
            )
        loss, gradient = result
        if np.ndim(loss) or not isinstance(loss, float | int | np.number | np.ndarray):
            raise TypeError(
                f"loss: expected a number first from {self.name}, got {_kind(loss)}: "
                "return its mean over the batch"
            )
        name = f"gradient of {self.name}"
        checks.float_array(name, gradient)
        checks.has_shape(name, gradient, outputs.shape)
        if gradient.dtype != outputs.dtype:
            raise TypeError(
                f"{name}: expected {outputs.dtype} like the outputs, got {gradient.dtype}: "
                "return gradient.astype(outputs.dtype)"
            )
        return float(loss), gradient


def _kind(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    return f"a {type(value).__name__}"


def _plain(value: Any) -> str:
    if isinstance(value, np.ndarray | np.generic):
        return repr(value.tolist())
    if value is None or isinstance(value, bool | int | float | str):
        return repr(value)
    return getattr(value, "__qualname__", type(value).__qualname__)
