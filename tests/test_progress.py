"""Where a progress bar is shown, that it warns nobody, and what it costs where it is not shown."""

import os
import subprocess
import sys
import threading
import types

import pytest

from npbn._progress import progress_bar

RUN = """
import sys
import warnings
warnings.simplefilter("error")
from npbn._progress import progress_bar
with progress_bar(500, description="training", initial=100) as bar:
    for step in range(400):
        bar.update()
    bar.set_postfix_str("accuracy 0.97")
import threading
print(threading.active_count(), "tqdm.auto" in sys.modules, "IPython" in sys.modules)
"""


def in_a_terminal(code):
    """What code writes to its standard error, a terminal of 100 columns, and to its output."""
    termios = pytest.importorskip("termios", reason="Windows has no pseudo-terminals")
    ours, theirs = os.openpty()
    termios.tcsetwinsize(theirs, (25, 100))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=theirs
    ) as process:
        os.close(theirs)
        written = b""
        try:
            while block := os.read(ours, 4096):
                written += block
        except OSError:  # how Linux says that the other end is closed
            pass
        finally:
            os.close(ours)
        output = process.stdout.read()
    assert process.returncode == 0, written.decode()
    return written.decode(), output.decode()


def test_a_terminal_gets_a_bar():
    written, output = in_a_terminal(RUN)
    assert "training" in written
    assert "100/500" in written
    assert "500/500" in written
    assert " step/s" in written
    assert "accuracy 0.97" in written
    assert output.split() == ["1", "False", "False"]  # no thread that a later fork would meet


@pytest.mark.parametrize("stream", [None, "closed"])
def test_without_a_standard_error_there_is_no_bar(stream, monkeypatch, tmp_path):
    if stream == "closed":
        stream = (tmp_path / "closed").open("w")
        stream.close()
    monkeypatch.setattr(sys, "stderr", stream)
    with progress_bar(3) as bar:
        bar.update(3)


class Stream:
    """Keeps what is written to it and says that it is a terminal, or not."""

    encoding = "utf-8"

    def __init__(self, isatty):
        self.written = ""
        self.isatty = lambda: isatty

    def write(self, text):
        self.written += text

    def flush(self):
        pass


def pretend_stderr(monkeypatch, isatty=False):
    """In the test's body: pytest sets sys.stderr anew between a fixture and its test."""
    stream = Stream(isatty)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def pretend_shell(monkeypatch, name, base=object):
    shell = type(name, (base,), {})
    module = types.ModuleType("IPython")
    module.get_ipython = lambda: shell()
    monkeypatch.setitem(sys.modules, "IPython", module)
    return shell


def pretend_widgets(monkeypatch, shown):
    """tqdm.notebook with widgets that only keep their values."""
    import tqdm.notebook as notebook

    class Widget:
        def __init__(self, children=(), **values):
            self.children = children
            self.layout, self.style = types.SimpleNamespace(), types.SimpleNamespace(bar_color=None)
            self.value, self.bar_style = None, ""
            vars(self).update(values)

        def close(self):
            pass

    class Box(Widget):
        pass

    for name in ("IProgress", "HTML"):
        monkeypatch.setattr(notebook, name, Widget, raising=False)
    monkeypatch.setattr(notebook, "TqdmHBox", Box, raising=False)
    monkeypatch.setattr(notebook, "display", shown.append, raising=False)


@pytest.mark.parametrize("subclass", [False, True], ids=["Jupyter", "Colab"])
def test_a_notebook_gets_the_notebook_bar(monkeypatch, subclass):
    stream = pretend_stderr(monkeypatch)
    kernel = pretend_shell(monkeypatch, "ZMQInteractiveShell")
    if subclass:
        pretend_shell(monkeypatch, "Shell", kernel)
    shown = []
    pretend_widgets(monkeypatch, shown)
    with progress_bar(20, description="training") as bar:
        bar.update(20)
    (container,) = shown
    text, widget, _ = container.children
    assert "training" in text.value
    assert widget.max == 20
    assert widget.value == 20
    assert stream.written == ""


def test_a_notebook_without_widgets_gets_the_text_bar(monkeypatch):
    stream = pretend_stderr(monkeypatch)
    import tqdm.notebook

    pretend_shell(monkeypatch, "ZMQInteractiveShell")
    monkeypatch.setattr(tqdm.notebook, "IProgress", None)
    threads = threading.active_count()
    with progress_bar(20, unit="run") as bar:
        bar.update(20)
    assert "20/20" in stream.written
    assert " run/s" in stream.written
    assert threading.active_count() == threads


@pytest.mark.parametrize(
    ("shell", "isatty", "enabled", "shown"),
    [
        (None, True, True, True),
        (None, True, False, False),
        (None, False, True, False),
        ("ZMQInteractiveShell", False, False, False),
        ("TerminalInteractiveShell", True, True, True),
        ("TerminalInteractiveShell", False, True, False),
        ("none, as IPython was imported by a script", True, True, True),
        ("none, as IPython was imported by a script", False, True, False),
    ],
)
def test_a_text_bar_is_for_terminals_where_it_is_enabled(
    monkeypatch, shell, isatty, enabled, shown
):
    stream = pretend_stderr(monkeypatch, isatty)
    if shell is not None:
        pretend_shell(monkeypatch, shell)
    if shell and shell.startswith("none"):
        monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: None)
    with progress_bar(20, enabled=enabled) as bar:
        bar.update(20)
    assert ("20/20" in stream.written) == shown
    assert shown or not stream.written


def test_an_error_inside_passes_and_closes_the_bar(monkeypatch):
    stream = pretend_stderr(monkeypatch, isatty=True)
    bar = progress_bar(20)

    def run():
        with bar:
            bar.update(7)
            raise KeyError

    with pytest.raises(KeyError):
        run()
    assert "7/20" in stream.written
    assert stream.written.endswith("\n")
    bar.close()


def test_a_bar_that_is_not_shown_costs_next_to_nothing():
    bar = progress_bar(20, enabled=False)
    bar.set_postfix_str("accuracy 0.97", refresh=False)
    # In a process of its own: measuring coverage would slow it down many times.
    clock = (
        "import timeit; from npbn._progress import progress_bar; "
        "update = progress_bar(20, enabled=False).update; "
        "print(min(timeit.repeat(update, number=10_000, repeat=20)) / 10_000)"
    )
    done = subprocess.run([sys.executable, "-c", clock], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2e-7
    bar.close()
    bar.close()
