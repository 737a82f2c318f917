"""The same operations as in `npbn.reference`, made fast.

A public function checks its arguments, then runs an operation at work, which it returns as the
cache; layers run the same operations. Caches may be used as often as one likes; what is returned
belongs to the caller and is never written again. ``out=`` is an array of the result's shape and
type to write it into, as NumPy has it; it may overlap nothing that is still read.
"""

from npbn.functional.activations import (
    leaky_relu_backward,
    leaky_relu_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from npbn.functional.batch_norm import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
    batch_norm_inference_backward,
)
from npbn.functional.batch_norm_lstm import (
    batch_norm_lstm_backward,
    batch_norm_lstm_forward,
    batch_norm_lstm_inference_backward,
    batch_norm_lstm_inference_forward,
)
from npbn.functional.batch_renorm import (
    batch_renorm_backward,
    batch_renorm_corrections,
    batch_renorm_forward,
)
from npbn.functional.conv2d import conv2d_backward, conv2d_forward
from npbn.functional.dense import dense_backward, dense_forward
from npbn.functional.dropout import dropout_backward, dropout_forward
from npbn.functional.flatten import flatten_backward, flatten_forward
from npbn.functional.ghost_batch_norm import (
    ghost_batch_norm_backward,
    ghost_batch_norm_forward,
)
from npbn.functional.group_norm import group_norm_backward, group_norm_forward
from npbn.functional.instance_norm import instance_norm_backward, instance_norm_forward
from npbn.functional.layer_norm import layer_norm_backward, layer_norm_forward
from npbn.functional.losses import (
    log_softmax,
    negative_log_likelihood,
    softmax,
    softmax_cross_entropy,
    squared_error,
)
from npbn.functional.lstm import lstm_backward, lstm_forward
from npbn.functional.pooling import (
    average_pool_backward,
    average_pool_forward,
    global_average_pool_backward,
    global_average_pool_forward,
    max_pool_backward,
    max_pool_forward,
)
from npbn.functional.rms_norm import rms_norm_backward, rms_norm_forward
from npbn.functional.rnn import rnn_backward, rnn_forward

__all__ = [
    "average_pool_backward",
    "average_pool_forward",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
    "batch_norm_inference_backward",
    "batch_norm_lstm_backward",
    "batch_norm_lstm_forward",
    "batch_norm_lstm_inference_backward",
    "batch_norm_lstm_inference_forward",
    "batch_renorm_backward",
    "batch_renorm_corrections",
    "batch_renorm_forward",
    "conv2d_backward",
    "conv2d_forward",
    "dense_backward",
    "dense_forward",
    "dropout_backward",
    "dropout_forward",
    "flatten_backward",
    "flatten_forward",
    "ghost_batch_norm_backward",
    "ghost_batch_norm_forward",
    "global_average_pool_backward",
    "global_average_pool_forward",
    "group_norm_backward",
    "group_norm_forward",
    "instance_norm_backward",
    "instance_norm_forward",
    "layer_norm_backward",
    "layer_norm_forward",
    "leaky_relu_backward",
    "leaky_relu_forward",
    "log_softmax",
    "lstm_backward",
    "lstm_forward",
    "max_pool_backward",
    "max_pool_forward",
    "negative_log_likelihood",
    "relu_backward",
    "relu_forward",
    "rms_norm_backward",
    "rms_norm_forward",
    "rnn_backward",
    "rnn_forward",
    "sigmoid_backward",
    "sigmoid_forward",
    "softmax",
    "softmax_cross_entropy",
    "squared_error",
    "tanh_backward",
    "tanh_forward",
]
