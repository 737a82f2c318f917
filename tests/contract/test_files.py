"""An operation is five files of one name; these tests read the files alone, and tell one missing.

reference/<stem>.py, functional/<stem>.py, layers/<stem>.py, testing/cases/<stem>.py and
testing/mistakes/<stem>.py. What has no forward and backward pass, as the losses, has no layer.
"""

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "npbn"
ROOMS = ("reference", "functional", "testing/cases", "testing/mistakes")


def stems(room, package=PACKAGE):
    return {path.stem for path in (package / room).glob("*.py") if not path.stem.startswith("_")}


def public(path, kind):
    """The names of the functions or classes that a file defines for others."""
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    return {node.name for node in nodes if isinstance(node, kind) and node.name[0] != "_"}


def missing_files(package=PACKAGE):
    """What is missing of operations that other files have."""
    every = set().union(*(stems(room, package) for room in ROOMS))
    missing = {f"{room}/{stem}.py" for room in ROOMS for stem in every - stems(room, package)}
    for stem in every - stems("layers", package):
        files = [package / room / f"{stem}.py" for room in ("functional", "reference")]
        names = set().union(*(public(each, ast.FunctionDef) for each in files if each.exists()))
        if any(name.endswith("_backward") for name in names):
            missing.add(f"layers/{stem}.py")
    return missing


def missing_exports(package=PACKAGE):
    """The names that a room's file defines for others, and its __init__ does not import."""

    def imported(room):
        nodes = ast.parse((package / room / "__init__.py").read_text(encoding="utf-8")).body
        froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
        return {alias.name for node in froms for alias in node.names}

    missing = set()
    for stem in set().union(*(stems(room, package) for room in ROOMS)):
        for room, kind, exports in (
            ("reference", ast.FunctionDef, ["reference"]),
            ("functional", ast.FunctionDef, ["functional"]),
            ("layers", ast.ClassDef, ["layers", "."]),
        ):
            path = package / room / f"{stem}.py"
            names = public(path, kind) if path.exists() else set()
            if room == "layers":
                # A layer's class, not what it works with.
                text = path.read_text(encoding="utf-8") if path.exists() else ""
                names = {name for name in names if re.search(rf"class {name}\(\w*Layer\b", text)}
            missing |= {
                f"{place}/__init__.py: {name}"
                for place in exports
                for name in names - imported(place)
            }
    return missing


def test_every_operation_is_five_files():
    assert missing_files() == set(), "an operation has files of one name: these are missing"


def test_every_room_exports_what_its_files_define():
    assert missing_exports() == set(), "these are to be imported there"


@pytest.fixture
def copied(tmp_path):
    """The files of the package, to be changed."""
    for path in PACKAGE.rglob("*.py"):
        copy = tmp_path / path.relative_to(PACKAGE)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    return tmp_path


@pytest.mark.parametrize("room", [*ROOMS, "layers"])
@pytest.mark.parametrize("stem", ["dense", "activations"])
def test_a_missing_file_is_told(copied, room, stem):
    (copied / room / f"{stem}.py").unlink()
    assert missing_files(copied) - missing_files() == {f"{room}/{stem}.py"}


@pytest.mark.parametrize(
    ("room", "name"), [("reference", "dense_backward"), ("layers", "Dense"), (".", "Dense")]
)
def test_a_missing_export_is_told(copied, room, name):
    path = copied / room / "__init__.py"
    path.write_text(re.sub(rf"\b{name}\b", "List", path.read_text()))
    assert missing_exports(copied) - missing_exports() == {f"{room}/__init__.py: {name}"}
