"""What took time to make, and is used again: a few of each kind, of not too many bytes."""

from threading import Lock
from typing import Any, Generic, Protocol, TypeVar


class Sized(Protocol):
    """What says how much memory it holds."""

    nbytes: int


Kept = TypeVar("Kept", bound=Sized)


class AtHand(Generic[Kept]):
    """Some things by what they are for, those that were used last.

    One that is at work is with none but the thread that took it.
    """

    COUNT = 8
    BYTES = 1 << 28

    def __init__(self) -> None:
        self._kept: dict[Any, Kept] = {}
        self._lock = Lock()

    def take(self, key: Any) -> Kept | None:
        """The one for key, if it is at hand."""
        with self._lock:
            return self._kept.pop(key, None)

    def put(self, key: Any, value: Kept) -> None:
        """Keep it, as the one used last."""
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = value
            while len(self._kept) > 1 and (
                len(self._kept) > self.COUNT
                or sum(each.nbytes for each in self._kept.values()) > self.BYTES
            ):
                del self._kept[next(iter(self._kept))]
