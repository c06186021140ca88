"""The report as JSON and as an HTML page. A browser opens the page if one is installed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from s3_syncer.cli.concurrency import Concurrency
from s3_syncer.cli.output import report as report_module
from s3_syncer.cli.output.report import Report
from s3_syncer.cli.output.stats import Sample, SweepStats
from s3_syncer.core.errors import Permanent
from s3_syncer.sync.outcome import Outcome

HOSTILE = [
    "<script>document.title = 'owned'</script>",
    '"><img src=x onerror="document.title = \'owned\'">',
    "</table></html><b>",
    "&lt;b&gt;",
    "{title}",
    "%s %(key)s",
    "line\nbreak\ttab",
    "ünï/日本/\U0001f600",
    "spaces  in   a row",
    "x" * 900,
]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def stats(*, findings: int = 0) -> SweepStats:
    stats = SweepStats(started=time.monotonic() - 3600, concurrency=lambda: Concurrency(12, 34))
    stats.on_compared(1_234_567)
    for key in HOSTILE:
        stats.on_changed(key, Outcome("copy", "absent from the target", 10**9))
        stats.on_skipped(key, Outcome("differs", f"metadata {key}", 7))
        stats.on_failed(key, Permanent(f"refused: {key}"))
    for number in range(findings):
        stats.on_skipped(f"key {number}", Outcome("missing", "absent from the target", 1))
    stats.on_changed("gone", Outcome("delete", "absent from the source"))
    stats.notices.append("the target lists <b> after <a>")
    stats.samples += [Sample(60.0 * n, 20_000 * n, n, 10**8 * n * n) for n in range(1, 61)]
    return stats


def report(stats: SweepStats, result: str = "different", error: str = "") -> Report:
    source, target = "s3://source/a<b>/", "https://s3.example.com/target/"
    return Report("migrate", source, target, "2026-01-01T00:00:00+00:00", result, stats, error)


@pytest.fixture
def write(tmp_path: Path) -> Callable[[Report, str], Path]:
    def write(report: Report, name: str) -> Path:
        report.write(tmp_path / name)
        return tmp_path / name

    return write


# -- JSON --------------------------------------------------------------------------------------------------------------


def test_json_report_has_all_totals_and_findings(write: Callable[[Report, str], Path]) -> None:
    content = json.loads(write(report(stats(findings=5000)), "report.json").read_text("utf-8"))
    assert content["command"] == "migrate"
    assert content["source"] == "s3://source/a<b>/"
    assert content["target"] == "https://s3.example.com/target/"
    assert (content["result"], content["full"], content["error"]) == ("different", False, None)
    assert content["duration_s"] == pytest.approx(3600, abs=5)
    assert (content["keys"], content["bytes"]) == (1_234_567, 10**10)
    assert content["actions"] == {"copy": 10, "delete": 1}
    assert content["notices"] == ["the target lists <b> after <a>"]
    assert content["concurrency"] == {"source": 12, "target": 34}
    assert content["samples"][1] == {"at_s": 60.0, "keys": 20_000, "changed": 1, "bytes": 10**8}
    assert content["failures"] == [
        {"what": "failed", "key": key, "reason": f"refused: {key}", "size": 0} for key in HOSTILE
    ]
    assert content["differences"][0] == {
        "what": "differs",
        "key": HOSTILE[0],
        "reason": f"metadata {HOSTILE[0]}",
        "size": 7,
    }
    assert len(content["differences"]) == 5000 + len(HOSTILE)
    assert content["failures_by_reason"] == {f"refused: {key}": 1 for key in HOSTILE}


def test_json_report_without_findings(write: Callable[[Report, str], Path]) -> None:
    content = json.loads(write(report(SweepStats(), "equal"), "report.json").read_text("utf-8"))
    assert (content["result"], content["differences"], content["failures"]) == ("equal", [], [])


def test_report_of_a_failed_run_has_the_error(write: Callable[[Report, str], Path]) -> None:
    failed = report(SweepStats(), "failed", "list_objects_v2 in source: the bucket does not exist")
    content = json.loads(write(failed, "report.json").read_text("utf-8"))
    assert (content["result"], content["error"]) == ("failed", "list_objects_v2 in source: the bucket does not exist")
    assert "the bucket does not exist" in write(failed, "report.html").read_text("utf-8")


# -- HTML --------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The elements of a page, their attributes, and the text of its table cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.cells: list[str] = []
        self._cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += attrs
        self._cell = tag in ("td", "th")
        if self._cell:
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.cells[-1] += data


def test_no_key_becomes_markup(write: Callable[[Report, str], Path]) -> None:
    text = write(report(stats()), "report.html").read_text("utf-8")
    page = Page(text)
    assert not {"script", "img", "b"} & set(page.elements)
    assert not [name for name, _ in page.attributes if name.startswith("on") or name in ("src", "href")]
    for key in HOSTILE:
        assert page.cells.count(key) == 2, key
        assert f"refused: {key}" in page.cells


def test_page_loads_no_other_file(write: Callable[[Report, str], Path]) -> None:
    text = write(report(stats()), "report.html").read_text("utf-8")
    assert not re.findall(r"url\(|@import|<link|src=|href=", re.sub(r"<td.*", "", text))
    assert text.startswith("<!doctype html>")
    assert "<meta charset=utf-8>" in text


def test_page_lists_at_most_so_many_rows_and_counts_the_rest(write: Callable[[Report, str], Path]) -> None:
    text = write(report(stats(findings=report_module.MAX_ROWS + 500)), "report.html").read_text("utf-8")
    assert f"and {500 + len(HOSTILE):,} more: a .json report lists all of them." in text
    assert text.count("<td class=key>") == report_module.MAX_ROWS + len(HOSTILE)
    assert "<details open><summary>" in text
    assert f"Missing from the target<td>{report_module.MAX_ROWS + 500:,}" in text


@pytest.mark.parametrize(
    ("samples", "lines"),
    [
        ([], 0),
        ([Sample(1, 1, 1, 1)], 0),
        ([Sample(1, 10, 0, 0), Sample(2, 20, 0, 0), Sample(2.01, 30, 0, 0)], 3),
        ([Sample(1, 0, 0, 0), Sample(2, 0, 0, 0)], 3),
        ([Sample(1, 100, 0, 0), Sample(2, 10, 0, 0), Sample(3, 20, 0, 0)], 3),  # a sweep that was restarted
    ],
)
def test_plots_stay_inside_their_frame(write: Callable[[Report, str], Path], samples: list[Sample], lines: int) -> None:
    stats = SweepStats()
    stats.samples += samples
    text = write(report(stats), "report.html").read_text("utf-8")
    plots = re.findall(r"<polyline points='([^']*)'", text)
    assert len(plots) == lines
    for plot in plots:
        for point in plot.split():
            x, y = map(float, point.split(","))
            assert 0 <= x <= report_module._WIDTH
            assert 0 <= y <= report_module._HEIGHT


def test_plots_show_copies_and_bytes_unless_nothing_is_written(write: Callable[[Report, str], Path]) -> None:
    copied = {"Objects copied per second", "Bytes sent per second"}
    for writes in (True, False):
        samples = [Sample(n, 10 * n, n, 1000 * n) for n in range(5)]
        text = write(report(SweepStats(writes=writes, samples=samples)), "report.html").read_text("utf-8")
        plots = set(re.findall("aria-label='([^']*)'", text))
        assert plots == {"Keys compared per second"} | (copied if writes else set())


def test_page_counts_tolerated_keys_of_the_target(write: Callable[[Report, str], Path]) -> None:
    tolerant = SweepStats(tolerates_target_only=True, target_only=1234)
    assert "Only in the target, not deleted<td>1,234" in write(report(tolerant), "report.html").read_text("utf-8")
    assert json.loads(write(report(tolerant), "report.json").read_text("utf-8"))["target_only"] == 1234


def test_failures_are_grouped_by_reason(write: Callable[[Report, str], Path]) -> None:
    failed = SweepStats()
    for number in range(report_module.MAX_ROWS + 10):
        failed.on_failed(f"key {number}", Permanent("access denied", request_id=f"R{number}"))
    failed.on_failed("odd", Permanent("archived"))
    page = Page(write(report(failed), "report.html").read_text("utf-8"))
    at = page.cells.index("Reason")
    assert page.cells[at + 1 : at + 5] == [f"{report_module.MAX_ROWS + 10:,}", "access denied", "1", "archived"]
    assert page.elements.count("summary") == 1, "the page lists keys of the first reason only"
    assert ("open", None) not in page.attributes
    assert "request R7" in page.cells
    content = json.loads(write(report(failed), "report.json").read_text("utf-8"))
    assert content["failures"][7] == {
        "what": "failed",
        "key": "key 7",
        "reason": "access denied",
        "size": 0,
        "request_id": "R7",
    }
    assert content["failures_by_reason"] == {"access denied": report_module.MAX_ROWS + 10, "archived": 1}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH: apt-get install chromium")
def test_browser_shows_the_page_and_runs_no_script_of_it(write: Callable[[Report, str], Path], tmp_path: Path) -> None:
    page = write(report(stats(findings=30)), "report.html")
    picture = tmp_path / "report.png"
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1100,2400"),
    ]
    dom = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, text=True, timeout=240, check=True
    ).stdout
    assert "<title>s3-syncer migrate: different</title>" in dom
    shown_as_text = r"<(td|summary).*?</\1>"
    assert "owned" not in re.sub(shown_as_text, "", dom, flags=re.DOTALL)
    subprocess.run([*command, f"--screenshot={picture}", page.as_uri()], capture_output=True, timeout=240, check=True)
    assert picture.read_bytes().startswith(b"\x89PNG")
