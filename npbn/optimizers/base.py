"""What all optimizers share: one update of two vectors, checked, in buffers that are kept."""

import inspect
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from npbn._checks import Array, float_array, has_shape, integer, number, same_dtype

LearningRate = float | Callable[[int], float] | Array


class Optimizer:
    """What SGD, RMSProp and Adam have in common. Update t (0, 1, 2, ...) is

        gradient = gradient * max_norm / norm             if norm, its 2-norm, is above max_norm
        gradient = gradient + weight_decay * parameters   where weights decay
        parameters = parameters - learning_rate * direction

    The direction is what they differ in: the gradient itself, or one made of it and earlier ones.

    learning_rate: a number; a function of t, called before the update; or a vector, one rate for
        each parameter, in which 0 keeps a parameter as it is. None of them below 0.
    weight_decay: L2 regularization, the gradient of weight_decay / 2 * sum(parameters**2).
    max_norm: limits the gradient before the decay is added, as clipping between backward and the
        update does in PyTorch. A gradient with an infinity or NaN has no norm and stays as it is:
        the loss shows it. None: no limit.

    All settings are checked once, here: ValueError or TypeError.
    """

    # What is fed only zeros decays to denormal numbers and stays there, as rounding up keeps it
    # from 0. Sweeping ends that, and at this pace costs half a percent of an update.
    _SWEEP_EVERY = 64

    def __init__(
        self,
        learning_rate: LearningRate,
        weight_decay: float,
        max_norm: float | None,
        state_names: tuple[str, ...],
    ) -> None:
        self._learning_rate = _checked_rate(learning_rate)
        self.weight_decay = number("weight_decay", weight_decay, minimum=0)
        self.max_norm = None if max_norm is None else number("max_norm", max_norm, above=0)
        self._iterations = 0
        self._state_names = state_names
        self._state: dict[str, Array] = {}
        self._work: Array | None = None
        self._decay_of: tuple[Any, Array] | None = None
        self._asked: tuple[int, float] | None = None

    @property
    def learning_rate(self) -> LearningRate:
        """As it was given. To change it on the way, give a function."""
        return self._learning_rate

    @property
    def iterations(self) -> int:
        """How many updates were done; the t of the next one."""
        return self._iterations

    @property
    def state(self) -> Mapping[str, Array]:
        """name -> vector: what is remembered from update to update. Empty before the first one."""
        return MappingProxyType(self._state)

    def step(self, network: Any) -> None:
        """One update of a network, after its backward pass. Weight decay is for weights alone.

        network: has parameter_vector, gradient_vector and slices, a mapping like "1.gamma" -> its
            slice of the vectors; what is called "weight" after the last point decays. TypeError
            for what has none of these.
        """
        try:
            parameters, gradients = network.parameter_vector, network.gradient_vector
        except AttributeError:
            raise TypeError(
                f"network: expected a Sequential, got {network!r:.60}: pass Sequential([...])"
            ) from None
        decay = self._weights_of(network) if self.weight_decay else None
        self.update(parameters, gradients, decay=decay)

    def update(self, parameters: Array, gradients: Array, *, decay: Array | None = None) -> None:
        """One update: parameters are changed in place, gradients never.

        parameters: ndarray, shape (n,), float32 or float64, contiguous; gradients: likewise, apart.
        decay: shape (n,), 1 for parameters that weight_decay applies to, else 0. None: all of them.

        The first update fixes length and type; others are refused later. ValueError or TypeError
        before anything has changed. Not-finite numbers pass without a warning. Works in buffers
        that the optimizer keeps: only the first update allocates any.
        """
        self._check(parameters, gradients, decay)
        rate = self.next_rate()
        if self._work is None:
            self._allocate(parameters.size, parameters.dtype)
        self._move(parameters, gradients, decay, rate)
        self._iterations += 1

    def next_rate(self) -> float | Array:
        """The learning rate of the next update; a schedule is asked for it once.

        ValueError or TypeError where a schedule's value is none: a training step asks before it
        changes anything.
        """
        rate, t = self._learning_rate, self._iterations
        if not callable(rate):
            return rate
        if self._asked is None or self._asked[0] != t:
            self._asked = t, number(f"learning_rate({t})", rate(t), minimum=0)
        return self._asked[1]

    def check(self, network: Any) -> None:
        """ValueError or TypeError where `step` would refuse the network's vectors."""
        self._check(network.parameter_vector, network.gradient_vector, None)
        if isinstance(self.learning_rate, np.ndarray):
            has_shape("learning_rate", self.learning_rate, network.parameter_vector.shape)

    def load_state(self, iterations: int, arrays: Mapping[str, Array]) -> None:
        """Go on where an optimizer with these .iterations and .state was; arrays are copied.

        ValueError or TypeError, and nothing has changed, if the names, shapes or types are not
        those of this optimizer.
        """
        iterations = integer("iterations", iterations, minimum=0)
        if iterations >= 2**63:  # which no run reaches, and whose powers no float holds
            raise ValueError(f"iterations: expected below 2**63, got {iterations!r:.60}")
        fresh = iterations == 0 and not arrays
        if not fresh and set(arrays) != set(self._state_names):
            raise ValueError(
                f"{self}: expected a state of {sorted(self._state_names) or 'no arrays'}, got "
                f"{sorted(arrays)}: load it into an optimizer made like the one that saved it"
            )
        vectors = {name: float_array(name, array) for name, array in arrays.items()}
        for name, vector in vectors.items():
            first = next(iter(vectors.values()))
            has_shape(name, vector, (first.size,))
            same_dtype(first, **{name: vector})
            self._check_as_before(vector)
        if vectors and self._work is None:
            self._allocate(first.size, first.dtype)
        for name, own in self._state.items():
            own[...] = vectors.get(name, 0)
        self._iterations = iterations

    def __repr__(self) -> str:
        rate = self.learning_rate
        if isinstance(rate, np.ndarray):
            shown = f"<{rate.size} rates>"
        else:
            shown = getattr(rate, "__name__", type(rate).__name__) if callable(rate) else f"{rate}"
        settings = [f"learning_rate={shown}"]
        for name, setting in list(inspect.signature(type(self)).parameters.items())[1:]:
            if getattr(self, name) != setting.default:
                settings.append(f"{name}={getattr(self, name)}")
        return f"{type(self).__name__}({', '.join(settings)})"

    def _direction(self, gradient: Array) -> tuple[Array, float]:
        """A vector, and a number that it is still to be multiplied by."""
        raise NotImplementedError

    @np.errstate(all="ignore")
    def _move(
        self, parameters: Array, gradients: Array, decay: Array | None, rate: float | Array
    ) -> None:
        assert self._work is not None
        direction, factor = self._direction(self._regularized(parameters, gradients, decay))
        if isinstance(rate, float):
            change = np.multiply(direction, rate * factor, out=self._work)
        else:
            change = np.multiply(direction, self._rates, out=self._work)
            change *= factor
            np.copyto(change, 0, where=self._frozen)  # 0 times infinity is not 0
        parameters -= change
        if self._iterations % self._SWEEP_EVERY == 0:
            self._sweep()

    def _regularized(self, parameters: Array, gradients: Array, decay: Array | None) -> Array:
        assert self._work is not None
        if self.max_norm is not None:
            norm = _norm(gradients, self._work)
            if self.max_norm < norm < math.inf:
                gradients = np.multiply(gradients, self.max_norm / norm, out=self._regular)
        if self.weight_decay:
            pull = np.multiply(parameters, self.weight_decay, out=self._work)
            if decay is not None:
                pull *= decay
            gradients = np.add(gradients, pull, out=self._regular)
        return gradients

    def _sweep(self) -> None:
        """Set denormal numbers to 0: arithmetic on them is many times slower on most processors."""
        for vector in self._state.values():
            normal = np.abs(vector, out=self._work)
            np.greater_equal(normal, np.finfo(vector.dtype).smallest_normal, out=normal)
            vector *= normal

    def _allocate(self, size: int, dtype: np.dtype[Any]) -> None:
        if isinstance(self._learning_rate, np.ndarray):
            has_shape("learning_rate", self._learning_rate, (size,))
            with np.errstate(all="ignore"):
                self._rates = self._learning_rate.astype(dtype)
            self._frozen = self._rates == 0
        if self.max_norm is not None or self.weight_decay:
            self._regular = np.empty(size, dtype)
        self._state = {name: np.zeros(size, dtype) for name in self._state_names}
        self._work = np.empty(size, dtype)

    def _check(self, parameters: Any, gradients: Any, decay: Any) -> None:
        float_array("parameters", parameters)
        float_array("gradients", gradients)
        if parameters.ndim != 1:
            raise ValueError(f"parameters: expected one axis, got {parameters.shape}: flatten them")
        flags = parameters.flags
        if not (flags.c_contiguous and flags.writeable):
            raise ValueError("parameters: expected a contiguous, writable array: pass a whole one")
        has_shape("gradients", gradients, parameters.shape)
        same_dtype(parameters, gradients=gradients)
        if np.may_share_memory(parameters, gradients):
            raise ValueError("gradients: they share memory with parameters: pass a copy")
        if decay is not None:
            if not (isinstance(decay, np.ndarray) and decay.dtype == np.bool_):
                same_dtype(parameters, decay=float_array("decay", decay))
            has_shape("decay", decay, parameters.shape)
        self._check_as_before(parameters)

    def _check_as_before(self, vector: Array) -> None:
        before = self._work
        if before is not None and (vector.size != before.size or vector.dtype != before.dtype):
            raise (ValueError if vector.size != before.size else TypeError)(
                f"{self}: expected {before.size} {before.dtype} as before, got {vector.size} "
                f"{vector.dtype}: make a new {type(self).__name__} for other parameters"
            )

    def _weights_of(self, network: Any) -> Array:
        parameters = network.parameter_vector
        key = (parameters.size, parameters.dtype, dict(network.slices))
        if self._decay_of is None or self._decay_of[0] != key:
            decay = np.zeros_like(parameters)
            for name, place in key[2].items():
                if name.rpartition(".")[2] == "weight":
                    decay[place] = 1
            self._decay_of = key, decay
        return self._decay_of[1]


def _norm(vector: Array, work: Array) -> float:
    """The 2-norm, also where the squares leave the range of the type. Writes to work."""
    square = float(np.dot(vector, vector))
    if 1e-20 < square < math.inf:
        return math.sqrt(square)
    largest = float(np.abs(vector, out=work).max(initial=0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    np.divide(vector, largest, out=work)
    return largest * math.sqrt(float(np.dot(work, work)))


def _checked_rate(value: Any) -> LearningRate:
    if callable(value):
        schedule: Callable[[int], float] = value
        return schedule
    if not isinstance(value, np.ndarray):
        return number("learning_rate", value, minimum=0)
    if value.ndim == 0:
        raise TypeError(f"learning_rate: expected a number, got an array of one: pass {value}")
    rates = float_array("learning_rate", value).copy()
    if rates.ndim != 1:
        raise ValueError(f"learning_rate: expected one rate for each parameter, got {rates.shape}")
    if not (np.isfinite(rates).all() and (rates >= 0).all()):
        raise ValueError("learning_rate: expected finite rates of at least 0")
    rates.flags.writeable = False
    return rates
