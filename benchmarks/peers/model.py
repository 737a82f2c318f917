"""The network written once for the libraries that take gradients of NumPy-like code."""

from benchmarks.peers.base import EPSILON, MOMENTUM, depth


def batch_norm(xp, x, gamma, beta):
    """y, mean and variance of x (..., D); xp is the library's own numpy."""
    axes = tuple(range(x.ndim - 1))
    mean, variance = xp.mean(x, axes), xp.var(x, axes)
    return batch_norm_inference(xp, x, gamma, beta, mean, variance), mean, variance


def batch_norm_inference(xp, x, gamma, beta, mean, variance):
    """y with given statistics."""
    return (x - mean) * (gamma / xp.sqrt(variance + EPSILON)) + beta


def logits(
    xp, values, state, x, training, detached=lambda value: value, convolution=None, max_pool=None
):
    """The network's output, and the population statistics after it.

    detached: takes a value out of what the library differentiates. convolution, max_pool: the
    library's own, for images.
    """
    last, moved = depth(values) - 1, {}
    for i in range(last + 1):
        weight = values[f"weight{i}"]
        if weight.ndim == 4:
            x = convolution(x, weight)
        else:
            x = xp.dot(x.reshape(len(x), -1) if x.ndim > 2 else x, weight)
        if f"bias{i}" in values:
            x = x + values[f"bias{i}"]
        if f"gamma{i}" in values:
            gamma, beta = values[f"gamma{i}"], values[f"beta{i}"]
            old_mean, old_variance = state[f"mean{i}"], state[f"variance{i}"]
            if training:
                x, *batch = batch_norm(xp, x, gamma, beta)
                mean, variance = map(detached, batch)
                moved[f"mean{i}"] = MOMENTUM * old_mean + (1 - MOMENTUM) * mean
                moved[f"variance{i}"] = MOMENTUM * old_variance + (1 - MOMENTUM) * variance
            else:
                x = batch_norm_inference(xp, x, gamma, beta, old_mean, old_variance)
        if i < last:
            x = xp.maximum(x, 0)
            x = max_pool(x) if weight.ndim == 4 else x
    return x, moved


def cross_entropy(xp, outputs, one_hot):
    """The mean over the batch; one_hot (N, classes) is 1 at the label, else 0."""
    shifted = outputs - xp.max(outputs, axis=1, keepdims=True)
    log_p = shifted - xp.log(xp.sum(xp.exp(shifted), axis=1, keepdims=True))
    return -xp.sum(log_p * one_hot) / len(outputs)
