"""Layers that share a seed begin with the same weights, or draw the same masks: that is told."""

import copy
import pickle
import warnings

import numpy as np
import pytest

from npbn import BatchNorm, Dense, Dropout, Layer, ReLU, Sequential


def told(make):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        network = make()
    return network, [str(each.message) for each in caught]


def test_two_layers_of_one_seed_are_told_once_with_the_way_out():
    _, messages = told(
        lambda: Sequential(
            [
                Dense(6, 6, rng=0),
                ReLU(),
                Dense(6, 6, rng=0),
                Dropout(0.5, rng=1),
                Dense(6, 6, rng=0),
            ]
        )
    )
    assert len(messages) == 1
    assert "0.weight = 2.weight = 4.weight: these layers share a seed" in messages[0]
    assert "rng = np.random.default_rng(0)" in messages[0]


def test_the_warning_points_at_the_callers_line():
    with pytest.warns(UserWarning, match="share a seed") as caught:
        Sequential([Dense(6, 6, rng=0), Dense(6, 6, rng=0)])
    assert caught[0].filename == __file__


def test_dropouts_of_one_seed_are_told_as_they_draw_the_same_masks():
    _, messages = told(lambda: Sequential([Dropout(0.5, rng=0), Dense(6, 6), Dropout(0.2, rng=0)]))
    assert len(messages) == 1
    assert "0.rng = 2.rng" in messages[0]


def test_layers_within_networks_and_readers_layers_are_told_too():
    class Block(Layer):
        def __init__(self):
            super().__init__()
            self.inner = [Dense(6, 6, rng=0), ReLU()]

        def forward(self, x):
            return x

    def nested():
        return Sequential([Dense(6, 6, rng=0), ReLU()])

    _, messages = told(lambda: Sequential([nested(), nested()]))
    assert len(messages) == 1
    assert "0.0.weight = 1.0.weight" in messages[0]
    _, messages = told(lambda: Sequential([Block(), Block()]))
    assert "0.inner.0.weight = 1.inner.0.weight" in messages[0]


def test_a_network_within_has_told_of_its_own_layers():
    inner, messages = told(lambda: Sequential([Dense(6, 6, rng=0), Dense(6, 6, rng=0)]))
    assert len(messages) == 1
    assert told(lambda: Sequential([inner, ReLU()]))[1] == []


def test_copies_of_a_network_do_not_tell_again():
    network, _ = told(lambda: Sequential([Dense(6, 6, rng=0), Dense(6, 6, rng=0)]))
    for again in (
        copy.copy,
        copy.deepcopy,
        lambda each: pickle.loads(pickle.dumps(each)),
        lambda each: each.astype(np.float64),
    ):
        assert told(lambda again=again: again(network))[1] == []


def test_what_may_be_equal_is_not_told():
    rng = np.random.default_rng(0)
    zeros = np.zeros((6, 6), np.float32)
    for layers in (
        [Dense(6, 6, rng=rng), Dropout(0.5, rng=rng), Dense(6, 6, rng=rng), Dropout(0.5, rng=rng)],
        [Dense(6, 6, weight=zeros), BatchNorm(6), Dense(6, 6, weight=zeros), BatchNorm(6)],
        [Dense(6, 6, rng=0), Dense(6, 6, rng=1)],
        [Dense(3, 3, weight=np.eye(3)), Dense(3, 3, weight=np.eye(3))],
        [Dense(6, 6), Dense(6, 6), Dropout(0.5), Dropout(0.5)],
    ):
        assert told(lambda layers=layers: Sequential(layers))[1] == []
