"""What a notebook shows: cells escaped, numbers readable, no script and no colour of its own."""

import numpy as np
import pytest
from html_tables import Cells, check_is_plain

from npbn import _html
from npbn._html import Markup


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
    check_is_plain(shown)


def test_what_is_escaped_is_no_longer_text():
    assert isinstance(_html.text("<"), Markup)
    assert _html.text(_html.text("<")) == "&lt;"
