"""What may be set and what a constructor takes: other names are refused with the right ones."""

import copy
import pickle

import numpy as np
import pytest

import npbn
from npbn import (
    LSTM,
    RNN,
    SGD,
    Adam,
    AvgPool2D,
    BatchNorm,
    BatchNormLSTM,
    BatchRenorm,
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GhostBatchNorm,
    GlobalAvgPool2D,
    GroupNorm,
    Layer,
    LayerNorm,
    LeakyReLU,
    MaxPool2D,
    ReLU,
    Residual,
    RMSProp,
    Sequential,
    Sigmoid,
    Tanh,
)
from npbn.testing import CASES


def layer_of(case, maker):
    return lambda: maker(np.random.default_rng(0), case.shapes[0], np.float32)


MAKERS = {
    **{
        type(layer_of(case, maker)()).__name__: layer_of(case, maker)
        for case in CASES.values()
        for maker in case.layers.values()
    },
    "Residual": lambda: Residual([Dense(3, 3, rng=0)]),
    "Sequential": lambda: Sequential([Dense(3, 2, rng=0)]),
    "SGD": lambda: SGD(0.1),
    "RMSProp": lambda: RMSProp(0.1),
    "Adam": lambda: Adam(0.1),
}
WITHOUT_SETTINGS = (Flatten, GlobalAvgPool2D, ReLU, Residual, Sequential, Sigmoid, Tanh)
each_maker = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def test_every_layer_and_optimizer_of_the_package_is_here():
    kinds = (each for each in vars(npbn).values() if isinstance(each, type))
    assert {kind.__name__ for kind in kinds if hasattr(kind, "__setattr__")} >= set(MAKERS)
    for kind in vars(npbn).values():
        if isinstance(kind, type) and issubclass(kind, Layer) and kind is not Layer:
            assert kind.__name__ in MAKERS


@each_maker
def test_a_setting_that_there_is_not_is_refused_and_nothing_is_set(make):
    owner = make()
    settings = "none" if isinstance(owner, WITHOUT_SETTINGS) else "set one of "
    with pytest.raises(
        AttributeError, match=f"^{type(owner).__name__}: no setting 'on': .*{settings}"
    ):
        owner.on = False
    assert not hasattr(owner, "on")


@each_maker
def test_an_argument_that_there_is_not_is_refused(make):
    kind = type(make())
    with pytest.raises(TypeError, match=f"^{kind.__name__}: no argument 'on': it takes "):
        kind(on=False)


@each_maker
@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))]
)
def test_copies_hold_the_same_settings(make, again):
    owner = make()
    assert repr(again(owner)) == repr(owner)


@pytest.mark.parametrize(
    ("make", "right"),
    [
        (lambda: SGD(lr=0.1), "write learning_rate="),
        (lambda: Adam(0.1, betas=(0.9, 0.99)), "write beta_1= and beta_2="),
        (lambda: RMSProp(0.1, alpha=0.9), "write rho="),
        (lambda: BatchNorm(3, eps=1e-5), "write epsilon="),
        (lambda: BatchNorm(3, affine=False), "write center= and scale="),
        (lambda: BatchNorm(num_features=3), "write features="),
        (lambda: Dense(3, 2, bias=False), "write use_bias="),
        (lambda: Dense(3, 2, seed=0), "write rng="),
        (lambda: Dense(3, 2, activation="relu"), r"a layer of its own behind it, ReLU\(\)"),
        (lambda: Dropout(p=0.5), "write rate="),
        (lambda: LeakyReLU(negative_slope=0.1), "write slope="),
        (lambda: ReLU(inplace=True), "it takes none$"),
        (lambda: Conv2D(1, out_channels=2, kernel_size=3), "write filters="),
        (lambda: Conv2D(in_features=1, filters=2, kernel_size=3), "write in_channels="),
        (lambda: Conv2D(1, out_features=2, kernel_size=3), "write filters="),
        (lambda: Conv2D(1, 2, 3, strides=2), "write stride="),
        (lambda: Conv2D(1, 2, 3, dilation_rate=2), "write dilation="),
        (lambda: Conv2D(1, 2, 3, bias=False), "write use_bias="),
        (lambda: Conv2D(1, 2, 3, activation="relu"), r"a layer of its own behind it, ReLU\(\)"),
        (lambda: MaxPool2D(pool_size=2), "write size="),
        (lambda: MaxPool2D(kernel_size=2), "write size="),
        (lambda: AvgPool2D(2, count_include_pad=False), "write count_padding="),
        (lambda: LSTM(3, hidden_size=4), "write units="),
        (lambda: LSTM(input_size=3, units=4), "write in_features="),
        (lambda: LSTM(3, 4, return_sequences=True), "write last_only=, which is its opposite"),
        (lambda: LSTM(3, 4, batch_first=True), r"sequences are \(N, T, D\)"),
        (lambda: LSTM(3, 4, num_layers=2), "write one layer behind another"),
        (lambda: LSTM(3, 4, recurrent_kernel=None), "write recurrent_weight="),
        (lambda: RNN(3, 4, activation="relu"), "its equations are fixed, with tanh"),
        (lambda: RNN(3, 4, dropout=0.5), r"write Dropout\(rate\) as a layer of its own"),
        (lambda: RNN(3, 4, bias=False), "it has one$"),
        (lambda: BatchNormLSTM(3, 4, max_length=9), "write steps="),
        (lambda: GroupNorm(num_groups=2, num_channels=4), "write groups="),
        (lambda: LayerNorm(normalized_shape=4), "write features="),
        (lambda: LayerNorm(4, elementwise_affine=False), "write center= and scale="),
        (lambda: BatchRenorm(4, renorm_clipping=None), "write r_max= and d_max="),
        (lambda: GhostBatchNorm(4, ghost_batch_size=2), "write ghost_size="),
    ],
)
def test_what_others_call_an_argument_is_answered_with_its_name(make, right):
    with pytest.raises(TypeError, match=f": no argument '.*': .*{right}"):
        make()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BatchNorm(3, 0.9), "BatchNorm: expected 1 positional argument, got 2: name the"),
        (lambda: Dense(3, 2, "relu"), "Dense: expected 2 positional arguments, got 3: name the"),
        (lambda: Sequential(ReLU(), ReLU()), "Sequential: expected 1 .*, got 2: pass one list$"),
        (lambda: ReLU(3), "ReLU: expected no positional arguments, got 1$"),
    ],
)
def test_an_argument_without_its_name_is_told(make, message):
    with pytest.raises(TypeError, match=f"^{message}"):
        make()


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("eps", "epsilon"),
        ("running_mean", "population_mean"),
        ("moving_variance", "population_variance"),
        ("unbiased", "unbiased_population"),
    ],
)
def test_what_others_call_a_setting_is_answered_with_its_name(name, right):
    with pytest.raises(AttributeError, match=f"no setting '{name}', it is {right}: set one of"):
        setattr(BatchNorm(3), name, 1)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (BatchNorm(3), "features"),
        (BatchNorm(3), "center"),
        (BatchNorm(3), "scale"),
        (Dense(3, 2, rng=0), "use_bias"),
        (Dense(3, 2, rng=0), "in_features"),
    ],
)
def test_what_a_layer_is_made_with_stays(owner, name):
    before = getattr(owner, name)
    with pytest.raises(AttributeError, match=f"{name} stays as it was made: make another"):
        setattr(owner, name, 7)
    assert getattr(owner, name) is before


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (BatchNorm(3), "batch_mean"),
        (Dense(3, 2, rng=0), "parameters"),
        (Sequential([ReLU()]), "layers"),
        (SGD(0.1), "iterations"),
    ],
)
def test_what_is_only_read_says_so(owner, name):
    with pytest.raises(AttributeError, match=f"{name} cannot be set, only read"):
        setattr(owner, name, None)


def test_passes_are_defined_in_a_subclass():
    """A network asks the class: a function put on one layer would never be called."""
    with pytest.raises(AttributeError, match="no setting 'forward'"):
        Dense(3, 2, rng=0).forward = lambda x: x


def test_a_readers_layers_and_subclasses_may_have_attributes_of_their_own():
    class Own(Layer):
        def __init__(self, **options):
            super().__init__({"scale": np.ones(3, np.float32)})
            self.options = options

    class Told(BatchNorm):
        def __init__(self, features):
            super().__init__(features)
            self.seen = 0

    layer, norm = Own(lr=3), Told(3)
    layer.trainable, norm.trainable = False, True
    norm.momentum = 0.5
    assert (layer.options, norm.seen, norm.momentum) == ({"lr": 3}, 0, 0.5)
    with pytest.raises(ValueError, match="momentum"):
        norm.momentum = 2
    with pytest.raises(TypeError, match="Told: no argument 'eps': it takes features"):
        Told(3, eps=1e-5)
