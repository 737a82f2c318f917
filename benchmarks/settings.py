"""How much is measured: everything, or with --quick just enough to see the order of things."""

from dataclasses import dataclass

Shape = tuple[int, ...]

SHAPES: tuple[Shape, ...] = (
    (60, 100),
    (256, 512),
    (1024, 1024),
    (60, 28, 28, 32),
    (50176, 32),
    (65536, 64),
    (8192, 1024),
)

# Of images: the layer, the shape of x, and a convolution's filters.
LAYERS: tuple[tuple[str, Shape, int], ...] = (
    ("Conv2D", (60, 28, 28, 1), 32),
    ("Conv2D", (60, 14, 14, 32), 64),
    ("Conv2D", (60, 28, 28, 32), 32),
    ("MaxPool2D", (60, 28, 28, 32), 0),
    ("AvgPool2D", (60, 28, 28, 32), 0),
    ("GlobalAvgPool2D", (60, 28, 28, 32), 0),
)

# Of sequences and norms: the layer, the shape of x, and an LSTM's units or the groups.
SEQUENCES: tuple[tuple[str, Shape, int], ...] = (
    ("LSTM", (60, 28, 28), 100),
    ("LayerNorm", (60, 28, 28, 32), 0),
    ("LayerNorm", (60, 28, 100), 0),
    ("GroupNorm", (60, 28, 28, 32), 8),
    ("GroupNorm", (60, 14, 14, 64), 8),
    ("InstanceNorm", (60, 28, 28, 32), 0),
)


@dataclass(frozen=True)
class Settings:
    """What to measure and for how long.

    turns, seconds: rounds, and the shortest time of a turn of each contestant in a round.
    shapes, dtypes: of the kernels. steps: of a training run. images: evaluated. starts: fresh
    processes for an import. batches, widths, depths: sizes for the group growth. layers: of images.
    sequences: layers of these, and norms.
    """

    turns: int = 15
    seconds: float = 0.02
    shapes: tuple[Shape, ...] = SHAPES
    dtypes: tuple[str, ...] = ("float32", "float64")
    steps: int = 2000
    images: int = 10_000
    starts: int = 7
    batches: tuple[int, ...] = tuple(2**exponent for exponent in range(14))
    widths: tuple[int, ...] = (10, 32, 100, 320, 1000, 2048, 4096)
    depths: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100)
    layers: tuple[tuple[str, Shape, int], ...] = LAYERS
    sequences: tuple[tuple[str, Shape, int], ...] = SEQUENCES


FULL = Settings()
QUICK = Settings(
    turns=5,
    seconds=0.005,
    shapes=SHAPES[:2],
    dtypes=("float32",),
    steps=500,
    starts=1,
    batches=(1, 8, 64, 512),
    widths=(10, 100, 1000),
    depths=(1, 10),
    layers=LAYERS[:2],
    sequences=SEQUENCES[:2],
)
