"""One's own images: a folder of pictures, a CSV file, or arrays."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npbn import _checks
from npbn.datasets._csv import read_csv
from npbn.datasets._dataset import Dataset, Pair
from npbn.datasets._folder import read_folder

Array = NDArray[Any]


def load_images(
    source: str | os.PathLike[str] | tuple[Array, Array],
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    flatten: bool = True,
    validation: float = 0.1,
    test: float = 0.1,
    seed: int | np.random.Generator = 0,
) -> Dataset:
    """Load images of your own, and split them into train, validation and test.

    ::

        photos = load_images("photos", size=(32, 32))  # photos/cat/1.jpg, photos/dog/7.png
        digits = load_images("train.csv")              # label,pixel0,pixel1 ...
        shapes = load_images((images, labels), flatten=False)

    Parameters
    ----------
    source : path, or pair of arrays
        One of

        - a folder of pictures (JPEG, PNG, whatever Pillow reads) with a subfolder for each class,
          named after it. They are turned upright where a camera says how.
        - a .csv file with a row for each image, the label first, with or without a header that
          begins with label.
        - a pair of arrays: images (N, H, W), (N, H, W, C) with C 1 or 3, or flat (N, D); and labels
          (N,), integers from 0, or strings.

        Integers are pixels from 0 to 255 and are divided by 255 (where none is above 127 they must
        be others, and are refused); floats must lie in [0, 1] already.
    size : (height, width), optional
        Each picture is scaled, and what is too long or too wide for this shape is cut off on both
        sides. None: all must be of one size.
    channels : 1 or 3, optional
        1 makes all pictures grey, 3 colour. None: they must be all grey or all in colour.
    flatten : bool
        Whether images are rows, (N, H * W * C), or images, (N, H, W, C), for which flat ones are
        taken to be square and grey.
    validation, test : float
        The shares of each class that go there, rounded, one image at least unless the share is 0.
    seed : int or Generator
        It decides which ones, and the order: with the same seed the split is the same.

    Returns
    -------
    Dataset
        New arrays. Names of classes are sorted, and a label is its name's place in ``.classes``, as
        torchvision's ImageFolder and Keras' image_dataset_from_directory have it; labels that are
        integers stay.

    Raises
    ------
    TypeError, ValueError
        Naming the file, for images and labels that are not as above or too few to split.
    FileNotFoundError
        If there is no such folder or file.
    OSError
        If it cannot be read.

    Notes
    -----
    A set that is split already takes two calls with validation=0, test=0, and their ``.train``; see
    that their ``.classes`` are the same.
    """
    flatten = _checks.flag("flatten", flatten)
    shares = [
        _checks.number(name, share, minimum=0, below=1)
        for name, share in (("validation", validation), ("test", test))
    ]
    if sum(shares) >= 1:
        raise ValueError(f"validation + test: expected less than 1, got {validation} + {test}")
    rng = _checks.generator(seed, "seed")
    size = None if size is None else _checked_size(size)
    if channels is not None and _checks.integer("channels", channels) not in (1, 3):
        raise ValueError(f"channels: expected 1 (grey), 3 (colour) or None, got {channels}")

    prefix, images, labels = _read(source, size, channels)
    images = _laid_out(f"{prefix}images", images, flatten)
    labels, classes = _checked_labels(f"{prefix}labels", labels, len(images))
    return _split(prefix, images, labels, classes, shares, rng)


def _checked_size(size: Any) -> tuple[int, int]:
    try:
        height, width = size
    except (TypeError, ValueError):
        advice = f": pass size=({size}, {size})" if isinstance(size, int) else ""
        raise TypeError(f"size: expected (height, width), got {size!r}{advice}") from None
    return _checks.integer("size", height, minimum=1), _checks.integer("size", width, minimum=1)


def _read(
    source: Any, size: tuple[int, int] | None, channels: int | None
) -> tuple[str, Array, Array]:
    """What a message begins with, the images and their labels, neither of which is yet checked."""
    path = None if isinstance(source, tuple) and len(source) == 2 else _path(source)
    prefix = "" if path is None else f"{path}: "
    if path is not None and path.is_dir():
        return prefix, *read_folder(path, size, channels)
    if size is not None or channels is not None:
        name = "channels" if size is None else "size"
        raise ValueError(f"{name}: expected None, as only a folder's pictures are converted")
    images, labels = source if path is None else read_csv(path)
    _check_pixels(f"{prefix}images", images)
    rows = getattr(labels, "shape", (None,))[:1]
    if images.shape[:1] != rows and images.shape[-1:] == rows:
        raise ValueError(
            f"images: expected {rows[0]} rows, one for each label, got {images.shape}: "
            "pass np.moveaxis(images, -1, 0)"
        )
    return prefix, images, labels


def _path(source: Any) -> Path:
    if not isinstance(source, str | os.PathLike):
        raise TypeError(
            "source: expected a folder of pictures, a .csv file or a pair of arrays, got a "
            f"{type(source).__name__}: pass load_images((images, labels)), say"
        )
    path = Path(source).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"source: there is no folder or file {str(path.absolute())!r}")
    if path.is_dir() or path.suffix.lower() == ".csv":
        return path
    advice = {
        ".npz": f": file = np.load({str(path)!r}), then pass (file['images'], file['labels'])",
        ".zip": ": unpack it",
    }
    raise ValueError(
        f"source: expected a folder of pictures or a .csv file, got the file {str(path)!r}"
        + advice.get(path.suffix.lower(), "")
    )


def _check_pixels(name: str, images: Any) -> None:
    """TypeError or ValueError unless it is an array of whole numbers up to 255, or floats to 1."""
    if not isinstance(images, np.ndarray):
        kind = type(images).__name__
        raise TypeError(f"{name}: expected an array, got a {kind}: pass np.asarray(images)")
    _checks._plain(name, images)
    if images.dtype.kind not in "iuf":
        raise TypeError(
            f"{name}: expected integers or floats, got {images.dtype}: "
            "pass images.astype(np.float32)"
        )
    if images.size == 0:
        raise ValueError(f"{name}: expected one pixel at least, got the shape {images.shape}")
    low, high = images.min(), images.max()
    # Integers that do without the eighth bit are something else than pixels: 0 and 1, or 0 to 16.
    least, most = (0, 1) if images.dtype.kind == "f" else (128, 255)
    if low >= 0 and least <= high <= most:
        return
    white = 255 if 16 < high <= 255 else max(high, 1)
    if not (np.isfinite(low) and np.isfinite(high)):
        advice = "np.isfinite(images) tells where"
    elif low < 0:
        advice = f"pass (images - black) / (white - black), black = {low}, white = {high} say"
    else:
        advice = f"pass images / {white}, if {white} is white"
    raise ValueError(
        f"{name}: expected floats from 0 to 1, or integers from 0 to 255, the largest above 127, "
        f"got {images.dtype} from {low} to {high}: {advice}"
    )


def _laid_out(name: str, images: Array, flatten: bool) -> Array:
    """images as (N, D), or (N, H, W, C) where they are not to be flat."""
    shape = images.shape
    if len(shape) == 2:
        side = math.isqrt(shape[1])
        if not flatten and side**2 != shape[1]:
            raise ValueError(
                f"{name}: expected rows of square grey images, got {shape}: "
                "pass images.reshape(-1, height, width, channels)"
            )
        return images if flatten else images.reshape(-1, side, side, 1)
    if len(shape) != 3 and not (len(shape) == 4 and shape[3] in (1, 3)):
        advice = ""
        if len(shape) == 4 and shape[1] in (1, 3):
            advice = ": pass np.moveaxis(images, 1, -1)"
        elif len(shape) == 4 and shape[3] in (2, 4):
            advice = f": pass images[..., :{shape[3] - 1}] to leave the transparency out"
        raise ValueError(
            f"{name}: expected (N, H, W), (N, H, W, 1), (N, H, W, 3) or flat (N, D), got "
            f"{shape}{advice}"
        )
    return images.reshape(*shape[: 1 if flatten else 3], -1)


def _checked_labels(name: str, labels: Any, rows: int) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The labels, and the names of the classes."""
    kind = labels.dtype.kind if isinstance(labels, np.ndarray) else ""
    if kind in tuple("OST"):
        raise TypeError(
            f"{name}: expected integers or str, got {labels.dtype}: pass labels.astype(str)"
        )
    if kind == "U":
        _checks.has_shape(name, labels, (rows,))
        names, labels = np.unique(labels, return_inverse=True)
        classes = tuple(map(str, names))
    else:
        labels = _checks.labels(labels, (rows,), name=name)
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= rows:
            raise ValueError(
                f"{name}: expected classes from 0, got {low} to {high}: "
                "pass np.unique(labels, return_inverse=True)[1], which numbers them"
            )
        classes = tuple(map(str, range(high + 1)))
    if (labels == labels[0]).all():
        raise ValueError(f"{name}: expected two classes at least, got {classes[labels[0]]!r} alone")
    return labels.astype(np.int64), classes


def _split(
    prefix: str,
    images: Array,
    labels: NDArray[np.int64],
    classes: tuple[str, ...],
    shares: list[float],
    rng: np.random.Generator,
) -> Dataset:
    """Shares of each class for validation and test, the rest to train on, in random order."""
    classes_rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    counts = [
        [max(1, round(share * len(rows))) if share else 0 for share in shares]
        for rows in classes_rows
    ]
    for rows, (validation, test) in zip(classes_rows, counts, strict=True):
        if validation + test >= len(rows):
            raise ValueError(
                f"{prefix}class {classes[labels[rows[0]]]!r}: expected more than "
                f"{validation + test} images ({validation} for validation, {test} for test), got "
                f"{len(rows)}: add some, leave the class out, or pass validation=0 or test=0"
            )
    parts = [
        np.split(rng.permutation(rows), np.cumsum(count))
        for rows, count in zip(classes_rows, counts, strict=True)
    ]

    def pair(place: int) -> Pair:
        rows = rng.permutation(np.concatenate([part[place] for part in parts]))
        chosen = images[rows]
        if images.dtype.kind == "f":
            return chosen.astype(np.float32, copy=False), labels[rows]
        return np.divide(chosen, np.float32(255), dtype=np.float32), labels[rows]

    return Dataset(validation=pair(0), test=pair(1), train=pair(2), classes=classes)
