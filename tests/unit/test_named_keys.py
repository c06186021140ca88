"""The lookup of named keys: what it proves about a key of the source."""

from __future__ import annotations

from tests.support.in_memory_store import ListedBucket, stored

from s3_syncer.core.deadline import Deadline
from s3_syncer.core.errors import Transient
from s3_syncer.core.model import ListEntry, ObjectState
from s3_syncer.sync.bucket_pair import BucketPair
from s3_syncer.sync.key_sweep import SweepOptions
from s3_syncer.sync.named_keys import NamedBatch, NamedKeys
from s3_syncer.sync.outcome import Outcome
from s3_syncer.sync.sweep import Sweep
from s3_syncer.sync.transfer import Transfer


class Source(ListedBucket):
    """A source that loses its object while it is copied, and then responds to no HEAD."""

    is_gone = False

    def head(self, key: str, *, confirm_missing: bool = False, tags: bool = True) -> ObjectState | None:
        if self.is_gone:
            raise Transient("no response")
        return super().head(key, confirm_missing=confirm_missing, tags=tags)


class Target(ListedBucket):
    def entry(self, key: str) -> ListEntry | None:
        return next((entry for entry in self.listed() if entry.key == key), None)


class Findings:
    """The reports of a sweep, which stops as soon as it has written a key."""

    def __init__(self, source: Source, deadline: Deadline) -> None:
        self._source, self._deadline = source, deadline
        self.skipped: dict[str, Outcome] = {}

    def on_compared(self, keys: int) -> None: ...

    def on_changed(self, key: str, outcome: Outcome) -> None:
        self._source.is_gone = True
        self._deadline.stop()

    def on_skipped(self, key: str, outcome: Outcome) -> None:
        self.skipped[key] = outcome

    def on_failed(self, key: str, error: Exception) -> None: ...

    def on_uncertain(self, key: str) -> None: ...

    def on_restart(self, why: str) -> None: ...


def test_a_copy_is_reported_if_a_stopped_sweep_cannot_see_that_its_key_is_still_in_the_source() -> None:
    source, target = Source({"k": stored(b"body")}), Target()
    deadline = Deadline()
    findings = Findings(source, deadline)
    transfer = Transfer(source, target, memory=2**20, threads=1)
    sweep = Sweep(
        BucketPair(source, target, transfer, delete=False, capabilities=transfer.capabilities),
        source,
        target,
        findings,
        SweepOptions(),
        threads=1,
        listings=NamedKeys(source, target, iter([NamedBatch(["k"])]), threads=1),
    )
    assert sweep.run(deadline)
    assert target.objects
    assert {key: outcome.action for key, outcome in findings.skipped.items()} == {"k": "stale"}
