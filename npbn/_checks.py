"""Argument checks and their messages: what came, what was expected, what to do."""

import inspect
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

Array = NDArray[Any]
Statistics = Literal["batch", "population"]
# Of images: a number for all axes, or one each; what is added around them, and how it is checked.
Each = int | Sequence[int]
PaddingLike = Literal["same", "valid"] | int | Sequence[int] | Sequence[Sequence[int]]
Padding = Literal["same", "valid"] | tuple[tuple[int, int], ...]

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))


def float_array(name: str, value: Any) -> Array:
    """value, if it is a float32 or float64 array; else a TypeError that says what to type.

    A memory-mapped one comes back as a plain array of the same memory: so what is computed of it.
    """
    if isinstance(value, np.ndarray) and value.dtype in FLOATS:
        _plain(name, value)
        return value if type(value) is np.ndarray else value.view(np.ndarray)
    if not isinstance(value, np.ndarray):
        raise TypeError(
            f"{name}: expected a float32 or float64 array, got {_kind(value)}: "
            f"pass np.asarray({name}, dtype=np.float32)"
        )
    if value.dtype == np.uint8:
        advice = f"pass {name}.astype(np.float32) / 255 if these are images"
    else:
        advice = f"pass {name}.astype(np.float32)"
    raise TypeError(f"{name}: expected float32 or float64, got {value.dtype}: {advice}")


def _plain(name: str, value: Array) -> None:
    # A matrix multiplies where an array does not, and a mask leaves values out.
    if type(value) is not np.ndarray and isinstance(value, np.matrix | np.ma.MaskedArray):
        raise TypeError(
            f"{name}: expected a plain array, got a {type(value).__name__}: pass np.asarray({name})"
        )


def float_dtype(name: str, value: DTypeLike) -> np.dtype[Any]:
    """value as a dtype, if it is float32 or float64; else a TypeError."""
    try:
        dtype = np.dtype(value)
    except TypeError:
        dtype = None
    if value is None or dtype is None or dtype not in FLOATS:
        raise TypeError(f"{name}: expected np.float32 or np.float64, got {value!r}")
    return dtype


def same_dtype(x: Any, **others: Array | None) -> None:
    """TypeError unless all arrays have x's type."""
    for name, other in others.items():
        if other is not None and other.dtype != x.dtype:
            raise TypeError(
                f"{name}: expected {x.dtype} like the first array, got {other.dtype}: "
                f"pass {name}.astype(np.{x.dtype})"
            )


def has_shape(name: str, value: Array, expected: tuple[int, ...]) -> None:
    """ValueError unless value has exactly the expected shape (no broadcasting)."""
    if value.shape != expected:
        raise ValueError(f"{name}: expected shape {expected}, got {value.shape}")


def batch(name: str, value: Any, features: int | None = None) -> Array:
    """A float array of two axes or more, not empty, with `features` entries on its last axis."""
    array = float_array(name, value)
    if array.ndim < 2:
        raise ValueError(
            f"{name}: expected two axes or more, the features last, got {array.shape}: "
            f"pass {name}[np.newaxis] for a single example"
        )
    if array.size == 0:
        raise ValueError(f"{name}: expected at least one value, got the empty shape {array.shape}")
    if features is not None and array.shape[-1] != features:
        raise ValueError(
            f"{name}: expected (..., {features}), got {array.shape}"
            + features_elsewhere(name, array.shape, features)
        )
    return array


def images(name: str, value: Any, axes: int | None = None) -> Array:
    """A float array (N, ..., C), not empty; axes: how many lie between N and C, None for any."""
    array = batch(name, value)
    if array.ndim < 3 if axes is None else array.ndim != axes + 2:
        raise ValueError(f"{name}: {not_images(name, array.shape)}")
    return array


def sequences(name: str, value: Any, features: int | None = None) -> Array:
    """A float array (N, T, D), not empty, with `features` entries on its last axis."""
    array = batch(name, value, features)
    if array.ndim != 3:
        raise ValueError(f"{name}: {not_sequences(name, array.shape, features)}")
    return array


def not_sequences(name: str, shape: tuple[int, ...], features: int | None = None) -> str:
    """What was expected where an array of that shape came for sequences, and what to type.

    features: how many each step has.
    """
    advice = ""
    if shape[1:] == (features,) and features != 1:
        advice = f": pass {name}[np.newaxis] if it is one sequence; behind last_only=True "
        advice += "there are no steps"
    elif len(shape) == 2 and features not in (None, 0, 1) and shape[1] % features == 0:
        advice = f": pass {name}.reshape(len({name}), -1, {features}) if its steps lie flat"
    elif len(shape) == 2:
        advice = f": pass {name}[..., np.newaxis] if each step is one number"
    elif len(shape) == 4 and shape[3] == 1:
        advice = f": pass {name}[..., 0] if the rows of an image are the steps"
    return f"expected sequences (N, T, D), got {shape}{advice}"


def not_images(name: str, shape: tuple[int, ...]) -> str:
    """What was expected where an array of that shape came for images, and what to type."""
    advice = ""
    if len(shape) == 3:
        advice = (
            f": pass {name}[..., np.newaxis] if they have one channel, {name}[np.newaxis] if it is "
            "one image"
        )
    elif len(shape) == 2 and (side := math.isqrt(shape[1])) ** 2 == shape[1] > 1:
        advice = f": pass {name}.reshape(-1, {side}, {side}, 1) if they have one channel"
    return f"expected images (N, H, W, C), got {shape}{advice}"


def each_axis(name: str, value: Any, axes: int, *, minimum: int = 1) -> tuple[int, ...]:
    """value as a whole number for each axis: a number stands for all of them."""
    if not isinstance(value, tuple | list):
        return (integer(name, value, minimum=minimum),) * axes
    if len(value) != axes:
        raise ValueError(f"{name}: expected a number, or {axes} (one an axis), got {value!r}")
    return tuple(integer(name, each, minimum=minimum) for each in value)


def padding(value: Any, axes: int) -> Padding:
    """value as "same", "valid", or how much is added (before, after) along each axis."""
    if isinstance(value, str):
        if value not in ("same", "valid"):
            raise ValueError(
                f'padding: expected "same", "valid" or numbers of pixels, got {value!r}'
            )
        return value  # type: ignore[return-value]
    if value is None:
        raise TypeError('padding: expected "same", "valid" or numbers of pixels, got None')
    if not isinstance(value, tuple | list):
        value = (value,) * axes
    pairs = [each if isinstance(each, tuple | list) else (each, each) for each in value]
    if len(pairs) != axes or any(len(pair) != 2 for pair in pairs):
        raise ValueError(
            f"padding: expected a number, or {axes} (one an axis), each a number or a pair "
            f"(before, after), got {value!r}"
        )
    return tuple(each_axis("padding", pair, 2, minimum=0) for pair in pairs)  # type: ignore[misc]


def groups(value: Any, channels: int, name: str = "channels") -> int:
    """value as a whole number that divides the channels."""
    result = integer("groups", value, minimum=1)
    if channels % result:
        raise ValueError(f"groups: expected a divisor of the {channels} {name}, got {result}")
    return result


def features_elsewhere(name: str, shape: tuple[int, ...], features: int) -> str:
    """What to type where the features of an array of that shape seem not to lie last; or ""."""
    if len(shape) < 2:
        return ""
    for axis in (*range(1, len(shape) - 1), 0):
        if shape[axis : axis + 1] == (features,):
            return f": if axis {axis} has the features, pass np.moveaxis({name}, {axis}, -1)"
    if len(shape) > 2 and math.prod(shape[1:]) == features:
        return f": pass {name}.reshape(len({name}), -1)"
    return ""


def vector(name: str, value: Any, features: int, like: Array) -> Array:
    """A float array of shape (features,) and of like's type."""
    array = float_array(name, value)
    if array.shape != (features,):
        is_image = array.ndim == 1 and like.ndim > 2
        advice = features_elsewhere("x", like.shape, array.size) if is_image else ""
        raise ValueError(f"{name}: expected shape ({features},), got {array.shape}{advice}")
    same_dtype(like, **{name: array})
    return array


def upstream(dy: Any, like: Any) -> Array:
    """dy, if it has the shape and type of `like`: the output whose gradient it is, say."""
    dy = float_array("dy", dy)
    has_shape("dy", dy, like.shape)
    same_dtype(like, dy=dy)
    return dy


def output(
    out: Any, shape: tuple[int, ...], dtype: np.dtype[Any], kept: Sequence[Array | None] = ()
) -> Array:
    """out, checked, or a new array. `kept` are arrays that out must not overlap."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.dtype != dtype or out.shape != shape:
        got = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else _kind(out)
        raise (ValueError if isinstance(out, np.ndarray) else TypeError)(
            f"out: expected a {dtype} array of shape {shape}, got {got}"
        )
    _plain("out", out)
    if not out.flags.writeable:
        raise ValueError("out: expected a writable array, got a read-only one: pass a copy")
    if any(other is not None and _overlap(out, other) for other in kept):
        raise ValueError("out: overlaps an array that is still needed: pass another one")
    return out


def _overlap(a: Array, b: Array) -> bool:
    try:
        return np.shares_memory(a, b, max_work=10_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True


def number(
    name: str,
    value: Any,
    *,
    minimum: float = -math.inf,
    below: float = math.inf,
    above: float = -math.inf,
) -> float:
    """value as a finite Python float with minimum <= value < below and value > above."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(
        value, (int, float, np.integer, np.floating)
    ):
        raise TypeError(f"{name}: expected a number, got {_kind(value)}")
    try:
        result = float(value)
    except OverflowError:
        raise ValueError(
            f"{name}: expected a finite number, got one that a float cannot hold"
        ) from None
    if not (math.isfinite(result) and minimum <= result < below and result > above):
        bounds = [
            f"at least {minimum:g}" if minimum > -math.inf else "",
            f"above {above:g}" if above > -math.inf else "",
            f"below {below:g}" if below < math.inf else "",
        ]
        wanted = " and ".join(bound for bound in bounds if bound)
        raise ValueError(f"{name}: expected a finite number {wanted}".rstrip() + f", got {value}")
    return result


def share(name: str, value: Any) -> float:
    """value as a Python float from 0 to 1."""
    result = number(name, value, minimum=0.0)
    if result > 1:
        raise ValueError(f"{name}: expected a number from 0 to 1, got {value}")
    return result


def epsilon(value: Any, dtype: np.dtype[Any]) -> float:
    """value as a Python float that dtype does not round to 0, or 0."""
    result = number("epsilon", value, minimum=0.0)
    if 0 < result < (smallest := float(np.finfo(dtype).tiny)):
        raise ValueError(f"epsilon: expected 0, or at least {smallest:g} in {dtype}, got {value}")
    return result


def integer(name: str, value: Any, *, minimum: int | None = None) -> int:
    """value as a Python int of at least minimum."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected a whole number, got {_kind(value)}")
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: expected a whole number, got {_kind(value)}") from None
    if minimum is not None and result < minimum:
        raise ValueError(f"{name}: expected at least {minimum}, got {result}")
    return result


def items(name: str, value: Any, kind: str, *, single: type | None = None) -> list[Any]:
    """What value holds, as a list; a TypeError if it is no list of that kind but a single thing.

    single: what is a single thing even if it holds others.
    """
    if single is None or not isinstance(value, single):
        with suppress(TypeError):
            return list(iter(value))
    text = repr(value)
    short = len(text) <= 80 and "\n" not in text and not text.startswith("<")
    got, typed = (text, text) if short else (_kind(value), name)
    advice = "" if value is None else f": pass [{typed}]"
    raise TypeError(f"{name}: expected a list of {kind}, got {got}{advice}")


def flag(name: str, value: Any) -> bool:
    """value as a Python bool; numbers and strings are refused."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {_kind(value)}")
    return bool(value)


def mask(name: str, value: Any, shape: tuple[int, ...]) -> Array:
    """value, if it is an array of bools of that shape."""
    if not isinstance(value, np.ndarray) or value.dtype != np.bool_:
        got = str(value.dtype) if isinstance(value, np.ndarray) else _kind(value)
        advice = f"pass np.asarray({name}, dtype=bool)"
        if np.ndim(value) == 1 and getattr(value, "dtype", None) != np.bool_:
            advice = "pass np.arange(steps) < np.asarray(lengths)[:, np.newaxis]"
        raise TypeError(f"{name}: expected an array of bools, got {got}: {advice}")
    _plain(name, value)
    if value.shape != shape and value.shape == shape[::-1]:
        raise ValueError(f"{name}: expected shape {shape}, got {value.shape}: pass {name}.T")
    has_shape(name, value, shape)
    return value


def row_mask(name: str, value: Any, rows: int) -> Array:
    """value, if it is an array of bools (rows, ...)."""
    shape = np.shape(value)
    return mask(name, value, (rows, *shape[1:]) if shape else (rows,))


def kept_rows(name: str, value: Any, shape: tuple[int, ...]) -> int:
    """How many rows a mask of that shape keeps, at least one."""
    if not (rows := int(np.count_nonzero(mask(name, value, shape)))):
        raise ValueError(f"{name}: expected one True at least, got none")
    return rows


def choice(name: str, value: Any, choices: Sequence[str]) -> str:
    """value, if it is one of choices."""
    if not isinstance(value, str) or value not in choices:
        wanted = " or ".join(repr(each) for each in choices)
        raise ValueError(f"{name}: expected {wanted}, got {value!r}")
    return value


def mode(training: Any, statistics: Any) -> Statistics:
    """Which statistics a forward pass uses: the batch's in training, else the population's."""
    training = flag("training", training)
    if statistics is None:
        return "batch" if training else "population"
    return choice("statistics", statistics, ("batch", "population"))  # type: ignore[return-value]


def generator(rng: Any, name: str = "rng") -> np.random.Generator:
    """A Generator from a Generator, a seed, or None (fresh, not reproducible)."""
    if isinstance(rng, np.random.Generator):
        return rng
    if rng is None or isinstance(rng, np.random.SeedSequence):
        return np.random.default_rng(rng)
    try:
        return np.random.default_rng(integer(name, rng, minimum=0))
    except TypeError:
        raise TypeError(
            f"{name}: expected a numpy.random.Generator, a seed or None, got {_kind(rng)}"
        ) from None


def labels(
    value: Any,
    shape: tuple[int, ...],
    classes: int | None = None,
    name: str = "labels",
    ignored: int | None = None,
) -> NDArray[Any]:
    """value, if it has that shape and integers from 0 to classes - 1, or the ignored one."""
    if not isinstance(value, np.ndarray):
        raise TypeError(
            f"{name}: expected an integer array, got {_kind(value)}: pass np.asarray({name})"
        )
    _plain(name, value)
    if value.ndim == len(shape) + 1:
        axes = len(shape)
        advice = f": pass {name}.argmax({axes}) if they are one-hot"
        if value.shape[-1] == 1:
            advice = f": pass {name}[{axes * ':, '}0]"
        elif value.shape == (1, *shape):
            advice = f": pass {name}[0]"
        elif value.size and value.dtype.kind in "iu" and value.max() > 1:
            advice = ""
        raise ValueError(f"{name}: expected shape {shape}, got {value.shape}{advice}")
    if value.dtype.kind not in "iu":
        raise TypeError(
            f"{name}: expected integers, got {value.dtype}: pass {name}.astype(np.int64)"
        )
    has_shape(name, value, shape)
    counted = value if ignored is None else value[value != ignored]
    if classes is not None and (counted.size or ignored is None):
        low, high = int(counted.min()), int(counted.max())
        if low < 0 or high >= classes:
            culprit = low if low < 0 else high
            raise ValueError(f"{name}: expected classes 0 to {classes - 1}, got {culprit}")
    return value


def labels_of(
    value: Any, outputs: tuple[int, ...], name: str = "labels", ignored: int | None = None
) -> NDArray[Any]:
    """value, if it has a label for each place of outputs of that shape (..., classes)."""
    if len(outputs) < 2:
        raise ValueError(f"{name}: expected outputs (N, classes), got {outputs}")
    if len(outputs) > 2 and np.shape(value) == outputs[:1]:
        advice = "write last_only=True in the last layer with steps" if len(outputs) == 3 else ""
        raise ValueError(
            f"{name}: expected shape {outputs[:-1]} for outputs {outputs}, got {outputs[:1]}, "
            f"one label an example: {advice or 'write Flatten() before the first Dense'}"
        )
    return labels(value, outputs[:-1], outputs[-1], name, ignored)


def labels_behind_mask(name: str, value: Array, mask: Array | None, ignored: int | None) -> None:
    """ValueError where labels of steps that a mask leaves out would count in a loss."""
    if mask is None or value.shape != mask.shape or value.ndim < 2:
        return
    if ignored is None or (value[~mask] != ignored).any():
        if mask.all():
            return
        label = -1 if ignored is None else ignored
        raise ValueError(
            f"{name}: labels of masked steps would count in the loss: set {name}[~mask] = {label}, "
            f"and pass loss=functools.partial(softmax_cross_entropy, ignored_label={label})"
        )


def optimizer(value: Any) -> None:
    """One of `npbn.optimizers`, which stands below the rooms that ask."""
    if isinstance(value, type) or not (hasattr(value, "bind") and hasattr(value, "_step")):
        hint = f": write {value.__name__}(...)" if isinstance(value, type) else ""
        raise TypeError(f"optimizer: expected SGD, RMSProp or Adam, got {value!r}{hint}")


def shortened(value: Any) -> str:
    """What a file holds, for a message: one line, not long, and nothing that a terminal obeys."""
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


def _kind(value: Any) -> str:
    text = repr(value)
    name = type(value).__name__
    return f"{name} {text}" if len(text) <= 40 and "\n" not in text else f"a {name}"


class Setting:
    """An attribute of a layer or an optimizer that is checked by one function whenever it is set.

        @Setting
        def rate(self, value): return number("rate", value, minimum=0.0, below=1.0)

    The owner's `_changed()` is called then.
    """

    def __init__(self, check: Callable[[Any, Any], Any]) -> None:
        self._check, self.__doc__ = check, check.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, owner: Any, kind: type | None = None) -> Any:
        return self if owner is None else vars(owner)[self._name]

    def __set__(self, owner: Any, value: Any) -> None:
        vars(owner)[self._name] = self._check(owner, value)
        owner._changed()


# What others call the arguments and attributes that npbn has.
_ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    "affine": ("center", "scale"),
    "alpha": ("slope", "rho"),
    "b": ("bias",),
    "beta1": ("beta_1",),
    "beta2": ("beta_2",),
    "betas": ("beta_1", "beta_2"),
    "bias": ("use_bias",),
    "clipnorm": ("max_norm",),
    "clip_norm": ("max_norm",),
    "count_include_pad": ("count_padding",),
    "decay": ("weight_decay",),
    "dilation_rate": ("dilation",),
    "dmax": ("d_max",),
    "elementwise_affine": ("center", "scale"),
    "eps": ("epsilon",),
    "eta": ("learning_rate",),
    "freeze": ("frozen",),
    "global_clipnorm": ("max_norm",),
    "ghost_batch_size": ("ghost_size",),
    "hidden_size": ("units",),
    "in_dim": ("in_features",),
    "in_features": ("in_channels",),
    "input_dim": ("in_features",),
    "input_size": ("in_features",),
    "kernel": ("weight", "input_weight"),
    "kernel_size": ("size",),
    "lr": ("learning_rate",),
    "max_length": ("steps",),
    "max_grad_norm": ("max_norm",),
    "moving_mean": ("population_mean",),
    "moving_stddev": ("population_std",),
    "moving_variance": ("population_variance",),
    "negative_slope": ("slope",),
    "normalized_shape": ("features",),
    "num_channels": ("features",),
    "num_features": ("features",),
    "num_groups": ("groups",),
    "num_steps": ("steps",),
    "num_units": ("units",),
    "out_channels": ("filters",),
    "out_dim": ("out_features",),
    "out_features": ("filters",),
    "p": ("rate",),
    "pool_size": ("size",),
    "random_state": ("rng",),
    "recurrent_kernel": ("recurrent_weight",),
    "renorm_clipping": ("r_max", "d_max"),
    "renorm_momentum": ("momentum",),
    "rmax": ("r_max",),
    "running_mean": ("population_mean",),
    "running_std": ("population_std",),
    "running_var": ("population_variance",),
    "seed": ("rng",),
    "seq_len": ("steps",),
    "strides": ("stride",),
    "time_steps": ("steps",),
    "timesteps": ("steps",),
    "unbiased": ("unbiased_population",),
    "units": ("out_features",),
    "virtual_batch_size": ("ghost_size",),
    "W": ("weight",),
    "weights": ("weight",),
}

# What else is asked of recurrent layers.
_OF_SEQUENCES = {
    "activation": "its equations are fixed, with tanh",
    "batch_first": "sequences are (N, T, D)",
    "bias": "it has one",
    "dropout": "write Dropout(rate) as a layer of its own before it",
    "num_layers": "write one layer behind another",
    "return_sequences": "write last_only=, which is its opposite",
    "use_bias": "it has one",
}


class Settings:
    """What has settings: arguments that it is made with, most of them attributes to be set later.

    An argument of another name is a TypeError that says the right one. So is, as an AttributeError,
    an attribute, of npbn's own classes: a reader's subclass may have attributes of its own.
    """

    def __new__(cls, *args: Any, **options: Any) -> Self:
        kind: Any = cls
        unnamed, known = _arguments(kind)
        if known is None:
            return super().__new__(cls)
        for name in options:
            if name not in known:
                raise TypeError(f"{cls.__name__}: no argument {name!r}: {_advice(name, known)}")
        if len(args) > unnamed:
            named = ", ".join(f"{name}=" for name in known[unnamed:])
            advice = f"name the others, {named}" if named else "pass one list"
            raise TypeError(
                f"{cls.__name__}: expected {unnamed or 'no'} positional argument"
                f"{'s' * (unnamed != 1)}, got {len(args)}{f': {advice}' if unnamed else ''}"
            )
        return super().__new__(cls)

    def __setattr__(self, name: str, value: Any) -> None:
        if name[0] != "_" and type(self).__module__.startswith("npbn."):
            self._check_name(name)
        object.__setattr__(self, name, value)

    def _check_name(self, name: str) -> None:
        """AttributeError unless it is a setting, or an argument that is not yet set."""
        kind: Any = type(self)
        known = _arguments(kind)[1] or ()
        attribute = inspect.getattr_static(kind, name, None)
        if isinstance(attribute, property) and attribute.fset is None:
            raise AttributeError(f"{kind.__name__}: {name} cannot be set, only read")
        if hasattr(attribute, "__set__") or (name in known and name not in vars(self)):
            return
        if name in known:
            raise AttributeError(
                f"{kind.__name__}: {name} stays as it was made: make another {kind.__name__}"
            )
        settings = _settings(kind)
        right = _right_names(name, settings)
        text = f", it is {' and '.join(right)}" if right else ""
        advice = f"set one of {', '.join(settings)}" if settings else "it has none"
        raise AttributeError(f"{kind.__name__}: no setting {name!r}{text}: {advice}")


@lru_cache(maxsize=64)
def _arguments(kind: type) -> tuple[int, tuple[str, ...] | None]:
    """How many arguments a class takes without a name, and the names of all; None: any."""
    parameters = list(inspect.signature(kind.__init__).parameters.values())[1:]  # type: ignore[misc]
    if any(each.kind in (each.VAR_KEYWORD, each.VAR_POSITIONAL) for each in parameters):
        return 0, None
    unnamed = [each.name for each in parameters if each.kind is not each.KEYWORD_ONLY]
    return len(unnamed), tuple(each.name for each in parameters)


@lru_cache(maxsize=64)
def _settings(kind: type) -> tuple[str, ...]:
    """The names of the attributes that may be set, the arguments first."""
    own = [
        name
        for each in kind.__mro__
        for name, value in vars(each).items()
        if name[0] != "_" and hasattr(value, "__set__") and not isinstance(value, property)
    ]
    known = _arguments(kind)[1] or ()
    return (*(name for name in known if name in own), *(name for name in own if name not in known))


def _right_names(name: str, known: Sequence[str]) -> list[str]:
    """What a name from elsewhere is called here."""
    return [each for each in _ELSEWHERE.get(name, ()) if each in known]


def _advice(name: str, known: Sequence[str]) -> str:
    if "last_only" in known and name in _OF_SEQUENCES:
        return _OF_SEQUENCES[name]
    if name == "activation":
        return "write the activation as a layer of its own behind it, ReLU() say"
    if right := _right_names(name, known):
        return f"write {' and '.join(f'{each}=' for each in right)}"
    return f"it takes {', '.join(known)}" if known else "it takes none"
