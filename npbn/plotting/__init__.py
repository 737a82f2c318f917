"""Figures, built without pyplot: no window, no global state. `figure.savefig(path)` keeps one."""

from npbn.plotting.curves import history, training_accuracies
from npbn.plotting.figures import COLOURS

__all__ = ["COLOURS", "history", "training_accuracies"]
