"""Same or different, and why. Pure: the one place that decides whether a key needs work."""

from __future__ import annotations

from dataclasses import dataclass

from .model import CONTENT_HEADERS, ObjectState


@dataclass(frozen=True, slots=True)
class Difference:
    """Why two looks differ: `body` needs a new copy of the object, otherwise writing the tags is enough."""

    reason: str
    body: bool = True


def compare(source: ObjectState, target: ObjectState) -> Difference | None:
    """The first difference between two looks at one key, or None when the target mirrors the source.

    Content comes first, then headers and user metadata, tags last: the order of what it costs to mend.
    """
    reason = _content(source, target) or _headers(source, target)
    if reason is None and source.metadata != target.metadata:
        reason = "metadata"
    if reason is not None:
        return Difference(reason)
    if source.tags != target.tags:
        return Difference("tags", body=False)
    return None


def _content(source: ObjectState, target: ObjectState) -> str | None:
    if source.size != target.size:
        return "size"
    if source.etag == target.etag:
        return None
    if target.marker is not None:
        return None if target.marker == source.etag else "content"
    if source.md5 is not None and target.md5 is not None:
        return "content"
    # Neither ETag can tell, and there is no marker. If one would have fitted, this copy is not ours: another tool
    # wrote it, and size and time decide as `aws s3 sync` decides. If none would have fitted, it may be our own
    # copy of an older version, written late by a worker that then died; trusting its time would be a lie.
    if not source.marker_fits:
        return "content cannot be compared"
    return None if target.last_modified >= source.last_modified else "newer"


def _headers(source: ObjectState, target: ObjectState) -> str | None:
    for name in CONTENT_HEADERS:
        if source.headers.get(name) != target.headers.get(name):
            return f"header {name}"
    return None
