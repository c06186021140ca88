"""One key of a sweep: the action that the options allow for it.

The action of an outcome is one of `converge`, or one of eight more for a key that the sweep leaves as it is. Four of
them are missing (from the target), differs, extra (absent from the source) and stale (deleted from the source after the
sweep wrote the key). A large object is left to another worker. An archived one must be restored first; restore means
that the restore was requested. The last is unproven: nothing differs, and nothing proves the bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from ..core.compare import ABSENT, KeyDiff, KeyStatus
from ..core.deadline import Deadline
from ..core.errors import ARCHIVED_CODE, Archived, Permanent, SyncError
from ..core.filters import NO_FILTERS
from ..core.key_folding import rewrites, twins
from ..core.model import ListEntry
from ..core.proof import ReadOptions
from ..core.size_order import SizeClass
from ..stores.protocols import ListedSourceBucket, ListedTargetBucket
from .archived_objects import ArchivedObjects, RestoreOptions
from .bucket_pair import BucketPair
from .content_check import Compared, ContentCheck
from .converge import converge
from .key_identity import NOT_LISTED, has_key
from .outcome import Action, Outcome
from .page_state import PageState
from .sweep_limits import DeleteLimit


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """The options of a sweep."""

    #: Change nothing; report the differences.
    dry_run: bool = False
    #: Delete keys that only the target has, at most `max_delete` of them.
    delete: bool = False
    max_delete: int | None = None
    #: Keys that only the target has are not a difference, and are not checked.
    one_way: bool = False
    #: Compare headers, metadata and tags of every key, also of keys with equal listing entries.
    full: bool = False
    #: Objects of more bytes than this that differ are reported as large and not copied; None is no limit.
    max_object_size: int | None = None
    #: Repeat a key for which a store is too busy. Where the requests themselves are repeated, that is not needed.
    repeats_busy: bool = False
    #: The restores of archived objects to request; None requests none.
    restore: RestoreOptions | None = None
    #: Listing entries of the same size and ETag are equal, whichever is newer.
    ignores_times: bool = False
    #: The objects of which the bytes are compared; None is none.
    reads: ReadOptions | None = None
    #: Only objects of the source that were modified at this time or later; None is all keys.
    since: datetime | None = None
    #: Only objects of the source of this class; None is all keys.
    sizes: SizeClass | None = None

    def for_first_pass(self, sizes: SizeClass) -> SweepOptions:
        """Return the options of a pass that copies the objects of one class first.

        It copies what the listings show. All else is left to the last pass: deletions, restores and full comparisons.
        """
        return replace(self, sizes=sizes, delete=False, max_delete=None, full=False, restore=None)

    def needs_check(self, diff: KeyDiff) -> bool:
        """Return True if the listing entries of a key call for a check of the key itself."""
        if not self.full and (diff.status is KeyStatus.IN_SYNC or (self.ignores_times and diff.has_equal_etags)):
            return self.reads is not None and self.reads.reads(diff.key, "etag")
        return diff.status is not KeyStatus.TARGET_ONLY or self.delete or not self.one_way

    @property
    def needs_every_diff(self) -> bool:
        """Return True if keys with equal listing entries are checked or counted as well."""
        return self.full or self.reads is not None

    def is_too_old(self, diff: KeyDiff) -> bool:
        """Return True if `since` leaves out the key: the source has no object that was modified then or later.

        A listing without a time leaves out no key. It may show whole seconds, so the whole second counts.
        """
        if self.since is None:
            return False
        if diff.source is None:
            return True
        modified = diff.source.last_modified
        return modified is not None and modified < self.since.replace(microsecond=0)

    def leaves_out(self, diff: KeyDiff) -> bool:
        """Return True if `since` or `sizes` leave out the key, as far as the listings show it."""
        if self.sizes is not None and (diff.source is None or diff.source.listed_size not in self.sizes):
            return True
        return self.is_too_old(diff)


#: Keys of a page that are converged before the small-object copier gets the page.
MAX_SAMPLES = 16


class KeySweep:
    """Processes the keys of a sweep, one at a time. Safe to share between threads.

    With `in_order`, a listing that does not show a key proves that it was missing when the listing began.
    """

    def __init__(
        self,
        pair: BucketPair,
        source: ListedSourceBucket,
        target: ListedTargetBucket,
        options: SweepOptions,
        delete_limit: DeleteLimit,
        *,
        in_order: bool = True,
        archived: ArchivedObjects | None = None,
        content_check: ContentCheck | None = None,
    ) -> None:
        self._source, self._target = source, target
        # A key is deleted only if a complete listing of the source lacks it and the delete limit allows it.
        pair = replace(pair, trusts_time=not options.full)
        self._pair_without_deletes, self._pair_with_deletes = replace(pair, delete=False), replace(pair, delete=True)
        self._options, self._delete_limit, self._in_order = options, delete_limit, in_order
        self._capabilities, self._content_check = pair.capabilities, content_check
        self._filters = pair.filters
        self._archived = archived or ArchivedObjects(source, options.restore, dry_run=options.dry_run)

    def needs_check(self, diff: KeyDiff) -> bool:
        """Return True if the listing entries of a key that is not excluded call for a check of it."""
        return self._options.needs_check(diff) and not self.excludes(diff)

    def excludes(self, diff: KeyDiff) -> bool:
        """Return True if the options or the filters exclude a key, as far as the listings show it."""
        return self._options.leaves_out(diff) or self._filters.exclusion(diff.key, diff.source, diff.target) is not None

    @property
    def may_exclude(self) -> bool:
        """Return True if filters or `since` may exclude a key: not every key of a page counts as compared."""
        return self._filters != NO_FILTERS or self._options.since is not None

    def outcome_by_listing(self, diff: KeyDiff, state: PageState) -> Outcome | None:
        """Return the outcome that the listings alone decide, or None if the key itself must be checked."""
        if diff.source is not None and diff.source.size is None:
            return None
        if diff.source is None and diff.target is not None and diff.target.size is None and self._filters.has_sizes:
            return None
        if diff.target is None and diff.source is not None and self._options.dry_run:
            return _missing(diff.source.listed_size) if diff.source.archive is None else None
        if diff.source is not None and self._is_too_large(diff.source.listed_size):
            # A worker that gets the key on its own does not trust times. So a plain sweep asks first if it does.
            needs_check = diff.target is not None and not self._options.full and diff.source.size == diff.target.size
            return None if needs_check else _large(diff.source)
        if diff.key in state.own_copies:
            return None
        if diff.status is KeyStatus.TARGET_ONLY and (self._options.dry_run or not self._options.delete):
            return self._extra()
        if diff.status is KeyStatus.TARGET_ONLY and self._delete_limit.left == 0:
            return self._over_delete_limit()
        return None

    def without_order(self, options: SweepOptions) -> KeySweep:
        """Return the sweep for listings that are not in order."""
        pair = self._pair_without_deletes
        return KeySweep(
            pair,
            self._source,
            self._target,
            options,
            self._delete_limit,
            in_order=False,
            archived=self._archived,
            content_check=self._content_check,
        )

    def may_write(self, diff: KeyDiff) -> bool:
        """Return True if the key may be written without a read of the target: no other object can be lost."""
        if diff.target is not None:
            return self._pair_without_deletes.direction.replaces_unread
        return self._capabilities.keeps_apart(self._target.prefix, diff.key)

    def samples(self, diffs: Iterable[KeyDiff]) -> list[KeyDiff]:
        """Return few keys that together show which folds the target has: see `core/key_folding.py`."""
        found: list[KeyDiff] = []
        folds = set(self._capabilities.apart | self._capabilities.unproven)
        for diff in diffs:
            if diff.target is not None or not (possible := twins(self._target.prefix, diff.key, folds)):
                continue
            shown = {fold for fold, twin in possible.items() if twin is not None}
            shown |= rewrites(self._target.prefix, diff.key) - folds
            if shown:
                found.append(diff)
                folds |= shown
            if len(found) == MAX_SAMPLES:
                break
        return found

    def answer_for_copy(self, key: str, state: PageState, deadline: Deadline) -> Outcome:
        """Remove the copy of a key that the source no longer has, or return why it stays. Raises a SyncError."""
        return converge(self._pair_without_deletes, key, deadline, own_copies=state.own_copies)

    def process(self, diff: KeyDiff, state: PageState, deadline: Deadline) -> Outcome:
        """Converge or compare one key, as the options say. Raises a SyncError."""
        diff = self._with_size(diff)
        if (exclusion := self._filters.exclusion_by_size(diff.source, diff.target)) is not None:
            return Outcome("excluded", exclusion)
        if (found := self._archived.outcome(diff, md5s=self._capabilities.gives_md5 is True)) is not None:
            return found
        try:
            return self._process(diff, state, deadline)
        except Permanent as error:
            if error.code != ARCHIVED_CODE:
                raise
            entry = diff.source or ListEntry(diff.key, 0, None, None)
            return self._archived.unreadable(entry, error.archive if isinstance(error, Archived) else None)

    def _process(self, diff: KeyDiff, state: PageState, deadline: Deadline) -> Outcome:
        is_listed = True if diff.target is not None else False if self._in_order else None
        written, gone = diff.key in state.own_copies, diff.status is KeyStatus.TARGET_ONLY
        checks = state.written.get(diff.key)
        if diff.source is not None and self._is_too_large(diff.source.listed_size):
            found = self._compare(diff.key, is_listed=is_listed).outcome
            return found if found.action == "unchanged" else _large(diff.source)
        if self._options.dry_run or (gone and not self._options.delete and not written):
            return self._check(diff, deadline, is_listed=is_listed)
        if written or not gone:
            size = diff.source.listed_size if diff.source else 0
            outcome = converge(
                self._pair_without_deletes,
                diff.key,
                deadline,
                size=size,
                own_copies=state.own_copies,
                checks=checks,
                is_listed=is_listed,
            )
            if outcome.action != "kept" or not gone:
                return outcome
        # The removal of an own copy is not counted: the target did not have the key before.
        if not self._options.delete:
            return self.kept(diff.key, state)
        if not self._delete_limit.acquire():
            return _STALE if written else self._over_delete_limit()
        return converge(self._pair_with_deletes, diff.key, deadline, checks=checks, is_listed=is_listed)

    def _check(self, diff: KeyDiff, deadline: Deadline, *, is_listed: bool | None) -> Outcome:
        """Return the difference that requests to both sides show now, and change nothing. Raises Archived.

        Without order, a key comes once with each side, and its source entry is the one that reads the bytes.
        """

        def compare() -> Compared:
            return self._compare(diff.key, is_listed=is_listed)

        if self._content_check is None or (diff.source is None and not self._in_order):
            return compare().outcome
        return self._content_check.check(diff.key, compare, deadline)

    def _compare(self, key: str, *, is_listed: bool | None) -> Compared:
        """Compare both sides as HEADs show them. Raises Archived."""
        source, target = self._source.head(key, confirm_missing=True), self._target.head(key)
        if (exclusion := self._filters.exclusion_by_size(source, target)) is not None:
            return Compared(Outcome("excluded", exclusion))
        if target is not None and not has_key(self._target, self._capabilities, key, target, is_listed=is_listed):
            if source is None:
                return Compared(Outcome("unchanged", f"absent from the source, and {NOT_LISTED}"))
            return Compared(Outcome("missing", f"{ABSENT}: {NOT_LISTED}", source.size))
        if source is None:
            absent = target is None and self._target.is_missing(key)
            return Compared(Outcome("unchanged", "absent on both sides") if absent else self._extra())
        if target is None:
            if source.archive is not None:
                raise Archived.of(source.archive)
            return Compared(_missing(source.size))
        difference = self._pair_without_deletes.compare(key, source, target)
        if difference is None:
            return Compared(Outcome("unchanged", "equal"), source, target)
        if difference.body and source.archive is not None:
            raise Archived.of(source.archive)
        action: Action = "unproven" if difference.unproven else "differs"
        return Compared(Outcome(action, difference.reason, source.size if difference.body else 0), source, target)

    def _with_size(self, diff: KeyDiff) -> KeyDiff:
        """Return the diff with the size of the source's object.

        If the listing does not show it, that costs a HEAD.
        """
        if diff.source is None or diff.source.size is not None:
            return diff
        state = self._source.head(diff.key, tags=False)
        return diff if state is None else replace(diff, source=replace(diff.source, size=state.size))

    def _is_too_large(self, size: int) -> bool:
        return self._options.max_object_size is not None and size > self._options.max_object_size

    def kept(self, key: str, state: PageState) -> Outcome:
        """Return the outcome of a key that the source no longer has and that stays in the target."""
        return _STALE if key in state.own_copies else self._extra()

    def _extra(self) -> Outcome:
        if self._options.one_way:
            return Outcome("unchanged", "absent from the source, which is not a difference with one_way")
        return Outcome("extra", "absent from the source")

    def _over_delete_limit(self) -> Outcome:
        limit = self._options.max_delete
        return Outcome("extra", f"absent from the source, and the limit of {limit} deletions is reached")


_STALE = Outcome(
    "stale", "deleted from the source after this sweep wrote it over an older object: run `s3-syncer sync KEY`"
)


def unchecked(error: SyncError) -> Outcome:
    """Return the outcome of a key that a sweep wrote, and could not compare with the source again."""
    reason = f"this sweep wrote the key and could not compare it with the source again: {error.reason}"
    return Outcome("stale", f"{reason}. Run `s3-syncer sync KEY`")


def _large(source: ListEntry) -> Outcome:
    return Outcome("large", "too large for this sweep", source.listed_size)


def _missing(size: int) -> Outcome:
    return Outcome("missing", ABSENT, size)
