"""How good a network is on data with targets."""

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from npbn import _html
from npbn._checks import Array, Statistics
from npbn.network.loss import Loss

if TYPE_CHECKING:
    from npbn.network.sequential import Sequential

# A table of more classes is wider than a page.
MOST_CLASSES = 15


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """What `Sequential.evaluate` found; ``str(evaluation)`` is a table.

    Attributes
    ----------
    rows : int
        How many counted, or steps that have a label each.
    loss : float
        Their loss.
    accuracy : float or None
        The share whose largest output is at their label, from 0 to 1; None where the targets are no
        labels.
    confusion : ndarray of int, shape (classes, classes), or None
        How many rows of label i were taken for class j; None likewise.
    """

    rows: int
    loss: float
    accuracy: float | None = None
    confusion: NDArray[np.intp] | None = None

    def __repr__(self) -> str:
        return f"Evaluation({self.rows:,} rows, {self._found})"

    @property
    def _found(self) -> str:
        accuracy = "" if self.accuracy is None else f"accuracy {self.accuracy:.4f}, "
        return f"{accuracy}loss {self.loss:.4g}"

    def __str__(self) -> str:
        lines = [f"{self.rows:,} rows: {self._found}"]
        if self.confusion is not None:
            small = len(self.confusion) <= MOST_CLASSES
            lines += _table(self.confusion) if small else _mistakes(self.confusion)
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        parts = [_html.paragraph(f"{self.rows:,} rows: {self._found}")]
        if self.confusion is not None:
            small = len(self.confusion) <= MOST_CLASSES
            as_text = _html.preformatted("\n".join(_mistakes(self.confusion)))
            parts.append(_html_table(self.confusion) if small else as_text)
        return _html.block(*parts)


def _table(confusion: NDArray[np.intp]) -> list[str]:
    classes = range(len(confusion))
    width = max(5, len(f" {confusion.max():,}"))
    lines = [
        f"{'':7}predicted",
        f"{'label':7}{''.join(f'{each:{width}}' for each in classes)}   right",
    ]
    for label, row in enumerate(confusion):
        counts = "".join(f"{count:{width},}" if count else f"{'.':>{width}}" for count in row)
        total = int(row.sum())
        right = f"{row[label] / total:8.4f}" if total else f"{'-':>8}"
        lines.append(f"{label:5}  {counts}{right}")
    return lines


def _html_table(confusion: NDArray[np.intp]) -> _html.Markup:
    rows = []
    for label, row in enumerate(confusion):
        total = int(row.sum())
        right = row[label] / total if total else None
        rows.append((_html.strong(label), *(count or None for count in row), right))
    header = ("label", *range(len(confusion)), "right")
    return _html.table(header, rows, caption="how many of each label were taken for which class")


def _mistakes(confusion: NDArray[np.intp], most: int = 10) -> list[str]:
    """The pairs that are confused most often."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(wrong)) for place in order if wrong.flat[place]]
    return [
        f"  label {a} taken for {b}: {wrong[a, b]:,} of {confusion[a].sum():,}" for a, b in pairs
    ]


def evaluated(
    network: "Sequential",
    x: Array,
    targets: Any,
    loss: Loss,
    statistics: Statistics,
    name: str,
    mask: Array | None = None,
) -> Evaluation:
    """What the network's outputs for x are worth; name: what the targets are called."""
    blocks = [y.copy() for y in network._inferred(x, statistics, mask)]
    if len(shapes := {y.shape[1:] for y in blocks}) > 1:
        raise ValueError(f"network: expected outputs of one shape a row, got {sorted(shapes)}")
    outputs = np.concatenate(blocks)
    loss.check(name, targets, outputs.shape, outputs.dtype, mask)
    value, _ = loss(outputs, targets)
    if not loss.labels_among(targets, outputs):
        return Evaluation(len(x), value)
    predicted, labels = outputs.argmax(-1).reshape(-1), targets.reshape(-1)
    if loss.ignored_label is not None:
        counted = labels != loss.ignored_label
        predicted, labels = predicted[counted], labels[counted]
    right = int(np.count_nonzero(predicted == labels))
    return Evaluation(
        len(labels),
        value,
        right / len(labels) if len(labels) else float("nan"),
        _confusion(labels, predicted, outputs.shape[-1]),
    )


def _confusion(
    labels: NDArray[Any], predicted: NDArray[np.intp], classes: int
) -> NDArray[np.intp] | None:
    """None where a reader's loss has other labels than classes."""
    if labels.size and not (labels.min() >= 0 and labels.max() < classes):
        return None
    pairs = classes * labels.astype(np.intp) + predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
