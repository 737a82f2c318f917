"""Is a backward pass right? Checks of gradients and derivations, and a case of every operation."""

from npbn.testing.case import Case
from npbn.testing.cases import CASES
from npbn.testing.derivation import check_derivation
from npbn.testing.gradients import gradient_check
from npbn.testing.report import DerivationReport, GradientReport

__all__ = [
    "CASES",
    "Case",
    "DerivationReport",
    "GradientReport",
    "check_derivation",
    "gradient_check",
]
