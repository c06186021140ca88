"""Find out that a thread of the service hangs. Pure but for the clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

#: Something that the service does again and again. If it stops, a thread hangs.
Activity = Literal["receive", "response", "heartbeat", "work"]

#: Seconds after which the receiver and the visibility heartbeat count as stuck. Far more than the longest poll takes,
#: or one request with all its retries.
THREAD_MAX_S = 180.0

#: The same for the work in all slots together: it reports progress at every key and every part. One request over
#: awscrt, then over boto3 with all its retries, takes up to 460 s; a part of 4 GiB on a slow line takes longer.
#: It is no limit for one slot: a slot may wait as long as another slot has parts to send.
WORK_MAX_S = 900.0


class Watchdog:
    """The times at which the threads of the service were last seen alive. Safe to share between threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        now = clock()
        self._touched_at: dict[Activity, float] = dict.fromkeys(("receive", "response", "heartbeat", "work"), now)

    def touch(self, activity: Activity) -> None:
        """Note that the activity goes on."""
        self._touched_at[activity] = self._clock()

    def idle_s(self, activity: Activity) -> float:
        """Return the seconds since the last `touch` of the activity."""
        return self._clock() - self._touched_at[activity]

    def stuck_reason(self, *, in_flight: int) -> str:
        """Return the reason for which the service counts as stuck, or an empty text."""
        if (idle_s := self.idle_s("receive")) > THREAD_MAX_S:
            return f"the receiver is stuck: no request began for {idle_s:.0f} s"
        if (idle_s := self.idle_s("heartbeat")) > THREAD_MAX_S:
            return f"the visibility heartbeat is stuck: no extension for {idle_s:.0f} s"
        if in_flight and (idle_s := self.idle_s("work")) > WORK_MAX_S:
            return f"the work is stuck: no progress for {idle_s:.0f} s"
        return ""
