"""No list of layer types: what runs, trains or checks layers names none."""

import ast
from pathlib import Path

import pytest

from npbn import layers

PACKAGE = Path(layers.__file__).parents[1]
NAMES = set(layers.__all__) - {"Layer"}
GENERAL = [
    path
    for room in ("layers", "network", "training")
    for path in sorted((PACKAGE / room).rglob("*.py"))
    if path != Path(layers.__file__)
]


def named(source):
    """The layer classes that Python code names, in any way, and does not define."""
    nodes = [*ast.walk(ast.parse(source))]
    found = {each.id for each in nodes if isinstance(each, ast.Name)}
    found |= {each.attr for each in nodes if isinstance(each, ast.Attribute)}
    found |= {each.name for each in nodes if isinstance(each, ast.alias)}
    found |= {each.value for each in nodes if isinstance(each, ast.Constant)}
    return found & NAMES - {each.name for each in nodes if isinstance(each, ast.ClassDef)}


@pytest.mark.parametrize("path", GENERAL, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_no_layer_is_named_outside_its_own_file(path):
    assert named(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize(
    "source",
    [
        "from npbn.layers import BatchNorm",
        "from npbn.layers.batch_norm import BatchNorm as norm",
        "isinstance(layer, BatchNorm)",
        "layers.BatchNorm(3)",
        "type(layer).__name__ == 'BatchNorm'",
        "FAST = {'BatchNorm': 1}",
        "def check(layer: BatchNorm): ...",
    ],
)
def test_one_that_is_named_is_found(source):
    assert named(source) == {"BatchNorm"}


def test_the_files_are_looked_at():
    looked_at = {path.name for path in GENERAL}
    assert {"layer.py", "plan.py", "passes.py", "readers.py", "sequential.py", "run.py"} < looked_at
