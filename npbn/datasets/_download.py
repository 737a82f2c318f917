"""One file from the first mirror that has it, verified before it touches the disk."""

import hashlib
import io
import os
import re
import sys
import uuid
from pathlib import Path

# Seconds to connect, and seconds without a byte, until the next mirror is asked.
TIMEOUT = (20.0, 20.0)

# Every file of these data sets is below 27 MB: what is longer is something else.
LARGEST = 64_000_000


def download_first(mirrors: list[str], target: Path, md5: str) -> Path:
    """Download mirror + target.name from the first mirror that has it, into target.

    A mirror that failed is moved to the end of mirrors, so that the next file asks it last. The
    content is kept in memory until its md5 is right, so a failed download leaves nothing behind,
    and an OSError (disk full, no permission) can only mean target, which it names.

    RuntimeError, naming the file and each mirror's reason, if none has it. Returns target.
    """
    reasons = []
    for mirror in tuple(mirrors):
        address = mirror + target.name
        try:
            content = _received(address, md5)
        except (OSError, ValueError) as error:  # what requests raises is an OSError
            reasons.append(f"{address}: {_in_short(error)}")
            mirrors.remove(mirror)
            mirrors.append(mirror)
        else:
            _write(target, content)
            return target
    now = f" (now {folder!r})" if (folder := os.environ.get("NPBN_DATA")) else ""
    raise RuntimeError(
        f"{target.name}: no mirror could be used: check the connection; or put the file into "
        f"{target.parent}, or into a folder that you pass as data_dir= or name in NPBN_DATA{now}; "
        "or go on with data=datasets.load_mnist_5k(), which needs no network\n  "
        + "\n  ".join(reasons)
    )


def _in_short(error: BaseException) -> str:
    """What went wrong, without what requests and urllib3 say around it."""
    while True:
        inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    text = str(error)
    # Such as "<urllib3.connection.HTTPConnection object at 0x7f>: ", "HTTPSConnection(host='x'): ".
    text = re.sub(r"^(<[^>]*>|\w+\(host=[^)]*\)): ", "", text)
    return text if len(text) <= 120 else f"{text[:120]}..."


class _Buffer(io.BytesIO):
    """Memory that refuses to grow beyond LARGEST."""

    def write(self, chunk: bytes) -> int:  # type: ignore[override]
        if self.tell() + len(chunk) > LARGEST:
            raise ValueError(f"sends more than {LARGEST} bytes")
        return super().write(chunk)


def _received(address: str, md5: str) -> bytes:
    import pooch

    fetch = pooch.HTTPDownloader(
        progressbar=sys.stderr is not None and sys.stderr.isatty(),
        chunk_size=1 << 16,
        timeout=TIMEOUT,
        # The file itself is compressed; a server must not wrap it once more.
        headers={"Accept-Encoding": "identity"},
    )
    buffer = _Buffer()
    fetch(address, buffer, None)
    content = buffer.getvalue()
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if digest != md5:
        raise ValueError(
            f"sent another file, of {len(content)} bytes that begin with {content[:16]!r}: "
            f"expected md5 {md5:.8}..., got {digest:.8}..."
        )
    return content


def _write(target: Path, content: bytes) -> None:
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(content)
            os.replace(partial, target)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        error.filename = os.fspath(target)
        raise
