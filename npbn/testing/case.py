"""What the tests and the benchmarks of all operations need to know of one."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

import numpy as np

from npbn._checks import Array
from npbn.layers import Layer

Shape = tuple[int, ...]
Inputs = dict[str, Any]
MakeInputs = Callable[[np.random.Generator, Shape, Any], Inputs]
MakeLayer = Callable[[np.random.Generator, Shape, Any], Layer]

# Few rows; a hidden layer's; many narrow ones, which sums over rows take in blocks; images;
# sequences.
BATCHES: tuple[Shape, ...] = (
    (7, 4),
    (60, 100),
    (1025, 3),
    (5000, 2),
    (2, 3, 4, 5),
    (4, 6, 3),
    (3, 700, 2),
)
# Images: small ones, of one channel, of an odd size, larger than a block of patches.
IMAGES: tuple[Shape, ...] = (
    (2, 4, 4, 1),
    (2, 4, 3, 4),
    (3, 5, 7, 3),
    (7, 28, 28, 1),
    (5, 14, 14, 16),
    (2, 40, 33, 24),
)
# Sequences: short ones; many of one step, where the recurrent weight does nothing; long ones; the
# rows of some images.
SEQUENCES: tuple[Shape, ...] = ((4, 4, 2), (3, 5, 4), (70, 1, 3), (3, 60, 2), (20, 28, 28))


@dataclasses.dataclass(frozen=True)
class Case:
    """How an operation is called: in `functional`, in `reference` and as a layer.

    The file ``npbn/testing/cases/<stem>.py``, named like the operation's own files, has a tuple
    CASES of these, one an operation; nothing else lists it.

    Parameters
    ----------
    name : str
        The functions are ``<name>_forward`` and ``<name>_backward``; ``<name>`` alone where forward
        returns no cache (backward then takes the inputs again), or where there is no backward.
    inputs : function
        inputs(rng, shape, dtype) -> the keyword arguments of forward, x of the given shape first;
        its float arrays are of the given type. ValueError for a shape that x cannot have.
    gradients : tuple of str
        What backward returns, in order: "dx", then "dgamma" for an argument gamma, ... Empty where
        there is no backward pass.
    layers : dict
        A description -> layer(rng, shape, dtype), a new layer for such an x; one for each set of
        arrays that the layer can have. Those without parameters ignore the type.
    shapes : tuple
        Shapes of the first argument, the first of them of some 30 values, which tests go through
        one by one, then whatever the operation may treat in another way.
    is_loss : bool
        ``<name>`` returns a number and the gradient of its first argument.
    also : tuple of str
        The names of what a loss returns after these two.
    has_kinks : bool
        Whether the derivative jumps somewhere, as ReLU's does at 0.
    shares : tuple of str
        The names of numbers among the inputs that must be below 1.
    variant : str
        What tells it from another case of the same operation, "with options" say; the table has it
        as ``"<name>, <variant>"``. The cases of an operation together give every argument.
    free_axes : dict
        The name of an argument -> how many of its first axes may have any length.

    Examples
    --------
    ::

        Case("swish", lambda rng, shape, dtype: {"x": normal(rng, shape, dtype)}, ("dx",),
             {"Swish": lambda rng, shape, dtype: Swish()})
        Case("squared_error", ..., ("dy",), is_loss=True)
    """

    name: str
    inputs: MakeInputs
    gradients: tuple[str, ...] = ()
    layers: Mapping[str, MakeLayer] = dataclasses.field(default_factory=dict)
    shapes: tuple[Shape, ...] = BATCHES
    is_loss: bool = False
    also: tuple[str, ...] = ()
    has_kinks: bool = False
    shares: tuple[str, ...] = ()
    variant: str = ""
    free_axes: Mapping[str, int] = dataclasses.field(default_factory=dict)

    @property
    def key(self) -> str:
        """Its name in the table of all cases."""
        return f"{self.name}, {self.variant}" if self.variant else self.name

    @property
    def has_backward(self) -> bool:
        """Whether there is a function ``<name>_backward``."""
        return bool(self.gradients) and not self.is_loss

    @property
    def parameters(self) -> tuple[str, ...]:
        """The arguments, besides the first, that have a gradient."""
        return tuple(name.removeprefix("d") for name in self.gradients[1:])

    def function(self, room: ModuleType) -> Callable[..., Any]:
        """The forward pass in `functional` or `reference`; AttributeError where it has none."""
        found = getattr(room, f"{self.name}_forward", None) or getattr(room, self.name)
        assert callable(found)
        return found

    def forward(self, room: ModuleType, inputs: Inputs, **options: Any) -> tuple[Any, Any]:
        """y and the cache, None where there is none; of a loss its value and its gradient."""
        result = self.function(room)(**inputs, **options)
        return result[:2] if isinstance(result, tuple) else (result, None)

    def backward(
        self, room: ModuleType, dy: Array, cache: Any, inputs: Inputs, **options: Any
    ) -> tuple[Array, ...]:
        """The gradients, in order."""
        function = getattr(room, f"{self.name}_backward")
        if cache is None:
            taken = inspect.signature(function).parameters
            given = {name: value for name, value in inputs.items() if name in taken}
        else:
            given = {"cache": cache}
        result = function(dy, **given, **options)
        return result if isinstance(result, tuple) else (result,)

    def results(self, room: ModuleType, inputs: Inputs, dy: Array | None = None) -> dict[str, Any]:
        """All that the operation computes, by name: "y" or "loss", and the gradients.

        Parameters
        ----------
        dy : ndarray or None
            None for a random one. A loss, and softmax, take none.
        """
        if self.is_loss:
            found = self.function(room)(**inputs)
            return dict(zip(("loss", *self.gradients, *self.also), found, strict=True))
        y, cache = self.forward(room, inputs)
        if not self.gradients:
            return {"y": y}
        if dy is None:
            dy = np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype)
        found = self.backward(room, dy, cache, inputs)
        return {"y": y} | dict(zip(self.gradients, found, strict=True))


def normal(rng: np.random.Generator, shape: Shape, dtype: Any) -> Array:
    """Standard normal numbers."""
    return rng.standard_normal(shape).astype(dtype)


def normalized(rng: np.random.Generator, shape: Shape, dtype: Any, *, epsilon: float) -> Inputs:
    """x with features far from one another, gamma and beta, for what normalizes."""
    features = shape[-1]
    return {
        "x": (3 * rng.standard_normal(shape) + rng.normal(0, 5, features)).astype(dtype),
        "gamma": rng.uniform(0.5, 1.5, features).astype(dtype),
        "beta": rng.standard_normal(features).astype(dtype),
        "epsilon": epsilon,
    }


def with_and_without(name: str, make: Callable[..., Layer]) -> Mapping[str, MakeLayer]:
    """``make(shape, dtype=, ...)`` with gamma and beta, without either, and without both."""

    def made(**settings: Any) -> MakeLayer:
        return lambda rng, shape, dtype: make(shape, dtype=dtype, **settings)

    return {
        name: made(),
        f"{name} without beta": made(center=False, epsilon=1),
        f"{name} without gamma": made(scale=False),
        f"{name} without either": made(center=False, scale=False),
    }


def images(rng: np.random.Generator, shape: Shape, dtype: Any, axes: int | None = 2) -> Array:
    """Standard normal numbers; ValueError for a shape that no images (N, H, W, C) have.

    Parameters
    ----------
    axes : int or None
        How many lie between N and C; None: one or more.
    """
    if len(shape) < 3 if axes is None else len(shape) != axes + 2:
        raise ValueError(f"expected (N, H, W, C), got {shape}")
    return normal(rng, shape, dtype)


def sequences(rng: np.random.Generator, shape: Shape, dtype: Any) -> Array:
    """Standard normal numbers; ValueError for a shape that no sequences (N, T, D) have."""
    if len(shape) != 3:
        raise ValueError(f"expected (N, T, D), got {shape}")
    return normal(rng, shape, dtype)


def for_images(make: MakeLayer) -> MakeLayer:
    """A layer for images; ValueError for a shape that these cannot have."""
    return _checked_by(images, make)


def for_sequences(make: MakeLayer) -> MakeLayer:
    """A layer for sequences; ValueError for a shape that these cannot have."""
    return _checked_by(sequences, make)


def _checked_by(draw: Callable[..., Array], make: MakeLayer) -> MakeLayer:
    def made(rng: np.random.Generator, shape: Shape, dtype: Any) -> Layer:
        draw(rng, shape, dtype)
        return make(rng, shape, dtype)

    return made
