"""One BLAS thread for as long as anybody wants it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_users = 0
_holder: "_Holder | None" = None


class _Holder(threading.Thread):
    """Keeps the limit of a BLAS whose threads are the process's own.

    Of those a limit can be lifted only by the thread that set it, which may end before others that
    need it.
    """

    def __init__(self) -> None:
        super().__init__(name="npbn: one BLAS thread", daemon=True)
        self._set, self._done = threading.Event(), threading.Event()
        self.start()
        self._set.wait()

    def run(self) -> None:
        from threadpoolctl import threadpool_limits

        try:
            with threadpool_limits(1, user_api="blas"):
                self._set.set()
                self._done.wait()
        finally:
            self._set.set()

    def end(self) -> None:
        """Lift the limit."""
        self._done.set()
        self.join()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """The first who comes sets the limit, the last who goes lifts it."""
    global _users, _holder
    from threadpoolctl import threadpool_limits

    with _lock:
        if _users == 0:
            _holder = _Holder()
        _users += 1
    try:
        # A BLAS with OpenMP has a limit for each thread.
        with threadpool_limits(1, user_api="blas"):
            yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0 and _holder is not None:
                _holder.end()
                _holder = None
