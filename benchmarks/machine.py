"""What a time depends on beside the code: the CPU, the system, BLAS, the versions."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

import npbn

DISTRIBUTIONS = {"tensorflow": ("tensorflow_cpu", "tensorflow"), "sklearn": ("scikit-learn",)}
LIBRARIES = ("torch", "jax", "jaxlib", "tensorflow", "keras", "autograd", "sklearn", "scipy")


def describe() -> dict[str, Any]:
    """CPU, number of cores, system, Python, BLAS, commit, and who gets huge pages on Linux."""
    from threadpoolctl import threadpool_info

    np.dot(np.ones(2), np.ones(2))
    names = ("internal_api", "version", "architecture")
    info = _text("/proc/cpuinfo").partition("model name")[2].partition("\n")[0].strip("\t :")
    # With "madvise" NumPy's large arrays do, PyTorch's do not.
    pages = _text("/sys/kernel/mm/transparent_hugepage/enabled")
    return {
        "cpu": info or platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "blas": [
            " ".join(str(each.get(name)) for name in names)
            for each in threadpool_info()
            if each["user_api"] == "blas"
        ],
        "commit": _commit(),
        "huge_pages": pages.partition("[")[2].partition("]")[0] or "unknown",
    }


def versions() -> dict[str, str]:
    """The version of npbn, of NumPy, and of each peer that is installed."""
    found = {"npbn": npbn.__version__, "numpy": np.__version__}
    for name in LIBRARIES:
        for candidate in DISTRIBUTIONS.get(name, (name,)):
            try:
                found.setdefault(name, metadata.version(candidate))
            except metadata.PackageNotFoundError:
                continue
    return found


def _commit() -> str:
    """Of the code that is measured; "-dirty" where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    folder = Path(__file__).parent
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _text(path: str) -> str:
    file = Path(path)
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
