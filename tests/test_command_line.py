"""`python -m npbn` says what there is, from any folder, of a checkout and of an installed copy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import npbn
from npbn import __main__ as command_line
from npbn.datasets.mnist import FASHION_MNIST, MNIST

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def nothing_found(tmp_path, monkeypatch):
    """No data set, wherever it is looked for on this machine."""
    monkeypatch.delenv("NPBN_DATA", raising=False)
    monkeypatch.setattr("pooch.os_cache", lambda project: tmp_path / "cache" / project)
    monkeypatch.setattr(sys, "argv", ["npbn"])
    monkeypatch.setitem(vars(FASHION_MNIST), "system_folders", ())


@pytest.fixture
def said(capsys):
    """A function: the line of a name in what is printed."""

    def line(name):
        command_line.main()
        (found,) = [
            each for each in capsys.readouterr().out.splitlines() if each.strip().startswith(name)
        ]
        return found.strip().removeprefix(name).strip()

    return line


def run(*arguments, **options):
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def put(folder, source):
    folder.mkdir(parents=True)
    for file in source.files:
        (folder / f"{file.name}.gz").write_bytes(b"")


def test_versions_are_those_that_run(capsys):
    command_line.main()
    out = capsys.readouterr().out
    assert out.startswith(f"npbn {npbn.__version__}, in {Path(npbn.__file__).parent}\n")
    assert f"NumPy   {np.__version__}\n" in out
    assert f"Python  {sys.version.split()[0]}, " in out
    assert max(map(len, out.splitlines())) < 200
    assert out.isascii()


@pytest.mark.parametrize(("threads", "told"), [(1, "1 thread"), (8, "8 threads (fit uses 1)")])
def test_blas_is_named_with_its_threads(said, monkeypatch, threads, told):
    blas = {"user_api": "blas", "internal_api": "openblas", "version": "0.3.30"}
    blas |= {"architecture": "Haswell", "num_threads": threads}
    other = {"user_api": "openmp", "internal_api": "openmp", "num_threads": 4, "version": None}
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [other, blas])
    assert said("BLAS") == f"OpenBLAS 0.3.30, Haswell, {told}"


def test_a_blas_that_shows_no_threads_is_named_as_numpy_was_built_with_it(said, monkeypatch):
    monkeypatch.setattr("threadpoolctl.threadpool_info", lambda: [])
    built_with = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
    assert said("BLAS") == f"{built_with}, its threads unknown"


def test_each_data_set_is_told_with_its_folder_or_where_it_would_be_downloaded_to(
    said, tmp_path, monkeypatch
):
    told = f"not found: datasets.load_mnist() downloads into {tmp_path / 'cache' / 'npbn'}"
    assert said("MNIST") == told
    assert said("Fashion-MNIST").endswith(str(tmp_path / "cache" / "npbn" / "fashion-mnist"))
    assert said("5,000 digits") == "in the package: datasets.load_mnist_5k()"
    assert said("1,797 digits") == "others, with scikit-learn: datasets.load_digits()"
    assert said("your own").endswith(": datasets.load_images(...)")
    assert said("NPBN_DATA") == "not set"
    put(tmp_path / "cache" / "npbn", MNIST)
    assert said("MNIST") == f"in {tmp_path / 'cache' / 'npbn'}"
    monkeypatch.setenv("NPBN_DATA", str(tmp_path / "data"))
    put(tmp_path / "data" / "MNIST" / "raw", MNIST)
    put(tmp_path / "data" / "fashion-mnist", FASHION_MNIST)
    assert said("MNIST") == f"in {tmp_path / 'data' / 'MNIST' / 'raw'}"
    assert said("Fashion-MNIST") == f"in {tmp_path / 'data' / 'fashion-mnist'}"
    assert said("NPBN_DATA") == str(tmp_path / "data")


def test_what_a_data_set_lacks_is_told(said, tmp_path):
    folder = tmp_path / "cache" / "npbn"
    put(folder, MNIST)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    assert said("MNIST").startswith("lacks t10k-labels-idx1-ubyte: datasets.load_mnist() downloads")


def test_an_environment_that_is_no_folder_is_told(said, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("NPBN_DATA", str(tmp_path / "file"))
    assert said("MNIST").startswith("NPBN_DATA: expected a folder, got the file")


def test_every_example_is_listed_with_its_first_line(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    command_line.main()
    lines = [each.split(maxsplit=2) for each in capsys.readouterr().out.splitlines()]
    listed = {words[1]: words[2] for words in lines if words[:1] == ["python"]}
    folder = ROOT / "examples"
    scripts = {*folder.glob("*.py"), *(path.parent for path in folder.glob("*/__main__.py"))}
    assert set(listed) == {str(path.relative_to(ROOT)) for path in scripts}
    assert listed[os.path.join("examples", "mnist_bn.py")].startswith("Train the lesson's two")


def test_files_are_named_as_one_types_them(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    command_line.main()
    out = capsys.readouterr().out
    assert f"python {ROOT / 'examples' / 'mnist_bn.py'}" in out
    assert f"{ROOT / 'npbn' / 'reference' / 'batch_norm.py'}: " in out
    assert command_line._short(tmp_path / "a b") == '"a b"'


def test_the_first_network_runs_as_it_is_printed(capsys):
    command_line.main()
    out = capsys.readouterr().out
    shown = out.partition("Python's prompt\n\n")[2].partition("To read on")[0]
    code = "\n".join(line.removeprefix("  ") for line in shown.splitlines())
    exec(code.replace("steps=1000", "steps=500, progress=False"), {})
    accuracy, report = capsys.readouterr().out.split("\n", 1)
    assert float(accuracy) > 0.85
    assert "passed" in report


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_an_installed_copy_says_so_too_in_a_folder_of_any_name(tmp_path, encoding):
    """A copy of the package alone, as a wheel has it."""
    site = tmp_path / "sité packages"
    skipped = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "npbn", site / "npbn", ignore=skipped)
    (site / "README.md").write_text("another package's")
    environment = os.environ | {"PYTHONPATH": str(site), "PYTHONIOENCODING": encoding}
    done = run("-m", "npbn", cwd=tmp_path, env=environment, encoding=encoding)
    assert done.returncode == 0
    assert done.stderr == ""
    assert "Examples" not in done.stdout
    assert "README" not in done.stdout
    assert "A first network" in done.stdout
    assert "packages" in done.stdout.splitlines()[0]


def test_it_has_a_help_and_refuses_what_it_does_not_know(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = run("-m", "npbn", "--help", cwd=tmp_path, env=environment)
    assert done.returncode == 0
    assert "What there is: versions" in done.stdout
    done = run("-m", "npbn", "train", cwd=tmp_path, env=environment)
    assert done.returncode == 2
    assert "unrecognized arguments: train" in done.stderr
