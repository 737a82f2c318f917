"""One step of a network, written down call by call."""

import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional.losses import SoftmaxCrossEntropyOperation
from npbn.layers.plan import Mode
from npbn.layers.readers import computing
from npbn.numerics.tape import Tape

if TYPE_CHECKING:
    from npbn.network.sequential import Sequential


def taped_step(network: "Sequential", images: Array, labels: Array | None, optimizer: Any) -> Tape:
    """The tape of one step of a copy of the network; without labels of inference."""
    if optimizer is not None:
        checks.optimizer(optimizer)
        if labels is None:
            raise ValueError("optimizer: expected labels as well: inference has no update to show")
    network, optimizer = copy.deepcopy((network, optimizer))
    network._check_type(images)
    tape, training = Tape(), labels is not None
    mode = Mode(training, "batch" if training else "population", keeps=training)
    layers = network._leaves
    plan = network._plan_for(images, mode)
    with computing():
        logits = plan.forward(tape, layers, images, None)
        if labels is not None:
            if logits.ndim != 2:
                raise ValueError(f"labels: expected outputs (N, classes), got {logits.shape}")
            checks.labels(labels, logits.shape[:1], logits.shape[1])
            plan.is_finite(tape)
            plan.follow(tape, True)
            loss = SoftmaxCrossEntropyOperation(logits.shape, logits.dtype)
            dlogits = np.empty_like(logits)
            given = {"logits": logits, "labels": labels, "dlogits": dlogits}
            tape.block("softmax cross entropy, and its gradient", given | vars(loss))
            loss.forward(tape, logits, labels, dlogits)
            plan.backward(tape, layers, dlogits, 0, len(layers), None)
            if optimizer is not None:
                optimizer.check(network)
                vectors = {
                    "parameters": network.parameter_vector,
                    "gradients": network.gradient_vector,
                }
                tape.block(f"update, {optimizer!r}", vectors)
                optimizer._step(tape, network)
    return tape
