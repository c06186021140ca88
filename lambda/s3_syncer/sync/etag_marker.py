"""The ETag marker: user metadata of the target's object with the ETag of the source's object. Pure."""

from __future__ import annotations

from ..core.model import ObjectState
from ..stores.capabilities import TargetCapabilities


def source_etag_marker(state: ObjectState) -> str | None:
    """Return the marker for a copy of the object, or None if its metadata leaves no room for one."""
    return state.etag if state.marker_fits else None


class EtagMarkerPolicy:
    """Decides whether a copy in one piece needs the marker. Safe to share between threads.

    A copy without a marker and with an unknown ETag can only be judged by its time, and the time of a late copy
    misleads. So the policy leaves the marker out only if the target's earlier responses show that its ETag suffices.
    """

    def __init__(self, capabilities: TargetCapabilities) -> None:
        self._capabilities = capabilities

    @property
    def target_gives_md5(self) -> bool:
        """Return True if each ETag of the target that was checked was the MD5 of the bytes in one piece."""
        return self._capabilities.gives_md5 is True

    def marker_for(self, state: ObjectState) -> str | None:
        """Return the marker to write with a copy in one piece, or None for no marker."""
        return None if state.md5 is not None and self.target_gives_md5 else source_etag_marker(state)

    def marker_of_upload(self, state: ObjectState) -> str | None:
        """Return the marker to write with a multipart upload, or None for no marker."""
        return source_etag_marker(state)

    def needs_rewrite(self, state: ObjectState, written: str | None, etag: str) -> bool:
        """Learn from the ETag the target gave a copy; return True if it must be written again with a marker.

        `written` is the marker that the copy has. A response without an ETag shows nothing. Then a copy has no
        marker only if the target's other ETags were MD5s.
        """
        if state.md5 is None or not etag:
            return False
        self._capabilities.record_etag(is_md5=etag == state.md5)
        return etag != state.md5 and written is None and source_etag_marker(state) is not None
