"""A layer at work: what a plan runs, and what it must know of each pass."""

from typing import TYPE_CHECKING, Any, ClassVar

from npbn._checks import Array

if TYPE_CHECKING:
    from npbn.layers.running_average import RunningAverage


class Pass:
    """A layer at work on one shape, in one type and mode; y and dx are the plan's.

    `forward(xp, x, y)` writes y. `backward(xp, dy, dx)` writes the gradients of the parameters, and
    dx unless it is None; dy stays as it is, unless dx is dy. x and the parameters are kept by
    reference; what else backward needs lies in arrays that the pass has made once. xp is NumPy, or
    a tape that makes the same calls and writes them down.
    """

    # What may become of the arrays.
    y_over_x: ClassVar[bool] = False  # forward may be given x for y: backward does not need it
    reads_y: ClassVar[bool] = False  # backward needs y
    dx_over_dy: ClassVar[bool] = False  # backward may be given dy for dx
    is_view: ClassVar[bool] = (
        False  # y is x, dx is dy in another shape: run and run_backward say it
    )
    # What may become of an x that is refused.
    shows_infinity: ClassVar[bool] = False  # an infinity or NaN in x makes one in y
    draws: ClassVar[bool] = False  # forward moves a generator
    is_readers: ClassVar[bool] = False

    # What follows the batch's statistics, in training with them.
    average: "RunningAverage | None" = None
    y: Array | None = None
    dx: Array | None = None

    def forward(self, xp: Any, x: Array, y: Array) -> None:
        """Write y."""
        raise TypeError(f"{type(self).__name__}: a pass defines forward(xp, x, y)")

    def backward(self, xp: Any, dy: Array, dx: Array | None) -> None:
        """Write dx, unless it is None, and the gradients of the parameters."""
        raise TypeError(f"{type(self).__name__}: a pass defines backward(xp, dy, dx)")

    def run(self, xp: Any, x: Array) -> Array:
        """Forward; returns y."""
        assert self.y is not None
        self.forward(xp, x, self.y)
        return self.y

    def run_backward(self, xp: Any, dy: Array, dx: Array | None, *, wanted: bool) -> Array:
        """Backward; returns dx. wanted: whether anybody will read it."""
        self.backward(xp, dy, dx)
        return dx  # type: ignore[return-value]

    def remember(self, layer: Any) -> None:
        """Leave in the layer what it shows of a forward pass."""

    def is_finite(self) -> bool:
        """Whether the batch's statistics may go into the population's."""
        return True

    def follow(self) -> None:
        """Move the population's statistics."""
