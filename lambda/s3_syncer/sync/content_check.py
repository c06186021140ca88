"""Prove that the bytes of two objects are equal: by what the stores say about them, or by a read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from ..core.compare import KeyDiff, KeyStatus
from ..core.deadline import Deadline
from ..core.errors import Changed
from ..core.listing_diff import DiffPage
from ..core.model import ObjectState
from ..core.proof import Proof, ReadOptions, stored_proof
from .outcome import Outcome

#: Reads of a key that changes meanwhile, before it is reported as unproven.
MAX_ATTEMPTS = 5


class ByteReader(Protocol):
    """Compares the bytes of two objects: see `byte_comparison.ByteComparer`."""

    def first_difference(
        self, key: str, source: ObjectState, target: ObjectState, deadline: Deadline
    ) -> int | None: ...


@dataclass(frozen=True, slots=True)
class Compared:
    """The outcome of a comparison without a read, and the two objects that it compared."""

    outcome: Outcome
    source: ObjectState | None = None
    target: ObjectState | None = None

    @property
    def is_equal(self) -> bool:
        """Return True if nothing that the comparison knows of differs."""
        return self.outcome.action in ("unchanged", "unproven")


#: Receives a page when all of its keys were checked, and the number of its keys with each proof.
PageListener = Callable[[DiffPage, Mapping[Proof, int]], None]


class ContentCheck:
    """Checks the bytes of the keys of a sweep. Safe to share between threads."""

    def __init__(self, reader: ByteReader, options: ReadOptions, on_page: PageListener) -> None:
        self._reader, self._options, self._on_page = reader, options, on_page

    def check(self, key: str, compare: Callable[[], Compared], deadline: Deadline) -> Outcome:
        """Return the outcome for a key; `compare` reads the state of both sides and compares them.

        A difference counts only if both sides still have the objects that were compared. Raises a SyncError.
        """
        reason = ""
        for _ in range(MAX_ATTEMPTS):
            deadline.check()
            found = compare()
            source, target = found.source, found.target
            if source is None or target is None:
                return found.outcome
            if not found.is_equal:
                if _is_same(found, compare()):
                    return found.outcome
                reason = "another object was written"
                continue
            proof = stored_proof(source, target)
            if not self._options.reads(key, proof):
                is_proven = proof in ("etag", "checksum")
                return replace(_EQUAL if is_proven else found.outcome, proof=proof)
            for side, state in (("source", source), ("target", target)):
                if state.archived is not None:
                    reason = f"the object of the {side} is in {state.archived}, so its bytes cannot be read"
                    return Outcome("archived", reason, source.size)
            try:
                position = self._reader.first_difference(key, source, target, deadline)
            except Changed as error:
                reason = error.reason
                continue
            if position is None:
                return replace(_EQUAL, proof="bytes")
            if _is_same(found, compare()):
                return Outcome("differs", _damaged(position, proof), source.size)
            reason = "another object was written"
        return Outcome("unproven", f"changed while it was read, {MAX_ATTEMPTS} times: {reason}")

    def finish(
        self, page: DiffPage, outcomes: Mapping[KeyDiff, Outcome], is_checked: Callable[[KeyDiff], bool]
    ) -> None:
        """Count the proofs of a page. `is_checked` is False for a key that failed or is left out."""
        proofs: Counter[Proof] = Counter()
        for diff in page.diffs:
            outcome = outcomes.get(diff)
            if outcome is None and diff.status is KeyStatus.IN_SYNC and is_checked(diff):
                proofs["etag"] += 1
            elif outcome is not None and outcome.proof is not None and outcome.action == "unchanged":
                proofs[outcome.proof] += 1
        self._on_page(page, proofs)


_EQUAL = Outcome("unchanged", "equal")


def _is_same(found: Compared, again: Compared) -> bool:
    return (found.source, found.target) == (again.source, again.target)


#: The statement of the stores that a difference of the bytes contradicts.
_ALTHOUGH: Mapping[Proof, str] = {
    "etag": "although both stores have the same ETag",
    "checksum": "although both stores have the same checksum",
    "marker": "behind an unchanged ETag marker",
    "time": "although the size and the time are those of a copy",
}


def _damaged(position: int, proof: Proof) -> str:
    return f"the bytes differ from offset {position:,} on, {_ALTHOUGH[proof]}"
