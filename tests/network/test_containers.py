"""A network as a container of its layers, and layers as functions."""

import numpy as np
import pytest
from small_network import Identity, batch, small

from npbn import Dense, ReLU, Sequential


def test_its_length_places_and_iteration_are_of_its_layers():
    network = small()
    assert len(network) == len(network.layers) == 7
    assert network[1] is network.layers[1]
    assert network[-1] is network.layers[-1]
    assert network[1:3] == network.layers[1:3]
    assert [*network] == [*network.layers]
    assert network.layers[2] in network
    with pytest.raises(IndexError):
        network[7]


def test_called_it_is_its_forward_pass():
    network, x = small(), batch()
    assert np.array_equal(network(x), network.forward(x))
    y = network(x, training=True)
    assert np.array_equal(y, network.forward(x, training=True))
    out = np.empty_like(y)
    assert network(x, statistics="batch", out=out) is out
    assert np.array_equal(network[0](x), network[0].forward(x))
    assert Identity()(x) is x


def test_a_network_is_no_list_of_layers():
    for each in (Dense(3, 2, rng=0), Sequential([ReLU()])):
        with pytest.raises(TypeError, match=r"^layers: expected a list of layers, got .*: pass \["):
            Sequential(each)
