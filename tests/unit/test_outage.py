"""The gate in front of a store: requests wait while the store is unavailable, and end with one error."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta

import click
import pytest
from tests.support.clock import FakeClock
from tests.support.patience import PATIENCE_S

from s3_syncer.cli.options.types import Duration, Number
from s3_syncer.cli.sweeps.outage import (
    BUSY_REPEATS,
    OTHER_REPEATS,
    Outage,
    OutageDisplay,
    OutageGate,
    WaitEnd,
    outage_gates,
)
from s3_syncer.core import deadline
from s3_syncer.core.concurrency_limit import ConcurrencyLimit
from s3_syncer.core.deadline import Deadline, OutOfTime
from s3_syncer.core.errors import Busy, Changed, StaleWrite, StoreUnavailable, StoreUnusable, SyncError, Transient
from s3_syncer.stores.availability import STALE_WRITE_S, Availability
from s3_syncer.stores.request_limiter import RequestLimiter

DOWN = StoreUnavailable("the store does not respond", "NoResponse")
BROKEN = Transient("the connection broke", "ConnectionBroke")
BUSY = Busy("slow down", "SlowDown")
REFUSED = StoreUnusable("the access key is unknown", "InvalidAccessKeyId")


class Noted:
    """A listener that keeps the stores of the outages and recoveries."""

    def __init__(self) -> None:
        self.outages: list[Outage] = []
        self.recoveries: list[Outage] = []

    def on_outage(self, outage: Outage) -> None:
        self.outages.append(outage)

    def on_recovery(self, outage: Outage) -> None:
        self.recoveries.append(outage)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Return the clock of the gate and of its sleeps: the pauses take no real time."""
    clock = FakeClock()
    monkeypatch.setattr(deadline, "time", clock)
    return clock


def gate_of(
    noted: Noted, clock: Callable[[], float], *, has_responded: bool = True, timeout_s: float = 900
) -> OutageGate:
    end = WaitEnd(Deadline())
    return OutageGate("the target", noted, end, timeout_s=timeout_s, has_responded=has_responded, clock=clock)


def fails(*errors: SyncError | None) -> Callable[[], None]:
    """Return a request with these results in turn, and then always the last one; None is a success."""
    left = list(errors)

    def send() -> None:
        error = left.pop(0) if len(left) > 1 else left[0]
        if error is not None:
            raise error

    return send


def test_request_is_repeated_once_the_store_responds(clock: FakeClock) -> None:
    noted = Noted()
    gate = gate_of(noted, clock)
    assert gate.may_repeat(DOWN, 1, fails(BROKEN, BROKEN, BUSY, None))
    gate.wait()  # returns at once
    assert len(noted.outages) == 4
    assert len(noted.recoveries) == 1
    assert clock.now >= 1000 + 1 + 2 + 4 + 8, "the pauses double"


def test_every_request_waits_during_an_outage() -> None:
    noted, responds = Noted(), threading.Event()
    gate = gate_of(noted, FakeClock())

    def probe() -> None:
        assert responds.wait(PATIENCE_S)

    with ThreadPoolExecutor(2) as pool:
        gate._begin(DOWN, probe)
        waiting: list[Future[None]] = [pool.submit(gate.wait) for _ in range(2)]
        assert not any(each.done() for each in waiting)
        responds.set()
        for each in waiting:
            each.result(PATIENCE_S)


def test_wait_ends_with_the_timeout(clock: FakeClock) -> None:
    noted = Noted()
    gate = gate_of(noted, clock, timeout_s=300)
    with pytest.raises(StoreUnavailable, match=r"the connection broke: gave up after 300 s \(--outage-timeout\)"):
        gate.may_repeat(DOWN, 1, fails(BROKEN))
    assert 1300 <= clock.now < 1301
    assert noted.recoveries == []
    with pytest.raises(StoreUnavailable):
        gate.wait()


def test_refusal_during_an_outage_ends_the_wait(clock: FakeClock) -> None:
    gate = gate_of(Noted(), clock)
    with pytest.raises(StoreUnusable, match="the access key is unknown"):
        gate.may_repeat(DOWN, 1, fails(BROKEN, REFUSED))


def test_store_that_has_not_responded_once_is_not_waited_for(clock: FakeClock) -> None:
    noted = Noted()
    gate = gate_of(noted, clock, has_responded=False)
    assert not gate.may_repeat(DOWN, 1, fails(None))
    gate.on_response()
    assert gate.may_repeat(DOWN, 1, fails(None))
    assert len(noted.outages) == 1


def test_stop_ends_the_wait_at_once() -> None:
    stop = Deadline()
    gate = OutageGate("the target", Noted(), WaitEnd(stop), timeout_s=900, has_responded=True)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gate.may_repeat, DOWN, 1, fails(BROKEN))
        stop.stop()
        with pytest.raises(OutOfTime):
            waiting.result(PATIENCE_S)


def test_refusal_by_one_store_ends_the_wait_for_the_other(clock: FakeClock) -> None:
    """Otherwise a command that cannot succeed would end only after the timeout."""
    end, over = WaitEnd(Deadline()), threading.Event()
    gates = outage_gates(Noted(), end, 900, have_responded=True)
    assert gates.source is not None
    assert gates.target is not None

    def probe() -> None:
        over.wait(PATIENCE_S)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(gates.source.may_repeat, DOWN, 1, probe)
        assert not gates.target.may_repeat(REFUSED, 1, fails(None))
        with pytest.raises(StoreUnusable, match="the access key is unknown"):
            waiting.result(PATIENCE_S)
        over.set()


@pytest.mark.parametrize(("error", "repeats"), [(BROKEN, OTHER_REPEATS), (BUSY, BUSY_REPEATS), (REFUSED, 0)])
def test_request_that_fails_alone_is_repeated_a_few_times(clock: FakeClock, error: SyncError, repeats: int) -> None:
    gate = gate_of(Noted(), clock)
    failures = 1
    while failures <= 2 * BUSY_REPEATS and gate.may_repeat(error, failures, fails(None)):
        failures += 1
    assert failures == repeats + 1


@pytest.mark.parametrize(
    ("error", "repeats"),
    [(StoreUnavailable("no answer"), False), (Transient("broken"), False), (Changed("other"), False), (BUSY, True)],
)
def test_without_a_timeout_only_a_busy_store_is_waited_for(clock: FakeClock, error: SyncError, repeats: bool) -> None:
    gate = gate_of(Noted(), clock, timeout_s=0)
    assert gate.may_repeat(error, 1, fails(None)) is repeats


def test_a_fault_in_the_thread_that_waits_ends_the_wait_of_all_requests(clock: FakeClock) -> None:
    class Faulty(Noted):
        def on_outage(self, outage: Outage) -> None:
            raise OSError(24, "Too many open files")

    gate = gate_of(Faulty(), clock)
    with pytest.raises(StoreUnavailable, match=r"the store does not respond; the wait for it failed: .*open files"):
        gate.may_repeat(DOWN, 1, fails(None))


# -- requests through the gate -----------------------------------------------------------------------------------------


def test_write_that_became_too_old_is_not_repeated(clock: FakeClock) -> None:
    """Another worker may have written newer content during the outage: the key is compared again."""
    store = Availability(fails(BROKEN, BROKEN, *[BROKEN] * 6, None), gate_of(Noted(), clock), clock=clock)
    with pytest.raises(Changed, match="too old"):
        store.request(fails(BROKEN, None), "put_object", writes=True)
    assert clock.now > 1000 + STALE_WRITE_S


def test_read_is_repeated_after_any_time(clock: FakeClock) -> None:
    store = Availability(fails(BROKEN, BROKEN, *[BROKEN] * 6, None), gate_of(Noted(), clock), clock=clock)
    store.request(fails(BROKEN, None), "head_object")
    assert clock.now > 1000 + STALE_WRITE_S


class BusyStore:
    """A store that answers a share of the requests with 503, until a time on the clock."""

    def __init__(self, clock: FakeClock, *, share: float, until: float) -> None:
        self.clock, self.share, self.until = clock, share, until
        self.random = random.Random(1)
        self.requests: list[float] = []

    def __call__(self) -> None:
        self.requests.append(self.clock.now)
        self.clock.now += 0.01
        if self.clock.now < self.until and self.random.random() < self.share:
            raise BUSY


@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_a_store_that_is_busy_for_a_minute_fails_no_write(clock: FakeClock, share: float) -> None:
    gate = gate_of(Noted(), clock)
    store, send = Availability(fails(None), gate, clock=clock), BusyStore(clock, share=share, until=1060)
    for _ in range(50):
        while True:
            try:
                store.request(send, "put_object", writes=True)
            except StaleWrite:
                continue  # the key is compared again
            break
    assert clock.now < 1060 + 120
    assert len([moment for moment in send.requests if moment < 1060]) < 600, "the requests slow down"


def test_requests_begin_again_with_few_at_a_time_after_an_outage(clock: FakeClock) -> None:
    limiter = RequestLimiter(ConcurrencyLimit(64, first=8), clock=clock)
    for _ in range(3):
        with limiter.acquire("GET") as permit:
            permit.begin()
            clock.now += 1
            permit.note_lost()
    assert limiter.value == 1
    gate = OutageGate(
        "the target", Noted(), WaitEnd(Deadline()), timeout_s=900, has_responded=True, limiter=limiter, clock=clock
    )
    assert gate.may_repeat(DOWN, 1, fails(BROKEN, None))
    assert limiter.value == 8


def test_a_store_that_is_too_busy_for_every_write_ends_the_command(clock: FakeClock) -> None:
    gate = gate_of(Noted(), clock, timeout_s=300)
    store, send = Availability(fails(None), gate, clock=clock), BusyStore(clock, share=1.0, until=1e9)

    def copy_until_it_fails() -> None:
        while True:
            store.request(fails(None), "head_object")
            with suppress(StaleWrite):
                store.request(send, "put_object", writes=True)

    with pytest.raises(StoreUnavailable, match=r"gave up after 300 s \(--outage-timeout\)"):
        copy_until_it_fails()
    assert 1300 <= clock.now < 1400


def test_a_key_that_alone_is_throttled_does_not_end_the_command(clock: FakeClock) -> None:
    gate = gate_of(Noted(), clock, timeout_s=300)
    store = Availability(fails(None), gate, clock=clock)

    def other_keys_go_on() -> None:
        store.request(fails(None), "put_object")
        raise BUSY

    with pytest.raises(Busy):
        store.request(other_keys_go_on, "put_object")
    assert clock.now > 1300


def test_first_listing_needs_no_check() -> None:
    """A wrong endpoint fails after the attempts of one request, not of two."""
    probe = fails(AssertionError("a check"))  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable):
        Availability(probe).request(fails(BROKEN), "list_objects_v2", about_bucket=True)


# -- display -----------------------------------------------------------------------------------------------------------


def an_outage(store: str = "the target", process: int = 1, retry_in_s: float = 8) -> Outage:
    now = datetime.now().astimezone()
    return Outage(
        store, process, "the store is busy", now + timedelta(seconds=retry_in_s), now.replace(hour=21, minute=40)
    )


def test_outage_is_announced_once_and_shown_while_it_lasts() -> None:
    lines: list[str] = []
    display = OutageDisplay(lines.append)
    assert str(display) == ""
    for process in (1, 2):
        display.on_outage(an_outage(process=process, retry_in_s=8.4))
        display.on_outage(an_outage(process=process, retry_in_s=8.4))
    text = "the target does not respond: waiting, retry in 8 s, gives up at 21:40 (--outage-timeout)"
    assert lines == [f"{text} · the store is busy"]
    assert str(display) == text
    display.on_recovery(an_outage(process=1))
    assert len(lines) == 1, "another process still waits"
    display.on_recovery(an_outage(process=2))
    assert lines[1:] == ["the target responds again"]
    assert str(display) == ""


@pytest.mark.parametrize(("text", "seconds"), [("0", 0), ("90", 90), ("1.5s", 1.5), ("15m", 900), ("1H", 3600)])
def test_duration_is_seconds(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["8761h", "9" * 400])
def test_duration_is_a_year_at_most(text: str) -> None:
    """Python cannot add more to a date, and cannot wait that long."""
    with pytest.raises(click.BadParameter, match="is too long: write at most 8760h"):
        Duration().convert(text, None, None)


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "1e300"])
def test_number_is_between_its_limits(text: str) -> None:
    assert Number(0, 10).convert("1.5", None, None) == 1.5
    with pytest.raises(click.BadParameter, match="is not"):
        Number(0, 10).convert(text, None, None)


@pytest.mark.parametrize("text", ["", "m", "-1", "1d", "1m30s", "nan"])
def test_other_text_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a duration"):
        Duration().convert(text, None, None)
