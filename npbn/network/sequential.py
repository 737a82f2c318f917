"""Sequential: layers one after another, their parameters in one vector, itself a layer."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from os import PathLike, fsdecode
from typing import Any

import numpy as np
from numpy.typing import NDArray

from npbn import _checks as checks
from npbn import checkpoint, functional
from npbn._checks import Array, Statistics
from npbn.layers.layer import Layer
from npbn.layers.plan import Mode, Plan
from npbn.layers.plans import Plans
from npbn.layers.readers import computing, runs_as_written, waiting_batches
from npbn.network.draws import same_draws
from npbn.network.evaluation import Evaluation, evaluated
from npbn.network.exact_statistics import recompute_population
from npbn.network.folding import folded_layers
from npbn.network.inference import known_shapes, rows_at_a_time
from npbn.network.layer_list import LayerList
from npbn.network.loading import differences
from npbn.network.loss import Loss, LossFunction
from npbn.network.one_step import taped_step
from npbn.network.summary import common_dtype, size, table
from npbn.network.watching import LayerRun, watched_run
from npbn.numerics.read_only_mapping import ReadOnlyMapping
from npbn.numerics.tape import Tape

# What is made anew of a copy's layers.
_DERIVED = {"_parameter_vector", "_gradient_vector", "_slices", "_dtype", "_leaves", "_plans"}


class Sequential(LayerList):
    """A network: each layer's output is the next one's input.

    The parameters of all layers lie in `parameter_vector`, their gradients in `gradient_vector`,
    both one contiguous 1-D array; the layers' own arrays are views into them. `parameters`,
    `gradients` and `state` have names like "1.gamma"; `slices` maps a parameter's name to its place
    in the vectors. ``len(network)``, ``network[1]`` and iteration are of the layers, ``network(x)``
    is ``network.forward(x)``, ``print(network)`` shows a table.

    Parameters
    ----------
    layers : sequence of Layer
        One or more; a Sequential may be one of them. A layer belongs to one network.

    Raises
    ------
    TypeError, ValueError
        For layers that do not go together.

    Warns
    -----
    UserWarning
        Where two begin with the same weights, or will draw the same random numbers, as from one
        seed.
    """

    def __init__(self, layers: Sequence[Layer]) -> None:
        super().__init__(layers)
        self._assemble()
        told = [isinstance(each, Sequential) for each in self._layers]
        if same := same_draws(self._layers, told):
            warnings.warn(
                f"{type(self).__name__}: {same}: these layers share a seed, or are copies, and "
                "draw the same numbers: make all with one generator, rng = "
                "np.random.default_rng(0), passing rng=rng to each",
                stacklevel=2,
            )

    def _assemble(self) -> None:
        """Gather the layers' arrays into two vectors of this network."""
        for name in _DERIVED:
            vars(self).pop(name, None)
        dtype = self._dtype or np.dtype(np.float32)
        self._adopt()
        total = sum(size(layer) for layer in self._layers)
        self._lay_statistics()
        self._bind(np.zeros(total, dtype), np.zeros(total, dtype))

    def _bind(self, values: Array, gradients: Array) -> None:
        super()._bind(values, gradients)
        self._parameter_vector, self._gradient_vector = values, gradients
        self._slices: dict[str, slice] = {}
        start = 0
        for name, value in self.parameters.items():
            self._slices[name] = slice(start, start + value.size)
            start += value.size

    def _lasting(self) -> dict[str, Any]:
        return {name: each for name, each in super()._lasting().items() if name not in _DERIVED}

    @cached_property
    def _plans(self) -> Plans:
        return Plans()

    def _changed(self) -> None:
        vars(self).pop("_plans", None)
        super()._changed()

    @property
    def parameter_vector(self) -> Array:
        """All parameters, (P,); writing into it changes the layers'."""
        return self._parameter_vector

    @property
    def gradient_vector(self) -> Array:
        """The gradients of all parameters, (P,), as the last backward pass left them."""
        return self._gradient_vector

    @property
    def slices(self) -> Mapping[str, slice]:
        """The place of each parameter in the two vectors."""
        return ReadOnlyMapping(self._slices)

    @property
    def dtype(self) -> np.dtype[Any] | None:
        """The type of all parameters; None where there are none: then either float type will do."""
        return self._dtype

    @cached_property
    def _dtype(self) -> np.dtype[Any] | None:
        return common_dtype(self._layers)

    # The two passes

    def forward(
        self,
        x: Array,
        training: bool = False,
        statistics: Statistics | None = None,
        *,
        mask: Array | None = None,
        out: Array | None = None,
    ) -> Array:
        """The last layer's output, through all layers in order.

        Parameters
        ----------
        x, training, statistics, out
            As for every layer, `Layer.forward`.
        mask : ndarray of bool, shape (N, T), or None
            For the layers that take one, `BatchNorm` and `LSTM` say; all others do not see it, and
            nobody does behind a layer that leaves the last step alone.

        Returns
        -------
        y : ndarray

        Raises
        ------
        TypeError, ValueError
            Naming the layer, for an x of another type or shape. In training with a `BatchNorm` an x
            that is not finite is a ValueError too, and may end a pending pass; where only what the
            layers make of it is not finite, the pass goes on without a warning, y is NaN, and no
            population statistics move.
        """
        if mask is not None:
            checks.mask("mask", mask, np.shape(mask))
        return self._masked_forward(x, training, statistics, mask, out)

    def backward(
        self, dy: Array, *, input_gradient: bool = False, out: Array | None = None
    ) -> Array | None:
        """The gradients of all parameters, in `gradient_vector`, and with input_gradient dx.

        Parameters
        ----------
        dy : ndarray
            The loss's gradient with respect to the last forward pass's output, of its shape and
            type.
        input_gradient : bool
            Whether dx is wanted. Nobody needs that of a whole network to train it, and it is a
            quarter of the work.
        out : ndarray or None
            Where to write dx, instead of a new array.

        Returns
        -------
        dx : ndarray or None
            None unless input_gradient is True.

        Raises
        ------
        RuntimeError
            Without a forward pass before it, or for a second one.
        TypeError, ValueError
            For a dy of another type or shape.
        """
        return super().backward(dy, input_gradient=input_gradient, out=out)

    # Said here, so that its passes count as the package's, and those of a subclass as a reader's.
    at_work = LayerList.at_work

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of y for an x of this shape; ValueError, naming the layer, if there is none."""
        layers = self._units
        shapes = known_shapes(layers, shape)
        if len(shapes) <= len(layers):
            layer = layers[len(shapes) - 1]
            raise ValueError(
                f"{layer._name}: decides the shape of its output itself: run forward and look at it"
            )
        return shapes[-1]

    @cached_property
    def _leaves(self) -> tuple[Layer, ...]:
        return self._flat("_leaves")

    @property
    def _units(self) -> tuple[Layer, ...]:
        return (self,) if runs_as_written(self) else self._flat("_units")

    @property
    def _steps(self) -> tuple[Layer, ...]:
        """What runs one after another: the leaves; itself alone, with a forward of its own."""
        return (self,) if runs_as_written(self) else self._leaves

    def _plan_for(self, x: Array, mode: Mode) -> Plan:
        # A mask is another one for each batch.
        plan = None if mode.mask is not None else self._plans.take((x.shape, x.dtype.char, mode))
        if plan is None:
            layers = self._leaves if mode.keeps else self._steps
            plan = Plan(layers, x.shape, x.dtype, mode, is_network=True)
        plan.kept_by = self._plans
        return plan

    def _release(self, plan: Plan) -> None:
        if not plan.mode.keeps:
            plan.let_go()
        # Where a setting has changed meanwhile, these are no longer the network's.
        if plan.mode.mask is None:
            plan.kept_by.put((plan.shapes[0], plan.dtype.char, plan.mode), plan)

    def _refusal(self, x: Array) -> Exception | None:
        if waiting_batches() is not None or np.isfinite(x).all():
            return None
        return ValueError("x: expected finite values in training: look at np.isfinite(x)")

    def _no_forward(self) -> Exception:
        return RuntimeError("Sequential: no forward pass is pending: call forward again first")

    def _check_type(self, x: Array, name: str = "x") -> None:
        checks.float_array(name, x)
        if (wanted := self._dtype) is not None and x.dtype != wanted:
            raise TypeError(
                f"{name}: the network holds {wanted}, got {x.dtype}: pass {name}.astype"
                f"(np.{wanted}), or use network.astype(np.{x.dtype})"
            )
        checks.batch(name, x)

    # Inference

    @np.errstate(all="ignore")
    def predict_probabilities(
        self, x: Array, *, statistics: Statistics = "population", mask: Array | None = None
    ) -> Array:
        """softmax of the network's output, in inference; a pending backward pass stays as it was.

        Parameters
        ----------
        x : ndarray, shape (N, ...)
        statistics : "population" or "batch"
            With "batch" the whole of x is one batch, whose own statistics normalize it.
        mask : ndarray of bool, shape (N, T), or None
            Which steps of sequences are some, as for `forward`.

        Returns
        -------
        ndarray, shape (N, classes), or (N, T, classes)

        Raises
        ------
        TypeError, ValueError
            For an x of another type or shape.
        """
        outputs = self._inferred(x, statistics, mask)
        return np.concatenate([functional.softmax(y) for y in outputs])

    def predict(
        self, x: Array, *, statistics: Statistics = "population", mask: Array | None = None
    ) -> NDArray[np.intp]:
        """The class of each row, (N,), or step, (N, T): where its largest output is, or a NaN.

        Its arguments are those of `predict_probabilities`.
        """
        return np.concatenate([y.argmax(-1) for y in self._inferred(x, statistics, mask)])

    def accuracy(
        self,
        images: Array,
        labels: Array,
        *,
        statistics: Statistics = "population",
        mask: Array | None = None,
    ) -> float:
        """The share of images whose predicted class is their label, a float from 0 to 1.

        Parameters
        ----------
        images, statistics, mask
            As for `predict_probabilities`, images being x.
        labels : ndarray of int, shape (N,)
            From 0 to the number of classes - 1; or (N, T) where there is one for each step, of
            which those that the mask leaves out do not count.
        """
        checks.batch("images", images)
        predicted, shape = [], ()
        for y in self._inferred(images, statistics, mask):
            if y.shape[1:] != shape:
                shape = y.shape[1:]
                checks.labels_of(labels, (len(images), *shape))
            predicted.append(y.argmax(-1))
        right = np.concatenate(predicted) == labels
        if mask is not None and right.shape == mask.shape:
            right = right[mask]
        return int(np.count_nonzero(right)) / right.size

    def evaluate(
        self,
        x: Array,
        targets: Array,
        *,
        loss: LossFunction = functional.softmax_cross_entropy,
        statistics: Statistics = "population",
        mask: Array | None = None,
    ) -> Evaluation:
        """Loss, accuracy and confusion matrix on x and its targets: print it.

        Parameters
        ----------
        x, statistics, mask
            As for `predict_probabilities`.
        targets : ndarray
            What the loss takes, labels (N,) or (N, T) if none is given.
        loss : function
            As for `fit`.

        Returns
        -------
        Evaluation
            Where the targets are no labels, of squared_error say, its accuracy and confusion are
            None. What has an ignored label counts nowhere.

        Raises
        ------
        TypeError, ValueError
            For x or targets of another type, shape or range.
        """
        return evaluated(self, x, targets, Loss(loss), statistics, "targets", mask)

    def _inferred(
        self, x: Array, statistics: Statistics, mask: Array | None = None
    ) -> Iterator[Array]:
        """The network's output in inference, block by block; each is written over by the next."""
        mode = Mode(False, checks.mode(False, statistics), keeps=False)
        self._check_type(x)
        if mask is not None:
            checks.row_mask("mask", mask, len(x))
        rows = rows_at_a_time(self._steps, x)
        if mode.statistics == "batch":
            rows = len(x)
        for start in range(0, len(x), rows):
            block = x[start : start + rows]
            if mask is not None:
                mode = mode._replace(mask=mask[start : start + rows])
            plan = self._plan_for(block, mode)
            with computing():
                y = plan.forward(np, self._steps, block, None)
            yield y
            self._release(plan)

    def layer_by_layer(self, x: Array, *, statistics: Statistics = "population") -> list[LayerRun]:
        """What each layer is given and what it makes of it in inference: (name, layer, x, y) each.

        Parameters, statistics and a pending backward pass stay as they were.

        Parameters
        ----------
        x : ndarray, shape (N, ...)
            One batch; all x and y are new arrays, so pass some hundred rows.
        statistics : "population" or "batch"
            With "batch" the statistics of x normalize it.

        Returns
        -------
        list of LayerRun
            In the order in which they end; name is what messages call a layer, "layer 3, ReLU()".
            Of a network within it is its layers, of a `Residual` its layers and itself; a layer of
            a reader's own is one, whatever it holds.

        Raises
        ------
        TypeError, ValueError
            For an x of another type or shape.

        Examples
        --------
        ::

            for name, layer, x, y in network.layer_by_layer(images):
                print(name, y.mean(), y.std())
        """
        statistics = checks.mode(False, statistics)
        self._check_type(x)
        return watched_run(self._steps, x, statistics)

    def recompute_population(
        self, images: Array, *, batch_size: int = 1000, mask: Array | None = None
    ) -> None:
        """Set every BatchNorm's population statistics to the exact ones of images, layer by layer.

        ::

            mean = sum(x) / m,  variance = sum((x - mean)^2) / m

        over all m values of a feature, where x is what reaches the layer in inference, the layers
        before it being exact already (with unbiased_population, m - 1 in the variance). A frozen
        one keeps its own.

        Parameters
        ----------
        images : ndarray, shape (N, ...)
        batch_size : int
            So many rows are taken at a time, fewer where rows are large.
        mask : (N, T) array of bools, optional
            Which steps of sequences are some, as for `forward`; the others count nowhere.

        Raises
        ------
        TypeError, ValueError
            For images of another type or shape, or that are not finite, and for a network with
            passes of its own.

        References
        ----------
        Wu & Johnson 2021, PreciseBN.
        """
        batch_size = checks.integer("batch_size", batch_size, minimum=1)
        self._check_type(images)
        self._check_layers_are_all()
        if mask is not None:
            checks.kept_rows("mask", mask, (len(images), *np.shape(mask)[1:]))
        recompute_population(self._leaves, images, batch_size, mask)

    def fold_batch_norm(self) -> Sequential:
        """A network for inference with each BatchNorm folded into the Dense right before it.

        Its outputs are this network's with population statistics, to rounding. Other layers stay as
        copies, also a BatchNorm after another layer; nested networks are laid flat. TypeError for a
        network with passes of its own.
        """
        self._check_layers_are_all()
        return Sequential(folded_layers(self._units))

    def tape(
        self,
        images: Array,
        labels: Array | None = None,
        *,
        optimizer: Any = None,
        mask: Array | None = None,
    ) -> Tape:
        """The NumPy calls of one training step on these images and labels: print it.

        A copy of the network makes the step, so nothing moves here. Each line is a call that was
        made, as Python, with the type and shape of what it wrote; `blocks` has them layer by layer,
        with the arrays as they were before.

        Parameters
        ----------
        images : ndarray, shape (N, ...)
        labels : ndarray of int, shape (N,), or None
            Without them it is the forward pass of inference.
        optimizer : Optimizer or None
            If given, the update is shown as well, of a copy.
        mask : (N, T) array of bools, optional
            As for `forward`.

        Returns
        -------
        Tape

        Raises
        ------
        TypeError, ValueError
            For images or labels of another type, shape or range, for what is no optimizer, and for
            one without labels.
        """
        if mask is not None:
            checks.mask("mask", mask, np.shape(mask))
        return taped_step(self, images, labels, optimizer, mask)

    def save(self, path: str | PathLike[str]) -> None:
        """Write parameters and state, population statistics included, to the file `path`.

        At any moment the file is the old one or the new one, whole. OSError where it cannot be.
        """
        checkpoint.save(path, {**self.parameters, **self.state}, {"layers": self._description()})

    def load(self, path: str | PathLike[str]) -> None:
        """Read parameters and state from a file that `save` wrote: all of it, or nothing.

        Settings stay as they are here.

        Raises
        ------
        FileNotFoundError
            Where there is no file.
        ValueError
            Naming the file, for another network's or a damaged one.

        Warns
        -----
        UserWarning
            Where settings of training alone (momentum, a Dropout's rate) were others; it says
            which.
        """
        arrays, header = checkpoint.load(path)
        own = {**self.parameters, **self.state}
        held = checkpoint.held_layers(path, header)
        computed, trained = differences(held, self._units)
        if computed:
            raise ValueError(
                f"{fsdecode(path)}: holds another network: {computed[0]}: load it into one like "
                "that and set settings afterwards, or copy arrays by name from "
                "npbn.checkpoint.load(...)[0]"
            )
        checkpoint.check_arrays(path, arrays, own)
        if trained:
            warnings.warn(
                f"{fsdecode(path)}: loaded, but trained with other settings: {'; '.join(trained)}",
                stacklevel=2,
            )
        for name, value in arrays.items():
            own[name][...] = value

    def _description(self) -> list[str]:
        return list(map(repr, self._units))

    def _check_layers_are_all(self) -> None:
        """Refuse a network with passes of its own."""
        if runs_as_written(self):
            raise TypeError(
                f"{type(self).__name__}: has passes of its own, and what reaches its layers is "
                "not known here: make a plain Sequential of the layers"
            )

    def _convert(self, dtype: np.dtype[Any]) -> None:
        for layer in self._layers:
            layer._convert(dtype)
        self._assemble()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._assemble()

    def __str__(self) -> str:
        return table(self)
