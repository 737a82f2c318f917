"""JAX: compiled functions, called and waited for one by one, or a whole loop compiled."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import base, model
from benchmarks.peers.base import LEARNING_RATE, Array, Kernels
from benchmarks.timing import Task

# Without it JAX makes float32 of float64; what is float32 stays so.
jax.config.update("jax_enable_x64", True)

SCAN_STEPS = 100


def _batch_norm(x, gamma, beta):
    return model.batch_norm(jnp, x, gamma, beta)[0]


def _batch_norm_relu(x, gamma, beta):
    return jnp.maximum(_batch_norm(x, gamma, beta), 0)


def _with_backward(function):
    """A compiled function: (x, gamma, beta, dy) -> y, gradients."""

    def both(x, gamma, beta, dy):
        y, backward = jax.vjp(function, x, gamma, beta)
        return y, backward(dy)

    return jax.jit(both)


def _waited(function, *arguments):
    return lambda: jax.block_until_ready(function(*arguments))


def _loss(parameters, state, images, one_hot):
    logits, moved = model.logits(jnp, parameters, state, images, training=True)
    return model.cross_entropy(jnp, logits, one_hot), moved


def _step(parameters, state, images, one_hot):
    (loss, state), gradients = jax.value_and_grad(_loss, has_aux=True)(
        parameters, state, images, one_hot
    )
    parameters = jax.tree.map(lambda p, g: p - LEARNING_RATE * g, parameters, gradients)
    return parameters, state, loss


class _Loop(base.Trainer):
    """So many steps as one compiled loop."""

    def __init__(self, setup, steps):
        self._setup, self.steps = setup, steps
        self._arrays = _split(setup.values)
        batches = _batches(setup)
        chosen = [batches[place % len(batches)] for place in range(steps)]
        self._data = tuple(jnp.stack(each) for each in zip(*chosen, strict=True))

        def body(carry, batch):
            *carry, loss = _step(*carry, *batch)
            return tuple(carry), loss

        self._scan = jax.jit(
            lambda carry, data: jax.lax.scan(body, carry, data), donate_argnums=(0,)
        )
        self.values = lambda: _arrays_of(*self._arrays)

    def run(self):
        self._arrays, losses = self._scan(self._arrays, self._data)
        return np.asarray(losses)

    def first(self, count):
        loop = _Loop(self._setup, count)
        return {"losses": loop.run(), **loop.values()}


class JaxPeer(base.Peer):
    """JAX under jit, and lax.scan."""

    library = "jax"

    def kernels(self, case: base.KernelCase) -> Kernels:
        x, dy, gamma, beta, mean, variance, dy_relu = map(
            jnp.asarray,
            (case.x, case.dy, case.gamma, case.beta, case.mean, case.variance, case.dy_relu),
        )
        # The function that jax.vjp returns may leave a compiled function and enter another.
        forward = jax.jit(lambda x, gamma, beta: jax.vjp(_batch_norm, x, gamma, beta))
        backward = jax.jit(lambda function, dy: function(dy))
        both, fused = _with_backward(_batch_norm), _with_backward(_batch_norm_relu)
        inference = jax.jit(lambda *arguments: model.batch_norm_inference(jnp, *arguments))
        kept = forward(x, gamma, beta)[1]
        for operation, run, names in (
            ("forward", _waited(forward, x, gamma, beta), base.output_first),
            ("backward", _waited(backward, kept, dy), base.gradients),
            ("forward+backward", _waited(both, x, gamma, beta, dy), base.output_and_gradients),
            ("inference", _waited(inference, x, gamma, beta, mean, variance), base.output),
            ("bn+relu", _waited(fused, x, gamma, beta, dy_relu), base.output_and_gradients),
        ):
            yield operation, "JAX jit", Task(run, names)

    def trainers(self, setup: base.Setup) -> dict[str, base.Trainer]:
        parameters, state = _split(setup.values)
        compiled = jax.jit(_step, donate_argnums=(0, 1))

        def step(images, one_hot):
            nonlocal parameters, state
            parameters, state, loss = compiled(parameters, state, images, one_hot)
            return float(loss)

        trainer = base.Trainer(step, _batches(setup), lambda: _arrays_of(parameters, state))
        return {"JAX jit": trainer, "JAX lax.scan": _Loop(setup, SCAN_STEPS)}

    def evaluations(self, values: base.Values, images: Array) -> dict[str, Task]:
        parameters, state = _split(values)
        x = jnp.asarray(images)
        predict = jax.jit(lambda p, s, x: model.logits(jnp, p, s, x, training=False)[0].argmax(1))
        return {"JAX jit": Task(_waited(predict, parameters, state, x), base.classes)}


def _arrays_of(parameters, state):
    return {name: np.array(value) for name, value in {**parameters, **state}.items()}


def _split(values):
    names = base.trained(values)
    parameters = {name: jnp.array(values[name]) for name in names}
    state = {name: jnp.array(value) for name, value in values.items() if name not in names}
    return parameters, state


def _batches(setup):
    return [
        (jnp.asarray(images), jnp.asarray(np.eye(10, dtype=images.dtype)[labels]))
        for images, labels in setup.batches
    ]
