"""autograd: gradients of plain NumPy code."""

import autograd.numpy as anp
from autograd import make_vjp, value_and_grad
from autograd.tracer import getval

from benchmarks.peers import base, model
from benchmarks.peers.base import LEARNING_RATE
from benchmarks.timing import Task

NAME = "autograd"


class AutogradPeer(base.Peer):
    """HIPS autograd."""

    library = NAME

    def kernels(self, case: base.KernelCase) -> dict[str, base.Kernels]:
        arrays = case.x, case.gamma, case.beta
        plain = make_vjp(lambda arrays: model.batch_norm(anp, *arrays)[0])
        fused = make_vjp(lambda arrays: anp.maximum(model.batch_norm(anp, *arrays)[0], 0))

        def relu():
            backward, y = fused(arrays)
            return y, backward(case.dy_relu)

        own = base.Kernels(
            lambda: plain(arrays)[::-1],
            lambda backward: backward(case.dy),
            lambda: model.batch_norm_inference(anp, *arrays, case.mean, case.variance),
            relu,
        )
        return {NAME: own}

    def steps(self, setup: base.Setup) -> dict[str, Task]:
        parameters, state = base.split(setup.values)

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

        batches = base.one_hot(setup.batches)
        return {NAME: base.training_task(setup, step, batches, lambda: parameters | state)}
