"""What the pages of docs/ show is what the package has, and does."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "adding_an_operation.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^`(npbn/[\w/]+\.py)`[^\n]*:\n\n```python\n(.*?)```", PAGE, re.DOTALL | re.M)
RUN = [code for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "print(" in code]


def parts(code):
    """What stands between the lines `...`."""
    return [part.strip("\n") for part in re.split(r"^ *\.\.\.$", code, flags=re.M)]


def is_of(code, text):
    """Whether a file has the parts, in this order, line by line."""
    place = 0
    for part in parts(code):
        place = f"\n{text}".find(f"\n{part}\n", place)
        if place < 0:
            return False
        place += len(part)
    return True


def test_every_block_is_of_a_file_or_run():
    assert len(SHOWN) + len(RUN) == PAGE.count("```python\n")
    rooms = {path.rpartition("/")[0].removeprefix("npbn/") for path, _ in SHOWN}
    assert rooms == {"reference", "functional", "layers", "testing/cases", "testing/mistakes"}


@pytest.mark.parametrize(("path", "code"), SHOWN, ids=[path for path, _ in SHOWN])
def test_a_block_is_what_the_file_has(path, code):
    text = (ROOT / path).read_text(encoding="utf-8")
    assert is_of(code, text)
    # Each line counts.
    for line in {line for line in code.splitlines() if line.strip(" .")}:
        assert not is_of(code.replace(line, f"{line} changed"), text)


def test_what_it_runs_prints_what_it_shows(capsys):
    for code in RUN:
        exec(code, {})
    printed = capsys.readouterr().out
    assert "\npassed (tolerance" in printed
    calls = printed[printed.index("layer 0, forward") :].rstrip()
    assert "\n".join(f"    {line}" for line in calls.splitlines()) in PAGE


def test_the_tests_that_it_names_are_there():
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    names = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(names) > 5
    assert {name for name in names if f"def {name}(" not in tests} == set()
