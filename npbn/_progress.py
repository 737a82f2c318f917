"""A progress bar where somebody can see it: in a terminal or a notebook. Elsewhere nothing."""

import sys
from types import TracebackType
from typing import Any, Protocol, Self


class ProgressBar(Protocol):
    """What progress_bar returns: tqdm's own bar, or one that does nothing."""

    def update(self, n: int = 1) -> object:
        """n more units are done."""

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> object:
        """Show s behind the bar; refresh=False: with the bar's next refresh, at no cost."""

    def close(self) -> object:
        """The last refresh; a second call does nothing."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> object: ...


def progress_bar(
    total: int,
    *,
    enabled: bool = True,
    description: str = "",
    unit: str = "step",
    initial: int = 0,
    delay: float = 0.0,
) -> ProgressBar:
    """A context manager with update(n=1), set_postfix_str(text) and close().

    total: units in all; initial: how many of them were done before, as when a run is resumed.
    delay: so many seconds pass before anything is shown.
    A notebook gets tqdm's notebook bar, or its text bar if ipywidgets is missing; a terminal the
    text bar. If enabled is False, or standard error is a file or a pipe, nothing is shown.
    """
    notebook = _in_notebook()
    if not enabled or not (notebook or _is_terminal(sys.stderr)):
        return _NoBar()
    bar = _notebook_bar() if notebook else _text_bar()
    # miniters=1: tqdm's own guess leaves the bar standing when steps turn slow after fast ones.
    shown: ProgressBar = bar(
        total=total,
        initial=initial,
        desc=description or None,
        unit=f" {unit}",
        miniters=1,
        delay=delay,
        dynamic_ncols=not notebook,
    )
    return shown


class _NoBar:
    __slots__ = ()

    def update(self, n: int = 1) -> None:
        pass

    def set_postfix_str(self, s: str = "", refresh: bool = True) -> None:
        pass

    def close(self) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _in_notebook() -> bool:
    """A kernel that shows widgets has loaded IPython long before it runs a line of ours."""
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    kinds = type(get_shell()).__mro__ if get_shell is not None else ()
    return any(kind.__name__ == "ZMQInteractiveShell" for kind in kinds)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # pythonw has no stderr; a closed one cannot tell
        return False


def _text_bar() -> Any:
    from tqdm.std import tqdm

    return _without_thread(tqdm)


def _notebook_bar() -> Any:
    from tqdm import notebook

    # tqdm.auto would look here as well, but warn.
    return _without_thread(notebook.tqdm) if notebook.IProgress is not None else _text_bar()


def _without_thread(bar: Any) -> Any:
    """tqdm watches its bars from a thread, and a process with threads must not fork."""
    return type(bar.__name__, (bar,), {"monitor_interval": 0})
