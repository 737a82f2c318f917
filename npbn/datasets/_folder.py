"""A folder of pictures, with a subfolder for each class."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# What systems put into folders of pictures, beside hidden files.
NO_PICTURES = ("thumbs.db", "desktop.ini")

# Pillow's modes of 8 bits a value.
GREY = ("1", "L", "LA")
COLOUR = ("P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV")

# Without size=, more than this in float32 is told: a few hundred photos as a phone takes them.
MOST_BYTES = 4_000_000_000


def read_folder(
    folder: Path, size: tuple[int, int] | None, channels: int | None
) -> tuple[NDArray[np.uint8], NDArray[np.str_]]:
    """Return the pictures (N, H, W, C) and for each the name of its subfolder (N,).

    In the order of their names, hidden files and folders left out. size and channels: as
    load_images has them.

    ValueError, naming the file or folder, if there are no subfolders, if one has no pictures or
    folders of its own, if a file is no picture, transparent, or unlike the first one; an OSError if
    one cannot be read.
    """
    subfolders = [each for each in _visible(folder) if each.is_dir()]
    if not subfolders:
        raise ValueError(
            f"{folder}: expected a subfolder for each class, as in {folder / 'cat' / '1.jpg'}, got "
            "none: make them, or pass the folder above"
        )
    paths = [path for each in subfolders for path in _pictures(each)]
    first = _pixels(paths[0], size, channels)
    height, width, count = first.shape
    if size is None and (total := 4 * len(paths) * first.size) > MOST_BYTES:
        raise ValueError(
            f"{folder}: {len(paths):,} pictures of {height} x {width} would take "
            f"{total / 1e9:.0f} GB: pass size=(height, width), size=(64, 64) say"
        )
    pictures = np.empty((len(paths), *first.shape), np.uint8)
    for place, path in enumerate(paths):
        pixels = _pixels(path, size, channels)
        if pixels.shape[2] != count:
            kinds = {1: "grey", 3: "colour"}
            raise ValueError(
                f"{path}: {kinds[pixels.shape[2]]}, where {paths[0]} is {kinds[count]}: "
                "pass channels=1 for all in grey, or channels=3 for all in colour"
            )
        if pixels.shape != first.shape:
            got = " x ".join(map(str, pixels.shape[:2]))
            raise ValueError(
                f"{path}: {got} pixels (height x width), where {paths[0]} has {height} x {width}: "
                "pass size=(height, width), size=(64, 64) say"
            )
        pictures[place] = pixels
    return pictures, np.array([path.parent.name for path in paths])


def _visible(folder: Path) -> list[Path]:
    """What is in a folder, in the same order on every system."""
    found = [
        path
        for path in folder.iterdir()
        # Also what macOS puts beside the folders into a zip file.
        if not path.name.startswith((".", "__MACOSX")) and path.name.lower() not in NO_PICTURES
    ]
    return sorted(found, key=lambda path: path.name)


def _pictures(folder: Path) -> list[Path]:
    paths = _visible(folder)
    if not paths:
        raise ValueError(f"{folder}: expected pictures, got an empty folder: fill or remove it")
    for path in paths:
        if path.is_dir():
            raise ValueError(
                f"{folder}: expected pictures, got the folder {path.name!r}: pass the folder whose "
                f"subfolders are the classes, load_images({str(folder)!r}) say"
            )
    return paths


def _pixels(path: Path, size: tuple[int, int] | None, channels: int | None) -> NDArray[np.uint8]:
    """One picture (H, W, C), upright, with C=1 if it is grey and C=3 if it has colours."""
    from PIL import Image, ImageOps

    with path.open("rb") as file:
        try:
            opened = Image.open(file)
            if size is not None:
                # A JPEG is decoded at 1/2, 1/4 or 1/8 of its size: 10 ms instead of 117 for 12 MP.
                opened.draft(None, (2 * max(size), 2 * max(size)))
            image = ImageOps.exif_transpose(opened)
        except Exception as error:  # a damaged file raises a dozen kinds
            raise ValueError(
                f"{path}: not a picture that Pillow can read ({type(error).__name__}): save it as "
                "JPEG or PNG, or take it out of the folder"
            ) from error
    if image.mode not in GREY + COLOUR:
        raise ValueError(
            f"{path}: values of another kind than 8 bits ({image.mode}): save it as JPEG"
        )
    if channels is None:
        channels = 1 if image.mode in GREY else 3
    if image.has_transparency_data:
        image = image.convert("RGBA")
        if image.getchannel("A").getextrema() != (255, 255):
            raise ValueError(f"{path}: partly transparent: save it on a background, as JPEG say")
    image = image.convert("L" if channels == 1 else "RGB")
    if size is not None:
        height, width = size
        image = ImageOps.fit(image, (width, height))
    return np.asarray(image).reshape(image.height, image.width, channels)
