"""An S3 store in memory that behaves as AWS does: the server, without the way to it (see `client.py`).

An operation has the name and the parameters of boto3, and returns what boto3 returns. Applications call `write`,
`remove`, `tag`, `roll_back`, `begin_upload` and `end_upload`, which have no faults.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache, partial
from typing import Any
from urllib.parse import parse_qsl

from s3_syncer.sync.upload_decision import ABANDONED_AFTER_S

from .faults import AWS, Traits
from .scheduler import Scheduler
from .threads import EPOCH

#: Parameters of boto3 for the headers that a store keeps.
_HEADERS = {
    "CacheControl": "cache-control",
    "ContentDisposition": "content-disposition",
    "ContentEncoding": "content-encoding",
    "ContentLanguage": "content-language",
    "ContentType": "content-type",
    "RawExpires": "expires",
}

#: The Content-Type that AWS gives an object without one.
_DEFAULT_TYPE = "binary/octet-stream"

_META = "x-amz-meta-"

#: Headers that depend on the store and not on the object.
_STORE_HEADERS = frozenset({"x-amz-server-side-encryption"})

Response = dict[str, Any]


class Refused(Exception):
    """An error response of a server. An empty code is a page of HTML."""

    def __init__(self, code: str, status: int, message: str = "") -> None:
        super().__init__(f"{status} {code}")
        self.code, self.status, self.message = code, status, message


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object. `modified` is in whole seconds of the store's clock since EPOCH."""

    body: bytes
    etag: str
    headers: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    modified: int = 0
    part_sizes: tuple[int, ...] = ()

    @property
    def mirrored(self) -> tuple[object, ...]:
        """Everything that a copy must have: body, headers, user metadata and tags."""
        kept = {name: value for name, value in self.headers.items() if name not in _NOT_MIRRORED}
        return self.body, kept, dict(self.tags)


_NOT_MIRRORED = _STORE_HEADERS | {_META + "s3-syncer-source-etag"}


@dataclass(slots=True)
class _Upload:
    """A multipart upload; the parts by number, each with its ETag and the time of its arrival."""

    key: str
    headers: Mapping[str, str]
    tags: Mapping[str, str]
    initiated: float
    parts: dict[int, tuple[bytes, str, float]] = field(default_factory=dict)


class Server:
    """A server with requests that are still on their way."""

    def __init__(self, name: str, scheduler: Scheduler) -> None:
        self.name, self.scheduler = name, scheduler
        #: The number of requests that will be applied although no client waits for the response.
        self.late_requests = 0

    def apply_later(self, delay_s: float, request: Callable[[], object], label: str) -> None:
        """Apply a request after `delay_s` seconds. No client reads its response."""
        self.late_requests += 1
        self.scheduler.call_later(delay_s, partial(self._apply, request, label))

    def _apply(self, request: Callable[[], object], label: str) -> None:
        self.late_requests -= 1
        try:
            request()
            self.scheduler.note(self.name, "applies late:", label)
        except Refused as error:
            self.scheduler.note(self.name, "refuses late:", label, error)


class Store(Server):
    """One bucket. `on_change` is called with the key and the event name of S3 after every change."""

    def __init__(
        self,
        name: str,
        scheduler: Scheduler,
        traits: Traits = AWS,
        on_change: Callable[[str, str], None] = lambda key, event: None,
    ) -> None:
        super().__init__(name, scheduler)
        self.traits, self.on_change = traits, on_change
        self._versions: dict[str, list[Version | None]] = {}
        self._uploads: dict[str, _Upload] = {}
        self._completed: dict[str, Response] = {}
        #: The uploads with an ID that a client has read, and has not tried to abort.
        self.known_uploads: set[str] = set()
        #: By key: the uploads that were aborted after an hour, with no part but the one that their creator sends. The
        #: creator ended, or its part did not arrive in time, before it sent the work items of the other parts.
        self.idle_uploads: Counter[str] = Counter()
        self._number = 0

    # -- applications and checks -----------------------------------------------------------------------------------

    @property
    def objects(self) -> dict[str, Version]:
        """The current objects by key, in the order of the listing."""
        return {key: found for key in sorted(self._versions) if (found := self.current(key)) is not None}

    @property
    def upload_keys(self) -> list[str]:
        """The keys of the multipart uploads that are neither completed nor aborted.

        An upload is left out if the response to its creation was lost, so that no client knows its ID. It is also left
        out if a client has tried to abort it, which the product tries once.
        """
        return [upload.key for id, upload in self._uploads.items() if id in self.known_uploads]

    def current(self, key: str) -> Version | None:
        versions = self._versions.get(self._name(key))
        return versions[-1] if versions else None

    def write(
        self,
        key: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Version:
        """Write an object in one piece; `headers` are those of a response, in lower case."""
        version = self._version([body], self._kept(headers or {}), tags or {}, in_parts=False)
        self._set(key, version, "ObjectCreated:Put")
        return version

    def remove(self, key: str) -> None:
        """Delete the current object. A versioned store keeps its versions behind a delete marker."""
        if self.current(key) is not None:
            self._set(key, None, "ObjectRemoved:Delete")

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Replace the tags of the current object, if there is one."""
        if (version := self.current(key)) is not None:
            self._versions[self._name(key)][-1] = replace(version, tags=dict(tags))
            self.on_change(key, "ObjectTagging:Put" if tags else "ObjectTagging:Delete")

    def roll_back(self, key: str) -> None:
        """Delete the current version, so that the version before it is back, with its old time."""
        versions = self._versions.get(self._name(key), [])
        if len(versions) > 1:
            versions.pop()
            self.on_change(key, "ObjectRemoved:Delete")

    def begin_upload(
        self, key: str, headers: Mapping[str, str] | None = None, tags: Mapping[str, str] | None = None
    ) -> str:
        """Create a multipart upload; return its ID."""
        upload_id = f"upload-{self._next()}"
        self._uploads[upload_id] = _Upload(key, self._kept(headers or {}), tags or {}, self._now())
        return upload_id

    def end_upload(self, upload_id: str, bodies: Sequence[bytes]) -> None:
        """Send all parts of an upload, and complete it."""
        upload = self._uploads.pop(upload_id)
        version = self._version(bodies, upload.headers, upload.tags, in_parts=True)
        self._set(upload.key, replace(version, modified=int(upload.initiated)), "ObjectCreated:CompleteMultipartUpload")

    # -- objects ---------------------------------------------------------------------------------------------------

    def head_bucket(self) -> Response:
        return self._response()

    def head_object(self, Key: str, PartNumber: int | None = None) -> Response:
        version = self._found(Key, "404")
        headers = self._object_headers(version, "HEAD")
        if PartNumber is None:
            return self._response(headers)
        sizes = version.part_sizes or (len(version.body),)
        if PartNumber > len(sizes):
            raise Refused("416", 416)
        size = sizes[PartNumber - 1]
        count = {"x-amz-mp-parts-count": str(len(sizes))} if version.part_sizes else {}
        return self._response({**headers, "content-length": str(size), **count})

    def get_object(self, Key: str, Range: str | None = None, IfMatch: str | None = None) -> Response:
        version = self._found(Key, "NoSuchKey")
        if IfMatch is not None and IfMatch.strip('"') != version.etag:
            raise Refused("PreconditionFailed", 412)
        headers, body = self._object_headers(version, "GET"), version.body
        if Range is None:
            return self._response(headers, Body=body)
        first, _, last = Range.removeprefix("bytes=").partition("-")
        if int(first) >= len(body):
            raise Refused("InvalidRange", 416)
        body = body[int(first) : int(last) + 1]
        content_range = f"bytes {first}-{int(first) + len(body) - 1}/{len(version.body)}"
        return self._response({**headers, "content-length": str(len(body)), "content-range": content_range}, Body=body)

    def put_object(
        self,
        Key: str,
        Body: bytes,
        ContentMD5: str | None = None,
        IfMatch: str | None = None,
        IfNoneMatch: str | None = None,
        Tagging: str = "",
        **properties: Any,
    ) -> Response:
        self._check_allowed(Key)
        self._check_conditions(Key, IfMatch, IfNoneMatch)
        _check_md5(Body, ContentMD5)
        tags = dict(parse_qsl(Tagging))
        tags = tags if self.traits.keeps_tags_with_object else {}
        version = self._version([Body], self._kept(_header_names(properties)), tags, in_parts=False)
        if not self.traits.keeps_nothing:
            self._set(Key, version, "ObjectCreated:Put")
        return self._response({"etag": f'"{version.etag}"'})

    def delete_object(self, Key: str) -> Response:
        if not self.traits.keeps_deleted:
            self.remove(Key)
        return self._response(status=204)

    def get_object_tagging(self, Key: str) -> Response:
        tags = self._found(Key, "NoSuchKey").tags
        return self._response(TagSet=[{"Key": name, "Value": value} for name, value in tags.items()])

    def put_object_tagging(self, Key: str, Tagging: Mapping[str, Any]) -> Response:
        self._found(Key, "NoSuchKey")
        self.tag(Key, {tag["Key"]: tag["Value"] for tag in Tagging["TagSet"]})
        return self._response()

    def delete_object_tagging(self, Key: str) -> Response:
        self._found(Key, "NoSuchKey")
        self.tag(Key, {})
        return self._response(status=204)

    def list_objects_v2(
        self,
        Prefix: str = "",
        StartAfter: str = "",
        ContinuationToken: str | None = None,
        MaxKeys: int = 1000,
        EncodingType: str = "",  # is ignored, as some stores do
    ) -> Response:
        keys = [key for key in self.objects if key.startswith(Prefix)]
        start = bisect_right(keys, ContinuationToken or StartAfter)
        page = keys[start : start + min(MaxKeys, self.traits.page_size)]
        contents = [
            {"Key": key, "Size": len(each.body), "ETag": f'"{each.etag}"', "LastModified": _moment(each.modified)}
            for key in page
            if (each := self.current(key)) is not None
        ]
        if start + len(page) == len(keys):
            return self._response(Contents=contents, IsTruncated=False)
        return self._response(Contents=contents, IsTruncated=True, NextContinuationToken=page[-1])

    # -- multipart uploads -----------------------------------------------------------------------------------------

    def create_multipart_upload(self, Key: str, Tagging: str = "", **properties: Any) -> Response:
        self._check_allowed(Key)
        tags = dict(parse_qsl(Tagging)) if self.traits.keeps_tags_with_object else {}
        return self._response(UploadId=self.begin_upload(Key, _header_names(properties), tags))

    def upload_part(
        self, Key: str, UploadId: str, PartNumber: int, Body: bytes, ContentMD5: str | None = None
    ) -> Response:
        upload = self._upload(Key, UploadId)
        _check_md5(Body, ContentMD5)
        etag = self._etag([bytes(Body)], in_parts=False)
        upload.parts[PartNumber] = bytes(Body), etag, self._now()
        return self._response({"etag": f'"{etag}"'})

    def complete_multipart_upload(
        self,
        Key: str,
        UploadId: str,
        MultipartUpload: Mapping[str, Any],
        IfMatch: str | None = None,
        IfNoneMatch: str | None = None,
    ) -> Response:
        if UploadId in self._completed and self.traits.repeats_completion:
            return self._completed[UploadId]
        upload = self._upload(Key, UploadId)
        self._check_conditions(Key, IfMatch, IfNoneMatch)
        bodies = []
        for part in MultipartUpload["Parts"]:
            body, etag, _ = upload.parts.get(part["PartNumber"], (b"", "", 0.0))
            if etag != part["ETag"].strip('"'):
                raise Refused("InvalidPart", 400)
            bodies.append(body)
        self.end_upload(UploadId, bodies)
        version = self.current(Key)
        assert version is not None
        if self.traits.keeps_nothing:
            self._versions[self._name(Key)].pop()
        self._completed[UploadId] = self._response(ETag=f'"{version.etag}"')
        return self._completed[UploadId]

    def abort_multipart_upload(self, Key: str, UploadId: str) -> Response:
        upload = self._upload(Key, UploadId)
        if len(upload.parts) <= 1 and self._now() - upload.initiated >= ABANDONED_AFTER_S:
            self.idle_uploads[Key] += 1
        del self._uploads[UploadId]
        return self._response(status=204)

    def list_parts(self, Key: str, UploadId: str, PartNumberMarker: int = 0) -> Response:
        parts = self._upload(Key, UploadId).parts
        behind = [number for number in sorted(parts) if number > PartNumberMarker]
        page = behind[: self.traits.page_size]
        listed = [
            {
                "PartNumber": number,
                "Size": len(parts[number][0]),
                "ETag": f'"{parts[number][1]}"',
                "LastModified": _moment(int(parts[number][2])),
            }
            for number in page
        ]
        if len(page) == len(behind):
            return self._response(Parts=listed, IsTruncated=False)
        return self._response(Parts=listed, IsTruncated=True, NextPartNumberMarker=page[-1])

    def list_multipart_uploads(
        self, Prefix: str = "", KeyMarker: str = "", UploadIdMarker: str = "", EncodingType: str = ""
    ) -> Response:
        if not self.traits.lists_uploads:
            raise Refused("NotImplemented", 501)
        uploads = sorted((each.key, id) for id, each in self._uploads.items() if each.key.startswith(Prefix))
        behind = [place for place in uploads if place > (KeyMarker, UploadIdMarker)]
        page = behind[: self.traits.page_size]
        listed = [
            {"Key": key, "UploadId": id, "Initiated": _moment(int(self._uploads[id].initiated))} for key, id in page
        ]
        if len(page) == len(behind):
            return self._response(Uploads=listed, IsTruncated=False)
        key, id = page[-1]
        return self._response(Uploads=listed, IsTruncated=True, NextKeyMarker=key, NextUploadIdMarker=id)

    # -- the inside ------------------------------------------------------------------------------------------------

    def _now(self) -> float:
        return self.scheduler.now + self.traits.skew_s

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _name(self, key: str) -> str:
        """Return the key under which the store has an object."""
        return key.lower() if self.traits.folds_case else key

    def _check_allowed(self, key: str) -> None:
        if key in self.traits.denied:
            raise Refused("AccessDenied", 403)

    def _set(self, key: str, version: Version | None, event: str) -> None:
        name = self._name(key)
        before = self._versions.get(name, []) if self.traits.versioned else []
        self._versions[name] = [*before, version]
        self.on_change(key, event)

    def _version(
        self, bodies: Sequence[bytes], headers: Mapping[str, str], tags: Mapping[str, str], *, in_parts: bool
    ) -> Version:
        bodies = [bytes(body) for body in bodies]
        etag = self._etag(bodies, in_parts=in_parts)
        sizes = tuple(map(len, bodies)) if in_parts else ()
        return Version(b"".join(bodies), etag, headers, dict(tags), int(self._now()), sizes)

    def _etag(self, bodies: Sequence[bytes], *, in_parts: bool) -> str:
        if self.traits.etags == "opaque":
            return f"opaque-etag-{self._next()}x"
        salt = b"" if self.traits.etags == "md5" else str(self._next()).encode()
        if not in_parts:
            return _md5(bodies[0] + salt).hex()
        return f"{_md5(b''.join(_md5(body + salt) for body in bodies)).hex()}-{len(bodies)}"

    def _kept(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers that the store keeps of a write, with its own."""
        kept = {name: value for name, value in headers.items() if name not in self.traits.drops}
        if self.traits.etags == "kms":
            kept["x-amz-server-side-encryption"] = "aws:kms"
        return {"content-type": _DEFAULT_TYPE, **kept}

    def _found(self, key: str, missing: str) -> Version:
        version = self.current(key)
        if version is None:
            raise Refused(missing, 404)
        return version

    def _upload(self, key: str, upload_id: str) -> _Upload:
        upload = self._uploads.get(upload_id)
        if upload is None or upload.key != key:
            raise Refused("NoSuchUpload", 404)
        return upload

    def _check_conditions(self, key: str, if_match: str | None, if_none_match: str | None) -> None:
        if self.traits.conditions == "ignored" or (if_match is None and if_none_match is None):
            return
        if self.traits.conditions == "refused":
            raise Refused("NotImplemented", 501)
        version = self.current(key)
        if if_none_match == "*" and version is not None:
            self.scheduler.count("refused overwrite")
            raise Refused("PreconditionFailed", 412)
        if if_match is not None:
            if version is None:
                raise Refused("NoSuchKey", 404)
            if if_match.strip('"') != version.etag:
                raise Refused("PreconditionFailed", 412)

    def _object_headers(self, version: Version, request: str) -> dict[str, str]:
        counts_tags = request in self.traits.counts_tags
        return {
            **version.headers,
            **({"x-amz-tagging-count": str(len(version.tags))} if version.tags and counts_tags else {}),
            "content-length": str(len(version.body)),
            "etag": f'"{version.etag}"',
            "last-modified": _http_date(version.modified),
        }

    def _response(self, headers: Mapping[str, str] | None = None, *, status: int = 200, **content: Any) -> Response:
        read = {"date": _http_date(int(self._now())), **(headers or {})}
        return {**content, "ResponseMetadata": {"HTTPStatusCode": status, "RequestId": "", "HTTPHeaders": read}}


def _header_names(properties: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers of boto3's parameters, in lower case. Raises KeyError for an unknown parameter."""
    metadata = {_META + name.lower(): value for name, value in properties.get("Metadata", {}).items()}
    return metadata | {_HEADERS[name]: value for name, value in properties.items() if name != "Metadata"}


def _check_md5(body: bytes, content_md5: str | None) -> None:
    if content_md5 is not None and b64decode(content_md5) != _md5(bytes(body)):
        raise Refused("BadDigest", 400)


def _md5(data: bytes) -> bytes:
    return hashlib.md5(data, usedforsecurity=False).digest()


@lru_cache(maxsize=4096)
def _moment(second: int) -> datetime:
    return datetime.fromtimestamp(EPOCH + second, UTC)


@lru_cache(maxsize=4096)
def _http_date(second: int) -> str:
    return format_datetime(_moment(second), usegmt=True)
