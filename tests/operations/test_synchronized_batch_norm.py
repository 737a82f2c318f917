"""Synchronized batch norm: shards of a batch have its statistics, outputs and gradients."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npbn import reference

EPSILON = 1e-3


@st.composite
def batches(draw):
    """A batch, and where it is cut into shards, which differ in size: of one row, too."""
    rows, features = draw(st.integers(2, 40)), draw(st.integers(1, 4))
    cuts = draw(st.sets(st.integers(1, rows - 1), max_size=6))
    center = draw(st.sampled_from([0.0, -3.0, 1e3, 1e6]))
    std = draw(st.sampled_from([1e-2, 1.0, 50.0]))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    x = (center + std * rng.standard_normal((rows, features))).astype(dtype)
    gamma, beta = rng.uniform(0.5, 1.5, (2, features)).astype(dtype)
    dy = (rng.standard_normal(x.shape) + rng.choice([0.0, 3.0])).astype(dtype)
    return x, gamma, beta, dy, sorted(cuts)


def statistics(x):
    axes = tuple(range(x.ndim - 1))
    return x.size // x.shape[-1], x.mean(axes), x.var(axes)


def both_passes(shards, gamma, beta, dys):
    """y, dx, dgamma and dbeta of the whole batch, from its shards in float64."""
    dtype = gamma.dtype
    gamma, beta = gamma.astype(np.float64), beta.astype(np.float64)
    shards, dys = ([each.astype(np.float64) for each in arrays] for arrays in (shards, dys))
    count, mean, variance = reference.merge_statistics(map(statistics, shards))
    merged = {"mean": mean, "variance": variance, "epsilon": EPSILON}
    y = [reference.batch_norm_inference(x, gamma, beta, **merged) for x in shards]
    own = [
        reference.batch_norm_inference_backward(dy, x, gamma, **merged)[1:]
        for dy, x in zip(dys, shards, strict=True)
    ]
    dgamma, dbeta = (sum(sums) for sums in zip(*own, strict=True))
    dx = [
        reference.synchronized_batch_norm_backward(
            dy, x, gamma, count, dgamma=dgamma, dbeta=dbeta, **merged
        )
        for dy, x in zip(dys, shards, strict=True)
    ]
    whole = np.concatenate(y), np.concatenate(dx), dgamma, dbeta
    return [each.astype(dtype) for each in whole]


def of_whole(x, gamma, beta, dy):
    """The same, and the statistics, of the unsharded batch in longdouble."""
    x, gamma, beta, dy = (each.astype(np.longdouble) for each in (x, gamma, beta, dy))
    y, cache = reference.batch_norm_forward(x, gamma, beta, epsilon=np.longdouble(EPSILON))
    return [y, *reference.batch_norm_backward(dy, cache)], cache


@given(batches())
def test_shards_have_the_statistics_of_the_batch(batch):
    x, *_, cuts = batch
    _, cache = of_whole(*batch[:4])
    triples = [statistics(each.astype(np.float64)) for each in np.split(x, cuts)]
    once = reference.merge_statistics(triples)
    # What was merged may be merged again: a tree, or one shard after another.
    again = triples[0]
    for triple in triples[1:]:
        again = reference.merge_statistics([again, triple])
    std = np.sqrt(cache.variance.astype(float))
    rounding = 8 * np.finfo(float).eps * np.abs(x).max()
    for count, mean, variance in (once, again):
        assert count == len(x)
        assert mean.dtype == variance.dtype == np.float64
        assert (np.abs(mean - cache.mean) <= rounding).all()
        assert (np.abs(variance - cache.variance) <= 1e-14 * variance + rounding * std).all()


@given(batches())
def test_shards_have_the_outputs_and_gradients_of_the_batch(batch):
    x, gamma, beta, dy, cuts = batch
    found = both_passes(np.split(x, cuts), gamma, beta, np.split(dy, cuts))
    true, cache = of_whole(x, gamma, beta, dy)
    # Of a float64 batch far from 0, its own mean is rounded, as an unsharded one's would be.
    far = np.abs(x).max() / np.sqrt(cache.variance + EPSILON).min()
    size = np.abs(gamma / np.sqrt(cache.variance + EPSILON)).max() * np.abs(dy).max()
    terms = np.abs(dy).sum(0).max()
    for name, own, expected, largest in zip(
        ("y", "dx", "dgamma", "dbeta"), found, true, (1, size, terms, terms), strict=True
    ):
        error = np.abs(own - expected).max() / (largest + np.abs(expected).max())
        rounding = 2 * np.finfo(x.dtype).eps + 40 * np.finfo(float).eps * (1 + far)
        assert own.dtype == x.dtype
        assert error <= rounding, name


@pytest.mark.parametrize("shape", [(6, 3, 2, 4), (5, 7, 3)], ids=str)
def test_images_and_sequences_lie_in_shards_too(shape):
    rng = np.random.default_rng(0)
    x, dy = 5 + rng.standard_normal((2, *shape))
    gamma, beta = rng.uniform(0.5, 1.5, (2, shape[-1]))
    found = both_passes(np.split(x, [1, 4]), gamma, beta, np.split(dy, [1, 4]))
    for own, expected in zip(found, of_whole(x, gamma, beta, dy)[0], strict=True):
        np.testing.assert_allclose(own, expected.astype(float), rtol=1e-12, atol=1e-13)


def test_a_shard_is_a_batch():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((9, 4))
    for merged, own in zip(reference.merge_statistics([statistics(x)]), statistics(x), strict=True):
        np.testing.assert_array_equal(merged, own)


@pytest.mark.parametrize("kind", [np.float32, np.longdouble])
def test_the_merged_type_is_float64_or_better(kind):
    rng = np.random.default_rng(0)
    parts = [statistics(rng.standard_normal((rows, 3)).astype(kind)) for rows in (1, 5)]
    found = reference.merge_statistics(parts)[1:]
    better = np.promote_types(kind, np.float64)
    parts = [(n, mean.astype(better), variance.astype(better)) for n, mean, variance in parts]
    for own, expected in zip(found, reference.merge_statistics(parts)[1:], strict=True):
        assert own.dtype == better
        np.testing.assert_array_equal(own, expected)


@pytest.mark.parametrize("cuts", [[], [1], [2, 3, 11]], ids=str)
def test_pytorch_agrees(cuts):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    rng = np.random.default_rng(0)
    x, dy = 3 + rng.standard_normal((2, 13, 4))
    gamma, beta = rng.uniform(0.5, 1.5, (2, 4))
    found = both_passes(np.split(x, cuts), gamma, beta, np.split(dy, cuts))
    leaves = [torch.tensor(each, requires_grad=True) for each in (x, gamma, beta)]
    y = torch.nn.functional.batch_norm(
        leaves[0], None, None, *leaves[1:], training=True, eps=EPSILON
    )
    y.backward(torch.tensor(dy))
    theirs = [y.detach(), *(each.grad for each in leaves)]
    for own, expected in zip(found, theirs, strict=True):
        np.testing.assert_allclose(own, expected.numpy(), rtol=1e-12, atol=1e-12)
