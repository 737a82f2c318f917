"""Fresh processes that measure, with the threads set before any library is loaded."""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock

from benchmarks.comparison import Disagreement

LIMITS = [
    *(f"{name}_NUM_THREADS" for name in ("OMP", "OPENBLAS", "MKL", "BLIS", "VECLIB_MAXIMUM")),
    *("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC"),
]


class Failed(Exception):
    """A measuring process ended early; the message is its own."""


def environment(threads: str) -> dict[str, str]:
    """The environment of a process that measures, with "one" thread for each library or "default".

    The libraries read these when they are imported. JAX's CPU client goes by NPROC: with the flags
    that are often named for it, multi_thread_eigen=false and the like, JAX 0.10 still kept two
    cores busy. Each record's `cores` shows whether it worked.
    """
    own = {name: value for name, value in os.environ.items() if name not in LIMITS}
    own |= dict.fromkeys(LIMITS, "1") if threads == "one" else {}
    # No GPU in a comparison of CPUs, and only errors on stderr.
    own |= {"CUDA_VISIBLE_DEVICES": "-1", "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"}
    own |= {"KERAS_BACKEND": "tensorflow", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    return own


@contextmanager
def started(
    work: Callable[..., Any], *arguments: Any, threads: str = "one"
) -> Iterator[Connection]:
    """A process in which work(connection, *arguments) runs, until the block ends."""
    context = multiprocessing.get_context("spawn")
    own, its = context.Pipe()
    process = context.Process(target=_run, args=(its, work, arguments))
    with mock.patch.dict(os.environ, environment(threads), clear=True):
        process.start()
    its.close()
    try:
        yield own
        own.close()
        process.join(10)  # libraries have something to clean up, too
    finally:
        process.kill()
        process.join()


def messages(connection: Connection) -> Iterator[Any]:
    """What the process sends, until it is done; Failed if it fails, even without a word."""
    while (message := ask(connection)) is not None:
        yield message


def ask(connection: Connection, *questions: Any) -> Any:
    """The process's next message, after it was sent the questions. None: it is done."""
    try:
        with suppress(BrokenPipeError):  # what it said before it ended can still be read
            for question in questions:
                connection.send(question)
        message = connection.recv()
    except EOFError:
        raise Failed("a measuring process died") from None
    if isinstance(message, Failed):
        raise message
    return message


def _run(connection: Connection, work: Callable[..., Any], arguments: Any) -> None:
    os.dup2(2, 1)  # what libraries print is not part of the tables
    try:
        work(connection, *arguments)
        connection.send(None)
    except EOFError:
        pass  # nobody asks any more
    except Disagreement as error:
        connection.send(Failed(str(error)))
    except Exception:
        connection.send(Failed(traceback.format_exc()))
    except KeyboardInterrupt:
        sys.exit(130)
