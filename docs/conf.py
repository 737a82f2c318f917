"""How Sphinx builds the site: `python -m sphinx -W -b html docs build/site`."""

import inspect
import sys
from pathlib import Path

from sphinx.util.inspect import stringify_signature

import npbn

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

project, author, copyright = "npbn", "The npbn developers", "The npbn developers"
version = release = npbn.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "operations",
]
exclude_patterns = ["_*", "notebooks/*.md", "notebooks/*.py"]

# Pages. Notebooks are committed as they ran; a test runs them.
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

# Docstrings: what is in single backquotes is code, and a link where it is a public name.
default_role = "py:obj"
autodoc_typehints = "none"
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
nitpicky = True
nitpick_ignore_regex = [("py:obj", ".*")]

html_theme = "furo"
html_title = "npbn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False


def _signature(app, what, name, thing, options, signature, returns):
    """What a class takes; its __new__, at which Sphinx looks, takes anything and refuses it."""
    if what == "class" and signature == "(*args, **options)":
        taken = stringify_signature(inspect.signature(thing), show_annotation=False)
        return taken.replace("<class 'numpy.float32'>", "np.float32"), returns
    # What `fit` and others return, nobody makes by hand.
    return ("", "") if signature and "<factory>" in signature else None


def setup(app):
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", _signature)
