"""How much is measured: everything, or with --quick just enough to see the order of things."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

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
POWERS = tuple(2**exponent for exponent in range(14))


@dataclass(frozen=True)
class Settings:
    """What to measure and for how long.

    turns, seconds: rounds, and the shortest time of a turn of each contestant in a round.
    shapes, dtypes: of the kernels. loop_steps: training steps of a call of fit. images: evaluated.
    run_steps: of the run whose resident memory is measured. starts: fresh processes for an import.
    batches, widths, depths: sizes for the group growth.
    """

    turns: int = 15
    seconds: float = 0.02
    shapes: tuple[Shape, ...] = SHAPES
    dtypes: tuple[str, ...] = ("float32", "float64")
    loop_steps: int = 2000
    images: int = 10_000
    run_steps: int = 2000
    starts: int = 7
    batches: tuple[int, ...] = POWERS
    widths: tuple[int, ...] = (10, 32, 100, 320, 1000, 2048, 4096)
    depths: tuple[int, ...] = (1, 2, 5, 10, 20, 50, 100)

    def as_dict(self) -> dict[str, Any]:
        """The settings as JSON has them; `from_dict` takes them back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Settings":
        """The Settings that `as_dict` described."""
        shapes = tuple(tuple(shape) for shape in fields["shapes"])
        lists = {name: tuple(value) for name, value in fields.items() if isinstance(value, list)}
        return replace(cls(**{**fields, **lists}), shapes=shapes)


FULL = Settings()
QUICK = Settings(
    turns=5,
    seconds=0.005,
    shapes=SHAPES[:2],
    dtypes=("float32",),
    loop_steps=500,
    images=10_000,
    run_steps=200,
    starts=1,
    batches=(1, 8, 64, 512),
    widths=(10, 100, 1000),
    depths=(1, 10),
)


def environment(threads: str) -> dict[str, str]:
    """The environment of a process that measures, with "one" thread for each library or "default".

    The libraries read these when they are imported. JAX's CPU client goes by NPROC: with the flags
    that are often named for it, multi_thread_eigen=false and the like, JAX 0.10 still kept two
    cores busy. Each record's `cores` shows whether it worked.
    """
    own = dict(os.environ)
    names = ["OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM", "NUMEXPR"]
    limits = [f"{name}_NUM_THREADS" for name in names]
    limits += ["TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC"]
    for name in limits:
        own.pop(name, None)
        if threads == "one":
            own[name] = "1"
    # No GPU in a comparison of CPUs, and only errors on stderr.
    own |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    own |= {"KERAS_BACKEND": "tensorflow", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    return own
