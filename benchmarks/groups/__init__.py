"""The parts of the benchmark, one file each.

A part has cases(settings), a list of what it measures, and run(case, context), which yields the
Records of one of them. DEFAULT_THREADS: whether it is also measured with default threads.
"""

from importlib import import_module
from types import ModuleType

# In this order; what starts processes of its own comes first, while little else is loaded.
GROUPS = ("import", "memory", "kernels", "step", "loop", "evaluation", "growth")
_FILES = {"import": "imports"}


def group(name: str) -> ModuleType:
    """The module of a part."""
    return import_module(f"benchmarks.groups.{_FILES.get(name, name)}")
