"""A network's own file: what load takes and refuses. The file itself: tests/test_checkpoint.py."""

import time
import warnings

import numpy as np
import pytest
from small_network import Residual, batch, labels, small, train

from npbn import (
    SGD,
    BatchNorm,
    Dense,
    Dropout,
    Layer,
    LeakyReLU,
    ReLU,
    Sequential,
    Tanh,
    checkpoint,
    fit,
)


def test_a_round_trip_gives_the_same_network(tmp_path):
    network, other = small(), small(seed=5)
    train(network)
    network.save(tmp_path / "network")
    assert [path.name for path in tmp_path.iterdir()] == ["network"]
    other.load(str(tmp_path / "network"))
    assert np.array_equal(other.parameter_vector, network.parameter_vector)
    assert np.array_equal(other.forward(batch()), network.forward(batch()))


@pytest.mark.parametrize(
    ("make", "other"),
    [
        (small, small(norm=False)),
        (small, small(activation=Tanh)),
        (small, small(dtype=np.float64)),
        (small, Sequential([Dense(6, 4)])),
        (lambda: Sequential([BatchNorm(6, epsilon=10.0)]), Sequential([BatchNorm(6)])),
        (
            lambda: Sequential([Residual([Dense(6, 6)])]),
            Sequential([type("Other", (Residual,), {})([Dense(6, 6)])]),
        ),
    ],
    ids=["layers", "activation", "type", "sizes", "a setting", "a reader's network"],
)
def test_another_networks_file_is_refused_whole(make, other, tmp_path):
    make().save(tmp_path / "n")
    before = other.parameter_vector.copy()
    with pytest.raises(ValueError, match=r"n: (holds another network|'.*': expected float64)"):
        other.load(tmp_path / "n")
    assert np.array_equal(other.parameter_vector, before)


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError):
        small().load(tmp_path / "none")


class Block(Layer):
    """A reader's layer with layers within."""

    def __init__(self, rate, *, momentum=0.99, epsilon=1e-3):
        super().__init__()
        self.norm = BatchNorm(5, momentum=momentum, epsilon=epsilon)
        self.drop = Dropout(rate, rng=0)

    def forward(self, x, training=False, statistics=None):
        return self.drop.forward(self.norm.forward(x, training, statistics), training)

    def backward(self, dy):
        return self.norm.backward(self.drop.backward(dy))

    def __repr__(self):
        return f"Block({self.norm!r}, {self.drop!r})"


def with_settings(*, rate=0.5, epsilon=1e-3, slope=0.2, seed=0, **settings):
    layers = [Dense(6, 5, rng=seed), BatchNorm(5, epsilon=epsilon, **settings), LeakyReLU(slope)]
    return Sequential([*layers, Dropout(rate, rng=0), Dense(5, 3, rng=seed + 1)])


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"momentum": 0.9}, r"layer 1 is BatchNorm\(5\) there, BatchNorm\(5, momentum=0.9\) here"),
        ({"unbiased_population": True}, r"BatchNorm\(5, unbiased_population=True\) here"),
        ({"rate": 0.25}, r"layer 3 is Dropout\(0.5\) there, Dropout\(0.25\) here"),
        ({"rate": 0.0}, r"Dropout\(0.0\) here"),
        ({"rate": 0.1, "momentum": 0.5}, "layer 1 is .*; layer 3 is Dropout"),
    ],
    ids=str,
)
def test_a_file_of_other_settings_of_training_is_loaded_and_they_are_told_once(
    settings, told, tmp_path
):
    saved, other = with_settings(), with_settings(seed=5, **settings)
    train(saved)
    saved.save(tmp_path / "n")
    with pytest.warns(
        UserWarning, match=f"n: loaded, but trained with other settings: .*{told}"
    ) as w:
        other.load(tmp_path / "n")
    assert len(w) == 1
    assert w[0].filename == __file__
    np.testing.assert_array_equal(other.forward(batch()), saved.forward(batch()))
    assert other.layers[3].rate == settings.get("rate", 0.5)
    assert other.layers[1].momentum == settings.get("momentum", 0.99)
    # And back, where the setting is not among those that are written.
    other.save(tmp_path / "m")
    with pytest.warns(UserWarning, match="m: loaded, but"):
        saved.load(tmp_path / "m")


def test_where_that_warning_is_an_error_nothing_is_loaded(tmp_path):
    with_settings().save(tmp_path / "n")
    other = with_settings(seed=5, rate=0.1)
    before = other.parameter_vector.copy()
    with warnings.catch_warnings(action="error"), pytest.raises(UserWarning, match="Dropout"):
        other.load(tmp_path / "n")
    np.testing.assert_array_equal(other.parameter_vector, before)


@pytest.mark.parametrize("settings", [{"epsilon": 1e-5}, {"slope": 0.1}], ids=str)
def test_a_file_of_other_settings_of_inference_is_refused_with_a_way_out(settings, tmp_path):
    with_settings().save(tmp_path / "n")
    other = with_settings(seed=5, momentum=0.5, **settings)
    before = other.parameter_vector.copy()
    with pytest.raises(
        ValueError, match=r"layer \d is .* here: .*set settings afterwards"
    ) as caught:
        other.load(tmp_path / "n")
    assert "layer 3" not in str(caught.value)
    np.testing.assert_array_equal(other.parameter_vector, before)


def test_a_new_last_layer_is_refused_and_the_rest_can_be_copied_by_name(tmp_path):
    small(seed=1).save(tmp_path / "n")
    layers = [*small(seed=5).layers[:-1], Dense(4, 9, rng=0)]
    other = Sequential([each.astype(np.float32) for each in layers])
    told = (
        r"layer 6 is Dense\(4, 3\) there, Dense\(4, 9\) here: .*npbn.checkpoint.load\(\.\.\.\)\[0\]"
    )
    with pytest.raises(ValueError, match=told):
        other.load(tmp_path / "n")
    arrays = checkpoint.load(tmp_path / "n")[0]
    for name, value in other.parameters.items():
        if value.shape == arrays[name].shape:
            value[...] = arrays[name]
    np.testing.assert_array_equal(other.layers[0].weight, small(seed=1).layers[0].weight)


def test_a_layer_too_many_or_too_few_is_told(tmp_path):
    small().save(tmp_path / "n")
    for layers, told in (
        ([*small().layers, ReLU()], r"layer 7 is missing there, ReLU\(\) here"),
        (small().layers[:-1], r"layer 6 is Dense\(4, 3\) there, missing here"),
    ):
        other = Sequential([each.astype(np.float32) for each in layers])
        with pytest.raises(ValueError, match=told):
            other.load(tmp_path / "n")


def test_settings_of_layers_within_a_readers_layer_are_told_apart_likewise(tmp_path):
    Sequential([Block(0.5)]).save(tmp_path / "n")
    with pytest.warns(
        UserWarning, match=r"Block\(BatchNorm\(5, momentum=0.9\), Dropout\(0.1\)\) here"
    ):
        Sequential([Block(0.1, momentum=0.9)]).load(tmp_path / "n")
    with pytest.raises(ValueError, match="holds another network"):
        Sequential([Block(0.1, epsilon=0.1)]).load(tmp_path / "n")


def test_the_file_of_a_run_is_resumed_with_the_same_settings_alone(tmp_path):
    data = batch(32), labels(32)
    options = {"optimizer": SGD(0.1), "batch_size": 8, "checkpoint": tmp_path / "c", "resume": True}
    fit(with_settings(), data, steps=2, progress=False, **options)
    with pytest.raises(ValueError, match="holds another run, its layers"):
        fit(with_settings(rate=0.1), data, steps=3, progress=False, **options)
    with pytest.raises(ValueError, match="a run's checkpoint: use fit"):
        with_settings().load(tmp_path / "c")


@pytest.mark.parametrize("held", [None, 3, "Dense(6, 5)", [1], {"0": "ReLU()"}], ids=str)
def test_a_file_that_says_no_layers_is_told(held, tmp_path):
    checkpoint.save(tmp_path / "n", {}, {"layers": held})
    with pytest.raises(ValueError, match="n: holds no network: pass a file that"):
        small().load(tmp_path / "n")


@pytest.mark.parametrize("text", ["a", "a(", "(", "Dropout(", "Dropout(0, ", ")", "Dropout(1)"])
def test_what_a_foreign_file_calls_a_layer_is_compared_at_once(text, tmp_path):
    checkpoint.save(tmp_path / "n", {}, {"layers": [text * (150_000 // len(text))] * 5})
    started = time.perf_counter()
    with pytest.raises(ValueError, match="holds another") as caught:
        with_settings().load(tmp_path / "n")
    assert time.perf_counter() - started < 1
    assert len(str(caught.value)) < 400


def test_what_a_foreign_file_says_is_shown_in_short(tmp_path):
    checkpoint.save(tmp_path / "n", {}, {"layers": ["\x1b[2J" * 10**5]})
    with pytest.raises(ValueError, match="holds another") as caught:
        small().load(tmp_path / "n")
    assert len(str(caught.value)) < 1000
    assert "\x1b" not in str(caught.value)
