"""The results file: JSON lines, written as runs finish."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from npbn import _html
from npbn.experiments.description import Run
from npbn.experiments.measure import Result

Kinds = tuple[Any, Any]

# How every record's line begins: a tail that does not was not left by an append.
START = b'{"run":'


@dataclass(frozen=True)
class Record:
    """One line of the results file.

    Attributes
    ----------
    run : Run
        What was described, a `Run` or another frozen dataclass of what JSON has, lists as tuples.
    result : Result or None
        What it came to, a `Result` or another one likewise; None for a run whose worker died.
    deaths : int
        In the last record of such a run, how often its worker has died.
    machine : dict
        Where it ran.
    """

    run: Any
    result: Any
    deaths: int
    machine: dict[str, str]

    def as_json(self) -> str:
        """The record as its line, without the line's end."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, line: str | bytes, kinds: Kinds = (Run, Result)) -> Record:
        """The record of a line; ValueError, KeyError or TypeError if it is none."""
        fields = json.loads(line)
        result = None if fields["result"] is None else _made(kinds[1], fields["result"])
        return cls(_made(kinds[0], fields["run"]), result, fields["deaths"], fields["machine"])

    def _repr_html_(self) -> str:
        died = _html.paragraph(f"no result: its worker has died, {self.deaths} times")
        return _html.block(
            _html.fields(self.run),
            died if self.result is None else _html.fields(self.result),
            _html.details("machine", _html.table((), list(self.machine.items()))),
        )


def _made(kind: Any, fields: Any) -> Any:
    return kind(**{name: _frozen(fields[name]) for name in fields})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


@cache
def machine() -> dict[str, str]:
    """What the bits of a result depend on beside its run: versions, BLAS, CPU."""
    from threadpoolctl import threadpool_info

    blas = [each for each in threadpool_info() if each["user_api"] == "blas"]
    names = ("internal_api", "version", "architecture")
    return {
        "npbn": sys.modules["npbn"].__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": "; ".join(" ".join(str(each.get(name, "")) for name in names) for each in blas[:1]),
        "cpu": _cpu(),
        "simd": " ".join(np.show_config(mode="dicts")["SIMD Extensions"]["found"]),
        "system": f"{platform.system()} {platform.machine()}",
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()


def read_results(path: str | os.PathLike[str], kinds: Kinds = (Run, Result)) -> dict[Any, Record]:
    """The last record of each run in a results file; empty if there is no file.

    A last line without its end, as a process leaves that was killed while it wrote, does not count.

    Parameters
    ----------
    path : path
    kinds : tuple
        The classes of the runs and of their results.

    Returns
    -------
    dict
        Run -> Record.

    Raises
    ------
    ValueError
        Naming file and line, for any other line that is no record; the file stays as it is.
    """
    return {record.run: record for record in _records(Path(path), kinds)}


def _records(path: Path, kinds: Kinds) -> Iterator[Record]:
    if not path.exists():
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            torn = not line.endswith(b"\n")
            if torn and (line.startswith(START) or START.startswith(line)):
                return
            try:
                if torn:
                    raise ValueError("neither a whole line nor the beginning of a result")
                yield Record.from_json(line, kinds)
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise ValueError(
                    f"{path}, line {number}: no result of a run ({type(error).__name__}: {error}): "
                    "remove the line, or pass another file"
                ) from None


class ResultsFile:
    """A results file to append to."""

    def __init__(self, path: str | os.PathLike[str], kinds: Kinds = (Run, Result)) -> None:
        self.path = Path(path)
        self.records = read_results(self.path, kinds)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            # A torn last line goes; what follows must begin on a line of its own.
            file.seek(0)
            end = 0
            for line in file:
                end += len(line) if line.endswith(b"\n") else 0
            file.truncate(end)

    def append(self, record: Record) -> None:
        """Add a record; it is on the disk when this returns."""
        with self.path.open("ab") as file:
            file.write(record.as_json().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.records[record.run] = record
