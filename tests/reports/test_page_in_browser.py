"""The page as a browser shows it, driven over Chromium's own debugging pipe."""

import itertools
import json
import os
import select
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gptfl_reports.report import write_report

MakeCell = Callable[..., Path]
ODD = '<img src=x onerror="document.title=1"><script>document.title=1</script>'
PROGRAM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
needs_browser = pytest.mark.skipif(not PROGRAM, reason="no chromium or google-chrome on PATH")


class Chromium:
    """A headless browser with one tab; messages are JSON with a zero byte behind each."""

    def __init__(self, profile: Path) -> None:
        theirs_in, self.to = os.pipe()
        self.back, theirs_out = os.pipe()
        # The browser reads from descriptor 3 and writes to 4, which a shell can arrange.
        self.process = subprocess.Popen(
            [
                "sh", "-c", f'exec "$0" "$@" 3</dev/fd/{theirs_in} 4>/dev/fd/{theirs_out}', PROGRAM,
                "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
                "--disable-background-networking", "--remote-debugging-pipe",
                f"--user-data-dir={profile}", "about:blank",
            ],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(theirs_in)
        os.close(theirs_out)
        self.ids = itertools.count(1)
        self.unread = b""
        self.session = ""
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: object) -> dict[str, Any]:
        wanted = next(self.ids)
        message = {"id": wanted, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.to, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != wanted:
            self.events.append(answer)
        assert "error" not in answer, answer
        result: dict[str, Any] = answer["result"]
        return result

    def open(self, path: Path, width: int = 1600) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        while not self.seen("Page.loadEventFired"):
            self.events.append(self._next())

    def unfold(self) -> None:
        self.js("for (const one of document.querySelectorAll('details')) one.open = true")

    def point(self, x: float, y: float) -> None:
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def seen(self, *names: str) -> list[dict[str, Any]]:
        return [event["params"] for event in self.events if event.get("method") in names]

    def js(self, expression: str) -> Any:
        answer = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait for what the page does when it has been laid out; fail after ten seconds."""
        held = self.js(
            "new Promise(done => { const end = Date.now() + 10000; const look = () => "
            f"({condition}) ? done(true) : Date.now() > end ? done(false) : setTimeout(look, 20); "
            "look(); })"
        )
        assert held, condition

    def click(self, element: str) -> None:
        self.js(f"{element}.scrollIntoView({{block: 'center', inline: 'center'}})")
        box = self.js(
            f"(r => [r.x + r.width / 2, r.y + r.height / 2])({element}.getBoundingClientRect())"
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call(
                "Input.dispatchMouseEvent",
                type=kind,
                x=box[0],
                y=box[1],
                button="left",
                clickCount=1,
            )

    def press(self, key: str) -> None:
        text = {"text": "\r"} if key == "Enter" else {}
        code = {"Enter": 13, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}[key]
        for kind in ("keyDown", "keyUp"):
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code,
                **(text if kind == "keyDown" else {}),
            )  # fmt: skip

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(20)
        os.close(self.to)
        os.close(self.back)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self.unread:
            assert select.select([self.back], [], [], 60)[0], "the browser does not answer"
            read = os.read(self.back, 1 << 16)
            assert read, "the browser has ended"
            self.unread += read
        message, _, self.unread = self.unread.partition(b"\0")
        parsed: dict[str, Any] = json.loads(message)
        return parsed


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    chromium = Chromium(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.fixture
def report(make_cell: MakeCell, run_folder: Path) -> Path:
    """Return the page of two tasks, within the run folder."""
    for seed in (0, 1):
        make_cell("fedavg", seed, [0.1, 0.095 + seed / 1000], down=9_000)
        make_cell("moon", seed, [0.1, 0.5 + seed / 10], down=800)
        make_cell("gptfl+moon", seed, [0.1, 0.7], down=2_000_000)
    make_cell("dsfl", 0, (), status="refused", reason=ODD, rounds=1)
    make_cell(ODD, 0, [0.1, 0.2], run_id="odd #1", down=50)
    make_cell("moon", 0, run_id="other", dataset={"name": f"set {ODD}"})
    write_report(run_folder, run_folder / "report")
    return run_folder / "report" / "index.html"


FIRST = "document.querySelector('.board table')"
METHODS = f"[...{FIRST}.tBodies[0].rows].map(row => row.cells[0].textContent)"
HEADS = f"[...{FIRST}.tHead.rows[0].cells]"
SHOWN = "document.getElementById('shown').textContent"


def head(title: str) -> str:
    return f"{HEADS}.find(head => head.textContent === '{title}').querySelector('button')"


@needs_browser
def test_page_asks_for_nothing_and_has_no_errors(browser: Chromium, report: Path) -> None:
    for width in (380, 1600):
        browser.open(report, width)
        asked = [r["request"]["url"] for r in browser.seen("Network.requestWillBeSent")]
        assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
        assert browser.seen("Runtime.exceptionThrown", "Log.entryAdded") == []
        assert browser.seen("Runtime.consoleAPICalled") == []
        assert browser.js("document.documentElement.scrollWidth") <= width


@needs_browser
def test_names_with_markup_are_text(browser: Chromium, report: Path) -> None:
    browser.open(report)
    browser.unfold()
    assert browser.js("document.title").endswith("gptfl-bench")
    assert browser.js("document.querySelectorAll('img[src=x]').length") == 0
    assert ODD in browser.js(METHODS)
    browser.click(head("method"))
    assert ODD in browser.js(METHODS)
    options = browser.js("[...document.querySelectorAll('option')].map(o => o.textContent)")
    assert f"set {ODD}" in options
    # A script that got in all the same would not run.
    browser.js(
        "document.body.append(Object.assign(document.createElement('script'), "
        "{textContent: 'document.title = 1'}))"
    )
    assert browser.js("document.title") != "1"


@needs_browser
def test_mouse_sorts_numbers_as_numbers_and_missing_last(browser: Chromium, report: Path) -> None:
    browser.open(report)
    browser.unfold()
    ranked = ["gptfl+moon", "moon", ODD, "fedavg", "dsfl"]
    assert browser.js(METHODS) == ranked
    browser.click(head("down"))
    assert browser.js(METHODS) == ["gptfl+moon", "fedavg", "moon", ODD, "dsfl"]
    assert browser.js(f"{head('down')}.parentElement.getAttribute('aria-sort')") == "descending"
    browser.click(head("down"))
    assert browser.js(METHODS) == [ODD, "moon", "fedavg", "gptfl+moon", "dsfl"]
    assert browser.js(f"{HEADS}.filter(head => head.ariaSort).length") == 1
    browser.click(head("last"))  # 9.55 stays below 20 and 50
    assert browser.js(METHODS) == ranked
    browser.click(head("method"))
    assert browser.js(METHODS) == [ODD, "dsfl", "fedavg", "gptfl+moon", "moon"]


@needs_browser
def test_keyboard_sorts_and_moves_along_the_heads(browser: Chromium, report: Path) -> None:
    browser.open(report)
    browser.unfold()
    browser.js(f"{head('best')}.focus()")
    browser.press("ArrowLeft")
    assert browser.js("document.activeElement.textContent") == "last"
    browser.press("Enter")
    browser.press("Enter")
    assert browser.js("document.activeElement.parentElement.ariaSort") == "ascending"
    assert browser.js(METHODS) == ["fedavg", ODD, "moon", "gptfl+moon", "dsfl"]
    browser.press("ArrowDown")
    assert browser.js("document.activeElement.parentElement.ariaSort") == "descending"
    browser.press("ArrowUp")
    assert browser.js(METHODS)[0] == "fedavg"


@needs_browser
def test_filter_hides_rows_and_tasks_and_counts(browser: Chromium, report: Path) -> None:
    browser.open(report)
    assert browser.js(SHOWN) == "6 of 6 rows"
    browser.click("document.querySelector('#filter input')")
    browser.call("Input.insertText", text="MOON")
    assert browser.js(SHOWN) == "3 of 6 rows"
    visible = "[...document.querySelectorAll('tr[data-method]')].filter(r => r.checkVisibility())"
    names = browser.js(f"[...new Set({visible}.map(row => row.dataset.method))].sort()")
    assert names == ["gptfl+moon", "moon"]
    browser.js("document.querySelector('select').focus()")
    browser.press("ArrowDown")
    assert browser.js("document.querySelector('select').value") == "digits"
    assert browser.js(SHOWN) == "2 of 6 rows"
    hidden = "[...document.querySelectorAll('section[data-task]')].map(section => section.hidden)"
    assert browser.js(hidden) == [False, True]
    browser.click("document.querySelector('#filter [type=reset]')")
    browser.until(f"{SHOWN} === '6 of 6 rows'")


@needs_browser
def test_contents_lead_to_sections_and_the_matrix_to_cells(browser: Chromium, report: Path) -> None:
    browser.open(report, 1400)
    links = "[...document.querySelectorAll('nav a')]"
    titles = browser.js(f"{links}.map(link => link.textContent)")
    assert titles[0] == "All tasks"
    assert titles[2].startswith(f"set {ODD}")
    current = f"{links}.filter(link => link.ariaCurrent).map(link => link.textContent)"
    browser.until(f"{current}.length")
    assert browser.js(current) == ["All tasks"]
    browser.click(f"{links}.find(link => link.textContent === 'Methods')")
    browser.until("document.getElementById('needs').getBoundingClientRect().top < 900")
    moon = (
        "[...document.querySelectorAll('.matrix tbody tr')].find(r => r.dataset.method === 'moon')"
    )
    browser.click(f"{moon}.querySelector('a')")
    assert "moon" in browser.js("document.querySelector(':target').textContent")
    assert browser.js("document.querySelector(':target').checkVisibility()") is True
    browser.js("document.querySelector('#filter select').value = 'digits'")
    browser.js("document.getElementById('filter').dispatchEvent(new Event('input'))")
    shown = f"{links}.filter(link => link.checkVisibility()).map(link => link.textContent)"
    assert [title for title in titles if title not in browser.js(shown)] == [titles[2]]


@needs_browser
def test_row_leads_to_its_cells_and_their_records(
    browser: Chromium, report: Path, run_folder: Path
) -> None:
    browser.open(report)
    browser.unfold()
    row = f"[...{FIRST}.tBodies[0].rows].find(row => row.dataset.method.startsWith('<img'))"
    browser.click(f"{row}.querySelector('a')")
    cells = "document.querySelector(':target')"
    assert browser.js(f"{cells}.closest('details').open") is True
    link = browser.js(f"{cells}.querySelector('a').href")
    assert link == (run_folder / "odd #1" / "record.json").as_uri()


@needs_browser
def test_paper_has_everything_open_and_no_controls(browser: Chromium, report: Path) -> None:
    browser.open(report)
    browser.call("Emulation.setEmulatedMedia", media="print")
    browser.js("dispatchEvent(new Event('beforeprint'))")
    assert browser.js("document.querySelector('#filter').checkVisibility()") is False
    assert browser.js("document.querySelectorAll('details:not([open])').length") == 0
    browser.js("dispatchEvent(new Event('afterprint'))")
    assert browser.js("document.querySelectorAll('details[open]').length") == 0
    browser.call("Emulation.setEmulatedMedia", media="")


CHART = "document.querySelector('.chart')"
TIP = f"{CHART}.querySelector('.tip')"
DRAWN = "document.querySelector('.chart canvas')"
"""The first chart, which is drawn when the browser has laid the page out."""
ON = f"[...{CHART}.querySelectorAll('[data-series][aria-pressed=true]')].map(b => b.dataset.series)"


@needs_browser
def test_chart_is_read_by_pointing_at_it(browser: Chromium, report: Path) -> None:
    browser.open(report)
    # Round 1 of gptfl+moon, whose two seeds both end at 70 %, at the right edge of the plot.
    over = f"{CHART}.querySelector('.u-over')"
    browser.until(DRAWN)
    browser.js(f"{over}.scrollIntoView({{block: 'center'}})")
    box = browser.js(f"(r => [r.x, r.y, r.width, r.height])({over}.getBoundingClientRect())")
    assert browser.js(f"{TIP}.hidden") is True
    for share in (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3):
        browser.point(box[0] + box[2] - 2, box[1] + share * box[3])
        if browser.js(f"{TIP}.textContent").startswith("gptfl+moon"):
            break
    assert browser.js(f"{TIP}.textContent") == "gptfl+moon, round 1: 70.00 (± 0.00, 2 seeds)"
    assert browser.js(f"{TIP}.hidden") is False
    assert browser.seen("Runtime.exceptionThrown") == []


@needs_browser
def test_names_below_the_chart_choose_its_curves(browser: Chromium, report: Path) -> None:
    browser.open(report)
    browser.until(DRAWN)
    everything = browser.js(ON)
    assert {"fedavg", "moon", "gptfl+moon", ODD} <= set(everything)
    name = f"{CHART}.querySelector('[data-series=moon]')"
    browser.click(name)
    assert browser.js(ON) == ["moon"]
    browser.click(name)
    assert browser.js(ON) == everything
    browser.js(f"{CHART}.querySelector('[data-group=\"GPT-FL\"]').focus()")
    browser.press("Enter")
    assert browser.js(ON) == [one for one in everything if one != "gptfl+moon"]
    for choice in ("bytes", "scalars", "rounds"):
        browser.js(
            f"(s => (s.value = '{choice}', s.dispatchEvent(new Event('change'))))"
            f"({CHART}.querySelector('select'))"
        )
        browser.click(f"{CHART}.querySelector('input[type=checkbox]')")
        assert browser.js(f"{CHART}.querySelectorAll('canvas').length") == 1
    assert browser.seen("Runtime.exceptionThrown", "Log.entryAdded") == []


@needs_browser
def test_without_scripts_and_on_paper_the_figure_stands_for_the_chart(
    browser: Chromium, report: Path
) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(report)
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
    assert browser.js(f"{CHART}.checkVisibility()") is False
    browser.unfold()
    assert browser.js("document.querySelector('figure svg').checkVisibility()") is True
    browser.open(report)
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert browser.js(f"{CHART}.checkVisibility()") is False
    browser.call("Emulation.setEmulatedMedia", media="")


@needs_browser
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("npm"), reason="no npm to get axe-core with")
def test_axe_finds_nothing(browser: Chromium, report: Path, tmp_path: Path) -> None:
    subprocess.run(
        ["npm", "install", "--prefix", tmp_path, "axe-core@4"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    axe = (tmp_path / "node_modules" / "axe-core" / "axe.min.js").read_text()
    for scheme in ("light", "dark"):
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.call("Emulation.setEmulatedMedia", features=features)
        for width in (380, 1400):
            browser.open(report, width)
            browser.js("document.querySelector('.chart').scrollIntoView()")
            browser.until(DRAWN)
            browser.unfold()
            browser.js(axe)
            found = browser.js("axe.run().then(found => JSON.stringify(found.violations))")
            assert json.loads(found) == [], (scheme, width)
