"""Wrong derivations of every operation: one file each, or one a family, found by its name.

Not among them is what changes nothing: in batch normalization that dmean lacks its second term,
dvariance times the sum of -2 (x - mean) / m, which is 0.
"""

import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from npbn.testing.cases import CASES
from npbn.testing.mistake import Mistake, in_any_gradient

_OWN: tuple[Mistake, ...] = tuple(
    mistake
    for file in pkgutil.iter_modules(__path__)
    for mistake in importlib.import_module(f"{__name__}.{file.name}").MISTAKES
)

MISTAKES: Mapping[str, tuple[Mistake, ...]] = MappingProxyType(
    {
        name: (*(each for each in _OWN if each.operation == name), *in_any_gradient(name))
        for name, case in CASES.items()
        if case.gradients
    }
)
"""Every operation that has a gradient -> its mistakes."""
