"""The form in which every data set is returned."""

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pair: TypeAlias = tuple[NDArray[np.float32], NDArray[np.int64]]


class Dataset(NamedTuple):
    """Three pairs (images, labels).

    images are float32 in [0, 1], of shape (N, 784), or (N, 28, 28, 1) where they were not
    flattened; labels are int64, from 0 to 9, of shape (N,).
    """

    train: Pair
    validation: Pair
    test: Pair

    def __repr__(self) -> str:
        parts = (f"{name}={pair[0].shape}" for name, pair in self._asdict().items())
        return f"Dataset({', '.join(parts)})"


def to_float(images: NDArray[np.uint8], flatten: bool) -> NDArray[np.float32]:
    """images (N, 28, 28) from 0 to 255 as a new float32 array in [0, 1]."""
    count, height, width = images.shape
    shape = (count, height * width) if flatten else (count, height, width, 1)
    return np.divide(images.reshape(shape), np.float32(255), dtype=np.float32)


def pair(images: NDArray[np.float32], labels: NDArray[np.uint8], rows: slice) -> Pair:
    """The rows of both, without a copy of the images."""
    return images[rows], labels[rows].astype(np.int64)
