"""Recurrent batch normalization, fast: an LSTM whose sums and cell are normalized at each step."""

from __future__ import annotations

from typing import Any

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional.lstm import Gated
from npbn.numerics.constants import constant
from npbn.numerics.denormals import quiet
from npbn.numerics.recurrent import Step, checked, gradients_of, rows_of
from npbn.numerics.sums import RowSums, all_finite
from npbn.numerics.tape import named, outside, repeated

# What has a mean and a variance at each step, and of how many columns a unit.
NORMALIZED = {"input": 4, "recurrent": 4, "cell": 1}
STATISTICS = [f"{name}_{kind}" for name in NORMALIZED for kind in ("mean", "variance")]


@quiet()
def batch_norm_lstm_forward(
    x: Array,
    input_weight: Array,
    recurrent_weight: Array,
    bias: Array,
    input_gamma: Array,
    recurrent_gamma: Array,
    cell_gamma: Array,
    cell_beta: Array,
    *,
    epsilon: float = 1e-5,
    last_only: bool = False,
    mask: Array | None = None,
    out: Array | None = None,
) -> tuple[Array, BatchNormLSTMOperation]:
    """The state h after each step, from h = 0 and c = 0.

    ::

        z   = BN(x_t @ input_weight; input_gamma, 0)
              + BN(h_(t-1) @ recurrent_weight; recurrent_gamma, 0) + bias
        c_t = sigmoid(z_f) * c_(t-1) + sigmoid(z_i) * tanh(z_g)
        h_t = sigmoid(z_o) * tanh(BN(c_t; cell_gamma, cell_beta))

        BN(a; gamma, beta) = gamma * (a - mean) / sqrt(variance + epsilon) + beta

    BN is over the examples, at each step by itself: Cooijmans et al. 2016, equations 6 to 8.

    Parameters
    ----------
    x : (N, T, D) array, float32 or float64
    input_weight, recurrent_weight, bias : arrays, of x's type
        As for `lstm_forward`.
    input_gamma, recurrent_gamma : (4 * U,) array, of x's type
    cell_gamma, cell_beta : (U,) array, of x's type
    epsilon : float
    last_only : bool
    mask : (N, T) array of bools, optional
        Where it is False there is no step, x may be anything and counts in no statistic, and y is
        the state that is carried on.
    out : array like y, optional

    Returns
    -------
    y : (N, T, U) array, or with last_only (N, U)
        h_1 to h_T, or h_T.
    cache : BatchNormLSTMOperation
        It refers to the weights: change them after the backward pass. cache.statistics has the mean
        and the biased variance of each step by the names that `batch_norm_lstm_inference_forward`
        takes: a running average is the caller's.

    Raises
    ------
    TypeError, ValueError
        For arrays of another type or shape.

    Notes
    -----
    y, the gradients and the statistics are as exact for an x far from 0 as for one about 0, and of
    many examples as of few. A variance that x's type cannot hold makes y NaN; without epsilon one
    below its smallest normal number counts as 0, and what does not vary becomes beta.
    """
    gammas = input_gamma, recurrent_gamma, cell_gamma
    x, last_only, epsilon, *parameters = _checked(
        x, input_weight, recurrent_weight, bias, gammas, cell_beta, last_only, epsilon
    )
    weight_shape = parameters[1].shape
    operation = BatchNormLSTMOperation(x.shape, x.dtype, weight_shape, last_only, mask, epsilon)
    y = checks.output(out, operation.shape, x.dtype, (x, *parameters))
    given: Any = (x, *parameters, y)
    operation.forward(np, *given)
    return y, operation


@quiet()
def batch_norm_lstm_backward(
    dy: Array, cache: BatchNormLSTMOperation, *, out: Array | None = None
) -> tuple[Array, ...]:
    """The gradients, back through time: as those of an LSTM, and through the normalizations.

    ::

        du = dh * o * (1 - tanh(u)^2),  dc = dc_(t+1) * f_(t+1) + BN's dx of du
        da_x, da_h = BN's dx of dz:  gamma / std * (dz - mean(dz) - a_hat * mean(dz * a_hat))
        dx_t = da_x @ input_weight',    dinput_weight     = sum over t of x_t' @ da_x
        dh_(t-1) = da_h @ R' + dy_(t-1),  drecurrent_weight = sum over t of h_(t-1)' @ da_h
        dbias = sum of dz,              dinput_gamma, drecurrent_gamma = sum of dz * a_hat
        dcell_beta = sum of du,         dcell_gamma = sum of du * c_hat

    with R the recurrent_weight and u = BN(c_t), sums over t and examples.

    Parameters
    ----------
    dy : array like y
    cache : what `batch_norm_lstm_forward` returned
    out : array for dx, optional

    Returns
    -------
    tuple of arrays
        The gradients of x and of the seven parameters, in forward's order.

    Raises
    ------
    TypeError, ValueError
        For a dy of another type or shape.
    """
    return gradients_of("batch_norm_lstm_forward", BatchNormLSTMOperation, dy, cache, out)


@quiet()
def batch_norm_lstm_inference_forward(
    x: Array,
    input_weight: Array,
    recurrent_weight: Array,
    bias: Array,
    input_gamma: Array,
    recurrent_gamma: Array,
    cell_gamma: Array,
    cell_beta: Array,
    input_mean: Array,
    input_variance: Array,
    recurrent_mean: Array,
    recurrent_variance: Array,
    cell_mean: Array,
    cell_variance: Array,
    *,
    epsilon: float = 1e-5,
    last_only: bool = False,
    mask: Array | None = None,
    out: Array | None = None,
) -> tuple[Array, BatchNormLSTMInferenceOperation]:
    """The same with given statistics, those of the population: a row for each step.

    Steps beyond the S-th use the last row. What is returned and what is raised is as for
    `batch_norm_lstm_forward`.

    Parameters
    ----------
    x, input_weight, recurrent_weight, bias, input_gamma, recurrent_gamma, cell_gamma, cell_beta
        As for `batch_norm_lstm_forward`.
    input_mean, input_variance, recurrent_mean, recurrent_variance : (S, 4 * U) array, of x's type
        Variances at least 0.
    cell_mean, cell_variance : (S, U) array, of x's type
    epsilon, last_only, mask, out
        As for `batch_norm_lstm_forward`.
    """
    gammas = input_gamma, recurrent_gamma, cell_gamma
    x, last_only, epsilon, *parameters = _checked(
        x, input_weight, recurrent_weight, bias, gammas, cell_beta, last_only, epsilon
    )
    given = input_mean, input_variance, recurrent_mean, recurrent_variance, cell_mean, cell_variance
    statistics = _checked_statistics(x, len(parameters[1]), given)
    weight_shape = parameters[1].shape
    operation = BatchNormLSTMInferenceOperation(
        x.shape, x.dtype, weight_shape, last_only, mask, epsilon
    )
    y = checks.output(out, operation.shape, x.dtype, (x, *parameters, *statistics))
    arrays: Any = (x, *parameters, *statistics, None, y)
    operation.forward(np, *arrays)
    return y, operation


@quiet()
def batch_norm_lstm_inference_backward(
    dy: Array, cache: BatchNormLSTMInferenceOperation, *, out: Array | None = None
) -> tuple[Array, ...]:
    """The gradients where the statistics are constants: da = dz * gamma / std.

    All else is as for `batch_norm_lstm_backward`.
    """
    source = "batch_norm_lstm_inference_forward"
    return gradients_of(source, BatchNormLSTMInferenceOperation, dy, cache, out)


class NormalizedLSTM(Gated):
    """What both have in common: which values are normalized, and what goes on behind that.

    The sums of x and of the state lie in one array, (2, T, N, 4 * U), so that both are normalized
    at once; forward leaves their deviations from the mean there, which are a_hat * std. What goes
    with them at a step is (2, 1, 4 * U).
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        weight_shape: tuple[int, ...],
        last_only: bool,
        mask: Array | None,
        epsilon: float,
    ) -> None:
        self._epsilon = constant(epsilon, dtype.char)
        super().__init__(shape, dtype, weight_shape, last_only, mask)

    def _make_arrays(self) -> None:
        columns, units, kind, length = self._columns, self._units, self.dtype, self._length
        self._all_deviations = np.empty((2, length, self._examples, columns), kind)
        self._all_cell_deviations = self._over_time(units)
        self._means, self._stds = np.empty((2, length, 2, 1, columns), kind)
        self._cell_means, self._cell_stds = np.empty((2, length, units), kind)
        self._gammas, self._signed_gammas = np.empty((2, 2, 1, columns), kind)
        self._signed_scale, self._cell_scale = np.empty_like(self._gammas), np.empty(units, kind)
        self._signed_bias = np.empty(columns, kind)
        self._scaled = np.empty((2, self._examples, columns), kind)
        self._scaled_input, self._scaled_state = self._scaled
        self._gamma_of_input, self._gamma_of_state = self._gammas
        self._all_of_input = rows_of(self._all_deviations[0])
        if self._masked is None:
            self._all_kept = np.ones((length, self._examples), kind)
        else:
            self._all_kept = (~self._masked[..., 0]).astype(kind)
        # Of a step that no sequence has all sums are 0.
        self._counts = np.maximum(self._all_kept.sum(1, dtype=int), 1).astype(kind)
        self._row_sums = RowSums(self._examples, 2 * columns, self.dtype)

    def _step(self, t: int) -> Step:
        return Step(
            deviations=self._all_deviations[:, t],
            of_state=self._all_deviations[1, t],
            mean=self._means[t],
            std=self._stds[t],
            cell_deviations=self._all_cell_deviations[t],
            cell_mean=self._cell_means[t],
            cell_std=self._cell_stds[t],
            kept=self._all_kept[t],
            count=self._counts[t, ...],
            **vars(super()._step(t)),
        )

    def _normalize(self, xp: Any, step: Step) -> None:
        """Writes the deviations from the mean over the sums, and the standard deviation."""
        raise NotImplementedError

    def _normalize_cell(self, xp: Any, step: Step) -> None:
        """Writes those of the cell."""
        raise NotImplementedError

    def _run(
        self,
        xp: Any,
        x: Array,
        input_weight: Array,
        recurrent_weight: Array,
        bias: Array,
        input_gamma: Array,
        recurrent_gamma: Array,
        cell_gamma: Array,
        cell_beta: Array,
    ) -> None:
        self.input_weight, self.recurrent_weight, self.bias = input_weight, recurrent_weight, bias
        self.cell_gamma, self.cell_beta = cell_gamma, cell_beta
        xp.copyto(self._gamma_of_input, input_gamma)
        xp.copyto(self._gamma_of_state, recurrent_gamma)
        xp.multiply(self._gammas, self._signs, out=self._signed_gammas)
        xp.multiply(bias, self._signs, out=self._signed_bias)
        self._begin(xp, x, input_weight, self._all_of_input)
        for step in repeated(xp, self._steps):
            xp.matmul(step.hidden_before, recurrent_weight, out=step.of_state)
            self._normalize(xp, step)
            xp.divide(self._signed_gammas, step.std, out=self._signed_scale)
            xp.multiply(step.deviations, self._signed_scale, out=self._scaled)
            xp.add(self._scaled_input, self._scaled_state, out=step.gates)
            xp.add(step.gates, self._signed_bias, out=step.gates)
            self._open(xp, step)
            self._normalize_cell(xp, step)
            xp.divide(cell_gamma, step.cell_std, out=self._cell_scale)
            xp.multiply(step.cell_deviations, self._cell_scale, out=step.tanh_cell)
            xp.add(step.tanh_cell, cell_beta, out=step.tanh_cell)
            xp.tanh(step.tanh_cell, out=step.tanh_cell)
            xp.multiply(step.o, step.tanh_cell, out=step.hidden)
            self._carry(xp, step)

    def _write_std(self, xp: Any, variance: Array, std: Array) -> None:
        """Infinite without epsilon where it is 0 or its square has no digits: normalized to 0."""
        xp.add(variance, self._epsilon, out=std)
        if not self._epsilon:
            xp.copyto(std, np.inf, where=xp.less(std, np.finfo(self.dtype).tiny))
        xp.sqrt(std, out=std)

    # Backward

    def _make_scratch(self) -> None:
        super()._make_scratch()
        units, columns, kind = self._units, self._columns, self.dtype
        self._all_da = np.empty_like(self._all_deviations)
        self._all_da_of_input, self._all_da_of_state = map(rows_of, self._all_da)
        self._products = np.empty_like(self._scaled)
        self._scales, self._shares = np.empty((2, *self._stds.shape), kind)
        self._cell_scales, self._cell_shares = np.empty((2, *self._cell_stds.shape), kind)
        # For each step the sums of dz * deviations, of dz, of du * deviations and of du.
        self._all_sums = np.empty((self._length, 3 * columns + 2 * units), kind)
        self._total = np.empty(self._all_sums.shape[1])
        self._mean_products, self._mean_dz = np.empty_like(self._gammas), np.empty(columns, kind)
        self._mean_cell_products, self._mean_du = np.empty((2, units), kind)
        self._du, self._cell_products = np.empty_like(self._dh), np.empty_like(self._dh)

    def _make_dz(self) -> None:
        # The weights' gradients are of da: one step's dz is enough, and stays in cache.
        self._dz = np.empty((self._examples, self._columns), self.dtype)

    def _dz_at(self, step: int) -> Array:
        return self._dz

    def _backward_step(self, t: int) -> Step:
        columns, units = self._columns, self._units
        sums = np.split(self._all_sums[t], np.cumsum([2 * columns, columns, units]))
        return Step(
            da=self._all_da[:, t],
            da_of_state=self._all_da[1, t],
            scale=self._scales[t],
            share=self._shares[t],
            cell_scale=self._cell_scales[t],
            cell_share=self._cell_shares[t],
            written_sum_products=sums[0].reshape(2, columns),
            sum_products=sums[0].reshape(2, 1, columns),
            **dict(zip(("sum_dz", "sum_cell_products", "sum_du"), sums[1:], strict=True)),
            **vars(super()._backward_step(t)),
        )

    def _write_shares(self, xp: Any, stds: Array, shares: Array) -> None:
        """1 / (count * std^2): a_hat * mean(dz * a_hat) is deviations * share * sum of products."""
        xp.multiply(stds, stds, out=shares)
        counts = self._counts.reshape(-1, *(1,) * (stds.ndim - 1))
        xp.multiply(shares, counts, out=shares)
        xp.divide(self._one, shares, out=shares)

    def _denormalize(self, xp: Any, step: Step) -> None:
        """Writes da, from dz and its sums."""
        raise NotImplementedError

    def _denormalize_cell(self, xp: Any, step: Step) -> None:
        """Writes what du gives of dc over du, from it and its sums."""
        raise NotImplementedError

    def backward(
        self,
        xp: Any,
        dy: Array,
        dx: Array | None,
        dinput_weight: Array,
        drecurrent_weight: Array,
        dbias: Array,
        dinput_gamma: Array,
        drecurrent_gamma: Array,
        dcell_gamma: Array,
        dcell_beta: Array,
    ) -> None:
        xp.copyto(self._turned_weight, self.recurrent_weight.T)
        xp.divide(self._gammas, self._stds, out=self._scales)
        xp.divide(self.cell_gamma, self._cell_stds, out=self._cell_scales)
        self._write_shares(xp, self._stds, self._shares)
        self._write_shares(xp, self._cell_stds, self._cell_shares)
        self._begin_backward(xp, dy)
        xp.copyto(self._dc, 0)
        for step in repeated(xp, self._backward_steps):
            self._take_dh(xp, step)
            xp.multiply(self._dh, step.tanh_cell, out=step.dz_o)
            # du = dh * o * (1 - tanh(u)^2)
            xp.multiply(step.hidden, step.tanh_cell, out=self._du)
            xp.subtract(step.o, self._du, out=self._du)
            xp.multiply(self._du, self._dh, out=self._du)
            xp.multiply(self._du, step.cell_deviations, out=self._cell_products)
            self._row_sums.write(xp, step.kept, self._du, step.sum_du)
            self._row_sums.write(xp, step.kept, self._cell_products, step.sum_cell_products)
            self._denormalize_cell(xp, step)
            xp.add(self._dc, self._du, out=self._dc)
            self._close(xp, step)
            xp.multiply(step.dz, step.deviations, out=self._products)
            self._row_sums.write(xp, step.kept, step.dz, step.sum_dz)
            self._row_sums.write(xp, step.kept, self._products, step.written_sum_products)
            self._denormalize(xp, step)
            xp.matmul(step.da_of_state, self._turned_weight, out=self._dh)
            self._carry_back(xp, step)
        self._write_sums(xp, dinput_gamma, drecurrent_gamma, dbias, dcell_gamma, dcell_beta)
        of_input, of_state = self._all_da_of_input, self._all_da_of_state
        self._write_products(xp, of_input, of_state, dinput_weight, drecurrent_weight, dx)

    def _write_sums(self, xp: Any, *gradients: Array) -> None:
        """Those over all steps: the gradients of the gammas, of the bias and of beta."""
        columns, start = 2 * self._columns, 3 * self._columns
        of_gates = self._all_sums[:, :columns]
        of_cell = self._all_sums[:, start : start + self._units]
        named(xp, sums_of_gates=of_gates, sums_of_cell=of_cell)
        xp.divide(of_gates, self._stds.reshape(-1, columns), out=of_gates)
        xp.divide(of_cell, self._cell_stds, out=of_cell)
        xp.sum(self._all_sums, axis=0, dtype=np.float64, out=self._total)
        start = 0
        for each in gradients:
            xp.copyto(each, self._total[start : start + each.size])
            start += each.size

    def new_gradients(self) -> list[Array]:
        columns, units = self._columns, self._units
        sizes = columns, columns, columns, units, units
        weights = self.input_weight, self.recurrent_weight
        return [
            *(np.empty_like(each) for each in weights),
            *(np.empty(size, self.dtype) for size in sizes),
        ]


class BatchNormLSTMOperation(NormalizedLSTM):
    """With the statistics of each step's batch."""

    _vector: Array | None = None
    _is_spoiled = False

    def _make_arrays(self) -> None:
        super()._make_arrays()
        self._variances, self._cell_variances = map(np.empty_like, (self._stds, self._cell_stds))
        self._squares = np.empty_like(self._scaled)
        self._cell_squares = np.empty_like(self._all_cell_deviations[0])
        self._left = np.empty(self._columns, self.dtype)
        self._exact_x = np.empty(self._x_over_time.shape)
        self._centers, self._remainders = np.empty((2, self._length, 1, self.x_shape[-1]))
        self._sizes = self._counts.astype(np.float64)[:, np.newaxis, np.newaxis]
        self._each_kept = self._all_kept.astype(np.float64)[:, np.newaxis]

    def _step(self, t: int) -> Step:
        return Step(
            state_mean=self._means[t, 1, 0],
            variance=self._variances[t],
            written_variance=self._variances[t, :, 0],
            cell_variance=self._cell_variances[t],
            **vars(super()._step(t)),
        )

    def keep_statistics_in(self, vector: Array) -> None:
        """Write the statistics into this vector of float64, and whether a step has some.

        One after another, each of as many steps: input_mean, input_variance, recurrent_mean ...,
        and last 1 for a step that two sequences have or more, else 0. Of a step that is none, or
        has fewer, there is 0 alone; where anything is not finite, all is NaN.
        """
        self._vector = vector

    @property
    def _numbers_a_step(self) -> int:
        return sum(2 * each for each in NORMALIZED.values()) * self._units + 1

    def counts(self, steps: int) -> Array:
        """How many sequences have each of so many steps, (steps,); 1 for none."""
        found = np.ones(steps, int)
        most = min(steps, self._length)
        found[:most] = self._counts[:most]
        return found

    @property
    def most_values(self) -> int:
        """Of how many values the statistics of a step are at most."""
        return int(self._counts.max())

    def forward(
        self,
        xp: Any,
        x: Array,
        input_weight: Array,
        recurrent_weight: Array,
        bias: Array,
        input_gamma: Array,
        recurrent_gamma: Array,
        cell_gamma: Array,
        cell_beta: Array,
        y: Array,
    ) -> None:
        weights = input_weight, recurrent_weight, bias
        self._run(xp, x, *weights, input_gamma, recurrent_gamma, cell_gamma, cell_beta)
        self._end(xp, y)
        variances = self._variances, self._cell_variances
        is_finite = all(all_finite(xp, each.reshape(-1)) for each in variances)
        if not is_finite:
            # Dividing by infinity would make 0 of all, and hide it.
            xp.copyto(y, np.nan)
        if self._vector is not None:
            self._write_statistics(xp, self._vector, is_finite)

    def _take(self, xp: Any, x: Array) -> None:
        """x less the mean of each step's examples, which the normalization would take away, too.

        Behind the product with the weights it would cost digits: with a mean of 100 times std
        dinput_weight is off by 1e-3 of it. What is the same for all examples of a step adds nothing
        there, as what goes back to them sums to 0.
        """
        xp.copyto(self._exact_x, x.swapaxes(0, 1))
        if self._masked is not None:
            xp.copyto(self._exact_x, 0, where=self._masked)
        self._write_means(xp, self._exact_x, self._centers)
        xp.subtract(self._exact_x, self._centers, out=self._x_over_time)
        if self.dtype == np.float64:
            # Once more, for what rounding left of the mean: of what is constant 0 remains.
            self._write_means(xp, self._x_over_time, self._remainders)
            xp.subtract(self._x_over_time, self._remainders, out=self._x_over_time)
        means = self._means[:, 0]
        named(xp, means_of_input=means)
        xp.matmul(self._centers, self.input_weight, out=means)

    def _write_means(self, xp: Any, values: Array, out: Array) -> None:
        xp.matmul(self._each_kept, values, out=out)
        xp.divide(out, self._sizes, out=out)

    def _write_statistics(self, xp: Any, vector: Array, is_finite: bool) -> None:
        if not is_finite:
            # Also what only steps show of which none are kept.
            xp.copyto(vector, np.nan)
            self._is_spoiled = True
            return
        steps = len(vector) // self._numbers_a_step
        if self._is_spoiled:
            xp.copyto(vector, 0)
            self._is_spoiled = False
        has_some, start = self.counts(steps) > 1, 0
        most = min(steps, self._length)
        for name in STATISTICS:
            values = self._of_steps(name)[:most]
            size = steps * values.shape[1]
            out = vector[start : start + size].reshape(steps, -1)[:most]
            named(xp, **{f"kept_{name}": out, f"all_{name}": values, "has_some": has_some})
            xp.copyto(out, values, where=has_some[:most, np.newaxis])
            start += size
        xp.copyto(vector[start:], has_some)

    def _of_steps(self, name: str) -> Array:
        """One of the statistics, (T, columns)."""
        which, _, kind = name.partition("_")
        if which == "cell":
            return self._cell_means if kind == "mean" else self._cell_variances
        both = self._means if kind == "mean" else self._variances
        return both[:, 0 if which == "input" else 1, 0]

    @property
    def statistics(self) -> dict[str, Array]:
        """Mean and biased variance of each step, new arrays: input_mean (T, 4 * U) ..."""
        return {name: self._of_steps(name).copy() for name in STATISTICS}

    def _normalize(self, xp: Any, step: Step) -> None:
        # What x adds is centred.
        self._centre(xp, step, step.of_state, step.state_mean, step.of_state)
        xp.multiply(step.deviations, step.deviations, out=self._squares)
        self._row_sums.write(xp, step.kept, self._squares, step.written_variance)
        xp.divide(step.variance, step.count, out=step.variance)
        self._write_std(xp, step.variance, step.std)

    def _normalize_cell(self, xp: Any, step: Step) -> None:
        self._centre(xp, step, step.cell, step.cell_mean, step.cell_deviations)
        xp.multiply(step.cell_deviations, step.cell_deviations, out=self._cell_squares)
        self._row_sums.write(xp, step.kept, self._cell_squares, step.cell_variance)
        xp.divide(step.cell_variance, step.count, out=step.cell_variance)
        self._write_std(xp, step.cell_variance, step.cell_std)

    def _centre(self, xp: Any, step: Step, values: Array, mean: Array, out: Array) -> None:
        self._row_sums.write(xp, step.kept, values, mean)
        xp.divide(mean, step.count, out=mean)
        xp.subtract(values, mean, out=out)
        if not self._epsilon:
            # What rounding left of the mean would be all that varies of what is constant.
            left = self._left[: len(mean)]
            self._row_sums.write(xp, step.kept, out, left)
            xp.divide(left, step.count, out=left)
            xp.subtract(out, left, out=out)

    def _denormalize(self, xp: Any, step: Step) -> None:
        xp.multiply(step.sum_products, step.share, out=self._mean_products)
        xp.divide(step.sum_dz, step.count, out=self._mean_dz)
        xp.subtract(step.dz, self._mean_dz, out=step.dz)
        xp.multiply(step.deviations, self._mean_products, out=self._products)
        xp.subtract(step.dz, self._products, out=self._products)
        xp.multiply(self._products, step.scale, out=step.da)
        if step.masked is not None:
            xp.copyto(step.da, 0, where=step.masked)

    def _denormalize_cell(self, xp: Any, step: Step) -> None:
        xp.multiply(step.sum_cell_products, step.cell_share, out=self._mean_cell_products)
        xp.divide(step.sum_du, step.count, out=self._mean_du)
        xp.multiply(step.cell_deviations, self._mean_cell_products, out=self._cell_products)
        xp.add(self._cell_products, self._mean_du, out=self._cell_products)
        xp.subtract(self._du, self._cell_products, out=self._du)
        xp.multiply(self._du, step.cell_scale, out=self._du)


class BatchNormLSTMInferenceOperation(NormalizedLSTM):
    """With given statistics, a row a step."""

    def start_from(self, hidden: Array, cell: Array) -> None:
        """The state before the first step, (N, U) each, which is 0 otherwise."""
        self._hidden_states[0], self._cell_states[0] = hidden, cell

    @property
    def last_state(self) -> tuple[Array, Array]:
        """h and c after the last step, (N, U) each."""
        return self._hidden_states[-1], self._cell_states[-1]

    def forward(
        self,
        xp: Any,
        x: Array,
        input_weight: Array,
        recurrent_weight: Array,
        bias: Array,
        input_gamma: Array,
        recurrent_gamma: Array,
        cell_gamma: Array,
        cell_beta: Array,
        input_mean: Array,
        input_variance: Array,
        recurrent_mean: Array,
        recurrent_variance: Array,
        cell_mean: Array,
        cell_variance: Array,
        share: Array | None,
        y: Array,
    ) -> None:
        """share: (S,), 0 for rows that no batch was in; None: there is none."""
        rows = outside(xp, _last_known, "last_known")(share, len(cell_mean), self._length)
        for place, mean, variance in (
            (0, input_mean, input_variance),
            (1, recurrent_mean, recurrent_variance),
        ):
            xp.copyto(self._means[:, place, 0], xp.take(mean, rows, axis=0))
            xp.copyto(self._stds[:, place, 0], xp.take(variance, rows, axis=0))
        xp.copyto(self._cell_means, xp.take(cell_mean, rows, axis=0))
        xp.copyto(self._cell_stds, xp.take(cell_variance, rows, axis=0))
        self._write_std(xp, self._stds, self._stds)
        self._write_std(xp, self._cell_stds, self._cell_stds)
        weights = input_weight, recurrent_weight, bias
        self._run(xp, x, *weights, input_gamma, recurrent_gamma, cell_gamma, cell_beta)
        self._end(xp, y)

    def _normalize(self, xp: Any, step: Step) -> None:
        xp.subtract(step.deviations, step.mean, out=step.deviations)

    def _normalize_cell(self, xp: Any, step: Step) -> None:
        xp.subtract(step.cell, step.cell_mean, out=step.cell_deviations)

    def _denormalize(self, xp: Any, step: Step) -> None:
        xp.multiply(step.dz, step.scale, out=step.da)

    def _denormalize_cell(self, xp: Any, step: Step) -> None:
        xp.multiply(self._du, step.cell_scale, out=self._du)


def _last_known(share: Array | None, rows: int, steps: int) -> Array:
    """For each step the row of statistics that it uses: its own, or the last one that there is."""
    known = np.arange(rows)
    if share is not None and share.any():
        known = np.maximum.accumulate(np.where(share > 0, known, 0))
    return known[np.minimum(np.arange(steps), rows - 1)]


def _checked(
    x: Any,
    input_weight: Any,
    recurrent_weight: Any,
    bias: Any,
    gammas: tuple[Any, ...],
    cell_beta: Any,
    last_only: Any,
    epsilon: Any,
) -> tuple[Any, ...]:
    """gammas: those of what is normalized, in the order of NORMALIZED."""
    vectors = {
        "bias": (bias, 4),
        **{
            f"{name}_gamma": (gamma, columns)
            for (name, columns), gamma in zip(NORMALIZED.items(), gammas, strict=True)
        },
        "cell_beta": (cell_beta, 1),
    }
    x, input_weight, recurrent_weight, last_only, *own = checked(
        x, input_weight, recurrent_weight, 4, last_only, **vectors
    )
    return x, last_only, checks.epsilon(epsilon, x.dtype), input_weight, recurrent_weight, *own


def _checked_statistics(x: Array, units: int, given: tuple[Any, ...]) -> list[Array]:
    arrays = [checks.float_array(name, each) for name, each in zip(STATISTICS, given, strict=True)]
    rows = len(arrays[0]) if arrays[0].ndim == 2 else 0
    for name, each in zip(STATISTICS, arrays, strict=True):
        width = NORMALIZED[name.partition("_")[0]] * units
        if not rows or each.shape != (rows, width):
            many = rows or "steps"
            raise ValueError(f"{name}: expected shape ({many}, {width}), got {each.shape}")
        checks.same_dtype(x, **{name: each})
        if name.endswith("variance") and (each < 0).any():
            raise ValueError(f"{name}: expected at least 0, got {each.min()}")
    return arrays
