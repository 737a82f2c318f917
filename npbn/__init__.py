"""npbn: a pure-NumPy deep learning engine around batch normalization.

One operation, three readings: `npbn.reference` states the equations, `npbn.functional` computes
them fast, `npbn.layers` holds what they need. `npbn.lesson` has the lesson's own calls.
"""

from npbn import datasets, functional, lesson, plotting, reference
from npbn.layers import (
    LSTM,
    RNN,
    AvgPool2D,
    BatchNorm,
    BatchNormLSTM,
    BatchRenorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GhostBatchNorm,
    GlobalAvgPool2D,
    GroupNorm,
    InstanceNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    RMSNorm,
    Sigmoid,
    Tanh,
)
from npbn.network import Residual, Sequential
from npbn.optimizers import SGD, Adam, RMSProp
from npbn.testing import check_derivation, gradient_check
from npbn.training import History, fit, training_steps

__version__ = "0.1.0"

__all__ = [
    "LSTM",
    "RNN",
    "SGD",
    "Adam",
    "AvgPool2D",
    "BatchNorm",
    "BatchNormLSTM",
    "BatchRenorm",
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GhostBatchNorm",
    "GlobalAvgPool2D",
    "GroupNorm",
    "History",
    "InstanceNorm",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool2D",
    "RMSNorm",
    "RMSProp",
    "ReLU",
    "Residual",
    "Sequential",
    "Sigmoid",
    "Tanh",
    "check_derivation",
    "datasets",
    "fit",
    "functional",
    "gradient_check",
    "lesson",
    "plotting",
    "reference",
    "training_steps",
]
