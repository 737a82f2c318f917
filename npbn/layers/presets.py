"""How batch norm is set elsewhere: the settings behind `BatchNorm.like`."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Preset(NamedTuple):
    """Another implementation's defaults, in npbn's terms.

    name: what it is called. momentum: the weight of the old population statistics; of those that
    state the weight of the new ones it is 1 - that. unbiased_population: whether the population
    variance is over m - 1. first_variance: what the population variance starts at (all means start
    at 0, gamma at 1, beta at 0). source: where this stands.
    """

    name: str
    momentum: float
    epsilon: float
    unbiased_population: bool
    first_variance: float
    source: str


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "cs231n": Preset(
            "Stanford CS231n, assignment 2",
            momentum=0.9,
            epsilon=1e-5,
            unbiased_population=False,
            first_variance=0.0,
            source="cs231n/layers.py, batchnorm_forward",
        ),
        "deep_learning_from_scratch": Preset(
            "Deep Learning from Scratch (Saitoh 2016)",
            momentum=0.9,
            epsilon=10e-7,
            unbiased_population=False,
            first_variance=0.0,
            source="common/layers.py, BatchNormalization",
        ),
        "dezero": Preset(
            "DeZero (Deep Learning from Scratch 3)",
            momentum=0.9,
            epsilon=2e-5,
            unbiased_population=True,
            first_variance=1.0,
            source="dezero/functions.py, batch_norm; dezero/layers.py, BatchNorm",
        ),
        # In training its own divides by the root of the variance over m - 1 too.
        "makemore": Preset(
            "makemore (Neural Networks: Zero to Hero)",
            momentum=1 - 0.1,
            epsilon=1e-5,
            unbiased_population=True,
            first_variance=1.0,
            source="makemore_part3_bn.ipynb, BatchNorm1d",
        ),
        "d2l": Preset(
            "Dive into Deep Learning",
            momentum=1 - 0.1,
            epsilon=1e-5,
            unbiased_population=False,
            first_variance=1.0,
            source="chapter_convolutional-modern/batch-norm.md",
        ),
        "pytorch": Preset(
            "PyTorch",
            momentum=1 - 0.1,
            epsilon=1e-5,
            unbiased_population=True,
            first_variance=1.0,
            source="torch.nn.BatchNorm1d, BatchNorm2d",
        ),
        "keras": Preset(
            "Keras 3",
            momentum=0.99,
            epsilon=1e-3,
            unbiased_population=False,
            first_variance=1.0,
            source="keras.layers.BatchNormalization",
        ),
        "tensorflow_1": Preset(
            "TensorFlow 1, as in Udacity's lesson",
            momentum=0.99,
            epsilon=1e-3,
            unbiased_population=False,
            first_variance=1.0,
            source="Batch_Normalization_Lesson.ipynb; tf.layers.batch_normalization",
        ),
    }
)
