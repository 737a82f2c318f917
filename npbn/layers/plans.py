"""The plans that a network keeps, for the shapes, types and modes that it met last."""

from threading import Lock
from typing import Any

from npbn.layers.plan import Plan


class Plans:
    """A few plans by what they are for; one at work is with the thread alone that took it."""

    COUNT = 8
    BYTES = 1 << 28

    def __init__(self) -> None:
        self._kept: dict[Any, Plan] = {}
        self._lock = Lock()

    def take(self, key: Any) -> Plan | None:
        """The plan for key, if one is at hand."""
        with self._lock:
            return self._kept.pop(key, None)

    def put(self, key: Any, plan: Plan) -> None:
        """Keep it, as the one used last."""
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = plan
            while len(self._kept) > 1 and (
                len(self._kept) > self.COUNT
                or sum(each.nbytes for each in self._kept.values()) > self.BYTES
            ):
                del self._kept[next(iter(self._kept))]
