"""Distinguish a store that fails as a whole from a request that fails.

An error response to a request about one object may concern that object only. For example, a proxy that rewrites an
odd path breaks its signature. A firewall may reset connections that carry certain bytes. So one harmless request about
the bucket confirms such an error.

| error of the request | request about the bucket | result |
|---|---|---|
| StoreUnusable | succeeds | Retryable, for this request; Refused with a code of ONE_OBJECT_CODES, see `rejections.py` |
| StoreUnusable | StoreUnusable | StoreUnusable |
| StoreUnusable | Transient | StoreUnavailable |
| Transient | succeeds | the error of the request |
| Transient | StoreUnusable | StoreUnusable |
| Transient | Transient | StoreUnavailable |

Any other error of the request about the bucket, such as "access denied", counts as a success: the store serves
requests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from ..core import fence
from ..core.deadline import OutOfTime
from ..core.errors import (
    LOST_CODES,
    ONE_OBJECT_CODES,
    Busy,
    Changed,
    Refused,
    Retryable,
    StaleWrite,
    StoreUnavailable,
    StoreUnusable,
    SyncError,
    Transient,
)
from .protocols import RequestGate
from .rejections import Rejections
from .request_limiter import Permit, RequestLimiter, request_kind

#: Seconds for which a failed check is shared. In an outage many requests fail, and each would repeat the check.
SHARE_FAILURE_S = 5.0

#: Seconds from the first attempt of a write after which it is not repeated. Another worker may have written newer
#: content since then, so the key must be compared again.
STALE_WRITE_S = 60.0

_Result = TypeVar("_Result")


class Availability:
    """Makes the requests to one store and confirms their errors. Safe to share between threads.

    `probe` makes a harmless request about the bucket, and raises a SyncError if it fails. With a `gate`, requests wait
    while the store is unavailable. Without one, each error is raised at once. With a `limiter`, requests wait for a
    permit, and show it how busy the store is.
    """

    def __init__(
        self,
        probe: Callable[[], object],
        gate: RequestGate | None = None,
        limiter: RequestLimiter | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._probe, self._gate, self._limiter, self._clock = probe, gate, limiter, clock
        self._rejections = Rejections()
        #: Time of the last response, on the clock.
        self.responded_at = float("-inf")
        self._lock = threading.Lock()
        # The last check: its begin and end on the clock, and its error.
        self._began = self._ended = float("-inf")
        self._found: SyncError | None = None

    def request(
        self,
        send: Callable[[], _Result],
        operation: str,
        key: str = "",
        *,
        size: int = 0,
        about_bucket: bool = False,
        writes: bool = False,
    ) -> _Result:
        """Return the result of `send`, which makes a request about the key. Raises its confirmed error.

        `size` is the number of bytes that the request moves.
        `about_bucket` says that the request proves as much as the check, unless the store has served requests before.
        `writes` says that the request changes an object. Raises StaleWrite if such a request is too old to be repeated.
        """
        began, failures = self._clock(), 0
        while True:
            mark = self._rejections.mark()
            permit = self._turn(operation, size)
            try:
                result = _attempt(permit, send)
            except (StoreUnusable, Transient) as error:
                needs_no_check = about_bucket and self.responded_at == float("-inf")
                cause, failure = error, _confirmed(error, error) if needs_no_check else self.confirm(error)
            except SyncError as error:
                self.note_response()
                if isinstance(error, Refused):
                    self._rejections.judge(operation, key, error, self._clock())
                elif isinstance(error, Changed):
                    self._rejections.note_success(operation, key, began=mark)
                raise
            else:
                self.note_response()
                self._rejections.note_success(operation, key, began=mark)
                return result
            failures += 1
            if isinstance(failure, Refused):
                self._rejections.judge(operation, key, failure, self._clock())
            busy_s = self._rejections.busy_s(operation, self._clock()) if isinstance(failure, Busy) else 0.0
            if self._gate is None or not self._gate.may_repeat(failure, failures, self._probe, busy_s):
                raise failure from cause
            if writes and self._clock() - began > STALE_WRITE_S:
                message = f"{failure.reason}: the write is too old to be repeated"
                raise StaleWrite(message, failure.code, request_id=failure.request_id)

    def attempt(self, send: Callable[[], _Result], operation: str) -> _Result:
        """Return the result of `send`, once the store may get another request. Raises its errors as they are."""
        return _attempt(self._turn(operation), send)

    def _turn(self, operation: str, size: int = 0) -> Permit | None:
        """Wait until the store may get another request. Return its permit, or None without a limiter.

        During an outage, the requests that have a permit keep it while they wait. Raises what `RequestGate.wait` does.
        """
        permit = None
        if self._limiter is not None:
            permit = self._limiter.acquire(request_kind(operation, size), self._check_wait)
        try:
            if self._gate is not None:
                self._gate.wait()
        except BaseException:
            if permit is not None:
                permit.end()
            raise
        return permit

    def _check_wait(self) -> None:
        """Raise OutOfTime if a request that waits for a permit must not be sent any more."""
        fence.ensure_open()
        if self._gate is not None:
            self._gate.check()

    def note_success(self, operation: str) -> None:
        """Note that the store served a request about a key that another client made."""
        self.responded_at = self._clock()
        self._rejections.note_success(operation)

    def note_response(self) -> None:
        """Note that the store responded to a request, also to one that another client made."""
        self.responded_at = self._clock()
        if self._gate is not None:
            self._gate.on_response()

    def confirm(self, error: SyncError) -> SyncError:
        """Return the error for a request that failed with `error`: see the table of the module."""
        if not isinstance(error, (StoreUnusable, Transient)):
            return error
        found = self._check()
        if found is None:
            self.note_response()
        return _confirmed(error, found)

    def _check(self) -> SyncError | None:
        """Return the error of a request about the bucket, or None if the store serves it.

        A success counts for the requests that failed before the check began: the store may have failed since then.
        """
        failed = self._clock()
        with self._lock:
            is_shared = self._found is not None and failed - self._ended < SHARE_FAILURE_S
            if self._began < failed and not is_shared:
                self._began = self._clock()
                self._found = self._make_request()
                self._ended = self._clock()
            return self._found

    def _make_request(self) -> SyncError | None:
        try:
            self._probe()
        except (StoreUnusable, Transient) as error:
            return error
        except OutOfTime:  # the work was given up, and sends no request
            raise
        except SyncError:  # a response all the same, such as "access denied"
            return None
        return None


def _attempt(permit: Permit | None, send: Callable[[], _Result]) -> _Result:
    """Return the result of `send`, and note the end of the request in the permit.

    Raises the errors of `send` as they are.
    """
    if permit is None:
        return send()
    with permit:
        permit.begin()
        try:
            return send()
        except Busy:
            permit.note_throttled()
            raise
        except Transient as error:
            if error.code in LOST_CODES:
                permit.note_lost()
            raise
        except Changed:  # a response about the object
            raise
        except BaseException:
            permit.void()
            raise


def _confirmed(error: SyncError, about_bucket: SyncError | None) -> SyncError:
    """Return the error for a request, from its own and that of a request about the bucket: see the module."""
    if isinstance(about_bucket, StoreUnusable):
        return error if isinstance(error, StoreUnusable) else about_bucket
    if about_bucket is not None:
        cause = error if isinstance(error, Transient) else about_bucket
        return StoreUnavailable(cause.reason, cause.code, request_id=cause.request_id)
    if isinstance(error, StoreUnusable):
        message = f"{error.reason}. The error concerns only this request: the store serves others"
        if error.code not in ONE_OBJECT_CODES:
            return Retryable(message, error.code, request_id=error.request_id)
        refused = Refused(message, error.code, request_id=error.request_id)
        refused.is_denial = True
        return refused
    return error
