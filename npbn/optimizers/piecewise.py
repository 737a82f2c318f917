"""Vectors in pieces that stay in the cache, and what is done to a piece."""

import math
from collections.abc import Iterable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from npbn._checks import Array
from npbn.numerics.tape import repeated

# At most so many values are updated at a time, so that what one line of an update hands to the next
# stays in the cache. 50,000 instead of 100,000 at a time make a step of the lesson's network 1 %
# slower where a core has 1 MB of it and a NumPy call takes 0.4 us, but 3 to 4 % faster where it
# has less and a call takes 2 us.
PIECE = 65_536

Piece = SimpleNamespace


def cut(vectors: Mapping[str, Array]) -> list[Piece]:
    """Pieces of at most PIECE values, named as the vectors, which have one length and type.

    Each has arrays to work in, too, which all share: work and regularized, as long as the piece,
    and total, a single number.
    """
    first = next(iter(vectors.values()))
    count = max(1, math.ceil(first.size / PIECE))
    length = 16 * math.ceil(first.size / count / 16)  # whole cache lines
    work, regularized = np.empty((2, length), first.dtype)
    total = np.empty((), first.dtype)
    pieces = []
    for start in range(0, max(1, first.size), max(1, length)):
        piece = Piece(**{name: each[start : start + length] for name, each in vectors.items()})
        size = min(length, first.size - start)
        piece.work, piece.regularized, piece.total = work[:size], regularized[:size], total
        pieces.append(piece)
    return pieces


def norm_of(xp: Any, gradients: Array, pieces: list[Piece]) -> float:
    """The 2-norm of gradients, also where the squares leave the range of the type."""
    total = pieces[0].total
    xp.dot(gradients, gradients, out=total)
    if 1e-20 < total < math.inf:
        return math.sqrt(total)
    largest = 0.0
    for piece in repeated(xp, pieces):
        xp.abs(piece.gradients, out=piece.work)
        xp.max(piece.work, initial=largest, out=piece.total)
        largest = float(piece.total)
    if largest == 0 or not math.isfinite(largest):
        return largest
    square = 0.0
    for piece in repeated(xp, pieces):
        xp.divide(piece.gradients, largest, out=piece.work)
        xp.dot(piece.work, piece.work, out=piece.total)
        square += float(piece.total)
    return largest * math.sqrt(square)


def sweep(xp: Any, piece: Piece, names: Iterable[str]) -> None:
    """Set denormal numbers to 0: arithmetic on them is many times slower on most processors."""
    for name in names:
        vector = getattr(piece, name)
        xp.abs(vector, out=piece.work)
        xp.greater_equal(piece.work, np.finfo(vector.dtype).smallest_normal, out=piece.work)
        xp.multiply(vector, piece.work, out=vector)


def follow(xp: Any, mean: Array, beta: float, value: Array, *, work: Array) -> None:
    """mean = beta * mean + (1 - beta) * value, as mean + (1 - beta) * (value - mean).

    So it stays within the range of the values. beta and 1 - beta, each rounded to float32, do not
    add up to 1, and near the largest number the sum of both products overflows in the end.
    """
    xp.subtract(value, mean, out=work)
    xp.multiply(work, 1 - beta, out=work)
    xp.add(mean, work, out=mean)
