"""What a gradient check found."""

import dataclasses
from collections.abc import Mapping

import numpy as np


@dataclasses.dataclass(frozen=True)
class GradientReport:
    """What `gradient_check` found. bool(report): passed; str(report): a table.

    errors: for each array its largest difference over its largest true value.
    kinks: for each array how many of its entries stand on a kink (ReLU at 0), where there is no
        derivative; they were left out.
    zeros: the arrays whose true gradient is 0 throughout (a bias before a batch norm, all that lies
        before a dead ReLU): of these a backward pass that says 0 is right, and nothing else is
        known. Where dx is one of them no gradient came through, and the check is not passed.
    """

    errors: Mapping[str, float]
    kinks: Mapping[str, int]
    zeros: frozenset[str]
    tolerance: float
    description: str

    @property
    def largest_error(self) -> float:
        """The largest of errors; NaN if one is NaN."""
        return float(np.max(list(self.errors.values())))

    @property
    def _agrees(self) -> bool:
        return all(error <= self.tolerance for error in self.errors.values())

    def __bool__(self) -> bool:
        return self._agrees and not any(name.endswith("dx") for name in self.zeros)

    def __str__(self) -> str:
        width = max(len(name) for name in self.errors)
        lines = [self.description]
        for name, error in self.errors.items():
            verdict = "ok" if error <= self.tolerance else "WRONG"
            if verdict == "ok" and name in self.zeros:
                verdict = "not checked: its true gradient is 0"
            kinks = f"   {self.kinks[name]} at a kink, left out" if self.kinks[name] else ""
            lines.append(f"  {name:<{width}}  {error:8.1e}  {verdict}{kinks}")
        result = "passed" if self else "FAILED"
        if self._agrees and not self:
            result = "NOT CHECKED: no gradient reaches x; take another x or other weights"
        lines.append(f"{result} (tolerance {self.tolerance:g})")
        return "\n".join(lines)
