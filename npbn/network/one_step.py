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


def taped_step(
    network: "Sequential",
    images: Array,
    labels: Array | None,
    optimizer: Any,
    mask: Array | None = None,
) -> Tape:
    """The tape of one step of a copy of the network; without labels of inference."""
    if optimizer is not None:
        checks.optimizer(optimizer)
        if labels is None:
            raise ValueError("optimizer: expected labels as well: inference has no update to show")
    network, optimizer = copy.deepcopy((network, optimizer))
    network._check_type(images)
    tape, training = Tape(), labels is not None
    mode = Mode(training, "batch" if training else "population", keeps=training, mask=mask)
    layers = network._leaves
    plan = network._plan_for(images, mode)
    with computing():
        logits = plan.forward(tape, layers, images, None)
        if labels is not None:
            checks.labels_of(labels, logits.shape)
            checks.labels_behind_mask("labels", labels, mask, None)
            plan.is_finite(tape)
            plan.follow(tape, True)
            dlogits = np.empty_like(logits)
            # Of outputs with steps each step is a row.
            rows = [each.reshape(-1, logits.shape[-1]) for each in (logits, dlogits)]
            labels = labels.reshape(-1)
            loss = SoftmaxCrossEntropyOperation(rows[0].shape, logits.dtype)
            given = {"logits": rows[0], "labels": labels, "dlogits": rows[1]}
            tape.block("softmax cross entropy, and its gradient", given | vars(loss))
            loss.forward(tape, rows[0], labels, rows[1])
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
