"""autograd: gradients of plain NumPy code."""

import autograd.numpy as anp
import numpy as np
from autograd import make_vjp, value_and_grad
from autograd.tracer import getval

from benchmarks.peers import base, model
from benchmarks.peers.base import LEARNING_RATE, Kernels
from benchmarks.timing import Task

NAME = "autograd"


def _batch_norm(arrays):
    return model.batch_norm(anp, *arrays)[0]


def _batch_norm_relu(arrays):
    return anp.maximum(_batch_norm(arrays), 0)


class AutogradPeer(base.Peer):
    """HIPS autograd."""

    library = NAME

    def kernels(self, case: base.KernelCase) -> Kernels:
        arrays = case.x, case.gamma, case.beta
        forward, fused = make_vjp(_batch_norm), make_vjp(_batch_norm_relu)

        def with_backward(function, dy):
            def run():
                backward, y = function(arrays)
                return y, backward(dy)

            return run

        def inference():
            return model.batch_norm_inference(anp, *arrays, case.mean, case.variance)

        kept = forward(arrays)[0]
        both = with_backward(forward, case.dy)
        yield "forward", NAME, Task(lambda: forward(arrays), lambda result: {"y": result[1]})
        yield "backward", NAME, Task(lambda: kept(case.dy), base.gradients)
        yield "forward+backward", NAME, Task(both, base.output_and_gradients)
        yield "inference", NAME, Task(inference, base.output)
        yield (
            "bn+relu",
            NAME,
            Task(with_backward(fused, case.dy_relu), base.output_and_gradients),
        )

    def trainers(self, setup: base.Setup) -> dict[str, base.Trainer]:
        names = base.trained(setup.values)
        parameters = {name: setup.values[name].copy() for name in names}
        state = {name: v.copy() for name, v in setup.values.items() if name not in names}

        def loss_of(parameters, images, one_hot):
            logits, moved = model.logits(
                anp, parameters, state, images, training=True, detached=getval
            )
            state.update(moved)
            return model.cross_entropy(anp, logits, one_hot)

        with_gradients = value_and_grad(loss_of)

        def step(images, one_hot):
            loss, gradients = with_gradients(parameters, images, one_hot)
            for name, value in parameters.items():
                value -= LEARNING_RATE * gradients[name]
            return loss

        batches = [
            (images, np.eye(10, dtype=images.dtype)[labels]) for images, labels in setup.batches
        ]

        def values():
            return {name: value.copy() for name, value in (parameters | state).items()}

        return {NAME: base.Trainer(step, batches, values)}
