"""MNIST and Fashion-MNIST: the same format, file names and sizes, other images."""

import os

from npbn import _checks
from npbn.datasets._dataset import DIGITS, Dataset, pair, to_float
from npbn.datasets._files import IdxFile, Source, find
from npbn.datasets._idx import read_idx

MNIST = Source(
    title="MNIST",
    subfolder="",
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
        "https://raw.githubusercontent.com/fgnt/mnist/master/",
    ),
    train_images=IdxFile(
        "train-images-idx3-ubyte",
        (60_000, 28, 28),
        sha256="ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        md5="f68b3c2dcbeaaa9fbdd348bbdeb94873",
    ),
    train_labels=IdxFile(
        "train-labels-idx1-ubyte",
        (60_000,),
        sha256="65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        md5="d53e105ee54ea40749a09fcbcd1e9432",
    ),
    test_images=IdxFile(
        "t10k-images-idx3-ubyte",
        (10_000, 28, 28),
        sha256="0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        md5="9fb629c4189551a2d022fa330f9573f3",
    ),
    test_labels=IdxFile(
        "t10k-labels-idx1-ubyte",
        (10_000,),
        sha256="ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        md5="ec29112dd5afa0611ce80d1b7f02629c",
    ),
    validation=5_000,
    classes=DIGITS,
    other_folders=("MNIST/raw",),  # torchvision's
)

FASHION_MNIST = Source(
    title="Fashion-MNIST",
    subfolder="fashion-mnist",
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
    ),
    train_images=IdxFile(
        "train-images-idx3-ubyte",
        (60_000, 28, 28),
        sha256="c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    ),
    train_labels=IdxFile(
        "train-labels-idx1-ubyte",
        (60_000,),
        sha256="bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        md5="25c81989df183df01b3e8a0aad5dffbe",
    ),
    test_images=IdxFile(
        "t10k-images-idx3-ubyte",
        (10_000, 28, 28),
        sha256="5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        md5="bef4ecab320f06d8554ea6380940ec79",
    ),
    test_labels=IdxFile(
        "t10k-labels-idx1-ubyte",
        (10_000,),
        sha256="0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        md5="bb300cfdad3c16e7a12a480ee83cd310",
    ),
    validation=5_000,
    classes=(
        "T-shirt",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    # The last one is that of Debian's package, and of a folder that has both data sets.
    other_folders=("FashionMNIST/raw", "fashion-mnist"),
    system_folders=("/usr/share/datasets/fashion-mnist",),
)


def load_mnist(
    data_dir: str | os.PathLike[str] | None = None, *, flatten: bool = True, download: bool = True
) -> Dataset:
    """Load the 70,000 handwritten digits of MNIST, split as the lesson has them.

    validation is the first 5,000 images of the training file (labels 5 0 4 1 9 ...), train the
    other 55,000 (7 3 4 6 1 ...), as TensorFlow's read_data_sets split them; test has 10,000.

    Parameters
    ----------
    data_dir : path, optional
        Where to look for the four files, and nowhere else.
    flatten : bool
        Whether images are rows, (N, 784), or images, (N, 28, 28, 1).
    download : bool
        Whether to download what is missing, into data_dir or into the cache folder. If False and
        NPBN_DATA is set, it alone is searched.

    Returns
    -------
    Dataset
        Of images a pixel is divided by 255.

    Raises
    ------
    FileNotFoundError
        If there is no such data_dir, or if a file is missing and download is False.
    ValueError
        If a file is damaged or another.
    RuntimeError
        If no mirror has it.
    OSError
        If it cannot be read or written.

    Notes
    -----
    Without data_dir the files, as they are or with .gz, are looked for in the folder that the
    environment variable NPBN_DATA names; else in the user's cache folder. In each of these they may
    also lie as torchvision, Kaggle or an unpacker leaves them: in MNIST/raw, each in a folder of
    its name, or with a point before idx. Every file is verified by its sha256 each time. Without
    them and without a network there is `load_mnist_5k`.

    References
    ----------
    By Yann LeCun, Corinna Cortes and Christopher Burges: http://yann.lecun.com/exdb/mnist/.
    """
    return _load(MNIST, data_dir, flatten, download)


def load_fashion_mnist(
    data_dir: str | os.PathLike[str] | None = None, *, flatten: bool = True, download: bool = True
) -> Dataset:
    """Load the 70,000 pictures of clothes of Fashion-MNIST, in load_mnist's form and split.

    Labels: 0 T-shirt, 1 trouser, 2 pullover, 3 dress, 4 coat, 5 sandal, 6 shirt, 7 sneaker, 8 bag,
    9 ankle boot, which the Dataset's classes name.

    Its files have the names of MNIST's, so they lie in the sub-folder fashion-mnist (or
    FashionMNIST/raw) of NPBN_DATA and of the cache folder; data_dir is the folder of the files
    itself, or has such a sub-folder. Debian's package dataset-fashion-mnist is found, too. All
    else, the errors too, is as `load_mnist` says.

    References
    ----------
    Xiao, Rasul & Vollgraf 2017, https://github.com/zalandoresearch/fashion-mnist.
    """
    return _load(FASHION_MNIST, data_dir, flatten, download)


def _load(
    source: Source, data_dir: str | os.PathLike[str] | None, flatten: bool, download: bool
) -> Dataset:
    flatten = _checks.flag("flatten", flatten)
    download = _checks.flag("download", download)
    paths = find(source, data_dir, download)
    # A generator, so that the bytes of one file are gone before the next is read.
    arrays = (
        read_idx(path, file.shape, file.sha256)
        for path, file in zip(paths, source.files, strict=True)
    )
    train_images, train_labels = to_float(next(arrays), flatten), next(arrays)
    test_images, test_labels = to_float(next(arrays), flatten), next(arrays)
    return Dataset(
        train=pair(train_images, train_labels, slice(source.validation, None)),
        validation=pair(train_images, train_labels, slice(source.validation)),
        test=pair(test_images, test_labels, slice(None)),
        classes=source.classes,
    )
