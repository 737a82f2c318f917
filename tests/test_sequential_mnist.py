"""The sequences of the example: what is blank in all of them, and what noise is for."""

import numpy as np
import pytest
from sequential_mnist_bn_lstm import network, sequences

from npbn import SGD, datasets, fit

IMAGES, LABELS = (array[:20] for array in datasets.load_mnist_5k().train)


def run(x):
    each = network(0.1, *x.shape[1:], 0)
    options = {"steps": 1, "batch_size": len(x), "progress": False, "on_divergence": "record"}
    fit(each, (x, LABELS), optimizer=SGD(0.0), **options)
    return each.gradient_vector


def test_orders_have_the_pixels_of_the_images():
    assert sequences(IMAGES, "rows").shape == (20, 28, 28)
    pixels, permuted = sequences(IMAGES, "pixels"), sequences(IMAGES, "permuted")
    np.testing.assert_array_equal(pixels[:, 1:, 0], IMAGES[:, 1:])
    assert not np.array_equal(permuted[..., 0], IMAGES)
    np.testing.assert_array_equal(np.sort(permuted[..., 0]), np.sort(IMAGES))


@pytest.mark.filterwarnings("ignore:.*encountered")
def test_where_the_first_steps_are_blank_only_noise_keeps_the_gradient_finite():
    noisy = sequences(IMAGES, "pixels")
    blank = noisy.copy()
    blank[:, 0] = 0
    assert not blank[:, :30].any()
    assert np.isfinite(run(noisy)).all()
    assert not np.isfinite(run(blank)).all()
