"""What one process does of a sweep: the buckets it is connected to, and ranges of their keys."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from ..core.deadline import Deadline
from ..crt.factory import crt_transports
from ..settings import Settings
from ..sync.sweep import DeleteLimit, Sweep, SweepListener, SweepOptions
from ..wiring import build_sync_context
from .work_stealing import Range

#: Ranges of keys that a process sweeps at a time where listings are what it waits for: a page of each side is under way
#: in each of them.
RANGES = 32

#: Seconds over which it is measured whether the process has all the work it can do, and the share of a core that it
#: then takes.
MEASURE_S = 0.2
SATURATED = 0.8


@dataclass(frozen=True, slots=True)
class Share:
    """What a process may use."""

    settings: Settings
    sweep_options: SweepOptions
    threads: int


class Here:
    """Sweeps in this process; a sweeper in the sense of `spread.Sweeper`. Raises StoreUnusable."""

    wants_work = True

    def __init__(self, share: Share, listener: SweepListener, delete_limit: DeleteLimit | None) -> None:
        self.connection = build_sync_context(
            share.settings,
            threads=share.threads,
            resumes=True,
            transports=partial(crt_transports, concurrency=share.threads),
        )
        self._swept = Sweep(
            self.connection.pair,
            self.connection.source,
            self.connection.target,
            listener,
            share.sweep_options,
            threads=share.threads,
            small_object_copier=self.connection.small_object_copier,
            ranges=RANGES,
            delete_limit=delete_limit,
        )
        self._measured, self._saturated = (time.monotonic(), time.process_time()), False

    def sweep(self, range_: Range, deadline: Deadline, share: Deadline, hand_on: Callable[[str], None]) -> str | None:
        return self._swept.ordered(
            deadline, after=range_.after, until=range_.until, pages_until=share, release_rest=hand_on
        )

    @property
    def whole(self) -> Sweep:
        """For what is not done range by range."""
        return self._swept

    @property
    def could_do_more(self) -> bool:
        """Whether stores are what is waited for: one interpreter computes no faster for having more to do."""
        at, spent = time.monotonic(), time.process_time()
        since, before = self._measured
        if at - since >= MEASURE_S:
            self._saturated = spent - before > SATURATED * (at - since)
            self._measured = (at, spent)
        return self._swept.waits_for_listings and not self._saturated
