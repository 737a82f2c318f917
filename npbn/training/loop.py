"""The training loop: sampling, a progress bar, interruption, divergence, checkpoints."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path

import numpy as np

from npbn import _checks as checks
from npbn._blas import one_blas_thread
from npbn._interruption import interruptible
from npbn._progress import progress_bar
from npbn.functional import softmax_cross_entropy
from npbn.network import Sequential
from npbn.network.evaluation import evaluated
from npbn.network.loss import LossFunction
from npbn.optimizers import Optimizer
from npbn.training._history import History, add_sample
from npbn.training.run import Data, Run, check_data, check_finite, mask_of


def training_steps(
    network: Sequential,
    data: Data,
    *,
    optimizer: Optimizer,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int = 60,
    seed: int = 0,
    loss: LossFunction = softmax_cross_entropy,
) -> Iterator[tuple[int, float]]:
    """Train, one step at a time: a generator of (step, loss) after each update.

    Each step takes a batch of batch_size rows, shuffled anew every epoch; every batch is full, the
    rest of an epoch being joined with the first rows of the next.

    Parameters
    ----------
    network : Sequential
    data : tuple
        Images (N, ...) of the network's type, and targets that the loss takes: integer labels (N,)
        if none is given.
    optimizer : Optimizer
    steps, epochs : int or None
        One of them: steps, or epochs for as many steps as show every row so often, rounded up.
    batch_size : int
    seed : int or numpy.random.Generator
        Orders the batches. The same seed in another call gives the same batches again: a loop
        around short calls would see a few rows alone. Make all steps in one call, or pass one
        Generator to all of them.
    loss : function
        `functional.softmax_cross_entropy`, `functional.squared_error` for regression (targets like
        the network's output, of its type), or any function (outputs, targets) -> (loss, gradient),
        whose gradient is like the outputs. Options are given by `functools.partial`:
        ``loss=partial(functional.softmax_cross_entropy, label_smoothing=0.1)``.

    Yields
    ------
    step : int
        Counted from 0.
    loss : float
        The batch's, before the update, also where it is not finite.

    Raises
    ------
    TypeError, ValueError
        Before the first step, for arguments that do not go together.

    Examples
    --------
    ::

        for step, loss in training_steps(network, data.train, optimizer=SGD(0.01), steps=2000):
            print(step, loss)
    """
    run = Run(
        network,
        data,
        optimizer,
        steps=steps,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        loss=loss,
    )
    run.tell_repetition()
    return run.remaining_steps()


def fit(
    network: Sequential,
    train: Data,
    validation: Data | None = None,
    *,
    optimizer: Optimizer,
    steps: int | None = None,
    epochs: int | None = None,
    batch_size: int = 60,
    sample_every: int = 500,
    sample_training: int | None = None,
    seed: int = 0,
    loss: LossFunction = softmax_cross_entropy,
    callback: Callable[[Sequential, History], bool | None] | None = None,
    progress: bool = True,
    on_divergence: str = "raise",
    checkpoint: str | PathLike[str] | None = None,
    checkpoint_every: int = 1000,
    resume: bool = False,
) -> History:
    """Train a network, take samples on the way, and return the History.

    After every step that sample_every divides, steps being counted from 0, validation loss and,
    where the targets are labels, accuracy are sampled with population statistics.

    Parameters
    ----------
    network : Sequential
    train, validation : tuple
        Pairs of images (N, ...) of the network's type and targets, integer labels (N,), or (N, T)
        where the network's outputs have steps, unless the loss takes others; of sequences of
        unequal length three, with a mask of bools (N, T), which goes to the layers that take one.
        Labels of masked steps are to be the loss's ignored_label.
    optimizer : Optimizer
    steps, epochs, batch_size, seed, loss
        As for `training_steps`; seed=0 in each of many calls gives the same batches each time.
    sample_every : int
        How many steps a sample.
    sample_training : int or None
        Of how many training rows, evenly spaced ones, loss and accuracy are sampled as well.
    callback : function or None
        callback(network, history) is called after each sample: where it returns True the run ends.
    progress : bool
        Whether a terminal or a notebook shows a bar.
    on_divergence : "raise" or "record"
        What to do about a loss that is not finite. "raise": a RuntimeError that names the step and
        the layer where it began, before the update. "record": complete that step's update, stop,
        note the step in the History, and fill the remaining samples with what the network is worth
        then.
    checkpoint : path or None
        A file to write every checkpoint_every steps and at the end, atomically: network, optimizer,
        generators, place in the data, history.
    checkpoint_every : int
    resume : bool
        True goes on from the checkpoint, if it is there, to the same bits as if the run had never
        stopped; steps counts from the very start and is no less than were done; a schedule is asked
        again for its first and last rate, and a loss function of yours for its last loss, which
        must be as they were. A run that its callback ended goes on only without one.

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError
        For arguments that do not go together, or data that are not finite.
    RuntimeError
        For a loss that is not finite, with on_divergence="raise".
    OSError
        Where the checkpoint cannot be written, on a full disk say: the file is the old one, the
        network keeps what it learnt, and the error's `history` is the History so far.

    Notes
    -----
    Ctrl-C ends the run after the running step, and the History says so; a second Ctrl-C raises
    KeyboardInterrupt.

    BLAS is limited to one thread meanwhile: same description, machine, NumPy and BLAS, same bits.
    """
    checks.choice("on_divergence", on_divergence, ("raise", "record"))
    sample_every = checks.integer("sample_every", sample_every, minimum=1)
    if sample_training is not None:
        sample_training = checks.integer("sample_training", sample_training, minimum=1)
    checkpoint_every = checks.integer("checkpoint_every", checkpoint_every, minimum=1)
    if checks.flag("resume", resume) and checkpoint is None:
        raise ValueError("resume: expected a file to resume from: pass checkpoint=path as well")
    checks.flag("progress", progress)
    if callback is not None and not callable(callback):
        raise TypeError(f"callback: expected a function (network, history), got {callback!r:.60}")
    if checkpoint is not None:
        checkpoint = _file_name(checkpoint)
    run = Run(
        network,
        train,
        optimizer,
        steps=steps,
        epochs=epochs,
        batch_size=batch_size,
        seed=seed,
        loss=loss,
        name="train",
        sample_every=sample_every,
        sample_training=sample_training,
    )
    check_finite("train", run.data, run.loss)
    if validation is not None:
        validation = check_data("validation", validation, network, run.loss, run.row_shape)
        check_finite("validation", validation, run.loss)
    if resume and checkpoint is not None and Path(checkpoint).exists():
        run.load(checkpoint, on_divergence)
    else:
        run.tell_repetition()
    if checkpoint is not None:
        run.check_save(checkpoint)
    history = run.history
    if callback is None:
        history.stopped_at = None
    before, started = history.seconds, time.perf_counter()
    sampled = _samples(run, validation, sample_training)

    with (
        one_blas_thread(),
        interruptible() as interruption,
        progress_bar(run.steps, enabled=progress, initial=run.step) as bar,
    ):
        if history.diverged_at is None and history.stopped_at is None:
            for step, loss_before in run.remaining_steps(on_divergence):
                history.losses.append(loss_before)
                if step % sample_every == 0:
                    if sampled:
                        found = _measured(run, sampled)
                        add_sample(history, [step], found)
                        bar.set_postfix_str(_shown(found))
                    if callback is not None:
                        history.seconds = before + time.perf_counter() - started
                        if _says_stop(callback(network, history)):
                            history.stopped_at = step
                bar.update()
                if not math.isfinite(loss_before):
                    history.diverged_at = step
                if interruption.requested or step in (history.diverged_at, history.stopped_at):
                    break
                if checkpoint is not None and run.step % checkpoint_every == 0:
                    history.seconds = before + time.perf_counter() - started
                    run.save(checkpoint)
        found = _measured(run, sampled)
        history.final_validation_accuracy = found.get("validation_accuracies")
        history.final_validation_loss = found.get("validation_losses")
        history.final_training_accuracy = found.get("training_accuracies")
        if history.diverged_at is not None and sampled:
            # Without validation until the resume, what came before nobody knows.
            first = max([history.diverged_at, *(step + 1 for step in history.sample_steps)])
            missed = [step for step in range(0, run.steps, sample_every) if step >= first]
            add_sample(history, missed, found)
        history.seconds = before + time.perf_counter() - started
        ended = history.diverged_at is not None or history.stopped_at is not None
        history.interrupted = interruption.requested and run.step < run.steps and not ended
    if checkpoint is not None:
        run.save(checkpoint)
    return history


def _samples(run: Run, validation: Data | None, sample_training: int | None) -> dict[str, Data]:
    """The data that samples are taken of."""
    samples = {} if validation is None else {"validation": validation}
    if sample_training is not None:
        total = len(run.data[0])
        count = min(sample_training, total)
        # Not the first ones: data may be sorted.
        rows = np.arange(count) * total // count
        samples["training"] = tuple(each[rows] for each in run.data)  # type: ignore[assignment]
    return samples


def _measured(run: Run, samples: dict[str, Data]) -> dict[str, float | None]:
    """The values of a sample, named like the History's lists."""
    found: dict[str, float | None] = {}
    for name, data in samples.items():
        what = evaluated(
            run.network, *data[:2], run.loss, "population", f"{name}[1]", mask_of(data)
        )
        found[f"{name}_accuracies"], found[f"{name}_losses"] = what.accuracy, what.loss
    return found


def _shown(found: dict[str, float | None]) -> str:
    """What a progress bar says of a sample."""
    name = "validation" if "validation_losses" in found else "training"
    accuracy, loss = found[f"{name}_accuracies"], found[f"{name}_losses"]
    return f"{name} loss {loss:.4g}" if accuracy is None else f"{name} {accuracy:.4f}"


def _says_stop(answer: object) -> bool:
    if answer is None or isinstance(answer, bool | np.bool_):
        return bool(answer)
    raise TypeError(
        f"callback: expected True to end the run, or False or None, got {answer!r:.60}: "
        "return nothing"
    )


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
