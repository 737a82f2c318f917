"""What a notebook shows of what npbn returns, asked as IPython asks it, and in a kernel."""

import copy
import io
import math
import pickle
from dataclasses import replace

import matplotlib.figure
import numpy as np
import pytest
from html_tables import Cells, check_is_plain
from PIL import Image

from npbn import SGD, BatchNorm, Conv2D, Dense, Layer, ReLU, Residual, Sequential, fit, plotting
from npbn.datasets import Dataset
from npbn.experiments import Record, Result, Run
from npbn.network.evaluation import Evaluation
from npbn.numerics.read_only_mapping import ReadOnlyMapping
from npbn.training import History

CURVES = {"a": [0.1, 0.9]}
X, LABELS = np.eye(4, dtype=np.float32), np.arange(4) % 2
DATA = Dataset((X, LABELS), (X, LABELS), (X, LABELS), ("even", "odd"))
RECORD = Record(
    Run(batch_norm=True, learning_rate=0.1),
    Result(
        validation_accuracy=0.5,
        test_accuracy=0.5,
        training_accuracy=0.5,
        accuracies=(0.0,) * 100,
        seconds=1.0,
        outcome="finite",
        diverged_at=None,
        constant_units=(0.0,),
        digest="0" * 64,
    ),
    0,
    {"cpu": "<one>"},
)


class Named(Layer):
    """A reader's, which cannot run."""


def network():
    return Sequential([Dense(4, 3, use_bias=False), BatchNorm(3), ReLU(), Dense(3, 2)])


def trained():
    net = network()
    options = {"steps": 3, "sample_every": 1, "batch_size": 2, "progress": False}
    return net, fit(net, DATA.train, DATA.test, optimizer=SGD(0.1), **options)


def record():
    found = plotting.ActivationRecord(np.eye(4, dtype=np.float32))
    found(network())
    return found


FIGURES = {
    "batch_norm_graph": lambda: plotting.batch_norm_graph(X, *np.ones((2, 4), np.float32), X),
    "batch_norm_projection": lambda: plotting.batch_norm_projection(X, np.ones(4, np.float32), X),
    "training_accuracies": lambda: plotting.training_accuracies(CURVES, 500),
    "history": lambda: plotting.history(History(losses=[2.0, 1.0])),
    "activation_histograms": lambda: plotting.activation_histograms(
        network(), np.eye(4, dtype=np.float32)
    ),
    "activation_bands": lambda: plotting.activation_bands(record()),
    "filters": lambda: plotting.filters(Conv2D(1, 2, 3)),
    "feature_maps": lambda: plotting.feature_maps(
        Sequential([Conv2D(1, 2, 3)]), np.ones((5, 5, 1), np.float32)
    ),
}


def shown(value):
    """What IPython finds to show, by its kind."""
    formatters = pytest.importorskip("IPython.core.formatters")
    found, _ = formatters.DisplayFormatter().format(value)
    assert "text/plain" in found
    return found


def pixels(png):
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def test_every_figure_is_among_these():
    returned = {
        name
        for name in plotting.__all__
        if getattr(getattr(plotting, name), "__annotations__", {}).get("return") == "Figure"
    }
    assert returned == set(FIGURES)


@pytest.mark.parametrize("make", FIGURES.values(), ids=FIGURES)
def test_a_figure_is_a_picture(make):
    figure = make()
    assert type(figure) is matplotlib.figure.Figure
    picture = pixels(shown(figure)["image/png"])
    assert picture.shape[1::-1] == tuple(figure.get_size_inches() * figure.dpi)
    assert np.ptp(picture) > 100


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_a_copy_of_a_figure_shows_itself(copied):
    figure = FIGURES["training_accuracies"]()
    other = copied(figure)
    before = pixels(figure._repr_png_())
    np.testing.assert_array_equal(pixels(other._repr_png_()), before)
    other.axes[0].set_title("another")
    assert not np.array_equal(pixels(other._repr_png_()), before)
    np.testing.assert_array_equal(pixels(figure._repr_png_()), before)


HTML = {
    "network": network,
    "block": lambda: Residual([Dense(4, 4)]),
    "layer": lambda: BatchNorm(3),
    "layer without arrays": ReLU,
    "readers": lambda: Named({"<b>": np.ones(3)}),
    "state": lambda: network().state,
    "slices": lambda: network().slices,
    "history": lambda: trained()[1],
    "evaluation": lambda: network().evaluate(*DATA.test),
    "evaluation of many classes": lambda: Evaluation(9, 0.5, 0.1, np.ones((20, 20), int)),
    "evaluation without labels": lambda: Evaluation(9, 0.5),
    "data": lambda: DATA,
    "tape": lambda: network().tape(*DATA.test),
    "block of a tape": lambda: network().tape(*DATA.test).blocks[1],
    "run": lambda: RECORD.run,
    "result": lambda: RECORD.result,
    "record": lambda: RECORD,
    "record of a dead worker": lambda: replace(RECORD, result=None, deaths=3),
}


def cells(value):
    return Cells(shown(value)["text/html"]).rows


@pytest.mark.parametrize("make", HTML.values(), ids=HTML)
def test_html_stands_beside_the_text(make):
    value = make()
    found = shown(value)
    check_is_plain(found["text/html"])
    Cells(found["text/html"])
    assert found["text/plain"].split() == repr(value).split()


def test_a_network_is_a_table_of_its_layers_and_arrays():
    layers, arrays = tables(network(), 5)
    assert layers[0] == ["", "layer", "output shape", "parameters"]
    assert layers[1:3] == [
        ["0", "Dense(4, 3, use_bias=False)", "(N, 3)", "12"],
        ["1", "BatchNorm(3)", "(N, 3)", "6"],
    ]
    assert [row[0] for row in arrays[1:]] == [
        *("0.weight", "1.gamma", "1.beta", "3.weight", "3.bias"),
        *("1.population_mean", "1.population_variance"),
    ]
    assert "26 parameters, float32" in network()._repr_html_()


def tables(value, first):
    """The cells of two tables, of which the first has so many rows."""
    rows = cells(value)
    return rows[:first], rows[first:]


def test_an_array_is_told_by_its_type_and_range():
    values = {"a": np.array([1, 5.0, 3]), "empty": np.ones((0, 2), np.float32), "n": np.array(7)}
    assert cells(ReadOnlyMapping(values)) == [
        ["name", "shape", "type", "smallest", "mean", "largest"],
        ["a", "(3,)", "float64", "1", "3", "5"],
        ["empty", "(0, 2)", "float32", "", "", ""],
        ["n", "()", "int64", "7", "7", "7"],
    ]
    bad = np.array([1, np.nan, np.inf])
    assert cells(ReadOnlyMapping({"bad": bad}))[1][3:] == ["nan", "nan", "nan"]
    assert cells(ReadOnlyMapping({"a": slice(3)})) == [
        ["name", "value"],
        ["a", "slice(None, 3, None)"],
    ]


def test_names_are_escaped():
    assert cells(Named({"<b>": np.ones(3)}))[1][0] == "<b>"
    assert "<b>" not in Named({"<b>": np.ones(3)})._repr_html_()
    data = Dataset(DATA.train, DATA.validation, DATA.test, ("<i>", "&"))
    assert "2 classes: &lt;i&gt;, &amp;" in data._repr_html_()


def test_a_history_tells_first_last_and_best():
    history = History(
        losses=[3.0, 1.0, 2.0],
        sample_steps=[0, 2],
        validation_accuracies=[0.75, 0.5],
        validation_losses=[math.nan, 5.0],
        final_validation_accuracy=0.625,
    )
    assert cells(history) == [
        ["", "first", "last", "best", "best at step", "at the end"],
        ["losses", "3", "2", "1", "1", ""],
        ["validation_accuracies", "0.75", "0.5", "0.75", "0", "0.625"],
        ["validation_losses", "nan", "5", "5", "2", ""],
    ]
    assert "History(3 steps, last loss 2, final" in history._repr_html_()
    assert cells(History()) == []
    assert cells(History(losses=[math.nan])) == []


def test_an_evaluation_is_its_confusion_matrix():
    found = cells(Evaluation(4, 0.5, 0.5, np.array([[2, 1], [0, 0]])))
    assert found == [["label", "0", "1", "right"], ["0", "2", "1", "0.6667"], ["1", "", "", ""]]


def test_data_tell_how_many_images_a_class_has():
    x = np.ones((3, 2), np.float32)
    some, none = (x, np.array([0, 2, 2])), (x[:0], np.array([], np.int64))
    assert cells(Dataset(some, some, none, ("a", "b", "c")))[1:] == [
        ["train", "(3, 2)", "float32", "0 to 2"],
        ["validation", "(3, 2)", "float32", "0 to 2"],
        ["test", "(0, 2)", "float32", "0"],
    ]


def test_a_record_shows_its_run_and_result():
    rows = dict(cells(RECORD))
    assert rows["learning_rate"] == "0.1"
    assert rows["validation_accuracy"] == "0.5"
    assert rows["accuracies"] == "(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, ...)"
    assert rows["cpu"] == "<one>"


FIGURE = "from npbn import plotting\nplotting.training_accuracies({'a': [0.1, 0.9]}, 500)"


def test_a_kernel_shows_a_figure_once_with_and_without_magic():
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    magic = "import matplotlib.pyplot as plt\n%matplotlib inline\nplt.plot([0, 1]);"
    cells = [FIGURE, f"{FIGURE};", magic, FIGURE]
    notebook = nbformat.v4.new_notebook(cells=list(map(nbformat.v4.new_code_cell, cells)))
    nbclient.NotebookClient(notebook, startup_timeout=300, timeout=300).execute()
    kinds = [[list(each["data"]) for each in cell.outputs] for cell in notebook.cells]
    picture = [["text/plain", "image/png"]]
    assert [[sorted(each)[::-1] for each in cell] for cell in kinds] == [
        picture,
        [],
        picture,
        picture,
    ]
