"""The equations as they are printed, for reading and for checking everything else against.

No buffers, no tricks, no argument checks, any float type (also np.longdouble). The operations have
the names and arguments that they have in `npbn.functional`, less ``out=``. Here alone are
`update_population`, one step of a running average, and `merge_statistics` and
`synchronized_batch_norm_backward`, for a batch that lies in shards.
"""

from npbn.reference.activations import (
    leaky_relu_backward,
    leaky_relu_forward,
    relu_backward,
    relu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from npbn.reference.batch_norm import (
    batch_norm_backward,
    batch_norm_forward,
    batch_norm_inference,
    batch_norm_inference_backward,
    merge_statistics,
    synchronized_batch_norm_backward,
    update_population,
)
from npbn.reference.batch_norm_lstm import (
    batch_norm_lstm_backward,
    batch_norm_lstm_forward,
    batch_norm_lstm_inference_backward,
    batch_norm_lstm_inference_forward,
)
from npbn.reference.batch_renorm import (
    batch_renorm_backward,
    batch_renorm_corrections,
    batch_renorm_forward,
)
from npbn.reference.conv2d import conv2d_backward, conv2d_forward
from npbn.reference.dense import dense_backward, dense_forward
from npbn.reference.dropout import dropout_backward, dropout_forward
from npbn.reference.flatten import flatten_backward, flatten_forward
from npbn.reference.ghost_batch_norm import (
    ghost_batch_norm_backward,
    ghost_batch_norm_forward,
)
from npbn.reference.group_norm import group_norm_backward, group_norm_forward
from npbn.reference.instance_norm import instance_norm_backward, instance_norm_forward
from npbn.reference.layer_norm import layer_norm_backward, layer_norm_forward
from npbn.reference.losses import (
    log_softmax,
    negative_log_likelihood,
    softmax,
    softmax_cross_entropy,
    squared_error,
)
from npbn.reference.lstm import lstm_backward, lstm_forward
from npbn.reference.pooling import (
    average_pool_backward,
    average_pool_forward,
    global_average_pool_backward,
    global_average_pool_forward,
    max_pool_backward,
    max_pool_forward,
)
from npbn.reference.rms_norm import rms_norm_backward, rms_norm_forward
from npbn.reference.rnn import rnn_backward, rnn_forward

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
    "merge_statistics",
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
    "synchronized_batch_norm_backward",
    "tanh_backward",
    "tanh_forward",
    "update_population",
]
