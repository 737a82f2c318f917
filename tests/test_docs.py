"""What the pages of docs/ show is what the package has, and does."""

import re
from pathlib import Path

import numpy as np
import pytest

from npbn import BatchNorm, Dense, ReLU, Sequential
from npbn.layers.presets import PRESETS

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


COMING_FROM = (ROOT / "docs" / "coming_from.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^## ", COMING_FROM, flags=re.M)[1:]


def test_coming_from_shows_the_table_of_presets():
    rows = [
        f'| `"{origin}"` | {each.momentum:g} | {each.epsilon:g} | from {each.first_variance:g}, '
        f"over {'m - 1' if each.unbiased_population else 'm'} |"
        for origin, each in PRESETS.items()
    ]
    assert re.findall(r'^\| `".*', COMING_FROM, flags=re.M) == rows


def test_coming_from_has_a_section_for_each_preset():
    used = [re.findall(r'BatchNorm\.like\("(\w+)"', section) for section in SECTIONS]
    assert [set(each) for each in used[1:]] == [{origin} for origin in PRESETS]
    for section in SECTIONS[1:]:
        assert "```text\n" in section
        assert "```python\n" in section


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", COMING_FROM, re.DOTALL))
def test_what_coming_from_shows_runs(code, capsys):
    exec(code, {"__name__": "page"})
    printed = capsys.readouterr().out
    if code.startswith("from npbn import BatchNorm\n\nprint"):
        assert f"```text\n{printed}```" in COMING_FROM


def test_the_page_takes_over_what_pytorch_trained():
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: pip install torch")
    (code,) = re.findall(r"```python\n([^`]*def take_over.*?)```", COMING_FROM, re.DOTALL)
    exec(code, page := {})
    linear, norm = torch.nn.Linear, torch.nn.BatchNorm1d
    model = torch.nn.Sequential(linear(6, 5), norm(5), torch.nn.ReLU(), linear(5, 3))
    x = np.random.default_rng(0).standard_normal((20, 6), dtype=np.float32)
    for _ in range(3):
        model(torch.from_numpy(x))
    layers = [Dense(6, 5), BatchNorm.like("pytorch", 5), ReLU(), Dense(5, 3)]
    network = Sequential(layers)
    page["take_over"](network, {name: each.numpy() for name, each in model.state_dict().items()})
    with torch.no_grad():
        wanted = model.eval()(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(network.forward(x), wanted, rtol=1e-5, atol=1e-6)
