"""Networks: layers one after another, and what is done with all of them."""

from npbn.network.sequential import Sequential

__all__ = ["Sequential"]
