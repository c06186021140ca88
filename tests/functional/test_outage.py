"""A store that fails for one key, and a store that fails for a while: neither ends a migration."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable
from math import inf
from pathlib import Path

import pytest
from tests.functional.command import run, started
from tests.functional.harness import MIB, Rig, notification
from tests.functional.proxy import Exchange, Fault, Proxy, refuse, reset

from s3_syncer.cli.output.stats import SweepStats
from s3_syncer.cli.sweeps.outage import Outage, OutageDisplay
from s3_syncer.core import listing_diff
from s3_syncer.sync.outcome import Outcome

pytestmark = pytest.mark.real_store

ODD = "folder//odd"

#: Errors that a store or a proxy may return for one key, although they are errors of the store as a whole.
ODD_FAULTS = {
    "signature": refuse(403, "SignatureDoesNotMatch"),
    "header": refuse(400, "AuthorizationHeaderMalformed"),
    "access key": refuse(403, "InvalidAccessKeyId"),
    "access": refuse(403, "AccessDenied"),
    "token": refuse(400, "InvalidToken"),
    "clock": refuse(403, "RequestTimeTooSkewed"),
    "bucket": refuse(404, "NoSuchBucket"),
    "redirect": refuse(301, "PermanentRedirect"),
    "reset": reset,
    "bad gateway": refuse(502, "BadGateway"),
    "busy": refuse(503, "ServiceUnavailable"),
}


@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("fault", ODD_FAULTS.values(), ids=ODD_FAULTS)
def test_key_that_a_store_handles_oddly_is_one_failed_key(rig: Rig, side: str, fault: Fault) -> None:
    """It once ended the whole migration: 95 of 3,001 keys were copied."""
    keys = [f"{number:03}" for number in range(20)]
    for key in (*keys, ODD):
        rig.put(key, b"some bytes")
    proxy = rig.source_proxy if side == "source" else rig.target_proxy
    proxy.when(fault, key=ODD, times=1e9)
    ended = run("migrate", "--concurrency", "2", "--no-tags")
    assert ended.code == 1
    assert ended.named.keys() == {ODD}
    assert rig.target_keys() == keys


@pytest.mark.parametrize("fault", [refuse(403, "SignatureDoesNotMatch"), reset], ids=["signature", "reset"])
def test_sync_names_an_odd_key_and_continues(rig: Rig, fault: Fault) -> None:
    for key in ("a", "b"):
        rig.put(key, b"some bytes")
    rig.target_proxy.when(fault, key="a", times=1e9)
    ended = run("sync", "a", "b")
    assert ended.code == 1
    assert [what.partition(":")[0] for what in ended.named.values()] == ["failed", "copy"]


def test_event_of_an_odd_key_returns_until_the_store_has_served_another_key(rig: Rig) -> None:
    for key in ("a", "b"):
        rig.put(key, b"some bytes")
    rig.target_proxy.when(refuse(403, "SignatureDoesNotMatch"), key="a", times=1e9)
    first = rig.deliver(notification("a"))
    assert len(first.returned) == 1
    assert first.actions == {"a": "retry"}
    assert "concerns only this request" in first.reasons["a"]
    assert rig.deliver(notification("b")).actions == {"b": "copy"}
    assert rig.deliver(*first.returned).actions == {"a": "dead-letter"}


# -- outages -----------------------------------------------------------------------------------------------------------


def side_of(rig: Rig, side: str) -> Proxy:
    return rig.source_proxy if side == "source" else rig.target_proxy


class Outages:
    """Begins an outage at a request, and ends it once the command has noticed it several times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, begin: Callable[[], None], end: Callable[[], None]) -> None:
        self._begin, self._end = begin, end
        self.noticed: list[Outage] = []
        on_outage, lock = OutageDisplay.on_outage, threading.Lock()

        def noting(display: OutageDisplay, found: Outage) -> None:
            on_outage(display, found)
            with lock:
                self.noticed.append(found)
                is_enough = len(self.noticed) == 3
            if is_enough:
                end()

        monkeypatch.setattr(OutageDisplay, "on_outage", noting)

    def fault(self, exchange: Exchange) -> None:
        """Begin the outage at this request, which gets no response."""
        beginning = threading.Thread(target=self._begin)
        beginning.start()
        exchange.reset()


def refused_connections(proxy: Proxy) -> tuple[Callable[[], None], Callable[[], None]]:
    return proxy.hang_up, proxy.listen


def failing(fault: Fault) -> Callable[[Proxy], tuple[Callable[[], None], Callable[[], None]]]:
    """Return the begin and the end of an outage in which every request gets this fault."""

    def ways(proxy: Proxy) -> tuple[Callable[[], None], Callable[[], None]]:
        return lambda: proxy.when(fault, times=inf), proxy.clear

    return ways


OUTAGES = {
    "connection refused": refused_connections,
    "connection reset": failing(reset),
    "503": failing(refuse(503, "ServiceUnavailable")),
    "slow down": failing(refuse(503, "SlowDown")),
    "bad gateway": failing(refuse(502, "")),
}


@pytest.fixture
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing_diff, "PAGE_KEYS", 10)


@pytest.mark.usefixtures("_small_pages")
@pytest.mark.parametrize("side", ["source", "target"])
@pytest.mark.parametrize("ways", OUTAGES.values(), ids=OUTAGES)
def test_migration_waits_for_a_store_and_continues(
    rig: Rig,
    monkeypatch: pytest.MonkeyPatch,
    side: str,
    ways: Callable[[Proxy], tuple[Callable[[], None], Callable[[], None]]],
) -> None:
    """It once ended with exit code 3, or named the keys in flight as failed."""
    keys = [f"{number:03}" for number in range(60)]
    for key in keys:
        rig.put(key, b"some bytes")
    proxy = side_of(rig, side)
    found = Outages(monkeypatch, *ways(proxy))
    proxy.when(found.fault, "GET" if side == "source" else "PUT", skip=20)
    ended = run("migrate", "--concurrency", "4")
    assert (ended.code, ended.out) == (0, ""), ended.err
    assert rig.differences() == []
    lines = ended.err.splitlines()
    assert f"the {side} does not respond: waiting, retry in " in lines[0]
    assert "(--outage-timeout)" in lines[0]
    assert lines[1] == f"the {side} responds again"
    assert "60 copied, 0 failed" in lines[-2]


@pytest.mark.parametrize("command", [("check",), ("sync", "a", "b", "c")], ids=["check", "sync"])
def test_other_commands_wait_too(rig: Rig, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    for key in ("a", "b", "c"):
        rig.put(key, b"some bytes")
    assert run("migrate").code == 0
    rig.clear()
    found = Outages(monkeypatch, *refused_connections(rig.target_proxy))
    rig.target_proxy.when(found.fault, "HEAD", skip=1)
    ended = run(*command, *(["--full"] if command == ("check",) else []))
    assert ended.code == 0, ended.err
    assert "the target responds again" in ended.err


def test_parts_in_flight_wait_and_the_upload_is_completed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.put("large", bytes(80 * MIB))
    found = Outages(monkeypatch, *refused_connections(rig.target_proxy))
    rig.target_proxy.when(found.fault, "PUT", query="partNumber", skip=2)
    ended = run("migrate", "--concurrency", "2", "--memory", "64")
    assert ended.code == 0, ended.err
    assert len(found.noticed) >= 3
    creations = [request for request in rig.target_proxy.writes() if "uploads" in request.query]
    assert len(creations) == 1
    assert rig.differences() == []


@pytest.mark.usefixtures("_small_pages")
def test_all_processes_wait(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process has the real pauses of boto3, so this test takes some seconds."""
    monkeypatch.setenv("S3_SYNCER_SPAWN_AFTER_CPU", "0")
    monkeypatch.setenv("S3_SYNCER_SPAWN_AFTER_KEYS", "0")
    keys = [f"{number % 10}/{number:03}" for number in range(300)]
    for key in keys:
        rig.put(key, key.encode())
    processes, from_child = set[int](), threading.Event()
    on_outage, on_changed = OutageDisplay.on_outage, SweepStats.on_changed

    def noting(display: OutageDisplay, noticed: Outage) -> None:
        on_outage(display, noticed)
        processes.add(noticed.process)
        if len(processes) == 2:
            rig.target_proxy.clear()

    def counting(stats: SweepStats, key: str, outcome: Outcome) -> None:
        on_changed(stats, key, outcome)
        if threading.current_thread().name == "process events" and not from_child.is_set():
            from_child.set()  # the other process has a range now, and most of it is not copied yet
            rig.target_proxy.when(refuse(503, "SlowDown"), times=inf)

    monkeypatch.setattr(OutageDisplay, "on_outage", noting)
    monkeypatch.setattr(SweepStats, "on_changed", counting)
    rig.source_proxy.when(lambda exchange: exchange.delay(0.05) and exchange.forward(), times=inf)
    ended = run("migrate", "--processes", "2", "--concurrency", "2")
    assert ended.code == 0, ended.err
    assert len(processes) == 2
    assert "300 copied, 0 failed" in ended.err
    begins = [line for line in ended.err.splitlines() if "does not respond" in line and "keys compared" not in line]
    assert len(begins) <= 2, "one line for an outage, not one for each process"
    assert rig.differences() == []


def test_timeout_ends_the_command(rig: Rig, tmp_path: Path) -> None:
    """A later run continues: it skips keys that are equal."""
    for number in range(20):
        rig.put(f"{number:02}", b"some bytes")
    report = tmp_path / "report.json"
    rig.target_proxy.when(reset, skip=6, times=inf)
    ended = run("migrate", "--concurrency", "2", "--report", str(report), S3_SYNCER_OUTAGE_TIMEOUT="0.5s")
    assert ended.code == 3
    assert "gave up after 0.5 s (--outage-timeout)" in ended.err
    assert ended.named == {}
    assert json.loads(report.read_text())["failures"] == []
    rig.clear()
    assert run("migrate").code == 0


@pytest.mark.parametrize(
    "fault", [refuse(403, "InvalidAccessKeyId"), refuse(404, "NoSuchBucket")], ids=["key", "bucket"]
)
def test_refusal_is_not_waited_for(rig: Rig, fault: Fault) -> None:
    for number in range(20):
        rig.put(f"{number:02}", b"some bytes")
    rig.target_proxy.when(fault, skip=6, times=inf)
    ended = run("migrate", "--concurrency", "2")
    assert ended.code == 3
    assert "does not respond" not in ended.err


def test_zero_ends_the_command_at_once(rig: Rig) -> None:
    for number in range(20):
        rig.put(f"{number:02}", b"some bytes")
    rig.target_proxy.when(reset, skip=6, times=inf)
    ended = run("migrate", "--concurrency", "2", "--outage-timeout", "0")
    assert ended.code == 3
    assert "waiting" not in ended.err


#: Source of a child process: it waits long for a store, and makes a file when the wait begins.
LONG_PAUSE = """
from pathlib import Path
from botocore.retries.standard import ExponentialBackoff
ExponentialBackoff.delay_amount = lambda self, context: 0.0
from s3_syncer.cli.sweeps import outage
outage.PAUSE_FIRST_S = outage.PAUSE_MAX_S = 600.0
announced = outage.OutageDisplay.on_outage
def noting(display, found):
    announced(display, found)
    Path({file!r}).touch()
outage.OutageDisplay.on_outage = noting
"""


def test_signal_ends_the_wait_at_once(rig: Rig, tmp_path: Path) -> None:
    for number in range(20):
        rig.put(f"{number:02}", b"some bytes")
    rig.target_proxy.when(reset, skip=6, times=inf)
    waits = tmp_path / "waits"
    with started("migrate", "--concurrency", "2", before=LONG_PAUSE.format(file=str(waits))) as command:
        command.wait_until(waits.exists)
        command.send(signal.SIGINT)
        ended = command.ended()
    assert ended.code == 130
    assert "Run the same command again to continue" in ended.err


def test_throttled_requests_fail_no_key(rig: Rig) -> None:
    """The six attempts of boto3 are not always enough."""
    keys = [f"{number:03}" for number in range(30)]
    for key in keys:
        rig.put(key, b"some bytes")
        if int(key) % 3 == 0:  # all attempts of the CRT transport and of boto3, and of its first repeat
            rig.target_proxy.when(refuse(503, "SlowDown"), "PUT", key=key, times=13)
    ended = run("migrate", "--concurrency", "4")
    assert ended.code == 0, ended.out
    assert rig.differences() == []
