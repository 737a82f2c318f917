"""Flattening."""

from npbn.layers import Flatten
from npbn.testing.case import Case, normal

CASES = (
    Case(
        "flatten",
        lambda rng, shape, dtype: {"x": normal(rng, shape, dtype)},
        ("dx",),
        {"Flatten": lambda rng, shape, dtype: Flatten()},
    ),
)
