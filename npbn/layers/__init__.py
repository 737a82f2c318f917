"""Layers: each remembers what an operation of `npbn.functional` needs from call to call."""

from npbn.layers.activations import LeakyReLU, ReLU, Sigmoid, Tanh
from npbn.layers.batch_norm import BatchNorm
from npbn.layers.batch_norm_lstm import BatchNormLSTM
from npbn.layers.batch_renorm import BatchRenorm
from npbn.layers.conv2d import Conv2D
from npbn.layers.dense import Dense
from npbn.layers.dropout import Dropout
from npbn.layers.flatten import Flatten
from npbn.layers.ghost_batch_norm import GhostBatchNorm
from npbn.layers.group_norm import GroupNorm
from npbn.layers.instance_norm import InstanceNorm
from npbn.layers.layer import Layer
from npbn.layers.layer_norm import LayerNorm
from npbn.layers.lstm import LSTM
from npbn.layers.pooling import AvgPool2D, GlobalAvgPool2D, MaxPool2D
from npbn.layers.rms_norm import RMSNorm
from npbn.layers.rnn import RNN

__all__ = [
    "LSTM",
    "RNN",
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
    "InstanceNorm",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool2D",
    "RMSNorm",
    "ReLU",
    "Sigmoid",
    "Tanh",
]
