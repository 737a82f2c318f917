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
    classes: tuple[str, ...]
    """What each label means."""
    other_folders: tuple[str, ...] = ()
    """Folders inside the one that is searched, where other programs put the files."""
    system_folders: tuple[str, ...] = ()
    """Folders of the system's packages."""

    @property
    def files(self) -> tuple[IdxFile, ...]:
        """The four, in order."""
        return self.train_images, self.train_labels, self.test_images, self.test_labels


@dataclass(frozen=True)
class _Place:
    """A folder to search: for the files in its sub-folder, or as other programs put them there."""

    outer: Path
    subfolder: str = ""

    @property
    def folder(self) -> Path:
        return self.outer / self.subfolder


def find(source: Source, data_dir: str | os.PathLike[str] | None, download: bool) -> list[Path]:
    """Return the path of each file, with .gz or without; download what is missing, if allowed.

    FileNotFoundError names the missing file, the folders and what to do, or a data_dir that there
    is not; RuntimeError if no mirror has it; ValueError if what should be a folder is none; an
    OSError if it cannot be written.
    """
    mirrors = list(source.mirrors)
    places = _places(source, data_dir, download)
    paths = []
    for file in source.files:
        path = _local(source, file.name, places)
        if path is None and not download:
            raise FileNotFoundError(_missing(source, file, places, data_dir))
        if path is None:
            path = download_first(mirrors, places[-1].folder / f"{file.name}.gz", file.md5)
        paths.append(path)
    return paths


def located(source: Source) -> list[Path | None]:
    """Where each file would be read from without a data_dir; None: it would be downloaded."""
    places = _places(source, None, True)
    return [_local(source, file.name, places) for file in source.files]


def folder_for_downloads(source: Source) -> Path:
    """Where what is missing is downloaded to without a data_dir."""
    return _places(source, None, True)[-1].folder


def _places(
    source: Source, data_dir: str | os.PathLike[str] | None, download: bool
) -> list[_Place]:
    """Where to look; the last one is that for downloads."""
    if data_dir is not None:
        folder = _folder("data_dir", data_dir)
        if not folder.exists():
            raise FileNotFoundError(
                f"data_dir: there is no folder {str(folder)!r}: pass one that there is, or make it "
                "(what it lacks can be downloaded into it)"
            )
        return [_Place(folder)]
    found = []
    environment = os.environ.get(ENVIRONMENT)
    if environment:
        found.append(_Place(_folder(ENVIRONMENT, environment), source.subfolder))
        if not download:
            return found
    system = [_Place(Path(folder)) for folder in source.system_folders]
    return [*found, *system, _Place(_cache_folder(), source.subfolder)]


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


def _local(source: Source, name: str, places: list[_Place]) -> Path | None:
    for place in places:
        folders = [place.folder, *(place.outer / other for other in source.other_folders)]
        for path in (folder / each for folder in folders for each in _names(name)):
            if path.is_file():
                return path
        if (path := place.folder / name).exists():  # what is no file is told when it is read
            return path
    return None


def _names(name: str) -> Iterator[str]:
    """The names that a file has: compressed or not, as some unpackers leave it, in a folder."""
    for each in (name, name.replace("-idx", ".idx")):
        yield from (each, f"{each}.gz", f"{each}/{each}", f"{each}/{each}.gz")


def _missing(
    source: Source,
    file: IdxFile,
    places: list[_Place],
    data_dir: str | os.PathLike[str] | None,
) -> str:
    looked_in = " or ".join(
        repr(str(place.folder)) + ("" if place.folder.exists() else " (there is no such folder)")
        for place in places
    )
    if data_dir is not None:
        other = "another data_dir"
    else:
        other = f"a data_dir that has it, set {ENVIRONMENT} to such a folder"
    return (
        f"{file.name}.gz of {source.title}: not found in {looked_in}, nor uncompressed: "
        f"put it there, pass {other}, pass download=True, or go on with load_mnist_5k()"
    )
