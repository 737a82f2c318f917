"""What the library promises about its speed, each with the bound and what was measured."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from benchmarks.results import Results

NATIVE, AUTOGRAD_PATH = "PyTorch, native kernels", "PyTorch"
TEXTBOOK = "textbook NumPy"
LARGE = ([1024, 1024], [60, 28, 28, 32], [50176, 32], [65536, 64], [8192, 1024])


@dataclass(frozen=True)
class Bound:
    """A ratio of two times, what it may be at most, and how its turns are read from results."""

    what: str
    at_most: float
    measured: Callable[[Results], list[float]]


def bounds() -> Iterator[Bound]:
    """All of them. float32, one thread each, turns taken together."""
    step = "training step with batch norm, batch 60"
    for what, at_most, below in (
        ("its own bare matrix products", 1.45, "bare products"),
        ("PyTorch eager", 0.52, "PyTorch"),
        ("JAX jit, one call a step", 0.9, "JAX jit"),
        ("JAX, loop compiled with lax.scan", 1.1, "JAX lax.scan"),
        ("autograd", 0.2, "autograd"),
        ("textbook NumPy, float32", 0.38, TEXTBOOK),
    ):
        yield Bound(f"{step} / {what}", at_most, _step(below))
    yield Bound(
        "training loop without sampling / bare step",
        1.1,
        lambda results: results.ratios("loop", "fit", "bare step", batch_norm=True),
    )
    yield Bound(
        "step, another process on the second core / step alone",
        1.3,
        lambda results: results.ratios("step", "npbn, second core busy", "npbn, alone", busy=True),
    )
    both = "batch norm forward + backward"
    yield Bound(f"{both}, 60x100 / PyTorch, autograd path", 0.55, _both([60, 100], AUTOGRAD_PATH))
    for shape, at_most in (
        ([256, 512], 1.6),
        ([1024, 1024], 1.4),
        ([8192, 1024], 0.65),
        ([65536, 64], 1.2),
        ([50176, 32], 1.6),
    ):
        name = "x".join(map(str, shape))
        yield Bound(f"{both}, {name} / PyTorch, native kernels", at_most, _both(shape, NATIVE))
    for shape, at_most in (
        ([60, 100], 0.55),
        ([256, 512], 0.55),
        *((shape, 0.42) for shape in LARGE),
    ):
        name = "x".join(map(str, shape))
        yield Bound(f"{both}, {name} / textbook NumPy", at_most, _both(shape, TEXTBOOK))
    for who in ("npbn", "npbn, folded"):
        yield Bound(f"evaluation of 10,000 images, {who} / PyTorch, no_grad", 0.8, _evaluation(who))


def _step(below: str) -> Callable[[Results], list[float]]:
    return lambda results: results.ratios("step", "npbn", below, batch_norm=True, busy=False)


def _both(shape: list[int], below: str) -> Callable[[Results], list[float]]:
    case = {"operation": "forward+backward", "shape": shape, "dtype": "float32"}
    return lambda results: results.ratios("kernels", "npbn", below, **case)


def _evaluation(who: str) -> Callable[[Results], list[float]]:
    def measured(results: Results) -> list[float]:
        """Against PyTorch's better way: the whole at once, or in blocks."""
        each = [
            results.ratios("evaluation", who, below, batch_norm=True, images=10_000)
            for below in ("PyTorch, whole", "PyTorch, blocks of 500")
        ]
        return max(filter(None, each), key=median, default=[])

    return measured
