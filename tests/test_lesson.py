"""The lesson's calls: what they print, what they return, what they reproduce."""

import ast
import dataclasses
import os
import signal

import matplotlib
import numpy as np
import pytest

from npbn import BatchNorm, Dense, LeakyReLU, ReLU, Sigmoid, datasets, lesson
from npbn.lesson import NeuralNet, neural_net

matplotlib.use("Agg")

NAMES = ("Without Batch Norm", "With Batch Norm")


@pytest.fixture(scope="module")
def digits():
    return datasets.load_mnist_5k()


@pytest.fixture(scope="module")
def mnist():
    if not os.environ.get("NPBN_DATA"):
        pytest.skip("NPBN_DATA does not name a folder with MNIST")
    return neural_net.default_data()


def lines(capsys):
    return capsys.readouterr().out.splitlines()


class TestInitialWeights:
    @pytest.mark.parametrize(("bad", "std"), [(False, 0.05), (True, 5.0)])
    def test_four_arrays_of_the_lessons_shapes_and_spread(self, bad, std):
        weights = lesson.initial_weights(bad, seed=0)
        assert [w.shape for w in weights] == [(784, 100), (100, 100), (100, 100), (100, 10)]
        assert all(w.dtype == np.float32 for w in weights)
        assert weights[0].std() == pytest.approx(std, rel=0.02)
        assert weights[0].mean() == pytest.approx(0, abs=std / 50)

    def test_a_seed_repeats_them_and_none_does_not(self):
        first, second = (lesson.initial_weights(False, seed=3) for _ in range(2))
        assert all(map(np.array_equal, first, second))
        first, second = (lesson.initial_weights(False) for _ in range(2))
        assert not np.array_equal(first[0], second[0])


class TestNeuralNet:
    @pytest.mark.parametrize("use_batch_norm", [True, False])
    def test_is_built_as_the_lesson_builds_it(self, use_batch_norm):
        weights = lesson.initial_weights(False, seed=0)
        net = NeuralNet(weights, ReLU, use_batch_norm)
        kinds = [type(layer) for layer in net.network.layers]
        hidden = [Dense, BatchNorm, ReLU] if use_batch_norm else [Dense, ReLU]
        assert kinds == [*hidden, *hidden, *hidden, Dense]
        assert net.name == NAMES[use_batch_norm]
        dense = [layer for layer in net.network.layers if isinstance(layer, Dense)]
        assert [layer.bias is None for layer in dense] == [use_batch_norm] * 3 + [False]
        for layer, weight in zip(dense, weights, strict=True):
            assert np.array_equal(layer.weight, weight)
            assert not np.shares_memory(layer.weight, weight)
        norms = [layer for layer in net.network.layers if isinstance(layer, BatchNorm)]
        assert all((norm.momentum, norm.epsilon) == (0.99, 1e-3) for norm in norms)

    def test_activation_fn_is_any_call_that_makes_a_layer(self):
        net = NeuralNet(lesson.initial_weights(False, 0), lambda: LeakyReLU(0.1), False)
        assert repr(net.network.layers[1]) == "LeakyReLU(0.1)"

    def test_the_weights_say_how_many_layers_there_are(self):
        net = NeuralNet([np.ones((784, 7), np.float32), np.ones((7, 10), np.float32)], ReLU, True)
        assert list(map(repr, net.network.layers)) == [
            "Dense(784, 7, use_bias=False)",
            "BatchNorm(7)",
            "ReLU()",
            "Dense(7, 10)",
        ]

    @pytest.mark.parametrize(
        ("weights", "error", "message"),
        [
            (np.ones((784, 10), np.float32), TypeError, "expected a list of arrays (in, out), got"),
            (None, TypeError, "expected a list of arrays (in, out), got None"),
            ([], ValueError, "expected one array (in, out) or more, got none"),
            ([np.ones((4, 5))] * 2, ValueError, "expected shape (5, out), as the layer before it"),
            ([np.ones((1, 4, 5))], ValueError, "expected shape (in, out), got (1, 4, 5)"),
            ([np.ones((0, 5))], ValueError, "expected shape (in, out), got (0, 5)"),
            ([np.ones((4, 5)), np.ones((5, 2), np.float32)], TypeError, "got float32: pass"),
            ([[[1.0]]], TypeError, "pass np.asarray("),
        ],
    )
    def test_weights_that_make_no_network_are_refused(self, weights, error, message):
        with pytest.raises(error) as refused:
            NeuralNet(weights, ReLU, True)
        assert str(refused.value).startswith("initial_weights")
        assert message in str(refused.value)

    @pytest.mark.parametrize("activation", [BatchNorm, Dense, ReLU(), np.tanh, "relu", None])
    def test_an_activation_that_makes_no_layer_is_refused(self, activation):
        with pytest.raises(TypeError, match=r"^activation_fn: expected a layer class such as ReLU"):
            NeuralNet(lesson.initial_weights(False, 0), activation, False)

    @pytest.mark.parametrize("place", [".", "missing/file", "a\0b"])
    def test_a_file_that_cannot_be_written_is_refused_before_the_first_step(
        self, digits, tmp_path, monkeypatch, place
    ):
        net = NeuralNet(lesson.initial_weights(False, 0), ReLU, True)
        with pytest.raises((OSError, ValueError), match="save_model_as: "):
            net.train(0.1, 20, 10, str(tmp_path / place), data=digits, seed=0)
        with pytest.raises(TypeError, match="save_model_as: expected a path or None, got 5"):
            net.train(0.1, 20, 10, 5, data=digits, seed=0)
        assert net.history is None
        assert not list(tmp_path.iterdir())

    def test_a_path_in_bytes_is_one(self, digits, tmp_path):
        net = NeuralNet(lesson.initial_weights(False, 0), ReLU, True)
        path = os.fsencode(tmp_path / "model")
        net.train(0.1, 2, 1, path, data=digits, seed=0)
        net.test(restore_from=path, data=digits)

    def test_a_small_test_set_has_as_many_predictions(self, digits, capsys):
        data = dataclasses.replace(digits, test=tuple(each[:30] for each in digits.test))
        net = NeuralNet(lesson.initial_weights(False, 0), ReLU, True)
        net.test(include_individual_predictions=True, data=data)
        _, predictions, single = lines(capsys)
        assert len(ast.literal_eval(predictions.removeprefix("30 Predictions: "))) == 30
        assert single.startswith("Accuracy on 30 samples: ")

    def test_words_are_no_flags(self, digits, capsys):
        net = NeuralNet(lesson.initial_weights(False, 0), ReLU, True)
        for name in ("test_training_accuracy", "include_individual_predictions"):
            with pytest.raises(TypeError, match=f"^{name}: expected True or False"):
                net.test(**{name: "no"}, data=digits)
        with pytest.raises(TypeError, match=r"^test_training_accuracy: expected True or False"):
            lesson.batch_norm_test("no", data=digits)
        assert not lines(capsys)

    def test_train_and_test_print_the_lessons_lines(self, digits, capsys):
        net = NeuralNet(lesson.initial_weights(False, seed=0), ReLU, True)
        net.train(0.1, 60, 20, data=digits, seed=0)
        net.test(include_individual_predictions=True, data=digits)
        train, test, predictions, single = lines(capsys)
        accuracy = net.network.accuracy(*digits.validation)
        assert (
            train
            == f"With Batch Norm: After training, final accuracy on validation set = {accuracy}"
        )
        assert (
            test
            == f"With Batch Norm: Accuracy on full test set = {net.network.accuracy(*digits.test)}"
        )
        classes = ast.literal_eval(predictions.removeprefix("200 Predictions: "))
        assert classes == net.network.predict(digits.test[0][:200]).tolist()
        correct = sum(map(int.__eq__, classes, digits.test[1][:200].tolist()))
        assert single == f"Accuracy on 200 samples: {correct / 200}"
        assert len(net.training_accuracies) == 3

    def test_a_fresh_seed_is_printed_and_repeats_the_run(self, digits, capsys):
        accuracies = []
        seed = None
        for _ in range(2):
            net = NeuralNet(lesson.initial_weights(False, seed=0), ReLU, True)
            net.train(0.1, 10, 5, data=digits, seed=seed)
            accuracies.append(net.training_accuracies)
            if seed is None:
                seed = int(lines(capsys)[0].split()[2])
        assert accuracies[0] == accuracies[1]

    def test_a_saved_network_is_restored_from_one_file(self, digits, tmp_path, capsys):
        path = tmp_path / "lesson.model"
        net = NeuralNet(lesson.initial_weights(False, seed=0), Sigmoid, True)
        net.train(0.1, 50, 50, save_model_as=str(path), data=digits, seed=0)
        assert [each.name for each in tmp_path.iterdir()] == ["lesson.model"]
        net.test(data=digits)
        other = NeuralNet(lesson.initial_weights(True, seed=1), Sigmoid, True)
        other.test(restore_from=str(path), data=digits)
        printed = lines(capsys)
        assert printed[-1] == printed[-2]
        assert other.network.state["1.population_mean"].any()

    def test_divergence_shows_as_class_zero(self, digits, capsys):
        net = NeuralNet(lesson.initial_weights(True, seed=0), ReLU, False)
        net.train(1e10, 40, 10, data=digits, seed=0)
        assert net.history.diverged_at is not None
        assert len(net.training_accuracies) == 4
        share = np.mean(digits.validation[1] == 0)
        assert f"validation set = {share}" in capsys.readouterr().out


class TestTrainAndTest:
    def test_prints_both_trainings_then_both_tests_and_shows_the_plot(
        self, digits, capsys, monkeypatch
    ):
        import matplotlib.pyplot as plt

        shown = []
        monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
        networks = lesson.train_and_test(False, 0.1, ReLU, 40, 10, data=digits, seed=1)
        assert [net.name for net in networks] == list(NAMES)
        printed = [line.split(" = ")[0] for line in lines(capsys)]
        assert printed == [
            *(f"{name}: After training, final accuracy on validation set" for name in NAMES),
            *(f"{name}: Accuracy on full test set" for name in NAMES),
        ]
        (figure,) = shown
        (ax,) = figure.axes
        for line, net in zip(ax.lines, networks, strict=True):
            assert line.get_label() == net.name
            assert line.get_xdata().tolist() == [0, 10, 20, 30]
            assert line.get_ydata().tolist() == net.training_accuracies
        plt.close(figure)

    def test_both_get_the_same_weights_and_batches(self, digits, capsys, monkeypatch):
        monkeypatch.setattr(lesson.calls, "plot_training_accuracies", lambda *a, **k: None)
        networks = lesson.train_and_test(False, 0.0, ReLU, 3, 1, data=digits, seed=1)
        weights = lesson.initial_weights(False, seed=1)
        for net in networks:
            assert np.array_equal(net.network.parameters["0.weight"], weights[0])
        first = [net.history.losses for net in networks]
        again = lesson.train_and_test(False, 0.0, ReLU, 3, 1, data=digits, seed=1)
        assert [net.history.losses for net in again] == first

    def test_ctrl_c_ends_it(self, digits, capsys, monkeypatch):
        def interrupted(self, network):
            os.kill(os.getpid(), signal.SIGINT)

        monkeypatch.setattr("npbn.SGD.step", interrupted)
        lesson.train_and_test(False, 0.1, ReLU, 40, 10, data=digits, seed=1)
        assert lines(capsys) == ["Without Batch Norm: interrupted after step 1"]

    def test_the_plot_asks_for_batches_per_sample(self):
        with pytest.raises(TypeError, match="batches_per_sample"):
            lesson.plot_training_accuracies()

    def test_the_plot_takes_networks_alone(self):
        with pytest.raises(TypeError, match=r"args\[0\]: expected a NeuralNet, got 5"):
            lesson.plot_training_accuracies(5, batches_per_sample=5)


class TestReportedFigures:
    def test_eighteen_runs_and_the_demonstration(self):
        runs = lesson.reported_runs()
        assert [run.run for run in runs] == list(range(1, 19))
        assert (runs[1].validation_without, runs[1].test_with) == (0.8352, 0.9516)
        assert lesson.reported_demonstration("batch") == (0.9503, 0.05)


class TestOnMnist:
    def test_the_demonstration_with_batch_statistics_goes_wrong(self, mnist, capsys):
        lesson.batch_norm_test(True, seed=0)
        _, test, predictions, single = lines(capsys)
        assert float(test.split(" = ")[1]) == pytest.approx(0.95, abs=0.015)
        assert len(set(ast.literal_eval(predictions.removeprefix("200 Predictions: ")))) == 1
        assert 0.05 <= float(single.split(": ")[1]) <= 0.15

    def test_the_demonstration_with_population_statistics_is_right(self, mnist, capsys):
        net = lesson.batch_norm_test(False, seed=0)
        _, test, _, single = lines(capsys)
        assert float(test.split(" = ")[1]) > 0.94
        assert float(single.split(": ")[1]) > 0.94
        assert net.name == "With Batch Norm"

    def test_without_data_it_is_mnist_loaded_once(self, mnist):
        assert neural_net.default_data() is mnist
        assert len(mnist.train[1]) == 55000
