"""What operations that loop over time have in common."""

from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.numerics.operation import Operation, check_backward
from npbn.numerics.sums import BiasGradient
from npbn.numerics.tape import named


class Step:
    """The arrays of one step by name, all views: a tape calls them so."""

    def __init__(self, **arrays: Any) -> None:
        vars(self).update(arrays)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


class Recurrent(Operation):
    """x (N, T, D) -> the states (N, T, U), or the last one, (N, U).

    Its arrays have the steps first, so that each step's part of them is contiguous: hidden_states
    has all states from the first one, 0, on. A masked step leaves the state as it was; x is 0
    there.

    Parameters
    ----------
    weight_shape : tuple of int
        Of the recurrent weight, (U, gates * U).
    """

    input_weight: Array
    recurrent_weight: Array
    bias: Array

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        weight_shape: tuple[int, ...],
        last_only: bool,
        mask: Array | None,
    ) -> None:
        super().__init__(shape, dtype)
        self._examples, self._length, features = shape
        self._units, self._columns = weight_shape
        self._last_only = last_only
        self.shape = (*(shape[:1] if last_only else shape[:2]), self._units)
        self._x_over_time = self._over_time(features)
        self._hidden_states = self._states()
        self._all_before, self._all_hidden = self._hidden_states[:-1], self._hidden_states[1:]
        self._masked: Array | None = None
        if mask is not None:
            checks.kept_rows("mask", mask, shape[:2])
            self._masked = ~mask.T[..., np.newaxis]

    def _over_time(self, columns: int) -> Array:
        return np.empty((self._length, self._examples, columns), self.dtype)

    def _states(self) -> Array:
        """Those before the first step, which are 0, and after each."""
        states = np.empty((self._length + 1, self._examples, self._units), self.dtype)
        states[0] = 0
        return states

    def _masked_at(self, step: int) -> Array | None:
        return None if self._masked is None else self._masked[step]

    def _begin(self, xp: Any, x: Array, input_weight: Array, terms: Array) -> None:
        """Takes x, and writes what it adds to each step, (T * N, columns): one product for all."""
        named(xp, last_hidden=self._all_hidden[-1])
        self._take(xp, x)
        xp.matmul(rows_of(self._x_over_time), input_weight, out=terms)

    def _take(self, xp: Any, x: Array) -> None:
        """Writes x step by step, as it goes into the products."""
        xp.copyto(self._x_over_time, x.swapaxes(0, 1))
        if self._masked is not None:
            xp.copyto(self._x_over_time, 0, where=self._masked)

    def _end(self, xp: Any, y: Array) -> None:
        """Writes y."""
        hidden = self._all_hidden
        xp.copyto(y, hidden[-1] if self._last_only else hidden.swapaxes(0, 1))

    def prepare_backward(self) -> None:
        self._make_dz()
        self._dh = np.empty((self._examples, self._units), self.dtype)
        self._dx_over_time = np.empty_like(self._x_over_time)
        if self._masked is not None:
            self._dh_after = np.empty_like(self._dh)
        if not self._last_only:
            self._dy_over_time = np.empty_like(self._all_hidden)

    def _make_dz(self) -> None:
        """The gradient of what each state is made of."""
        self._all_dz = self._over_time(self._columns)

    def _dz_at(self, step: int) -> Array:
        return self._all_dz[step]

    def _begin_backward(self, xp: Any, dy: Array) -> None:
        """Writes dh, the gradient of the last state, less what dy has of it at each step."""
        if self._last_only:
            xp.copyto(self._dh, dy)
        else:
            xp.copyto(self._dy_over_time, dy.swapaxes(0, 1))
            xp.copyto(self._dh, 0)

    def _dy_at(self, step: int) -> Array | None:
        return None if self._last_only else self._dy_over_time[step]

    def _prepare_bias_gradient(self) -> None:
        self._bias_gradient = BiasGradient(self._all_dz.shape, self.dtype)

    def _write_products(
        self,
        xp: Any,
        of_input: Array,
        of_state: Array,
        dinput_weight: Array,
        drecurrent_weight: Array,
        dx: Array | None,
    ) -> None:
        """The weights' gradients and dx, of all steps at once.

        of_input, of_state: the gradients of x_t @ input_weight and of h_(t-1) @ recurrent_weight,
        (T * N, columns).
        """
        xp.matmul(rows_of(self._x_over_time).T, of_input, out=dinput_weight)
        xp.matmul(rows_of(self._all_before).T, of_state, out=drecurrent_weight)
        if dx is not None:
            xp.matmul(of_input, self.input_weight.T, out=rows_of(self._dx_over_time))
            xp.copyto(dx, self._dx_over_time.swapaxes(0, 1))

    def new_gradients(self) -> list[Array]:
        """Arrays for those of the parameters."""
        return [
            np.empty_like(each) for each in (self.input_weight, self.recurrent_weight, self.bias)
        ]


def gradients_of(
    source: str, kind: type[Recurrent], dy: Any, cache: Any, out: Any
) -> tuple[Array, ...]:
    """What a public backward pass returns: dx, and the gradients of the parameters."""
    dy, dx = check_backward(source, kind, dy, cache, out)
    gradients = cache.new_gradients()
    cache.with_own_scratch().backward(np, dy, dx, *gradients)
    return dx, *gradients


def rows_of(array: Array) -> Array:
    """(..., D) -> (rows, D)."""
    return array.reshape(-1, array.shape[-1])


def checked(
    x: Any,
    input_weight: Any,
    recurrent_weight: Any,
    gates: int,
    last_only: Any,
    **vectors: tuple[Any, int],
) -> tuple[Any, ...]:
    """The arguments of a recurrent operation, checked; vectors: name=(value, how many units)."""
    recurrent_weight = checks.float_array("recurrent_weight", recurrent_weight)
    units = len(recurrent_weight) if recurrent_weight.ndim == 2 else 0
    columns = "units" if gates == 1 else f"{gates} * units"
    if not units or recurrent_weight.shape[1] != gates * units:
        raise ValueError(
            f"recurrent_weight: expected (units, {columns}), got {recurrent_weight.shape}"
        )
    input_weight = checks.float_array("input_weight", input_weight)
    if input_weight.ndim != 2 or input_weight.shape[1] != gates * units:
        raise ValueError(
            f"input_weight: expected (in_features, {gates * units}), got {input_weight.shape}"
        )
    x = checks.sequences("x", x, features=len(input_weight))
    checks.same_dtype(x, input_weight=input_weight, recurrent_weight=recurrent_weight)
    own = [checks.vector(name, each, count * units, x) for name, (each, count) in vectors.items()]
    return x, input_weight, recurrent_weight, checks.flag("last_only", last_only), *own
