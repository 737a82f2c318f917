"""The table of all operations, which the parity tests, gradient tests and benchmarks read."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from npbn._checks import Array

Inputs = dict[str, Any]


def _x(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    return rng.standard_normal(shape).astype(dtype)


def _batch_norm(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Inputs:
    features = shape[-1]
    return {
        "x": (3 * rng.standard_normal(shape) + rng.normal(0, 5, features)).astype(dtype),
        "gamma": rng.uniform(0.5, 1.5, features).astype(dtype),
        "beta": rng.standard_normal(features).astype(dtype),
        "epsilon": 1e-3,
    }


def _batch_norm_inference(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Inputs:
    inputs = _batch_norm(rng, shape, dtype)
    inputs["mean"] = rng.normal(0, 5, shape[-1]).astype(dtype)
    inputs["variance"] = rng.uniform(0.5, 20, shape[-1]).astype(dtype)
    return inputs


def _dense(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Inputs:
    outputs = shape[-1] // 2 + 1
    return {
        "x": _x(rng, shape, dtype),
        "weight": _x(rng, (shape[-1], outputs), dtype),
        "bias": _x(rng, (outputs,), dtype),
    }


def _activation(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Inputs:
    return {"x": _x(rng, shape, dtype)}


def _leaky_relu(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Inputs:
    return {"x": _x(rng, shape, dtype), "slope": 0.3}


def _dropout(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Inputs:
    return {"x": _x(rng, shape, dtype), "rate": 0.4, "rng": int(rng.integers(2**32))}


def _softmax(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Inputs:
    return {"logits": 3 * _x(rng, shape, dtype)}


def _softmax_cross_entropy(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Inputs:
    rows, classes = int(np.prod(shape[:-1])), shape[-1]
    logits = 3 * _x(rng, (rows, classes), dtype)
    return {"logits": logits, "labels": rng.integers(classes, size=rows)}


def _squared_error(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Inputs:
    return {"y": _x(rng, shape, dtype), "target": _x(rng, shape, dtype)}


CASES: Mapping[str, Callable[[np.random.Generator, tuple[int, ...], Any], Inputs]] = (
    MappingProxyType(
        {
            "batch_norm": _batch_norm,
            "batch_norm_inference": _batch_norm_inference,
            "dense": _dense,
            "relu": _activation,
            "leaky_relu": _leaky_relu,
            "sigmoid": _activation,
            "tanh": _activation,
            "dropout": _dropout,
            "softmax": _softmax,
            "softmax_cross_entropy": _softmax_cross_entropy,
            "squared_error": _squared_error,
        }
    )
)
"""Every operation of `functional` and `reference`, and a function that makes inputs for it.

CASES[name](rng, shape, dtype) -> the keyword arguments of `<name>_forward`, or of `<name>` where an
operation is one function; shape is that of the first one, (..., D).
"""
