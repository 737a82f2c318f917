"""Mutated files: what reads them refuses them by name, at once, within memory, and runs nothing.

`python -m pytest -m slow tests/test_fuzz.py -s` reads 100,000 of them and prints the figures.
"""

import copy
import gzip
import hashlib
import io
import re
import struct
import sys
import time
import warnings
import zipfile
from collections.abc import Callable
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
from shared import frozen

from npbn import Adam, BatchNorm, Dense, Dropout, ReLU, Sequential, checkpoint, fit
from npbn.datasets._idx import read_idx

CI, FULL = 1_200, 100_000
MEMORY = 300 << 20
EXTREMES = [0, 1, 127, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63, 2**64 - 1]


# Damage


def damaged(rng, content):
    """The bytes with one to three kinds of damage."""
    result = bytearray(content)
    for _ in range(rng.integers(1, 4)):
        if not result:
            break
        place, length = int(rng.integers(len(result))), int(rng.integers(1, 40))
        match rng.integers(8):
            case 0:
                result[place] ^= 1 << int(rng.integers(8))
            case 1:
                del result[place:]
            case 2:
                del result[place : place + length]
            case 3:
                result[place:place] = rng.bytes(length)
            case 4:
                result[place : place + length] = rng.bytes(length)
            case 5:
                form = str(rng.choice(["<H", "<I", "<Q", ">I"]))
                size = struct.calcsize(form)
                value = int(EXTREMES[rng.integers(len(EXTREMES))]) % 256**size
                result[place : place + size] = struct.pack(form, value)
            case 6:
                other = int(rng.integers(len(result)))
                result[place:place] = result[other : other + length]
            case _:  # a number in words, as a shape is: what the file claims to hold
                numbers = list(re.finditer(rb"\d+", result[:2000]))
                if numbers:
                    start, end = numbers[rng.integers(len(numbers))].span()
                    claim = 10 ** int(rng.integers(1, 25)) + int(rng.integers(-1, 2))
                    result[start:end] = str(claim).encode()
    return bytes(result)


def claiming(rng, npy):
    """An .npy file that says it has another shape or type, its header as long as before."""
    end = 10 + int.from_bytes(npy[8:10], "little")
    shape = str(tuple(10 ** int(n) for n in rng.integers(0, 13, rng.integers(4)))).encode()
    header = re.sub(rb"\([\d, ]*\)", shape, npy[10:end])
    if rng.integers(3) == 0:
        header = re.sub(rb"'[<|]..'", rng.choice([b"'|O'", b"'<f8'", b"'<U9'", b"'<i2'"]), header)
    return npy[:10] + header.rstrip().ljust(end - 11) + b"\n" + npy[end:]


def damaged_within(rng, content):
    """A zip file whose entries are damaged, with checksums that are right again."""
    names = ["../a.npy", "/etc/a.npy", "a/b.npy", "a.py", ".npy", "__header__.npy", "x" * 300]
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        entries = [(each.filename, old.read(each)) for each in old.infolist()]
        chosen = int(rng.integers(len(entries)))
        name, data = entries[chosen]
        if rng.integers(6) == 0:
            entries[chosen] = (names[rng.integers(len(names))], data)
        else:
            entries[chosen] = (name, (claiming if rng.integers(4) == 0 else damaged)(rng, data))
        kind = zipfile.ZIP_DEFLATED if rng.integers(20) == 0 else zipfile.ZIP_STORED
        written = set()
        for name, data in entries:
            if name not in written:
                new.writestr(name, data, kind)
            written.add(name)
    return out.getvalue()


# What is read


class Reader(NamedTuple):
    """content, a function that reads a file like it, and one that judges what came."""

    content: bytes
    read: Callable
    judge: Callable
    zipped: bool


def small_network():
    layers = [Dense(6, 5, rng=0), BatchNorm(5), ReLU(), Dropout(0.3, rng=2), Dense(5, 3, rng=1)]
    return Sequential(layers)


DATA = np.random.default_rng(0).random((20, 6)).astype(np.float32), np.arange(20) % 3


def run(path, steps, network=None, optimizer=None):
    return fit(
        network or small_network(),
        DATA,
        DATA,
        optimizer=optimizer or Adam(0.1),
        steps=steps,
        batch_size=5,
        sample_every=2,
        progress=False,
        checkpoint=path,
        resume=True,
    )


def saved_by(save, tmp_path):
    path = tmp_path / "made"
    save(path)
    content = path.read_bytes()
    path.unlink()
    return content


def arrays_of_a_checkpoint(tmp_path):
    arrays = {
        "0.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
        "1.gamma": np.array([1.5, np.nan, -np.inf]),
        "labels": np.array([[3, 1], [2, 0]], np.uint8),
        "none": np.empty((0, 5), np.int64),
    }

    def judge(found):
        loaded, header = found
        assert isinstance(header, dict)
        assert all(isinstance(a, np.ndarray) and a.dtype.kind in "biuf" for a in loaded.values())

    content = saved_by(lambda path: checkpoint.save(path, arrays, {"a": [1, 0.5, None]}), tmp_path)
    return Reader(content, checkpoint.load, judge, True)


def a_networks_file(tmp_path):
    network = small_network()
    fresh = network.parameter_vector.copy()

    def read(path):
        network.parameter_vector[...] = fresh
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # a rate that became another
                network.load(path)
        except ValueError:
            assert np.array_equal(network.parameter_vector, fresh)
            raise
        return checkpoint.load(path)[0]

    def judge(found):
        own = {**network.parameters, **network.state}
        return found.keys() == own.keys() and all(found[k].shape == own[k].shape for k in own)

    content = saved_by(network.save, tmp_path)
    return Reader(content, read, judge, True)


def a_runs_checkpoint(tmp_path):
    def read(path):
        network, optimizer = small_network(), Adam(0.1)
        before = frozen(network, optimizer)
        try:
            with np.errstate(all="ignore"):  # parameters of 1e38, and a right checksum
                return run(path, 7, network, optimizer)
        except ValueError:
            assert frozen(network, optimizer) == before
            raise
        except RuntimeError as error:
            if "diverged" in str(error) or "loss is" in str(error):
                return None  # parameters of 1e38, say: no matter of the file's form
            raise

    content = saved_by(lambda path: run(path, 5), tmp_path)
    return Reader(content, read, lambda found: None, True)


IDX = np.random.default_rng(1).integers(0, 256, (7, 6, 5), np.uint8)
IDX_BYTES = struct.pack(">4I", 0x803, *IDX.shape) + IDX.tobytes()


def read_images(path):
    return read_idx(path, IDX.shape, hashlib.sha256(IDX_BYTES).hexdigest())


def a_zipped_idx_file(tmp_path):
    content = gzip.compress(IDX_BYTES)
    return Reader(content, read_images, lambda found: np.array_equal(found, IDX), False)


READERS = {
    "a checkpoint": (arrays_of_a_checkpoint, 40),
    "a network's file": (a_networks_file, 20),
    "a run's checkpoint": (a_runs_checkpoint, 10),
    "an IDX file, zipped": (a_zipped_idx_file, 30),
}
assert sum(share for _, share in READERS.values()) == 100


# What must not happen

FORBIDDEN = ("exec", "compile", "pickle.find_class", "os.system", "subprocess.Popen", "marshal.")
seen, watching = [], [False]


def hook(event, arguments):
    if watching[0] and event.startswith(FORBIDDEN):
        seen.append((event, str(arguments)[:200]))


@contextmanager
def watched():
    """Within it no code is run that came from elsewhere than the program's own text."""
    if hook not in installed:
        sys.addaudithook(hook)
        installed.append(hook)
    seen.clear()
    watching[0] = True
    try:
        yield
    finally:
        watching[0] = False
    assert seen == []


installed = []


@contextmanager
def little_memory():
    """No more than MEMORY beside what the process has already, where the system can limit it."""
    try:
        import resource

        with open("/proc/self/statm") as file:
            now = int(file.read().split()[0]) * resource.getpagesize()
    except (ImportError, OSError):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def fuzz(reader, path, count, seed):
    """Reads count mutants; how many were refused, and the longest time that one took."""
    rng = np.random.default_rng(seed)
    path.write_bytes(reader.content)
    reader.read(path)
    refused, longest = 0, 0.0
    with little_memory(), watched():
        for number in range(count):
            how = damaged_within if reader.zipped and number % 2 else damaged
            content = how(rng, reader.content)
            if content == reader.content:
                continue
            path.write_bytes(content)
            started = time.thread_time()
            message = ""
            try:
                found = reader.read(path)
            except ValueError as error:
                message = str(error)
            except BaseException as error:
                error.add_note(f"mutant {number} of seed {seed}: {content!r}")
                raise
            longest = max(longest, time.thread_time() - started)
            if message:
                assert str(path) in message, message
                assert len(message.replace(str(path), "")) <= 300, message
                assert message.isprintable(), message
                refused += 1
            else:
                assert reader.judge(found) is not False, f"mutant {number} of seed {seed}"
    assert longest < 1
    return refused, longest


def fuzz_kind(kind, tmp_path, total, seed):
    make, share = READERS[kind]
    reader = make(tmp_path)
    count = total * share // 100
    refused, longest = fuzz(reader, tmp_path / "mutant", count, seed)
    # Some damage does no harm: a time stamp's, or one whose checksum was made right again.
    assert refused > count / 2
    return count, refused, longest


# zipfile looks this codec up when the first odd name comes, which the hook would take for code.
"".encode("cp437")


@pytest.mark.parametrize("kind", READERS)
def test_mutants_are_refused_by_name_at_once_within_memory(kind, tmp_path):
    fuzz_kind(kind, tmp_path, CI, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_a_hundred_thousand_mutants(kind, tmp_path):
    count, refused, longest = fuzz_kind(kind, tmp_path, FULL, seed=1)
    print(f"\n{kind}: {count} mutants, {refused} refused, the longest took {longest * 1e3:.1f} ms")


def test_the_hook_would_see_code_that_runs(tmp_path):
    import pickle

    with pytest.raises(AssertionError), watched():
        exec("1")
    with pytest.raises(AssertionError), watched():
        pickle.loads(pickle.dumps(print))


# A run's checkpoint whose checksums are right and whose values are not

WRONG_VALUES = [None, -1, 1.5, "x", [], {}, [[0]], 2**200, True, float("nan")]


def places(value, path=()):
    """The way to every value in lists and dicts."""
    yield path
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


def replaced(value, path, new):
    value = copy.deepcopy(value)
    at = value
    for key in path[:-1]:
        at = at[key]
    if new is KeyError:
        del at[path[-1]]
    else:
        at[path[-1]] = new
    return value


def refused_or_whole(path, arrays, header):
    """Whether fit refuses the file, without having changed anything."""
    checkpoint.save(path, arrays, header)
    network, optimizer = small_network(), Adam(0.1)
    before = frozen(network, optimizer)
    message = ""
    try:
        run(path, 5, network, optimizer)
    except ValueError as error:
        message = str(error)
    if message:
        assert str(path) in message
        assert len(message.replace(str(path), "")) <= 300 or "holds another run" in message
        assert frozen(network, optimizer) == before
    return bool(message)


def test_every_wrong_value_in_a_runs_checkpoint_is_refused_or_taken_whole(tmp_path):
    path = tmp_path / "run"
    run(path, 5)
    arrays, header = checkpoint.load(path)
    assert not refused_or_whole(path, arrays, header)
    wrong = 0
    for place in list(places(header))[1:]:
        for new in (*WRONG_VALUES, KeyError):
            wrong += refused_or_whole(path, arrays, replaced(header, place, new))
    assert wrong > 400


@pytest.mark.parametrize("change", ["missing", "shape", "type", "not finite"])
def test_every_wrong_array_in_a_runs_checkpoint_is_refused(tmp_path, change):
    path = tmp_path / "run"
    run(path, 5)
    arrays, header = checkpoint.load(path)
    for name, array in arrays.items():
        other = {
            "missing": None,
            "shape": np.append(array.reshape(-1), 1).astype(array.dtype),
            "type": array.astype(bool),
            "not finite": np.full_like(array, np.nan),
        }[change]
        changed = {k: v for k, v in (arrays | {name: other}).items() if v is not None}
        refused = refused_or_whole(path, changed, header)
        # NaN is what a network that diverged has, and a loss of such a run.
        may_be = change == "not finite" and not name.startswith("history.s")
        own_type = name.startswith("history.") and change == "type"
        assert refused or may_be or own_type, name
