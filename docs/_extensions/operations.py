"""Two directives for the pages of operations, which show what the package has.

{equations} batch_norm.batch_norm_forward    the code of npbn.reference, less its docstring
{readings} batch_norm                        where else the operations of that file are, and
                                             what one can get wrong in them
"""

import ast
import importlib
import inspect

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from npbn import functional, layers, reference
from npbn.testing.mistake import in_any_gradient
from npbn.testing.mistakes import MISTAKES


def code(function):
    """The source of a function without its docstring."""
    lines = inspect.getsourcelines(function)[0]
    if function.__doc__:
        docstring = ast.parse("".join(lines)).body[0].body[0]
        del lines[docstring.lineno - 1 : docstring.end_lineno]
    return "".join(lines)


def public(room, stem):
    """The public names of a room that npbn/<room>/<stem>.py defines."""
    module = f"{room.__name__}.{stem}"
    return [name for name in room.__all__ if getattr(room, name).__module__ == module]


def own_mistakes(operation):
    """The results that are wrong -> what is: of its own mistakes, not those of any gradient."""
    if operation not in MISTAKES:
        return {}
    anywhere = {each.key for each in in_any_gradient(operation)}
    found = {}
    for each in MISTAKES[operation]:
        if each.key not in anywhere:
            found.setdefault(", ".join(each.results), []).append(each.sentence)
    return found


def html(text):
    return nodes.raw("", text, format="html")


class Equations(SphinxDirective):
    """The code of a function."""

    required_arguments = 1

    def run(self):
        stem, name = self.arguments[0].split(".")
        function = getattr(importlib.import_module(f"npbn.reference.{stem}"), name)
        self.env.note_dependency(inspect.getsourcefile(function))
        return [nodes.literal_block(text := code(function), text, language="python")]


class Readings(SphinxDirective):
    """The other readings of the operations of a file, and their known mistakes."""

    required_arguments = 1

    def run(self):
        (stem,) = self.arguments
        found = [
            *(f"{{py:obj}}`npbn.functional.{name}`" for name in public(functional, stem)),
            *(f"{{py:obj}}`npbn.{name}`" for name in public(layers, stem)),
        ]
        text = "The same, fast, and as a layer: " + ", ".join(found) + "."
        shown = self.parse_text_to_nodes(text)
        for name in public(reference, stem):
            operation = name.removesuffix("_forward")
            if own := own_mistakes(operation):
                shown += self.parse_text_to_nodes(
                    f"Known mistakes in `{operation}`, by what is wrong:"
                )
                for results, sentences in own.items():
                    listed = "\n".join(f"- {each}." for each in sentences)
                    shown += [
                        html(f"<details><summary>{results} ({len(sentences)})</summary>"),
                        *self.parse_text_to_nodes(listed),
                        html("</details>"),
                    ]
        return shown


def setup(app):
    """Called by Sphinx."""
    app.add_directive("equations", Equations)
    app.add_directive("readings", Readings)
    return {"parallel_read_safe": True}
