"""The algorithm for a range of keys: list both sides, converge what differs, look at the same page again.

A page is done when a look at it shows no drift, so its last look is its verification, and writes that go on
meanwhile do no harm. Nothing is remembered but the pages in flight: memory does not grow with the bucket.

An outcome is what `converge` says it did, or, of a key that is left as it is, missing (from the target), differs, or
extra (absent from the source).
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Protocol

from ..core.compare import ABSENT, KeyDiff, KeyStatus, compare
from ..core.deadline import Deadline, OutOfTime
from ..core.errors import Retryable, StoreUnusable, SyncError
from ..core.listing_diff import DiffPage, Unordered, merge_listings
from ..core.model import ListEntry, ObjectState
from ..stores.protocols import ListedSourceBucket, ListedTargetBucket
from .converge import CHANGES, BucketPair, Outcome, converge

logger = logging.getLogger(__name__)

#: Pages in flight: while the last slow keys of one are waited for, the next keep the threads busy.
PAGES = 4

#: Seconds within which a range that waits for its pages notices that it is to leave the rest to others.
_TICK_S = 0.25

#: Looks at a page before it is taken for one that never rests: somebody changes its keys faster than they are copied.
MAX_LOOKS = 10


class SmallObjectCopier(Protocol):
    """A fast way to copy small objects: see `crt/small_object_copy.py`. The sweep converges the other keys."""

    def takes(self, row: KeyDiff) -> str | None:
        """Why the object has to be copied, where the listings prove that and it seems ordinary; else None."""

    def copy(
        self, entries: Iterable[ListEntry], deadline: Deadline, copied: Callable[[ListEntry], None]
    ) -> Mapping[str, ListEntry | None]:
        """Copies what it can, telling `copied` of each, and raises nothing.

        By key, what the source's listing must show from now on for the copy to be known as current; None when no
        listing can tell that.
        """


class SweepListener(Protocol):
    """Is told what happens, from several threads."""

    def on_compared(self, keys: int) -> None:
        """So many keys have been compared, and made equal where the rules want that, for the first time."""

    def on_changed(self, key: str, outcome: Outcome) -> None:
        """A key of the target was written or deleted."""

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        """A key differs, and the rules leave it so."""

    def on_failed(self, key: str, error: SyncError) -> None:
        """A key could not be made equal."""

    def on_restart(self, why: str) -> None:
        """Every key will be looked at, left and failed anew; what was changed stays changed."""


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """What a sweep may do."""

    #: Change nothing; report what differs.
    dry_run: bool = False
    #: Delete what the source does not have, at most `max_delete` keys of it.
    delete: bool = False
    max_delete: int | None = None
    #: What only the target has is no difference, and not looked at.
    one_way: bool = False
    #: Compare headers, metadata and tags of every key, not only of those whose listings differ.
    full: bool = False
    #: Keys for which this is false are neither copied nor deleted; None wants all.
    key_filter: Callable[[str], bool] | None = None
    #: Objects of more bytes than this that differ are left to somebody who has the time; None leaves none.
    max_object_size: int | None = None

    def needs_check(self, row: KeyDiff) -> bool:
        """Whether the key of a row is to be looked at itself."""
        if row.status is KeyStatus.IN_SYNC and not self.full:
            return False
        if row.status is KeyStatus.TARGET_ONLY and self.one_way and not self.delete:
            return False
        return self.key_filter is None or self.key_filter(row.key)


class DeleteLimit(Protocol):
    """Says for each deletion whether it may be."""

    @property
    def left(self) -> int | None:
        """How many more may be; None is no limit."""

    def acquire(self) -> bool: ...


class LocalDeleteLimit:
    """Allows so many deletions in all and then no more. Safe to share between threads."""

    def __init__(self, most: int | None) -> None:
        self.left, self._lock = most, threading.Lock()

    def acquire(self) -> bool:
        with self._lock:
            if self.left is None:
                return True
            if self.left == 0:
                return False
            self.left -= 1
            return True


class Sweep:
    """Sweeps ranges of a pair of buckets with `threads` keys at a time, and so many ranges."""

    def __init__(
        self,
        pair: BucketPair,
        source: ListedSourceBucket,
        target: ListedTargetBucket,
        listener: SweepListener,
        options: SweepOptions,
        *,
        threads: int,
        small_object_copier: SmallObjectCopier | None = None,
        ranges: int = 1,
        delete_limit: DeleteLimit | None = None,
    ) -> None:
        self._source, self._target, self._small_object_copier = source, target, small_object_copier
        # Only a key that a complete listing of the source lacks is ever deleted, and it passes the brake first.
        self._keeping, self._deleting = replace(pair, delete=False), replace(pair, delete=True)
        self._listener, self._options = listener, options
        self._delete_limit = delete_limit or LocalDeleteLimit(options.max_delete)
        self._keys = ThreadPoolExecutor(threads, thread_name_prefix="key")
        self._pages = ThreadPoolExecutor(PAGES * ranges, thread_name_prefix="page")
        self._in_flight, self._counting = 0, threading.Lock()

    @property
    def deletions_left(self) -> int | None:
        """How many more keys may be deleted; None is no limit."""
        return self._delete_limit.left

    def run(
        self, deadline: Deadline, *, after: str = "", until: str | None = None, pages_until: Deadline | None = None
    ) -> str | None:
        """Sweeps the keys behind `after` up to `until`. To be called once.

        No page is begun once `pages_until` has passed, but those in flight are finished. Returns None when all keys
        were looked at, else, a deadline having passed, the key after which to go on. Raises StoreUnusable, and
        whatever stops a listing.
        """
        try:
            try:
                return self.ordered(deadline, after=after, until=until, pages_until=pages_until)
            except Unordered as error:
                return self.key_by_key(error, deadline, after=after, until=until)
        finally:
            self.close()

    def ordered(
        self,
        deadline: Deadline,
        *,
        after: str = "",
        until: str | None = None,
        pages_until: Deadline | None = None,
        release_rest: Callable[[str], None] | None = None,
    ) -> str | None:
        """As `run`, but may be called again and again, by several threads at once; raises Unordered as well.

        If given, `release_rest` is called with the key behind which this call starts no page, as soon as that is known.
        Another sweeper can then continue there without a wait for the pages in flight, which may hold large objects.
        """
        pages = self._joined(after, until, every=self._options.full)
        unfinished = self._run(pages, self._settle, deadline.sooner(), pages_until or deadline, until, release_rest)
        return min(unfinished, default=None)

    def key_by_key(
        self, why: Unordered, deadline: Deadline, *, after: str = "", until: str | None = None
    ) -> str | None:
        """As `run`, where listings have shown that they cannot be trusted.

        A key that a listing has not shown may still be there, so each key is looked at itself and nothing is deleted.
        """
        self._options = replace(self._options, delete=False)
        self._listener.on_restart(f"{why}: comparing key by key, deleting nothing")
        pages = self._one_by_one(after, until)
        unfinished = self._run(pages, self._settle_each, deadline.sooner(), deadline, until)
        return after if unfinished else None

    def close(self) -> None:
        self._pages.shutdown(cancel_futures=True)
        self._keys.shutdown(cancel_futures=True)

    @property
    def waits_for_listings(self) -> bool:
        """Whether there is less to do at the moment than could be done: more listings at a time would help.

        A page of which every key is under way is not counted: it waits for stores, and keeps nobody waiting.
        """
        return self._in_flight < PAGES

    def _joined(self, after: str, until: str | None, *, every: bool) -> Iterator[DiffPage]:
        source, target = (side.listing(after, until) for side in (self._source, self._target))
        return merge_listings(source, target, after=after, until=until, every=every)

    def _one_by_one(self, after: str, until: str | None) -> Iterator[DiffPage]:
        """Every key of each side, in whatever order: no page stands for a range. Keys on both sides come twice."""
        for stretch in self._source.listing(after, until, in_order=False):
            last = stretch.keys[-1] if stretch.keys else until
            yield DiffPage(after, last, len(stretch), [KeyDiff(entry, None) for entry in stretch])
        if not self._options.one_way:
            for stretch in self._target.listing(after, until, in_order=False):
                last = stretch.keys[-1] if stretch.keys else until
                yield DiffPage(after, last, 0, [KeyDiff(None, entry) for entry in stretch])

    def _again(self, page: DiffPage) -> DiffPage:
        """The page as it is now."""
        rows = [row for part in self._joined(page.after, page.until, every=True) for row in part.rows]
        return replace(page, keys=len(rows), rows=rows)

    def _run(
        self,
        pages: Iterable[DiffPage],
        settle: Callable[[DiffPage, Deadline], None],
        deadline: Deadline,
        pages_until: Deadline,
        until: str | None,
        release_rest: Callable[[str], None] | None = None,
    ) -> list[str]:
        """Settles the pages, several at a time; returns where those begin that were not finished in time.

        Raises what a page raises, once no other is in flight.
        """
        flying: dict[Future[None], DiffPage] = {}
        unfinished: list[str] = []

        def land(most: int, over: Callable[[], bool] | None = None) -> None:
            """Waits until at most so many are in flight, or it is over."""
            while len(flying) > most and not (over and over()):
                for future in wait(flying, _TICK_S if over else None, FIRST_COMPLETED).done:
                    page = flying.pop(future)
                    try:
                        future.result()
                    except OutOfTime:
                        unfinished.append(page.after)

        def ends() -> bool:
            return pages_until.passed() or deadline.passed()

        try:
            for page in pages:
                deadline.progress()
                self._count(1)
                flying[self._pages.submit(self._counted, settle, page, deadline)] = page
                if page.until is None or page.until == until:
                    land(PAGES - 1)
                    continue
                land(PAGES - 1, ends)
                if ends():
                    (release_rest or unfinished.append)(page.until)
                    break
            land(0)
        except BaseException:
            deadline.stop()
            wait(flying)
            raise
        return unfinished

    def _counted(self, settle: Callable[[DiffPage, Deadline], None], page: DiffPage, deadline: Deadline) -> None:
        try:
            settle(page, deadline)
        finally:
            self._count(-1)

    def _count(self, pages: int) -> None:
        with self._counting:
            self._in_flight += pages

    def _settle(self, page: DiffPage, deadline: Deadline) -> None:
        """Converges what differs, then looks at the page again, until a look shows no drift.

        What two looks show unchanged needs no second request of its own, and what listings alone tell needs none,
        but two looks. A key that the small-object copier copied is looked at itself, unless the source still lists what
        was copied.

        Where somebody writes all the time there is always a key of the page that drifts. It ends key by key then, each
        with the two looks of its own that `converge` takes: every key has been seen equal, if not all at a time.
        """
        settled: dict[KeyDiff, Outcome] = {}
        vouched: dict[str, ListEntry | None] = {}
        failed: set[str] = set()
        for look in range(MAX_LOOKS):
            if look:
                page = self._again(page)
            covered = [
                row
                for row in page.rows
                if row.key not in failed
                and (self._options.needs_check(row) or vouched.get(row.key, row.source) != row.source)
            ]
            fresh = [row for row in covered if row not in settled]
            told = {row: outcome for row in fresh if (outcome := self._told(row))}
            rest = [row for row in fresh if row not in told]
            # Once: where its copy does not show in the listing as it should, only a look at the key tells why.
            copied = self._copy_ordinary((row for row in rest if row.key not in vouched), deadline)
            vouched |= copied
            found = self._converge_all([row for row in rest if row.key not in copied], failed, deadline)
            if look == 0:
                self._listener.on_compared(page.keys)
            restless = {row.key for row in told} | copied.keys()
            restless |= {row.key for row, outcome in found.items() if _unsettled(outcome)}
            if not restless:
                for row in covered:
                    self._report_left(row.key, settled.get(row) or found.get(row))
                return
            settled |= told | {row: outcome for row, outcome in found.items() if row.key not in restless}
        seen_once = copied.keys() | {row.key for row, outcome in told.items() if outcome.action != "large"}
        found |= self._converge_all([row for row in covered if row.key in seen_once], failed, deadline)
        for row in covered:
            if row.key not in failed:
                self._report_left(row.key, found.get(row) or settled.get(row))

    def _settle_each(self, page: DiffPage, deadline: Deadline) -> None:
        """As `_settle`, where listings cannot be trusted: the keys are looked at one by one, again and again."""
        rows, failed = [row for row in page.rows if self._options.needs_check(row)], set[str]()
        for look in range(MAX_LOOKS):
            found = self._converge_all(rows, failed, deadline)
            if look == 0:
                self._listener.on_compared(page.keys)
            rows = []
            for row, outcome in found.items():
                if outcome.action in CHANGES:
                    rows.append(row)
                elif row.source is not None or outcome.action == "extra":  # else the source's own row tells
                    self._report_left(row.key, outcome)
            if not rows:
                return
        for row in rows:
            self._listener.on_failed(row.key, Retryable(f"still different after {MAX_LOOKS} looks", "KeepsChanging"))

    def _report_left(self, key: str, outcome: Outcome | None) -> None:
        """Tells of a key that stays as it is although it differs."""
        if outcome is not None and outcome.action == "kept":
            outcome = self._extra()
        if outcome is not None and outcome.action != "unchanged" and outcome.action not in CHANGES:
            self._listener.on_skipped(key, outcome)

    def _told(self, row: KeyDiff) -> Outcome | None:
        """What listings alone tell of a row that will not be changed, or None when its key must be looked at."""
        if row.target is None and row.source is not None and self._options.dry_run:
            return _missing(row.source)
        if (
            row.source is not None
            and self._options.max_object_size is not None
            and row.source.size > self._options.max_object_size
        ):
            return Outcome("large", "too large for this sweep", row.source.size)
        if row.status is KeyStatus.TARGET_ONLY and (self._options.dry_run or not self._options.delete):
            return self._extra()
        if row.status is KeyStatus.TARGET_ONLY and self._delete_limit.left == 0:
            return self._kept_by_brake()
        return None

    def _copy_ordinary(self, rows: Iterable[KeyDiff], deadline: Deadline) -> Mapping[str, ListEntry | None]:
        """Let the small-object copier copy the rows that it takes: see `SmallObjectCopier.copy`."""
        copier = self._small_object_copier
        if copier is None or self._options.dry_run:
            return {}
        taken = {row.source: reason for row in rows if row.source and (reason := copier.takes(row))}

        def copied(entry: ListEntry) -> None:
            action = "copy" if taken[entry] == ABSENT else "update"
            self._listener.on_changed(entry.key, Outcome(action, taken[entry], entry.size))

        return copier.copy(taken, deadline, copied)

    def _converge_all(self, rows: Iterable[KeyDiff], failed: set[str], deadline: Deadline) -> dict[KeyDiff, Outcome]:
        """Converges the keys of the rows; those that cannot be made equal are reported, and added to `failed`."""
        futures = {row: self._keys.submit(self._converge, row, deadline) for row in rows}
        if not futures:
            return {}
        self._keys.submit(self._count, -1)  # begun behind the last of them
        wait(futures.values())
        self._count(1)
        for future in futures.values():
            if isinstance(error := future.exception(), StoreUnusable):
                raise error
        outcomes = {}
        for row, future in futures.items():
            try:
                outcomes[row] = future.result()
            except OutOfTime:
                raise
            except SyncError as error:
                failed.add(row.key)
                self._listener.on_failed(row.key, error)
        return outcomes

    def _converge(self, row: KeyDiff, deadline: Deadline) -> Outcome:
        deadline.progress()
        deadline.check()
        try:
            outcome = self._decide(row, deadline)
        except StoreUnusable:
            deadline.stop()  # every other key would find out for itself, after all its retries
            raise
        except SyncError:
            raise
        except Exception as error:  # a fault of ours, or an answer that no store should give: one key's, not all
            logger.exception("unexpected failure", extra={"key": row.key})
            raise Retryable(f"unexpected failure: {error!r}") from error
        if outcome.action in CHANGES:
            self._listener.on_changed(row.key, outcome)
        return outcome

    def _decide(self, row: KeyDiff, deadline: Deadline) -> Outcome:
        if self._options.dry_run or (row.status is KeyStatus.TARGET_ONLY and not self._options.delete):
            return self._examine(row.key)
        if row.status is not KeyStatus.TARGET_ONLY:
            return converge(self._keeping, row.key, deadline, size=row.source.size if row.source else 0)
        return converge(self._deleting, row.key, deadline) if self._delete_limit.acquire() else self._kept_by_brake()

    def _examine(self, key: str) -> Outcome:
        """The difference as a look at both sides shows it now, changing nothing."""
        source, target = self._source.head(key, confirm_missing=True), self._target.head(key)
        if source is None:
            return Outcome("unchanged", "absent on both sides") if target is None else self._extra()
        if target is None:
            return _missing(source)
        difference = compare(source, target)
        if difference is None:
            return Outcome("unchanged", "equal")
        return Outcome("differs", difference.reason, source.size if difference.body else 0)

    def _extra(self) -> Outcome:
        if self._options.one_way:
            return Outcome("unchanged", "absent from the source, which is no difference one way")
        return Outcome("extra", "absent from the source")

    def _kept_by_brake(self) -> Outcome:
        most = self._options.max_delete
        return Outcome("extra", f"absent from the source, and the limit of {most} deletions is reached")


def _missing(source: ListEntry | ObjectState) -> Outcome:
    return Outcome("missing", ABSENT, source.size)


def _unsettled(outcome: Outcome) -> bool:
    """Whether the key needs another look: it was changed, or, listed in the source, has gone from there since."""
    return outcome.action in CHANGES or outcome.action == "kept"
