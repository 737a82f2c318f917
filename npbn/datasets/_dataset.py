"""The form in which every data set is returned."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from npbn import _html

Pair: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]


DIGITS = tuple("0123456789")
_PARTS = ("train", "validation", "test")


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Three pairs (images, labels); iteration gives them in this order.

    Parameters
    ----------
    train, validation, test : pair of arrays
        images are float32 in [0, 1], of shape (N, H * W * C), or (N, H, W, C) where they were not
        flattened; labels are int64 of shape (N,), from 0 to len(classes) - 1.
    classes : tuple of str
        What each label means; empty in a Dataset of your own that does not say.
    """

    train: Pair
    validation: Pair
    test: Pair
    classes: tuple[str, ...] = ()

    def __iter__(self) -> Iterator[Pair]:
        return iter((self.train, self.validation, self.test))

    def __repr__(self) -> str:
        parts = (f"{name}={pair[0].shape}" for name, pair in zip(_PARTS, self, strict=True))
        return f"Dataset({', '.join(parts)})"

    def _repr_html_(self) -> str:
        rows = []
        for name, (images, labels) in zip(_PARTS, self, strict=True):
            count = np.bincount(labels, minlength=len(self.classes)) if len(labels) else [0]
            between = " to ".join(f"{each:,}" for each in sorted({min(count), max(count)}))
            rows.append((name, str(images.shape), str(images.dtype), between))
        classes = (
            (f"{len(self.classes)} classes: {', '.join(self.classes)}",) if self.classes else ()
        )
        header = ("", "images", "type", "images a class")
        return _html.block(_html.table(header, rows), *map(_html.paragraph, classes))


def to_float(images: NDArray[np.uint8], flatten: bool) -> NDArray[np.float32]:
    """images (N, 28, 28) from 0 to 255 as a new float32 array in [0, 1]."""
    count, height, width = images.shape
    shape = (count, height * width) if flatten else (count, height, width, 1)
    return np.divide(images.reshape(shape), np.float32(255), dtype=np.float32)


def pair(images: NDArray[np.float32], labels: NDArray[np.uint8], rows: slice) -> Pair:
    """The rows of both, without a copy of the images."""
    return images[rows], labels[rows].astype(np.int64)
