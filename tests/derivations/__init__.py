"""Derivations as students write them, wrong and right, on which the check of derivations is tried.

They were written without a look at the table of known mistakes, by someone else than the check, so
that what the check finds and names here, it was not fitted to. Do not bend them to the check.

A derivation is a function that returns a new pair of the student's own functions, forward and
backward, so that what they keep between calls starts afresh. What its registration says of it,
test_corpus.py holds against finite differences and formulas of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

Pair = tuple[Callable[..., Any], Callable[..., Any]]


class Operation(NamedTuple):
    """What an operation takes and what its two functions give; draw makes arguments of a shape."""

    arguments: tuple[str, ...]
    upstream: str
    result: str
    gradients: tuple[str, ...]
    draw: Callable[..., tuple[np.ndarray, ...]]
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Derivation:
    """A student's two functions and what a teacher says of them.

    truth has a line for each result that is wrong, and for each argument that is overwritten: y is
    held against the operation's formula with options, a gradient against the true gradient of the
    student's own forward. What is kept between calls shows after an earlier call with other arrays.
    """

    name: str
    functions: Callable[[], Pair]
    like: str
    options: Mapping[str, Any]
    shape: tuple[int, ...]
    truth: Mapping[str, str] = field(default_factory=dict)
    mistakes: int = 0
    single: bool = False

    @property
    def operation(self) -> Operation:
        """What it is a derivation of."""
        return OPERATIONS[self.like]

    @property
    def wrong(self) -> set[str]:
        """The results that are wrong."""
        return set(self.truth) & {self.operation.result, *self.operation.gradients}

    @property
    def overwritten(self) -> set[str]:
        """The arguments that do not come back as they went in."""
        return set(self.truth) & {*self.operation.arguments, self.operation.upstream}

    def arrays(self, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
        """Arguments for forward on which the mistake shows."""
        return self.operation.draw(rng, *self.shape)


def derivation(
    like: str,
    *,
    options: Mapping[str, Any] | None = None,
    shape: tuple[int, ...] | None = None,
    mistakes: int = 1,
    single: bool = False,
    **truth: str,
) -> Callable[[Callable[[], Pair]], Callable[[], Pair]]:
    """Register a derivation of an operation of npbn.reference; without truth it is a right one.

    options: the keywords with which the operation's own y is what the student meant; shape: where
    the mistake needs one of its own; single: it computes in float32.
    """

    def register(functions: Callable[[], Pair]) -> Callable[[], Pair]:
        _DERIVATIONS.append(
            Derivation(
                functions.__name__,
                functions,
                like,
                options or {},
                shape or OPERATIONS[like].shape,
                truth,
                mistakes if truth else 0,
                single,
            )
        )
        return functions

    return register


def derivations() -> list[Derivation]:
    """All of them."""
    for module in _MODULES:
        import_module(f"{__name__}.{module}")
    return list(_DERIVATIONS)


def _columns(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray:
    """Columns that differ in mean and in size."""
    return rng.normal(rng.uniform(-2, 2, columns), rng.uniform(0.5, 2, columns), (rows, columns))


def _norm(rng: np.random.Generator, rows: int, columns: int) -> tuple[np.ndarray, ...]:
    x = _columns(rng, rows, columns)
    return x, rng.uniform(0.5, 2, columns) * rng.choice([-1, 1], columns), rng.normal(size=columns)


def _dense(rng: np.random.Generator, rows: int, width: int, out: int) -> tuple[np.ndarray, ...]:
    return _columns(rng, rows, width), rng.normal(size=(width, out)), rng.normal(size=out)


def _labelled(rng: np.random.Generator, rows: int, classes: int) -> tuple[np.ndarray, ...]:
    return rng.normal(scale=2, size=(rows, classes)), rng.integers(classes, size=rows)


def _images(rng: np.random.Generator, *shape: int) -> tuple[np.ndarray, ...]:
    *images, height, width, out = shape
    weight = rng.normal(size=(height, width, images[-1], out))
    return rng.normal(size=images), weight, rng.normal(size=out)


_NORM = ("x", "gamma", "beta"), "dy", "y", ("dx", "dgamma", "dbeta"), _norm
_WEIGHTS = ("x", "weight", "bias"), "dy", "y", ("dx", "dweight", "dbias")

OPERATIONS = {
    "batch_norm": Operation(*_NORM, (9, 5)),
    "layer_norm": Operation(*_NORM, (6, 5)),
    "dense": Operation(*_WEIGHTS, _dense, (7, 5, 4)),
    "conv2d": Operation(*_WEIGHTS, _images, (3, 5, 4, 2, 3, 2, 4)),
    "softmax_cross_entropy": Operation(
        ("logits", "labels"), "dloss", "loss", ("dlogits",), _labelled, (7, 5)
    ),
}

_MODULES = (
    "batch_norm_wrong",
    "batch_norm_right",
    "dense",
    "softmax_cross_entropy",
    "layer_norm",
    "conv2d",
)
_DERIVATIONS: list[Derivation] = []
