"""Is a backward pass right? A gradient check, and a case of every operation."""

from npbn.testing.case import Case
from npbn.testing.cases import CASES
from npbn.testing.gradients import gradient_check
from npbn.testing.report import GradientReport

__all__ = ["CASES", "Case", "GradientReport", "gradient_check"]
