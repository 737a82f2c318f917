"""Data sets to train on, and batches of them.

`load_mnist` and `load_fashion_mnist` find the files or download them; `load_mnist_5k` needs
neither, and `load_digits` needs scikit-learn. `load_images` loads your own pictures, CSV files and
arrays. Each returns a `Dataset`: train, validation and test, every one a pair (images, labels).
"""

from npbn.datasets._dataset import Dataset
from npbn.datasets.batching import minibatches
from npbn.datasets.digits import load_digits
from npbn.datasets.mnist import load_fashion_mnist, load_mnist
from npbn.datasets.mnist_5k import load_mnist_5k
from npbn.datasets.own_images import load_images

__all__ = [
    "Dataset",
    "load_digits",
    "load_fashion_mnist",
    "load_images",
    "load_mnist",
    "load_mnist_5k",
    "minibatches",
]
