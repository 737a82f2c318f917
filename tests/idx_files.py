"""A small data set in IDX files, as MNIST's are."""

import gzip
import hashlib
import struct

import numpy as np

from npbn.datasets._files import IdxFile, Source

SHAPES = {
    "train-images": (20, 28, 28),
    "train-labels": (20,),
    "t10k-images": (6, 28, 28),
    "t10k-labels": (6,),
}


def idx_bytes(array):
    return struct.pack(f">{1 + array.ndim}I", 0x800 | array.ndim, *array.shape) + array.tobytes()


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def zipped(content):
    return gzip.compress(content, mtime=0)


def small_set(seed=0, mirrors=()):
    """A Source of 20 + 6 images, the content of its files, and their arrays."""
    rng = np.random.default_rng(seed)
    arrays = [rng.integers(0, 256, shape, np.uint8) for shape in SHAPES.values()]
    contents = dict(zip(SHAPES, map(idx_bytes, arrays), strict=True))
    files = [
        IdxFile(name, SHAPES[name], sha256(content), hashlib.md5(zipped(content)).hexdigest())
        for name, content in contents.items()
    ]
    source = Source("Small", "", mirrors, *files, validation=5, classes=tuple("abcdefghij"))
    return source, contents, arrays
