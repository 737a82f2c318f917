"""The notebooks of docs/notebooks: in step with their sources, and whole from top to bottom."""

import ast
import base64
import importlib.util
import re
from itertools import pairwise
from pathlib import Path

import matplotlib
import pytest

from npbn.lesson import reported_runs

# jupytext and nbclient bring nbformat.
for _name in ("jupytext", "nbclient", "ipykernel"):
    pytest.importorskip(_name, reason=f"{_name} is not installed: pip install -e .[test]")
nbformat = pytest.importorskip("nbformat")

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
_spec = importlib.util.spec_from_file_location("make_notebooks", FOLDER / "make.py")
make = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make)

NAMES = make.names()
LESSON, CHINESE = "batch_normalization", "batch_normalization_zh"
SOLUTIONS = ("solutions", "solutions_zh")
SHORT = [name for name in NAMES if name not in (LESSON, CHINESE)]
EXERCISES = ("1", "2", "3", "4")


def committed(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook):
    return [output for cell in code(notebook) for output in cell.outputs]


def printed(notebook):
    return "".join(each.text for each in outputs(notebook) if each.output_type == "stream")


def told(notebook):
    """All that it says, printed or shown."""
    shown = (each.get("data", {}).get("text/plain", "") for each in outputs(notebook))
    return "\n".join([printed(notebook), *shown])


def test_what_there_is():
    assert {LESSON, CHINESE, *SOLUTIONS} < set(NAMES)
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_in_step_with_its_source(name):
    def cells(notebook):
        return [
            (each.cell_type, each.id, each.source, each.metadata.get("tags", []))
            for each in notebook.cells
        ]

    nbformat.validate(committed(name))
    assert cells(committed(name)) == cells(make.source(name))
    assert committed(name).metadata == make.source(name).metadata


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_committed_as_it_ran(name):
    notebook = committed(name)
    counts = [cell.execution_count for cell in code(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    kinds = {(each.output_type, each.get("name", "stdout")) for each in outputs(notebook)}
    assert kinds <= {(kind, "stdout") for kind in ("stream", "display_data", "execute_result")}
    pictures = [
        each.data["image/png"] for each in outputs(notebook) if "image/png" in each.get("data", {})
    ]
    assert bool(pictures) is (name not in SOLUTIONS)
    for picture in pictures:
        assert base64.b64decode(picture).startswith(b"\x89PNG")
    text = (FOLDER / f"{name}.ipynb").read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    # Paths of the machine on which it ran, the bars of its progress, and what differs from run to
    # run: addresses in memory, and seeds that nobody gave.
    for sign in (r"(?<![\w.<])/(home|root|tmp|usr|work|opt)/", r"[A-Z]:\\", r"site-packages"):
        assert not re.search(sign, text)
    for sign in (r"\d%\|", r"it/s", r"\r", r"0x[0-9a-f]{6}", "Fresh seed"):
        assert not re.search(sign, told(notebook))


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_reads_as_a_page(name):
    notebook = make.source(name)
    text = "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(headings))
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert link.startswith("https://") or (FOLDER / link).is_file(), link
    # Some viewers take such a line for one of a list, or for a heading.
    for formula in re.findall(r"\$\$.+?\$\$", text, re.DOTALL):
        assert not re.search(r"^[-+=*] ", formula, re.MULTILINE)
    for cell in code(notebook):
        assert max(map(len, cell.source.splitlines())) <= 72
    if name in SHORT:
        assert len(code(notebook)) < 15


def seconds(notebook):
    """What its kernel took, of one core."""
    text = outputs(notebook)[-1].data["text/plain"]
    return float(text)


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_with_its_blanks_filled(name):
    notebook = make.filled(make.source(name))
    notebook.cells.append(nbformat.v4.new_code_cell("import time; time.process_time()"))
    make.executed(notebook)
    assert seconds(notebook) < 60
    assert "not done" not in told(notebook)
    assert "还没有完成" not in told(notebook)
    if name in (LESSON, CHINESE):
        found = re.findall(r"(?:largest difference: |最大差别.)(\S+)", printed(notebook))
        assert len(found) == 3
        assert max(map(float, found[:2])) < 1e-9


# The exercises by themselves


class Exercises:
    """The lesson's exercises, with some of the solutions, or other ones, in place of the blanks."""

    def __init__(self, name, **answers):
        notebook = make.source(name)
        blanks = make.exercises(notebook)
        for number, answer in answers.items():
            blanks[f"exercise-{number.removeprefix('of_')}"].source = answer
        self.shown, self.said = [], []
        self.namespace = {}
        cells = code(notebook)
        start = next(i for i, c in enumerate(cells) if "exercises" in c.metadata.get("tags", []))
        setup = next(c for c in cells if "setup" in c.metadata.get("tags", []))
        with matplotlib.rc_context():
            exec(setup.source, self.namespace)
        self.namespace |= {
            "display": self.shown.append,
            "print": lambda *values: self.said.append(" ".join(map(str, values))),
        }
        # The checks, up to where all four come together, for which networks are trained.
        self.checks = [cell.source for cell in cells[start:] if "ByHand" not in cell.source]

    def run(self):
        for source in self.checks:
            exec(source, self.namespace)
        return self


def solutions():
    cells = make.exercises(make.source("solutions"))
    return {f"of_{tag.removeprefix('exercise-')}": cell.source for tag, cell in cells.items()}


@pytest.mark.parametrize("name", [LESSON, CHINESE])
def test_a_blank_is_told_as_not_done(name):
    said = printed(committed(name))
    waiting = {LESSON: "Exercise {} is not done yet: ", CHINESE: "练习 {} 还没有完成"}[name]
    for number in (*EXERCISES, "1, 2, 3 or 4" if name == LESSON else "1、2、3 或 4"):
        assert said.count(waiting.format(number)) == 1
    assert len(make.exercises(make.source(name))) == len(solutions()) == len(EXERCISES)


def test_right_answers_pass():
    done = Exercises(LESSON, **solutions()).run()
    assert len(done.shown) == 3
    assert all(done.shown)
    assert "It is right." in done.said


WRONG = {
    "1": ("((x - mean) ** 2).mean(0)", "x.var(0, ddof=1)"),
    "2": ("momentum * population + (1 - momentum) * batch", "momentum * (batch - population)"),
    "3": ("(x - mean)", "(x - x.mean(0))"),
    "4": (" - dbeta / m", ""),
}


@pytest.mark.parametrize("number", EXERCISES)
def test_a_wrong_answer_is_found(number):
    answers, (right, wrong) = solutions(), WRONG[number]
    assert answers[f"of_{number}"].count(right) == 1
    answers[f"of_{number}"] = answers[f"of_{number}"].replace(right, wrong)
    done = Exercises(LESSON, **answers).run()
    found = dict(zip(("1", "3", "4"), map(bool, done.shown), strict=True))
    found["2"] = "It is right." in done.said
    # The backward pass of a wrong forward pass is wrong as well.
    wrong_ones = {number} | ({"4"} if number == "1" else set())
    assert {each for each, is_right in found.items() if not is_right} == wrong_ones


# In two languages


class _Wordless(ast.NodeTransformer):
    """Code without the text in it."""

    def visit_Constant(self, node):
        return ast.Constant("") if isinstance(node.value, str) else node

    def visit_JoinedStr(self, node):
        return ast.Tuple([self.visit(e.value) for e in node.values if hasattr(e, "conversion")])


def _wordless(text):
    """What a text has besides words: headings, lists, formulas, code, figures and links."""
    formulas = [a or b for a, b in re.findall(r"\$\$(.+?)\$\$|\$(.+?)\$", text, re.DOTALL)]
    return (
        re.findall(r"^#+ |^- |^\d+\. ", text, re.MULTILINE),
        {re.sub(r"\\text\{.*?\}|\s", "", formula) for formula in formulas},
        set(re.findall(r"(?<!`)`[^`\n]+`", text)),
        set(re.findall(r"\d[\d.,]*\d", text)),
        [link.replace("_zh", "") for link in re.findall(r"\]\((.+?)\)", text)],
    )


@pytest.mark.parametrize("names", [(LESSON, CHINESE), SOLUTIONS], ids=str)
def test_it_is_the_same_in_both_languages(names):
    english, chinese = map(make.source, names)
    assert len(english.cells) == len(chinese.cells)
    for ours, theirs in zip(english.cells, chinese.cells, strict=True):
        assert (ours.cell_type, ours.metadata) == (theirs.cell_type, theirs.metadata)
        if ours.cell_type == "code":
            trees = [_Wordless().visit(ast.parse(each.source)) for each in (ours, theirs)]
            assert ast.dump(trees[0]) == ast.dump(trees[1])
        else:
            assert re.search(r"[\u4e00-\u9fff]", theirs.source)
            assert _wordless(ours.source) == _wordless(theirs.source)


@pytest.mark.parametrize("name", [LESSON, CHINESE])
def test_its_figures_are_those_that_the_lesson_reports(name):
    text = "".join(c.source for c in make.source(name).cells if c.cell_type == "markdown")
    reported = {
        f"{value:.3f}"
        for run in reported_runs()
        for value in (run.validation_without, run.validation_with)
    }
    cited = set(re.findall(r"0\.\d{3}", text))
    assert len(cited & reported) >= 8
    # Epsilon, and what npbn measured of the sixth promise.
    assert cited - reported == {"0.001", "0.008"}
