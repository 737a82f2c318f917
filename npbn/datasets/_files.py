"""Where the files of a data set lie: found in a folder, or downloaded into it."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from npbn.datasets._download import download_first

ENVIRONMENT = "NPBN_DATA"


@dataclass(frozen=True)
class IdxFile:
    """An IDX file of unsigned bytes, by the name that it has uncompressed."""

    name: str
    shape: tuple[int, ...]
    sha256: str
    """Of the uncompressed file."""
    md5: str
    """Of the .gz file that the mirrors have."""


@dataclass(frozen=True)
class Source:
    """The four files of a data set and where they come from."""

    title: str
    subfolder: str
    """Inside NPBN_DATA and the cache folder; sets whose files have the same names differ in it."""
    mirrors: tuple[str, ...]
    """Addresses to which a file's name and .gz are appended."""
    train_images: IdxFile
    train_labels: IdxFile
    test_images: IdxFile
    test_labels: IdxFile
    validation: int
    """How many of the training file's first images are the validation set."""


def find(
    source: Source,
    files: tuple[IdxFile, ...],
    data_dir: str | os.PathLike[str] | None,
    download: bool,
) -> list[Path]:
    """Return the path of each file, with .gz or without; download what is missing, if allowed.

    FileNotFoundError names the missing file, the folders and what to do; RuntimeError if no mirror
    has it; ValueError if what should be a folder is none; an OSError if it cannot be written.
    """
    mirrors = list(source.mirrors)
    paths = []
    for file in files:
        looked_in = []
        for folder in _folders(source, data_dir, download):
            path = _local(folder, file.name)
            if path:
                break
            looked_in.append(folder)
        else:
            if not download:
                raise FileNotFoundError(_missing(source, file, looked_in, data_dir))
            path = download_first(mirrors, looked_in[-1] / f"{file.name}.gz", file.md5)
        paths.append(path)
    return paths


def _folders(
    source: Source, data_dir: str | os.PathLike[str] | None, download: bool
) -> Iterator[Path]:
    """Yield the folders to look in; the last one is that for downloads."""
    if data_dir is not None:
        yield _folder("data_dir", data_dir)
        return
    environment = os.environ.get(ENVIRONMENT)
    if environment:
        yield _folder(ENVIRONMENT, environment) / source.subfolder
        if not download:
            return
    yield _cache_folder() / source.subfolder


def _folder(name: str, value: str | os.PathLike[str]) -> Path:
    try:
        folder = Path(value).expanduser()
    except TypeError:
        raise TypeError(f"{name}: expected a path, got {value!r}") from None
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{name}: expected a folder, got the file {str(folder)!r}")
    return folder


def _cache_folder() -> Path:
    import pooch

    return Path(pooch.os_cache("npbn"))


def _local(folder: Path, name: str) -> Path | None:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.exists():
            return path
    return None


def _missing(
    source: Source,
    file: IdxFile,
    looked_in: list[Path],
    data_dir: str | os.PathLike[str] | None,
) -> str:
    places = " or ".join(repr(str(folder)) for folder in looked_in)
    if data_dir is not None:
        other = "another data_dir"
    else:
        other = f"a data_dir that has it, set {ENVIRONMENT} to such a folder"
    return (
        f"{file.name}.gz of {source.title}: not found in {places}, nor uncompressed: "
        f"put it there, pass {other}, or pass download=True"
    )
