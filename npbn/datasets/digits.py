"""The digits that scikit-learn carries: a second real set, independent of MNIST."""

from npbn.datasets._dataset import Dataset
from npbn.datasets.own_images import load_images


def load_digits(*, flatten: bool = True) -> Dataset:
    """Load 1,797 handwritten digits of 8 x 8 pixels, which come with scikit-learn.

    A fifth of each class is for validation, a fifth for the test: 1,079, 359 and 359 images, 104
    to 110, 35 to 37 and 35 to 37 of each class, in random order, the same at each call.

    None of them is of MNIST. The same 13 people wrote the digits of all three parts, so the test
    accuracy is that for writers one knows.

    Parameters
    ----------
    flatten : bool
        Whether images are rows, (N, 64), or images, (N, 8, 8, 1).

    Returns
    -------
    Dataset
        Of images a pixel, from 0 to 16, is divided by 16.

    Raises
    ------
    ModuleNotFoundError
        If scikit-learn is not installed, with what to type.

    References
    ----------
    E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, 1998, UCI Machine Learning
    Repository, https://doi.org/10.24432/C50P49, its test part; CC BY 4.0.
    """
    try:
        from sklearn import datasets
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            "load_digits: the digits come with scikit-learn, which is not installed: "
            "pip install scikit-learn, or go on with load_mnist_5k()"
        ) from None
    digits = datasets.load_digits()
    source = digits.images / 16, digits.target
    return load_images(source, flatten=flatten, validation=0.2, test=0.2)
