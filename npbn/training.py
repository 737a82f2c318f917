"""The training loop: steps, sampling, a progress bar, interruption, divergence, checkpoints."""

import math
import time
from collections.abc import Iterator
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from npbn import _checks as checks
from npbn import checkpoint as checkpoints
from npbn._checks import Array
from npbn._history import History, packed, unpacked
from npbn._interruption import interruptible
from npbn._progress import progress_bar
from npbn.datasets.batching import Minibatches, plain_state
from npbn.functional.losses import _softmax_cross_entropy, softmax_cross_entropy
from npbn.network import Sequential
from npbn.optimizers import Optimizer

Data = tuple[Array, Array]

__all__ = ["History", "fit", "training_steps"]


def training_steps(
    network: Sequential,
    data: Data,
    *,
    optimizer: Optimizer,
    steps: int,
    batch_size: int = 60,
    seed: int = 0,
) -> Iterator[tuple[int, float]]:
    """Train, one step at a time: a generator of (step, loss) after each update.

        for step, loss in training_steps(network, data.train, optimizer=SGD(0.01), steps=2000): ...

    data: images (N, ...) of the network's type and integer labels (N,). Each step takes a batch of
    batch_size rows, shuffled anew every epoch; every batch is full, the rest of an epoch being
    joined with the first rows of the next. The loss is the batch's mean softmax cross entropy, as
    it was before the update; one that is not finite is yielded as it is. seed orders the batches.
    TypeError or ValueError, before the first step, for arguments that do not go together.
    """
    run = _Run(network, data, optimizer, steps, batch_size, seed)
    return run.remaining_steps()


def fit(
    network: Sequential,
    train: Data,
    validation: Data | None = None,
    *,
    optimizer: Optimizer,
    steps: int,
    batch_size: int = 60,
    sample_every: int = 500,
    seed: int = 0,
    progress: bool = True,
    on_divergence: str = "raise",
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every: int = 1000,
    resume: bool = False,
) -> History:
    """Train a network, sample its validation accuracy on the way, and return the History.

    train, validation: pairs of images (N, ...) of the network's type and integer labels (N,).
    steps, batch_size, seed: as for `training_steps`. Validation accuracy is sampled, with
    population statistics, after every step that sample_every divides, steps being counted from 0.
    progress: show a bar in a terminal or a notebook. Ctrl-C ends the run after the running step,
    and the History says so; a second Ctrl-C raises KeyboardInterrupt.

    on_divergence: what to do about a loss that is not finite. "raise": a RuntimeError that names
    the step and the layer where it began, before the update. "record": complete that step's update,
    stop, note the step in the History, and fill the remaining samples with the network's accuracy
    then.

    checkpoint: a file to write every checkpoint_every steps and at the end, atomically: network,
    optimizer, generators, place in the data, history. With resume=True a run goes on from that
    file, if it is there, to the same bits as if it had never stopped; `steps` counts from the very
    start.

    BLAS is limited to one thread meanwhile: same description, machine, NumPy and BLAS, same bits.
    TypeError or ValueError for arguments that do not go together, or data that are not finite.
    """
    checks.choice("on_divergence", on_divergence, ("raise", "record"))
    sample_every = checks.integer("sample_every", sample_every, minimum=1)
    checkpoint_every = checks.integer("checkpoint_every", checkpoint_every, minimum=1)
    if checks.flag("resume", resume) and checkpoint is None:
        raise ValueError("resume: expected a file to resume from: pass checkpoint=path as well")
    checks.flag("progress", progress)
    if checkpoint is not None and not (folder := Path(checkpoint).parent).is_dir():
        raise FileNotFoundError(f"checkpoint: there is no folder {folder}: make it first")
    run = _Run(network, train, optimizer, steps, batch_size, seed, sample_every)
    _check_finite("train", train[0])
    if validation is not None:
        _check_data("validation", validation, network)
        _check_finite("validation", validation[0])
    if resume and checkpoint is not None and Path(checkpoint).exists():
        run.load(checkpoint, on_divergence)
    history = run.history
    before, started = history.seconds, time.perf_counter()

    def sample() -> float:
        assert validation is not None
        return network.accuracy(*validation)

    from threadpoolctl import threadpool_limits

    with (
        threadpool_limits(1, user_api="blas"),
        interruptible() as interruption,
        progress_bar(run.steps, enabled=progress, initial=run.step) as bar,
    ):
        if history.diverged_at is None:
            for step, loss in run.remaining_steps(on_divergence):
                history.losses.append(loss)
                if validation is not None and step % sample_every == 0:
                    history.sample_steps.append(step)
                    history.validation_accuracies.append(sample())
                    bar.set_postfix_str(f"validation {history.validation_accuracies[-1]:.4f}")
                bar.update()
                if not math.isfinite(loss):
                    history.diverged_at = step
                    break
                if interruption.requested:
                    break
                if checkpoint is not None and run.step % checkpoint_every == 0:
                    history.seconds = before + time.perf_counter() - started
                    run.save(checkpoint)
        if validation is not None:
            history.final_validation_accuracy = sample()
            if history.diverged_at is not None:
                missed = range(0, run.steps, sample_every)[len(history.sample_steps) :]
                history.sample_steps += missed
                history.validation_accuracies += [history.final_validation_accuracy] * len(missed)
        history.seconds = before + time.perf_counter() - started
        history.interrupted = interruption.requested
    if checkpoint is not None:
        run.save(checkpoint)
    return history


class _Run:
    """A training run at some step: all that its next steps depend on."""

    def __init__(
        self,
        network: Sequential,
        data: Data,
        optimizer: Optimizer,
        steps: int,
        batch_size: int,
        seed: int,
        sample_every: int = 1,
    ) -> None:
        if not isinstance(network, Sequential):
            raise TypeError(f"network: expected a Sequential, got {network!r}")
        if not isinstance(optimizer, Optimizer):
            hint = f": write {optimizer.__name__}(...)" if isinstance(optimizer, type) else ""
            raise TypeError(f"optimizer: expected SGD, RMSProp or Adam, got {optimizer!r}{hint}")
        self.steps = checks.integer("steps", steps, minimum=0)
        images, labels = self.data = _check_data("data", data, network)
        optimizer.check(network)
        self.settings = {"batch_size": batch_size, "seed": seed, "sample_every": sample_every}
        self.network = network
        self.optimizer = optimizer
        self.batches = Minibatches(images, labels, batch_size, checks.generator(seed))
        self.images = np.empty((batch_size, *images.shape[1:]), images.dtype)
        self.labels = np.empty(batch_size, labels.dtype)
        # Where the number of classes is known, the labels were checked once; else at each step.
        known = network._chain.output_shape is not None
        self._loss = _softmax_cross_entropy if known else softmax_cross_entropy
        self.step = 0
        self.history = History()

    def remaining_steps(self, on_divergence: str = "record") -> Iterator[tuple[int, float]]:
        """(step, loss) after each update that is still to be made."""
        while self.step < self.steps:
            loss = self._one_step(on_divergence)
            self.step += 1
            yield self.step - 1, loss

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def _one_step(self, on_divergence: str) -> float:
        network = self.network
        self.optimizer.next_rate()  # what a schedule says wrong is told before anything moves
        self.batches.next_into(self.images, self.labels)
        logits = network.forward(self.images, training=True)
        loss, dlogits = self._loss(logits, self.labels)
        if on_divergence == "raise" and not math.isfinite(loss):
            where = network._chain.first_not_finite()
            raise RuntimeError(
                f"the loss is {loss} at step {self.step}; it began in {where}: lower the learning "
                "rate or look at the initial weights"
            )
        network.backward(dlogits)
        self.optimizer.step(network)
        return loss

    def _arrays(self) -> dict[str, Array]:
        network, optimizer = self.network, self.optimizer
        arrays = {f"network.{k}": v for k, v in {**network.parameters, **network.state}.items()}
        arrays |= {f"network.digits.{name}": value for name, value in network._digits.items()}
        arrays |= {f"optimizer.{name}": value for name, value in optimizer.state.items()}
        return arrays

    def save(self, path: str | PathLike[str]) -> None:
        """Write everything that the rest of the run depends on."""
        arrays, header = packed(self.history)
        header |= self._description() | {
            "step": self.step,
            "iterations": self.optimizer.iterations,
            "batches": self.batches.state(),
            "generators": {
                name: plain_state(rng.bit_generator.state)
                for name, rng in self.network.generators.items()
            },
        }
        checkpoints.save(path, arrays | self._arrays(), header)

    def load(self, path: str | PathLike[str], on_divergence: str) -> None:
        """Go on where `save` was called; or an error, nothing changed, for another run's file."""
        arrays, header = checkpoints.load(path)
        for name, own in self._description().items():
            if header.get(name) != own:
                raise ValueError(
                    f"{path}: holds another run, its {name} is {header.get(name)}, not {own}: "
                    "pass what the run was started with, or another file"
                )
        own_arrays = {k: v for k, v in self._arrays().items() if k.startswith("network.")}
        kept = {
            name.removeprefix("optimizer."): arrays.pop(name)
            for name in list(arrays)
            if name.startswith("optimizer.")
        }
        generators = self.network.generators
        try:
            step = checks.integer("step", header["step"], minimum=0)
            history = unpacked(arrays, header, step)
            for name, rng in generators.items():
                type(rng.bit_generator)().state = header["generators"][name]
            self.batches.restore(header["batches"])
            checkpoints.check_arrays(path, arrays, own_arrays)
            vectors = dict.fromkeys(kept, self.network.parameter_vector)
            checkpoints.check_arrays(path, kept, vectors)
            if history.diverged_at is not None and on_divergence == "raise":
                raise RuntimeError(f"{path}: this run diverged at step {history.diverged_at}")
            self.optimizer.load_state(header["iterations"], kept)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(
                f"{path}: not what this run's checkpoint holds ({type(error).__name__}: {error}): "
                "pass what the run was started with, or another file"
            ) from error
        for name, rng in generators.items():
            rng.bit_generator.state = header["generators"][name]
        for name, value in own_arrays.items():
            value[...] = arrays[name]
        self.step, self.history = step, history

    @cached_property
    def _data_checksums(self) -> list[int]:
        # Once a run: for MNIST that is 170 MB to read, too much for every checkpoint.
        return [crc32(np.ascontiguousarray(each).data) for each in self.data]

    def _description(self) -> dict[str, Any]:
        return {
            "layers": self.network._description(),
            "optimizer": repr(self.optimizer),
            "data": self._data_checksums,
            **self.settings,
        }


def _check_data(name: str, data: Data, network: Sequential) -> Data:
    if not isinstance(data, tuple) or len(data) != 2:
        raise TypeError(f"{name}: expected a pair (images, labels), got a {type(data).__name__}")
    images, labels = data
    images = checks.batch(f"{name} images", images)
    network._chain.check(images[:1], False, "population")
    shape = network._chain.output_shape
    if shape is not None and len(shape) != 2:
        raise ValueError(f"network: expected an output (N, classes), got {shape} for {name}")
    classes = None if shape is None else shape[-1]
    return images, checks.labels(labels, len(images), classes, f"{name} labels")


def _check_finite(name: str, images: Array) -> None:
    for start in range(0, len(images), 1000):
        if not np.isfinite(images[start : start + 1000]).all():
            raise ValueError(f"{name} images: not finite, first in row {start} to {start + 999}")
