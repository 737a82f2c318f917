"""One BLAS thread for as long as anybody wants it."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_lock = threading.Lock()
_users = 0
_limit = ExitStack()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """The limit is the process's: the first who comes sets it, the last who goes lifts it."""
    global _users
    from threadpoolctl import threadpool_limits

    with _lock:
        if _users == 0:
            _limit.enter_context(threadpool_limits(1, user_api="blas"))
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limit.close()
