"""Training: `training_steps`, one step at a time, and `fit`, a whole run."""

from npbn.training._history import History
from npbn.training.loop import fit, training_steps

__all__ = ["History", "fit", "training_steps"]
