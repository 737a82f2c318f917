"""How long `import npbn` takes, in a fresh process each time, beside NumPy's own import."""

import subprocess
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

from benchmarks.context import Context
from benchmarks.results import Record
from benchmarks.settings import Settings

NAME = "import"
DEFAULT_THREADS = False
MODULES = {
    "numpy": None,
    "npbn": None,
    "torch": "pytorch",
    "jax": "jax",
    "tensorflow": "tensorflow",
    "autograd": "autograd",
    "sklearn.neural_network": "sklearn",
}
ROOT = Path(__file__).parents[2]

_CODE = "import time; start = time.perf_counter(); import {}; print(time.perf_counter() - start)"


def cases(settings: Settings) -> list[dict[str, Any]]:
    """One case, all modules."""
    return [{}]


def run(case: dict[str, Any], context: Context) -> Iterator[Record]:
    """A Record for each module that is installed and belongs to a peer that is asked for."""
    libraries = {peer.library for peer in context.peers}
    modules = [
        module
        for module, library in MODULES.items()
        if library is None or (library in libraries and util.find_spec(module.split(".")[0]))
    ]
    seconds: dict[str, list[float]] = {module: [] for module in modules}
    # The file system has them all in its cache: this process has imported them itself.
    for _ in range(context.settings.starts):
        for module in modules:
            seconds[module].append(import_seconds(module))
    for module, values in seconds.items():
        yield Record(NAME, case, module, context.threads, values)


def import_seconds(module: str) -> float:
    """Seconds that importing a module takes in a fresh process."""
    command = [sys.executable, "-c", _CODE.format(module)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    return float(done.stdout.split()[-1])
