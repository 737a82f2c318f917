"""SGD, RMSProp and Adam: gradient descent on two 1-D arrays, the parameters and their gradient.

An optimizer knows no network. base.py has what the three share; each of them only says in which
direction to go, sgd.py first, as it remembers least.
"""

from npbn.optimizers.adam import Adam
from npbn.optimizers.base import Optimizer
from npbn.optimizers.rmsprop import RMSProp
from npbn.optimizers.settings import LearningRate
from npbn.optimizers.sgd import SGD

__all__ = ["SGD", "Adam", "LearningRate", "Optimizer", "RMSProp"]
