"""Distinguish a store that fails as a whole from a request that fails.

An error response to a request about one object may concern that object only. For example, a proxy that rewrites an
odd path breaks its signature. A firewall may reset connections that carry certain bytes. So one harmless request about
the bucket confirms such an error.

| error of the request | request about the bucket | result |
|---|---|---|
| StoreUnusable | succeeds | Retryable, for this key only |
| StoreUnusable | StoreUnusable | StoreUnusable |
| StoreUnusable | Transient | StoreUnavailable |
| Transient | succeeds | the error of the request, for this key only |
| Transient | StoreUnusable | StoreUnusable |
| Transient | Transient | StoreUnavailable |

Any other error of the request about the bucket, such as "access denied", counts as a success: the store serves
requests.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from ..core.deadline import OutOfTime
from ..core.errors import Retryable, StoreUnavailable, StoreUnusable, SyncError, Transient

#: Seconds for which a failed check is shared. In an outage many requests fail, and each would repeat the check.
SHARE_FAILURE_S = 5.0


class AvailabilityCheck:
    """Confirms the errors of one store. Safe to share between threads.

    `probe` makes a harmless request about the bucket, and raises a SyncError if it fails.
    """

    def __init__(self, probe: Callable[[], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._probe, self._clock = probe, clock
        self._lock = threading.Lock()
        # The last check: its begin and end on the clock, and its error.
        self._began = self._ended = float("-inf")
        self._found: SyncError | None = None

    def confirm(self, error: SyncError) -> SyncError:
        """Return the error for a request that failed with `error`: see the table of the module."""
        if not isinstance(error, (StoreUnusable, Transient)):
            return error
        found = self._check()
        if isinstance(found, StoreUnusable):
            return error if isinstance(error, StoreUnusable) else found
        if isinstance(found, Transient):
            cause = error if isinstance(error, Transient) else found
            return StoreUnavailable(cause.reason, cause.code, request_id=cause.request_id)
        if isinstance(error, StoreUnusable):
            message = f"{error.reason}. Only this key fails so: the store serves other requests"
            return Retryable(message, error.code, request_id=error.request_id)
        return error

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
