"""One IDX file, gzip-compressed or plain, read into an array and verified."""

import gzip
import hashlib
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

UNSIGNED_BYTE = 0x08

# Deflate adds a few bytes in 16,000 at most; the rest is for a name in the gzip header.
SPARE = 1 << 16

ADVICE = (
    "give each data set its own folder (MNIST's and Fashion-MNIST's files have the same names), or "
    "delete it and load again"
)


def read_idx(path: Path, shape: tuple[int, ...], sha256: str) -> NDArray[np.uint8]:
    """Read the IDX file of unsigned bytes that has this shape and this content.

    path may be gzip-compressed or not; the first two bytes tell, not the name. sha256 is the
    hexadecimal digest of the uncompressed file, its header included. Whatever the file holds, no
    more than the expected size and one byte is decompressed. Returns a new array of that shape.

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
                with gzip.open(file) as stream:
                    size = _fill(content, stream)
            else:
                size = _fill(content, file)
        except EOFError:
            raise _bad(path, "cut off: the compressed data end too early") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise _bad(path, f"damaged ({error})") from None
    _check_header(path, bytes(content[: min(size, len(header))]), shape)
    if size != len(content):
        length = f"{size}" if size < len(content) else "more"
        raise _bad(path, f"expected {len(content)} bytes uncompressed, got {length}")
    digest = hashlib.sha256(content.data).hexdigest()
    if digest != sha256:
        raise _bad(path, f"wrong content: expected sha256 {sha256:.16}..., got {digest:.16}...")
    return content[len(header) :].reshape(shape)


def _fill(content: NDArray[np.uint8], stream: BinaryIO | gzip.GzipFile) -> int:
    """Fill content from stream; the bytes read, one more than content holds if stream goes on."""
    return stream.readinto(content.data) + len(stream.read(1))  # type: ignore[union-attr]


def _check_header(path: Path, header: bytes, shape: tuple[int, ...]) -> None:
    if not header:
        raise _bad(path, "empty")
    if header.lstrip().startswith(b"<"):
        raise _bad(path, f"an HTML page, not an IDX file: it begins with {header[:8]!r}")
    if header[:4] != bytes([0, 0, UNSIGNED_BYTE, len(shape)])[: len(header)]:
        raise _bad(
            path, f"not an IDX file of {len(shape)}-D unsigned bytes: it begins with {header[:8]!r}"
        )
    sizes = len(header) // 4
    found = struct.unpack(f">{sizes}I", header[: 4 * sizes])[1:]
    if found != shape[: len(found)]:
        raise _bad(path, f"expected an array of shape {shape}, got {found}")


def _bad(path: Path, what: str) -> ValueError:
    return ValueError(f"{path}: {what}: {ADVICE}")
