"""Small pieces of HTML that a notebook shows: readable in light and dark themes, without a script.

What is text is escaped; a Markup is HTML already, and stays as it is.
"""

import dataclasses
import html
import reprlib
from collections.abc import Iterable, Sequence
from numbers import Integral, Real
from typing import Any

# Colours are the page's own. Notebooks stripe and centre tables otherwise.
_CELL = "padding: .2em .7em; text-align: {side}; vertical-align: top; background: none"
_MONOSPACED = "font-family: monospace; background: none; color: inherit"
_RULE = "border: 0 solid currentColor; border-bottom-width: {width}px"
# MathJax leaves these alone: a $ in a name begins no formula.
_BLOCK = '<div class="tex2jax_ignore mathjax_ignore" style="overflow-x: auto">{}</div>'


class Markup(str):
    """HTML, as opposed to text."""

    __slots__ = ()


def text(value: Any) -> Markup:
    """A value as HTML: a number readably, anything else as str has it, escaped; Markup as it is."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return Markup("")
    if _is_number(value):
        value = f"{value:,}" if isinstance(value, Integral) else f"{float(value):.4g}"
    return Markup(html.escape(str(value)))


def strong(value: Any) -> Markup:
    """A value in bold."""
    return Markup(f"<strong>{text(value)}</strong>")


def code(value: Any) -> Markup:
    """A value as code, in a line; it breaks where the page is narrow."""
    style = f"{_MONOSPACED}; padding: 0"
    return Markup(f'<code style="{style}">{text(value)}</code>')


def preformatted(value: Any) -> Markup:
    """Lines of text as they stand."""
    style = f"{_MONOSPACED}; margin: .3em 0; line-height: 1.4"
    return Markup(f'<pre style="{style}">{text(value)}</pre>')


def paragraph(*parts: Any) -> Markup:
    """Values one after another."""
    return Markup(f'<p style="margin: .4em 0">{"".join(map(text, parts))}</p>')


def details(summary: Any, *parts: Any, is_open: bool = False) -> Markup:
    """What a click on the summary shows, or hides."""
    begin = "<details open>" if is_open else "<details>"
    return Markup(f"{begin}<summary>{text(summary)}</summary>{''.join(map(text, parts))}</details>")


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]], *, caption: Any = None) -> Markup:
    """A table; a column of numbers (and None, an empty cell) stands at the right.

    header: as many cells as each row; an empty one makes a table without a header.
    """
    rows = [list(row) for row in rows]
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in header]
    sides = [
        "right" if column and all(c is None or _is_number(c) for c in column) else "left"
        for column in columns
    ]

    def line(cells: Sequence[Any], tag: str, width: int) -> str:
        return "".join(
            f'<{tag} style="{_CELL.format(side=side)}; {_RULE.format(width=width)}">'
            f"{text(cell)}</{tag}>"
            for cell, side in zip(cells, sides, strict=True)
        )

    above = "" if caption is None else f"{_CAPTION}{text(caption)}</caption>"
    head = f"<thead><tr>{line(header, 'th', 1)}</tr></thead>" if header else ""
    body = "".join(f'<tr style="background: none">{line(row, "td", 0)}</tr>' for row in rows)
    return Markup(
        f'<table style="border-collapse: collapse; margin: .4em 0">{above}{head}'
        f"<tbody>{body}</tbody></table>"
    )


def fields(instance: Any) -> Markup:
    """A dataclass's fields, long ones shortened."""
    given = ((each.name, getattr(instance, each.name)) for each in dataclasses.fields(instance))
    return table((), [(name, code(reprlib.repr(value))) for name, value in given])


_CAPTION = '<caption style="text-align: left; color: inherit; padding: .2em .7em">'


def block(*parts: Any) -> str:
    """What `_repr_html_` returns: the parts one after another; what is too wide scrolls."""
    return _BLOCK.format("".join(map(text, parts)))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
