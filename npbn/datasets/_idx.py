"""One IDX file, gzip-compressed or plain, read into an array and verified."""

import hashlib
import math
import os
import struct
import time
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

UNSIGNED_BYTE = 0x08
CHUNK = 1 << 16

# Deflate adds a few bytes in 16,000 at most; the rest is for a name in the gzip header.
SPARE = 1 << 16

# Programs that split a file make members of 64 KB, some 700 of the largest file.
MEMBERS = 10_000

# Of a CPU's time. A file that takes longer is made to: a good one takes an eighth of it, of 47 MB.
SECONDS, BYTES_PER_SECOND = 0.5, 40e6

ADVICE = (
    "if it belongs to another data set whose files have the same names (MNIST, Fashion-MNIST), "
    "give each its own folder; else delete it and load again, or put the right one there"
)


def read_idx(path: Path, shape: tuple[int, ...], sha256: str) -> NDArray[np.uint8]:
    """Read the IDX file of unsigned bytes that has this shape and this content.

    path may be gzip-compressed or not; the first two bytes tell, not the name. sha256 is the
    hexadecimal digest of the uncompressed file, its header included. Whatever the file holds, no
    more than the expected size and one byte is decompressed, nor for much longer than that takes.
    Returns a new array of that shape.

    ValueError, naming the file and what to do, if it is no file, empty, damaged, too short, too
    long, of another type or shape, or of another content; an OSError if it cannot be read.
    The format: http://yann.lecun.com/exdb/mnist/.
    """
    header = struct.pack(f">{1 + len(shape)}I", UNSIGNED_BYTE << 8 | len(shape), *shape)
    content = np.empty(len(header) + math.prod(shape), np.uint8)
    if path.exists() and not path.is_file():
        raise _bad(path, "not a file, where a file is meant")
    with path.open("rb") as file:
        try:
            if file.peek(2)[:2] == b"\x1f\x8b":
                most = len(content) + len(content) // 1000 + SPARE
                if (stored := os.fstat(file.fileno()).st_size) > most:
                    raise _bad(path, f"expected {most} compressed bytes at most, got {stored}")
                size = _unzip(content, file)
            else:
                size = _fill(content, file)
        except EOFError:
            raise _bad(path, "cut off: the compressed data end too early") from None
        except zlib.error as error:
            raise _bad(path, f"damaged ({error})") from None
    _check_header(path, bytes(content[: min(size, len(header))]), shape)
    if size != len(content):
        length = f"{size}" if size < len(content) else "more"
        raise _bad(path, f"expected {len(content)} bytes uncompressed, got {length}")
    digest = hashlib.sha256(content.data).hexdigest()
    if digest != sha256:
        raise _bad(path, f"wrong content: expected sha256 {sha256}, got {digest}")
    return content[len(header) :].reshape(shape)


def _fill(content: NDArray[np.uint8], stream: BinaryIO) -> int:
    """Fill content from stream; the bytes read, one more than content holds if stream goes on."""
    size: int = stream.readinto(content.data)  # type: ignore[attr-defined]
    return size + len(stream.read(1))


def _unzip(content: NDArray[np.uint8], file: BinaryIO) -> int:
    """As _fill, from a gzip file, of one member or several. EOFError if it is cut off.

    zlib reads headers and checksums, too: GzipFile takes 20 us a member and a copy a header's byte.
    """
    view, size, started = content.data, 0, time.thread_time()
    pending, members = file.read(CHUNK), 0
    while pending:
        members += 1
        if members > MEMBERS:
            raise zlib.error(f"more than {MEMBERS} gzip members")
        member = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        while not member.eof:
            pending = pending or file.read(CHUNK)
            if not pending:
                raise EOFError
            some = member.decompress(pending, min(CHUNK, len(view) - size + 1))
            pending = member.unconsumed_tail
            fitting = some[: len(view) - size]
            view[size : size + len(fitting)] = fitting
            size += len(some)
            if size > len(view):
                return size
            if time.thread_time() - started > SECONDS + size / BYTES_PER_SECOND:
                raise zlib.error(f"made to take long: {size} bytes so far")
        # Zeros may fill up a block of a tape.
        pending = member.unused_data.lstrip(b"\0")
        while not pending and (chunk := file.read(CHUNK)):
            pending = chunk.lstrip(b"\0")
    return size


def _check_header(path: Path, header: bytes, shape: tuple[int, ...]) -> None:
    if not header:
        raise _bad(path, "empty")
    if header.lstrip().startswith(b"<"):
        raise _bad(path, f"an HTML page, not an IDX file: it begins with {header!r}")
    if header[:4] != bytes([0, 0, UNSIGNED_BYTE, len(shape)])[: len(header)]:
        raise _bad(
            path, f"not an IDX file of {len(shape)}-D unsigned bytes: it begins with {header!r}"
        )
    sizes = len(header) // 4
    found = struct.unpack(f">{sizes}I", header[: 4 * sizes])[1:]
    if found != shape[: len(found)]:
        raise _bad(path, f"expected an array of shape {shape}, got {found}")


def _bad(path: Path, what: str) -> ValueError:
    return ValueError(f"{path}: {what}: {ADVICE}")
