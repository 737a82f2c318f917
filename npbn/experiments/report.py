"""One self-contained HTML page, and tables in HTML and Markdown."""

import html
import io
import re
from collections.abc import Iterable, Sequence
from string import Template
from typing import Any

PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; margin: 0 auto;
  max-width: 70rem; padding: 1rem; }
h1 { font-size: 1.6rem; line-height: 1.2; }
h2 { font-size: 1.25rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc; }
h3 { font-size: 1.05rem; margin: 0 0 .3rem; }
p, li { max-width: 46rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .45rem; border-bottom: 1px solid #ddd; text-align: right;
  white-space: nowrap; }
th { border-bottom: 2px solid #888; vertical-align: bottom; }
th:first-child, td:first-child, th:nth-child(2), td:nth-child(2) { text-align: left; }
.scroll svg { min-width: 44rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(17rem, 1fr)); gap: 1rem; }
.card { margin-bottom: .8rem; border: 1px solid #ddd; border-radius: .4rem; padding: .7rem;
  break-inside: avoid; }
.cards .card { margin: 0; }
svg { width: 100%; height: auto; display: block; }
.yes, .no, .open { border-radius: .3rem; padding: 0 .4rem; color: #fff; font-weight: 600; }
.yes { background: #00734f; } .no { background: #a33a00; } .open { background: #666; }
@media (max-width: 40rem) {
  thead { display: none; }
  table, tbody { display: block; }
  tr { display: block; padding: .5rem 0; border-bottom: 2px solid #888; }
  td { display: flex; justify-content: space-between; gap: 1rem; border: 0; padding: .1rem 0;
    white-space: normal; text-align: right; }
  td::before { content: attr(data-label); color: #555; text-align: left; }
}
@media print { body { max-width: none; font-size: 11px; } .scroll { overflow: visible; }
  th, td { padding: .1rem .3rem; } .cards { grid-template-columns: repeat(3, 1fr); } }
</style>
</head>
<body>
$body
</body>
</html>
""")


def page(title: str, body: str) -> str:
    """A whole HTML page; body is HTML already, the title is not."""
    return PAGE.substitute(title=html.escape(title), body=body)


def text(value: Any) -> str:
    """A value as HTML text."""
    return html.escape(str(value))


def html_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; header and cells are texts."""
    head = "".join(f"<th>{text(cell)}</th>" for cell in header)
    # On a narrow screen each row is a list, and each cell shows its column's name.
    body = "\n".join(
        "<tr>"
        + "".join(
            f'<td data-label="{text(name)}">{text(cell)}</td>'
            for name, cell in zip(header, row, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>\n{body}\n</tbody></table></div>"
    )


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """The same table in Markdown."""

    def line(cells: Sequence[Any]) -> str:
        return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |"

    return "\n".join([line(header), "|" + "---|" * len(header), *map(line, rows)])


def inline_svg(figure: Any, label: str) -> str:
    """A matplotlib Figure as SVG to stand inside a page; label says what it shows."""
    from matplotlib import rc_context

    buffer = io.StringIO()
    # Text stays text; and the same figure is the same file each time.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": label, "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) (?:width|height)="[^"]*"', r"\1", svg, count=1)
    return svg.replace("<svg", f'<svg role="img" aria-label="{html.escape(label)}"', 1)
