"""JAX: compiled functions, called and waited for one by one, or a whole loop compiled."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.peers import base, model
from benchmarks.peers.base import ADAM_RATE, LEARNING_RATE, Array
from benchmarks.timing import Task

# Without it JAX makes float32 of float64; what is float32 stays so.
jax.config.update("jax_enable_x64", True)

SCAN_STEPS = 100


def _batch_norm(x, gamma, beta):
    return model.batch_norm(jnp, x, gamma, beta)[0]


def _batch_norm_relu(x, gamma, beta):
    return jnp.maximum(_batch_norm(x, gamma, beta), 0)


def _convolution(x, weight):
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=layout)


def _max_pool(x):
    return _pool(x, -jnp.inf, jax.lax.max)


def _pool(x, start, function):
    window = (1, 2, 2, 1)
    return jax.lax.reduce_window(x, start, function, window, window, "VALID")


LAYERS = {
    "Conv2D": lambda x, weight, bias: _convolution(x, weight) + bias,
    "MaxPool2D": _max_pool,
    "AvgPool2D": lambda x: _pool(x, 0.0, jax.lax.add) / 4,
    "GlobalAvgPool2D": lambda x: x.mean((1, 2)),
}


def _with_backward(function):
    """A compiled function: (*arrays, dy) -> y, gradients."""

    def both(*arguments):
        *arrays, dy = arguments
        y, backward = jax.vjp(function, *arrays)
        return y, backward(dy)

    return jax.jit(both)


def _waited(function, *arguments):
    return lambda: jax.block_until_ready(function(*arguments))


def _gradients(parameters, state, images, one_hot):
    def loss_of(parameters):
        own = {"convolution": _convolution, "max_pool": _max_pool}
        logits, moved = model.logits(jnp, parameters, state, images, training=True, **own)
        return model.cross_entropy(jnp, logits, one_hot), moved

    return jax.value_and_grad(loss_of, has_aux=True)(parameters)


def _step(parameters, state, images, one_hot):
    (loss, state), gradients = _gradients(parameters, state, images, one_hot)
    parameters = jax.tree.map(lambda p, g: p - LEARNING_RATE * g, parameters, gradients)
    return parameters, state, loss


def _adam_step(parameters, state, images, one_hot):
    """The same with Adam, whose means and number of steps are in the state beside the rest."""
    means, squares, steps = state["adam"]
    (loss, state), gradients = _gradients(parameters, state, images, one_hot)
    steps += 1
    means = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, means, gradients)
    squares = jax.tree.map(lambda s, g: 0.999 * s + 0.001 * g * g, squares, gradients)

    def moved(value, mean, square):
        mean, square = mean / (1 - 0.9**steps), square / (1 - 0.999**steps)
        return value - ADAM_RATE * mean / (jnp.sqrt(square) + 1e-8)

    parameters = jax.tree.map(moved, parameters, means, squares)
    return parameters, {**state, "adam": (means, squares, steps)}, loss


def _scan(setup, steps):
    """A function that does so many steps as one compiled loop, and one that tells the values."""
    arrays, batches = _arrays((base.split(setup.values), base.one_hot(setup.batches)))
    chosen = [batches[place % len(batches)] for place in range(steps)]
    data = tuple(jnp.stack(each) for each in zip(*chosen, strict=True))

    def body(carry, batch):
        *carry, loss = _step(*carry, *batch)
        return tuple(carry), loss

    loop = jax.jit(lambda carry, data: jax.lax.scan(body, carry, data), donate_argnums=(0,))

    def run():
        nonlocal arrays
        arrays, losses = loop(arrays, data)
        return np.asarray(losses)

    return run, lambda: _in_numpy(*arrays)


def _scan_task(setup):
    def results():
        run, values = _scan(setup, base.STEPS_COMPARED)
        return base.changes(setup, run(), values())

    return Task(_scan(setup, SCAN_STEPS)[0], SCAN_STEPS, results)


class JaxPeer(base.Peer):
    """JAX under jit, and lax.scan."""

    library = "jax"

    def kernels(self, case: base.KernelCase) -> dict[str, base.Kernels]:
        arrays = _arrays((case.x, case.gamma, case.beta))
        dy, dy_relu, *statistics = _arrays((case.dy, case.dy_relu, case.mean, case.variance))
        # The function that jax.vjp returns may leave a compiled function and enter another.
        forward = jax.jit(lambda x, gamma, beta: jax.vjp(_batch_norm, x, gamma, beta))
        backward = jax.jit(lambda function, dy: function(dy))
        inference = jax.jit(lambda *arguments: model.batch_norm_inference(jnp, *arguments))
        own = base.Kernels(
            _waited(forward, *arrays),
            lambda function: jax.block_until_ready(backward(function, dy)),
            _waited(inference, *arrays, *statistics),
            _waited(_with_backward(_batch_norm_relu), *arrays, dy_relu),
            _waited(_with_backward(_batch_norm), *arrays, dy),
        )
        return {"JAX jit": own}

    def steps(self, setup: base.Setup) -> dict[str, Task]:
        parameters, state = _arrays(base.split(setup.values))
        if setup.adam:
            zeros = [jax.tree.map(jnp.zeros_like, parameters) for _ in range(2)]
            state["adam"] = (*zeros, jnp.zeros_like(setup.values["weight0"], shape=()))
        compiled = jax.jit(_adam_step if setup.adam else _step, donate_argnums=(0, 1))

        def step(images, one_hot):
            nonlocal parameters, state
            parameters, state, loss = compiled(parameters, state, images, one_hot)
            return float(loss)

        batches = _arrays(base.one_hot(setup.batches))
        task = base.training_task(setup, step, batches, lambda: _in_numpy(parameters, state))
        return {"JAX jit": task, **({} if setup.adam else {"JAX lax.scan": _scan_task(setup)})}

    def layers(self, case: base.LayerCase) -> dict[str, Task]:
        arrays = (case.x, case.weight, case.bias) if case.layer == "Conv2D" else (case.x,)
        run = _waited(_with_backward(LAYERS[case.layer]), *_arrays((*arrays, case.dy)))
        return {"JAX jit": case.task(run, lambda y, gradients: (y, *gradients))}

    def evaluations(self, values: base.Values, images: Array):
        arrays = _arrays((*base.split(values), images))
        predict = jax.jit(lambda p, s, x: model.logits(jnp, p, s, x, training=False)[0].argmax(1))
        return {"JAX jit": _waited(predict, *arrays)}


def _arrays(tree):
    return jax.tree.map(jnp.array, tree)


def _in_numpy(parameters, state):
    own = {**parameters, **state}
    return {name: np.array(value) for name, value in own.items() if name != "adam"}
