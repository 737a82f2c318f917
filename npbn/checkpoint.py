"""Named arrays and a header of plain values <-> one file, whole or not at all.

The file is an uncompressed .npz: a zip archive with one .npy entry an array, and before them
``__header__.npy``, the bytes of a JSON text. numpy.load(path, allow_pickle=False) opens it, too. No
pickle is ever written or read, so a file from elsewhere cannot run code.
"""

import errno
import io
import json
import math
import os
import re
import secrets
import stat
import tempfile
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any
from zlib import crc32

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array

try:
    import fcntl
except ImportError:  # Windows, which lets nobody remove a file that is open
    fcntl = None  # type: ignore[assignment]

Path = str | os.PathLike[str]

_FORMAT, _VERSION = "npbn checkpoint", 1
_HEADER = "__header__"
_NAME = re.compile(r"\w[\w.-]{0,199}(?<!\.npy)")
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '([<>|][biuf]\d+)', 'fortran_order': (True|False), "
    rb"'shape': \(([\d, ]*)\), \} *\n",
    re.DOTALL,
)
# A zip's directory and JSON take up to 25 times their bytes in the file, once read.
_LARGEST_DIRECTORY = 2**21
_LARGEST_HEADER = 2**20
_DEEPEST_HEADER = 100
_LONGEST_REASON = 120


class _Refused(Exception):
    """Whole, but not a checkpoint: why, and what to do if not to pass another file."""


def save(path: Path, arrays: Mapping[str, Array], header: Mapping[str, Any]) -> None:
    """Write arrays and header to the file path, to exactly this name.

    At any moment the file is the old one or the new one, whole, even if the power fails: all is
    written to another file in the same folder, which then takes the name. A link stays a link, its
    target is replaced. What a process that was killed in a save to this name has left is removed.

    Parameters
    ----------
    path : path
    arrays : dict, name -> array
        Of any shape, bool, integer or float. A name has up to 200 letters, digits and "_", "-",
        "."; the first is neither "-" nor ".", the last four are not ".npy".
    header : dict, str -> plain value
        Numbers, strings, None, and lists and dicts of these, up to 1 MiB. What `load` returns is
        equal, ints and floats to the last digit, NaN included; tuples become lists.

    Raises
    ------
    TypeError, ValueError
        For what cannot be stored, before anything is written.
    OSError
        For a full disk, a missing folder or a missing permission.
    """
    contents = _packed(arrays, header)
    path, target, mode = _place(path)
    _remove_left_over(target)
    temporary = ""
    try:
        with _new_file_beside(target) as file:
            temporary = file.name
            if mode is not None:
                os.chmod(temporary, mode)
            file.write(contents)
            file.flush()
            os.fsync(file.fileno())
            if fcntl:
                os.replace(temporary, target)
        if not fcntl:  # Windows renames no open file
            os.replace(temporary, target)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError) and error.filename2 is None:
            error.filename = path
        raise
    _sync_folder(os.path.dirname(target))


def check_save(path: Path, arrays: Mapping[str, Array], header: Mapping[str, Any]) -> None:
    """What `save` would raise now, but for a full disk; no file is left behind or changed."""
    _packed(arrays, header)
    path, target, _ = _place(path)
    try:
        with tempfile.TemporaryFile(dir=os.path.dirname(target)):
            pass
    except OSError as error:
        error.filename = path
        raise


def load(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the header that `save` wrote.

    Whatever the file claims to hold, memory of about two times its size and 50 MB is enough.

    Parameters
    ----------
    path : path

    Returns
    -------
    arrays : dict, name -> array
    header : dict, str -> plain value

    Raises
    ------
    ValueError
        Naming the file, for anything else: a damaged or truncated file, another kind of file, a
        newer format.
    FileNotFoundError
        If there is none.
    OSError
        If it cannot be read.
    """
    path = os.fsdecode(path)
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a pipe would wait for a writer
        raise ValueError(f"{path}: not a regular file: pass one that save wrote")
    with open(path, "rb") as file:
        try:
            return _unpacked(file)
        except _Refused as error:
            why, advice = (*error.args, "pass a file that save wrote")[:2]
            raise ValueError(f"{path}: {_line(why)}: {advice}") from None
        except (OSError, MemoryError):
            raise
        except Exception as error:  # zipfile has a dozen kinds for damaged files
            raise ValueError(
                f"{path}: damaged ({_line(error)}): load another copy of it, or save it again"
            ) from None


def check_arrays(path: Path, arrays: Mapping[str, Array], expected: Mapping[str, Array]) -> None:
    """ValueError, naming the file, unless arrays has the names, shapes and types of expected."""
    for name in {**expected, **arrays}:
        own, array = expected.get(name), arrays.get(name)
        if array is None:
            what = f"has no array {name!r}"
        elif own is None:
            what = f"has an array {name!r} too many"
        elif (array.shape, array.dtype) != (own.shape, own.dtype):
            what = f"{name!r}: expected {own.dtype} {own.shape}, got {array.dtype} {array.shape}"
        else:
            continue
        raise ValueError(f"{os.fsdecode(path)}: {_line(what)}: load it into what it was saved from")


def held_layers(path: Path, header: Mapping[str, Any]) -> list[str]:
    """The layers of the network that a file holds, as text; ValueError, naming it, if of none."""
    held, path = header.get("layers"), os.fsdecode(path)
    if "optimizer" in header:
        raise ValueError(
            f"{path}: a run's checkpoint: use fit(..., checkpoint={path!r}, resume=True)"
        )
    if not isinstance(held, list) or not all(isinstance(each, str) for each in held):
        raise ValueError(f"{path}: holds no network: pass a file that Sequential.save wrote")
    return held


def _line(reason: object) -> str:
    """One short line: a damaged file's own words may have any length, and what terminals obey."""
    text = str(reason)
    shown = text if text.isprintable() else repr(text)[1:-1]
    return shown if len(shown) <= _LONGEST_REASON else f"{shown[:_LONGEST_REASON]}..."


def _packed(arrays: Mapping[str, Array], header: Mapping[str, Any]) -> bytes:
    for name, value in (("arrays", arrays), ("header", header)):
        if not isinstance(value, Mapping):
            raise TypeError(
                f"{name}: expected a dict, got a {type(value).__name__}: pass name: value"
            )
    for name, array in arrays.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name) or name == _HEADER:
            raise ValueError(f"arrays: expected names of letters, digits and _-., got {name!r}")
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            got = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
            raise TypeError(f"arrays[{name!r}]: expected an array of numbers or bools, got {got}")
        checks._plain(f"arrays[{name!r}]", array)
    _check_plain("header", dict(header))
    document = {"format": _FORMAT, "version": _VERSION, "arrays": [*arrays], "header": {**header}}
    text = json.dumps(document).encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in {_HEADER: np.frombuffer(text, np.uint8), **arrays}.items():
            entry = zipfile.ZipInfo(f"{name}.npy")  # dated 1980: the same contents, the same bytes
            entry.create_system = 3
            entry.file_size = array.nbytes  # tells zipfile when its 64-bit form is needed
            with archive.open(entry, "w") as stream:
                np.lib.format.write_array(stream, np.asarray(array), (1, 0), allow_pickle=False)
    if len(text) > _LARGEST_HEADER or _directory_size(file) > _LARGEST_DIRECTORY:
        long = f"header: too long with the names of {len(arrays)} arrays"
        raise ValueError(f"{long}: join arrays, and pass what is long among them")
    return file.getvalue()


def _check_plain(where: str, value: Any, depth: int = 0) -> None:
    if depth > _DEEPEST_HEADER:
        raise ValueError(
            f"header: lies deeper than {_DEEPEST_HEADER}, or within itself: flatten it"
        )
    if isinstance(value, dict):
        for key, each in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{where}: expected strings as keys, got {key!r}: pass str(...)")
            _check_plain(f"{where}[{key!r}]", each, depth + 1)
    elif isinstance(value, list | tuple):
        for place, each in enumerate(value):
            _check_plain(f"{where}[{place}]", each, depth + 1)
    elif not (value is None or isinstance(value, str | int | float)):
        got = f"{where}: expected a number, string, None, list or dict, got {type(value).__name__}"
        raise TypeError(f"{got}: pass arrays among the arrays, int(...) or float(...) of a number")


def _place(path: Path) -> tuple[str, str, int | None]:
    """The path as a string, the file that it leads to, and that one's permissions."""
    path = os.fsdecode(path)
    target = os.path.realpath(path)
    return path, target, _mode_of_old(path, target)


def _mode_of_old(path: str, target: str) -> int | None:
    """Its permissions, which a new file keeps. What open(path, "wb") refuses is refused."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return None
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise ValueError(f"{path}: not a regular file: pass another name")
    if stat.S_ISDIR(mode) or not os.access(target, os.W_OK):
        code = errno.EISDIR if stat.S_ISDIR(mode) else errno.EACCES
        raise OSError(code, os.strerror(code), path)
    return stat.S_IMODE(mode)


def _beginning(target: str) -> str:
    """How the names of the files begin that become target."""
    return f".npbn-{crc32(os.fsencode(os.path.basename(target))):08x}-"


def _new_file_beside(target: str) -> IO[bytes]:
    """An empty file, locked as long as it is open: who finds it locked leaves it alone."""
    while True:
        name = f"{_beginning(target)}{secrets.token_hex(8)}.tmp"
        file = open(os.path.join(os.path.dirname(target), name), "xb")  # noqa: SIM115
        if not fcntl:
            return file
        with suppress(OSError):  # a disk without locks, where nobody can take it for left over
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.exists(file.name):  # else it was found before it was locked
            return file
        file.close()


def _remove_left_over(target: str) -> None:
    """Remove the files beside target of processes that were killed: those that nobody locks."""
    folder, beginning = os.path.dirname(target), _beginning(target)
    with suppress(OSError):
        for name in os.listdir(folder):
            if name.startswith(beginning) and name.endswith(".tmp"):
                _remove_unless_open(os.path.join(folder, name))


def _remove_unless_open(path: str) -> None:
    with suppress(OSError):
        if not fcntl:
            os.unlink(path)
            return
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)


def _sync_folder(folder: str) -> None:
    """The new name, too, outlives a power failure, where the system can promise that."""
    with suppress(OSError):  # Windows opens no folder
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unpacked(file: IO[bytes]) -> tuple[dict[str, Array], dict[str, Any]]:
    start = file.read(6)
    if not start.startswith(b"PK\3\4"):
        kinds = {b"\x80": "a pickle, which could run code", b"\x93": "one .npy array", b"": "empty"}
        raise _Refused(kinds.get(start[:1], "not a checkpoint"))
    if _directory_size(file) > _LARGEST_DIRECTORY:
        raise _Refused("a zip file of too many entries")
    size = file.seek(0, os.SEEK_END)
    with zipfile.ZipFile(file) as archive:
        entries = archive.infolist()
        if not entries or entries[0].orig_filename != f"{_HEADER}.npy":
            raise _Refused("a zip or .npz file, but not a checkpoint")
        _check_entries(entries[:1], min(size, _LARGEST_HEADER + 1000))
        document = json.loads(_array(archive.read(entries[0])).tobytes().decode())
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            raise _Refused("an .npz file, but not a checkpoint")
        version = document.get("version")
        if type(version) is not int or version < 1:
            raise ValueError(f"its version is {version!r:.60}, no whole number of at least 1")
        if version > _VERSION:
            newer = f"format {version!r:.60}, this npbn reads up to {_VERSION}"
            raise _Refused(newer, "update npbn")
        _check_entries(entries, size)
        names = [entry.orig_filename.removesuffix(".npy") for entry in entries[1:]]
        if document["arrays"] != names or not isinstance(document["header"], dict):
            raise ValueError("the header tells of other arrays")
        arrays = [_array(archive.read(entry)) for entry in entries[1:]]
    return dict(zip(names, arrays, strict=True)), document["header"]


def _directory_size(file: IO[bytes]) -> int:
    """How many bytes zipfile is going to take for the archive's directory, at its end."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 98))
    end = file.read(98).rjust(98, b"\0")
    if end[76:80] != b"PK\5\6" or end[96:] != b"\0\0":
        raise ValueError("its end is missing")
    directory = int.from_bytes(end[88:92], "little")
    if end[56:60] == b"PK\6\7":
        if end[:4] != b"PK\6\6" or int.from_bytes(end[64:72], "little") != size - 98:
            raise ValueError("its end is wrong")
        directory = int.from_bytes(end[40:48], "little")
    return directory


def _check_entries(entries: list[zipfile.ZipInfo], size: int) -> None:
    """Stored arrays and nothing else, and not more than the file has bytes for."""
    for entry in entries:
        name = entry.orig_filename
        if not name.endswith(".npy") or not _NAME.fullmatch(name.removesuffix(".npy")):
            raise _Refused(f"has an entry {name!r}, which is no array")
        if entry.flag_bits & ~0x800 or entry.compress_type != zipfile.ZIP_STORED:
            raise _Refused(f"{name!r} is compressed or encrypted")
        if entry.compress_size != entry.file_size or not 0 <= entry.header_offset < size:
            raise ValueError(f"{name!r} is not where it should be")
    if len({entry.orig_filename for entry in entries}) < len(entries):
        raise _Refused("has two arrays of one name")
    if sum(entry.file_size for entry in entries) > size:
        raise ValueError("it claims to hold more than it does")


def _array(npy: bytes) -> Array:
    """What numpy.lib.format.read_array returns, for arrays of numbers, evaluating nothing."""
    match = _NPY.match(npy)
    if not match or int.from_bytes(match[1], "little") != match.end() - 10:
        raise _Refused("holds other things than arrays of numbers")
    dtype = np.dtype(match[2].decode())
    shape = tuple(int(length) for length in match[4].replace(b",", b" ").split())
    if math.prod(shape) * dtype.itemsize != len(npy) - match.end():
        raise ValueError(f"{len(npy)} bytes are not an array of shape {shape}")
    fortran = match[3] == b"True"
    return np.ndarray(shape, dtype, npy, match.end(), order="F" if fortran else "C").copy("K")
