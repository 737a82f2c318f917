"""What layers of sequences (N, T, D) have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array, Statistics
from npbn.layers.initial import initial_weight
from npbn.layers.layer import ArrayAttribute, Layer


class RecurrentLayer(Layer):
    """A layer whose state goes from step to step of a sequence."""

    _takes_axes = 3
    _gates = 1

    input_weight = ArrayAttribute("parameters", "What x is multiplied by, (in_features, ...).")
    recurrent_weight = ArrayAttribute("parameters", "What the state before is multiplied by.")
    bias = ArrayAttribute("parameters", "The bias, a number for each column of the weights.")

    def _set_sizes(self, in_features: int, units: int) -> None:
        self.in_features = checks.integer("in_features", in_features, minimum=1)
        self.units = checks.integer("units", units, minimum=1)

    def _first_parameters(
        self,
        input_weight: Array | None,
        recurrent_weight: Array | None,
        rng: np.random.Generator | int | None,
        dtype: DTypeLike | None,
    ) -> dict[str, Array]:
        """The weights given, or drawn; a bias of 0, but of 1 for the gate that forgets."""
        given = {"input_weight": input_weight, "recurrent_weight": recurrent_weight}
        for name, each in given.items():
            # One given alone says the type of both.
            if each is not None and dtype is None:
                dtype = checks.float_array(name, each).dtype
                checks.same_dtype(each, **given)
        rng, units, gates = checks.generator(rng), self.units, self._gates
        shape = self.in_features, gates * units
        drawn = 1 / np.sqrt(self.in_features)
        first = initial_weight(shape, input_weight, rng, dtype, std=drawn, name="input_weight")
        if recurrent_weight is None:
            turns = [_orthogonal(units, rng) for _ in range(gates)]
            second = np.concatenate(turns, 1).astype(first.dtype)
        else:
            name = "recurrent_weight"
            shape = units, gates * units
            second = initial_weight(shape, recurrent_weight, rng, dtype, name=name)
        bias = np.zeros(gates * units, first.dtype)
        if gates == 4:
            bias[units : 2 * units] = 1
        return {"input_weight": first, "recurrent_weight": second, "bias": bias}

    @checks.Setting
    def last_only(self, value: bool) -> bool:
        """Whether y is the last state alone."""
        return checks.flag("last_only", value)

    def forward(
        self,
        x: Array,
        training: bool = False,
        statistics: Statistics | None = None,
        *,
        mask: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """As `Layer.forward`, with a mask.

        Parameters
        ----------
        mask : ndarray of bool, shape (N, T), or None
            Where it is False there is no step: x may be anything, the state stays as it was, and y
            is that state, as with Keras. So y of last_only is the state after the last step that is
            one.
        """
        return self._masked_forward(x, training, statistics, mask, out)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        if len(shape) != self._takes_axes:
            raise ValueError(f"{self!r}: {checks.not_sequences('x', shape, self.in_features)}")
        examples, steps, _ = super().output_shape(shape)
        return (examples, self.units) if self.last_only else (examples, steps, self.units)

    @property
    def _takes_features(self) -> int:
        return self.in_features

    @property
    def _ends_steps(self) -> bool:
        return self.last_only

    def __repr__(self) -> str:
        return self._typed(self.in_features, self.units, last_only=False)


def _orthogonal(size: int, rng: np.random.Generator) -> Array:
    """A random orthogonal matrix, which keeps the length of a state: Saxe et al. 2014."""
    turn, triangle = np.linalg.qr(rng.standard_normal((size, size)))
    # Without these signs it would not be uniform (Mezzadri 2007).
    return np.asarray(turn * np.sign(np.diag(triangle)))
