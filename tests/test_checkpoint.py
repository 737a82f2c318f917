"""A checkpoint comes back whole or not at all, and no file does harm."""

import errno
import io
import json
import math
import os
import pickle
import re
import stat
import struct
import subprocess
import sys
import time
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from shared import memory_of

from npbn import checkpoint

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no such files")
ARRAYS = {
    "0.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "1.gamma": np.array([1.5, np.nan, -np.inf]),
    "labels": np.array([[3, 1], [2, 0]], np.uint8),
    "on": np.array(True),
    "none": np.empty((0, 5), np.int64),
}
HEADER = {"step": 7, "rate": 0.1, "layers": ["Dense(3, 4)", None], "big": {"state": 2**127 + 1}}


def assert_same(arrays, expected):
    assert list(arrays) == list(expected)
    for name, array in expected.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()
        assert arrays[name].flags.writeable


@pytest.fixture
def path(tmp_path):
    return tmp_path / "network.npbn"


@pytest.fixture
def saved(path):
    checkpoint.save(path, ARRAYS, HEADER)
    return path


dtypes = st.one_of(
    npst.boolean_dtypes(),
    npst.integer_dtypes(endianness="?"),
    npst.unsigned_integer_dtypes(endianness="?"),
    npst.floating_dtypes(endianness="?"),
)
layouts = st.sampled_from(
    [
        lambda a: a,
        np.asfortranarray,
        lambda a: a.T,
        lambda a: a[::-1] if a.ndim else a,
        lambda a: a[..., ::2] if a.ndim else a,
        lambda a: np.broadcast_to(a, (2, *a.shape)),
    ]
)
some_arrays = npst.arrays(dtypes, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
names = st.text("abgmz_019.-é", min_size=1, max_size=8).filter(lambda name: name[0] not in ".-")
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=5), each, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.dictionaries(names, st.tuples(some_arrays, layouts), max_size=4),
    st.dictionaries(st.text(max_size=5), plain, max_size=3),
)
@settings(max_examples=150, deadline=None)
def test_what_is_saved_comes_back(tmp_path_factory, arrays, header):
    path = tmp_path_factory.mktemp("round", numbered=True) / "trip"
    arrays = {name: layout(array) for name, (array, layout) in arrays.items()}
    checkpoint.save(path, arrays, header)
    loaded, loaded_header = checkpoint.load(path)
    assert_same(loaded, arrays)
    assert repr(loaded_header) == repr(header)  # tells -0.0 from 0.0, and nan is nan
    with np.load(path, allow_pickle=False) as archive:
        assert archive.files == ["__header__", *arrays]
        for name, array in arrays.items():
            assert archive[name].tobytes() == array.tobytes()


def test_header_values_are_exact(path):
    integers = [0, -1, 2**63, -(10**4000), True, None]
    floats = [0.1, 1e-323, 1.7976931348623157e308, -0.0, math.inf, math.nan]
    values = [*integers, *floats, "", "\ud800\0é\U0001f600", [], {}, [[1.0], {"a": 2}]]
    checkpoint.save(path, {}, {"values": [*values, np.float64(0.1)]})
    loaded = checkpoint.load(path)[1]["values"]
    assert repr(loaded) == repr([*values, 0.1])  # tells True from 1, and -0.0 from 0.0


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4), (4,), ()])
def test_the_order_in_memory_comes_back(path, shape):
    array = np.arange(math.prod(shape), dtype=np.float32).reshape(shape)
    for laid_out in (array, np.asfortranarray(array)):
        checkpoint.save(path, {"a": laid_out}, {})
        loaded = checkpoint.load(path)[0]["a"]
        np.testing.assert_array_equal(loaded, array)
        assert loaded.flags.c_contiguous == laid_out.flags.c_contiguous
        assert loaded.flags.f_contiguous == laid_out.flags.f_contiguous


def test_tuples_come_back_as_lists(path):
    checkpoint.save(path, {}, {"shape": (3, (4,))})
    assert checkpoint.load(path)[1] == {"shape": [3, [4]]}


def test_the_name_is_exactly_the_one_given(path):
    for name in (path, str(path), os.fsencode(path)):
        checkpoint.save(name, ARRAYS, HEADER)
        assert os.listdir(path.parent) == [path.name]
        arrays, header = checkpoint.load(name)
        assert_same(arrays, ARRAYS)
        assert header == HEADER
        path.unlink()


def test_the_same_contents_are_the_same_bytes(saved):
    first = saved.read_bytes()
    time.sleep(0.01)
    checkpoint.save(saved, ARRAYS, HEADER)
    assert saved.read_bytes() == first


def test_the_form_for_more_than_4_gib(saved, monkeypatch):
    assert b"PK\6\6" not in saved.read_bytes()
    arrays = ARRAYS | {"large": np.arange(1000.0)}
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    checkpoint.save(saved, arrays, HEADER)
    monkeypatch.undo()
    assert b"PK\6\6" in saved.read_bytes()
    assert_same(checkpoint.load(saved)[0], arrays)


# What is refused when saving


def deep(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


CYCLE = {}
CYCLE["a"] = [CYCLE, CYCLE]


def test_arrays_in_a_list_are_refused(path):
    with pytest.raises(TypeError, match=r"^arrays: expected a dict, got a list"):
        checkpoint.save(path, [np.ones(3)], {})


@pytest.mark.parametrize("version", [math.nan, 0, -1, 1.0, True, "2", None, [1]])
def test_a_version_that_is_none_is_told(path, version):
    path.write_bytes(with_array(npy(np.ones(3)), version=version))
    with pytest.raises(ValueError, match=r"its version is .*, no whole number of at least 1"):
        checkpoint.load(path)


def test_the_deepest_header_and_the_longest_name_come_back(path):
    arrays = {"a" * 200: np.ones(3)}
    checkpoint.save(path, arrays, {"a": deep(99)})
    loaded, header = checkpoint.load(path)
    assert_same(loaded, arrays)
    assert header == {"a": deep(99)}


@pytest.mark.parametrize(
    ("arrays", "header", "error", "message"),
    [
        ({"a": [1.0]}, {}, TypeError, r"arrays\['a'\]: expected an array .* got list"),
        ({"a": np.float64(1)}, {}, TypeError, "arrays"),
        ({"a": np.array([None])}, {}, TypeError, "got object"),
        ({"a": np.array(["x"])}, {}, TypeError, "got <U1"),
        ({"a": np.array([1j])}, {}, TypeError, "got complex128"),
        ({"a": np.zeros(2, "f4,i4")}, {}, TypeError, "arrays"),
        ({"a": np.zeros(2, "M8[s]")}, {}, TypeError, "arrays"),
        *[
            ({name: np.ones(1)}, {}, ValueError, "names of letters")
            for name in ("", "../a", ".a", "a/b", "a.npy", "a\n", "__header__", 1, "a" * 201)
        ],
        ({}, {1: 2}, TypeError, "strings as keys, got 1"),
        ({}, {"a": {None: 2}}, TypeError, r"header\['a'\]: expected strings as keys"),
        ({}, {"a": [0, np.ones(1)]}, TypeError, r"header\['a'\]\[1\]: expected a number"),
        ({}, {"a": np.int64(1)}, TypeError, "int64"),
        ({}, {"a": {1, 2}}, TypeError, "set"),
        ({}, {"a": b"x"}, TypeError, "bytes"),
        ({}, CYCLE, ValueError, "^header: lies deeper than 100, or within itself"),
        ({}, {"a": deep(3000)}, ValueError, "^header: lies deeper than 100, or within itself"),
        ({}, [1], TypeError, "^header: expected a dict, got a list"),
        ({"a": np.ma.array([1.0], mask=True)}, {}, TypeError, "plain array, got a MaskedArray"),
        ({}, {"a": "x" * 2**20}, ValueError, "pass what is long among them"),
        ({"a" * 190 + str(i): np.ones(1) for i in range(6000)}, {}, ValueError, "join arrays"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is_written(
    saved, arrays, header, error, message
):
    before = saved.read_bytes()
    with pytest.raises(error, match=message):
        checkpoint.save(saved, {"0": np.ones(3)} | arrays, header)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def test_the_longest_header_comes_back_and_no_longer_one_is_saved(path):
    around = len(json.dumps({"format": "npbn checkpoint", "version": 1, "arrays": []}))
    text = "x" * (2**20 - around - len(', "header": {"a": ""}'))
    checkpoint.save(path, {}, {"a": text})
    assert checkpoint.load(path) == ({}, {"a": text})
    with pytest.raises(ValueError, match=r"^header: too long"):
        checkpoint.save(path, {}, {"a": text + "x"})


def test_the_most_arrays_that_can_be_saved_come_back(path, monkeypatch):
    arrays = {"a": np.ones(3), "b": np.ones(3)}
    directory = sum(46 + len(f"{name}.npy") for name in ("__header__", *arrays))
    monkeypatch.setattr(checkpoint, "_LARGEST_DIRECTORY", directory)
    checkpoint.save(path, arrays, {})
    assert_same(checkpoint.load(path)[0], arrays)
    monkeypatch.setattr(checkpoint, "_LARGEST_DIRECTORY", directory - 1)
    with pytest.raises(ValueError, match="join arrays"):
        checkpoint.save(path, arrays, {})
    with pytest.raises(ValueError, match="too many entries"):
        checkpoint.load(path)


# What goes wrong while saving


def full_disk(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def interrupted(*_):
    raise KeyboardInterrupt


FAILURES = [
    ("fsync", full_disk, OSError),
    ("fsync", interrupted, KeyboardInterrupt),
    ("replace", full_disk, OSError),
    ("replace", interrupted, KeyboardInterrupt),
    ("chmod", interrupted, KeyboardInterrupt),
]


@pytest.mark.parametrize(("function", "failure", "error"), FAILURES)
def test_a_failure_leaves_the_old_file_and_nothing_else(
    saved, monkeypatch, function, failure, error
):
    before = saved.read_bytes()
    monkeypatch.setattr(os, function, failure)
    with pytest.raises(error) as caught:
        checkpoint.save(saved, {"a": np.ones(3)}, {})
    monkeypatch.undo()
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]
    if error is OSError:
        assert caught.value.errno == errno.ENOSPC
        assert saved.name in str(caught.value)


@posix
def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(saved):
    """The system itself refuses more than 64 KiB a file, in the middle of the writing."""
    code = """
import resource, signal, sys
import numpy as np
from npbn import checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
try:
    checkpoint.save(sys.argv[1], {"a": np.ones(100_000)}, {})
except OSError as error:
    print(error)
"""
    before = saved.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", code, saved], capture_output=True, text=True, check=True
    )
    assert "File too large" in done.stdout
    assert str(saved) in done.stdout
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]


def killed_while_saving(path):
    code = """
import os, signal, sys
import numpy as np
from npbn import checkpoint
os.replace = lambda *_: os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))
checkpoint.save(sys.argv[1], {"a": np.ones(3)}, {})
"""
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode != 0


def left_over(folder):
    return [path for path in folder.iterdir() if path.name.startswith(".npbn-")]


def test_a_process_that_is_killed_leaves_the_old_file(saved):
    before = saved.read_bytes()
    killed_while_saving(saved)
    assert saved.read_bytes() == before


def test_the_next_save_to_that_name_removes_what_a_killed_process_left(saved):
    killed_while_saving(saved)
    assert len(left_over(saved.parent)) == 1
    checkpoint.save(saved.with_name("another"), ARRAYS, HEADER)
    checkpoint.check_save(saved, ARRAYS, HEADER)
    assert len(left_over(saved.parent)) == 1
    checkpoint.save(saved, ARRAYS, HEADER)
    assert sorted(os.listdir(saved.parent)) == ["another", saved.name]


def test_a_save_that_is_under_way_is_left_alone_by_another_to_that_name(saved, monkeypatch):
    replace = os.replace

    def replace_after_another_save(temporary, target):
        monkeypatch.setattr(os, "replace", replace)
        checkpoint.save(saved, {"a": np.ones(3)}, {})
        assert os.path.exists(temporary)
        replace(temporary, target)

    monkeypatch.setattr(os, "replace", replace_after_another_save)
    checkpoint.save(saved, ARRAYS, HEADER)
    assert_same(checkpoint.load(saved)[0], ARRAYS)
    assert os.listdir(saved.parent) == [saved.name]


@posix
def test_a_file_that_was_taken_for_left_over_before_it_was_locked_is_made_again(saved, monkeypatch):
    flock, taken = checkpoint.fcntl.flock, []

    def found_by_another(file, how):
        if not taken:
            taken.append(file.name)
            os.unlink(file.name)
        flock(file, how)

    monkeypatch.setattr(checkpoint.fcntl, "flock", found_by_another)
    checkpoint.save(saved, ARRAYS, HEADER)
    assert taken
    assert_same(checkpoint.load(saved)[0], ARRAYS)
    assert os.listdir(saved.parent) == [saved.name]


@posix
def test_on_a_disk_without_locks_files_are_saved_and_nothing_is_taken_for_left_over(
    saved, monkeypatch
):
    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    killed_while_saving(saved)
    monkeypatch.setattr(checkpoint.fcntl, "flock", no_locks)
    checkpoint.save(saved, ARRAYS, HEADER)
    assert_same(checkpoint.load(saved)[0], ARRAYS)
    assert len(left_over(saved.parent)) == 1


def test_where_locks_are_missing_the_system_keeps_open_files(saved, monkeypatch):
    """As on Windows, where fcntl is missing and no open file is renamed."""
    monkeypatch.setattr(checkpoint, "fcntl", None)
    killed_while_saving(saved)
    checkpoint.save(saved, ARRAYS, HEADER)
    assert_same(checkpoint.load(saved)[0], ARRAYS)
    assert os.listdir(saved.parent) == [saved.name]


def test_contents_reach_the_disk_before_the_name_does(path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(
        os,
        "fsync",
        lambda number: (
            events.append(("fsync", stat.S_ISDIR(os.fstat(number).st_mode))) or fsync(number)
        ),
    )
    monkeypatch.setattr(
        os, "replace", lambda *names: events.append(("replace",)) or replace(*names)
    )
    checkpoint.save(path, ARRAYS, HEADER)
    assert events[:2] == [("fsync", False), ("replace",)]
    if os.name == "posix":
        assert events[2:] == [("fsync", True)]


def test_all_is_written_in_the_folder_that_it_stays_in(path, monkeypatch, tmp_path_factory):
    """From another one, which may lie on another disk, no file can be moved at once."""
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    moved, replace = [], os.replace
    monkeypatch.setattr(os, "replace", lambda *names: moved.append(names) or replace(*names))
    checkpoint.save(path, ARRAYS, HEADER)
    ((temporary, target),) = moved
    assert os.path.dirname(temporary) == os.path.dirname(target) == os.path.realpath(path.parent)


def test_a_folder_that_cannot_be_synced_is_no_failure(path, monkeypatch):
    fsync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda n: full_disk() if stat.S_ISDIR(os.fstat(n).st_mode) else fsync(n)
    )
    checkpoint.save(path, ARRAYS, HEADER)
    assert_same(checkpoint.load(path)[0], ARRAYS)


def test_folders_and_missing_folders(tmp_path):
    for function in (lambda p: checkpoint.save(p, ARRAYS, HEADER), checkpoint.load):
        with pytest.raises(OSError, match=tmp_path.name) as caught:
            function(tmp_path)
        assert isinstance(caught.value, IsADirectoryError | PermissionError)
        assert os.name != "posix" or isinstance(caught.value, IsADirectoryError)
        missing = tmp_path / "missing" / "file"
        with pytest.raises(FileNotFoundError) as caught:
            function(missing)
        assert str(missing) in str(caught.value).replace("\\\\", "\\")
    assert os.listdir(tmp_path) == []


def test_what_save_refuses_check_save_refuses_in_the_same_words(tmp_path):
    def refusal(function, path, arrays):
        with pytest.raises((OSError, TypeError)) as caught:
            function(path, arrays, HEADER)
        return type(caught.value), str(caught.value)

    for place, arrays in (
        (tmp_path / "missing" / "file", ARRAYS),
        (tmp_path, ARRAYS),
        (tmp_path / "file", {"a": [1.0]}),
    ):
        told = refusal(checkpoint.check_save, place, arrays)
        assert told == refusal(checkpoint.save, place, arrays)
    assert os.listdir(tmp_path) == []


@posix
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_permissions_that_open_gives(path, mask):
    before = os.umask(mask)
    try:
        checkpoint.save(path, ARRAYS, HEADER)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


@posix
def test_an_old_files_permissions_stay(saved):
    saved.chmod(0o640)
    checkpoint.save(saved, {}, {})
    assert stat.S_IMODE(saved.stat().st_mode) == 0o640


def test_a_file_protected_from_writing_stays(saved, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write to any file
    with pytest.raises(PermissionError, match=saved.name):
        checkpoint.save(saved, {}, {})
    assert saved.read_bytes() == before


@posix
def test_a_link_stays_and_its_target_is_replaced(saved, tmp_path):
    (tmp_path / "folder").mkdir()
    link = tmp_path / "folder" / "link"
    link.symlink_to(os.path.join("..", saved.name))
    checkpoint.save(link, {"a": np.ones(3)}, {})
    assert link.is_symlink()
    assert not saved.is_symlink()
    assert list(checkpoint.load(saved)[0]) == ["a"]
    assert os.listdir(tmp_path / "folder") == ["link"]
    saved.unlink()
    checkpoint.save(link, {"b": np.ones(3)}, {})
    assert list(checkpoint.load(saved)[0]) == ["b"]


@posix
def test_links_in_a_ring_are_refused(path):
    path.symlink_to(path)
    for function in (lambda p: checkpoint.save(p, ARRAYS, HEADER), checkpoint.load):
        with pytest.raises(OSError, match=path.name) as caught:
            function(path)
        assert caught.value.errno == errno.ELOOP
    assert path.is_symlink()


@posix
def test_pipes_and_devices_are_neither_read_nor_replaced(path):
    for special in ("/dev/null", "/dev/zero"):
        with pytest.raises(ValueError, match="not a regular file"):
            checkpoint.load(special)
    os.mkfifo(path)
    with pytest.raises(ValueError, match="not a regular file"):
        checkpoint.save(path, ARRAYS, HEADER)
    assert stat.S_ISFIFO(path.stat().st_mode)
    with pytest.raises(ValueError, match="not a regular file"):
        checkpoint.load(path)


# Files that are no checkpoints


def npy(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npy_claiming(descr, shape, data=b"", header=None, magic=b"\x93NUMPY\x01\x00"):
    header = header or f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
    header = header.encode().ljust(117) + b"\n"
    return magic + struct.pack("<H", len(header)) + header + data


def document(names=("a",), **changes):
    parts = {"format": "npbn checkpoint", "version": 1, "arrays": list(names), "header": {}}
    return npy(np.frombuffer(json.dumps(parts | changes).encode(), np.uint8))


def archive(*entries, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as out, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # two entries of one name
        for name, data in entries:
            out.writestr(name, data)
    return file.getvalue()


def with_array(data, name="a.npy", **changes):
    return archive(("__header__.npy", document(**changes)), (name, data))


def with_header(data):
    return archive(("__header__.npy", data))


class Bomb:
    def __reduce__(self):
        return (exec, ("raise SystemExit('code from a file was run')",))


def good():
    return with_array(npy(np.ones(3)))


def encrypted():
    data = bytearray(good())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        data[data.rfind(signature) + offset] |= 1
    return bytes(data)


def with_claimed_size(size):
    """The directory gives a.npy this size, also where it starts again in what is another's."""
    data = bytearray(good())
    place = data.rfind(b"PK\1\2")
    data[place + 20 : place + 28] = struct.pack("<2I", size, size)
    return bytes(data)


def with_long_name_in_its_place():
    """The directory says a.npy; in its place stands a name that goes on through all the array."""
    data = bytearray(with_array(npy(np.ones(60_000, np.uint8))))
    place = data.find(b"PK\3\4", 30)
    data[place + 26 : place + 28] = struct.pack("<H", 60_000)
    return bytes(data)


def with_claimed_directory(size):
    data = bytearray(good())
    data[-10:-6] = struct.pack("<I", size)
    return bytes(data)


def with_claimed_place(place):
    """The directory says that a.npy starts here, in the form that has room for it."""
    data = bytearray(good())
    entry = data.rfind(b"PK\1\2")
    data[entry + 30 : entry + 32] = struct.pack("<H", 12)
    data[entry + 42 : entry + 46] = b"\xff" * 4
    data[-10:-6] = struct.pack("<I", int.from_bytes(data[-10:-6], "little") + 12)
    data[-22:-22] = struct.pack("<2HQ", 1, 8, place)
    return bytes(data)


def many_entries(*, large_form=False, false_form=False, comment=b""):
    central = struct.pack("<4s6H3L5H2L", b"PK\1\2", *[0] * 9, 1, *[0] * 6) + b"x"
    directory = central * 45_000  # 2.1 million bytes, just above what is read
    if false_form:  # ends like the large form, but has only its locator
        directory += bytes(56)
        directory += struct.pack("<4sLQL", b"PK\6\7", 0, 4 + len(directory) - 56, 1)
    size = len(directory)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, size, 4, len(comment)) + comment
    if large_form:
        place = 4 + len(directory)
        record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 9, 9, len(directory), 4)
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 9, 9, 0, 4, 0)
        end = record + struct.pack("<4sLQL", b"PK\6\7", 0, place, 1) + end
    return b"PK\3\4" + directory + end


pickled = pickle.dumps({"a": Bomb()})
object_array = npy(np.array([Bomb()], object), allow_pickle=True)
BAD_FILES = {
    "empty": (b"", ": empty: pass"),
    "a flipped bit": (good().replace(b"\xf0?", b"\xf1?", 1), "damaged .*CRC.* load another copy"),
    "text": (b"hello, world\n" * 50, "not a checkpoint"),
    "a pickle": (pickled, ": a pickle, which could run code: pass"),
    "an .npy file": (npy(np.ones(3)), ": one .npy array: pass"),
    "an .npy file of objects": (object_array, "one .npy array"),
    "an empty zip": (archive(), "not a checkpoint"),
    "a zip": (archive(("read.me", b"hello")), "not a checkpoint"),
    "an .npz": (archive(("a.npy", npy(np.ones(3)))), "not a checkpoint"),
    "another program's header": (with_header(npy(np.ones(3))), "damaged"),
    "another format": (with_array(npy(np.ones(3)), format="other"), "not a checkpoint"),
    "a newer format": (with_array(b"?", version=2), "format 2, .* up to 1: update npbn"),
    "a header in UTF-16": (
        with_header(npy(np.frombuffer(json.dumps({"format": "x"}).encode("utf-16"), np.uint8))),
        "damaged",
    ),
    "a list": (with_header(npy(np.frombuffer(b"[]", np.uint8))), "not a checkpoint"),
    "a deep list": (with_header(npy(np.frombuffer(b"[" * 10**5, np.uint8))), "damaged"),
    "a huge number": (with_header(npy(np.frombuffer(b"9" * 10**6, np.uint8))), "damaged"),
    "a huge header": (with_array(npy(np.ones(3)), header={"a": "x" * 2**21}), "damaged"),
    "other names": (with_array(npy(np.ones(3)), names="b"), "other arrays"),
    "a header in words": (with_array(npy(np.ones(3)), header="x"), "damaged"),
    "a path": (with_array(npy(np.ones(3)), "../../a.npy"), "no array"),
    "an absolute path": (with_array(npy(np.ones(3)), "/a.npy"), "no array"),
    "a folder": (with_array(b"", "a/"), "no array"),
    "another entry": (with_array(b"print()", "a.py"), "no array"),
    "two of one name": (
        archive(("__header__.npy", document("aa")), *[("a.npy", npy(np.ones(1)))] * 2),
        "two arrays of one name",
    ),
    "an entry of a long name": (with_array(b"", "x" * 60_000), "has an entry 'xxx"),
    "an entry that clears a screen": (with_array(b"", "\x1b[2J\n"), "has an entry"),
    "a long name in its place": (with_long_name_in_its_place(), "damaged .*in directory"),
    "arrays of 60 axes": (with_array(npy_claiming("<f8", (10**9,) * 60)), "damaged"),
    "compressed": (
        archive(
            ("__header__.npy", document()),
            ("a.npy", npy(np.zeros(10**6))),
            compression=zipfile.ZIP_DEFLATED,
        ),
        "compressed",
    ),
    "encrypted": (encrypted(), "is compressed or encrypted"),
    "2 GiB": (with_claimed_size(2**31), "claims to hold more"),
    "all of itself": (with_claimed_size(len(good())), "claims to hold more"),
    "a byte too many": (with_claimed_size(len(npy(np.ones(3))) + 1), "damaged"),
    "a huge directory": (with_claimed_directory(2**31), "too many entries"),
    "a directory beyond the start": (with_claimed_directory(2**20), "damaged"),
    "a place beyond any file": (with_claimed_place(2**62), "damaged"),
    "no directory": (with_claimed_directory(0), "not a checkpoint"),
    "many entries": (many_entries(), "too many entries"),
    "many in the large form": (many_entries(large_form=True), "too many entries"),
    "many in a false form": (many_entries(false_form=True), "damaged .*its end is wrong"),
    "many and a comment": (many_entries(comment=bytes(100)), "damaged .*its end is missing"),
    "objects": (with_array(object_array), "other things than arrays of numbers"),
    "objects without pickle": (with_array(npy_claiming("|O", (1,), b"x" * 8)), "other things"),
    "strings": (with_array(npy(np.array(["x"]))), "other things"),
    "complex": (with_array(npy(np.array([1j]))), "other things"),
    "structured": (with_array(npy(np.zeros(2, "f4,i4"))), "other things"),
    "code for a header": (
        with_array(npy_claiming("", (), header="__import__('os').abort()")),
        "other things",
    ),
    "a terabyte": (with_array(npy_claiming("<f8", (2**37,), b"x" * 8)), "damaged"),
    "more than there is": (with_array(npy_claiming("<f8", (2,), b"x" * 8)), "damaged"),
    "less than there is": (with_array(npy_claiming("<f8", (1,), b"x" * 9)), "damaged"),
    "endless sizes": (with_array(npy_claiming("<f8", (10**60, 0))), "damaged"),
    "65 axes": (with_array(npy_claiming("|u1", (1,) * 65, b"x")), "damaged"),
    "no such type": (with_array(npy_claiming("<f3", (1,), b"xxx")), "damaged"),
    "another length of header": (
        with_array(npy_claiming("<f8", (1,), b"x" * 8).replace(b"\x00v\x00", b"\x00w\x00")),
        "other things",
    ),
    "no .npy": (with_array(b"hello"), "other things"),
    "an empty .npy": (with_array(b""), "other things"),
    "a newer .npy": (
        with_array(npy_claiming("<f8", (1,), b"x" * 8, magic=b"\x93NUMPY\x09\x00")),
        "other things",
    ),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_bad_files_are_refused_by_name_and_reason(path, kind):
    contents, reason = BAD_FILES[kind]
    path.write_bytes(contents)
    refusals = []

    def refused():
        with pytest.raises(ValueError, match=reason) as caught:
            checkpoint.load(path)
        refusals.append(caught.value)

    started = time.perf_counter()
    assert memory_of(refused)[1] < 3 * len(contents) + 2e6
    assert time.perf_counter() - started < 2
    message = str(refusals[0])
    assert message.startswith(f"{path}: ")
    assert len(message) <= 300
    assert message.isprintable()
    assert refusals[0].__suppress_context__  # a traceback would show what it was made of
    assert re.search(": (pass a|load another|update npbn)", message)


def test_the_bad_files_are_bad_for_their_one_reason(path):
    path.write_bytes(good())
    assert_same(checkpoint.load(path)[0], {"a": np.ones(3)})
    path.write_bytes(with_array(npy_claiming("<f8", (1,), b"x" * 8)))
    assert checkpoint.load(path)[0]["a"].shape == (1,)
    for same in (
        with_claimed_size(len(npy(np.ones(3)))),
        with_claimed_place(good().rfind(b"PK\3")),
    ):
        path.write_bytes(same)
        assert_same(checkpoint.load(path)[0], {"a": np.ones(3)})


def test_every_truncation_is_refused(saved):
    contents = saved.read_bytes()
    for length in range(len(contents)):
        saved.write_bytes(contents[:length])
        with pytest.raises(ValueError, match=saved.name):
            checkpoint.load(saved)


def test_every_flipped_bit_is_refused_or_does_no_harm(saved):
    contents = saved.read_bytes()
    refused = 0
    with saved.open("r+b") as file:
        for place, byte in enumerate(contents):
            for bit in (place % 8, (place + 3) % 8):
                file.seek(place)
                file.write(bytes([byte ^ 1 << bit]))
                file.flush()
                refused += not comes_back(saved)
            file.seek(place)
            file.write(bytes([byte]))
    assert refused > len(contents)


def comes_back(path):
    """True: exactly what was saved; False: refused. Anything else is a failure."""
    refusal = ""
    try:
        arrays, header = checkpoint.load(path)
    except ValueError as error:
        refusal = str(error)
    if refusal:
        assert refusal.startswith(str(path))
        return False
    assert_same(arrays, ARRAYS)
    assert header == HEADER
    return True


def test_loading_takes_little_more_memory_than_the_file(path):
    checkpoint.save(path, {"a": np.ones(10**6), "b": np.ones(10**6)}, {})
    assert memory_of(lambda: checkpoint.load(path))[1] < 2 * path.stat().st_size


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"b": None}, "has no array 'b'"),
        ({"c": np.ones(1)}, "has an array 'c' too many"),
        ({"b": np.ones((3, 1))}, r"'b': expected float64 \(3,\), got float64 \(3, 1\)"),
        ({"b": np.ones(3, np.float32)}, r"'b': expected float64 \(3,\), got float32 \(3,\)"),
    ],
)
def test_check_arrays_names_the_first_difference(changed, message):
    expected = {"a": np.ones(2), "b": np.ones(3)}
    checkpoint.check_arrays("some/file", dict(reversed(expected.items())), expected)
    arrays = {k: v for k, v in (expected | changed).items() if v is not None}
    with pytest.raises(ValueError, match=f"some/file: {message}"):
        checkpoint.check_arrays("some/file", arrays, expected)
