"""The package's shape: which room may import which, what importing costs, names, docstrings."""

import ast
import configparser
import importlib
import inspect
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "npbn"
MODULES = sorted(PACKAGE.rglob("*.py"))
EACH_MODULE = pytest.mark.parametrize(
    "path", MODULES, ids=[path.relative_to(ROOT).as_posix() for path in MODULES]
)

# What every room but reference may import beside the rooms above it.
FOR_ALL = {"_checks", "_html"}
# Every room, top to bottom, and which of the rooms above it may import. None: all of them.
NETWORKS = {"numerics", "functional", "checkpoint", "layers", "network"}
MAY_IMPORT = {
    "_checks": set(),
    "_html": set(),
    "reference": set(),
    "numerics": set(),
    "functional": {"numerics"},
    "checkpoint": set(),
    "optimizers": {"numerics"},
    "datasets": set(),
    "plotting": set(),
    "layers": {"numerics", "functional"},
    "network": NETWORKS - {"network"},
    "training": NETWORKS | {"optimizers", "datasets", "plotting"},
    "testing": NETWORKS - {"checkpoint"} | {"reference"},
    "experiments": None,
    "lesson": {"checkpoint", "optimizers", "datasets", "plotting", "layers", "network", "training"},
}
ROOMS = list(MAY_IMPORT)
# Other private modules beside the rooms, _progress.py say, serve these and import _checks alone.
SERVED_BY_HELPERS = ROOMS[ROOMS.index("training") :]

# Packages that are installed by another name than they are imported by.
IMPORTED_AS = {"pillow": "PIL", "scikit-learn": "sklearn"}

PUBLIC_NAMES = (
    "Sequential, Dense, BatchNorm, ReLU, LeakyReLU, Sigmoid, Tanh, Dropout, Layer, SGD, RMSProp, "
    "Adam, fit, training_steps, gradient_check, functional, reference, datasets, plotting, lesson"
)


@cache
def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path, nodes):
    """The full dotted names that import statements among nodes bring in."""
    package = path.relative_to(ROOT).parent.parts
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) + 1 - node.level] if node.level else ()
            stem = [*base, *([node.module] if node.module else [])]
            yield from (".".join([*stem, alias.name]) for alias in node.names)


def run_at_import(node):
    """The nodes that run on import: no function's body, nothing for type checkers alone."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            continue
        yield child
        yield from run_at_import(child)


def public(nodes, kinds):
    return [node for node in nodes if isinstance(node, kinds) and not node.name.startswith("_")]


def third_party(names):
    roots = {name.partition(".")[0] for name in names}
    return roots - sys.stdlib_module_names - {"npbn"}


def test_every_module_has_a_room():
    rooms = {room_of(path) for path in MODULES} - {"__init__"}
    assert {room for room in rooms if not room.startswith("_")} <= set(ROOMS)


def test_the_arrows_of_the_table_point_up():
    for place, room in enumerate(ROOMS):
        assert (MAY_IMPORT[room] or set()) <= set(ROOMS[:place]), room


@EACH_MODULE
def test_imports_point_up(path):
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    allowed = MAY_IMPORT.get(room, set())
    if allowed is None:
        allowed = set(ROOMS[: ROOMS.index(room)])
    elif room not in {"reference", *FOR_ALL}:
        allowed = allowed | FOR_ALL
    wrong = []
    for name in imported(path, ast.walk(parse(path))):
        root, _, rest = name.partition(".")
        if root != "npbn":
            continue
        target = rest.partition(".")[0]
        helper = target.startswith("_") and target not in ROOMS
        if target in {room, *allowed} or (helper and room in SERVED_BY_HELPERS):
            continue
        wrong.append(name)
    assert not wrong, f"{room} may import {sorted(allowed)}"


@EACH_MODULE
def test_importing_needs_no_third_party_module_but_numpy(path):
    assert third_party(imported(path, run_at_import(parse(path)))) <= {"numpy"}


@EACH_MODULE
def test_only_what_setup_cfg_requires_is_imported(path):
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = config["options"]["install_requires"].split()
    if path.name == "digits.py":
        lines += config["options.extras_require"]["digits"].split()
    required = {line.partition(">=")[0] for line in lines}
    assert "numpy" in required
    imports = {IMPORTED_AS.get(name, name) for name in required}
    assert third_party(imported(path, ast.walk(parse(path)))) <= imports


def test_import_npbn_loads_numpy_alone():
    # What has no __spec__ was never imported: Cython puts shared modules of its own there.
    code = (
        "import sys; before = set(sys.modules); import npbn\n"
        "new = {name: module for name, module in sys.modules.items() if name not in before}\n"
        "print(*(name for name, module in new.items() if getattr(module, '__spec__', None)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "npbn" in loaded
    assert third_party(loaded) == {"numpy"}


def test_public_names_can_be_imported():
    exec(f"from npbn import {PUBLIC_NAMES}")


@pytest.mark.parametrize("name", [each for each in ROOMS if not each.startswith("_")])
def test_help_shows_annotations_as_they_are_written(name):
    """`dtype: DTypeLike`; without the __future__ import, all the types that NumPy makes of it."""
    room = importlib.import_module(f"npbn.{name}")
    for each in map(vars(room).get, getattr(room, "__all__", [])):
        if callable(each):
            assert not re.search(r"numpy\.(ndarray|_typing)", str(inspect.signature(each)))


@EACH_MODULE
def test_no_public_function_has_the_name_of_a_module(path):
    modules = {part for each in MODULES for part in module_name(each).split(".")}
    functions = public(parse(path).body, ast.FunctionDef)
    assert not {function.name for function in functions} & modules


@EACH_MODULE
def test_everything_public_has_a_docstring(path):
    tree = parse(path)
    missing = [] if ast.get_docstring(tree) else ["the module"]
    for node in public(tree.body, ast.FunctionDef | ast.ClassDef):
        if not ast.get_docstring(node):
            missing.append(node.name)
        if isinstance(node, ast.FunctionDef):
            continue
        for method in public(node.body, ast.FunctionDef):
            if not ast.get_docstring(method) and not inherits_docstring(path, node, method):
                missing.append(f"{node.name}.{method.name}")
    assert not missing


def inherits_docstring(path, cls, method):
    """An overriding method has the docstring of what it overrides, as help() shows it."""
    owner = getattr(importlib.import_module(module_name(path)), cls.name)
    return bool(inspect.getdoc(getattr(owner, method.name)))
