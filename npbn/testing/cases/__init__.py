"""A case of every operation: one file each, or one a family, found by its name."""

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from npbn.testing.case import Case

CASES: Mapping[str, Case] = MappingProxyType(
    {
        case.key: case
        for file in pkgutil.iter_modules(__path__)
        for case in importlib.import_module(f"{__name__}.{file.name}").CASES
    }
)
"""Every operation of `functional` and `reference` -> its case; "name, variant" -> another one."""
