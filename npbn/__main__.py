"""What there is: versions, BLAS, the data sets and where they are found, examples to run."""

import argparse
import ast
import io
import os
import platform
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import npbn
from npbn.datasets._files import ENVIRONMENT, Source, folder_for_downloads, located
from npbn.datasets.mnist import FASHION_MNIST, MNIST

PACKAGE = Path(npbn.__file__).parent
CHECKOUT = PACKAGE.parent  # an installed copy has no examples beside it
FIRST_NETWORK = """\
from npbn import SGD, BatchNorm, Dense, ReLU, Sequential, datasets, fit, gradient_check

digits = datasets.load_mnist_5k()
network = Sequential([Dense(784, 100, use_bias=False), BatchNorm(100), ReLU(), Dense(100, 10)])
fit(network, digits.train, digits.validation, optimizer=SGD(0.1), steps=1000)
print(network.accuracy(*digits.test))
print(gradient_check(BatchNorm(4), digits.train[0][:8, 350:354]))
"""


def main() -> None:
    """Print it."""
    argparse.ArgumentParser(prog="python -m npbn", description=__doc__).parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a folder may have any name
        sys.stdout.reconfigure(errors="backslashreplace")
    print(f"npbn {npbn.__version__}, in {PACKAGE}\n")
    print(f"  Python  {platform.python_version()}, {platform.system()} {platform.machine()}")
    print(f"  NumPy   {np.__version__}")
    print(f"  BLAS    {'; '.join(_blas())}")
    print("\nData\n")
    for source, call in ((MNIST, "load_mnist"), (FASHION_MNIST, "load_fashion_mnist")):
        print(f"  {source.title:<14}{_where(source, call)}")
    print(f"  {'5,000 digits':<14}in the package: datasets.load_mnist_5k()")
    print(f"  {'1,797 digits':<14}others, with scikit-learn: datasets.load_digits()")
    print(f"  {'your own':<14}a folder of pictures, a .csv file, arrays: datasets.load_images(...)")
    print(f"  {ENVIRONMENT:<14}{os.environ.get(ENVIRONMENT) or 'not set'}")
    if is_checkout := (CHECKOUT / "examples" / "mnist_bn.py").exists():
        print("\nExamples\n")
        examples = dict(_examples(CHECKOUT / "examples"))
        width = max(map(len, examples))
        for command, summary in examples.items():
            print(f"  {command:<{width}}  {summary}")
    print(
        f"\nA first network, to type at Python's prompt\n\n{textwrap.indent(FIRST_NETWORK, '  ')}"
    )
    print("To read on\n")
    if is_checkout:
        print(f"  {_short(CHECKOUT / 'README.md')}: what npbn is for, its results, what is where")
    rooms = {"reference": "batch normalization, line for line", "functional": "the same, fast"}
    for room, what in rooms.items():
        print(f"  {_short(PACKAGE / room / 'batch_norm.py')}: {what}")
    print("  help(npbn), help(npbn.BatchNorm), help(npbn.fit): every call, at Python's prompt")


def _blas() -> Iterator[str]:
    from threadpoolctl import threadpool_info

    names = {"openblas": "OpenBLAS", "mkl": "MKL", "blis": "BLIS", "flexiblas": "FlexiBLAS"}
    found = [each for each in threadpool_info() if each["user_api"] == "blas"]
    for each in found:
        name = names.get(each["internal_api"], each["internal_api"])
        kind = f", {each['architecture']}" if each.get("architecture") else ""
        threads = each["num_threads"]
        told = "1 thread" if threads == 1 else f"{threads} threads (fit uses 1)"
        yield f"{name} {each['version'] or ''}{kind}, {told}"
    if not found:
        # Apple's, say, whose threads nobody can count.
        built_with = np.show_config(mode="dicts")["Build Dependencies"]["blas"]["name"]
        yield f"{built_with}, its threads unknown"


def _where(source: Source, call: str) -> str:
    try:
        paths = located(source)
    except ValueError as error:
        return str(error)
    missing = [file.name for file, path in zip(source.files, paths, strict=True) if path is None]
    if not missing:
        return f"in {', '.join(dict.fromkeys(str(path.parent) for path in paths if path))}"
    what = "not found" if len(missing) == len(paths) else f"lacks {', '.join(missing)}"
    return f"{what}: datasets.{call}() downloads into {folder_for_downloads(source)}"


def _examples(folder: Path) -> Iterator[tuple[str, str]]:
    """What to type, and what it does."""
    for path in sorted(folder.iterdir()):
        script = path / "__main__.py" if path.is_dir() else path
        if script.suffix == ".py" and script.exists():
            docstring = ast.get_docstring(ast.parse(script.read_text(encoding="utf-8"))) or ""
            yield f"python {_short(path)}", docstring.partition("\n")[0]


def _short(path: Path) -> str:
    """As one would type it here."""
    here = Path.cwd()
    typed = str(path.relative_to(here) if path.is_relative_to(here) else path)
    return f'"{typed}"' if " " in typed else typed


if __name__ == "__main__":
    main()
