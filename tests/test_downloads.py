"""Downloads, from servers on this machine: right, wrong, late, or none at all."""

import errno
import gzip
import hashlib
import io
import os
import re
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import idx_files
import numpy as np
import pytest
from idx_files import zipped
from shared import in_threads

from npbn import datasets
from npbn.datasets import _download, mnist
from npbn.datasets._download import download_first

CONTENT = gzip.compress(b"the right file", mtime=0)
MD5 = hashlib.md5(CONTENT).hexdigest()
HTML = b"<html><body>Please log in</body></html>"


class Handler(BaseHTTPRequestHandler):
    """Serves server.files: path -> bytes, a status, or a function of the handler."""

    def do_GET(self):
        self.server.asked.append(self.path)
        answer = self.server.files.get(self.path, 404)
        if callable(answer):
            answer(self)
        elif isinstance(answer, int):
            self.send_error(answer)
        else:
            self.begin(len(answer))
            self.wfile.write(answer)

    def begin(self, length):
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(_download, "TIMEOUT", (0.3, 0.3))
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.files, server.asked, server.over = {}, [], threading.Event()
        server.address = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


def left_in(folder):
    return sorted(path.name for path in folder.rglob("*"))


# Answers that are no file


def silent(handler):
    handler.server.over.wait(5)


def stalled(handler):
    handler.begin(len(CONTENT))
    handler.wfile.write(CONTENT[:5])
    handler.wfile.flush()
    handler.server.over.wait(5)


def cut_off(handler):
    handler.begin(len(CONTENT))
    handler.wfile.write(CONTENT[:5])


def endless(handler):
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(200):
            handler.wfile.write(bytes(1 << 16))
    except OSError:  # the client has gone, as it should
        pass


def in_circles(handler):
    handler.send_response(302)
    handler.send_header("Location", handler.path)
    handler.end_headers()


def no_http(handler):
    handler.wfile.write(b"220 ready to serve you by FTP\r\n")


DEAD = {
    "not found": (404, "404"),
    "server error": (503, "503"),
    "wrong": (gzip.compress(b"another file"), "md5"),
    "HTML": (HTML, "begin with b'<html>"),
    "empty": (b"", "0 bytes"),
    "silent": (silent, "timed out"),
    "stalled": (stalled, "timed out"),
    "cut off": (cut_off, "IncompleteRead"),
    "endless": (endless, "more than"),
    "redirects": (in_circles, "redirects"),
    "no HTTP": (no_http, "220 ready"),
}


@pytest.mark.parametrize("case", DEAD)
def test_after_a_dead_mirror_the_live_one_is_asked_and_without_one_the_reason_told(
    server, tmp_path, monkeypatch, case
):
    monkeypatch.setattr(_download, "LARGEST", 1_000_000)
    answer, reason = DEAD[case]
    server.files = {"/dead/file.gz": answer, "/live/file.gz": CONTENT}
    dead, live = f"{server.address}/dead/", f"{server.address}/live/"
    mirrors = [dead, live]
    path = download_first(mirrors, tmp_path / "file.gz", MD5)
    assert path.read_bytes() == CONTENT
    assert server.asked[-1] == "/live/file.gz"
    assert mirrors == [live, dead]
    monkeypatch.setenv("NPBN_DATA", "/no/such")
    with pytest.raises(RuntimeError, match=r"^file\.gz: .* NPBN_DATA \(now ./no/such.\);") as error:
        download_first([dead], tmp_path / "new" / "file.gz", MD5)
    first, line = str(error.value).splitlines()
    assert str(tmp_path / "new") in first
    assert line.strip().startswith(f"{dead}file.gz: ")
    assert reason in line
    assert left_in(tmp_path) == ["file.gz"]


def test_a_redirect_to_the_right_file_is_followed(server, tmp_path):
    def elsewhere(handler):
        handler.send_response(301)
        handler.send_header("Location", f"{server.address}/moved/file.gz?token=1")
        handler.end_headers()

    server.files = {"/file.gz": elsewhere, "/moved/file.gz?token=1": CONTENT}
    path = download_first([f"{server.address}/"], tmp_path / "file.gz", MD5)
    assert path == tmp_path / "file.gz"
    assert path.read_bytes() == CONTENT
    assert left_in(tmp_path) == ["file.gz"]


def test_names_and_ports_where_nobody_answers(server, tmp_path):
    server.files = {"/file.gz": CONTENT}
    nobody = ["http://127.0.0.1:9/", "http://nowhere.invalid/", "ftp://127.0.0.1/", "no address/"]
    mirrors = [*nobody, f"{server.address}/"]
    path = download_first(mirrors, tmp_path / "file.gz", MD5)
    assert path.read_bytes() == CONTENT
    with pytest.raises(RuntimeError, match="no mirror could be used") as error:
        download_first(nobody, tmp_path / "other.gz", MD5)
    told, *lines = str(error.value).splitlines()
    for way_out in ("data_dir=", "NPBN_DATA", "data=datasets.load_mnist_5k()", str(tmp_path)):
        assert way_out in told
    assert [line.split(": ")[0].strip() for line in lines] == [f"{each}other.gz" for each in nobody]
    assert all(len(line) <= 150 for line in lines)
    assert not any(word in str(error.value) for word in ("object at 0x", "Pool", "Caused by"))
    assert "Connection refused" in lines[0]
    assert re.search("resolve|name resolution", lines[1])


def test_a_compressed_file_is_kept_as_it_was_sent(server, tmp_path):
    def answer(handler):
        assert handler.headers["Accept-Encoding"] == "identity"
        handler.begin(len(CONTENT))
        handler.wfile.write(CONTENT)

    server.files = {"/file.gz": answer}
    path = download_first([f"{server.address}/"], tmp_path / "file.gz", MD5)
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_write_that_fails_half_way_leaves_nothing(server, tmp_path, monkeypatch, error):
    server.files = {"/file.gz": CONTENT}
    write_bytes = Path.write_bytes

    def write_half(path, content):
        write_bytes(path, content[: len(content) // 2])
        raise error

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(type(error)) as raised:
        download_first([f"{server.address}/"], tmp_path / "file.gz", MD5)
    assert raised.value is error
    if isinstance(error, OSError):
        assert str(tmp_path / "file.gz") in str(error)
    assert left_in(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_the_error_of_the_system(server, tmp_path):
    server.files = {"/file.gz": CONTENT}
    (tmp_path / "in the way").write_bytes(b"")
    with pytest.raises(OSError, match=r"in the way.file\.gz"):
        download_first([f"{server.address}/"], tmp_path / "in the way" / "file.gz", MD5)


def test_several_at_once_do_not_disturb_each_other(server, tmp_path, monkeypatch):
    server.files = {"/file.gz": CONTENT}
    together = threading.Barrier(4, timeout=10)
    write_bytes = Path.write_bytes

    def write_and_wait(path, content):
        write_bytes(path, content)
        together.wait()

    monkeypatch.setattr(Path, "write_bytes", write_and_wait)

    def load():
        download_first([f"{server.address}/"], tmp_path / "file.gz", MD5)

    in_threads([load] * 4)
    assert left_in(tmp_path) == ["file.gz"]
    assert (tmp_path / "file.gz").read_bytes() == CONTENT


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(("stream", "shown"), [(io.StringIO(), False), (Terminal(), True)])
def test_progress_is_shown_in_a_terminal_only(server, tmp_path, monkeypatch, stream, shown):
    server.files = {"/file.gz": CONTENT}
    monkeypatch.setattr(sys, "stderr", stream)
    download_first([f"{server.address}/"], tmp_path / "file.gz", MD5)
    assert ("100%" in stream.getvalue()) is shown
    assert bool(stream.getvalue()) is shown


# A whole set


@pytest.fixture
def small_set(server, tmp_path, monkeypatch):
    """load_mnist over four small files that the server has, with an empty cache."""
    mirrors = (f"{server.address}/dead/", f"{server.address}/live/")
    source, contents, _ = idx_files.small_set(mirrors=mirrors)
    server.files |= {f"/live/{name}.gz": zipped(each) for name, each in contents.items()}
    monkeypatch.setattr(mnist, "MNIST", source)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.delenv("NPBN_DATA", raising=False)
    return tmp_path / "cache" / "npbn"


FILES = [f"{name}.gz" for name in idx_files.SHAPES]


def test_a_set_is_downloaded_once_and_a_dead_mirror_asked_once(server, small_set):
    first = datasets.load_mnist()
    assert first.train[0].shape == (15, 784)
    assert left_in(small_set) == sorted(FILES)
    assert server.asked == [f"/dead/{FILES[0]}", *(f"/live/{name}" for name in FILES)]
    again = datasets.load_mnist(download=False)
    np.testing.assert_array_equal(again.test[0], first.test[0])
    assert len(server.asked) == 5


def test_downloads_go_to_data_dir_when_given(server, small_set, tmp_path):
    folder = tmp_path / "given"
    with pytest.raises(FileNotFoundError, match=r"data_dir: there is no folder '.*given': pass"):
        datasets.load_mnist(os.fspath(folder))
    assert server.asked == []
    folder.mkdir()
    datasets.load_mnist(os.fspath(folder))
    assert left_in(folder) == sorted(FILES)
    assert not small_set.exists()


def test_what_the_environment_lacks_is_downloaded_into_the_cache(
    server, small_set, tmp_path, monkeypatch
):
    folder = tmp_path / "environment"
    folder.mkdir()
    monkeypatch.setenv("NPBN_DATA", str(folder))
    (folder / FILES[2]).write_bytes(server.files[f"/live/{FILES[2]}"])
    datasets.load_mnist()
    assert left_in(folder) == [FILES[2]]
    assert left_in(small_set) == sorted({*FILES} - {FILES[2]})


def test_a_bad_file_is_not_replaced_but_named(server, small_set):
    datasets.load_mnist()
    (small_set / FILES[1]).write_bytes(HTML)
    with pytest.raises(ValueError, match=r"labels\.gz: an HTML page.*delete it and load again"):
        datasets.load_mnist()
    (small_set / FILES[1]).unlink()
    datasets.load_mnist()
    assert left_in(small_set) == sorted(FILES)


def test_nothing_is_asked_without_download(server, small_set):
    with pytest.raises(FileNotFoundError, match=r"train-images\.gz of Small"):
        datasets.load_mnist(download=False)
    assert server.asked == []
    assert left_in(small_set.parent) == []


def test_the_real_sources_have_four_files_each_and_end_their_addresses_with_a_slash():
    for source in (mnist.MNIST, mnist.FASHION_MNIST):
        files = (source.train_images, source.train_labels, source.test_images, source.test_labels)
        assert len({file.name for file in files}) == 4
        assert all(len(file.sha256) == 64 and len(file.md5) == 32 for file in files)
        assert all(mirror.endswith("/") for mirror in source.mirrors)
        largest = max(np.prod(file.shape) for file in files)
        assert largest < _download.LARGEST
