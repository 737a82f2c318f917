"""A network's own file: what load takes and refuses. The file itself: tests/test_checkpoint.py."""

import numpy as np
import pytest
from small_network import Residual, batch, small, train

from npbn import BatchNorm, Dense, Sequential, Tanh, checkpoint


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


def test_what_a_foreign_file_says_is_shown_in_short(tmp_path):
    checkpoint.save(tmp_path / "n", {}, {"layers": ["\x1b[2J" * 10**5]})
    with pytest.raises(ValueError, match="holds another") as caught:
        small().load(tmp_path / "n")
    assert len(str(caught.value)) < 1000
    assert "\x1b" not in str(caught.value)
