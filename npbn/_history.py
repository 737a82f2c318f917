"""What happened in a training run."""

from dataclasses import dataclass, field


@dataclass
class History:
    """What happened in a training run.

    losses: the loss of each step's batch, before its update. sample_steps: the steps, counted from
    0, after which validation was sampled; validation_accuracies: what was found.
    final_validation_accuracy: after the last step; None without validation data. seconds: of the
    training loop, sampling included. diverged_at: the step whose loss was not finite, or None.
    interrupted: whether Ctrl-C ended the run early.
    """

    losses: list[float] = field(default_factory=list)
    sample_steps: list[int] = field(default_factory=list)
    validation_accuracies: list[float] = field(default_factory=list)
    final_validation_accuracy: float | None = None
    seconds: float = 0.0
    diverged_at: int | None = None
    interrupted: bool = False
