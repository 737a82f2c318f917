"""network.tape: the NumPy calls of one step, which can be printed and run."""

import re
from itertools import pairwise

import numpy as np
import pytest
from shared import frozen

from npbn import SGD, Adam, Sequential, functional
from npbn.layers import BatchNorm, Dense, Dropout, Layer, LeakyReLU, ReLU, Sigmoid, Tanh


def lesson_network():
    rng, layers = np.random.default_rng(0), []
    for in_features, out_features in ((784, 100), (100, 100), (100, 100)):
        layers.append(Dense(in_features, out_features, use_bias=False, rng=rng))
        layers += [BatchNorm(out_features), ReLU()]
    return Sequential([*layers, Dense(100, 10, rng=rng)])


def batch(rows=60, features=784, classes=10, dtype=np.float32):
    rng = np.random.default_rng(1)
    return rng.random((rows, features)).astype(dtype), rng.integers(classes, size=rows)


class Sine(Layer):
    def forward(self, x):
        self.cache = x
        return np.sin(x)

    def backward(self, dy):
        return dy * np.cos(self.take_cache())


def of_all_layers(dtype=np.float64):
    return Sequential(
        [
            BatchNorm(6, dtype=dtype),
            Dropout(0.3, rng=1),
            Dense(6, 50, rng=0, dtype=dtype),
            Sine(),
            Sigmoid(),
            Tanh(),
            LeakyReLU(),
            BatchNorm(50, center=False, dtype=dtype),
            Dense(50, 3, rng=1, dtype=dtype),
        ]
    )


def run(block):
    """What the names stand for when the printed lines have been run."""
    names = {"np": np, **block.arrays}
    with np.errstate(all="ignore"):
        exec(block.source, names)
    return names


def test_the_printed_lines_are_the_lessons_step_to_the_bit():
    network, (images, labels) = lesson_network(), batch()
    tape = network.tape(images, labels, optimizer=SGD(0.1))
    logits = network.forward(images, training=True)
    loss, dlogits = functional.softmax_cross_entropy(logits, labels)
    network.backward(dlogits)
    blocks = {block.title.partition(":")[0]: block for block in tape.blocks}
    gradients = {}
    for title, block in blocks.items():
        if title.startswith("update"):
            continue
        assert block.runs
        after = run(block)
        if place := re.match(r"layer (\d+), backward", title):
            for name in {"dweight", "dbias", "dgamma", "dbeta"} & set(after):
                gradients[f"{place[1]}.{name[1:]}"] = after[name]
        elif title == "layer 9, forward":
            np.testing.assert_array_equal(after["y"], logits)
        elif title.startswith("softmax"):
            np.testing.assert_array_equal(after["dlogits"], dlogits)
            assert float(after["dot_1"]) / 60 == loss
        elif title.startswith("the population"):
            np.testing.assert_array_equal(
                after["shown"], np.concatenate(list(network.state.values()))
            )
    assert gradients.keys() == network.gradients.keys()
    for name, gradient in network.gradients.items():
        np.testing.assert_array_equal(gradients[name], gradient)


def test_each_block_begins_with_what_the_one_before_left():
    tape = lesson_network().tape(*batch())
    forward = [block for block in tape.blocks if "forward" in block.title]
    for block, following in pairwise(forward):
        np.testing.assert_array_equal(run(block)["y"], following.arrays["x"])


def test_its_print_is_a_page_wide_and_counts_the_calls():
    tape = lesson_network().tape(*batch(), optimizer=SGD(0.1))
    text = str(tape)
    assert max(map(len, text.splitlines())) <= 100
    assert text.endswith(f"\n{tape.calls} calls")
    assert tape.calls <= 140
    for line in (
        "layer 1, forward: BatchNorm(100)",
        "    np.add(y, beta, out=y)                                            # float32 (60, 100)",
        "layer 0, backward: Dense(784, 100, use_bias=False)",
        "update, SGD(learning_rate=0.1)",
    ):
        assert line in text
    # The first layer's dx is not made: nobody needs it.
    assert [line.source for line in tape.blocks[-2].lines] == ["np.matmul(x.T, dy, out=dweight)"]


def test_loss_and_update_are_written_in_a_students_names():
    network = Sequential([Dense(3, 2, rng=0)])
    optimizer = Adam(0.1, weight_decay=0.1, max_norm=1.0)
    tape = network.tape(*batch(4, 3, 2), optimizer=optimizer)
    names = {block.title: " ".join(line.source for line in block.lines) for block in tape.blocks}
    assert list(names) == [
        "layer 0, forward: Dense(3, 2)",
        "softmax cross entropy, and its gradient",
        "layer 0, backward: Dense(3, 2)",
        "update, Adam(learning_rate=0.1, weight_decay=0.1, max_norm=1.0)",
    ]
    _, loss, _, update = (set(re.findall(r"\b[a-z]\w*\b", each)) for each in names.values())
    assert {"logits", "labels", "dlogits", "largest", "losses"} <= loss
    assert {"parameters", "gradients", "decay", "mean", "mean_square", "work"} <= update


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_any_layer_can_be_shown_and_nothing_moves(dtype):
    network, optimizer = of_all_layers(dtype), Adam(0.01, weight_decay=0.1, max_norm=1.0)
    images, labels = batch(3000, 6, 3, dtype)
    before = frozen(network, optimizer)
    tape = network.tape(images, labels, optimizer=optimizer)
    assert frozen(network, optimizer) == before
    text = str(tape)
    assert "layer.forward(x, training=True, statistics='batch')" in text
    assert "layer.backward(" in text
    assert "random(dtype=np.float32, out=drawn)" in text
    assert max(map(len, text.splitlines())) <= 100
    not_run = [block.title for block in tape.blocks if not block.runs]
    assert any("Dropout" in title for title in not_run)
    assert any("Sine" in title for title in not_run)
    for block in tape.blocks:
        if block.runs:
            run(block)


def test_what_it_shows_is_what_a_step_computes():
    network, (images, labels) = of_all_layers(), batch(300, 6, 3, np.float64)
    tape = network.tape(images, labels)
    y = network.forward(images, training=True)
    _, dlogits = functional.softmax_cross_entropy(y, labels)
    network.backward(dlogits)
    last = next(block for block in tape.blocks if block.title.startswith("layer 8, backward"))
    np.testing.assert_array_equal(run(last)["dweight"], network.gradients["8.weight"])


def test_loops_are_shown_once_with_their_count():
    network = Sequential([BatchNorm(100)])
    tape = network.tape(np.random.default_rng(0).random((5000, 100)).astype(np.float32))
    assert re.search(r"np\.multiply\(.*\n? +# float32 .*, x \d+", str(tape))
    assert not tape.blocks[0].runs


def test_without_labels_it_is_inference():
    network, (images, _) = lesson_network(), batch()
    tape = network.tape(images)
    assert not any("backward" in block.title for block in tape.blocks)
    np.testing.assert_array_equal(run(tape.blocks[-1])["y"], network.forward(images))


def test_it_is_html_in_a_notebook():
    text = lesson_network().tape(*batch())._repr_html_()
    assert "<summary>layer 1, forward: BatchNorm(100)</summary>" in text
    assert "np.add(y, beta, out=y)" in text


def test_wrong_images_and_labels_are_refused():
    network, (images, labels) = lesson_network(), batch()
    with pytest.raises(TypeError, match="network holds float32, got float64"):
        network.tape(images.astype(np.float64), labels)
    with pytest.raises(ValueError, match=r"layer 0.*expected"):
        network.tape(images[:, :9], labels)
    with pytest.raises(ValueError, match="labels: expected classes 0 to 9"):
        network.tape(images, labels + 1)


@pytest.mark.parametrize(
    ("optimizer", "labelled", "error", "message"),
    [
        ("SGD", True, TypeError, "optimizer: expected SGD, RMSProp or Adam, got 'SGD'"),
        (SGD, True, TypeError, r"optimizer: .*: write SGD\(\.\.\.\)"),
        (SGD(0.1), False, ValueError, "optimizer: expected labels as well"),
    ],
)
def test_what_is_no_optimizer_and_one_without_labels_are_refused(
    optimizer, labelled, error, message
):
    images, labels = batch()
    with pytest.raises(error, match=message):
        lesson_network().tape(images, labels if labelled else None, optimizer=optimizer)
