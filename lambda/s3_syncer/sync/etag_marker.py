"""The ETag marker: user metadata of the target's object that holds the ETag of the source's object."""

from __future__ import annotations

import hashlib

from ..core.compare import Difference, compare, etags_contradict_marker
from ..core.model import ObjectState
from ..core.units import MIB
from ..stores.protocols import TargetBucket

#: Largest object in bytes that is read to learn if its ETag is its MD5, and the bytes of one read. No larger object is
#: copied in one piece.
PROBE_MAX, _PROBE_READ = 64 * MIB, MIB


def source_etag_marker(state: ObjectState) -> str | None:
    """Return the marker for a copy of the object, or None if its metadata leaves no room for one."""
    return state.etag if state.marker_fits else None


class EtagMarkerPolicy:
    """Decides whether a copy in one piece needs the marker. Safe to share between threads.

    A copy without a marker and with an unknown ETag can only be judged by its time, and the time of a late copy
    misleads. So the policy leaves the marker out only if the target's earlier responses show that its ETag suffices.
    """

    def __init__(self) -> None:
        #: None until the first response; once a response shows no MD5 it stays False.
        self._target_gives_md5: bool | None = None

    @property
    def target_gives_md5(self) -> bool:
        """True if each ETag of the target that was checked was the MD5 of the bytes in one piece."""
        return self._target_gives_md5 is True

    def marker_for(self, state: ObjectState) -> str | None:
        """Return the marker to write with a copy in one piece, or None for no marker."""
        return None if state.md5 is not None and self.target_gives_md5 else source_etag_marker(state)

    def needs_rewrite(self, state: ObjectState, written: str | None, etag: str) -> bool:
        """Learn from the ETag the target gave a copy; return True if it must be written again with a marker.

        `written` is the marker that the copy has.
        """
        if state.md5 is None:
            return False
        self._learn(is_md5=etag == state.md5)
        return etag != state.md5 and written is None and source_etag_marker(state) is not None

    def compare(self, bucket: TargetBucket, key: str, source: ObjectState, target: ObjectState) -> Difference | None:
        """Compare as `compare.compare` does. `bucket` is the target's.

        If the ETags contradict the marker and nothing is known of the target's ETags, the target's object is read
        once. Its bytes show whether its ETag is their MD5, for this object and all later ones.
        """
        if self._target_gives_md5 is None and etags_contradict_marker(source, target) and target.size <= PROBE_MAX:
            self._learn(is_md5=_md5(bucket, key, target) == target.etag)
        return compare(source, target, md5s=self.target_gives_md5)

    def _learn(self, *, is_md5: bool) -> None:
        self._target_gives_md5 = is_md5 and self._target_gives_md5 is not False


def _md5(bucket: TargetBucket, key: str, state: ObjectState) -> str:
    """Return the hex MD5 of the object's bytes. Raises Changed if it is another object by now."""
    digest = hashlib.md5(usedforsecurity=False)
    for start in range(0, state.size, _PROBE_READ):
        digest.update(bucket.read(key, state.etag, start, min(_PROBE_READ, state.size - start)))
    return digest.hexdigest()
