"""npbn as its users call it."""

from benchmarks.peers import base
from benchmarks.peers.base import EPSILON, LEARNING_RATE, Array, Kernels, Setup, Trainer, Values
from benchmarks.timing import Task
from npbn import SGD, BatchNorm, Dense, ReLU, Sequential, functional, training_steps


def network_of(values: Values) -> Sequential:
    """The network that has these values."""
    layers = []
    last = base.depth(values) - 1
    for place in range(last + 1):
        weight, bias = values[f"weight{place}"], values.get(f"bias{place}")
        layers.append(Dense(*weight.shape, use_bias=bias is not None, weight=weight))
        if bias is not None:
            layers[-1].bias[...] = bias
        if f"gamma{place}" in values:
            norm = BatchNorm(weight.shape[1], momentum=base.MOMENTUM, epsilon=EPSILON)
            norm.gamma, norm.beta = values[f"gamma{place}"], values[f"beta{place}"]
            norm.population_mean = values[f"mean{place}"]
            norm.population_variance = values[f"variance{place}"]
            layers.append(norm)
        if place < last:
            layers.append(ReLU())
    return Sequential(layers)


def values_of(network: Sequential) -> dict[str, Array]:
    """The network's values, by the names of a Setup."""
    values, place = {}, -1
    for layer in network.layers:
        if isinstance(layer, Dense):
            place += 1
        names = {"population_mean": "mean", "population_variance": "variance"}
        for name, value in {**layer.parameters, **layer.state}.items():
            values[f"{names.get(name, name)}{place}"] = value.copy()
    return values


class NpbnPeer(base.Peer):
    """The contestant itself."""

    library = "npbn"

    def kernels(self, case: base.KernelCase) -> Kernels:
        x, dy, gamma, beta = case.x, case.dy, case.gamma, case.beta
        _, cache = functional.batch_norm_forward(x, gamma, beta, epsilon=EPSILON)
        norm = BatchNorm(case.shape[-1], epsilon=EPSILON, dtype=case.dtype)
        norm.gamma, norm.beta = gamma, beta
        fused, dy_relu = Sequential([norm, ReLU()]), case.dy_relu

        def forward():
            return functional.batch_norm_forward(x, gamma, beta, epsilon=EPSILON)

        def both():
            y, cache = functional.batch_norm_forward(x, gamma, beta, epsilon=EPSILON)
            return y, functional.batch_norm_backward(dy, cache)

        def with_relu():
            y = fused.forward(x, training=True)
            return y, fused.backward(dy_relu, input_gradient=True)

        def relu_results(result):
            return {"y": result[0], "dx": result[1], "dgamma": norm.gradients["gamma"]} | {
                "dbeta": norm.gradients["beta"]
            }

        def inference():
            return functional.batch_norm_inference(
                x, gamma, beta, case.mean, case.variance, epsilon=EPSILON
            )

        yield "forward", "npbn", Task(forward, base.output_first)
        yield (
            "backward",
            "npbn",
            Task(lambda: functional.batch_norm_backward(dy, cache), base.gradients),
        )
        yield "forward+backward", "npbn", Task(both, base.output_and_gradients)
        yield "inference", "npbn", Task(inference, base.output)
        yield "bn+relu", "npbn", Task(with_relu, relu_results)

    def trainers(self, setup: Setup) -> dict[str, Trainer]:
        network, optimizer = network_of(setup.values), SGD(LEARNING_RATE)

        def step(images, labels):
            logits = network.forward(images, training=True)
            loss, dlogits = functional.softmax_cross_entropy(logits, labels)
            network.backward(dlogits)
            optimizer.step(network)
            return loss

        return {"npbn": Trainer(step, setup.batches, lambda: values_of(network))}

    def evaluations(self, values: Values, images: Array) -> dict[str, Task]:
        network = network_of(values)
        tasks = {"npbn": Task(lambda: network.predict(images), base.classes)}
        if "gamma0" in values:
            folded = network.fold_batch_norm()
            tasks["npbn, folded"] = Task(lambda: folded.predict(images), base.classes)
        return tasks


def training_steps_task(values: Values, data: tuple[Array, Array], batch_size: int) -> Task:
    """`training_steps` itself, data and all: a call is one step of a generator without an end."""
    steps = training_steps(
        network_of(values),
        data,
        optimizer=SGD(LEARNING_RATE),
        steps=10**9,
        batch_size=batch_size,
    )
    return Task(lambda: next(steps))
