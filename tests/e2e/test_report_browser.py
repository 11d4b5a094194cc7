"""The report in a real browser: charts are drawn, nothing is loaded, nothing overflows, no script fails."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from spark_uplift.report import ReportInputs, render
from tests.unit.report import samples, samples_decided

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=15000",
    "--host-resolver-rules=MAP * ~NOTFOUND",  # the browser itself stays off the network too
)
BROWSERS_OWN = (
    "not an origin"  # initiator, in the network log, of what the browser asks for on its own behalf
)
DESKTOP, PHONE = (1280, 900), (500, 900)  # headless Chromium has no window narrower than 500
NARROW = 360
HOSTILE = "</script><img src=x onerror=alert(1)>"

# Measures a page in a frame of a phone's width, from a page of the same origin.
FRAME = """<!doctype html><body><iframe id=f width={width} height=800 srcdoc="{page}"></iframe><script>
document.getElementById("f").addEventListener("load", function look() {{
  var doc = document.getElementById("f").contentDocument;
  if (!doc.documentElement.getAttribute("data-charts")) {{ setTimeout(look, 200); return; }}
  setTimeout(function () {{
    document.title = doc.documentElement.scrollWidth + " " + doc.documentElement.getAttribute("data-charts");
  }}, 1000);
}});
</script>"""


@pytest.fixture(scope="module")
def browser() -> str:
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(
            "No Chromium found: the report was NOT looked at in a browser. Install it: apt install chromium"
        )
    return found


class Browser:
    """One headless visit per call, each with a profile of its own."""

    def __init__(self, program: str, folder: Path) -> None:
        self.program, self.folder, self.visits = program, folder, 0

    def _run(self, html: str, size: tuple[int, int], *more: str) -> subprocess.CompletedProcess[str]:
        self.visits += 1
        page = self.folder / f"page-{self.visits}.html"
        page.write_text(html, encoding="utf-8")
        self.netlog = self.folder / f"net-{self.visits}.json"
        profile = self.folder / f"profile-{self.visits}"
        command = [
            self.program,
            *FLAGS,
            f"--window-size={size[0]},{size[1]}",
            f"--user-data-dir={profile}",
            f"--log-net-log={self.netlog}",
            *more,
            page.as_uri(),
        ]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=True, cwd=self.folder
        )

    def dom(self, html: str, size: tuple[int, int] = DESKTOP, *more: str) -> str:
        """The page's markup after its scripts ran."""
        return self._run(html, size, "--dump-dom", *more).stdout

    def file(self, html: str, size: tuple[int, int], option: str, name: str, *more: str) -> bytes:
        """What a ``--screenshot`` or ``--print-to-pdf`` wrote."""
        target = self.folder / name
        self._run(html, size, f"{option}={target}", *more)
        return target.read_bytes()

    def requests(self) -> set[str]:
        """Addresses that the last page asked the network for."""
        events = json.loads(self.netlog.read_text(encoding="utf-8"))["events"]
        asked = [event.get("params", {}) for event in events]
        return {
            params["url"]
            for params in asked
            if not params.get("url", "file:").startswith(("file:", "data:", "blob:"))
            and params.get("initiator", BROWSERS_OWN) != BROWSERS_OWN
        }


@pytest.fixture
def visit(browser: str, tmp_path: Path) -> Browser:
    return Browser(browser, tmp_path)


@pytest.fixture(scope="module")
def full_page() -> str:
    """A page with every section that there is."""
    return render(samples_decided.everything())


def root_attribute(dom: str, name: str) -> str | None:
    """An attribute of the html element."""
    root = re.search(r"<html[^>]*>", dom)
    assert root, dom[:500]
    found = re.search(rf'{name}="([^"]*)"', root[0])
    return unescape(found[1]) if found else None


def figures_of(page: str) -> dict[str, object]:
    data = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page, re.DOTALL)
    assert data
    return json.loads(data[1])["figures"]


def drawn(dom: str) -> int:
    """Boxes that hold a drawing."""
    return len(re.findall(r'class="chart[^"]*js-plotly-plot', dom))


@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("outcome", ["continuous", "binary"])
def test_every_chart_is_drawn_without_an_error(
    visit: Browser, full_page: str, outcome: str, size: tuple[int, int]
) -> None:
    page = full_page if outcome == "continuous" else render(samples.conversions())
    dom = visit.dom(page, size)
    assert root_attribute(dom, "data-errors") is None
    assert root_attribute(dom, "data-charts") == "drawn"
    assert drawn(dom) == len(figures_of(page)) > 0
    assert dom.count('class="main-svg"') >= drawn(dom)
    assert visit.requests() == set()


def test_nothing_overflows_on_a_narrow_phone(visit: Browser, full_page: str) -> None:
    frame = FRAME.format(width=NARROW, page=full_page.replace("&", "&amp;").replace('"', "&quot;"))
    dom = visit.dom(frame, DESKTOP)
    title = re.search(r"<title>(\d+) (\w+)</title>", dom)
    assert title, dom[-500:]
    assert title[2] == "drawn"
    assert int(title[1]) <= NARROW


def test_screenshots_are_pictures_of_something(visit: Browser, full_page: str) -> None:
    for name, size in (("desktop", (1280, 15500)), ("phone", (500, 24000))):
        picture = visit.file(full_page, size, "--screenshot", f"{name}.png")
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 200_000  # an empty page of this size is some 20 kB


def test_the_dark_theme_draws_in_its_own_colours(visit: Browser, full_page: str) -> None:
    dark = visit.dom(full_page, DESKTOP, "--blink-settings=preferredColorScheme=0")
    light = visit.dom(full_page, DESKTOP)
    assert root_attribute(dark, "data-errors") is None
    assert "rgb(90, 180, 240)" in dark
    assert "rgb(0, 114, 178)" in light
    assert "rgb(0, 114, 178)" not in dark.split("report-data")[0]


def test_it_prints(visit: Browser, full_page: str) -> None:
    pdf = visit.file(full_page, DESKTOP, "--print-to-pdf", "page.pdf", "--no-pdf-header-footer")
    assert pdf.startswith(b"%PDF")
    assert len(pdf) > 100_000


def test_hostile_names_run_nothing(visit: Browser) -> None:
    inputs = samples_decided.everything(n=3000)
    tables = ("uplift_table", "evaluation_curves", "evaluation_metrics", "score_histogram", "segments")
    tables += ("model_comparison", "evaluation_checks", "policy_trees", "decision_summary")
    changed = {field: [{**row, "arm": HOSTILE} for row in getattr(inputs, field)] for field in tables}
    features = [{**row, "feature": f"{row['feature']}{HOSTILE}"} for row in inputs.feature_importance]
    changed["policy_value"] = [{**row, "policy": f"all:{HOSTILE}"} for row in inputs.policy_value]
    changed["cost_curve"] = [{**row, "policy": f"only:{HOSTILE}"} for row in inputs.cost_curve]
    money = {**samples_decided.ECONOMICS, "currency": HOSTILE}
    page = render(replace(inputs, **changed, feature_importance=features, economics=money))
    dom = visit.dom(page)
    assert root_attribute(dom, "data-errors") is None
    assert drawn(dom) == len(figures_of(page))
    assert "<img" not in dom.split('id="report-data"')[0]
    assert visit.requests() == set()


def test_a_script_that_slips_in_is_refused_by_the_policy(visit: Browser, full_page: str) -> None:
    slipped = full_page.replace("</h1>", "</h1><script>document.title = 'slipped'</script>", 1)
    dom = visit.dom(slipped)
    assert "<title>slipped</title>" not in dom
    assert "blocked script-src" in (root_attribute(dom, "data-errors") or "")


def test_the_network_log_would_show_a_request(visit: Browser) -> None:
    visit.dom('<!doctype html><body><img src="http://example.invalid/x.png">')
    assert visit.requests() == {"http://example.invalid/x.png"}


def test_an_empty_report_has_no_error(visit: Browser) -> None:
    dom = visit.dom(render(ReportInputs(experiment=[])), PHONE)
    assert root_attribute(dom, "data-errors") is None
    assert root_attribute(dom, "data-charts") == "drawn"


def test_the_sql_can_be_taken_with_a_click(visit: Browser, full_page: str) -> None:
    """In a frame of the same origin: the page's own policy lets no script of a test in."""
    clicking = FRAME.replace(
        'document.title = doc.documentElement.scrollWidth + " " + doc.documentElement.getAttribute("data-charts");',
        """var button = doc.querySelector("button[data-copy]");
    button.closest("details").open = true;
    button.click();
    setTimeout(function () {{
      document.title = "said " + button.textContent;
      document.body.setAttribute("data-taken", doc.getSelection().toString() || "clipboard");
    }}, 500);""",
    )
    dom = visit.dom(
        clicking.format(width=NARROW, page=full_page.replace("&", "&amp;").replace('"', "&quot;"))
    )
    assert re.search(r"<title>said (Copied|Selected)</title>", dom), dom[-300:]
    taken = re.search(r'data-taken="([^"]*)"', dom)
    assert taken
    assert unescape(taken[1]).split() in (samples_decided.SQL.split(), ["clipboard"])
