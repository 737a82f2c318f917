"""A plan: the passes of layers run one after another, for one shape, type and mode."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from npbn._checks import Array, Statistics
from npbn.layers.readers import ReaderPass, runs_as_written, waiting_batches, within
from npbn.layers.running_average import BatchStatistics

if TYPE_CHECKING:
    from npbn.layers.layer import Layer

Shape = tuple[int, ...]
Layers = Sequence["Layer"]


class LastBatch(NamedTuple):
    """What a layer knows of the last batch: its statistics, and how many values they are of."""

    statistics: Array
    values: int


class Mode(NamedTuple):
    """How a forward pass is run.

    Attributes
    ----------
    training, statistics
        As for `Layer.forward`.
    keeps : bool
        Whether a backward pass may follow.
    mask : ndarray of bool or None
        Which steps of sequences are some.
    """

    training: bool
    statistics: Statistics
    keeps: bool = True
    mask: Array | None = None

    def behind(self, layers: Layers) -> "Mode":
        """That of what comes after these: where one leaves no steps there is no mask."""
        if self.mask is None or not any(each._ends_steps for each in layers):
            return self
        return self._replace(mask=None)


class _Waiting(NamedTuple):
    """A batch's statistics that are to be followed, once those of the whole network are finite."""

    statistics: BatchStatistics
    batch: Array
    is_finite: bool


class Plan:
    """The passes of layers, and the arrays between them; made once for a shape, type and mode.

    Who may write where follows from what the operations say of their arrays. The last one writes
    into the caller's array, unless backward reads it or the batch may yet be refused.

    A reader's layer decides the shape of its output itself: the passes behind it are made when it
    has run, and again when that shape changes.
    """

    def __init__(
        self, layers: Layers, shape: Shape, dtype: np.dtype[Any], mode: Mode, *, is_network: bool
    ) -> None:
        self.dtype, self.mode, self.is_network = dtype, mode, is_network
        self.passes: list[Any] = []  # Pass or ReaderPass
        self.shapes: list[Shape] = []  # of each pass's x, and of the last one's y
        self._readers = [k for k, each in enumerate(layers) if is_network and runs_as_written(each)]
        self._trained = [place for place, each in enumerate(layers) if each.parameters]
        self._lay_out_statistics(layers)
        self._is_laid_out = False  # the gradients between the passes
        self._waiting: list[_Waiting] = []
        self.kept_by: Any = None
        self.x: Array | None = None
        self._make(layers, shape)
        self.is_careful = self.moves and (bool(self._readers) or self._may_hide_infinities())

    def _lay_out_statistics(self, layers: Layers) -> None:
        """Where in one vector each pass writes its batch's statistics."""
        self._places: dict[int, slice] = {}
        averages, start = [], 0
        for place, layer in enumerate(layers):
            average = layer._running_average
            if average is not None and place not in self._readers:
                part = slice(start, start := start + average.shown.size)
                averages.append(average)
                if layer._follows_batches:
                    self._places[place] = part
        by_batch = self.mode.statistics == "batch"
        self.statistics = BatchStatistics(averages) if self._places and by_batch else None
        readers = (layers[place] for place in self._readers)
        self.moves = (
            by_batch
            and self.mode.training
            and (
                self.statistics is not None
                or any(each._follows_batches for each in within(readers))
            )
        )

    def _make(self, layers: Layers, shape: Shape) -> None:
        """The passes that are missing, up to the next reader's layer, for an x of that shape."""
        start = len(self.passes)
        end = next((place for place in self._readers if place >= start), len(layers))
        self.shapes[start:] = [shape]
        for place in range(start, end):
            with self._naming(layers[place]):
                self.shapes.append(layers[place].output_shape(self.shapes[place]))
        # The array in which a pass finds its x, if it is the plan's, and whether nobody else needs
        # it; those that are needed again where a part ends. Where no backward pass follows, two
        # vectors are enough beside these.
        x: Array | None = None
        is_free, vectors = False, _Vectors(self.shapes[start + 1 :], self.dtype)
        begun = self._begun()
        kept: list[Array | None] = [None] * len(begun)  # before a reader's layer: no vector's
        for place in range(start, end):
            x_shape, y_shape = self.shapes[place : place + 2]
            with self._naming(layers[place]):
                each = layers[place].at_work(x_shape, self.dtype, self.mode.behind(layers[:place]))
            self.passes.append(each)
            operation = each.operation
            if self.statistics is not None and place in self._places:
                operation.keep_statistics_in(self.statistics.batch[self._places[place]])
                self.statistics.set(
                    self._places[place],
                    each.momentum,
                    each.correction,
                    each.count,
                    each.batches,
                )
            keeps = self.mode.keeps
            reads_x, reads_y = keeps and operation.reads_x, keeps and operation.reads_y
            if operation.begins:
                begun.append(place)
                kept.append(x)
                is_free = False
            elif operation.ends:
                begin, _ = begun.pop(), kept.pop()
                with self._naming(layers[place]):
                    check_same_shape(layers[place], self.shapes[begin], x_shape)
                operation.begin = self.passes[begin].operation
            if operation.y_is_view:
                # Of the plan's array, or of the caller's x.
                x = None if x is None else x.reshape(y_shape)
                continue
            if is_free and operation.y_over_x and not reads_x:
                each.y = x
            elif not keeps:
                each.y = vectors.next(y_shape, (x, *kept))
            elif place + 1 < len(layers) or reads_y or self.moves or self._readers:
                each.y = np.empty(y_shape, self.dtype)
            x, is_free = each.y, not reads_y
        if end < len(layers):
            self.passes.append(
                ReaderPass(layers[end], self.mode.behind(layers[:end]), self._waiting)
            )
        self._measure()

    @contextmanager
    def _naming(self, layer: "Layer") -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            if not self.is_network or not layer._path:
                raise
            raise ValueError(f"layer {layer._path}, {error}") from None

    def _begun(self) -> list[int]:
        """The places of passes whose x will be needed again by one that is not made yet."""
        begun = []
        for place, each in enumerate(self.passes):
            if each.operation is not None and each.operation.begins:
                begun.append(place)
            elif each.operation is not None and each.operation.ends:
                begun.pop()
        return begun

    def _may_hide_infinities(self) -> bool:
        """Whether one in x may not show in the first statistics, or shows too late."""
        operations: list[Any] = [each.operation for each in self.passes]
        shown = all(each.shows_infinity for each in operations[: min(self._places)])
        return not shown or any(each.draws for each in operations)

    def let_go(self) -> None:
        """Keep no hold of the caller's x, which no backward pass will read."""
        x, self.x = self.x, None
        for each in self.passes:
            for owner in (each, each.operation):
                for name, value in list(vars(owner).items()) if owner is not None else ():
                    # Also a view, of what x itself may be a view of.
                    if isinstance(value, np.ndarray) and np.may_share_memory(value, x):
                        setattr(owner, name, None)
            if not (each.is_readers or each.operation.y_is_view):
                break

    @property
    def output_shape(self) -> Shape | None:
        """The shape of y; None where a reader's layer decides it and has not run yet."""
        return self.shapes[-1] if len(self.shapes) > len(self.passes) else None

    def _measure(self) -> None:
        """Write down how much memory its own arrays take, not x, parameters and constants."""
        given = [self.x, *(array for each in self.passes for array in each.given())]
        others = {id(_owner(array)) for array in given if isinstance(array, np.ndarray)}
        arrays = [
            array
            for each in self.passes
            for array in (
                *vars(each).values(),
                *(each.operation.arrays() if each.operation else ()),
            )
        ]
        own = {
            id(_owner(each)): _owner(each)
            for each in arrays
            if isinstance(each, np.ndarray) and each.flags.writeable
        }
        self.nbytes = sum(each.nbytes for key, each in own.items() if key not in others)

    def forward(
        self,
        xp: Any,
        layers: Layers,
        x: Array,
        out: Array | None,
        watch: Callable[[Array], None] | None = None,
    ) -> Array:
        """y: a new array, or out, if the last pass may write into it; else an array of the plan.

        Parameters
        ----------
        watch : function or None
            Called with what each pass made, which a later one may write over.
        """
        self.x, last = x, self.passes[-1]
        self._waiting.clear()
        self.gives_away = last.y is None and not (last.is_readers or last.operation.y_is_view)
        if self.gives_away:
            last.y = np.empty(self.shapes[-1], self.dtype) if out is None else out
        for place in range(len(layers)):
            each = self.passes[place]
            if xp is not np:
                arrays = each.arrays("forward", x=x, y=each.y)
                xp.block(_title("forward", layers[place]), arrays)
            x = each.run(xp, x)
            if watch is not None:
                watch(x)
            if each.is_readers and self.shapes[place + 1 :][:1] != [x.shape]:
                if place + 1 < len(layers):
                    each.check_for_next(x)
                del self.passes[place + 1 :]
                self._is_laid_out = False
                self._make(layers, x.shape)
        if self.gives_away:
            last.y = None
        return x

    # The population's statistics

    def is_finite(self, xp: Any) -> bool:
        """Whether the population's statistics may follow the batch's, or need not."""
        own = self.statistics if self.moves else None
        if xp is not np and own is not None:
            xp.block("the population's statistics", own.arrays())
        return (own is None or own.is_finite(xp)) and all(each.is_finite for each in self._waiting)

    def follow(self, xp: Any, is_finite: bool) -> None:
        """Move the population's statistics, unless a pass of a network around waits for others."""
        own = self.statistics if self.moves else None
        around = waiting_batches()
        if around is not None:
            if own is not None:
                around.append(_Waiting(own, own.batch.copy(), is_finite))
            around.extend(self._waiting)
        elif is_finite:
            if own is not None:
                own.follow(xp, own.batch)
            for each in self._waiting:
                each.statistics.follow(xp, each.batch)

    def remember(self, layers: Layers) -> None:
        """Leave in each layer its part of this pass.

        By `vars`: a layer's ``__setattr__`` would make a step of the lesson's network 1 % slower.
        """
        if self.statistics is not None:
            batch = self.statistics.batch.copy()
            for place, part in self._places.items():
                vars(layers[place])["_batch"] = LastBatch(batch[part], self.passes[place].values)
        for place, layer in enumerate(layers):
            if place not in self._readers:
                vars(layer)["_pending"] = self, place, place + 1

    def check_pending(self, layers: Layers, first: int) -> None:
        """RuntimeError where a layer was called by itself since."""
        for place, layer in enumerate(layers, first):
            pending = layer._pending
            if place not in self._readers and (pending is None or pending[0] is not self):
                raise RuntimeError(
                    f"{layer._name}: another pass of its own came between: call the "
                    "network's forward again"
                )

    # Backward

    def backward(
        self, xp: Any, layers: Layers, dy: Array, first: int, end: int, dx: Array | None
    ) -> Array | None:
        """Back through the passes first to end - 1.

        Parameters
        ----------
        dx : ndarray or None
            Where to write the first one's, if wanted; without it, what lies before the first
            parameters is left out.
        """
        if not self._is_laid_out:
            self._lay_out_gradients()
        stop = first
        if dx is None:
            stop = next((place for place in self._trained if first <= place < end), end)
        for place in range(end - 1, stop - 1, -1):
            each, wanted = self.passes[place], dx is not None or place > stop
            target = each.dx if place > stop else dx
            if xp is not np:
                arrays = each.arrays("backward", dy=dy, dx=target)
                xp.block(_title("backward", layers[place]), arrays)
            dy = each.run_backward(xp, dy, target, wanted)
        if dx is not None and dy is not dx:
            np.copyto(dx, dy)
        return dx

    def _lay_out_gradients(self) -> None:
        """Where each pass but the first writes its dx: in a vector that is free, or over dy."""
        vectors = _Vectors(self.shapes[1:-1], self.dtype)
        # The array in which a pass finds its dy, if it is the plan's, and whether nobody else needs
        # it; those that are needed again where a part begins.
        dy: Array | None = None
        is_free, kept = False, list[Array | None]()
        for place in range(len(self.passes) - 1, -1, -1):
            each: Any = self.passes[place]
            if each.is_readers:
                dy, is_free = None, False
                continue
            operation = each.operation
            operation.prepare_backward()
            if operation.begins:
                kept.pop()
            elif operation.ends:
                kept.append(dy)
                is_free = False
            if operation.dx_is_view:
                dy = None if dy is None else dy.reshape(self.shapes[place])
            else:
                if place > 0 and not (operation.dx_over_dy and is_free):
                    dy = vectors.next(self.shapes[place], (dy, *kept))
                is_free = True
            each.dx = dy
        self._is_laid_out = True
        self._measure()


def _title(direction: str, layer: "Layer") -> str:
    where = f"layer {layer._path}, " if layer._path else ""
    return f"{where}{direction}: {layer!r}"


def _owner(array: Array) -> Array:
    """The array whose memory it is."""
    return array.base if isinstance(array.base, np.ndarray) else array


class _Vectors:
    """Places for arrays, each of which is over when it is not in use any more."""

    def __init__(self, shapes: Sequence[Shape], dtype: np.dtype[Any]) -> None:
        self._size, self._dtype = max(map(math.prod, shapes), default=0), dtype
        self._vectors: list[Array] = []

    def next(self, shape: Shape, in_use: Sequence[Array | None]) -> Array:
        """An array of that shape, where none of those in use lies."""
        taken = {id(_owner(each)) for each in in_use if each is not None}
        vector = next((each for each in self._vectors if id(each) not in taken), None)
        if vector is None:
            vector = np.empty(self._size, self._dtype)
            self._vectors.append(vector)
        return vector[: math.prod(shape)].reshape(shape)


def check_same_shape(layer: "Layer", shape: Shape, result: Shape) -> None:
    """ValueError where a part of a network makes another shape of x, to which it is to be added."""
    if result != shape:
        raise ValueError(f"{layer!r}: expected layers that keep the shape {shape}, got {result}")
