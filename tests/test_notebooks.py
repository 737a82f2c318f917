"""What a notebook shows of what npbn returns, asked as IPython asks it, and in a kernel."""

import copy
import io
import pickle

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from npbn import BatchNorm, Conv2D, Dense, ReLU, Sequential, plotting
from npbn.training import History

CURVES = {"a": [0.1, 0.9]}


def network():
    return Sequential([Dense(4, 3, use_bias=False), BatchNorm(3), ReLU(), Dense(3, 2)])


def record():
    found = plotting.ActivationRecord(np.eye(4, dtype=np.float32))
    found(network())
    return found


FIGURES = {
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
