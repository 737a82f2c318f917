"""Recurrent batch normalization, with the batch's statistics and with those of the population."""

from typing import Any

import numpy as np

from npbn.layers import BatchNormLSTM
from npbn.testing.case import SEQUENCES, Case, Inputs, Shape, for_sequences, normal, sequences

# Units, and for how many steps there are statistics: fewer than most sequences have.
UNITS, STEPS = 2, 3


def _batch_norm_lstm(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    columns = 4 * UNITS
    return {
        "x": sequences(rng, shape, dtype),
        "input_weight": normal(rng, (shape[-1], columns), dtype) / dtype(np.sqrt(shape[-1])),
        "recurrent_weight": normal(rng, (UNITS, columns), dtype),
        "bias": normal(rng, (columns,), dtype) / 2,
        "input_gamma": rng.uniform(0.3, 0.8, columns).astype(dtype),
        "recurrent_gamma": rng.uniform(0.3, 0.8, columns).astype(dtype),
        "cell_gamma": rng.uniform(0.3, 0.8, UNITS).astype(dtype),
        "cell_beta": normal(rng, (UNITS,), dtype) / 2,
        "epsilon": 0.2,
    }


def _inference(rng: np.random.Generator, shape: Shape, dtype: Any) -> Inputs:
    given = _batch_norm_lstm(rng, shape, dtype)
    for name, columns in (("input", 4 * UNITS), ("recurrent", 4 * UNITS), ("cell", UNITS)):
        given[f"{name}_mean"] = normal(rng, (STEPS, columns), dtype) / 2
        given[f"{name}_variance"] = rng.uniform(0.5, 2, (STEPS, columns)).astype(dtype)
    return given


def _of_the_last(inputs: Any) -> Any:
    return lambda rng, shape, dtype: inputs(rng, shape, dtype) | {"last_only": True}


_GRADIENTS = (
    "dx",
    "dinput_weight",
    "drecurrent_weight",
    "dbias",
    "dinput_gamma",
    "drecurrent_gamma",
    "dcell_gamma",
    "dcell_beta",
)
_OF_THE_LAST = "of the last step"

CASES = (
    Case(
        "batch_norm_lstm",
        _batch_norm_lstm,
        _GRADIENTS,
        {
            "BatchNormLSTM": for_sequences(
                lambda rng, shape, dtype: BatchNormLSTM(
                    shape[-1], UNITS, steps=STEPS, rng=rng, dtype=dtype
                )
            )
        },
        shapes=SEQUENCES,
    ),
    Case(
        "batch_norm_lstm",
        _of_the_last(_batch_norm_lstm),
        _GRADIENTS,
        {
            "BatchNormLSTM of the last step": for_sequences(
                lambda rng, shape, dtype: BatchNormLSTM(
                    shape[-1], UNITS, steps=9, last_only=True, epsilon=0.1, rng=rng, dtype=dtype
                )
            )
        },
        shapes=SEQUENCES,
        variant=_OF_THE_LAST,
    ),
    Case("batch_norm_lstm_inference", _inference, _GRADIENTS, shapes=SEQUENCES),
    Case(
        "batch_norm_lstm_inference",
        _of_the_last(_inference),
        _GRADIENTS,
        shapes=SEQUENCES,
        variant=_OF_THE_LAST,
    ),
)
