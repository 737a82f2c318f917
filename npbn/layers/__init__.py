"""Layers: each remembers what an operation of `npbn.functional` needs from call to call."""

from npbn.layers.activations import LeakyReLU, ReLU, Sigmoid, Tanh
from npbn.layers.batch_norm import BatchNorm
from npbn.layers.batch_norm_lstm import BatchNormLSTM
from npbn.layers.conv2d import Conv2D
from npbn.layers.dense import Dense
from npbn.layers.dropout import Dropout
from npbn.layers.flatten import Flatten
from npbn.layers.layer import Layer
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
    "Conv2D",
    "Dense",
    "Dropout",
    "Flatten",
    "GlobalAvgPool2D",
    "Layer",
    "LeakyReLU",
    "MaxPool2D",
    "RMSNorm",
    "ReLU",
    "Sigmoid",
    "Tanh",
]
