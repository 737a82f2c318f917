"""TensorFlow: tf.function, with XLA and without, and Keras."""

import keras
import numpy as np
import tensorflow as tf

from benchmarks.peers import base
from benchmarks.peers.base import EPSILON, LEARNING_RATE, MOMENTUM
from benchmarks.timing import Task

NAME = "tf.function"


def _moments(x):
    return tf.nn.moments(x, list(range(x.shape.rank - 1)))


def _normalized(x, gamma, beta, mean, variance):
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)


def _with_backward(function):
    """A tf.function: (arrays, dy) -> y, gradients."""

    @tf.function
    def both(arrays, dy):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(arrays)
            y = function(*arrays)
        return y, tape.gradient(y, arrays, output_gradients=dy)

    return both


LAYERS = {
    "Conv2D": lambda x, weight, bias: tf.nn.bias_add(tf.nn.conv2d(x, weight, 1, "SAME"), bias),
    "MaxPool2D": lambda x: tf.nn.max_pool2d(x, 2, 2, "VALID"),
    "AvgPool2D": lambda x: tf.nn.avg_pool2d(x, 2, 2, "VALID"),
    "GlobalAvgPool2D": lambda x: tf.reduce_mean(x, (1, 2)),
}


class TensorFlowPeer(base.Peer):
    """tf.function over tf.nn, and Keras' train_on_batch."""

    library = "tensorflow"

    def kernels(self, case: base.KernelCase) -> dict[str, base.Kernels]:
        names = ("x", "gamma", "beta", "dy", "dy_relu", "mean", "variance")
        *arrays, dy, dy_relu, mean, variance = (tf.constant(getattr(case, n)) for n in names)

        def plain(x, gamma, beta):
            return _normalized(x, gamma, beta, *_moments(x))

        forward, inference = tf.function(plain), tf.function(_normalized)
        both, fused = _with_backward(plain), _with_backward(lambda *a: tf.nn.relu(plain(*a)))
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(arrays)
            kept = forward(*arrays)
        own = base.Kernels(
            lambda: (forward(*arrays), None),
            lambda _: tape.gradient(kept, arrays, output_gradients=dy),
            lambda: inference(*arrays, mean, variance),
            lambda: fused(arrays, dy_relu),
            lambda: both(arrays, dy),
        )
        return {NAME: own}

    def layers(self, case: base.LayerCase) -> dict[str, Task]:
        arrays = [case.x, case.weight, case.bias] if case.layer == "Conv2D" else [case.x]
        both, inputs = _with_backward(LAYERS[case.layer]), [tf.constant(each) for each in arrays]
        dy = tf.constant(case.dy)
        return {NAME: case.task(lambda: both(inputs, dy), lambda y, others: (y, *others))}

    def steps(self, setup: base.Setup) -> dict[str, Task]:
        return {
            NAME: _function_step(setup, jit_compile=False),
            "tf.function, XLA": _function_step(setup, jit_compile=True),
            "Keras train_on_batch": _keras_step(setup),
        }

    def evaluations(self, values: base.Values, images: base.Array):
        variables = {name: tf.constant(value) for name, value in values.items()}
        x, network = tf.constant(images), keras_model(values)
        predict = tf.function(lambda x: tf.argmax(_logits(variables, x, training=False), 1))
        return {
            NAME: lambda: predict(x),
            "Keras predict_on_batch": lambda: network.predict_on_batch(images).argmax(1),
        }

    def loops(self, setup: base.Setup, data, steps: int) -> dict[str, Task]:
        network, rows = keras_model(setup.values), len(setup.batches[0][0])
        batches = -(-len(data.train[0]) // rows)
        epochs = max(1, steps // batches)

        def run():
            network.fit(*data.train, batch_size=rows, epochs=epochs, verbose=0)

        return {"Keras fit": Task(run, epochs * batches)}


def _logits(values, x, training):
    last = base.depth(values) - 1
    for i in range(last + 1):
        x = tf.matmul(x, values[f"weight{i}"])
        if f"bias{i}" in values:
            x = tf.nn.bias_add(x, values[f"bias{i}"])
        if f"gamma{i}" in values:
            mean, variance = values[f"mean{i}"], values[f"variance{i}"]
            if training:
                batch = _moments(x)
                for population, new in zip((mean, variance), batch, strict=True):
                    population.assign(MOMENTUM * population + (1 - MOMENTUM) * new)
                mean, variance = batch
            x = _normalized(x, values[f"gamma{i}"], values[f"beta{i}"], mean, variance)
        if i < last:
            x = tf.nn.relu(x)
    return x


def _function_step(setup, jit_compile):
    values = {name: tf.Variable(value) for name, value in setup.values.items()}
    parameters = [values[name] for name in base.split(setup.values)[0]]

    @tf.function(jit_compile=jit_compile)
    def compiled(images, labels):
        with tf.GradientTape() as tape:
            logits = _logits(values, images, training=True)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(losses)
        for own, gradient in zip(parameters, tape.gradient(loss, parameters), strict=True):
            own.assign_sub(LEARNING_RATE * gradient)
        return loss

    batches = [(tf.constant(images), tf.constant(labels)) for images, labels in setup.batches]
    return base.training_task(
        setup,
        lambda images, labels: float(compiled(images, labels)),
        batches,
        lambda: {name: value.numpy() for name, value in values.items()},
    )


def keras_model(values):
    """The network in Keras, compiled for gradient descent, with these values."""
    last = base.depth(values) - 1
    layers: list[keras.layers.Layer] = [keras.layers.Input((len(values["weight0"]),))]
    for i in range(last + 1):
        width = values[f"weight{i}"].shape[1]
        layers.append(keras.layers.Dense(width, use_bias=f"bias{i}" in values))
        if f"gamma{i}" in values:
            layers.append(keras.layers.BatchNormalization(momentum=MOMENTUM, epsilon=EPSILON))
        if i < last:
            layers.append(keras.layers.ReLU())
    keras_network = keras.Sequential(layers)
    keras_network.set_weights([values[name] for name in _keras_order(values)])
    keras_network.compile(
        keras.optimizers.SGD(LEARNING_RATE),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    return keras_network


def _keras_order(values):
    kinds = ("weight", "bias", "gamma", "beta", "mean", "variance")
    ordered = [f"{kind}{i}" for i in range(base.depth(values)) for kind in kinds]
    return [name for name in ordered if name in values]


def _keras_step(setup):
    network, names = keras_model(setup.values), _keras_order(setup.values)

    def values():
        return dict(zip(names, network.get_weights(), strict=True))

    step = network.train_on_batch
    return base.training_task(
        setup, lambda *batch: float(np.asarray(step(*batch))), setup.batches, values
    )
