"""Exact population statistics, and folding them into the weights before."""

import copy
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from npbn._checks import Array
from npbn.layers.base import Layer
from npbn.layers.batch_norm import BatchNorm
from npbn.layers.chain import Chain
from npbn.layers.dense import Dense
from npbn.layers.foreign import Memory, has_unreachable_norm


@np.errstate(all="ignore")
def recompute_population(chain: Chain, images: Array, batch_size: int) -> None:
    """Set each BatchNorm's population statistics to those of images; all of them, or none."""
    for place, layer in enumerate(chain.layers):
        if has_unreachable_norm(layer):
            raise ValueError(
                f"layer {place}, {layer!r}: has a BatchNorm inside, whose input is not known here: "
                "make it a plain Sequential, or set its statistics yourself"
            )
    norms = [
        (place, layer) for place, layer in enumerate(chain.layers) if isinstance(layer, BatchNorm)
    ]
    before = [{name: value.copy() for name, value in norm.state.items()} for _, norm in norms]
    try:
        for place, norm in norms:
            blocks = _inputs(chain, place, images, batch_size)
            mean, variance, count = exact_statistics(x.reshape(-1, x.shape[-1]) for x in blocks)
            if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
                raise ValueError(f"images: not finite on the way to layer {place}, {norm!r}")
            if norm.unbiased_population:
                variance = variance * (count / max(count - 1, 1))
            norm.population_mean[...] = mean
            norm.population_variance[...] = variance
    except BaseException:
        for (_, norm), old in zip(norms, before, strict=True):
            for name, value in old.items():
                norm.state[name][...] = value
        raise


def _inputs(chain: Chain, place: int, images: Array, batch_size: int) -> Iterator[Array]:
    """What reaches the layer at place in inference, block by block."""
    for start in range(0, len(images), batch_size):
        block = images[start : start + batch_size]
        yield chain.infer(block, "population", Memory(len(chain.layers)), stop=place)


def exact_statistics(blocks: Iterable[Array]) -> tuple[Array, Array, int]:
    """Mean and biased variance (D,) of all rows of the blocks (rows, D), in float64; their number.

    Statistics of blocks merge exactly: Chan, Golub & LeVeque 1979.
    """
    count, mean, squares = 0, np.float64(0.0), np.float64(0.0)
    for block in blocks:
        rows = len(block)
        block_mean = block.mean(0, dtype=np.float64)
        difference = block_mean - mean
        squares = squares + ((block - block_mean) ** 2).sum(0)
        squares = squares + difference**2 * (count * rows / (count + rows))
        mean = mean + difference * (rows / (count + rows))
        count += rows
    return np.asarray(mean), np.asarray(squares / count), count


def folded_layers(layers: Sequence[Layer]) -> list[Layer]:
    """Copies of the layers, with each BatchNorm folded into the Dense directly before it."""
    result: list[Layer] = []
    for layer in layers:
        before = result[-1] if result else None
        if type(layer) is BatchNorm and type(before) is Dense:
            result[-1] = folded(before, layer)
        else:
            result.append(copy.deepcopy(layer))
    return result


@np.errstate(all="ignore")
def folded(dense: Dense, norm: BatchNorm) -> Dense:
    """One Dense that does what dense and then norm do in inference.

    weight' = weight * scale,  bias' = beta + (bias - population_mean) * scale
    scale   = gamma / sqrt(population_variance + epsilon)
    """
    gamma, beta = norm._scale_and_shift()
    scale = gamma / np.sqrt(norm.population_variance.astype(np.float64) + norm.epsilon)
    bias = 0 if dense.bias is None else dense.bias
    weight = (dense.weight * scale).astype(dense.weight.dtype)
    result = Dense(dense.in_features, dense.out_features, weight=weight)
    result.bias[...] = beta + (bias - norm.population_mean) * scale
    return result
