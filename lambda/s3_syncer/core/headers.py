"""The headers of an object: read from a response of any HTTP client, and written. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.errors import MessageError
from email.header import decode_header, make_header
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from .errors import Permanent
from .model import (
    LOCK_HOLD,
    LOCK_MODE,
    LOCK_UNTIL,
    RAW_EXPIRES,
    RAW_METADATA,
    SOURCE_ETAG_MARKER,
    Archive,
    ObjectState,
    WriteGuard,
)

#: The content headers that are mirrored.
CONTENT_HEADERS = (
    "Cache-Control",
    "Content-Disposition",
    "Content-Encoding",
    "Content-Language",
    "Content-Type",
    "Expires",
)

META = "x-amz-meta-"

#: Start of the names of the headers with checksums. One of them, `x-amz-checksum-type`, has none.
_CHECKSUM = "x-amz-checksum-"

#: Characters of an ETag that is certainly no placeholder.
_CERTAIN_ETAG = 10

#: What stores and proxies write that have no ETag. Two stores with the same placeholder would seem to have the same
#: object.
_PLACEHOLDER = re.compile(r"\W*(?:0*|-1|nil|none|null|undefined|unknown)\W*", re.IGNORECASE)

#: The ETag of an object that was written in one piece, as nearly all responses have it.
_USUAL_ETAG = re.compile(r'"[0-9a-f]{32}"')

_Value = TypeVar("_Value")

#: Bytes of the longest `x-amz-tagging` header that is sent with an object. AWS accepts 8 KB of headers in a PUT, of
#: which 2 KB may be metadata: https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html. Ten tags of the
#: longest names and values take 4 KB, and up to twelve times as much with characters that must be encoded.
MAX_TAGGING_HEADER = 4096

#: Storage classes of objects that must be restored before a read. Intelligent-Tiering has an archive status instead.
ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})

_MIRRORED = {name: name.lower() for name in CONTENT_HEADERS}

#: The parameter of boto3 for each header of a write. Expires may be any text: see `stores/clients.py`.
PARAMETERS = {name.lower(): name.replace("-", "") for name in CONTENT_HEADERS} | {
    "expires": RAW_EXPIRES,
    "if-match": "IfMatch",
    "if-none-match": "IfNoneMatch",
    LOCK_MODE: "ObjectLockMode",
    LOCK_UNTIL: "ObjectLockRetainUntilDate",
    LOCK_HOLD: "ObjectLockLegalHoldStatus",
    "x-amz-tagging": "Tagging",
}


def by_name(fields: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return header values by name in lower case. Values of one name are joined, as by botocore."""
    values: dict[str, str] = {}
    for name, value in fields:
        lower = name.lower()
        values[lower] = f"{values[lower]}, {value}" if lower in values else value
    return values


def state(headers: Mapping[str, str], tags: Mapping[str, str]) -> ObjectState:
    """Return the object that a response to HeadObject or GetObject describes; header names in lower case.

    Raises Permanent if a header is missing without which no object can be compared.
    """
    metadata = {name[len(META) :]: _text(value) for name, value in headers.items() if name.startswith(META)}
    marker = metadata.pop(SOURCE_ETAG_MARKER, None)
    return ObjectState(
        size=_required("Content-Length", content_length(headers)),
        etag=_required("ETag", etag(headers)),
        last_modified=moment(headers.get("last-modified", "")),
        headers=_content(headers),
        metadata=metadata,
        tags=tags,
        marker=marker,
        kms=headers.get("x-amz-server-side-encryption", "").startswith("aws:kms"),
        archived=_archived(headers),
        hidden_metadata=_count(headers, "x-amz-missing-meta"),
        tag_count=_count(headers, "x-amz-tagging-count"),
        is_restoring='ongoing-request="true"' in headers.get("x-amz-restore", ""),
        checksums={name[len(_CHECKSUM) :]: value for name, value in headers.items() if name.startswith(_CHECKSUM)},
    )


def _required(name: str, value: _Value | None) -> _Value:
    if value is None:
        raise Permanent(f"the response has no {name}", "MissingField")
    return value


def etag(headers: Mapping[str, str]) -> str | None:
    """Return the ETag of a response, without quotes, or None if it has none."""
    return unquoted(headers.get("etag"))


def content_length(headers: Mapping[str, str]) -> int | None:
    """Return the bytes of the body of a response, or None if it does not say them."""
    return number(headers.get("content-length"))


def range_total(headers: Mapping[str, str]) -> int | None:
    """Return the bytes of the object of which a response has a range, or None if it does not say them."""
    return number(_once(headers.get("content-range", "")).rpartition("/")[2])


def quoted(etag: str) -> str:
    """Return an ETag as a header or a request has it."""
    return f'"{etag}"'


def unquoted(etag: object) -> str | None:
    """Return an ETag without its quotes, or None for a value that is none.

    A proxy that compresses responses marks the ETag of the store as weak: `W/"..."`.
    """
    if isinstance(etag, str) and _USUAL_ETAG.fullmatch(etag):
        return etag[1:-1]
    found = _once(etag).strip().removeprefix("W/").strip('"') if isinstance(etag, str) else ""
    return None if '"' in found or has_placeholder((found,)) else found


def has_placeholder(etags: Iterable[str]) -> bool:
    """Return True if one of these ETags without quotes is empty, or a placeholder for an ETag."""
    return any(len(etag) < _CERTAIN_ETAG and _PLACEHOLDER.fullmatch(etag) for etag in etags)


def number(value: object) -> int | None:
    """Return a number of a response, or None for a value that is none."""
    if isinstance(value, int):
        return value
    text = _once(value).strip() if isinstance(value, str) else ""
    return int(text) if text.isascii() and text.isdigit() else None


def _once(value: str) -> str:
    """Return the value of a header once, also if the response has the same header twice."""
    if "," not in value:  # nearly always, also for each entry of a listing
        return value
    first = value[: len(value) // 2 - 1]
    return first if value == f"{first}, {first}" else value


def _count(headers: Mapping[str, str], name: str) -> int:
    """Return the number in a header, 0 without the header, or 1 if its value is no number."""
    if name not in headers:
        return 0
    found = number(headers[name])
    return 1 if found is None else found


@lru_cache(maxsize=1024)  # many objects have the same metadata
def meaning(value: str) -> str:
    """Return the text that a value of user metadata means.

    AWS returns a value that is not ASCII as encoded words (RFC 2047), other stores as UTF-8 or as other encoded words.
    https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
    """
    if "=?" not in value or not value.isascii():
        return value
    with suppress(ValueError, LookupError, MessageError):
        text = str(make_header(decode_header(value)))
        if not text.isascii():  # no store needs encoded words for ASCII, so they are the value itself
            return text
    return value


def conditions(guard: WriteGuard | None) -> dict[str, str]:
    """Return the headers, in lower case, that make a store refuse to replace another object."""
    if guard is None or not guard.conditional:
        return {}
    return {"if-none-match": "*"} if guard.etag is None else {"if-match": quoted(guard.etag)}


def written(state: ObjectState, marker: str | None, guard: WriteGuard | None = None) -> dict[str, str]:
    """Return the headers that write the headers, metadata, tags and lock of `state`, in lower case.

    `marker` is the ETag marker, or None for none. The tags are those that the guard keeps. Without a guard, or if it
    keeps none, they are those of `state`, unless they are too long for a header: see `carries_tags`.
    """
    found = conditions(guard)
    kept = None if guard is None else guard.tags
    if kept:
        found["x-amz-tagging"] = _tagging(kept)
    elif kept is None and carries_tags(state):
        found["x-amz-tagging"] = _tagging(state.tags)
    found |= {name.lower(): value for name, value in state.headers.items()}
    found |= {META + name: value for name, value in state.metadata.items()}
    found |= state.lock.headers
    if marker is not None:
        found[META + SOURCE_ETAG_MARKER] = marker
    return found


def carries_tags(state: ObjectState) -> bool:
    """Return True if a write of the object takes its tags along: it has tags, and they fit into a header."""
    return bool(state.tags) and len(_tagging(state.tags)) <= MAX_TAGGING_HEADER


def _tagging(tags: Mapping[str, str]) -> str:
    return urlencode(tags, safe="", quote_via=quote)


def parameters(written: Mapping[str, str]) -> dict[str, Any]:
    """Return the parameters of boto3 for the headers of a write, in lower case."""
    metadata: dict[str, str] = {}
    raw: dict[str, str] = {}
    found: dict[str, Any] = {"Metadata": metadata}
    for name, value in written.items():
        if name.startswith(META):
            (metadata if value.isascii() else raw)[name.removeprefix(META)] = value
        else:
            found[PARAMETERS[name]] = value
    if raw:
        found[RAW_METADATA] = raw
    return found


@lru_cache(maxsize=1024)  # many objects and many responses have the same second
def moment(date: str) -> datetime | None:
    """Return the time of a date header, or None if it has none.

    Some stores write ISO 8601 instead. Without a time zone it may be a local time, which says nothing here.
    """
    once = _once(date).strip()
    with suppress(ValueError):
        found = datetime.fromisoformat(once)
        return found if found.tzinfo else None
    with suppress(ValueError, TypeError, IndexError):
        found = parsedate_to_datetime(once)
        return found if found.tzinfo else found.replace(tzinfo=UTC)  # "-0000" is UTC, and has no time zone
    return None


def _content(headers: Mapping[str, str]) -> dict[str, str]:
    found = {name: _text(headers[lower]) for name, lower in _MIRRORED.items() if headers.get(lower)}
    if "Content-Encoding" not in found:
        return found
    # "aws-chunked" is the encoding of the upload request, not of the object. Some stores keep it nevertheless.
    codings = [coding.strip() for coding in found["Content-Encoding"].split(",")]
    if "aws-chunked" in codings:
        del found["Content-Encoding"]
        if kept := ", ".join(coding for coding in codings if coding and coding != "aws-chunked"):
            found["Content-Encoding"] = kept
    return found


def _text(header: str) -> str:
    """Return the text of a header: botocore decodes it as Latin-1, but encodes it as UTF-8 for stores."""
    try:
        return header.encode("latin-1").decode()
    except UnicodeError:
        return header


def listed_archive(storage_class: object, is_restoring: object, expiry: object) -> Archive | None:
    """Return the archive of an object in a listing; None if the object can be read.

    `is_restoring` and `expiry` are the fields of RestoreStatus, or None. A listing has it only if the request asked
    for it. No listing shows the archive tiers of Intelligent-Tiering.
    """
    if storage_class not in ARCHIVES:
        return None
    if is_restoring is None:
        return Archive(str(storage_class))
    if str(is_restoring).lower() == "true":
        return Archive(str(storage_class), is_restoring=True)
    return None if expiry else Archive(str(storage_class), is_restoring=False)


def _archived(headers: Mapping[str, str]) -> str | None:
    status = headers.get("x-amz-archive-status")
    kind = status or headers.get("x-amz-storage-class", "")
    restored = 'ongoing-request="false"' in headers.get("x-amz-restore", "")
    return kind if (kind in ARCHIVES or status) and not restored else None
