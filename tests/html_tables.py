"""HTML as its reader sees it."""

import re
from html.parser import HTMLParser


class Cells(HTMLParser):
    """The cells of a table as a reader sees them, and how each stands."""

    def __init__(self, text):
        super().__init__()
        self.found, self.sides, self.open = [], [], []
        self.rows = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.found.append("")
            self.rows[-1].append("")
            self.sides.append(re.search(r"text-align: (\w+)", dict(attributes)["style"])[1])

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.found[-1] += data
            self.rows[-1][-1] += data


def check_is_plain(shown):
    """No script, no address, and no colour but the page's own."""
    assert not re.search(r"<script|\bon\w+=|#[0-9a-f]{3}|https?:", shown)
    for colour in re.findall(r"(?:color|background): ([^;\"]+)", shown):
        assert colour in ("inherit", "none")
