"""A network's own file: what load takes and refuses. The file itself: tests/test_checkpoint.py."""

import numpy as np
import pytest
from small_network import Residual, small

from npbn import BatchNorm, Dense, Sequential, Tanh


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
