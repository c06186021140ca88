"""The counts, findings and samples of a sweep, and the lines that show them."""

from __future__ import annotations

import io
import logging
import os
import random
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from rich.console import Console

from s3_syncer.cli.concurrency import Concurrency
from s3_syncer.cli.output import progress
from s3_syncer.cli.output import stats as stats_module
from s3_syncer.cli.output.findings import MAX_REASONS, OTHER_REASONS, Finding, Findings
from s3_syncer.cli.output.progress import (
    format_about,
    format_bytes,
    format_duration,
    in_lines,
    in_log,
    on_terminal,
    status,
)
from s3_syncer.cli.output.report import Report
from s3_syncer.cli.output.restore_text import restore_notes
from s3_syncer.cli.output.stats import MAX_SAMPLES, Sample, SweepStats
from s3_syncer.core.errors import Permanent
from s3_syncer.stores.request_limiter import RequestLimiters
from s3_syncer.sync.outcome import Action, Outcome

HOSTILE = ["a\nb", "tab\there", "\x1b[2Jgone", "ünï/\U0001f600", "'quoted'", '"', "\\", "a\u2028b", "x" * 1024]


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Replace the clock of the stats. The test sets the one item of the list."""
    clock = [0.0]
    monkeypatch.setattr(stats_module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    return clock


# -- the log -----------------------------------------------------------------------------------------------------------


def test_the_request_id_of_a_failure_is_shown_to_people_and_is_a_log_field(caplog: pytest.LogCaptureFixture) -> None:
    stats = SweepStats()
    stats.on_failed("a", Permanent("access denied", "AccessDenied", request_id="4K2"))
    stats.on_failed("b", Permanent("access denied", "AccessDenied"))
    with_id, without_id = caplog.records
    assert with_id.message == "failed a: access denied, request ID 4K2"
    assert (with_id.reason, with_id.request_id) == ("access denied", "4K2")  # type: ignore[attr-defined]
    assert (without_id.message, without_id.reason) == ("failed b: access denied", "access denied")  # type: ignore[attr-defined]
    assert not hasattr(without_id, "request_id")
    assert [finding.text for finding in stats.failures] == ["access denied, request ID 4K2", "access denied"]
    assert stats.failures.reasons == {"access denied": 2}


# -- findings ----------------------------------------------------------------------------------------------------------


def test_findings_are_read_as_they_were_added() -> None:
    findings, added = (
        Findings(),
        [Finding("failed", key, f"because of {key}", number) for number, key in enumerate(HOSTILE)],
    )
    for number, finding in enumerate(added, start=1):
        findings.add(finding)
        assert list(findings) == added[:number]  # a read between two additions
    assert len(findings) == len(HOSTILE)
    assert findings.counts == {"failed": len(HOSTILE)}
    assert findings.sizes.total() == sum(range(len(HOSTILE)))


def test_findings_take_less_than_20_bytes_each() -> None:
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


def test_reasons_are_counted_and_their_number_is_bounded() -> None:
    findings = Findings()
    for number in range(MAX_REASONS + 50):
        findings.add(Finding("failed", "key", f"refused: {number}"))
    findings.add(Finding("failed", "key", "refused: 0"))
    assert len(findings.reasons) == MAX_REASONS + 1
    assert (findings.reasons["refused: 0"], findings.reasons[OTHER_REASONS]) == (2, 50)
    assert findings.reasons.total() == len(findings)


# -- counting ----------------------------------------------------------------------------------------------------------


def test_every_event_is_counted() -> None:
    stats = SweepStats()
    stats.on_compared(10)
    stats.on_compared(5)
    stats.on_changed("a", Outcome("copy", "absent from the target", 100))
    stats.on_changed("b", Outcome("update", "size", 10))
    stats.on_changed("c", Outcome("delete", "absent from the source"))
    stats.on_skipped("d", Outcome("differs", "metadata", 7))
    stats.on_failed("e", Permanent("refused"))
    assert (stats.keys, stats.bytes, stats.changed) == (15, 110, 3)
    assert stats.actions == {"copy": 1, "update": 1, "delete": 1}
    assert list(stats.differences) == [Finding("differs", "d", "metadata", 7)]
    assert list(stats.failures) == [Finding("failed", "e", "refused")]


def test_restart_keeps_only_the_changes() -> None:
    stats = SweepStats()
    stats.on_compared(10)
    stats.on_changed("a", Outcome("copy", "absent from the target", 100))
    stats.on_skipped("d", Outcome("differs", "metadata"))
    stats.on_failed("e", Permanent("refused"))
    stats.on_restart("the target lists nonsense")
    assert (stats.keys, stats.bytes, stats.changed) == (0, 100, 1)
    assert not len(stats.differences)
    assert not len(stats.failures)
    assert stats.notices == ["the target lists nonsense"]


def test_decision_is_a_log_record_that_no_key_can_forge(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "s3_syncer")
    logging.getLogger("s3_syncer").propagate = True
    stats = SweepStats()
    stats.on_changed("a\nfailed b: nonsense", Outcome("copy", "absent from the target", 100))
    (record,) = caplog.records
    assert record.getMessage() == r"copy 'a\nfailed b: nonsense': absent from the target"
    assert vars(record)["key"] == "a\nfailed b: nonsense"
    assert (vars(record)["action"], vars(record)["bytes"]) == ("copy", 100)


# -- samples -----------------------------------------------------------------------------------------------------------


def test_samples_are_spaced_bounded_and_end_with_the_totals(now: list[float]) -> None:
    stats = SweepStats(started=0.0)
    for second in range(10 * MAX_SAMPLES):
        now[0] = float(second)
        stats.on_compared(1)
        stats.sample()
    stats.sample(last=True)
    assert len(stats.samples) <= MAX_SAMPLES + 1
    assert stats.samples[0] == Sample()
    assert stats.samples[-1] == Sample(10 * MAX_SAMPLES - 1, 10 * MAX_SAMPLES, 0, 0)
    spacings = {round(b.at_s - a.at_s) for a, b in zip(stats.samples[:-2], stats.samples[1:-1], strict=True)}
    assert len(spacings) == 1


def test_rates_are_averages_of_the_last_seconds(now: list[float]) -> None:
    stats = SweepStats(started=0.0)
    for second in range(100):
        now[0] = float(second)
        stats.on_compared(1000 if second < 50 else 10)
        stats.sample()
    rates = stats.recent_rates()
    assert rates.compared == pytest.approx(10, rel=0.1)
    assert (rates.changed, rates.bytes) == (0, 0)


def test_rates_of_changes_do_not_wait_for_the_first_page(now: list[float]) -> None:
    stats = SweepStats(started=0.0)
    for _ in range(50):
        stats.on_changed("key", Outcome("copy", "absent from the target", 1000))
    now[0] = 10.0
    rates = stats.recent_rates()
    assert (rates.compared, rates.changed, rates.bytes) == (0, 5, 5000)


def test_keys_that_only_the_target_has_can_be_tolerated() -> None:
    stats = SweepStats(tolerates_target_only=True)
    for what in ("extra", "extra", "differs"):
        stats.on_skipped("key", Outcome(what, "reason", 7))
    assert (stats.target_only, dict(stats.differences.counts)) == (2, {"differs": 1})
    stats.on_restart("the target lists nonsense")
    assert stats.target_only == 0


# -- lines -------------------------------------------------------------------------------------------------------------


def test_status_has_copies_bytes_keys_and_failures(now: list[float]) -> None:
    stats = SweepStats(started=0.0)
    stats.on_compared(25_000)
    for _ in range(3):
        stats.on_changed("k", Outcome("copy", "absent from the target", 50_000_000))
    stats.on_changed("k", Outcome("delete", "absent from the source"))
    stats.on_failed("k", Permanent("refused"))
    now[0] = 10.0
    assert status(stats, 100_000) == (
        "3 copied · 1 deleted · 150.0 MB sent · 0 objects/s · 15.0 MB/s · 25,000 of 100,000 keys compared · "
        "2,500 keys/s · 1 failed (1 x refused) · less than 1 min left"
    )
    assert "left" not in status(stats, None)
    assert "of" not in status(stats, 24_999)  # keys that only the target has count as well
    check = SweepStats(started=0.0, writes=False)
    check.on_compared(25_000)
    assert status(check, None) == "25,000 keys compared · 2,500 keys/s · 0 failed"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_500_000, "1.5 MB"), (2e12, "2.0 TB"), (5e15, "5,000.0 TB")],
)
def test_size_has_decimal_units(count: float, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00:00"), (59.6, "0:01:00"), (3725, "1:02:05"), (-1, "0:00:00")])
def test_clock_is_hours_minutes_seconds(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def wait_for(condition: object, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.01)


def test_without_a_terminal_a_line_is_printed_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    assert progress.LINE_S == 10
    monkeypatch.setattr(progress, "LINE_S", 0.05)
    out = io.StringIO()
    stats = SweepStats()
    with in_lines(stats, Console(file=out, width=20), list):
        wait_for(lambda: out.getvalue().count("\n") >= 3)
        stats.on_compared(7)
        wait_for(lambda: "7 keys compared" in out.getvalue())
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("0 copied · 0 B sent")
    assert all(line.endswith("failed") for line in lines), "a line was wrapped"
    assert stats.samples[-1].compared == 7


def test_progress_in_a_log_is_records(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "s3_syncer")
    logging.getLogger("s3_syncer").propagate = True
    monkeypatch.setattr(progress, "LINE_S", 0.05)
    stats = SweepStats(keys=7)
    with in_log(stats):
        wait_for(lambda: len(caplog.records) >= 2)
    record = vars(caplog.records[0])
    assert record["message"] == "progress"
    assert {
        "keys",
        "changed",
        "bytes",
        "different",
        "failed",
        "keys_per_s",
        "changed_per_s",
        "bytes_per_s",
    } <= record.keys()


def test_progress_shows_the_requests_that_the_stores_may_get(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "s3_syncer")
    logging.getLogger("s3_syncer").propagate = True
    monkeypatch.setattr(progress, "LINE_S", 0.05)
    # Two processes, of which one has grown its limit for the target.
    limiters = [RequestLimiters.up_to(64), RequestLimiters.up_to(64)]
    grown = limiters[0].target
    assert grown is not None
    for _ in range(5):
        permit = grown.acquire("PUT")
        permit.begin()
        grown._in_flight += 63  # more requests, so that the whole limit is used
        permit.end()
        grown._in_flight -= 63
    stats = SweepStats(concurrency=lambda: sum(map(Concurrency.of, limiters), Concurrency()))
    assert "up to 20 source and 25 target requests at a time" in status(stats, None)
    with in_log(stats):
        wait_for(lambda: len(caplog.records) >= 1)
    record = vars(caplog.records[0])
    assert (record["source_concurrency"], record["target_concurrency"]) == (20, 25)
    assert "requests at a time" not in status(SweepStats(), None), "the workers of a queue send them"


def test_line_on_a_terminal_is_updated_and_erased() -> None:
    out = io.StringIO()
    stats, state = SweepStats(keys=7), list[str]()
    console = Console(file=out, force_terminal=True, width=200)
    with on_terminal(stats, console, lambda: 10, lambda: state):
        wait_for(lambda: "7 of 10 keys compared" in out.getvalue())
        state.append("stopping")
        wait_for(lambda: "stopping · 0 copied" in out.getvalue())
        shown, hidden = (out.getvalue().rfind(code) for code in ("\x1b[?25h", "\x1b[?25l"))
        assert shown > hidden, "a killed command leaves the cursor as it is"
    assert out.getvalue().endswith("\x1b[2K"), "the line is erased"


PRINT_ROWS = """
from s3_syncer.cli.output.restore_text import restore_notes
from s3_syncer.cli.output.stats import print_row
for number in range(2):
    print_row("missing", "\u65e5/caf\u00e9", "tab\\t")
"""


def test_a_character_that_standard_output_cannot_encode_is_escaped() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": "lambda"}
    done = subprocess.run([sys.executable, "-c", PRINT_ROWS], env=environment, stdout=subprocess.PIPE, check=True)
    assert [line.split(b"\t") for line in done.stdout.splitlines()] == [
        [b"missing", rb"\u65e5/caf\xe9", rb"'tab\t'"]
    ] * 2


def test_a_closed_pipe_does_not_end_the_command() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    environment = {**os.environ, "PYTHONPATH": "lambda"}
    done = subprocess.run(
        [sys.executable, "-c", PRINT_ROWS], env=environment, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_status_groups_failures_by_reason(now: list[float]) -> None:
    stats, long = SweepStats(started=0.0), "the target lists nonsense " + "x" * 100
    for number, reason in ((3, "access denied"), (2, long), (1, "one"), (1, "two")):
        for _ in range(number):
            stats.on_failed("k", Permanent(reason, request_id="4K2"))
    assert status(stats, None).endswith(f"7 failed (3 x access denied; 2 x {long[:49]}…; 2 others)")


def test_status_names_one_key_in_the_singular(now: list[float]) -> None:
    stats = SweepStats(started=0.0, backlog=1)
    stats.on_compared(1)
    assert "1 key compared" in status(stats, None)
    assert "1 of 1 key compared" in status(stats, 1)
    assert "1 of 2 keys compared" in status(stats, 2)
    assert status(stats, None).endswith("1 message left")


def test_time_left_follows_the_recent_rate_and_the_whole_run(now: list[float]) -> None:
    stats = SweepStats(started=0.0)
    stats.on_compared(1_000)
    now[0] = 4.0
    assert stats.time_left_s(100_000) is None, "the first page says little"
    now[0] = 100.0
    stats.sample()
    assert stats.time_left_s(2_000) == pytest.approx(100.0)
    assert stats.time_left_s(999) is None, "the target has more keys than the source"
    stats.on_compared(900)  # faster since then
    now[0] = 130.0
    assert stats.time_left_s(2_000) == pytest.approx(100 / ((900 / 30 + 1900 / 130) / 2))


def test_rates_of_a_pass_do_not_count_the_passes_before(now: list[float]) -> None:
    """Each pass compares the same keys."""
    stats = SweepStats(started=0.0)
    stats.begin_pass("objects of less than 1 MiB")
    stats.on_compared(1_000)
    stats.on_changed("key", Outcome("copy", "absent from the target", 500))
    now[0] = 100.0
    stats.sample()
    stats.begin_pass("")
    now[0] = 104.0
    stats.on_compared(80)
    assert stats.recent_rates().compared == stats.compared_per_s == pytest.approx(20)
    assert stats.recent_rates().bytes == pytest.approx(500 / 104), "changes stay made"
    assert stats.time_left_s(1_000) is None, "the first page says little"
    now[0] = 110.0
    assert stats.time_left_s(1_000) == pytest.approx((1_000 - 80) / (80 / 10))
    stats.sample(last=True)
    report = Report("migrate", "", "", "", "equal", stats)
    assert "<tr><th>Keys compared per second<td>8<" in "".join(report.html())


def test_no_time_left_is_shown_while_passes_follow(now: list[float]) -> None:
    stats = SweepStats(started=0.0)
    stats.begin_pass("objects of less than 1 MiB")
    stats.on_compared(1_000)
    now[0] = 100.0
    assert "left" not in status(stats, 2_000)
    stats.begin_pass("")
    stats.on_compared(1_000)
    now[0] = 200.0
    assert status(stats, 2_000).endswith("about 2 min left")


def test_the_keys_of_earlier_runs_do_not_count_as_compared_now(now: list[float]) -> None:
    now[0] = 1.0
    stats = SweepStats(started=0.0)
    stats.add_earlier([], 10_000)
    now[0] = 11.0
    stats.on_compared(100)
    assert stats.recent_rates().compared == pytest.approx(10)
    assert stats.time_left_s(10_200) == pytest.approx(10)


def test_no_time_is_left_to_show_before_the_first_key(now: list[float]) -> None:
    stats = SweepStats(started=0.0)
    now[0] = 60.0
    assert stats.time_left_s(1_000) is None
    assert "left" not in status(stats, 1_000)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "less than 1 min"),
        (29, "less than 1 min"),
        (61, "about 1 min"),
        (3_570, "about 1 h 0 min"),
        (7_800, "about 2 h 10 min"),
        (3 * 86_400, "about 3 days"),
    ],
)
def test_estimates_are_rounded_for_people(seconds: float, text: str) -> None:
    assert format_about(seconds) == text


# -- restored objects --------------------------------------------------------------------------------------------------


def restored(*, has_earlier_md5: bool | None) -> Outcome:
    return Outcome("copy", "absent", 3, has_other_etag=not has_earlier_md5, has_earlier_md5=has_earlier_md5)


@pytest.mark.parametrize("damaged_first", [True, False])
def test_a_restored_object_with_another_md5_is_named_if_another_one_got_its_md5_back(damaged_first: bool) -> None:
    stats = SweepStats()
    outcomes = {"damaged": restored(has_earlier_md5=False), "sound": restored(has_earlier_md5=True)}
    for key in sorted(outcomes, reverse=not damaged_first):
        stats.on_changed(key, outcomes[key])
    assert [(finding.what, finding.key) for finding in stats.differences] == [("unproven", "damaged")]
    assert stats.result == "unproven"


def test_restored_objects_of_a_bucket_with_a_kms_key_are_only_counted() -> None:
    stats = SweepStats()
    for key in "abc":
        stats.on_changed(key, restored(has_earlier_md5=False))
    stats.on_changed("d", restored(has_earlier_md5=None))
    assert (stats.other_etags, stats.result) == (4, "equal")


def test_a_restart_keeps_the_restored_object_with_another_md5() -> None:
    stats = SweepStats()
    stats.on_changed("damaged", restored(has_earlier_md5=False))
    stats.on_restart("again")
    stats.on_changed("sound", restored(has_earlier_md5=True))
    stats.on_restart("again")
    assert [finding.key for finding in stats.differences] == ["damaged"]


def test_a_restore_says_that_objects_stay_only_if_some_do() -> None:
    def notes(what: Action) -> list[str]:
        stats = SweepStats()
        stats.on_changed("damaged", restored(has_earlier_md5=False))
        stats.on_changed("sound", restored(has_earlier_md5=True))
        stats.on_skipped("a", Outcome(what, "reason"))
        return [note for note in restore_notes(stats, overwrite=False) if "stay" in note]

    assert notes("missing") == []  # as a dry run lists it
    assert notes("differs") == notes("unproven") != []
