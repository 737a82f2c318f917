"""The plans that a network keeps, for the shapes, types and modes that it met last."""

from npbn.layers.plan import Plan
from npbn.numerics.at_hand import AtHand


class Plans(AtHand[Plan]):
    """By shape, type and mode."""
