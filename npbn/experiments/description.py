"""What a training run is: a small frozen description, and the network that it starts from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

from npbn import _checks as checks
from npbn import _html
from npbn.layers import BatchNorm, Dense, Layer, LeakyReLU, ReLU, Sigmoid, Tanh
from npbn.layers.initial import normal_weights
from npbn.network import Sequential

ACTIVATIONS: Mapping[str, type[Layer]] = MappingProxyType(
    {"relu": ReLU, "leaky_relu": LeakyReLU, "sigmoid": Sigmoid, "tanh": Tanh}
)
DATA = ("mnist", "fashion", "digits")

IMAGE_SIZE = 784
CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Run:
    """All that a training run depends on, less the machine: the same Run gives the same bits there.

    A network of fully connected layers is trained on images of 784 pixels in 10 classes by plain
    gradient descent on the softmax cross entropy.

    Parameters
    ----------
    batch_norm : bool
        Whether each hidden layer is normalized, between its product and its activation.
    learning_rate : float
        Of the gradient descent.
    activation : "relu", "leaky_relu", "sigmoid" or "tanh"
    weight_std : float or None
        The initial weights' standard deviation; None: sqrt(2 / inputs) (He et al. 2015).
    hidden : tuple of int
        The widths of the hidden layers.
    batches, batch_size : int
        How many steps, of how many images.
    batches_per_sample : int
        The validation accuracy is sampled after each step, counted from 0, that it divides.
    seed : int
        For weights and batches; runs that differ in batch_norm alone share both.
    data : "mnist", "fashion" or "digits"
        The last are the 5,000 that npbn carries.
    training_images : int or None
        Train on the first so many only; None: on all.

    Raises
    ------
    TypeError, ValueError
        For values out of range.
    """

    batch_norm: bool
    learning_rate: float
    activation: str = "relu"
    weight_std: float | None = 0.05
    hidden: tuple[int, ...] = (100, 100, 100)
    batches: int = 50_000
    batches_per_sample: int = 500
    batch_size: int = 60
    seed: int = 0
    data: str = "mnist"
    training_images: int | None = None

    def __post_init__(self) -> None:
        def set_checked(name: str, value: Any) -> None:
            object.__setattr__(self, name, value)

        checks.flag("batch_norm", self.batch_norm)
        checks.choice("activation", self.activation, tuple(ACTIVATIONS))
        checks.choice("data", self.data, DATA)
        set_checked("learning_rate", checks.number("learning_rate", self.learning_rate, minimum=0))
        if self.weight_std is not None:
            set_checked("weight_std", checks.number("weight_std", self.weight_std, minimum=0))
        widths = tuple(
            checks.integer("hidden", each, minimum=1)
            for each in checks.items("hidden", self.hidden, "widths")
        )
        set_checked("hidden", widths)
        for name, minimum in (
            ("batches", 1),
            ("batches_per_sample", 1),
            ("batch_size", 2 if self.batch_norm else 1),
            ("seed", 0),
        ):
            set_checked(name, checks.integer(name, getattr(self, name), minimum=minimum))
        if self.training_images is not None:
            checks.integer("training_images", self.training_images, minimum=self.batch_size)

    def __str__(self) -> str:
        """All that is not the default, in a line."""
        always = ("batch_norm", "learning_rate", "activation", "weight_std", "seed")
        return json.dumps(
            {
                each.name: value
                for each in fields(self)
                if (value := getattr(self, each.name)) != each.default or each.name in always
            }
        )

    def _repr_html_(self) -> str:
        return _html.block(_html.fields(self))


def build(run: Run) -> Sequential:
    """The network that the run starts from."""
    weights = normal_weights((IMAGE_SIZE, *run.hidden, CLASSES), run.weight_std, run.seed)
    layers: list[Layer] = []
    for weight in weights[:-1]:
        layers.append(Dense(*weight.shape, use_bias=not run.batch_norm, weight=weight))
        if run.batch_norm:
            layers.append(BatchNorm(weight.shape[1]))
        layers.append(ACTIVATIONS[run.activation]())
    return Sequential([*layers, Dense(*weights[-1].shape, weight=weights[-1])])
