"""Sweep ranges of keys in this process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from ...core.deadline import Deadline, OutOfTime
from ...core.fence import carried
from ...core.listing_diff import Unordered
from ...core.size_order import SizeClass
from ...crt.factory import crt_transports
from ...settings import RestoreSettings, Settings
from ...stores.request_limiter import RequestLimiters
from ...sync.byte_comparison import ByteComparer
from ...sync.content_check import ContentCheck, PageListener
from ...sync.key_sweep import SweepOptions
from ...sync.named_keys import NamedBatch, NamedKeys
from ...sync.protocols import SweepListener
from ...sync.sweep import Sweep
from ...sync.sweep_limits import DeleteLimit
from ...wiring import build_sync_context
from ..concurrency import Concurrency
from .outage import RESTORE_STORES, STORES, OutageListener, WaitEnd, outage_gates
from .work_stealing import Range

#: Ranges that a process sweeps at a time while it waits for listings. Each range has one page of each side in flight.
RANGES = 32

#: Batches of named keys that are looked up at a time.
NAMED_BATCHES = 8

#: Seconds over which the CPU use of the process is measured, and the share of a core from which it is saturated.
MEASURE_S = 0.2
SATURATED = 0.8


@dataclass(frozen=True, slots=True)
class SweeperConfig:
    """The settings of one process of a sweep, and the resources that it may use."""

    settings: Settings
    sweep_options: SweepOptions
    #: The ceiling of the requests at a time to each store, and of the keys and parts in progress.
    threads: int
    #: Seconds for which the sweep waits for a store that does not respond; 0 is not at all.
    outage_timeout_s: float = 0.0
    #: True if the stores have responded before, so that their endpoints are right.
    have_responded: bool = False
    #: The restore to make, in place of a copy to the target.
    restore: RestoreSettings | None = None


class LocalSweeper:
    """Sweep ranges in this process; a `work_stealing.Sweeper`. The constructor raises StoreUnusable."""

    is_available = True

    def __init__(
        self,
        config: SweeperConfig,
        listener: SweepListener,
        outages: OutageListener,
        delete_limit: DeleteLimit | None,
        deadline: Deadline,
        on_page: PageListener | None = None,
        batches: Iterator[NamedBatch] | None = None,
    ) -> None:
        """Connect to the stores. `on_page` receives the proofs of each page, if the options read objects.

        With `batches`, only their keys are swept: see `sweep_named`.
        """
        self._wait_end = WaitEnd(deadline)
        self._limiters = RequestLimiters.up_to(config.threads)
        self.context = build_sync_context(
            config.settings,
            threads=config.threads,
            restore=config.restore,
            resumes=True,
            transports=partial(crt_transports, concurrency=config.threads),
            gates=outage_gates(
                outages,
                self._wait_end,
                config.outage_timeout_s,
                have_responded=config.have_responded,
                limiters=self._limiters,
                names=STORES if config.restore is None else RESTORE_STORES,
            ),
            limiters=self._limiters,
        )
        self._comparer = ByteComparer(
            self.context.source,
            self.context.target,
            memory=config.settings.copy_memory,
            bandwidth=self.context.transfer.bandwidth,
            threads=config.threads,
        )
        reads = config.sweep_options.reads
        source, target = self.context.source, self.context.target
        self.named = None if batches is None else NamedKeys(source, target, batches, threads=config.threads)
        self._options = config.sweep_options
        self._sweep_with = partial(
            Sweep,
            self.context.pair,
            self.context.source,
            self.context.target,
            listener,
            threads=config.threads,
            small_object_copier=self.context.small_object_copier,
            ranges=RANGES,
            delete_limit=delete_limit,
            content_check=None if reads is None or on_page is None else ContentCheck(self._comparer, reads, on_page),
            listings=self.named,
        )
        self._sweep = self._sweep_with(self._options)
        self._sizes: SizeClass | None = None
        self._pass_lock = threading.Lock()
        self._measured, self._saturated = (time.monotonic(), time.process_time()), False

    def sweep(
        self, range_: Range, deadline: Deadline, release_request: Deadline, release_rest: Callable[[str], None]
    ) -> str | None:
        self._wait_end.follow(deadline)
        cuts = self._sweep_of(range_.sizes).sweep_in_order(
            deadline,
            after=range_.after,
            until=range_.until,
            pages_until=release_request,
            release_rest=release_rest,
        )
        return next(iter(cuts), None)

    def _sweep_of(self, sizes: SizeClass | None) -> Sweep:
        """Return the sweep of a pass. All ranges of the pass before have ended."""
        with self._pass_lock:
            if sizes != self._sizes:
                self._sweep.close()
                options = self._options if sizes is None else self._options.for_first_pass(sizes)
                self._sweep, self._sizes = self._sweep_with(options), sizes
            return self._sweep

    def sweep_key_by_key(self, why: Unordered, deadline: Deadline) -> str | None:
        """Sweep all keys without trusting the order of the listings: see `Sweep.sweep_key_by_key`."""
        self._wait_end.follow(deadline)
        try:
            return next(iter(self._sweep_of(None).sweep_key_by_key(why, deadline)), None)
        except OutOfTime:  # a listing waited for a store
            return ""

    def sweep_named(self, deadline: Deadline) -> str | None:
        """Sweep the named keys. Return None, or a text if the deadline has passed before the end.

        Raises what `Sweep.sweep_in_order` does.
        """
        self._wait_end.follow(deadline)
        own = deadline.sooner()

        def sweep(_: int) -> bool:
            try:
                return not self._sweep.sweep_in_order(own)
            except OutOfTime:  # a request waited for a store
                return False
            except BaseException:
                own.stop()
                raise

        with ThreadPoolExecutor(NAMED_BATCHES, thread_name_prefix="named") as pool:
            are_done = list(pool.map(carried(sweep), range(NAMED_BATCHES)))
        return None if all(are_done) and not deadline.passed() else ""

    def close(self) -> None:
        self._sweep.close()
        if self.named is not None:
            self.named.close()
        self._comparer.close()

    @property
    def bytes_read(self) -> int:
        """Return the bytes that this process has read from both sides to compare them."""
        return self._comparer.bytes_read

    @property
    def concurrency(self) -> Concurrency:
        """Return the requests that this process may have in flight now."""
        return Concurrency.of(self._limiters)

    @property
    def has_spare_capacity(self) -> bool:
        """Return True if the process waits for listings and less than SATURATED of a core is in use.

        Python computes on one core at a time, so a further range would not make a saturated process faster.
        """
        now, cpu_s = time.monotonic(), time.process_time()
        since, cpu_before_s = self._measured
        if now - since >= MEASURE_S:
            self._saturated = cpu_s - cpu_before_s > SATURATED * (now - since)
            self._measured = (now, cpu_s)
        return self._sweep.waits_for_listings and not self._saturated
