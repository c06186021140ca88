"""The settings of the service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)  # no slots, so that the class has the defaults as attributes
class ServiceOptions:
    """The settings of a service; all times are in seconds."""

    #: Messages processed at a time, from the queue of the events.
    concurrency: int
    #: The same for the queue for bulk work.
    bulk_concurrency: int = 32
    #: The same for the queue of the deletions. A deletion is a few small requests.
    deletion_concurrency: int = 8
    #: Time for which SQS hides a message, extended while the work on it runs.
    visibility_timeout_s: int
    #: Time that work in flight has to end after a stop.
    shutdown_grace_s: float
    #: Time after the shutdown grace to abort uploads. SQS gets as long again to take the messages back.
    abort_grace_s: float = 10.0
    #: Time that a poll waits for a message. 20 is the maximum of SQS: an idle service sends three requests a minute.
    receive_wait_s: int = 20
    #: First and longest pause after a store or the queue was unusable; each pause is twice as long as the one before.
    pause_first_s: float = 5.0
    pause_max_s: float = 60.0
    #: Time within which a waiting thread notices a change.
    tick_s: float = 0.2

    @property
    def stop_timeout_s(self) -> float:
        """Return the time after which a stopped service has ended, or hangs."""
        return self.shutdown_grace_s + 2 * self.abort_grace_s
