"""Count what a sweep has done, for the progress display and the report."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ...core.errors import SyncError
from ...core.proof import Proof, ReadOptions
from ...sync.outcome import Outcome
from ..concurrency import Concurrency
from .findings import Finding, Findings

logger = logging.getLogger(__name__)

#: Samples kept for the plots. When there are more, every second sample is dropped and the spacing doubles.
MAX_SAMPLES = 600

#: Seconds over which the current rates are averaged. A single large object does not make them jump.
RECENT_S = 30.0

#: Seconds before the time left is estimated: the first pages say little about the whole bucket.
FIRST_ESTIMATE_S = 5.0


#: The reason of a restored object that the marker contradicts.
UNPROVEN_COPY = (
    "restored, but its MD5 is not the ETag that the object had: it is damaged in the mirror, or a KMS key encrypted "
    "the earlier object"
)

#: Restored objects that are kept in case that they must be named: see `SweepStats.other_md5s`.
MAX_OTHER_MD5S = 100_000


#: The findings about objects in an archive: not restored, and restore requested.
ARCHIVED = ("archived", "restore")


@dataclass(frozen=True, slots=True)
class Tally:
    """A number of keys, and the bytes of their objects."""

    keys: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Sample:
    """Totals at a moment, in seconds since the start: keys compared, keys changed, bytes sent."""

    at_s: float = 0.0
    compared: int = 0
    changed: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Rates:
    """Averages per second: keys compared, keys changed, bytes sent."""

    compared: float
    changed: float
    bytes: float


@dataclass(slots=True)
class SweepStats:
    """Count the events of a sweep; a `sync.protocols.SweepListener`. Safe to share between threads."""

    started: float = field(default_factory=time.monotonic)
    keys: int = 0
    bytes: int = 0
    actions: Counter[str] = field(default_factory=Counter)
    #: Keys that differ and were not changed.
    differences: Findings = field(default_factory=Findings)
    #: Keys that could not be made equal.
    failures: Findings = field(default_factory=Findings)
    #: False if the sweep changes nothing. The progress display then shows no copies.
    writes: bool = True
    #: Count keys that only the target has, instead of listing them as differences.
    tolerates_target_only: bool = False
    #: Keys that only the target has, where they are tolerated.
    target_only: int = 0
    #: Count keys in an archive, instead of listing them as differences.
    skips_archived: bool = False
    #: The keys in an archive, where they are only counted.
    skipped: Findings = field(default_factory=Findings)
    notices: list[str] = field(default_factory=list)
    #: The objects that the sweep copies now; empty if it copies all of them.
    copies_now: str = ""
    #: The objects that the check reads; None is none. `proofs` are the keys by what proves that the bytes are equal.
    reads: ReadOptions | None = None
    proofs: Counter[Proof] = field(default_factory=Counter)
    #: Returns the bytes that were read from both sides together.
    bytes_read: Callable[[], int] = lambda: 0
    #: Receives each difference and each failure.
    on_finding: Callable[[Finding], None] = lambda _: None
    #: Keys with a write that may still take effect: see `core/fence.py`.
    uncertain: int = 0
    #: Returns the requests that the stores may get at a time now, or None if other workers send them.
    concurrency: Callable[[], Concurrency | None] = lambda: None
    #: Returns a reason in the words of the command.
    described: Callable[[str], str] = str
    #: Restored objects without the ETag that they had before.
    other_etags: int = 0
    #: Restored objects without the MD5 that the ETag marker names. They are differences once another restored object
    #: got its MD5 back: until then, a KMS key may have encrypted the whole bucket, so that no ETag was an MD5.
    other_md5s: Findings = field(default_factory=Findings)
    has_earlier_md5s: bool = False
    #: Messages on the queue, if the workers of a queue do the work; otherwise None.
    backlog: int | None = None
    samples: list[Sample] = field(default_factory=lambda: [Sample()])
    #: The totals at the beginning of the pass over the keys that goes on.
    _pass_began: Sample = field(default_factory=Sample, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _spacing_s: float = 1.0

    def on_compared(self, keys: int) -> None:
        with self._lock:
            self.keys += keys

    def on_changed(self, key: str, outcome: Outcome) -> None:
        with self._lock:
            self.actions[outcome.action] += 1
            self.bytes += outcome.size
            self.other_etags += outcome.has_other_etag
        _log(logging.INFO, outcome.action, key, self.described(outcome.reason), outcome.size)
        if outcome.has_earlier_md5 is not None:
            self._compare_md5(key, outcome)

    def _compare_md5(self, key: str, outcome: Outcome) -> None:
        """List the restored objects without their earlier MD5, once any object got its MD5 back."""
        with self._lock:
            self.has_earlier_md5s |= outcome.has_earlier_md5 is True
            if outcome.has_earlier_md5 is False and (self.has_earlier_md5s or len(self.other_md5s) < MAX_OTHER_MD5S):
                self.other_md5s.add(Finding("unproven", key, UNPROVEN_COPY, outcome.size))
            unproven: list[Finding] = []
            if self.has_earlier_md5s and self.other_md5s:
                unproven, self.other_md5s = list(self.other_md5s), Findings()
            for finding in unproven:
                self._add(finding)
        for finding in unproven:
            _log(logging.WARNING, finding.what, finding.key, finding.reason, 0)

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        is_tolerated = self.tolerates_target_only and outcome.action == "extra"
        is_skipped = self.skips_archived and outcome.action in ARCHIVED
        reason = self.described(outcome.reason)
        with self._lock:
            if is_tolerated:
                self.target_only += 1
            else:
                self._add(Finding(outcome.action, key, reason, outcome.size))
        _log(logging.INFO if is_tolerated or is_skipped else logging.WARNING, outcome.action, key, reason, 0)

    def on_failed(self, key: str, error: SyncError) -> None:
        reason = self.described(error.reason)
        with self._lock:
            self._add(Finding("failed", key, reason, request_id=error.request_id))
        fields = {"reason": reason, **({"request_id": error.request_id} if error.request_id else {})}
        _log(logging.ERROR, "failed", key, self.described(str(error)), 0, **fields)

    def on_uncertain(self, key: str) -> None:
        with self._lock:
            self.uncertain += 1
        reason = "a write has no response, so the target may apply it within 15 minutes"
        _log(logging.WARNING, "uncertain", key, reason, 0)

    def on_restart(self, why: str) -> None:
        with self._lock:
            self._forget()
            self.copies_now = ""
            self.notices.append(why)
        logger.warning("%s", why)

    def begin_pass(self, copies: str) -> None:
        """Forget what a pass found, because the next one reports it again. Changes stay made.

        `copies` are the objects of the next pass; empty for the last one, which copies all.
        """
        with self._lock:
            self._forget()
            self.copies_now = copies

    def _forget(self) -> None:
        self.keys = self.target_only = 0
        self._pass_began = self._now()
        self.proofs.clear()
        self.skipped = Findings()
        before, self.differences, self.failures = self.differences, Findings(), Findings()
        for finding in before:
            # The sweep that starts again does not know what this one wrote.
            if finding.what == "stale" or finding.reason == UNPROVEN_COPY:
                self.differences.add(finding)

    def add_range(self, keys: int, changed: int, deleted: int, bytes_: int) -> None:
        """Add the totals of a range that a worker of the queue has swept; its keys are not known."""
        with self._lock:
            self.keys += keys
            self.actions["copy"] += changed - deleted
            self.actions["delete"] += deleted
            self.bytes += bytes_

    def add_proofs(self, proofs: Mapping[Proof, int]) -> None:
        """Count keys by what proves that their bytes are equal."""
        with self._lock:
            self.proofs.update(proofs)

    def add_earlier(self, findings: Iterable[Finding], keys: int) -> None:
        """Add the findings of earlier runs of the same check, and the number of keys that they compared."""
        with self._lock:
            for finding in findings:
                self._findings(finding).add(finding)
            self.keys += keys
            self._pass_began = self._now()

    def _add(self, finding: Finding) -> None:
        self._findings(finding).add(finding)
        self.on_finding(finding)

    def _findings(self, finding: Finding) -> Findings:
        if finding.what == "failed":
            return self.failures
        return self.skipped if self.skips_archived and finding.what in ARCHIVED else self.differences

    def archived(self, what: str) -> Tally:
        """Return the keys of one of the ARCHIVED kinds."""
        found = self.skipped if self.skips_archived else self.differences
        return Tally(found.counts[what], found.sizes[what])

    @property
    def bytes_to_send(self) -> int:
        """The bytes that copies of the differences would send. An archived object cannot be sent."""
        sizes = self.differences.sizes
        return sizes.total() - sum(sizes[what] for what in ARCHIVED)

    @property
    def result(self) -> str:
        """Return the result of a sweep that compared all keys: equal, different, or unproven.

        It is unproven if nothing differs or failed, but the content of some keys is not proven to be equal.
        """
        if not self.differences and not self.failures:
            return "equal"
        return "unproven" if not self.failures and set(self.differences.counts) == {"unproven"} else "different"

    @property
    def changed(self) -> int:
        """Return the number of writes to the target: keys copied, updated, tagged or deleted."""
        return self.actions.total()

    @property
    def notes(self) -> list[str]:
        """Return the notices, and how to make sure of the uncertain keys."""
        return [*self.notices, *([uncertain_note(self.uncertain)] if self.uncertain else [])]

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.started

    def sample(self, *, last: bool = False) -> None:
        """Store the totals as a sample, at most once per spacing; the last sample is always stored."""
        with self._lock:
            now = self._now()
            if now.at_s - self.samples[-1].at_s < self._spacing_s and not last:
                return
            self.samples.append(now)
            if len(self.samples) > MAX_SAMPLES:
                self.samples = self.samples[::2]
                self._spacing_s *= 2

    def recent_rates(self) -> Rates:
        """Return the rates over the last RECENT_S seconds; that of the keys compared at most over this pass."""
        with self._lock:
            now = self._now()
            then = next((s for s in reversed(self.samples) if now.at_s - s.at_s >= RECENT_S), self.samples[0])
            of_pass = max(self._pass_began, then, key=_at)
        seconds = _seconds(then, now)
        return Rates(
            (now.compared - of_pass.compared) / _seconds(of_pass, now),
            (now.changed - then.changed) / seconds,
            (now.bytes - then.bytes) / seconds,
        )

    @property
    def compared_per_s(self) -> float:
        """Return the keys compared per second of this pass. Earlier passes have compared the same keys."""
        with self._lock:
            now, began = self._now(), self._pass_began
        return (now.compared - began.compared) / _seconds(began, now)

    def time_left_s(self, total: int) -> float | None:
        """Return the seconds until `total` keys are compared, or None while nothing supports an estimate.

        The rate is the mean of that of the last RECENT_S seconds and that of the whole pass. The first one follows a
        change, and the second one keeps a folder of equal keys or of large objects from deciding. A pass over some of
        the objects says nothing about the passes that follow.
        """
        if self.elapsed_s - self._pass_began.at_s < FIRST_ESTIMATE_S or total < self.keys or self.copies_now:
            return None
        rate = (self.recent_rates().compared + self.compared_per_s) / 2
        return (total - self.keys) / rate if rate > 0 else None

    def _now(self) -> Sample:
        return Sample(self.elapsed_s, self.keys, self.changed, self.bytes)


def _at(sample: Sample) -> float:
    return sample.at_s


def _seconds(began: Sample, now: Sample) -> float:
    return max(now.at_s - began.at_s, 1e-9)


def uncertain_note(keys: int) -> str:
    """Return the note about this number of uncertain keys: see `core/fence.py`."""
    reason = f"keys with a write without a response: {keys:,}. The target may apply such a write late"
    return f"{reason}: run `s3-syncer check` in 15 minutes"


def printable(text: str) -> str:
    """Return the text, or its Python literal if a terminal would interpret some of its characters."""
    return text if text.isprintable() else repr(text)


def print_row(*columns: str) -> None:
    """Write columns as one line to standard output, separated by tabs.

    A closed pipe, as of `| head -1`, must not end a command that has more to do: see `standard_streams.py`. A character
    that standard output cannot encode is escaped.
    """
    stream = sys.stdout
    line = "\t".join(map(printable, columns)) + "\n"
    encoding = getattr(stream, "encoding", None) or "utf-8"
    with suppress(BrokenPipeError):
        stream.write(line.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()


def _log(level: int, action: str, key: str, text: str, size: int, **fields: str) -> None:
    """Log an event. `text` is for people, and the field `reason` as well unless `fields` has another."""
    extra = {"action": action, "key": key, "reason": text, "bytes": size, **fields}
    logger.log(level, "%s %s: %s", action, printable(key), printable(text), extra=extra)
