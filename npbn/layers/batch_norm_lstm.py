"""Recurrent batch normalization as a layer: an LSTM with population statistics of each step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from npbn import _checks as checks
from npbn._checks import Array
from npbn.functional.batch_norm_lstm import (
    NORMALIZED,
    STATISTICS,
    BatchNormLSTMInferenceOperation,
    BatchNormLSTMOperation,
)
from npbn.layers.layer import ArrayAttribute
from npbn.layers.passes import Pass
from npbn.layers.plan import Mode
from npbn.layers.recurrent_layer import RecurrentLayer
from npbn.layers.running_average import RunningAverage, mean_and_variance
from npbn.numerics.denormals import quiet

FIRST_GAMMA = 0.1


class BatchNormLSTM(RecurrentLayer):
    """An LSTM, normalized over the examples at each step by itself; h and c start at 0.

    ::

        z   = BN(x_t @ input_weight; input_gamma, 0)
              + BN(h_(t-1) @ recurrent_weight; recurrent_gamma, 0) + bias
        c_t = sigmoid(z_f) * c_(t-1) + sigmoid(z_i) * tanh(z_g)
        h_t = sigmoid(z_o) * tanh(BN(c_t; cell_gamma, cell_beta))

        BN(a; gamma, beta) = gamma * (a - mean) / sqrt(variance + epsilon) + beta

    The two sums share one bias, which is their beta; the cell within is not normalized, but what is
    shown of it. Mean and variance are those of the batch in training, and of the population in
    inference, and every step has its own: what reaches a cell is another thing at the start than
    later on. Gammas, beta and bias are shared by all steps. The gradients go back through all steps
    (the equations are with `reference.batch_norm_lstm_backward`).

    Parameters
    ----------
    in_features, units : int
        The sizes of the last axis of x (N, T, in_features) and of y.
    steps : int
        For how many steps statistics of the population are kept. A longer sequence uses those of
        the last step, and a step that no batch in training had those of the last one before it that
        some had.
    last_only : bool
        False: y is the state after each step, (N, T, units); True: after the last, (N, units).
    momentum : float
        From 0 to 1, the weight of the old population statistics, as of `BatchNorm`.
    epsilon : float
        Added to the variance, under the root, in every mode.
    unbiased_population : bool
        True averages sum((a - mean)^2) / (n - 1) into the population's variances, n the number of
        sequences that have the step; False the batch's own variance, over n.
    frozen : bool
        True normalizes with the population's statistics in every mode, which then never move.
    input_weight, recurrent_weight, rng, dtype
        As of `LSTM`.

    Attributes
    ----------
    input_weight, recurrent_weight, bias : ndarray
        Parameters, as of `LSTM`.
    input_gamma, recurrent_gamma : ndarray, shape (4 * units,)
        Parameters, which start at 0.1: with 1 the tanh saturate, and Cooijmans et al. show the
        gradients of a plain recurrent network vanish; of this one they grow a hundredfold over 100
        steps (examples/sequential_mnist_bn_lstm.py).
    cell_gamma, cell_beta : ndarray, shape (units,)
        Parameters, which start at 0.1 as well, and at 0.
    population_input_mean, population_input_variance : ndarray, shape (steps, 4 * units)
        In the state, as all that follow; start at 0 and at 1.
    population_recurrent_mean, population_recurrent_variance : ndarray, shape (steps, 4 * units)
        Likewise.
    population_cell_mean, population_cell_variance : ndarray, shape (steps, units)
        Likewise.
    population_share : ndarray, shape (steps,)
        How much of a step's is of batches, 0 where it is of none.

    Raises
    ------
    ValueError
        In a forward pass in training, for one sequence alone, and for values that are not finite,
        as of `BatchNorm`.

    Notes
    -----
    `forward` takes a mask (N, T), for sequences of unequal length: a masked step counts in no
    statistic. Those of a step that fewer than two sequences have do not move the population's.

    Where the first steps are the same in all sequences, blank pixels say, nothing varies, and the
    gradient may grow by gamma / sqrt(epsilon) at each of them, beyond all numbers: let something
    vary at the first of them, noise say; Cooijmans et al. let h start at noise.

    References
    ----------
    Cooijmans et al. 2016, whose gates are in another order, and whose statistics in inference are
    the mean of the batches'.
    """

    _gates = 4
    _running_average: RunningAverage
    _training_only = ("momentum", "unbiased_population")

    input_gamma = ArrayAttribute("parameters", "The scale of what x adds, (4 * units,).")
    recurrent_gamma = ArrayAttribute("parameters", "The scale of what h adds, (4 * units,).")
    cell_gamma = ArrayAttribute("parameters", "The scale of the cell, (units,).")
    cell_beta = ArrayAttribute("parameters", "The shift of the cell, (units,).")
    population_input_mean = ArrayAttribute("state", "Of x @ input_weight, (steps, 4 * units).")
    population_input_variance = ArrayAttribute("state", "Of the same, (steps, 4 * units).")
    population_recurrent_mean = ArrayAttribute("state", "Of h @ recurrent_weight, the same.")
    population_recurrent_variance = ArrayAttribute("state", "Of the same, (steps, 4 * units).")
    population_cell_mean = ArrayAttribute("state", "Of the cell, (steps, units).")
    population_cell_variance = ArrayAttribute("state", "Of the same, (steps, units).")
    population_share = ArrayAttribute("state", "How much of it is of batches, (steps,).")

    def __init__(
        self,
        in_features: int,
        units: int,
        *,
        steps: int,
        last_only: bool = False,
        momentum: float = 0.99,
        epsilon: float = 1e-5,
        unbiased_population: bool = False,
        frozen: bool = False,
        input_weight: Array | None = None,
        recurrent_weight: Array | None = None,
        rng: np.random.Generator | int | None = None,
        dtype: DTypeLike | None = None,
    ) -> None:
        self._set_sizes(in_features, units)
        self.steps = checks.integer("steps", steps, minimum=1)
        parameters = self._first_parameters(input_weight, recurrent_weight, rng, dtype)
        kind = parameters["bias"].dtype
        for name, columns in NORMALIZED.items():
            parameters[f"{name}_gamma"] = np.full(columns * self.units, FIRST_GAMMA, kind)
        parameters["cell_beta"] = np.zeros(self.units, kind)
        super().__init__(parameters)
        start: dict[str, Array] = {}
        for name in STATISTICS:
            which, _, statistic = name.partition("_")
            shape = self.steps, NORMALIZED[which] * self.units
            start[f"population_{name}"] = np.full(shape, statistic == "variance", kind)
        start["population_share"] = np.zeros(self.steps, kind)
        self._running_average = RunningAverage(start)
        self.last_only, self.momentum, self.epsilon = last_only, momentum, epsilon
        self.unbiased_population, self.frozen = unbiased_population, frozen

    @checks.Setting
    def momentum(self, value: float) -> float:
        """The weight of the old population statistics, from 0 to 1."""
        return checks.share("momentum", value)

    @checks.Setting
    def epsilon(self, value: float) -> float:
        """What is added to the variance."""
        return checks.epsilon(value, self._parameters["bias"].dtype)

    @checks.Setting
    def unbiased_population(self, value: bool) -> bool:
        """Whether the population variances are over n - 1."""
        return checks.flag("unbiased_population", value)

    @checks.Setting
    def frozen(self, value: bool) -> bool:
        """Whether the population's statistics are used in every mode, and stay."""
        return checks.flag("frozen", value)

    @property
    def _follows_batches(self) -> bool:
        return not self.frozen

    def at_work(self, shape: tuple[int, ...], dtype: np.dtype[Any], mode: Mode) -> Pass:
        own, gradients = list(self._parameters.values()), list(self._gradients.values())
        weight_shape = self._parameters["recurrent_weight"].shape
        settings: Any = (shape, dtype, weight_shape, self.last_only, mode.mask, self.epsilon)
        if mode.statistics == "population" or self.frozen:
            own += self._running_average.state.values()
            return Pass(BatchNormLSTMInferenceOperation(*settings), own, gradients)
        operation = BatchNormLSTMOperation(*settings)
        if mode.training and operation.most_values == 1:
            raise ValueError(
                f"{self!r}: expected two sequences or more in training, got {shape}: the variance "
                'of one value is 0; pass more, or statistics="population"'
            )
        counts = operation.counts(self.steps)
        # To stay, for steps that the batch has not.
        momentum = np.where(counts > 1, self.momentum, 1.0)
        of_variance = self._correction(counts)
        return Pass(
            operation,
            own,
            gradients,
            values=operation.most_values,
            momentum=self._of_state(lambda name: momentum),
            correction=self._of_state(
                lambda name: of_variance if name.endswith("variance") else np.ones(self.steps)
            ),
        )

    def _of_state(self, of_steps: Callable[[str], Array]) -> Array:
        """For each number of the state that of its step; of_steps: (steps,), by name."""
        state = self._running_average.state
        return np.concatenate(
            [np.repeat(of_steps(name), each.size // self.steps) for name, each in state.items()]
        )

    def _correction(self, values: Array | int) -> Array:
        """What the population's variances of so many values have for the biased ones."""
        return values / np.maximum(values - int(self.unbiased_population), 1)

    @quiet()
    def measure(self, inputs: Callable[[], Iterator[tuple[Array, Array | None]]]) -> None:
        """Step by step: those of a step come when the steps before it run with theirs.

        Keeps the inputs, and two numbers a unit and example.
        """
        blocks, kept = [], []
        for x, mask in inputs():
            blocks.append(np.array(x))
            kept.append(np.ones(x.shape[:2], bool) if mask is None else mask)
        zeros = np.zeros(self.units, blocks[0].dtype)
        states = [(np.tile(zeros, (len(x), 1)), np.tile(zeros, (len(x), 1))) for x in blocks]
        counts = sum(each.sum(0) for each in kept)
        length = min(self.steps, len(counts))
        # One sequence alone has no variance, and of many the longest may be alone at the end.
        self.population_share[...] = 0
        self.population_share[:length] = counts[:length] >= min(2, sum(map(len, blocks)))
        known = 0
        for step in range(length):
            given = [x[:, step : step + 1] for x in blocks]
            now = [each[:, step : step + 1] for each in kept]
            if self.population_share[step]:
                known = step
                terms = (
                    np.concatenate(
                        [x[rows] @ self.input_weight, h[rows[:, 0]] @ self.recurrent_weight], 1
                    )
                    for x, rows, (h, _) in zip(given, now, states, strict=True)
                )
                mean, variance = self._exact(terms)
                columns = 4 * self.units
                self.population_input_mean[step] = mean[:columns]
                self.population_input_variance[step] = variance[:columns]
                self.population_recurrent_mean[step] = mean[columns:]
                self.population_recurrent_variance[step] = variance[columns:]
                # The cell does not depend on its own statistics, what it shows does.
                after = zip(self._after(known, given, now, states), now, strict=True)
                mean, variance = self._exact(cell[rows[:, 0]] for (_, cell), rows in after)
                self.population_cell_mean[step] = mean
                self.population_cell_variance[step] = variance
            states = list(self._after(known, given, now, states))

    def _exact(self, blocks: Iterator[Array]) -> tuple[Array, Array]:
        mean, variance, count = mean_and_variance(blocks)
        if not (np.isfinite(mean).all() and np.isfinite(variance).all()):
            raise ValueError("not finite")
        return mean, variance * self._correction(count)

    def _after(
        self,
        known: int,
        given: list[Array],
        kept: list[Array],
        states: list[tuple[Array, Array]],
    ) -> Iterator[tuple[Array, Array]]:
        """h and c of each block after one step, with the statistics of one that has some."""
        own = list(self._parameters.values())
        *state, _ = self._running_average.state.values()
        statistics = [each[known : known + 1] for each in state]
        for x, rows, (hidden, cell) in zip(given, kept, states, strict=True):
            if not rows.any():
                yield hidden, cell
                continue
            weight_shape = self.recurrent_weight.shape
            operation = BatchNormLSTMInferenceOperation(
                x.shape, x.dtype, weight_shape, True, rows, self.epsilon
            )
            operation.start_from(hidden, cell)
            arrays: Any = (x, *own, *statistics, None, np.empty(operation.shape, x.dtype))
            operation.forward(np, *arrays)
            yield operation.last_state

    def _convert(self, dtype: np.dtype[Any]) -> None:
        checks.epsilon(self.epsilon, dtype)
        super()._convert(dtype)

    def __repr__(self) -> str:
        usual = {"steps": None, "last_only": False, "momentum": 0.99, "epsilon": 1e-5}
        usual |= {"unbiased_population": False, "frozen": False}
        return self._typed(self.in_features, self.units, **usual)
