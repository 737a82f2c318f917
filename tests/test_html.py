"""What a notebook shows: cells escaped, numbers readable, no script and no colour of its own."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from npbn import _html
from npbn._html import Markup


class Cells(HTMLParser):
    """The cells of a table as a reader sees them, and how each stands."""

    def __init__(self, text):
        super().__init__()
        self.found, self.sides, self.open = [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag in ("td", "th"):
            self.found.append("")
            self.sides.append(re.search(r"text-align: (\w+)", dict(attributes)["style"])[1])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.found[-1] += data


def test_cells_are_escaped_and_markup_is_not():
    shown = _html.table(["<b>", "a & b"], [["<script>alert(1)</script>", _html.strong("x < y")]])
    assert Cells(shown).found == ["<b>", "a & b", "<script>alert(1)</script>", "x < y"]
    assert "<script" not in shown
    assert "<strong>x &lt; y</strong>" in shown


def test_numbers_are_readable_and_stand_at_the_right():
    rows = [["a", 1234567, 0.123456789, np.float32(3.5), True], ["b", None, 2e-9, np.int64(1), "x"]]
    cells = Cells(_html.table(list("nopqr"), rows))
    assert cells.found[5:10] == ["a", "1,234,567", "0.1235", "3.5", "True"]
    assert cells.found[10:] == ["b", "", "2e-09", "1", "x"]
    assert cells.sides == ["left", "right", "right", "right", "left"] * 3


def test_a_table_may_have_no_header_or_no_rows():
    assert Cells(_html.table([], [["a", 1]])).found == ["a", "1"]
    assert Cells(_html.table(["a", "b"], [])).found == ["a", "b"]
    with pytest.raises(ValueError, match="zip"):
        _html.table(["a"], [["a", "b"]])


def test_a_block_has_no_script_and_no_colour_of_its_own():
    shown = _html.block(
        _html.table(["a"], [[1]], caption="<n>"),
        _html.paragraph("p", _html.code("x")),
        _html.details("more", _html.preformatted("a\n  b"), is_open=True),
        "<plain>",
    )
    assert "&lt;n&gt;" in shown
    assert "&lt;plain&gt;" in shown
    assert not re.search(r"<script|\bon\w+=|#[0-9a-f]{3}|https?:", shown)
    for colour in re.findall(r"(?:color|background): ([^;\"]+)", shown):
        assert colour in ("inherit", "none")


def test_what_is_escaped_is_no_longer_text():
    assert isinstance(_html.text("<"), Markup)
    assert _html.text(_html.text("<")) == "&lt;"
