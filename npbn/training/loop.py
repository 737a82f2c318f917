"""The training loop: sampling, a progress bar, interruption, divergence, checkpoints."""

import math
import os
import time
from collections.abc import Iterator
from os import PathLike
from pathlib import Path

from npbn import _checks as checks
from npbn._blas import one_blas_thread
from npbn._history import History
from npbn._interruption import interruptible
from npbn._progress import progress_bar
from npbn.network import Sequential
from npbn.optimizers import Optimizer
from npbn.training.run import Data, Run, check_data, check_finite


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
    run = Run(network, data, optimizer, steps, batch_size, seed)
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
    start and is no less than were done, and a schedule is asked again for its first and last rate,
    which must be as they were. OSError where the file cannot be written, on a full disk say: the
    file is the old one, the network keeps what it learnt, and the error's `history` is the History
    so far.

    BLAS is limited to one thread meanwhile: same description, machine, NumPy and BLAS, same bits.
    TypeError or ValueError for arguments that do not go together, or data that are not finite.
    """
    checks.choice("on_divergence", on_divergence, ("raise", "record"))
    sample_every = checks.integer("sample_every", sample_every, minimum=1)
    checkpoint_every = checks.integer("checkpoint_every", checkpoint_every, minimum=1)
    if checks.flag("resume", resume) and checkpoint is None:
        raise ValueError("resume: expected a file to resume from: pass checkpoint=path as well")
    checks.flag("progress", progress)
    if checkpoint is not None:
        checkpoint = _file_name(checkpoint)
    run = Run(network, train, optimizer, steps, batch_size, seed, sample_every, "train")
    check_finite("train", train[0])
    if validation is not None:
        check_data("validation", validation, network, run.classes)
        check_finite("validation", validation[0])
    if resume and checkpoint is not None and Path(checkpoint).exists():
        run.load(checkpoint, on_divergence)
    if checkpoint is not None:
        run.check_save(checkpoint)
    history = run.history
    before, started = history.seconds, time.perf_counter()

    def sample() -> float:
        assert validation is not None
        return network.accuracy(*validation)

    with (
        one_blas_thread(),
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
                # Without validation until the resume, what came before nobody knows.
                first = max([history.diverged_at, *(step + 1 for step in history.sample_steps)])
                missed = [step for step in range(0, run.steps, sample_every) if step >= first]
                history.sample_steps += missed
                history.validation_accuracies += [history.final_validation_accuracy] * len(missed)
        history.seconds = before + time.perf_counter() - started
        history.interrupted = interruption.requested
    if checkpoint is not None:
        run.save(checkpoint)
    return history


def _file_name(checkpoint: str | PathLike[str]) -> str:
    """The name, where a file can be; TypeError, ValueError or FileNotFoundError where none can."""
    if not isinstance(checkpoint, str | PathLike) or isinstance(os.fspath(checkpoint), bytes):
        kind = type(checkpoint).__name__
        raise TypeError(f"checkpoint: expected a str or pathlib.Path, got a {kind}")
    path = os.fspath(checkpoint)
    if not path:
        raise ValueError("checkpoint: expected a file name, got '': pass None to keep no file")
    if os.path.expanduser(path) != path:
        raise ValueError(f"checkpoint: {path!r} has a ~: pass os.path.expanduser({path!r})")
    if not (folder := Path(path).parent).is_dir():
        raise FileNotFoundError(f"checkpoint: there is no folder {folder}: make it first")
    return path
