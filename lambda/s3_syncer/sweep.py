"""The algorithm for a range of keys: list both sides, converge what differs, look at the same page again.

A page is done when a look at it shows no drift, so its last look is its verification, and writes that go on
meanwhile do no harm. Nothing is remembered but the pages in flight: memory does not grow with the bucket.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import Protocol

from .compare import Row, Unordered, Verdict, compare, join
from .converge import CHANGES, Outcome, Pair, Source, Target, converge
from .deadline import Deadline, OutOfTime
from .errors import Retryable, StoreUnusable, SyncError
from .model import Listed

#: Keys of a page: what one request lists, so that looking again costs one request a side.
PAGE_KEYS = 1000

#: Pages in flight: while the last slow keys of one are waited for, the next keep the threads busy.
PAGES = 4

#: Looks at a page before its keys that still drift are reported: somebody changes them faster than they are copied.
MAX_LOOKS = 10


class Listing(Protocol):
    """What a sweep needs of a bucket besides what convergence does: see `bucket.Bucket`."""

    def listing(self, after: str = "", until: str | None = None) -> Iterator[Listed]: ...


class ListedSource(Source, Listing, Protocol): ...


class ListedTarget(Target, Listing, Protocol): ...


class Observer(Protocol):
    """Is told what happens, from several threads."""

    def looked(self, keys: int) -> None:
        """So many keys have been looked at for the first time."""

    def changed(self, key: str, outcome: Outcome) -> None:
        """A key of the target was written or deleted."""

    def left(self, key: str, outcome: Outcome) -> None:
        """A key differs, and the rules leave it so."""

    def failed(self, key: str, error: SyncError) -> None:
        """A key could not be made equal."""

    def noticed(self, message: str) -> None:
        """Something about the whole sweep that a person should know."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What a sweep may do."""

    #: Change nothing; report what differs.
    look_only: bool = False
    #: Delete what the source does not have, at most `max_delete` keys of it.
    delete: bool = False
    max_delete: int | None = None
    #: What only the target has is no difference, and not looked at.
    one_way: bool = False
    #: Compare headers, metadata and tags of every key, not only of those whose listings differ.
    full: bool = False
    #: Keys for which this is false are neither copied nor deleted; None wants all.
    wanted: Callable[[str], bool] | None = None

    def covers(self, row: Row) -> bool:
        """Whether the key of a row is to be looked at itself."""
        if row.verdict is Verdict.SAME and not self.full:
            return False
        if row.verdict is Verdict.EXTRA and self.one_way and not self.delete:
            return False
        return self.wanted is None or self.wanted(row.key)


@dataclass(frozen=True, slots=True)
class Page:
    """Rows for every key behind `after` up to `until`; an `until` of None is the end of the range."""

    after: str
    until: str | None
    rows: list[Row]


class DeleteBrake:
    """Allows so many deletions in all and then no more. Safe to share between threads."""

    def __init__(self, most: int | None) -> None:
        self.left, self._lock = most, threading.Lock()

    def take(self) -> bool:
        with self._lock:
            if self.left is None:
                return True
            if self.left == 0:
                return False
            self.left -= 1
            return True


class Sweep:
    """Sweeps ranges of a pair of buckets with `threads` keys at a time."""

    def __init__(
        self,
        pair: Pair,
        source: ListedSource,
        target: ListedTarget,
        observer: Observer,
        rules: Rules,
        *,
        threads: int,
    ) -> None:
        self._source, self._target = source, target
        # Only a key that a complete listing of the source lacks is ever deleted, and it passes the brake first.
        self._keeping, self._deleting = replace(pair, delete=False), replace(pair, delete=True)
        self._observer, self._rules = observer, rules
        self._brake = DeleteBrake(rules.max_delete)
        self._keys = ThreadPoolExecutor(threads, thread_name_prefix="key")
        self._pages = ThreadPoolExecutor(PAGES, thread_name_prefix="page")

    @property
    def deletions_left(self) -> int | None:
        """How many more keys may be deleted; None is no limit."""
        return self._brake.left

    def run(self, deadline: Deadline, *, after: str = "", until: str | None = None) -> str | None:
        """Sweeps the keys behind `after` up to `until`.

        Returns None when all of them were looked at, else, the deadline having passed, the key after which to go
        on. Raises StoreUnusable, and whatever stops a listing.
        """
        try:
            try:
                return self._run(self._joined(after, until), self._settle, deadline, after, until)
            except Unordered as error:
                # A key that a listing has not shown may still be there, so look at each key itself, delete nothing.
                self._observer.noticed(f"{error}: comparing key by key, deleting nothing")
                listed = (Row(entry, None) for entry in self._source.listing(after, until))
                return self._run(listed, self._settle_each, deadline, after, until)
        finally:
            self._pages.shutdown(cancel_futures=True)
            self._keys.shutdown(cancel_futures=True)

    def _joined(self, after: str, until: str | None) -> Iterator[Row]:
        return join(self._source.listing(after, until), self._target.listing(after, until))

    def _run(
        self,
        rows: Iterable[Row],
        settle: Callable[[Page, Deadline], None],
        deadline: Deadline,
        after: str,
        until: str | None,
    ) -> str | None:
        """Settles the rows page by page, several at a time; see `run`."""
        flying: dict[Future[None], Page] = {}
        unfinished: list[str] = []  # where pages begin that ran out of time

        def land(*, all_of_them: bool) -> None:
            while len(flying) >= (1 if all_of_them else PAGES):
                landed, _ = wait(flying, return_when=FIRST_COMPLETED)
                for future in landed:
                    page = flying.pop(future)
                    try:
                        future.result()
                    except OutOfTime:
                        unfinished.append(page.after)

        try:
            for page in cut(rows, after, until):
                self._observer.looked(len(page.rows))
                flying[self._pages.submit(settle, page, deadline)] = page
                land(all_of_them=False)
                if deadline.passed():
                    unfinished.append(page.until or page.after)
                    break
            land(all_of_them=True)
        except BaseException:
            deadline.stop()
            raise
        return min(unfinished) if unfinished else None

    def _settle(self, page: Page, deadline: Deadline) -> None:
        """Converges what differs, then looks at the page again, until a look shows no drift."""
        failed: set[str] = set()
        for _ in range(MAX_LOOKS):
            changed, left = self._converge_all((row for row in page.rows if row.key not in failed), failed, deadline)
            if not changed:
                self._report_left(left)
                return
            page = replace(page, rows=list(self._joined(page.after, page.until)))
        self._report_restless(changed)

    def _settle_each(self, page: Page, deadline: Deadline) -> None:
        """As `_settle`, where listings cannot be trusted: the keys are looked at one by one, again and again."""
        rows, failed = page.rows, set[str]()
        for _ in range(MAX_LOOKS):
            changed, left = self._converge_all(rows, failed, deadline)
            self._report_left(left)
            if not changed:
                return
            rows = [row for row in rows if row.key in changed]
        self._report_restless(changed)

    def _report_left(self, left: dict[str, Outcome]) -> None:
        for key, outcome in left.items():
            self._observer.left(key, outcome)

    def _report_restless(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._observer.failed(key, Retryable(f"still different after {MAX_LOOKS} looks", "KeepsChanging"))

    def _converge_all(
        self, rows: Iterable[Row], failed: set[str], deadline: Deadline
    ) -> tuple[set[str], dict[str, Outcome]]:
        """Converges the rows that may differ; returns the keys that were changed and those that are left different.

        Keys that cannot be made equal are reported, and added to `failed`.
        """
        suspects = {
            row.key: self._keys.submit(self._converge, row, deadline) for row in rows if self._rules.covers(row)
        }
        wait(suspects.values())
        changed, left = set(), {}
        for key, future in suspects.items():
            try:
                outcome = future.result()
            except (OutOfTime, StoreUnusable):
                raise
            except SyncError as error:
                failed.add(key)
                self._observer.failed(key, error)
                continue
            if outcome.action in CHANGES:
                changed.add(key)
            elif outcome.action != "none":
                left[key] = outcome
        return changed, left

    def _converge(self, row: Row, deadline: Deadline) -> Outcome:
        deadline.check()
        outcome = self._decide(row, deadline)
        if outcome.action in CHANGES:
            self._observer.changed(row.key, outcome)
        return outcome

    def _decide(self, row: Row, deadline: Deadline) -> Outcome:
        extra = row.verdict is Verdict.EXTRA
        if self._rules.look_only:
            return self._examine(row.key)
        if not extra:
            return converge(self._keeping, row.key, deadline)
        if not self._rules.delete:
            return self._examine(row.key)  # a listing is a moment old: live sync may have deleted it by now
        if not self._brake.take():
            return Outcome("extra", f"absent from the source, and {self._rules.max_delete} keys were deleted already")
        return converge(self._deleting, row.key, deadline)

    def _examine(self, key: str) -> Outcome:
        """The difference as a look at both sides shows it now, changing nothing."""
        source, target = self._source.head(key, sure=True), self._target.head(key)
        if source is None:
            return (
                Outcome("none", "absent on both sides")
                if target is None
                else Outcome("extra", "absent from the source")
            )
        if target is None:
            return Outcome("drift", "absent from the target", source.size)
        difference = compare(source, target)
        return Outcome("drift", difference.reason, source.size) if difference else Outcome("none", "equal")


def cut(rows: Iterable[Row], after: str, until: str | None) -> Iterator[Page]:
    """Cuts the rows of a range into pages that leave no key of the range out."""
    page: list[Row] = []
    for row in rows:
        page.append(row)
        if len(page) == PAGE_KEYS:
            yield Page(after, row.key, page)
            after, page = row.key, []
    yield Page(after, until, page)
