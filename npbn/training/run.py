"""A training run: its steps, and what of it is kept in a file."""

import copy
import math
import warnings
from collections.abc import Iterator
from functools import cached_property, partial
from os import PathLike
from typing import Any, NamedTuple, SupportsIndex
from weakref import WeakKeyDictionary
from zlib import crc32

import numpy as np

from npbn import _checks as checks
from npbn import checkpoint as checkpoints
from npbn._checks import Array
from npbn.datasets.batching import Minibatches, bit_generator_in, plain_state
from npbn.functional.losses import SoftmaxCrossEntropyOperation
from npbn.layers.plan import Mode
from npbn.layers.readers import adapted, computing, in_callers_context, runs_as_written
from npbn.network import Sequential
from npbn.network.inference import first_not_finite, known_shapes
from npbn.network.loss import Loss
from npbn.optimizers import Optimizer
from npbn.training._history import History, packed, unpacked

Data = tuple[Array, Array] | tuple[Array, Array, Array]
TRAINING = Mode(True, "batch")

LAST_LOSS = ("loss.outputs", "loss.targets", "loss.value")


class _LastRun(NamedTuple):
    """What tells whether a network's next run shows the same rows in the same order."""

    order: tuple[Any, ...]
    shown: int
    told: bool


_last_runs: WeakKeyDictionary[Sequential, _LastRun] = WeakKeyDictionary()


class Run:
    """A training run at some step: all that its next steps depend on."""

    def __init__(
        self,
        network: Sequential,
        data: Data,
        optimizer: Optimizer,
        *,
        steps: int | None,
        epochs: int | None,
        batch_size: int,
        seed: int,
        loss: Any,
        name: str = "data",
        **settings: Any,
    ) -> None:
        if not isinstance(network, Sequential):
            raise TypeError(f"network: expected a Sequential, got {network!r}")
        checks.optimizer(optimizer)
        if (steps is None) == (epochs is None):
            got = "neither" if steps is None else "both"
            raise ValueError(f"steps: expected a number of steps or epochs=, got {got}")
        batch_size = checks.integer("batch_size", batch_size, minimum=1)
        self.loss = Loss(loss)
        images = _images(name, data, network)
        self.row_shape = _output_shape(images[:batch_size], network)[1:]
        self.data = check_data(name, data, network, self.loss, self.row_shape)
        targets, mask = self.data[1], mask_of(self.data)
        if steps is not None:
            self.steps = checks.integer("steps", steps, minimum=0)
        else:
            self.steps = -(-checks.integer("epochs", epochs, minimum=0) * len(images) // batch_size)
        optimizer.check(network)
        self.rng = checks.generator(seed, "seed")
        # What a generator was at first nobody knows later; where it is now goes with the batches.
        known_seed = int(seed) if isinstance(seed, SupportsIndex) else None
        self.settings = {
            "batch_size": batch_size,
            "seed": known_seed,
            **settings,
        }
        self.network = network
        self._forward, self._backward = adapted(network.forward), adapted(network.backward)
        if runs_as_written(network):
            self._forward = partial(in_callers_context, self._forward)
            self._backward = partial(in_callers_context, self._backward)
        self.optimizer = optimizer
        self.batches = Minibatches(images, targets, batch_size, self.rng, mask)
        self.mask = None if mask is None else np.empty((batch_size, *mask.shape[1:]), bool)
        self._options = {} if mask is None else {"mask": self.mask}
        if not runs_as_written(network) and mask is None:
            try:
                network._release(network._plan_for(images[:batch_size], TRAINING))
            except ValueError as error:
                raise ValueError(f"batch_size: {batch_size} is too few: {error}") from None
        self.images = np.empty((batch_size, *images.shape[1:]), images.dtype)
        self.targets = np.empty((batch_size, *targets.shape[1:]), targets.dtype)
        self._usual_loss: SoftmaxCrossEntropyOperation | None = None
        # What a reader's layer puts out may change: then labels are checked at each step as well.
        whole = len(self.row_shape) == 1 and not any(map(runs_as_written, network._steps))
        if self.loss.is_usual and whole:
            shape = batch_size, self.row_shape[0]
            self._usual_loss = SoftmaxCrossEntropyOperation(shape, images.dtype)
            self._dlogits = np.empty(shape, images.dtype)
        # What a reader's loss was asked last, and said: that tells it from another of its name.
        self._last: tuple[Array, ...] = ()
        self.step = 0
        self.history = History()
        # [update, rate] of a schedule's first and last, which tell it from another of its name.
        self.scheduled: list[list[float]] = []

    def remaining_steps(self, on_divergence: str = "record") -> Iterator[tuple[int, float]]:
        """(step, loss) after each update that is still to be made."""
        if self.step < self.steps:
            self.optimizer.bind(self.network)
        while self.step < self.steps:
            with computing():
                loss = self._one_step(on_divergence)
            self.step += 1
            yield self.step - 1, loss

    def _one_step(self, on_divergence: str) -> float:
        network = self.network
        # What a schedule says wrong is told before anything moves.
        rate = self.optimizer.next_rate()
        if callable(self.optimizer.learning_rate):
            self.scheduled[1:] = [[self.optimizer.iterations, float(rate)]]
        self.batches.next_into(self.images, self.targets, self.mask)
        outputs = self._forward(self.images, training=True, **self._options)
        if self._usual_loss is not None:
            dy = self._dlogits
            loss = self._usual_loss.forward(np, outputs, self.targets, dy)
        else:
            # A reader's function may keep what it is given.
            targets = self.targets if self.loss.is_own else self.targets.copy()
            loss, dy = self.loss(outputs, targets)
            if not self.loss.is_own:
                self._last = outputs, targets, np.array(loss)
        if on_divergence == "raise" and not math.isfinite(loss):
            where = f"the loss, {self.loss.name}"
            if self.loss.is_own or not np.isfinite(outputs).all():
                where = first_not_finite(network._units, self.images, **self._options)
            raise RuntimeError(
                f"the loss is {loss} at step {self.step}; it began in {where}: lower the learning "
                "rate or look at the initial weights"
            )
        self._backward(dy, input_gradient=False)
        self.optimizer.step(network)
        return loss

    def _arrays(self) -> dict[str, Array]:
        network, optimizer = self.network, self.optimizer
        arrays = {f"network.{k}": v for k, v in {**network.parameters, **network.state}.items()}
        arrays |= {f"network.digits.{name}": value for name, value in network._digits.items()}
        arrays |= {f"optimizer.{name}": value for name, value in optimizer.state.items()}
        return arrays

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything that the rest of the run depends on.

        An OSError has the History with it: with the network, which is there still, nothing is lost.
        """
        try:
            checkpoints.save(path, *self._contents())
        except OSError as error:
            error.history = self.history  # type: ignore[attr-defined]
            error.add_note(
                "The network keeps what it learnt; this error's .history is the History."
            )
            raise

    def check_save(self, path: str | PathLike[str]) -> None:
        """Tell now, not after hours, that it could not be written."""
        checkpoints.check_save(path, *self._contents())

    def _contents(self) -> tuple[dict[str, Array], dict[str, Any]]:
        arrays, header = packed(self.history)
        arrays |= dict(zip(LAST_LOSS, self._last, strict=False))
        header |= self._description() | {
            "step": self.step,
            "iterations": self.optimizer.iterations,
            "scheduled": self.scheduled,
            "batches": self.batches.state(),
            "generators": {
                name: plain_state(rng.bit_generator.state)
                for name, rng in self.network.generators.items()
            },
        }
        return arrays | self._arrays(), header

    def load(self, path: str | PathLike[str], on_divergence: str) -> None:
        """Go on where `save` was called; or an error, nothing changed, for another run's file."""
        arrays, header = checkpoints.load(path)
        for name, own in self._description().items():
            if header.get(name) != own:
                held = checks.shortened(header.get(name))
                raise ValueError(
                    f"{path}: holds another run, its {name} is {held}, not {own!r}: "
                    "pass what the run was started with, or another file"
                )
        if isinstance(done := header.get("step"), int) and done > self.steps:
            raise ValueError(
                f"steps: {path} holds a run of {done!r:.60} steps, got {self.steps}: pass as many "
                "or more, as steps counts from the very start"
            )
        own_arrays = {k: v for k, v in self._arrays().items() if k.startswith("network.")}
        kept = {
            name.removeprefix("optimizer."): arrays.pop(name)
            for name in list(arrays)
            if name.startswith("optimizer.")
        }
        last = tuple(arrays.pop(name) for name in LAST_LOSS if name in arrays)
        generators = self.network.generators
        try:
            step = checks.integer("step", header["step"], minimum=0)
            history = unpacked(arrays, header, step)
            for name, rng in generators.items():
                bit_generator_in(type(rng.bit_generator), header["generators"][name])
            self.batches.check_state(header["batches"])
            checkpoints.check_arrays(path, arrays, own_arrays)
            vectors = dict.fromkeys(kept, self.network.parameter_vector)
            checkpoints.check_arrays(path, kept, vectors)
            scheduled = [self._scheduled(*each) for each in header["scheduled"]]
            self._check_loss(*last)
            if history.diverged_at is not None and on_divergence == "raise":
                raise RuntimeError(f"{path}: this run diverged at step {history.diverged_at}")
            self.optimizer.load_state(header["iterations"], kept)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            why = str(error).removeprefix(f"{path}: ")
            raise ValueError(
                f"{path}: not what this run's checkpoint holds ({type(error).__name__}: "
                f"{why:.120}): pass what the run was started with, or another file"
            ) from error
        self.batches.restore(header["batches"])
        for name, rng in generators.items():
            rng.bit_generator.state = header["generators"][name]
        for name, value in own_arrays.items():
            value[...] = arrays[name]
        self.step, self.history, self.scheduled = step, history, scheduled
        self._last = last

    def _scheduled(self, update: int, rate: float) -> list[float]:
        """Both, if the schedule says so again."""
        schedule = self.optimizer.learning_rate
        if not callable(schedule):
            raise TypeError(f"learning_rate: expected a function, got {schedule}")
        now = schedule(checks.integer("update", update, minimum=0))
        if now != checks.number("rate", rate, minimum=0):
            raise ValueError(f"learning_rate({update}): expected {rate} as before, got {now}")
        return [update, rate]

    def _check_loss(self, *last: Array) -> None:
        """ValueError unless the loss function says the same again."""
        if last:
            outputs, targets, loss = last
            now, _ = self.loss(outputs, targets)
            if not np.array_equal(now, loss, equal_nan=True):
                raise ValueError(f"loss: expected {loss} of the last batch as before, got {now}")

    def tell_repetition(self) -> None:
        """Warn, once a network, where it sees rows of its last run again and others never."""
        if self.steps:
            # A run that is refused shows nothing.
            self.optimizer._check_owner(self.network)
        images, seed = self.data[0], self.settings["seed"]
        # Some rows tell the data, in a copy as well, and in an array that is filled anew.
        some = np.ascontiguousarray(images[:: max(1, len(images) // 16)])
        order = seed, images.shape, crc32(some.data)
        shown = self.steps * self.settings["batch_size"]
        last = _last_runs.get(self.network)
        told = last is not None and last.told
        if last is not None and last.order == order and not told:
            least, most = sorted((shown, last.shown))
            if told := seed is not None and least > 0 and most < len(images):
                warnings.warn(
                    f"seed={seed}, as in the last run of this network: it sees the same {least:,} "
                    f"of {len(images):,} rows again. Ask for all steps in one call, or pass "
                    "seed=rng, one numpy.random.Generator for all calls",
                    stacklevel=3,
                )
        _last_runs[self.network] = _LastRun(order, shown, told)

    def _sharing(self) -> list[list[str]]:
        """The names of the sources of randomness that are one, the batches' being called seed."""
        names: dict[int, list[str]] = {}
        for name, rng in {"seed": self.rng, **self.network.generators}.items():
            names.setdefault(id(rng.bit_generator), []).append(name)
        return [each for each in names.values() if len(each) > 1]

    @cached_property
    def _data_checksums(self) -> list[int]:
        # Once a run: for MNIST that is 170 MB to read, too much for every checkpoint.
        return [crc32(np.ascontiguousarray(each).data) for each in self.data]

    def _description(self) -> dict[str, Any]:
        rates = self.optimizer.learning_rate
        return {
            "layers": self.network._description(),
            "loss": self.loss.description,
            "optimizer": repr(self.optimizer),
            "sharing of generators": self._sharing(),
            "checksum of rates": crc32(rates.data) if isinstance(rates, np.ndarray) else None,
            "data": self._data_checksums,
            **self.settings,
        }


def check_data(
    name: str, data: Data, network: Sequential, loss: Loss, row_shape: tuple[int, ...]
) -> Data:
    """data, if they are images that the network takes, and targets that go with its outputs."""
    images, mask = _images(name, data, network), mask_of(data)
    targets: Any = data[1]
    if images.ndim > 2 and len(images) != images.shape[1] == len(np.atleast_1d(targets)):
        raise ValueError(
            f"{name}[0]: expected {images.shape[1]} sequences (N, T, D), one for each of "
            f"{name}[1], got {images.shape}: pass np.swapaxes({name}[0], 0, 1) if axis 0 has the "
            "steps"
        )
    if mask is not None:
        if getattr(targets, "dtype", None) == np.bool_:
            raise ValueError(
                f"{name}: expected (x, targets, mask), got the mask before the targets"
            )
        checks.row_mask(f"{name}[2]", mask, len(images))
    shape = (len(images), *row_shape)
    targets = loss.check(f"{name}[1]", targets, shape, images.dtype, mask)
    return (images, targets) if mask is None else (images, targets, mask)


def mask_of(data: Data) -> Array | None:
    """Which steps of the sequences are some, if the data say so."""
    return data[2] if len(data) == 3 else None


def _images(name: str, data: Data, network: Sequential) -> Array:
    if not isinstance(data, tuple) or len(data) not in (2, 3):
        raise TypeError(
            f"{name}: expected a pair (images, targets), or with a mask of sequences three, got a "
            f"{type(data).__name__}: pass a tuple, (images, labels) or digits.train say"
        )
    name, images = f"{name}[0]", data[0]
    network._check_type(images, name)
    try:
        known_shapes(network._units, images.shape)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return images


def _output_shape(images: Array, network: Sequential) -> tuple[int, ...]:
    """The shape of the network's output."""
    *_, shape = shapes = known_shapes(network._units, images.shape)
    if len(shapes) <= len(network._units):
        # A reader's layer decides: see what a copy of it makes of a batch.
        shape = next(copy.deepcopy(network)._inferred(images, "population")).shape
    return shape


def check_finite(name: str, data: Data, loss: Loss) -> None:
    """ValueError where the images, or numbers that are npbn's own loss's targets, are not."""
    for place, array in enumerate(data):
        if place and not (loss.is_own and array.dtype.kind == "f"):
            continue
        for start in range(0, len(array), 1000):
            finite = np.isfinite(array[start : start + 1000])
            if not finite.all():
                row = start + int(np.argwhere(~finite)[0, 0])
                raise ValueError(f"{name}[{place}]: not finite, first in row {row}")
