"""Long short-term memory."""

from typing import Any

import numpy as np

from npbn.layers import LSTM
from npbn.testing.case import SEQUENCES, Case, Inputs, Shape, for_sequences, normal, sequences

UNITS = 3


def _lstm(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return {
        "x": sequences(rng, shape, dtype),
        "input_weight": normal(rng, (shape[-1], 4 * UNITS), dtype) / dtype(np.sqrt(shape[-1])),
        "recurrent_weight": normal(rng, (UNITS, 4 * UNITS), dtype) / 2,
        "bias": normal(rng, (4 * UNITS,), dtype) / 2,
    }


def _last_only(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    return _lstm(rng, shape, dtype) | {"last_only": True}


_GRADIENTS = ("dx", "dinput_weight", "drecurrent_weight", "dbias")

CASES = (
    Case(
        "lstm",
        _lstm,
        _GRADIENTS,
        {"LSTM": for_sequences(lambda rng, shape, dtype: LSTM(shape[-1], 3, rng=rng, dtype=dtype))},
        shapes=SEQUENCES,
    ),
    Case(
        "lstm",
        _last_only,
        _GRADIENTS,
        {
            "LSTM of the last step": for_sequences(
                lambda rng, shape, dtype: LSTM(shape[-1], 3, last_only=True, rng=rng, dtype=dtype)
            )
        },
        shapes=SEQUENCES,
        variant="of the last step",
    ),
)
