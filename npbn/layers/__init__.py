"""Layers: each remembers what an operation of `npbn.functional` needs from call to call."""

from npbn.layers.activations import LeakyReLU, ReLU, Sigmoid, Tanh
from npbn.layers.batch_norm import BatchNorm
from npbn.layers.dense import Dense
from npbn.layers.dropout import Dropout
from npbn.layers.layer import Layer
from npbn.layers.rms_norm import RMSNorm

__all__ = [
    "BatchNorm",
    "Dense",
    "Dropout",
    "Layer",
    "LeakyReLU",
    "RMSNorm",
    "ReLU",
    "Sigmoid",
    "Tanh",
]
