"""The algorithm for a range of keys: list both sides, converge the differences, list the page again.

A page is done when a listing of it shows no new difference. So the last listing of a page is its verification, and
concurrent writes do no harm. A sweep remembers only the pages in flight: its memory does not grow with the bucket.

A key counts as equal only if a listing of the target shows it. A HEAD is not enough: see `key_identity.py`.

A sweep beside live sync may write a key late: after live sync processed its deletion. No event of that key follows. So
the sweep answers for each copy it made, also without deletes: see `own_copies.py`. It removes a copy of a key that the
target did not have. What it wrote over an older object stays, and is reported as stale.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import replace

from ..core.backoff import Backoff
from ..core.compare import ABSENT, KeyDiff
from ..core.deadline import Deadline, OutOfTime
from ..core.errors import (
    POLICY_CODES,
    Busy,
    Retryable,
    StoreUnusable,
    SyncError,
    judged,
    unexpected_failure,
    unnameable,
)
from ..core.fence import Fence, carried, current, fenced
from ..core.listing_diff import DiffPage, Unordered
from ..core.model import ListEntry, ObjectState
from ..stores.protocols import ListedSourceBucket, ListedTargetBucket
from .bucket_pair import BucketPair
from .content_check import ContentCheck
from .converge import outcome_of_copy
from .key_sweep import KeySweep, SweepOptions, unchecked
from .outcome import CHANGES, Outcome
from .page_executor import Gauge, PageExecutor
from .page_listings import PageListings, RangeListings
from .page_state import PagePlan, PageRound, PageState
from .protocols import SmallObjectCopier, SweepListener
from .sweep_limits import DeleteLimit, LocalLimit
from .write_checks import WriteChecks

logger = logging.getLogger(__name__)

#: Pages of a range in flight: while one page waits for its last slow keys, the next pages keep the threads busy.
PAGES = 4

#: Seconds that a page has, after the sweep was stopped, to answer for its copies. It is less than the 7.5 s that a
#: function gives to work in flight.
_STOP_S = 5.0

#: Delay before the repeat of a key for which a store was too busy, and the repeats of one key, which take about 200 s.
BUSY_DELAY, MAX_BUSY_REPEATS = Backoff(base_s=1.0, cap_s=30.0, jitter=0.5), 12

#: Maximum number of listings of one page. After that, the sweep converges each unconfirmed key once more: applications
#: write the keys of the page faster than the sweep copies them.
MAX_PAGE_LISTINGS = 10


class Sweep:
    """Sweeps up to `ranges` ranges of two buckets at a time, with `threads` keys at a time in all."""

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
        content_check: ContentCheck | None = None,
        listings: PageListings | None = None,
    ) -> None:
        self._pair, self._source, self._target = pair, source, target
        self._small_object_copier = small_object_copier
        self._listener, self._options = listener, options
        self._delete_limit = delete_limit or LocalLimit(options.max_delete)
        self._content_check, self._listings = content_check, listings or RangeListings(source, target)
        self._key_sweep = KeySweep(pair, source, target, options, self._delete_limit, content_check=content_check)
        self._keys = ThreadPoolExecutor(threads, thread_name_prefix="key")
        self._pages = ThreadPoolExecutor(PAGES * ranges, thread_name_prefix="page")
        self._busy_pages = Gauge()

    @property
    def deletions_left(self) -> int | None:
        """The number of keys that may still be deleted; None is no limit."""
        return self._delete_limit.left

    def run(
        self, deadline: Deadline, *, after: str = "", until: str | None = None, pages_until: Deadline | None = None
    ) -> list[str]:
        """Sweep the keys behind `after` up to `until`, then close. Call it once.

        Once `pages_until` has passed no further page starts, and the pages in flight are finished. Returns no keys if
        all keys were compared. Otherwise the rest begins behind the first returned key, and can be divided behind each
        other one. Raises StoreUnusable, and any error that stops a listing.
        """
        try:
            try:
                return self.sweep_in_order(deadline, after=after, until=until, pages_until=pages_until)
            except Unordered as error:
                return self.sweep_key_by_key(error, deadline, after=after, until=until)
        finally:
            self.close()

    def sweep_in_order(
        self,
        deadline: Deadline,
        *,
        after: str = "",
        until: str | None = None,
        pages_until: Deadline | None = None,
        release_rest: Callable[[str], None] | None = None,
    ) -> list[str]:
        """Sweep a range as `run` does; several threads may call it repeatedly. Also raises Unordered.

        If given, `release_rest` is called with the key behind which this call starts no page, as soon as that is known.
        Another sweeper can then continue there without a wait for the pages in flight, which may hold large objects.
        """
        every = self._options.needs_every_diff or self._key_sweep.may_exclude
        pages = self._listings.pages(after, until, every=every)
        pages_until = pages_until or deadline
        return self._run(pages, self._reconcile_page, deadline.sooner(), pages_until, until, release_rest)

    def sweep_key_by_key(
        self, why: Unordered, deadline: Deadline, *, after: str = "", until: str | None = None
    ) -> list[str]:
        """Sweep a range as `run` does, after a listing has shown that the order of listings cannot be trusted.

        A key that such a listing has not shown may still exist. So each key is checked itself, and nothing is deleted.
        """
        self._options = replace(self._options, delete=False)
        self._key_sweep = self._key_sweep.without_order(self._options)
        self._listener.on_restart(f"{why}: comparing key by key, deleting nothing")
        pages = self._single_pages(after, until)
        unfinished = self._run(pages, self._reconcile_keys, deadline.sooner(), deadline, until)
        return [after] if unfinished else []

    def close(self) -> None:
        self._pages.shutdown(cancel_futures=True)
        self._keys.shutdown(cancel_futures=True)

    @property
    def waits_for_listings(self) -> bool:
        """Return True if more listings at a time would help, because the sweep has less to do than it could.

        A page with all of its keys in progress does not count as work: it waits for the stores and occupies no thread.
        """
        return self._busy_pages.value < PAGES

    # -- pages -----------------------------------------------------------------------------------------------------

    def _single_pages(self, after: str, until: str | None) -> Iterator[DiffPage]:
        """Yield every key of each side, in any order, so that no page is a range. Common keys come twice."""
        for page in self._source.listing(after, until, in_order=False):
            last = page.keys[-1] if page.keys else until
            odd = [KeyDiff(entry, None) for entry in page.unnameable]
            yield DiffPage(after, last, len(page), [KeyDiff(entry, None) for entry in page], odd)
        if not self._options.one_way:
            for page in self._target.listing(after, until, in_order=False):
                last = page.keys[-1] if page.keys else until
                odd = [KeyDiff(None, entry) for entry in page.unnameable]
                yield DiffPage(after, last, 0, [KeyDiff(None, entry) for entry in page], odd)

    def _run(
        self,
        pages: Iterable[DiffPage],
        reconcile: Callable[[DiffPage, Deadline], None],
        deadline: Deadline,
        pages_until: Deadline,
        until: str | None,
        release_rest: Callable[[str], None] | None = None,
    ) -> list[str]:
        """Reconcile the pages, several at a time; return the keys behind which unfinished work begins.

        The keys are in order. Raises what a page raises, once no other page is in flight.
        """
        executor = PageExecutor(self._pages, PAGES, self._busy_pages)
        unstarted: list[str] = []

        def is_over() -> bool:
            return pages_until.passed() or deadline.passed()

        try:
            for page in pages:
                deadline.progress()
                executor.submit(self._noting_uncertain(reconcile), page, deadline)
                if page.until is None or page.until == until:  # the last page: there is no rest to stop before
                    executor.wait_for_slot()
                    continue
                executor.wait_for_slot(is_over)
                if is_over():
                    (release_rest or unstarted.append)(page.until)
                    break
            executor.join()
        except BaseException:
            deadline.stop()
            executor.wait()
            raise
        return sorted([*unstarted, *(cut for page in executor.unfinished for cut in page.cuts)])

    def _noting_uncertain(
        self, reconcile: Callable[[DiffPage, Deadline], None]
    ) -> Callable[[DiffPage, Deadline], None]:
        """Return the function with a report of the uncertain keys of the page."""

        def run(page: DiffPage, deadline: Deadline) -> None:
            fence = Fence(outer=current())
            try:
                with fenced(fence):
                    reconcile(page, deadline)
            finally:
                for key in sorted(fence.uncertain):
                    self._listener.on_uncertain(key)

        return run

    def _page_state(self) -> PageState:
        return PageState(self._key_sweep.needs_check, own_copies=self._pair.direction.own_copies())

    def _reconcile_page(self, page: DiffPage, deadline: Deadline) -> None:
        """Converge the keys that differ and list the page again, until a listing shows nothing new.

        A key that two listings show unchanged needs no further request. A key that the listings alone decide needs no
        request, but two listings. A key that the small-object copier wrote is checked itself, unless the source still
        lists the object that was copied.

        Under constant writes there is always a key of the page that changes. Such a page ends key by key. Every key has
        then been seen equal after its last write, if not all at the same time, or is reported as failed.
        """
        state = self._page_state()
        with self._answering_for_copies(page, state):
            self._reconcile_listings(page, state, deadline)

    def _reconcile_listings(self, page: DiffPage, state: PageState, deadline: Deadline) -> None:
        for number in range(MAX_PAGE_LISTINGS):
            if number:
                page = self._listings.again(page)
            self._fail_unnameable(page, state)
            done = self._reconcile_listing(page, state, deadline)
            self._count(state.count_rest(self._compared_keys(page, done.checked)))
            state.advance(done)
            if done.is_settled:
                break
        else:
            last = done.checked | self._converge_all(done.unconfirmed, state, deadline)
            state.outcomes |= last | self._confirm(last, state, deadline)
        for diff in done.plan.differing:
            if diff.key not in state.failed:
                self._report_skipped(diff.key, state.outcomes.get(diff), state)
        self._finish(page, state.outcomes, state)

    def _finish(self, page: DiffPage, outcomes: Mapping[KeyDiff, Outcome], state: PageState) -> None:
        """Let the content check count the proofs of a page that is done."""
        if self._content_check is not None:
            counted = replace(page, keys=self._compared_keys(page, outcomes))
            self._content_check.finish(
                counted, outcomes, lambda diff: diff.key not in state.failed and not self._key_sweep.excludes(diff)
            )

    def _reconcile_listing(self, page: DiffPage, state: PageState, deadline: Deadline) -> PageRound:
        """Copy and converge the keys that one listing of a page shows as unresolved."""
        plan = state.plan(page.diffs, lambda diff: self._key_sweep.outcome_by_listing(diff, state))
        samples = self._samples(plan)
        checked = self._converge_all(samples, state, deadline)
        copied = self._copy_small_objects([diff for diff in plan.copyable if diff not in samples], state, deadline)
        unresolved = [diff for diff in plan.unresolved if diff.key not in copied and diff not in samples]
        return PageRound(plan, copied, checked | self._converge_all(unresolved, state, deadline))

    def _samples(self, plan: PagePlan) -> list[KeyDiff]:
        """Return the keys to converge before the small-object copier writes: it does not read the target.

        Each is a small object: the other keys of the page wait for it.
        """
        copier = self._small_object_copier
        if copier is None or self._options.dry_run:
            return []
        return self._key_sweep.samples(diff for diff in plan.copyable if copier.takes(diff))

    def _reconcile_keys(self, page: DiffPage, deadline: Deadline) -> None:
        """Converge the keys of a page again and again, without the listings, which cannot be trusted."""
        state = self._page_state()
        with self._answering_for_copies(page, state):
            self._reconcile_single_keys(page, state, deadline)

    def _reconcile_single_keys(self, page: DiffPage, state: PageState, deadline: Deadline) -> None:
        self._fail_unnameable(page, state)
        diffs = [diff for diff in page.diffs if self._key_sweep.needs_check(diff)]
        for _ in range(MAX_PAGE_LISTINGS):
            outcomes = self._converge_all(diffs, state, deadline)
            self._count(state.count_rest(self._compared_keys(page, outcomes)))
            diffs = []
            for diff, outcome in outcomes.items():
                if outcome.action in CHANGES:
                    diffs.append(diff)
                    state.written.setdefault(diff.key, WriteChecks())
                elif diff.source is not None or outcome.action == "extra":  # else the key's own source entry reports it
                    self._report_skipped(diff.key, outcome, state)
            if not diffs:
                self._finish(page, outcomes, state)
                return
        for diff in diffs:
            message = f"the key kept changing: gave up after {MAX_PAGE_LISTINGS} attempts"
            self._listener.on_failed(diff.key, Retryable(message, "KeepsChanging"))

    @contextmanager
    def _answering_for_copies(self, page: DiffPage, state: PageState) -> Iterator[None]:
        """Answer for the copies of a page that ends early: the next sweep of the page does not know them."""
        try:
            yield
        except SyncError:
            if state.own_copies:
                self._answer_for_copies(page, state)
            raise

    def _answer_for_copies(self, page: DiffPage, state: PageState) -> None:
        """Remove or report the copies of keys that the source no longer has. Raises no SyncError.

        One listing of the page finds them. If the source cannot be listed, each copy is reported.
        """
        deadline = Deadline.after(_STOP_S)
        try:
            listed = self._listings.source_keys(page)
        except Unordered:
            listed = ()
        except SyncError as error:
            for key in state.own_copies:
                self._listener.on_skipped(key, unchecked(error))
            return
        for key in [key for key in state.own_copies if key not in listed]:
            try:
                outcome = self._key_sweep.answer_for_copy(key, state, deadline)
            except SyncError as error:
                outcome = unchecked(error)
            if outcome.action in CHANGES:
                self._listener.on_changed(key, outcome)
            self._report_skipped(key, outcome, state)

    def _report_changed(self, key: str, outcome: Outcome, state: PageState) -> None:
        """Report a key that was written, and count it at once: its page may take minutes."""
        self._listener.on_changed(key, outcome)
        self._count(state.count(key))

    def _count(self, keys: int) -> None:
        if keys:
            self._listener.on_compared(keys)

    def _compared_keys(self, page: DiffPage, outcomes: Mapping[KeyDiff, Outcome]) -> int:
        """Return the number of keys of a page, without those that are excluded by the listing or after a read."""
        if not page.keys or not self._key_sweep.may_exclude:
            return page.keys
        return page.keys - sum(self._key_sweep.excludes(diff) or _is_excluded(outcomes, diff) for diff in page.diffs)

    def _report_skipped(self, key: str, outcome: Outcome | None, state: PageState) -> None:
        """Report a key that stays as it is although it differs."""
        if outcome is not None and outcome.action == "kept":
            outcome = self._key_sweep.kept(key, state)
        if outcome is not None and outcome.action not in ("unchanged", "excluded") and outcome.action not in CHANGES:
            self._listener.on_skipped(key, outcome)

    # -- keys ------------------------------------------------------------------------------------------------------

    def _copy_small_objects(
        self, diffs: Iterable[KeyDiff], state: PageState, deadline: Deadline
    ) -> Mapping[str, ListEntry | None]:
        """Let the small-object copier copy the keys that it takes: see `SmallObjectCopier.copy`."""
        copier = self._small_object_copier
        if copier is None or self._options.dry_run:
            return {}
        ours = [diff for diff in diffs if self._key_sweep.may_write(diff)]
        taken = {diff.source: reason for diff in ours if diff.source and (reason := copier.takes(diff))}
        replaced = {diff.key: diff.target for diff in ours}

        def writing(entry: ListEntry, source: ObjectState) -> None:
            state.own_copies.note(entry.key, source, replaced[entry.key])

        def copied(entry: ListEntry, source: ObjectState, etag: str) -> None:
            state.own_copies.note_written(entry.key, source, etag)
            outcome = outcome_of_copy(self._pair, source, taken[entry] == ABSENT, taken[entry], etag)
            self._report_changed(entry.key, outcome, state)

        there = {key for key, target in replaced.items() if target is not None}
        return copier.copy(taken, deadline, writing, copied, there)

    def _confirm(
        self, outcomes: Mapping[KeyDiff, Outcome], state: PageState, deadline: Deadline
    ) -> dict[KeyDiff, Outcome]:
        """Check the keys with a write as their last outcome, and return their outcomes.

        A key that differs is written once more. If it then still differs, it is reported as failed.
        """
        for _ in range(2):
            written = state.written_keys(outcomes)
            for diff in written:
                state.written.setdefault(diff.key, WriteChecks())
            outcomes = {**outcomes, **self._converge_all(written, state, deadline)}
        for diff in state.written_keys(outcomes):
            self._fail(diff.key, Retryable("the key kept changing", "KeepsChanging"), state)
        return {**outcomes}

    def _fail_unnameable(self, page: DiffPage, state: PageState) -> None:
        """Report the keys that no request can name, unless the listings show them as equal."""
        for diff in state.unnameable(page):
            self._fail(diff.key, unnameable(), state)

    def _fail(self, key: str, error: SyncError, state: PageState) -> None:
        state.failed.add(key)
        self._listener.on_failed(key, error)

    def _converge_all(self, diffs: Iterable[KeyDiff], state: PageState, deadline: Deadline) -> dict[KeyDiff, Outcome]:
        """Converge keys; report the keys that fail, and add them to the failed keys of the page."""
        futures = {diff: self._keys.submit(carried(self._converge), diff, state, deadline) for diff in diffs}
        if not futures:
            return {}
        self._keys.submit(self._busy_pages.add, -1)  # runs once the last of these keys has started
        wait(futures.values())
        self._busy_pages.add(1)
        for future in futures.values():
            if isinstance(error := future.exception(), StoreUnusable):
                raise error
        outcomes = {}
        for diff, future in futures.items():
            try:
                outcomes[diff] = future.result()
            except OutOfTime:
                raise
            except SyncError as error:
                self._fail(diff.key, error, state)
        return outcomes

    def _converge(self, diff: KeyDiff, state: PageState, deadline: Deadline) -> Outcome:
        deadline.progress()
        deadline.check()
        try:
            outcome = self._process(diff, state, deadline)
        except SyncError as error:
            # A policy may deny a whole page of keys, and the sweep copies the other keys.
            found = error if error.code in POLICY_CODES else judged(error)
            if isinstance(found, StoreUnusable):
                deadline.stop()  # each other key would fail in the same way, after all of its retries
            raise found from error
        except Exception as error:  # a bug, or a malformed response: it fails one key and not the sweep
            logger.exception("unexpected failure", extra={"key": diff.key})
            raise unexpected_failure(error) from error
        if outcome.action in CHANGES:
            self._report_changed(diff.key, outcome, state)
        return outcome

    def _process(self, diff: KeyDiff, state: PageState, deadline: Deadline) -> Outcome:
        """Process a key. While a store is too busy for it, wait: the thread then starts no other key."""
        failures = 0
        while True:
            try:
                return self._key_sweep.process(diff, state, deadline)
            except Busy:
                failures += 1
                delay_s, left_s = BUSY_DELAY.delay_s(failures), deadline.timeout()
                has_time = left_s is None or left_s > delay_s
                if not self._options.repeats_busy or failures > MAX_BUSY_REPEATS or not has_time:
                    raise
                deadline.sleep(delay_s)


def _is_excluded(outcomes: Mapping[KeyDiff, Outcome], diff: KeyDiff) -> bool:
    outcome = outcomes.get(diff)
    return outcome is not None and outcome.action == "excluded"
