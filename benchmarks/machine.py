"""What a time depends on beside the code: the CPU, the system, BLAS, the versions."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

DISTRIBUTIONS = {
    "torch": "torch",
    "jax": "jax",
    "jaxlib": "jaxlib",
    "tensorflow": "tensorflow_cpu",
    "keras": "keras",
    "autograd": "autograd",
    "sklearn": "scikit-learn",
    "scipy": "scipy",
}


def describe() -> dict[str, Any]:
    """CPU, number of cores, system, Python, BLAS, commit, who gets huge pages."""
    import numpy as np
    from threadpoolctl import threadpool_info

    np.dot(np.ones(2), np.ones(2))
    blas = [each for each in threadpool_info() if each["user_api"] == "blas"]
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "blas": [
            " ".join(str(each.get(name)) for name in ("internal_api", "version", "architecture"))
            for each in blas
        ],
        "commit": _commit(),
        "huge_pages": _huge_pages(),
    }


def _commit() -> str:
    """Of the code that is measured; "-dirty" where files differ from it."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, cwd=Path(__file__).parent, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _huge_pages() -> str:
    """Who gets huge pages on Linux: with "madvise" NumPy's large arrays do, PyTorch's do not."""
    file = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not file.exists():
        return "unknown"
    return file.read_text(encoding="utf-8").partition("[")[2].partition("]")[0]


def versions() -> dict[str, str]:
    """The version of npbn, of NumPy, and of each peer that is installed."""
    import numpy as np

    import npbn

    found = {"npbn": npbn.__version__, "numpy": np.__version__}
    for name, distribution in DISTRIBUTIONS.items():
        for candidate in (distribution, name):
            try:
                found[name] = metadata.version(candidate)
                break
            except metadata.PackageNotFoundError:
                continue
    return found


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
