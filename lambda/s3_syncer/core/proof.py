"""Proofs that the bytes of two objects are equal, and the random sample of the keys to read. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

from .model import ObjectState, key_bytes

#: What shows that the bytes are equal, from the strongest to the weakest:
#:
#: - bytes: both objects were read.
#: - checksum: both stores have the same checksum, each computed from the bytes that it received.
#: - etag: both stores have the same ETag: an MD5, or the MD5 of the MD5s of the same parts.
#: - marker: the target's object has the source's ETag in its metadata. Its bytes are not looked at.
#: - time: nothing but equal sizes, and a target that is not older.
Proof = Literal["bytes", "checksum", "etag", "marker", "time"]

#: The checksums of S3 that prove the bytes. CRC-32 and CRC-32C have 32 bits, which is too few for a proof.
_STRONG = ("crc64nvme", "sha256", "sha1")

#: The probability with which a sample finds damage as frequent as `one_damaged_in` says.
CONFIDENCE = 0.99


def stored_proof(source: ObjectState, target: ObjectState) -> Proof:
    """Return the proof that two HEADs give for objects that the comparison takes for equal.

    A checksum of checksums (`COMPOSITE`) proves as much as one of the whole object: equal ones have the same parts.
    """
    if source.etag == target.etag:
        return "etag"
    ours, theirs = source.checksums, target.checksums
    if any(name in ours and ours[name] == theirs.get(name) for name in _STRONG):
        return "checksum"
    return "marker" if target.marker == source.etag else "time"


@dataclass(frozen=True, slots=True)
class Sample:
    """A random part of all keys. The same seed gives the same part, in any process and in any order."""

    #: Greater than 0, up to 1.
    share: float
    seed: int

    def has(self, key: str) -> bool:
        """Return True if the key is in the sample."""
        digest = blake2b(key_bytes(key), digest_size=8, key=str(self.seed).encode()[:64]).digest()
        return int.from_bytes(digest) < self.share * 2**64


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """The objects of which a check reads the bytes."""

    #: None is all keys.
    sample: Sample | None = None
    #: Read also the objects with equal ETags or checksums.
    ignore_checksums: bool = False

    def reads(self, key: str, proof: Proof) -> bool:
        """Return True if the bytes are to be read although the stores give this proof."""
        is_proven = proof in ("etag", "checksum") and not self.ignore_checksums
        return not is_proven and (self.sample is None or self.sample.has(key))


def one_damaged_in(read: int) -> int:
    """Return the largest N for which a sample finds damage if one object in N is damaged.

    A sample of `read` objects does so with the probability CONFIDENCE: 1 - (1 - 1/N)^read. That is the probability for
    independent draws. A sample has no object twice, so its own probability is higher.
    """
    return math.floor(1 / -math.expm1(math.log(1 - CONFIDENCE) / read))
