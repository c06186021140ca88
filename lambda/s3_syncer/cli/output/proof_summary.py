"""Say what proves that the bytes of both buckets are equal, and how much a sample proves. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ...core.proof import CONFIDENCE, Proof, ReadOptions, one_damaged_in
from ...operations.status import counted

#: The proofs, from the strongest to the weakest, as they appear in a sentence.
NAMES: Mapping[Proof, str] = {
    "bytes": "their bytes",
    "checksum": "equal checksums",
    "etag": "equal ETags",
    "marker": "the ETag marker only",
    "time": "size and time only",
}


@dataclass(frozen=True, slots=True)
class SampleResult:
    """The result of a sample: the objects that were read, of those that a check without a sample reads."""

    share: float
    seed: int
    read: int
    of: int
    #: The N of `core.proof.one_damaged_in`; None if nothing was read.
    one_damaged_in: int | None
    confidence: float = CONFIDENCE

    def text(self, *, is_equal: bool) -> str:
        """Return the result for people."""
        seed = f"--sample-seed {self.seed}"
        counts = f"sample: read {self.read:,} of {counted(self.of, 'object')} ({self.share * 100:g} %, {seed})"
        if self.one_damaged_in is None:
            return f"{counts}. It proves nothing about the others"
        if not is_equal:
            return f"{counts}. A check without --sample finds all differences"
        number = self.one_damaged_in
        return (
            f"{counts}. If 1 in {number:,} of them were damaged, the sample would have found one with a probability of "
            f"at least {self.confidence * 100:g} %: 1 - (1 - 1/{number})^{self.read}"
        )


def proof_text(proofs: Mapping[Proof, int]) -> str:
    """Return the number of keys with each proof for people."""
    counts = [f"{proofs[proof]:,} by {name}" for proof, name in NAMES.items() if proofs.get(proof)]
    return f"equal keys: {', '.join(counts) or 'none'}"


def sample_result(proofs: Mapping[Proof, int], reads: ReadOptions) -> SampleResult | None:
    """Return the result of the sample, or None if there was none."""
    if reads.sample is None:
        return None
    read = proofs.get("bytes", 0)
    unread = NAMES if reads.ignore_checksums else ("bytes", "marker", "time")
    of = sum(proofs.get(proof, 0) for proof in unread)  # type: ignore[call-overload]
    return SampleResult(reads.sample.share, reads.sample.seed, read, of, one_damaged_in(read) if read else None)


def as_json(proofs: Mapping[Proof, int], reads: ReadOptions, bytes_read: int) -> Mapping[str, Any]:
    """Return the part of a report about proofs."""
    sample = sample_result(proofs, reads)
    return {
        "proofs": {proof: proofs.get(proof, 0) for proof in NAMES},
        "bytes_read": bytes_read,
        "sample": None if sample is None else asdict(sample),
    }
