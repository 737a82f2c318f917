"""Every code block of README and docs/ runs, and prints what the page shows.

The Python blocks of a page run in order, in one namespace and an empty folder. A block of kind
`text` right behind one is what it prints: words and whole numbers are the same, decimals within
0.03, and a line `...` stands for any lines. Notebooks and docs/adding_an_operation.md have their
own tests.
"""

import configparser
import importlib.util
import re
from pathlib import Path

import pytest

import npbn

ROOT = Path(__file__).parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if path.name != "adding_an_operation.md" and "notebooks" not in path.parts
}
BLOCK = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.DOTALL | re.M)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?")
WITH_PYTHON = [name for name, text in PAGES.items() if "```python\n" in text]


def is_alike(shown, printed):
    """Whether two lines say the same."""
    if NUMBER.sub("", shown).split() != NUMBER.sub("", printed).split():
        return False
    pairs = zip(NUMBER.findall(shown), NUMBER.findall(printed), strict=True)
    return all(
        a == b if a.lstrip("-").isdigit() else abs(float(a) - float(b)) <= 0.03 for a, b in pairs
    )


def is_what_was_printed(shown, printed):
    """The same of blocks of lines, in which `...` is any lines."""
    if not shown:
        return not printed
    first, *rest = shown
    if first.strip() == "...":
        return any(is_what_was_printed(rest, printed[k:]) for k in range(len(printed) + 1))
    return bool(printed) and is_alike(first, printed[0]) and is_what_was_printed(rest, printed[1:])


def lines(text):
    return [line.rstrip() for line in text.splitlines() if line.strip()]


@pytest.mark.parametrize("name", WITH_PYTHON)
def test_a_page_runs_and_prints_what_it_shows(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace, page = {"__name__": name}, PAGES[name]
    for block in BLOCK.finditer(page):
        kind, text = block.groups()
        if kind == "python":
            exec(compile(text, name, "exec"), namespace)
            printed = capsys.readouterr().out
            behind = BLOCK.match(page, block.end() + 2)
            if behind and behind[1] == "text":
                assert is_what_was_printed(lines(behind[2]), lines(printed)), f"{text}\n{printed}"


def test_what_differs_is_seen():
    assert is_alike("dx  5.9e-11  ok, 0.95", "dx 1.2e-12 ok, 0.93")
    assert not is_alike("accuracy 0.95", "accuracy 0.85")
    assert not is_alike("(60, 100)", "(60, 101)")
    assert not is_alike("dx  5.9e-11  ok", "dx  5.9e-11  WRONG")
    assert is_what_was_printed(["a", "...", "c"], ["a", "b", "b", "c"])
    assert not is_what_was_printed(["a", "..."], ["b", "a"])
    assert not is_what_was_printed(["a"], ["a", "b"])


@pytest.mark.parametrize("name", PAGES)
def test_every_block_says_what_it_is(name):
    """Python is run, sh is looked at, text is printed; the rest are directives and comparisons."""
    kinds = {kind for kind, _ in BLOCK.findall(PAGES[name])}
    assert {each for each in kinds if not each.startswith("{")} <= {"python", "text", "sh", "bat"}


# What a shell line has of this repository: files, modules, extras.
FILE = re.compile(r"(?<![\w./\\-])(?:\.ci|examples|data|docs|benchmarks|npbn)[/\\][\w./\\-]*\w")
MODULE = re.compile(r"python3? -m ((?:npbn|benchmarks)[\w.]*)")
EXTRAS = re.compile(r"(?:npbn|\.)\[([\w,]+)\]")
EVERYTHING = PAGES | {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in ("CONTRIBUTING.md", "data/README.md")
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_files_modules_and_extras_that_are_named_are_there(name):
    text = EVERYTHING[name]
    code = "\n".join(re.findall(r"`[^`\n]+`", text) + [b for k, b in BLOCK.findall(text) if k])
    assert not [each for each in FILE.findall(code) if not found(each)]
    assert not [each for each in MODULE.findall(code) if importlib.util.find_spec(each) is None]
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = {extra for each in EXTRAS.findall(code) for extra in each.split(",")}
    assert extras <= set(config["options.extras_require"])


def found(path):
    return bool(list(ROOT.glob(path.replace("\\", "/"))))


@pytest.mark.parametrize("name", EVERYTHING)
def test_links_between_files_work_in_the_repository(name):
    """As a viewer of the repository follows them; those of the site are followed by test_site."""
    targets = re.findall(r"\]\(([^)\s#]+)", EVERYTHING[name])
    folder = (ROOT / name).parent
    files = [each for each in targets if not each.startswith(("http:", "https:"))]
    assert not [each for each in files if not (folder / each).exists()]


def test_what_is_cited_is_this_version():
    text = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {npbn.__version__}\n" in text
    assert "\nlicense:\n  - MIT\n  - BSD-3-Clause\n" in text
