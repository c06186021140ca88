"""The state of one page of a sweep, from one listing of the page to the next. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum

from ..core.compare import KeyDiff
from ..core.listing_diff import DiffPage
from ..core.model import ListEntry
from .outcome import CHANGES, Action, Outcome
from .own_copies import OwnCopies
from .write_checks import WriteChecks

#: The findings of a comparison that reads one side after the other. A change that live sync mirrors in between looks
#: like a difference, and the next listing of the page shows it.
_DIFFERENCES: frozenset[Action] = frozenset({"missing", "differs", "unproven", "extra"})


class KeyProgress(Enum):
    """The progress of a sweep with one key of a page, as the latest listing shows the key."""

    #: Nothing to do: the listings show no difference, or the copy that the sweep made.
    EQUAL = "equal"
    #: Nothing has been done for these listing entries yet.
    NEW = "new"
    #: The small-object copier wrote the key, and the listing does not show that copy.
    COPIED = "copied"
    #: An earlier listing had the same entries, and their outcome is known.
    SETTLED = "settled"
    #: The key was reported as failed, and the page ignores it from then on.
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class PagePlan:
    """The work for one listing of a page."""

    #: Every key with a difference, except the failed ones.
    differing: list[KeyDiff]
    #: The outcomes that follow from the listings alone.
    reported: dict[KeyDiff, Outcome]
    #: Keys that need requests, in the order of the listing.
    unresolved: list[KeyDiff]
    #: Those of them that the small-object copier may take.
    copyable: list[KeyDiff]


@dataclass(frozen=True, slots=True)
class PageRound:
    """The results of one plan. A key that failed has none."""

    plan: PagePlan
    #: The keys that the small-object copier wrote, each with the source entry that proves its copy current.
    copied: Mapping[str, ListEntry | None]
    #: The outcomes of the keys that were converged.
    checked: dict[KeyDiff, Outcome]

    @property
    def is_settled(self) -> bool:
        """Return True if another listing of the page has nothing to confirm."""
        return not (self.plan.reported or self.copied or any(map(_needs_listing, self.checked.values())))

    @property
    def written(self) -> list[str]:
        """The keys that this round wrote to the target or deleted from it."""
        return [*self.copied, *(diff.key for diff, outcome in self.checked.items() if outcome.action in CHANGES)]

    @property
    def unconfirmed(self) -> list[KeyDiff]:
        """The keys that this round decided by the listings or copied, so that only one check has seen them.

        A key that is too large for this sweep is not among them: the sweep leaves it to another worker in any case.
        """
        reported = {diff for diff, outcome in self.plan.reported.items() if outcome.action != "large"}
        return [diff for diff in self.plan.differing if diff.key in self.copied or diff in reported]


@dataclass(slots=True)
class PageState:
    """The progress of each key of a page."""

    #: Returns True if the listing entries of a key call for a check.
    needs_check: Callable[[KeyDiff], bool]
    #: The outcome of listing entries that need no further request.
    outcomes: dict[KeyDiff, Outcome] = field(default_factory=dict)
    #: By key that the small-object copier wrote: the source entry that proves the copy current. None proves nothing.
    expected_listing: dict[str, ListEntry | None] = field(default_factory=dict)
    failed: set[str] = field(default_factory=set)
    #: By key that the sweep wrote: the checks that follow its writes.
    written: dict[str, WriteChecks] = field(default_factory=dict)
    #: The copies of the sweep to keys of this page.
    own_copies: OwnCopies = field(default_factory=OwnCopies)
    #: The keys that were counted as compared before the rest of the page.
    counted: set[str] = field(default_factory=set)
    is_counted: bool = False

    def count(self, key: str) -> int:
        """Return 1 for a key that was not counted as compared yet, and 0 for any other key."""
        if self.is_counted or key in self.counted:
            return 0
        self.counted.add(key)
        return 1

    def count_rest(self, keys: int) -> int:
        """Return the number of keys not counted yet, of a page with `keys` keys. No key counts after that."""
        if self.is_counted:
            return 0
        self.is_counted = True
        return keys - len(self.counted)

    def progress(self, diff: KeyDiff) -> KeyProgress:
        """Return the progress with a key that the latest listing shows as `diff`."""
        if diff.key in self.failed:
            return KeyProgress.FAILED
        copied = diff.key in self.expected_listing
        as_expected = not copied or self.expected_listing[diff.key] == diff.source
        if as_expected and not self._needs_check(diff):
            return KeyProgress.EQUAL
        if diff in self.outcomes:
            return KeyProgress.SETTLED
        return KeyProgress.COPIED if copied else KeyProgress.NEW

    def _needs_check(self, diff: KeyDiff) -> bool:
        """Return True if the key needs a check; a key that this sweep copied and only the target has does."""
        return self.needs_check(diff) or (diff.source is None and diff.key in self.own_copies)

    def plan(self, diffs: Iterable[KeyDiff], by_listing: Callable[[KeyDiff], Outcome | None]) -> PagePlan:
        """Return the work for a listing; `by_listing` decides keys by the listings alone, or returns None.

        Only NEW keys are copyable. If a copy does not show in the listing as expected, only a check of the key itself
        finds the reason.
        """
        plan = PagePlan([], {}, [], [])
        for diff in diffs:
            progress = self.progress(diff)
            if progress in (KeyProgress.EQUAL, KeyProgress.FAILED):
                continue
            plan.differing.append(diff)
            if progress is KeyProgress.SETTLED:
                continue
            if outcome := by_listing(diff):
                plan.reported[diff] = outcome
                continue
            plan.unresolved.append(diff)
            if progress is KeyProgress.NEW:
                plan.copyable.append(diff)
        return plan

    def unnameable(self, page: DiffPage) -> list[KeyDiff]:
        """Return the keys of the page that no request can name, and that have not failed yet."""
        return [diff for diff in page.unnameable if diff.key not in self.failed and self.needs_check(diff)]

    def written_keys(self, outcomes: Mapping[KeyDiff, Outcome]) -> list[KeyDiff]:
        """Return the keys with a write as their outcome that have not failed since."""
        return [diff for diff, outcome in outcomes.items() if outcome.action in CHANGES and diff.key not in self.failed]

    def advance(self, done: PageRound) -> None:
        """Record the results of a round. A key that must be checked again gets no outcome."""
        self.expected_listing |= done.copied
        if written := set(done.written):
            # What was found before a write says nothing about the key after it.
            self.outcomes = {diff: outcome for diff, outcome in self.outcomes.items() if diff.key not in written}
        for key in written:
            self.written.setdefault(key, WriteChecks())
        self.outcomes |= done.plan.reported
        self.outcomes |= {diff: outcome for diff, outcome in done.checked.items() if not needs_recheck(outcome)}


def _needs_listing(outcome: Outcome) -> bool:
    """Return True if another listing of the page must confirm the outcome of a key."""
    return needs_recheck(outcome) or outcome.action in _DIFFERENCES


def needs_recheck(outcome: Outcome) -> bool:
    """Return True if the key needs another check: it was written, or deleted since it was listed."""
    return outcome.action in CHANGES or outcome.action == "kept"
