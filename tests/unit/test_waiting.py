"""The wait for the work of a batch, and its log lines, on a clock that only the test moves."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Any

import pytest
from tests.support.clock import FakeClock

from s3_syncer.core import deadline as deadline_module
from s3_syncer.core.deadline import Deadline
from s3_syncer.queue import waiting
from s3_syncer.queue.waiting import BatchWait


@dataclass(frozen=True)
class Key:
    key: str
    since: float | None = None


class WallClock(FakeClock):
    def time(self) -> float:
        return self.now


@dataclass
class Bench:
    """Runs waits. `at` has what happens at a time of the clock; each wait of the product moves it on."""

    clock: WallClock
    lines: Callable[[], list[dict[str, Any]]]
    at: dict[float, Callable[[], object]]

    def wait(self, futures: Iterable[Future[Any]], timeout: float) -> Any:
        self.clock.now += timeout
        for due in [time for time in self.at if time <= self.clock.now]:
            self.at.pop(due)()
        return wait(futures, timeout=0)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Bench:
    caplog.set_level(logging.INFO)

    def lines() -> list[dict[str, Any]]:
        return [vars(record) for record in caplog.records if record.message == "waiting"]

    bench = Bench(WallClock(0.0), lines, {})
    for module in (waiting, deadline_module):
        monkeypatch.setattr(module, "time", bench.clock)
    monkeypatch.setattr(waiting, "wait", bench.wait)
    return bench


def never() -> float:
    return -math.inf


def done(future: Future[Any]) -> Callable[[], None]:
    return lambda: future.set_result(None)


def test_work_of_less_than_a_minute_has_no_line(bench: Bench) -> None:
    future: Future[Any] = Future()
    bench.at[59.0] = done(future)
    BatchWait(never).wait({future: Key("a")}, Deadline(), grace_s=0)
    assert bench.lines() == []


def test_each_minute_has_a_line_about_the_oldest_key_that_is_not_done(bench: Bench) -> None:
    old, new, recheck = Future[Any](), Future[Any](), Future[Any]()
    bench.at = {100.0: done(old), 150.0: done(new), 200.0: done(recheck)}
    running = {new: Key("new", 20.0), old: Key("old", -300.0), recheck: Key("recheck")}
    BatchWait(never).wait(running, Deadline(), grace_s=0)
    assert [(line["key"], line["lag_ms"], line["unfinished"], line["duration_ms"]) for line in bench.lines()] == [
        ("old", 360_000, 3, 60_000),
        ("new", 100_000, 2, 120_000),
        ("recheck", None, 1, 180_000),
    ]
    assert {line["action"] for line in bench.lines()} == {"waiting"}


def test_a_clock_of_the_source_that_is_ahead_gives_no_negative_lag(bench: Bench) -> None:
    future: Future[Any] = Future()
    bench.at[70.0] = done(future)
    BatchWait(never).wait({future: Key("a", 1000.0)}, Deadline(), grace_s=0)
    assert [line["lag_ms"] for line in bench.lines()] == [0]


def test_a_batch_that_never_moves_on_is_idle_from_its_begin(bench: Bench) -> None:
    future: Future[Any] = Future()
    bench.at[250.0] = done(future)
    BatchWait(never).wait({future: Key("a", 0.0)}, Deadline(), grace_s=0)
    assert [(line["idle_s"], line["levelname"]) for line in bench.lines()] == [
        (60, "WARNING"),
        (120, "WARNING"),
        (180, "WARNING"),
        (240, "WARNING"),
    ]


def test_progress_of_any_item_ends_the_idle_time(bench: Bench) -> None:
    future: Future[Any] = Future()
    batch = BatchWait(never)
    bench.at = {50.0: batch.progress, 115.0: batch.progress, 190.0: done(future)}
    batch.wait({future: Key("a", 0.0)}, Deadline(), grace_s=0)
    assert [(line["idle_s"], line["levelname"]) for line in bench.lines()] == [
        (10, "INFO"),
        (5, "INFO"),
        (65, "WARNING"),
    ]


def test_stores_that_respond_to_another_batch_are_no_outage(bench: Bench) -> None:
    """A batch may wait for minutes until another one returns the memory for its buffers."""
    future: Future[Any] = Future()
    bench.at[190.0] = done(future)
    BatchWait(lambda: bench.clock.now - 3).wait({future: Key("a", 0.0)}, Deadline(), grace_s=0)
    assert [line["idle_s"] for line in bench.lines()] == [3, 3, 3]


def test_a_response_before_the_batch_is_not_waited_for(bench: Bench) -> None:
    bench.clock.now = 5000.0
    future: Future[Any] = Future()
    bench.at[5070.0] = done(future)
    BatchWait(lambda: 10.0).wait({future: Key("a")}, Deadline(), grace_s=0)
    assert [line["idle_s"] for line in bench.lines()] == [60]


def test_the_wait_ends_with_the_grace_after_the_deadline(bench: Bench) -> None:
    BatchWait(never).wait({Future(): Key("a")}, Deadline.after(90), grace_s=7.0)
    assert bench.clock.now == 97.0
    assert len(bench.lines()) == 1


def test_the_wait_notices_that_the_deadline_was_stopped(bench: Bench) -> None:
    deadline = Deadline()
    bench.at[30.0] = deadline.stop
    BatchWait(never).wait({Future(): Key("a")}, deadline, grace_s=2.0)
    assert bench.clock.now <= 33.0
