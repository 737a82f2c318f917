"""The file of a run: one JSON object with where it was measured and every value of every turn."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import timing

FORMAT = 1


@dataclass
class Record:
    """What one contestant took in one case.

    group: the part of the benchmark. case: what was measured, names to texts, numbers or lists.
    threads: "one" or "default". unit: "s" or "bytes". values: one a turn; turns of the same group,
    case and threads were taken together. cpu: processor time beside each. calls: of a turn.
    """

    group: str
    case: dict[str, Any]
    who: str
    threads: str
    values: list[float]
    unit: str = "s"
    cpu: list[float] = field(default_factory=list)
    calls: int = 1

    @property
    def median(self) -> float:
        """The middle one of the values."""
        return timing.quartiles(self.values)[1]

    @property
    def cores(self) -> float | None:
        """How many processors were at work: processor time over time; None where not measured."""
        return timing.ratio(self.cpu, self.values) if self.cpu else None


@dataclass
class Results:
    """A run: what was measured, and with what.

    run: when and how it was started. machine: CPU, system, BLAS. versions: of each library.
    missing: peer or contestant -> why it was left out.
    """

    run: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the file, whole or not at all."""
        fields = {"format": FORMAT, **asdict(self)}
        partial = Path(f"{path}.part")
        partial.write_text(json.dumps(fields, separators=(",", ":")) + "\n", encoding="utf-8")
        os.replace(partial, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Results":
        """Read what `save` wrote. ValueError, naming the file, for anything else."""
        try:
            fields = json.loads(Path(path).read_text(encoding="utf-8"))
            if fields.pop("format") != FORMAT:
                raise ValueError("another format")
            records = [Record(**each) for each in fields.pop("records")]
            return cls(records=records, **fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{path}: not a file of `python -m benchmarks` ({error})") from None

    def find(
        self, group: str, who: str | None = None, threads: str = "one", **case: Any
    ) -> list[Record]:
        """The records of a group whose case has these values."""
        return [
            record
            for record in self.records
            if record.group == group
            and record.threads == threads
            and who in (None, record.who)
            and all(record.case.get(name) == value for name, value in case.items())
        ]

    def ratios(self, group: str, above: str, below: str, **case: Any) -> list[float]:
        """The ratios of turns taken together; none where one of the two was not measured."""
        for record in self.find(group, above, **case):
            for other in self.find(group, below, **record.case):
                return timing.ratios(record.values, other.values)
        return []


def by_case(records: Iterable[Record]) -> list[tuple[Mapping[str, Any], list[Record]]]:
    """The records put together by case and threads, in the order in which they come."""
    groups: dict[str, tuple[Mapping[str, Any], list[Record]]] = {}
    for record in records:
        key = json.dumps([record.case, record.threads], sort_keys=True)
        groups.setdefault(key, (record.case, []))[1].append(record)
    return list(groups.values())
