"""The recurrent layer."""

from typing import Any

import numpy as np

from npbn.layers import RNN
from npbn.testing.case import SEQUENCES, Case, Inputs, Shape, for_sequences, normal, sequences

UNITS = 3


def _rnn(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return {
        "x": sequences(rng, shape, dtype),
        "input_weight": normal(rng, (shape[-1], UNITS), dtype) / dtype(np.sqrt(shape[-1])),
        "recurrent_weight": normal(rng, (UNITS, UNITS), dtype) / 2,
        "bias": normal(rng, (UNITS,), dtype) / 2,
    }


def _last_only(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return _rnn(rng, shape, dtype) | {"last_only": True}


_GRADIENTS = ("dx", "dinput_weight", "drecurrent_weight", "dbias")

CASES = (
    Case(
        "rnn",
        _rnn,
        _GRADIENTS,
        {"RNN": for_sequences(lambda rng, shape, dtype: RNN(shape[-1], 3, rng=rng, dtype=dtype))},
        shapes=SEQUENCES,
    ),
    Case(
        "rnn",
        _last_only,
        _GRADIENTS,
        {
            "RNN of the last step": for_sequences(
                lambda rng, shape, dtype: RNN(shape[-1], 3, last_only=True, rng=rng, dtype=dtype)
            )
        },
        shapes=SEQUENCES,
        variant="of the last step",
    ),
)
