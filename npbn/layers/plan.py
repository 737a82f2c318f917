"""A plan: the passes of layers run one after another, for one shape, type and mode."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npbn import _checks as checks
from npbn._checks import Array, Statistics
from npbn.layers.readers import ReaderPass, runs_as_written, within

if TYPE_CHECKING:
    from npbn.layers.layer import Layer
    from npbn.layers.passes import Pass

Shape = tuple[int, ...]
Layers = Sequence["Layer"]


class Mode(NamedTuple):
    """How a forward pass is run; `keeps` tells whether a backward pass may follow."""

    training: bool
    statistics: Statistics
    keeps: bool = True

    @property
    def moves_population(self) -> bool:
        """Whether population statistics follow the batch's."""
        return self.training and self.statistics == "batch"


class Plan:
    """The passes of layers, and the arrays between them; made once for a shape, type and mode.

    Who may write where follows from what the passes say of their arrays. The last one writes into
    the caller's array, unless backward reads it or the batch may yet be refused.

    A reader's layer decides the shape of its output itself: the passes behind it are made when it
    has run, and again when that shape changes.
    """

    def __init__(
        self, layers: Layers, shape: Shape, dtype: np.dtype[Any], mode: Mode, *, is_network: bool
    ) -> None:
        self.dtype, self.mode, self._is_network = dtype, mode, is_network
        self.passes: list[Pass] = []
        self.shapes: list[Shape] = []  # of each pass's x, and of the last one's y
        self._readers = [k for k, each in enumerate(layers) if is_network and runs_as_written(each)]
        self.moves = mode.moves_population and any(
            each._running_average is not None for each in within(layers)
        )
        self._trained = [place for place, each in enumerate(layers) if each.parameters]
        self._is_laid_out = False  # the gradients between the passes
        self.kept_by: Any = None
        self._make(layers, shape)
        self.is_careful = self.moves and (bool(self._readers) or self._may_hide_infinities())

    def _make(self, layers: Layers, shape: Shape) -> None:
        """The passes that are missing, up to the next reader's layer, for an x of that shape."""
        start = len(self.passes)
        end = next((place for place in self._readers if place >= start), len(layers))
        self.shapes[start:] = [shape]
        for place in range(start, end):
            with self._naming(place):
                self.shapes.append(layers[place].output_shape(self.shapes[place]))
        # The array in which a pass finds its x, if it is the plan's, and whether nobody else needs
        # it. Where no backward pass follows, two vectors are enough for all.
        x: Array | None = None
        is_free, vectors = False, _TwoVectors(self.shapes[start + 1 :], self.dtype)
        for place in range(start, end):
            x_shape, y_shape = self.shapes[place : place + 2]
            with self._naming(place):
                each = layers[place].at_work(x_shape, self.dtype, self.mode, x_is_free=is_free)
            self.passes.append(each)
            if each.is_view:
                x = None if x is None else x.reshape(y_shape)
                continue
            reads_y = each.reads_y and self.mode.keeps
            if is_free and each.y_over_x:
                each.y = x
            elif not self.mode.keeps:
                each.y = vectors.next(y_shape)
            elif place + 1 < len(layers) or reads_y or self.moves or self._readers:
                each.y = np.empty(y_shape, self.dtype)
            x, is_free = each.y, not reads_y
        if end < len(layers):
            self.passes.append(ReaderPass(layers[end], end, self.mode))

    @contextmanager
    def _naming(self, place: int) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            if not self._is_network:
                raise
            raise ValueError(f"layer {place}, {error}") from None

    def _may_hide_infinities(self) -> bool:
        """Whether one in x may not show in the first statistics, or shows too late."""
        first = next(place for place, each in enumerate(self.passes) if each.average is not None)
        shown = all(each.shows_infinity for each in self.passes[:first])
        return not shown or any(each.draws for each in self.passes)

    @property
    def nbytes(self) -> int:
        """How much memory the arrays of its passes take."""
        arrays: dict[int, int] = {}
        for each in self.passes:
            for value in (*vars(each).values(),):
                if isinstance(value, np.ndarray):
                    whole = value if value.base is None else value.base
                    arrays[id(whole)] = getattr(whole, "nbytes", 0)
        return sum(arrays.values())

    @property
    def output_shape(self) -> Shape | None:
        """The shape of y; None where a reader's layer decides it and has not run yet."""
        return self.shapes[-1] if len(self.shapes) > len(self.passes) else None

    def forward(self, xp: Any, layers: Layers, x: Array, out: Array | None) -> Array:
        """y: a new array, or out, if the last pass may write into it; else an array of the plan."""
        self.x = x
        last = self.passes[-1]
        self.gives_away = last.y is None and not (last.is_view or last.is_readers)
        if self.gives_away:
            last.y = np.empty(self.shapes[-1], self.dtype) if out is None else out
        for place in range(len(layers)):
            x = self.passes[place].run(xp, x)
            if self.passes[place].is_readers and self.shapes[place + 1 :][:1] != [x.shape]:
                if place + 1 < len(layers):
                    checks.batch(f"layer {place}, {layers[place]!r}: forward's result", x)
                del self.passes[place + 1 :]
                self._is_laid_out = False
                self._make(layers, x.shape)
        if self.gives_away:
            last.y = None
        return x

    def is_finite(self) -> bool:
        """Whether the population's statistics may follow the batch's, or need not."""
        return not self.moves or all(each.is_finite() for each in self.passes)

    def follow(self) -> None:
        """Move the population's statistics, where the mode says so."""
        if self.moves:
            for each in self.passes:
                each.follow()

    def remember(self, layers: Layers) -> None:
        """Leave in each layer what a backward pass of its own needs."""
        for place, layer in enumerate(layers):
            if not self.passes[place].is_readers:
                self.passes[place].remember(layer)
                layer._pending = self, place, place + 1

    def check_pending(self, layers: Layers, first: int) -> None:
        """RuntimeError where a layer was called by itself since."""
        for place, layer in enumerate(layers, first):
            pending = layer._pending
            if not self.passes[place].is_readers and (pending is None or pending[0] is not self):
                raise RuntimeError(
                    f"layer {place}, {layer!r}: another pass of its own came between: call the "
                    "network's forward again"
                )

    def backward(self, xp: Any, dy: Array, first: int, end: int, dx: Array | None) -> Array | None:
        """Back through the passes first to end - 1; dx: where to write the first one's, if wanted.

        Without it, what lies before the first parameters is left out.
        """
        if not self._is_laid_out:
            self._lay_out_gradients()
        stop = first
        if dx is None:
            stop = next((place for place in self._trained if first <= place < end), end)
        for place in range(end - 1, stop - 1, -1):
            each = self.passes[place]
            target = each.dx if place > stop else dx
            dy = each.run_backward(xp, dy, target, wanted=dx is not None or place > stop)
        if dx is not None and dy is not dx:
            np.copyto(dx, dy)
        return dx

    def _lay_out_gradients(self) -> None:
        """Where each pass but the first writes its dx: in turns in two vectors, or over dy."""
        vectors = _TwoVectors(self.shapes[1:-1], self.dtype)
        dy: Array | None = None  # the array in which a pass finds its dy, if it is the plan's
        for place in range(len(self.passes) - 1, 0, -1):
            each, shape = self.passes[place], self.shapes[place]
            if each.is_readers:
                dy = None
            elif each.is_view:
                dy = None if dy is None else dy.reshape(shape)
            else:
                dy = each.dx = dy if each.dx_over_dy and dy is not None else vectors.next(shape)
        self._is_laid_out = True


class _TwoVectors:
    """Places for arrays, of which each one is over before the next but one is written."""

    def __init__(self, shapes: Sequence[Shape], dtype: np.dtype[Any]) -> None:
        self._size, self._dtype = max(map(math.prod, shapes), default=0), dtype
        self._vectors: list[Array] = []
        self._turn = 0

    def next(self, shape: Shape) -> Array:
        """An array of that shape, not where the one before is."""
        self._turn += 1
        if self._turn <= 2:
            self._vectors.append(np.empty(self._size, self._dtype))
        return self._vectors[self._turn % 2 - 1][: math.prod(shape)].reshape(shape)
