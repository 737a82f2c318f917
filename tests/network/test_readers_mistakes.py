"""What a layer of a reader's own gets wrong is told: which layer, what came, what to write."""

import numpy as np
import pytest
from small_network import Scale, batch

from npbn import Dense, Layer, Sequential, gradient_check


class NoReturn(Scale):
    def forward(self, x):
        super().forward(x)


class NoReturnBackward(Scale):
    def backward(self, dy):
        super().backward(dy)


class InPlace(Scale):
    def forward(self, x):
        x *= 2
        return super().forward(x)


class InPlaceBackward(Scale):
    def backward(self, dy):
        self.cache *= dy
        return super().backward(dy)


class Assigning(Scale):
    def forward(self, x):
        x[x < 0] = 0
        return super().forward(x)


class Unsummed(Scale):
    def backward(self, dy):
        self.gradients["scale"][...] = dy * self.cache
        return super().backward(dy)


class Replacing(Scale):
    def backward(self, dy):
        self.gradients["scale"] = (dy * self.cache).sum(0)
        return super().backward(dy)


class Narrow(Scale):
    def backward(self, dy):
        return super().backward(dy)[:1]


class Lists(Scale):
    def forward(self, x):
        return super().forward(x).tolist()


MISTAKES = {
    NoReturn: r"forward's result: expected an array, got None: end forward with return y$",
    NoReturnBackward: r"backward's result: expected an array, got None: end .* with return dx$",
    InPlace: r"forward: output array is read-only: x is read again .* y = 2 \* x say, or begin",
    InPlaceBackward: r"backward: output array is read-only: x is read again .*x = x\.copy\(\)$",
    Assigning: r"forward: assignment destination is read-only: .*begin with x = x\.copy\(\)$",
    Unsummed: r"backward: could not broadcast .*that of scale is \(6,\): sum over the rows, self\."
    r"gradients\['scale'\]\[\.\.\.\] = \(\.\.\.\)\.sum\(0\)$",
    Replacing: r"backward: 'scale': these names keep their values: write into the array, self\."
    r"gradients\['scale'\]\[\.\.\.\] = ",
    Narrow: r"backward's result: expected the shape of x, \(8, 6\), got \(1, 6\)",
    Lists: r"forward's result: expected an array, got a list: return np.asarray\(y, x\.dtype\)$",
}
each_mistake = pytest.mark.parametrize(("kind", "text"), MISTAKES.items(), ids=lambda k: str(k)[:9])


def both_passes(network):
    x = batch()
    before = x.copy()
    try:
        network.backward(network.forward(x, training=True), input_gradient=True)
    finally:
        np.testing.assert_array_equal(x, before)


@each_mistake
@pytest.mark.parametrize("place", [0, 1])
def test_a_network_names_the_layer_and_what_to_write(kind, text, place):
    layers = [Dense(6, 6, rng=0), kind(6)] if place else [kind(6), Dense(6, 6, rng=0)]
    with pytest.raises(
        (TypeError, ValueError), match=rf"^layer {place}, {kind.__name__}\(\): {text}"
    ):
        both_passes(Sequential(layers))


@each_mistake
def test_the_gradient_check_of_such_a_layer_says_the_same(kind, text):
    with pytest.raises((TypeError, ValueError), match=rf"^{kind.__name__}\(\): {text}"):
        gradient_check(kind(6), batch())
    with pytest.raises((TypeError, ValueError), match=rf"^layer 0, {kind.__name__}\(\): {text}"):
        gradient_check(Sequential([kind(6), Dense(6, 3, rng=0)]), batch())


class FromOnes(Layer):
    def forward(self, x):
        return x * np.ones(6)

    def backward(self, dy):
        return dy * np.ones(6)


def test_float64_from_ones_is_told_with_how_to_make_them():
    text = (
        r"^layer 0, FromOnes\(\): forward's result: expected float32 like x, got float64: return "
        r"y\.astype\(x\.dtype\), .*: np\.ones\(5\) is float64, np\.ones\(5, x\.dtype\) is float32$"
    )
    with pytest.raises(TypeError, match=text):
        both_passes(Sequential([FromOnes(), Dense(6, 3, rng=0)]))


def test_float64_from_backward_is_told_as_well():
    class FromOnes(Layer):
        def forward(self, x):
            return x

        def backward(self, dy):
            return dy * np.ones(6)

    with pytest.raises(TypeError, match=r"backward's result: .*return dx\.astype\(dy\.dtype\)"):
        both_passes(Sequential([FromOnes(), Dense(6, 3, rng=0)]))


def test_parameters_from_ones_are_told_with_how_to_make_them():
    class Own(Scale):
        def __init__(self):
            Layer.__init__(self, {"scale": np.ones(6)})

    with pytest.raises(
        TypeError, match=r"layers\[1\]: Own\(\) holds float64, .*np\.ones\(5, np\.f"
    ):
        Sequential([Dense(6, 6, rng=0), Own()])


def test_a_value_error_of_the_readers_own_stays_as_it_is():
    class Refusing(Scale):
        def forward(self, x):
            raise ValueError("mine")

    with pytest.raises(ValueError, match=r"^mine$"):
        both_passes(Sequential([Refusing(6)]))


class Several(Layer):
    """Of two parameters of one shape, and one of another."""

    def __init__(self):
        parameters = {"bias": np.zeros(3), "scale": np.ones(6), "shift": np.zeros(6)}
        super().__init__(parameters, state={"count": np.zeros(6)})

    def forward(self, x):
        return x

    def backward(self, dy):
        return dy


def raised_by(kind):
    with pytest.raises((TypeError, ValueError)) as caught:
        both_passes(Sequential([kind()]).astype(np.float32))
    return str(caught.value)


def test_the_gradient_that_was_replaced_is_the_one_named():
    class Replacing(Several):
        def backward(self, dy):
            self.gradients["shift"] = dy.sum(0)

    assert raised_by(Replacing) == (
        "layer 0, Replacing(): backward: 'shift': these names keep their values: write into the "
        "array, self.gradients['shift'][...] = ..."
    )


def test_the_gradients_that_have_the_shape_are_the_ones_named():
    class Unsummed(Several):
        def backward(self, dy):
            self.gradients["shift"][...] = dy

    assert raised_by(Unsummed) == (
        "layer 0, Unsummed(): backward: could not broadcast input array from shape (8,6) into "
        "shape (6,): a gradient has its parameter's shape, that of scale and shift is (6,): sum "
        "over the rows, self.gradients['scale'][...] = (...).sum(0)"
    )


def test_what_is_no_gradient_gets_no_advice_about_gradients():
    class Forward(Several):
        def forward(self, x):
            self.state["count"][...] = x

    class Work(Several):
        def backward(self, dy):
            np.empty(4)[...] = dy

    class State(Several):
        def backward(self, dy):
            self.state["count"] = dy

    class Item(Several):
        def backward(self, dy):
            dy.shape[0] = 8

    class Bare(Layer):
        def forward(self, x):
            return x

        def backward(self, dy):
            np.empty(6)[...] = dy

    for kind in (Forward, Work, State, Item, Bare):
        said = raised_by(kind)
        assert "gradient" not in said, said
    assert raised_by(State).endswith(
        "keep their values: write into the array, ['count'][...] = value"
    )


def test_what_forward_kept_is_taken_once():
    layer, x = Scale(6), batch()
    with pytest.raises(RuntimeError, match=r"^Scale\(\): backward without a forward pass"):
        layer.backward(x)
    layer.backward(layer.forward(x))
    with pytest.raises(RuntimeError, match=r"call forward again, which .* self\.cache$"):
        layer.backward(x)
    assert layer.cache is None


def test_the_docstring_names_nothing_private():
    assert "self._" not in Layer.__doc__
    assert "self.cache" in Layer.__doc__
    assert "self.take_cache()" in Layer.__doc__
