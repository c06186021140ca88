"""An error about one object says nothing about the store until a second request confirms it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.support.clock import FakeClock
from tests.support.patience import PATIENCE_S

from s3_syncer.core.deadline import OutOfTime
from s3_syncer.core.errors import (
    Busy,
    Changed,
    Permanent,
    Refused,
    Retryable,
    StoreUnavailable,
    StoreUnusable,
    SyncError,
    Transient,
)
from s3_syncer.stores.availability import SHARE_FAILURE_S, Availability


class Probe:
    """A request about the bucket that fails with `error`, or succeeds; `count` has the number of requests."""

    def __init__(self, error: SyncError | None = None, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.error, self.meanwhile, self.count = error, meanwhile, 0

    def __call__(self) -> None:
        self.count += 1
        self.meanwhile()
        if self.error is not None:
            raise self.error


WRONG_KEY = StoreUnusable("SignatureDoesNotMatch: the secret access key is wrong", "SignatureDoesNotMatch")
BROKEN = Transient("the connection broke", "ConnectionBroke")
BUSY = Busy("SlowDown: the store asks to slow down", "SlowDown")
DENIED = Permanent("AccessDenied", "AccessDenied")


@pytest.mark.parametrize(
    ("error", "about_the_bucket", "kind", "code"),
    [
        (WRONG_KEY, None, Refused, "SignatureDoesNotMatch"),
        (WRONG_KEY, DENIED, Refused, "SignatureDoesNotMatch"),
        (WRONG_KEY, WRONG_KEY, StoreUnusable, "SignatureDoesNotMatch"),
        (WRONG_KEY, BROKEN, StoreUnavailable, "ConnectionBroke"),
        (BROKEN, None, Transient, "ConnectionBroke"),
        (BROKEN, DENIED, Transient, "ConnectionBroke"),
        (BROKEN, WRONG_KEY, StoreUnusable, "SignatureDoesNotMatch"),
        (BROKEN, BUSY, StoreUnavailable, "ConnectionBroke"),
        (BUSY, None, Busy, "SlowDown"),
        (BUSY, BUSY, StoreUnavailable, "SlowDown"),
    ],
)
def test_a_request_about_the_bucket_decides(
    error: SyncError, about_the_bucket: SyncError | None, kind: type[SyncError], code: str
) -> None:
    found = Availability(Probe(about_the_bucket)).confirm(error)
    assert type(found) is kind
    assert found.code == code


def test_an_error_of_one_key_says_so() -> None:
    found = Availability(Probe()).confirm(WRONG_KEY)
    assert found.reason.startswith("SignatureDoesNotMatch: ")
    assert "concerns only this request" in found.reason


@pytest.mark.parametrize("error", [Changed("gone"), Permanent("too large"), Retryable("damaged")])
def test_other_errors_cost_no_request(error: SyncError) -> None:
    probe = Probe()
    assert Availability(probe).confirm(error) is error
    assert probe.count == 0


def test_a_failed_check_is_shared_for_some_seconds() -> None:
    """Otherwise each of the many requests that fail in an outage would repeat the check."""
    clock, probe = FakeClock(), Probe(BROKEN)
    check = Availability(probe, clock=clock)
    for _ in range(10):
        assert isinstance(check.confirm(BROKEN), StoreUnavailable)
        clock.now += SHARE_FAILURE_S / 11
    assert probe.count == 1
    clock.now += SHARE_FAILURE_S
    probe.error = None
    assert type(check.confirm(BROKEN)) is Transient
    assert probe.count == 2


def test_a_success_does_not_count_for_a_later_failure() -> None:
    """Otherwise the first keys of an outage would fail, because the store has just served another key."""
    clock, probe = FakeClock(), Probe()
    check = Availability(probe, clock=clock)
    assert type(check.confirm(BROKEN)) is Transient
    clock.now += 0.001
    probe.error = BUSY
    assert type(check.confirm(BROKEN)) is StoreUnavailable


def test_requests_that_fail_together_share_one_check() -> None:
    """Without the shared check there would be one for each thread."""
    threads, waiting, go = 16, threading.Semaphore(0), threading.Event()

    def meanwhile() -> None:
        assert go.wait(PATIENCE_S)

    probe = Probe(BROKEN, meanwhile)
    check = Availability(probe, clock=FakeClock())

    def fail() -> SyncError:
        waiting.release()
        return check.confirm(BROKEN)

    with ThreadPoolExecutor(threads) as pool:
        results = [pool.submit(fail) for _ in range(threads)]
        for _ in range(threads):
            assert waiting.acquire(timeout=PATIENCE_S)
        go.set()
        assert {type(result.result()) for result in results} == {StoreUnavailable}
    assert probe.count == 1


def test_work_that_was_given_up_proves_nothing() -> None:
    check = Availability(Probe(OutOfTime("given up")))
    with pytest.raises(OutOfTime):
        check.confirm(WRONG_KEY)


def test_the_last_response_has_its_time() -> None:
    """An error of the store is a response, a broken connection is none."""
    clock = FakeClock(100.0)
    store = Availability(Probe(Transient("broken")), clock=clock)

    def fail(error: SyncError) -> None:
        raise error

    assert store.responded_at == float("-inf")
    for error, expected in ((Permanent("denied"), 100.0), (Transient("broken"), 100.0)):
        with pytest.raises(SyncError):
            store.request(lambda error=error: fail(error), "put_object", "a")
        assert store.responded_at == expected
        clock.now += 7
    store.note_success("put_object")
    assert store.responded_at == 114.0
    clock.now += 7
    assert store.request(lambda: "a result", "put_object", "a") == "a result"
    assert store.responded_at == 121.0
