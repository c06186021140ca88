"""What a sweep has done so far: counts, findings, samples, and the lines that show them."""

from __future__ import annotations

import io
import logging
import random
import threading
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from s3_syncer.cli import progress
from s3_syncer.cli import stats as tally_module
from s3_syncer.cli.findings import Finding, Findings
from s3_syncer.cli.progress import clock, in_lines, in_log, on_terminal, size, status
from s3_syncer.cli.stats import MAX_SAMPLES, Sample, Tally
from s3_syncer.core.errors import Permanent
from s3_syncer.sync.converge import Outcome

HOSTILE = ["a\nb", "tab\there", "\x1b[2Jgone", "ünï/\U0001f600", "'quoted'", '"', "\\", "a\u2028b", "x" * 1024]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The clock of the tally; its one item is set by the test."""
    clock = [0.0]
    monkeypatch.setattr(tally_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


# -- findings ----------------------------------------------------------------------------------------------------------


def test_findings_come_back_as_they_were_added() -> None:
    findings, added = (
        Findings(),
        [Finding("failed", key, f"because of {key}", number) for number, key in enumerate(HOSTILE)],
    )
    for number, finding in enumerate(added, start=1):
        findings.add(finding)
        assert list(findings) == added[:number]  # read in between, and added to again
    assert len(findings) == len(HOSTILE)
    assert findings.counts == {"failed": len(HOSTILE)}
    assert findings.size == sum(range(len(HOSTILE)))


def test_findings_are_kept_in_little_memory() -> None:
    findings, rand = Findings(), random.Random(1)
    for number in range(20_000):
        request = f"{rand.getrandbits(64):016X}"
        findings.add(Finding("failed", f"photos/2021/image {number:08}.jpg", f"access denied, request {request}"))
    assert sum(map(len, findings._chunks)) < 20 * 20_000
    assert sum(1 for _ in findings) == 20_000


def test_findings_can_be_read_while_they_are_added_to() -> None:
    findings = Findings()

    def add() -> None:
        for _ in range(20_000):
            findings.add(Finding("missing", "key", "absent"))

    thread = threading.Thread(target=add, daemon=True)
    thread.start()
    lengths = []
    while thread.is_alive():
        lengths.append(len(list(findings)))
    assert lengths == sorted(lengths)
    assert len(list(findings)) == len(findings) == 20_000


# -- counting ----------------------------------------------------------------------------------------------------------


def test_everything_is_counted() -> None:
    tally = Tally()
    tally.on_compared(10)
    tally.on_compared(5)
    tally.on_changed("a", Outcome("copy", "absent from the target", 100))
    tally.on_changed("b", Outcome("update", "size", 10))
    tally.on_changed("c", Outcome("delete", "absent from the source"))
    tally.on_skipped("d", Outcome("differs", "metadata", 7))
    tally.on_failed("e", Permanent("refused"))
    assert (tally.keys, tally.bytes, tally.changes) == (15, 110, 3)
    assert tally.actions == {"copy": 1, "update": 1, "delete": 1}
    assert list(tally.differences) == [Finding("differs", "d", "metadata", 7)]
    assert list(tally.failures) == [Finding("failed", "e", "refused")]


def test_starting_over_forgets_all_but_what_was_done() -> None:
    tally = Tally()
    tally.on_compared(10)
    tally.on_changed("a", Outcome("copy", "absent from the target", 100))
    tally.on_skipped("d", Outcome("differs", "metadata"))
    tally.on_failed("e", Permanent("refused"))
    tally.on_restart("the target lists nonsense")
    assert (tally.keys, tally.bytes, tally.changes) == (0, 100, 1)
    assert not len(tally.differences)
    assert not len(tally.failures)
    assert tally.notices == ["the target lists nonsense"]


def test_every_decision_is_a_log_record_that_no_key_can_forge(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "s3_syncer")
    logging.getLogger("s3_syncer").propagate = True
    tally = Tally()
    tally.on_changed("a\nfailed b: nonsense", Outcome("copy", "absent from the target", 100))
    (record,) = caplog.records
    assert record.getMessage() == r"copy 'a\nfailed b: nonsense': absent from the target"
    assert vars(record)["key"] == "a\nfailed b: nonsense"
    assert (vars(record)["action"], vars(record)["bytes"]) == ("copy", 100)


# -- samples -----------------------------------------------------------------------------------------------------------


def test_samples_are_spaced_bounded_and_end_with_the_totals(now: list[float]) -> None:
    tally = Tally(started=0.0)
    for second in range(10 * MAX_SAMPLES):
        now[0] = float(second)
        tally.on_compared(1)
        tally.sample()
    tally.sample(last=True)
    assert len(tally.samples) <= MAX_SAMPLES + 1
    assert tally.samples[0] == Sample()
    assert tally.samples[-1] == Sample(10 * MAX_SAMPLES - 1, 10 * MAX_SAMPLES, 0, 0)
    spacings = {round(b.at_s - a.at_s) for a, b in zip(tally.samples[:-2], tally.samples[1:-1], strict=True)}
    assert len(spacings) == 1


def test_rates_are_those_of_late(now: list[float]) -> None:
    tally = Tally(started=0.0)
    for second in range(100):
        now[0] = float(second)
        tally.on_compared(1000 if second < 50 else 10)
        tally.sample()
    keys_per_s, bytes_per_s = tally.recent()
    assert keys_per_s == pytest.approx(10, rel=0.1)
    assert bytes_per_s == 0


# -- lines -------------------------------------------------------------------------------------------------------------


def test_the_status_has_all_that_is_asked_for(now: list[float]) -> None:
    tally = Tally(started=0.0)
    tally.on_compared(25_000)
    for _ in range(3):
        tally.on_changed("k", Outcome("copy", "absent from the target", 50_000_000))
    tally.on_changed("k", Outcome("delete", "absent from the source"))
    tally.on_failed("k", Permanent("refused"))
    now[0] = 10.0
    assert status(tally, 100_000) == (
        "25,000 of 100,000 keys · 3 copied · 1 deleted · 150.0 MB sent · 2,500 keys/s · 15.0 MB/s · 1 failed · "
        "0:00:30 left"
    )
    assert "left" not in status(tally, None)
    assert "of" not in status(tally, 24_999)  # more keys than there were: the target's own count as well


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_500_000, "1.5 MB"), (2e12, "2.0 TB"), (5e15, "5,000.0 TB")],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3725, "1:02:05"), (-1, "0:00:00")])
def test_clocks(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def wait_for(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_elsewhere_than_on_a_terminal_there_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress.LINE_S == 10
    monkeypatch.setattr(progress, "LINE_S", 0.05)
    out = io.StringIO()
    tally = Tally()
    with in_lines(tally, Console(file=out, width=20)):
        wait_for(lambda: out.getvalue().count("\n") >= 3)
        tally.on_compared(7)
        wait_for(lambda: "7 keys" in out.getvalue())
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("0 keys · 0 copied")
    assert all(line.endswith("failed") for line in lines), "a line was broken"
    assert tally.samples[-1].looked == 7


def test_in_a_log_progress_is_records(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "s3_syncer")
    logging.getLogger("s3_syncer").propagate = True
    monkeypatch.setattr(progress, "LINE_S", 0.05)
    tally = Tally(keys=7)
    with in_log(tally):
        wait_for(lambda: len(caplog.records) >= 2)
    record = vars(caplog.records[0])
    assert record["message"] == "progress"
    assert {"keys", "changed", "bytes", "different", "failed", "keys_per_s", "bytes_per_s"} <= record.keys()


def test_on_a_terminal_a_line_is_kept_up_to_date_and_taken_away() -> None:
    out = io.StringIO()
    tally, stopping = Tally(keys=7), [False]
    console = Console(file=out, force_terminal=True, width=200)
    with on_terminal(tally, console, lambda: 10, lambda: stopping[0]):
        wait_for(lambda: "7 of 10 keys" in out.getvalue())
        stopping[0] = True
        wait_for(lambda: "stopping" in out.getvalue())
    assert out.getvalue().endswith("\x1b[2K"), "the line is erased"
