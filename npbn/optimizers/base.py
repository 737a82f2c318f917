"""What all optimizers share: one update of two vectors, checked, piece by piece."""

from __future__ import annotations

import copy
import inspect
import math
import weakref
from collections.abc import Callable, Mapping
from typing import Any, Self

import numpy as np

from npbn._checks import (
    Array,
    Setting,
    Settings,
    float_array,
    has_shape,
    integer,
    number,
    same_dtype,
)
from npbn.numerics.read_only_mapping import ReadOnlyMapping
from npbn.numerics.tape import repeated
from npbn.optimizers.piecewise import Piece, cut, norm_of, sweep
from npbn.optimizers.settings import LearningRate, checked_rate, shown

Vectors = tuple[Array | None, Array | None, Array | None]
_NONE: Vectors = (None, None, None)

# What is fed only zeros decays to denormal numbers and stays there, as rounding up keeps it from
# 0. Sweeping ends that, and at this pace costs half a percent of an update.
SWEEP_EVERY = 64


class Optimizer(Settings):
    """What SGD, RMSProp and Adam have in common.

    Update t (0, 1, 2, ...) is::

        gradient = gradient * max_norm / norm             if norm, its 2-norm, is above max_norm
        gradient = gradient + weight_decay * parameters   where weights decay
        parameters = parameters - learning_rate * direction

    The direction is what they differ in: the gradient itself, or one made of it and earlier ones.

    Parameters
    ----------
    learning_rate : float, function or array
        A number; a function of t, called before the update; or a vector, one rate for each
        parameter, in which 0 keeps a parameter as it is. None of them below 0.
    weight_decay : float
        L2 regularization, the gradient of weight_decay / 2 * sum(parameters**2).
    max_norm : float or None
        Limits the gradient before the decay is added, as clipping between backward and the update
        does in PyTorch. A gradient with an infinity or NaN has no norm and stays as it is: the loss
        shows it. None: no limit.

    Raises
    ------
    TypeError, ValueError
        For a setting of another type or range.
    AttributeError
        For one that there is not.

    Notes
    -----
    One that remembers something, or whose schedule counts, belongs to the network of its first
    step: for another one `step` is a ValueError. A copy, and one that goes on from `load_state`,
    belongs to the network that it meets next.

    All settings may be set later, too, where they are checked likewise, and hold from the next
    update on.
    """

    @Setting
    def learning_rate(self, value: Any) -> Any:
        """A number, a function of t, or a vector."""
        return checked_rate(value)

    @Setting
    def weight_decay(self, value: Any) -> Any:
        """How much of the parameters is added to the gradient."""
        return number("weight_decay", value, minimum=0)

    @Setting
    def max_norm(self, value: Any) -> Any:
        """The longest that a gradient may be, or None."""
        return None if value is None else number("max_norm", value, above=0)

    _asked: tuple[int, float] | None
    _vectors: Vectors
    _pieces: list[Piece]

    def __init__(
        self, learning_rate: LearningRate, weight_decay: float, max_norm: float | None
    ) -> None:
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.max_norm = max_norm
        self._iterations = 0
        self._kind: tuple[int, np.dtype[Any]] | None = None
        self._state: dict[str, Array] = {}
        self._decay_of: tuple[Any, Array] | None = None
        self._bound: Callable[[], Any] | None = None

    @property
    def iterations(self) -> int:
        """How many updates were done; the t of the next one."""
        return self._iterations

    @property
    def state(self) -> Mapping[str, Array]:
        """name -> vector: what is remembered from update to update. Empty before the first one."""
        return ReadOnlyMapping(self._remembered())

    def step(self, network: Any) -> None:
        """One update of a network, after its backward pass. Weight decay is for weights alone.

        Parameters
        ----------
        network : Sequential
            Or what has parameter_vector, gradient_vector and slices, a mapping like "1.gamma" ->
            its slice of the vectors; what is called "weight" after the last point decays.

        Raises
        ------
        TypeError
            For what has none of these.
        ValueError
            For another network than before (see `bind`).
        """
        try:
            parameters, gradients = network.parameter_vector, network.gradient_vector
        except AttributeError:
            raise TypeError(
                f"network: expected a Sequential, got {network!r:.60}: pass Sequential([...])"
            ) from None
        self.bind(network)
        self.update(parameters, gradients, decay=self._decay(network))

    def bind(self, network: Any) -> None:
        """Belong to this network, as from the first step on.

        Raises
        ------
        ValueError
            Where what is remembered, or the count that a schedule reads, is another's.
        """
        if self._bound is not None and self._bound() is network:
            return
        self._check_owner(network)
        try:
            self._bound = weakref.ref(network)
        except TypeError:
            self._bound = lambda: network

    def _check_owner(self, network: Any) -> None:
        remembered = [*self._names(), *(["count"] if callable(self.learning_rate) else [])]
        is_anothers = self._bound is not None and self._bound() is not network
        if is_anothers and remembered and self._iterations:
            raise ValueError(
                f"{self}: was used for another network ({self._iterations} updates), and holds "
                f"its {' and '.join(remembered)}: make a new {type(self).__name__} for this "
                "one; to go on with a copy of a network, copy both: network, optimizer = "
                "copy.deepcopy((network, optimizer))"
            )

    def update(self, parameters: Array, gradients: Array, *, decay: Array | None = None) -> None:
        """One update: parameters are changed in place, gradients never.

        Not-finite numbers pass without a warning. Only the first update of these arrays allocates
        any.

        Parameters
        ----------
        parameters : (n,) array, float32 or float64, contiguous
            The first update fixes length and type; others are refused later.
        gradients : (n,) array, of the same type, apart from parameters
        decay : (n,) array, optional
            1 for parameters that weight_decay applies to, else 0. None: all of them.

        Raises
        ------
        TypeError, ValueError
            For other arrays, before anything has changed.
        """
        if not self._knows(parameters, gradients, decay):
            self._check(parameters, gradients, decay)
        with np.errstate(all="ignore"):
            self._update(np, parameters, gradients, decay)

    def next_rate(self) -> float | Array:
        """The learning rate of the next update; a schedule is asked for it once.

        Raises
        ------
        TypeError, ValueError
            Where a schedule's value is none: a training step asks before it changes anything.
        """
        rate, t = self.learning_rate, self._iterations
        if not callable(rate):
            return rate
        if self._asked is None or self._asked[0] != t:
            self._asked = t, number(f"learning_rate({t})", rate(t), minimum=0)
        return self._asked[1]

    def check(self, network: Any) -> None:
        """ValueError or TypeError where `step` would refuse the network's vectors."""
        self._check(network.parameter_vector, network.gradient_vector, None)

    def load_state(self, iterations: int, arrays: Mapping[str, Array]) -> None:
        """Go on where an optimizer with these .iterations and .state was; arrays are copied.

        Raises
        ------
        TypeError, ValueError
            And nothing has changed, if the names, shapes or types are not those of this optimizer.
        """
        iterations = integer("iterations", iterations, minimum=0)
        if iterations >= 2**63:  # which no run reaches, and whose powers no float holds
            raise ValueError(f"iterations: expected below 2**63, got {iterations!r:.60}")
        fresh, names = iterations == 0 and not arrays, self._names()
        if not fresh and set(arrays) != set(names):
            raise ValueError(
                f"{self}: expected a state of {sorted(names) or 'no arrays'}, got "
                f"{sorted(arrays)}: load it into an optimizer made like the one that saved it"
            )
        vectors = {name: float_array(name, array) for name, array in arrays.items()}
        for name, vector in vectors.items():
            first = next(iter(vectors.values()))
            has_shape(name, vector, (first.size,))
            same_dtype(first, **{name: vector})
            self._check_as_before(vector)
        if vectors:
            self._kind = first.size, first.dtype
        for name, own in self._remembered().items():
            own[...] = vectors.get(name, 0)
        self._iterations, self._bound = iterations, None

    def __copy__(self) -> Self:
        return copy.deepcopy(self)

    def __getstate__(self) -> dict[str, Any]:
        # The pieces are views of other vectors than a copy's, and a copy is of no network yet.
        return vars(self) | {"_vectors": _NONE, "_pieces": [], "_bound": None}

    def __repr__(self) -> str:
        settings = [
            f"{name}={shown(getattr(self, name))}"
            for name, each in inspect.signature(type(self)).parameters.items()
            if each.default is each.empty or getattr(self, name) != each.default
        ]
        return f"{type(self).__name__}({', '.join(settings)})"

    def _changed(self) -> None:
        self._asked = None
        self._vectors = _NONE

    def _names(self) -> tuple[str, ...]:
        """The names of what is remembered, with the settings as they are."""
        raise NotImplementedError

    def _direction(self, xp: Any, piece: Piece, gradient: Array) -> tuple[Array, float]:
        """An array, and a number that it is still to be multiplied by."""
        raise NotImplementedError

    def _step(self, xp: Any, network: Any) -> None:
        """As step, by calls of xp; network was checked before, and warnings are off."""
        self._update(xp, network.parameter_vector, network.gradient_vector, self._decay(network))

    def _update(self, xp: Any, parameters: Array, gradients: Array, decay: Array | None) -> None:
        """As update, by calls of xp; the arrays were checked before, and warnings are off."""
        rate = self.next_rate()
        pieces = self._pieces_of(parameters, gradients, decay)
        limit = self._limit(xp, gradients, pieces)
        sweeping = (self._iterations + 1) % SWEEP_EVERY == 0
        for piece in repeated(xp, pieces):
            gradient = self._regularized(xp, piece, limit)
            direction, factor = self._direction(xp, piece, gradient)
            if isinstance(rate, float):
                xp.multiply(direction, rate * factor, out=piece.work)
            else:
                xp.multiply(direction, piece.rates, out=piece.work)
                xp.multiply(piece.work, factor, out=piece.work)
                xp.copyto(piece.work, 0, where=piece.frozen)  # 0 times infinity is not 0
            xp.subtract(piece.parameters, piece.work, out=piece.parameters)
            if sweeping:
                sweep(xp, piece, self._state)
        self._iterations += 1

    def _limit(self, xp: Any, gradients: Array, pieces: list[Piece]) -> float:
        """What the gradient is to be multiplied by for max_norm."""
        if self.max_norm is None:
            return 1.0
        norm = norm_of(xp, gradients, pieces)
        return self.max_norm / norm if self.max_norm < norm < math.inf else 1.0

    def _regularized(self, xp: Any, piece: Piece, limit: float) -> Array:
        gradient: Array = piece.gradients
        if limit != 1:
            xp.multiply(gradient, limit, out=piece.regularized)
            gradient = piece.regularized
        if self.weight_decay:
            xp.multiply(piece.parameters, self.weight_decay, out=piece.work)
            if hasattr(piece, "decay"):
                xp.multiply(piece.work, piece.decay, out=piece.work)
            xp.add(gradient, piece.work, out=piece.regularized)
            gradient = piece.regularized
        return gradient

    def _remembered(self) -> dict[str, Array]:
        names = self._names()
        if self._kind is not None and tuple(self._state) != names:
            self._state = {name: np.zeros(*self._kind) for name in names}
        return self._state

    def _knows(self, parameters: Array, gradients: Array, decay: Array | None) -> bool:
        """Whether these are the arrays of the last update, and no setting has changed since."""
        before = self._vectors
        return parameters is before[0] and gradients is before[1] and decay is before[2]

    def _pieces_of(self, parameters: Array, gradients: Array, decay: Array | None) -> list[Piece]:
        """The vectors cut into pieces, with all else that an update needs."""
        if self._knows(parameters, gradients, decay):
            return self._pieces
        self._check_as_before(parameters)
        self._kind = parameters.size, parameters.dtype
        whole = {"parameters": parameters, "gradients": gradients, **self._remembered()}
        if decay is not None:
            whole["decay"] = decay
        if isinstance(self.learning_rate, np.ndarray):
            whole["rates"] = self.learning_rate.astype(parameters.dtype)
            whole["frozen"] = whole["rates"] == 0
        self._pieces = cut(whole)
        self._vectors = parameters, gradients, decay
        return self._pieces

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
        if isinstance(self.learning_rate, np.ndarray):
            has_shape("learning_rate", self.learning_rate, vector.shape)
        if self._kind is None or self._kind == (vector.size, vector.dtype):
            return
        size, dtype = self._kind
        raise (ValueError if vector.size != size else TypeError)(
            f"{self}: expected {size} {dtype} as before, got {vector.size} "
            f"{vector.dtype}: make a new {type(self).__name__} for other parameters"
        )

    def _decay(self, network: Any) -> Array | None:
        """1 for the weights of network, else 0."""
        if not self.weight_decay:
            return None
        parameters = network.parameter_vector
        key = (parameters.size, parameters.dtype, dict(network.slices))
        if self._decay_of is None or self._decay_of[0] != key:
            decay = np.zeros_like(parameters)
            for name, place in key[2].items():
                if name.rpartition(".")[2] == "weight":
                    decay[place] = 1
            self._decay_of = key, decay
        return self._decay_of[1]
