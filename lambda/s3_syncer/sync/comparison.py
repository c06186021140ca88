"""The comparison of the two objects of a key. Where only its bytes can decide, the target is read."""

from __future__ import annotations

import hashlib
from typing import Protocol

from ..core.compare import Difference, compare, etags_contradict_marker
from ..core.model import ObjectState
from ..core.units import MIB
from ..stores.capabilities import TargetCapabilities

#: Largest object in bytes that is read to learn if its ETag is its MD5, and the bytes of one read. No larger object is
#: copied in one piece.
PROBE_MAX, _PROBE_READ = 64 * MIB, MIB


class ReadableBucket(Protocol):
    """A bucket with objects that can be read."""

    def read(self, key: str, etag: str, start: int, size: int) -> bytearray: ...


def compare_objects(
    target_bucket: ReadableBucket,
    capabilities: TargetCapabilities,
    key: str,
    source: ObjectState,
    target: ObjectState,
    *,
    written_etag: str | None = None,
    trusts_time: bool = False,
) -> Difference | None:
    """Compare as `compare.compare` does.

    If the ETags contradict the marker and nothing is known of the target's ETags, the target's object is read once. Its
    bytes show whether its ETag is their MD5, for this object and all later ones.
    """
    if capabilities.gives_md5 is None and etags_contradict_marker(source, target) and target.size <= PROBE_MAX:
        capabilities.record_etag(is_md5=_md5(target_bucket, key, target) == target.etag)
    md5s = capabilities.gives_md5 is True
    return compare(source, target, md5s=md5s, written_etag=written_etag, trusts_time=trusts_time)


def _md5(bucket: ReadableBucket, key: str, state: ObjectState) -> str:
    """Return the hex MD5 of the object's bytes. Raises Changed if it is another object by now."""
    digest = hashlib.md5(usedforsecurity=False)
    for start in range(0, state.size, _PROBE_READ):
        digest.update(bucket.read(key, state.etag, start, min(_PROBE_READ, state.size - start)))
    return digest.hexdigest()
