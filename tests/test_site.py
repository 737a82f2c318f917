"""The built site: links, names, operations; and each page in Chromium, on a phone and on a desk.

The environment variable NPBN_SITE names its folder, as `python -m sphinx -W docs FOLDER` makes it.
"""

import http.server
import importlib
import json
import os
import pkgutil
import queue
import re
import shutil
import subprocess
import threading
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import npbn
from npbn import reference
from npbn.testing import CASES

ROOT = Path(__file__).parents[1]
SITE = Path(os.environ.get("NPBN_SITE", "none"))
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needs_site = pytest.mark.skipif(not SITE.is_dir(), reason="NPBN_SITE names no folder of the site")
WIDTHS = (390, 1200)


class Page(HTMLParser):
    """What a page of the site links to, loads and can be linked to."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loads = {"", "top"}, [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = {name: value or "" for name, value in attributes}
        self.ids |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.loads.append(given["href"])
        elif "src" in given:
            self.loads.append(given["src"])


@cache
def pages():
    """Path from the site's folder -> Page."""
    return {
        path.relative_to(SITE).as_posix(): Page(path)
        for path in sorted(SITE.rglob("*.html"))
        if "_static" not in path.relative_to(SITE).parts
    }


def broken(name, link):
    """Whether a link of a page leads nowhere; those to other sites are not followed."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return parts.scheme not in ("http", "https", "mailto")
    target = (SITE / name).parent / unquote(parts.path) if parts.path else SITE / name
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return True
    path = target.resolve().relative_to(SITE.resolve()).as_posix()
    return path in pages() and unquote(parts.fragment) not in pages()[path].ids


@needs_site
class TestBuiltPages:
    def test_no_link_is_broken(self):
        assert len(pages()) > 50
        found = {
            name: wrong
            for name, page in pages().items()
            if (wrong := [link for link in page.links if broken(name, link)])
        }
        assert not found
        assert broken("index.html", "nowhere.html")
        assert broken("index.html", "results.html#nowhere")

    def test_nothing_is_loaded_from_elsewhere(self):
        loads = [(name, each) for name, page in pages().items() for each in page.loads]
        assert len(loads) > 500
        elsewhere = [each for each in loads if urlsplit(each[1]).netloc]
        assert not elsewhere
        lost = [
            (name, link)
            for name, link in loads
            if not link.startswith("data:") and broken(name, link)
        ]
        assert not lost

    def test_every_public_name_is_on_a_page(self):
        ids = set().union(*(page.ids for page in pages().values()))
        rooms = [npbn.__name__] + [
            f"npbn.{each.name}"
            for each in pkgutil.iter_modules(npbn.__path__)
            if each.ispkg and hasattr(importlib.import_module(f"npbn.{each.name}"), "__all__")
        ]
        assert len(rooms) > 10
        missing = [
            f"{room}.{name}"
            for room in rooms
            for name in importlib.import_module(room).__all__
            if not {f"{room}.{name}", f"npbn.{name}", f"module-npbn.{name}"} & ids
        ]
        assert not missing


def test_every_operation_is_on_its_page():
    shown = set()
    for path in (ROOT / "docs/operations").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        shown |= set(re.findall(r"^```\{equations\} ([\w.]+)$", text, re.M))
        if path.stem != "index":
            assert text.count("$$") >= 2
            assert f"\n```{{readings}} {path.stem}\n" in text
    functions = {
        f"{getattr(reference, name).__module__.rpartition('.')[2]}.{name}"
        for name in reference.__all__
    }
    assert functions <= shown
    for case in CASES.values():
        function = case.function(reference)
        assert f"{function.__module__.rpartition('.')[2]}.{function.__name__}" in shown


# In a frame of each width: whether the page scrolls sideways, and what would be cut off, as it is
# too wide and nothing around it scrolls; whether formulas are set, and pictures there.
LOOK = """<!DOCTYPE html><body style="margin:0"><iframe height="900" style="border:0"></iframe>
<script type="module">
const [names, widths] = [%s, %s];
const frame = document.querySelector("iframe"), found = {};
const scrolls = each => /auto|scroll/.test(getComputedStyle(each).overflowX);
function tooWide(page) {
  const most = page.documentElement.clientWidth + 1, wide = [];
  const fits = each => each.getBoundingClientRect().right <= most;
  if (page.documentElement.scrollWidth > most) wide.push("the page");
  for (const each of page.querySelectorAll("[role=main] *")) {
    if (fits(each) || each.closest("mjx-assistive-mml")) continue;
    // On a phone the theme would let the whole text scroll: that does not count.
    let around = each.parentElement;
    while (around.role !== "main" && !scrolls(around)) around = around.parentElement;
    if (around.role === "main" || !fits(around)) wide.push(each.outerHTML.slice(0, 99));
  }
  return wide;
}
for (const name of names) {
  frame.width = widths[0];
  const loaded = new Promise(done => { frame.onload = done; });
  frame.src = name;
  await loaded;
  const page = frame.contentDocument;
  await frame.contentWindow.MathJax?.startup?.promise;
  const wide = [];
  for (const width of widths) {
    frame.width = width;
    await new Promise(done => setTimeout(done, 50));
    wide.push(tooWide(page));
  }
  const count = selector => page.querySelectorAll(selector).length;
  found[name] = {
    wide,
    formulas: count(".math"),
    set: count("mjx-container"),
    wrong: count("mjx-merror, [data-mjx-error], mjx-container [style*='color: red']"),
    lost: [...page.images].filter(each => each.complete && !each.naturalWidth).length,
  };
}
await fetch("found", {method: "POST", body: JSON.stringify(found)});
</script>"""
OWN = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; report-uri /violation"


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What Chromium finds on each page, and what it was to load from elsewhere."""
    names, answers, violations = list(pages()), queue.Queue(), []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=SITE)

        def do_GET(self):
            if self.path != "/look":
                return super().do_GET()
            body = (LOOK % (json.dumps(names), json.dumps(WIDTHS))).encode()
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if self.path == "/found":
                answers.put(body)
            else:
                violations.append(body)
            self.send_response(204)
            self.end_headers()

        def end_headers(self):
            self.send_header("Content-Security-Policy", OWN)
            super().end_headers()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flags = "headless no-sandbox disable-gpu no-first-run disable-background-networking"
        command = [CHROMIUM, *(f"--{flag}" for flag in flags.split())]
        command += [f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]
        command += ["--window-size=1300,1000", "--remote-debugging-port=0"]
        address = f"http://127.0.0.1:{server.server_port}/look"
        browser = subprocess.Popen(
            [*command, address], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            yield answers.get(timeout=400), violations
        finally:
            browser.terminate()
            browser.wait(30)
            server.shutdown()


@needs_site
@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
class TestInChromium:
    def test_nothing_is_too_wide(self, seen):
        found, _ = seen
        assert set(found) == set(pages())
        for place, width in enumerate(WIDTHS):
            wide = {name: each["wide"][place] for name, each in found.items()}
            assert not {name: what for name, what in wide.items() if what}, width

    def test_formulas_are_set(self, seen):
        found, _ = seen
        assert found["operations/batch_norm.html"]["formulas"] > 5
        assert not {name: each for name, each in found.items() if each["set"] < each["formulas"]}
        assert not {name: each for name, each in found.items() if each["wrong"]}

    def test_pictures_are_there(self, seen):
        assert not {name for name, each in seen[0].items() if each["lost"]}

    def test_no_page_asks_another_host(self, seen):
        assert not seen[1]
