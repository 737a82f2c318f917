"""Networks: layers one after another, and what is done with all of them."""

from npbn.network.residual import Residual
from npbn.network.sequential import Sequential

__all__ = ["Residual", "Sequential"]
