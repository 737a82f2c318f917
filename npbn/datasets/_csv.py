"""A CSV file of images: a row each, its label first, as Kaggle's Digit Recognizer has them."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def read_csv(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return images (N, D) and labels (N,).

    Images are uint8 if all are whole numbers from 0 to 255, else float32; labels are int64, or
    strings if one of them is no whole number. The first line may be a header, label first.

    ValueError, naming the file, if it has no labels or no rows, or if a pixel is no number; an
    OSError if it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected text, got other bytes ({error})") from None
    rows = [line for line in lines if line.strip()]
    if rows and _is_header(path, rows[0]):
        del rows[0]
    if not rows:
        raise ValueError(f"{path}: expected a row for each image, got none")
    names: dict[str, int] = {}
    try:
        table = np.loadtxt(
            rows,
            np.float32,
            comments=None,
            delimiter=",",
            # So labels may be words, and the text is read once all the same.
            converters={0: lambda text: names.setdefault(text.strip(), len(names))},
            quotechar='"',
            ndmin=2,
        )
    except ValueError as error:
        raise ValueError(f"{path}: expected a label and numbers in each row: {error}") from None
    labels, images = np.array(list(names))[table[:, 0].astype(np.intp)], table[:, 1:]
    with suppress(ValueError, OverflowError):
        labels = labels.astype(np.int64)
    if ((images >= 0) & (images <= 255)).all() and (images == np.rint(images)).all():
        images = images.astype(np.uint8)
    return images, labels


def _is_header(path: Path, line: str) -> bool:
    """Whether the line is a header; ValueError if it has no label, or no commas."""
    first, comma, _ = line.partition(",")
    if not comma:
        raise ValueError(f"{path}: expected values with commas between them, got {line[:40]!r}")
    try:
        float(line.rpartition(",")[2].strip('" '))
    except ValueError:
        if (name := first.strip('" ')).lower() == "label":
            return True
        raise ValueError(
            f"{path}: expected label as the first column, got {name!r}: rename it if it has the "
            "labels; a file to predict for has none: images = "
            f"np.loadtxt({str(path)!r}, np.float32, delimiter=',', skiprows=1) / 255"
        ) from None
    return False
